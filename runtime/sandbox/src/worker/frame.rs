//! Frames: a length in four bytes, the first the least, and so many bytes.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of a length.
const LENGTH_BYTES: usize = 4;
/// Files that can come with a frame.
const FILES_MAX: usize = 2;

/// Makes a frame of what `fill` appends.
pub(super) fn frame(buffer: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    buffer.clear();
    buffer.extend([0; LENGTH_BYTES]);
    fill(buffer);
    let length = u32::try_from(buffer.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
    for (place, byte) in buffer.iter_mut().zip(length.to_le_bytes()) {
        *place = byte;
    }
}

/// Reads a frame into `buffer`. False at the end of the stream.
///
/// # Errors
/// When it breaks off, or is larger than `bytes_max`.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    bytes_max: usize,
) -> io::Result<bool> {
    let mut length = [0; LENGTH_BYTES];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    let bytes = bounded(length, bytes_max)?;
    buffer.clear();
    let taken = stream.take(bytes as u64).read_to_end(buffer).await?;
    match taken == bytes {
        true => Ok(true),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The same, for a stream that blocks.
pub(super) fn read_now(stream: &mut UnixStream, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length)?;
    rest(stream, length, bytes_max)
}

/// Writes a frame, with files.
pub(super) fn write_now(
    stream: &mut UnixStream,
    frame: &[u8],
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if files.is_empty() {
        return stream.write_all(frame);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if !with.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("too many files for one frame"));
    }
    // The files are with the first byte; the rest may have to wait for room.
    let sent = sendmsg(
        &*stream,
        &[IoSlice::new(frame)],
        &mut with,
        SendFlags::NOSIGNAL,
    )?;
    stream.write_all(frame.get(sent..).unwrap_or_default())
}

/// Reads a frame and its files.
pub(super) fn read_with_files(
    stream: &mut UnixStream,
    bytes_max: usize,
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut length = [0; LENGTH_BYTES];
    let parts = &mut [IoSliceMut::new(&mut length)];
    let read = recvmsg(&*stream, parts, &mut with, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let files = with.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let files = files.flatten().collect();
    stream.read_exact(length.get_mut(read..).unwrap_or_default())?;
    Ok((rest(stream, length, bytes_max)?, files))
}

fn rest(
    stream: &mut UnixStream,
    length: [u8; LENGTH_BYTES],
    bytes_max: usize,
) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bounded(length, bytes_max)?];
    stream.read_exact(&mut buffer)?;
    Ok(buffer)
}

fn bounded(length: [u8; LENGTH_BYTES], bytes_max: usize) -> io::Result<usize> {
    let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    match bytes <= bytes_max {
        true => Ok(bytes),
        false => Err(io::Error::other(format!(
            "a frame of {bytes} bytes, limit is {bytes_max}"
        ))),
    }
}
