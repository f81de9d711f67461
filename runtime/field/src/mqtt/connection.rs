//! A socket with its buffers: packets in, packets out.
//!
//! Writing and reading are one operation, [`Connection::exchange`], because both are always wanted. All that is to be
//! sent is written with as few calls as the socket allows: the acknowledgements of a whole commit in one.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use thiserror::Error;
use tidegate_record::{Publication, TopicFilter};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::frames::{Frame, FrameError, Frames, wanted_ack};
use super::socket::Socket;
use super::{DecodeError, Hello, Incoming, Unusable, packets};
use crate::Protocol;

/// Room for one read: some hundred small messages, which share this buffer until the last of them is dropped.
const READ_BYTES: usize = 32 << 10;
/// With less room than this a new buffer is taken: reading a few bytes at a time costs more.
const READ_BYTES_MIN: usize = 4 << 10;
/// Publications are encoded only while less than this waits to be written, so that a broker that does not read cannot
/// fill memory.
const OUTPUT_BYTES_MAX: usize = 128 << 10;

/// One connection's bytes.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    protocol: Protocol,
    frames: Frames,
    input: BytesMut,
    output: BytesMut,
    unflushed: bool,
}

/// Whether bytes are read, or left to the socket so that the broker waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Yes,
    Paused,
}

/// The broker does not speak MQTT as we know it.
#[derive(Debug, Error)]
pub(crate) enum ProtocolError {
    #[error("the broker's bytes are no packets that we take")]
    Frame(#[from] FrameError),
    #[error("the broker sent a malformed packet")]
    Packet(#[source] DecodeError),
    #[error("the broker sent {0}")]
    Unexpected(&'static str),
}

impl Connection {
    /// Takes packets of at most `packet_bytes_max` bytes from `socket`.
    pub(crate) fn new(socket: Socket, protocol: Protocol, packet_bytes_max: usize) -> Self {
        Self {
            socket,
            protocol,
            frames: Frames::new(packet_bytes_max),
            input: BytesMut::new(),
            output: BytesMut::new(),
            unflushed: false,
        }
    }

    /// Asks to be connected, with the session that the broker has kept.
    pub(crate) fn write_connect(&mut self, hello: &Hello) -> Result<(), DecodeError> {
        packets::write_connect(self.protocol, hello, &mut self.output)
    }

    /// Asks for all of `filters`, at QoS 1.
    pub(crate) fn write_subscribe(&mut self, filters: &[TopicFilter]) -> Result<(), DecodeError> {
        packets::write_subscribe(self.protocol, filters, &mut self.output)
    }

    /// Publishes at QoS 1.
    ///
    /// # Errors
    /// When the packet would have more than `packet_bytes_max` bytes: then nothing is written.
    pub(crate) fn write_publish(
        &mut self,
        publication: &Publication,
        packet_id: u16,
        packet_bytes_max: usize,
    ) -> Result<(), DecodeError> {
        let output = &mut self.output;
        packets::write_publish(
            self.protocol,
            publication,
            packet_id,
            packet_bytes_max,
            output,
        )
    }

    /// Acknowledges a message.
    pub(crate) fn write_ack(&mut self, packet_id: u16) {
        packets::write_ack(packet_id, &mut self.output);
    }

    /// Asks whether the broker is alive.
    pub(crate) fn write_ping(&mut self) {
        packets::write_ping(&mut self.output);
    }

    /// Says goodbye; the broker keeps the session.
    pub(crate) fn write_disconnect(&mut self) {
        packets::write_disconnect(&mut self.output);
    }

    /// Whether publications may be encoded.
    pub(crate) fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_BYTES_MAX
    }

    /// The next packet that has arrived whole; none when more must be read first.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, ProtocolError> {
        loop {
            let packet = match self.frames.next(&mut self.input)? {
                None => return Ok(None),
                Some(Frame::TooLarge(packet_id, oversized)) => {
                    let reason = Unusable::TooLarge(oversized);
                    return Ok(Some(Incoming::Unusable(packet_id, reason)));
                }
                Some(Frame::Packet(packet)) => packet,
            };
            let wanted = wanted_ack(&packet);
            match (packets::decode(self.protocol, packet), wanted) {
                (Ok(Some(incoming)), _) => return Ok(Some(incoming)),
                (Ok(None), _) => {}
                (Err(_), Some(packet_id)) => {
                    return Ok(Some(Incoming::Unusable(packet_id, Unusable::Malformed)));
                }
                (Err(error), None) => return Err(ProtocolError::Packet(error)),
            }
        }
    }

    /// Writes what is to be sent, and resolves when something was read. May be dropped at any time: what was written or
    /// read stays so.
    ///
    /// # Errors
    /// When the connection is broken or closed.
    pub(crate) async fn exchange(&mut self, reading: Reading) -> io::Result<()> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_write(cx) {
                return Poll::Ready(Err(error));
            }
            match reading {
                Reading::Yes => self.poll_read(cx),
                Reading::Paused => Poll::Pending,
            }
        })
        .await
    }

    /// Writes what is to be sent, and resolves when the other side has closed the connection. What still comes is dropped.
    pub(crate) async fn close(&mut self) {
        while self.exchange(Reading::Yes).await.is_ok() {
            self.input.clear();
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = Pin::new(&mut self.socket);
        while !self.output.is_empty() {
            match ready!(socket.as_mut().poll_write(cx, &self.output))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.output.advance(written),
            }
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(socket.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
            self.input.reserve(READ_BYTES);
        }
        match ready!(pin!(self.socket.read_buf(&mut self.input)).poll(cx))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}
