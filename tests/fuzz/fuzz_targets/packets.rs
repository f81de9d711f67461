//! The bytes of a connection to a broker. What cuts them into packets is the field's own, so its source is compiled in here.

#![no_main]

use bytes::{Bytes, BytesMut};
use tidegate_fuzz::Subject;

#[path = "../../../runtime/field/src/mqtt/frames.rs"]
mod frames;

use frames::{Frame, FrameError, Frames, wanted_ack};

/// As in the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Oversized {
    pub(crate) topic: Bytes,
    pub(crate) bytes: usize,
}

/// What a broker sends.
struct Packets;

/// A packet that is larger is passed over.
const PACKET_BYTES_MAX: usize = 64;

impl Subject for Packets {
    fn seeds() -> Vec<Vec<u8>> {
        let mut large = vec![0x32, 0x80, 0x02, 0, 3];
        large.extend(b"a/b\0\x07");
        large.resize(3 + 256, b'x');
        let small = b"\x20\x02\0\0\x32\x08\0\x03a/b\0\x01x".to_vec();
        let both = [small.as_slice(), &large, b"\x30\x05\0\x03a/b\xd0\0"].concat();
        vec![small, large, both]
    }

    fn check(input: &[u8]) {
        let whole = cut(input, input.len().max(1));
        for step in [1, 7] {
            assert_eq!(cut(input, step), whole, "in pieces of {step} bytes");
        }
        let (frames, _) = whole;
        let mut rest = input;
        for frame in frames {
            let Frame::Packet(packet) = frame else {
                return;
            };
            assert!((2..=PACKET_BYTES_MAX).contains(&packet.len()));
            assert!(rest.starts_with(&packet));
            rest = rest.get(packet.len()..).unwrap_or_default();
            let _known = wanted_ack(&packet);
        }
        let _known = wanted_ack(input);
    }
}

/// The packets of a stream that comes in pieces, and what ends it. What is larger than what is taken is never held.
fn cut(stream: &[u8], step: usize) -> (Vec<Frame>, Option<FrameError>) {
    let mut frames = Frames::new(PACKET_BYTES_MAX);
    let mut input = BytesMut::new();
    let mut all = Vec::new();
    for piece in stream.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            match frames.next(&mut input) {
                Ok(Some(frame)) => all.push(frame),
                Ok(None) => break,
                Err(error) => return (all, Some(error)),
            }
        }
    }
    (all, None)
}

tidegate_fuzz::target!(Packets);
