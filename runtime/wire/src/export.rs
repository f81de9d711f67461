//! An export: rows in a file, for a centre that no link leads to (docs/formats/export.md).
//!
//! The file is a preamble and frames; a frame is a length and that many bytes. What is in a frame (a signed chunk, perhaps
//! sealed) is not known here; a chunk within is a message as on the wire: CBOR, compressed with zstd.
//!
//! The `#[n(…)]` numbers are the format: never reuse one.

use std::io::{self, Read};

use minicbor::{Decode, Encode};
use thiserror::Error;
use tidegate_record::{Epoch, Name, WallTime};

use crate::StreamRows;
use crate::codec::COMPRESSED_BYTES_MAX;

/// MIME type of one signed chunk on its way to the centre, behind the running hash before it.
pub const CHUNK_CONTENT_TYPE: &str = "application/vnd.tidegate.export-chunk";

/// Version of the file and its chunks.
pub const EXPORT_VERSION: u8 = 1;

/// Largest frame, in bytes: a chunk with its signature and seal.
pub const FRAME_BYTES_MAX: usize = COMPRESSED_BYTES_MAX + 256;

const MAGIC: [u8; 16] = *b"tidegate-export\n";

/// One chunk. It says whose rows it has, so that it stands for itself.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Chunk {
    /// [`EXPORT_VERSION`].
    #[n(0)]
    pub version: u8,
    /// Whose rows.
    #[n(1)]
    pub gateway: Name,
    /// What it holds.
    #[n(2)]
    pub part: Part,
}

/// What a chunk holds.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Part {
    /// The first chunk.
    #[n(0)]
    Head(#[n(0)] Head),
    /// Rows, at most one entry per stream and epoch.
    #[n(1)]
    Rows(#[n(0)] Vec<StreamRows>),
    /// The last chunk: without it the file is not complete.
    #[n(2)]
    End(#[n(0)] End),
}

/// Where an export comes from.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Head {
    /// The gateway's epoch.
    #[n(0)]
    pub epoch: Epoch,
    /// The number of the gateway's database.
    #[n(1)]
    pub database: u64,
    /// When it was begun, by the gateway's clock.
    #[n(2)]
    pub created: WallTime,
    /// Public half of the device key that signs, 32 bytes. Whether it is the gateway's is for the reader to know.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub device_key: [u8; 32],
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct End {
    /// Rows in the file.
    #[n(0)]
    pub rows: u64,
}

/// What a file begins with. `preface` is what its frames are sealed with; empty if they are not.
///
/// # Errors
/// When the preface has more than 255 bytes.
pub fn preamble(preface: &[u8]) -> Result<Vec<u8>, ExportError> {
    let length = u8::try_from(preface.len()).map_err(|_| ExportError::NoExport)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([EXPORT_VERSION, length]);
    bytes.extend_from_slice(preface);
    Ok(bytes)
}

/// A frame with this content.
///
/// # Errors
/// When the content has more than [`FRAME_BYTES_MAX`] bytes.
pub fn frame(content: &[u8]) -> Result<Vec<u8>, ExportError> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    if content.len() > FRAME_BYTES_MAX {
        return Err(ExportError::TooLarge {
            offset: 0,
            bytes: length,
        });
    }
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(content);
    Ok(bytes)
}

/// Reads a file frame by frame.
#[derive(Debug)]
pub struct Frames<R> {
    input: R,
    offset: u64,
    preface: Vec<u8>,
}

impl<R: Read> Frames<R> {
    /// Reads the preamble.
    ///
    /// # Errors
    /// When it is no export, or one of another version.
    pub fn open(mut input: R) -> Result<Self, ExportError> {
        let mut head = [0; 18];
        let found = fill(&mut input, &mut head)?;
        let (magic, rest) = head.split_at(MAGIC.len());
        // Of a file that was cut off so early, the part that is there.
        if !MAGIC.iter().zip(magic).take(found).all(|(a, b)| a == b) {
            return Err(ExportError::NoExport);
        }
        let &[version, length] = rest else {
            return Err(ExportError::NoExport);
        };
        if found < head.len() {
            return Err(ExportError::CutOff { offset: 0 });
        }
        if version != EXPORT_VERSION {
            return Err(ExportError::Version(version));
        }
        let mut preface = vec![0; length.into()];
        if fill(&mut input, &mut preface)? < preface.len() {
            return Err(ExportError::CutOff { offset: 0 });
        }
        let offset = 18 + u64::from(length);
        Ok(Self {
            input,
            offset,
            preface,
        })
    }

    /// What the frames are sealed with; empty if they are not.
    pub fn preface(&self) -> &[u8] {
        &self.preface
    }

    /// Where the last whole frame ends, in bytes from the beginning.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame; none at the end.
    ///
    /// # Errors
    /// When the file ends within a frame, or a frame is too large or empty.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, ExportError> {
        let cut_off = ExportError::CutOff {
            offset: self.offset,
        };
        let mut length = [0; 4];
        match fill(&mut self.input, &mut length)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(cut_off),
        }
        let bytes = u32::from_be_bytes(length);
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(ExportError::TooLarge {
                offset: self.offset,
                bytes,
            });
        }
        let mut content = vec![0; length];
        if fill(&mut self.input, &mut content)? < length {
            return Err(cut_off);
        }
        self.offset += 4 + u64::from(bytes);
        Ok(Some(content))
    }
}

/// Reads until the buffer is full or the input ends; how many bytes came.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ExportError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ExportError::Read(error)),
        }
    }
    Ok(filled)
}

/// Why a file is not an export, or not a whole one.
#[derive(Debug, Error)]
pub enum ExportError {
    /// Begins with something else.
    #[error("this is no export of a gateway")]
    NoExport,
    /// Of another version of the format.
    #[error("export has version {0}, this program knows {EXPORT_VERSION}")]
    Version(u8),
    /// Ends within a frame: what is before is whole.
    #[error("export is cut off after {offset} bytes")]
    CutOff {
        /// Where the last whole frame ends.
        offset: u64,
    },
    /// Empty, or over the bound.
    #[error("frame at byte {offset} has {bytes} bytes, it can have 1 to {FRAME_BYTES_MAX}")]
    TooLarge {
        /// Where it begins.
        offset: u64,
        /// Its bytes.
        bytes: u32,
    },
    /// The file cannot be read.
    #[error("cannot read the export")]
    Read(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(frames: &[&[u8]]) -> Vec<u8> {
        let mut bytes = preamble(b"seal").unwrap();
        for content in frames {
            bytes.extend(frame(content).unwrap());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, ExportError> {
        let mut frames = Frames::open(bytes)?;
        let mut all = Vec::new();
        while let Some(content) = frames.next_frame()? {
            all.push(content);
        }
        Ok(all)
    }

    #[test]
    fn frames_come_back_and_a_cut_is_told_with_the_end_of_the_last_whole_one() {
        let bytes = file(&[b"one", b"three"]);
        assert_eq!(read(&bytes).unwrap(), [&b"one"[..], b"three"]);
        assert_eq!(Frames::open(&bytes[..]).unwrap().preface(), b"seal");
        let whole = file(&[b"one"]).len();
        for end in 0..bytes.len() {
            let cut = read(&bytes[..end]);
            let begins = if end < whole {
                preamble(b"seal").unwrap().len()
            } else {
                whole
            };
            match cut {
                // Between two frames nothing shows here: the chunks say where the end is.
                Ok(frames) => assert_eq!(frames.concat().len() + 4 * frames.len() + 22, end),
                Err(ExportError::CutOff { offset: 0 }) => assert!(end < begins),
                Err(ExportError::CutOff { offset }) => assert_eq!(offset, begins as u64),
                Err(error) => panic!("{end}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_no_export_or_of_another_version_is_refused() {
        assert!(matches!(read(b"PK\x03\x04"), Err(ExportError::NoExport)));
        assert!(matches!(read(b""), Err(ExportError::CutOff { offset: 0 })));
        let mut later = file(&[]);
        later[16] = 2;
        assert!(matches!(read(&later), Err(ExportError::Version(2))));
    }

    #[test]
    fn a_length_over_the_bound_allocates_nothing() {
        for bytes in [0, u32::try_from(FRAME_BYTES_MAX).unwrap() + 1, u32::MAX] {
            let mut file = file(&[]);
            file.extend(bytes.to_be_bytes());
            let refused = read(&file);
            assert!(
                matches!(refused, Err(ExportError::TooLarge { bytes: found, .. }) if found == bytes),
                "{refused:?}"
            );
        }
        assert!(frame(&vec![0; FRAME_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_chunk_survives_the_way() {
        let chunk = Chunk {
            version: EXPORT_VERSION,
            gateway: Name::new("gw-1").unwrap(),
            part: Part::Head(Head {
                epoch: Epoch {
                    ordinal: 3,
                    random: 7,
                },
                database: u64::MAX,
                created: WallTime(9),
                device_key: [1; 32],
            }),
        };
        let bytes = crate::encode(&chunk).unwrap();
        assert_eq!(crate::decode::<Chunk>(&bytes).unwrap(), chunk);
    }
}
