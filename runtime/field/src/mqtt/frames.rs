//! Cuts the byte stream into packets, of bounded size, and streams past what is larger.
//!
//! A packet that cannot be taken would otherwise stop everything: it ends the connection, the next connection gets it
//! again, and so for ever. Of a message that is too large no more is kept than its topic and packet id. It is told as
//! soon as these are known, so it can be acknowledged while it still comes: a slow link that breaks before its end does
//! not get it again.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::Oversized;

/// The type of a PUBLISH packet, in the upper half of the first byte.
const PUBLISH: u8 = 3;

/// The state of one connection's byte stream.
#[derive(Debug)]
pub(crate) struct Frames {
    packet_bytes_max: usize,
    /// What is left of a packet that is streamed past.
    skip: usize,
}

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A whole packet.
    Packet(BytesMut),
    /// A message larger than what we take; its packet id, if it wants an acknowledgement.
    TooLarge(Option<u16>, Oversized),
}

/// The stream is not MQTT, or not what we can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    /// The length of a packet takes more than four bytes.
    #[error("the length of a packet is malformed")]
    Length,
    /// A packet other than a message of QoS 0 or 1 is larger than what we take.
    #[error("a packet of type {kind} has {bytes} bytes")]
    TooLarge { kind: u8, bytes: usize },
}

impl Frames {
    /// Takes packets of at most `packet_bytes_max` bytes.
    pub(crate) fn new(packet_bytes_max: usize) -> Self {
        Self {
            packet_bytes_max,
            skip: 0,
        }
    }

    /// Takes the next packet off `input`; none when more bytes are needed first.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if self.skip > 0 {
            let skipped = self.skip.min(input.len());
            input.advance(skipped);
            self.skip -= skipped;
        }
        let Some(head) = Head::parse(input)? else {
            return Ok(None);
        };
        let total = head.total();
        if total > self.packet_bytes_max {
            let frame = head.too_large(input)?;
            if frame.is_some() {
                let skipped = total.min(input.len());
                input.advance(skipped);
                self.skip = total - skipped;
            }
            return Ok(frame);
        }
        if input.len() < total {
            input.reserve(total - input.len());
            return Ok(None);
        }
        Ok(Some(Frame::Packet(input.split_to(total))))
    }
}

/// The fixed header of a packet.
#[derive(Debug, Clone, Copy)]
struct Head {
    first: u8,
    header_bytes: usize,
    body_bytes: usize,
}

impl Head {
    /// Reads it; none when more bytes are needed.
    fn parse(input: &[u8]) -> Result<Option<Self>, FrameError> {
        let mut body_bytes = 0_usize;
        for position in 1..=4 {
            let (Some(first), Some(byte)) = (input.first(), input.get(position)) else {
                return Ok(None);
            };
            body_bytes |= usize::from(byte & 0x7f) << (7 * (position - 1));
            if byte & 0x80 == 0 {
                return Ok(Some(Self {
                    first: *first,
                    header_bytes: 1 + position,
                    body_bytes,
                }));
            }
        }
        Err(FrameError::Length)
    }

    fn total(self) -> usize {
        self.header_bytes + self.body_bytes
    }

    /// The message that this begins; none when more bytes are needed to tell.
    fn too_large(self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
        match self.opening(input) {
            Opening::Message {
                packet_id,
                topic,
                bytes,
            } => {
                let topic = Bytes::copy_from_slice(topic);
                Ok(Some(Frame::TooLarge(packet_id, Oversized { topic, bytes })))
            }
            Opening::NotYetKnown => Ok(None),
            Opening::Unknowable => Err(FrameError::TooLarge {
                kind: self.first >> 4,
                bytes: self.total(),
            }),
        }
    }

    /// What the beginning of a packet says of the message in it.
    fn opening(self, input: &[u8]) -> Opening<'_> {
        let id_bytes = match (self.first >> 4, self.qos()) {
            (PUBLISH, 0) => 0,
            (PUBLISH, 1) => 2,
            _ => return Opening::Unknowable,
        };
        let body = input.get(self.header_bytes..).unwrap_or_default();
        let Some(topic_bytes) = two_bytes(body, 0) else {
            return Opening::NotYetKnown;
        };
        let at = 2 + usize::from(topic_bytes);
        let Some(bytes) = self.body_bytes.checked_sub(at + id_bytes) else {
            return Opening::Unknowable;
        };
        let Some(topic) = body.get(2..at) else {
            return Opening::NotYetKnown;
        };
        let packet_id = match (id_bytes, two_bytes(body, at)) {
            (0, _) => None,
            (_, Some(0)) => return Opening::Unknowable,
            (_, None) => return Opening::NotYetKnown,
            (_, packet_id) => packet_id,
        };
        Opening::Message {
            packet_id,
            topic,
            bytes,
        }
    }

    fn qos(self) -> u8 {
        (self.first >> 1) & 0b11
    }
}

/// How a packet begins.
enum Opening<'a> {
    /// As a message of QoS 0 or 1; `bytes` are those of its payload and properties.
    Message {
        packet_id: Option<u16>,
        topic: &'a [u8],
        bytes: usize,
    },
    NotYetKnown,
    Unknowable,
}

/// Which acknowledgement a whole packet wants, even when the rest of it is malformed: `Some(None)` when it is a message
/// of QoS 0; none when it is no message of QoS 0 or 1, or its packet id cannot be told.
pub(crate) fn wanted_ack(packet: &[u8]) -> Option<Option<u16>> {
    let head = Head::parse(packet).ok().flatten()?;
    match head.opening(packet) {
        Opening::Message { packet_id, .. } => Some(packet_id),
        _ => ((head.first >> 4, head.qos()) == (PUBLISH, 0)).then_some(None),
    }
}

fn two_bytes(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn publish(qos: u8, packet_id: u16, payload: usize) -> Vec<u8> {
        let mut body = vec![0, 3, b'a', b'/', b'b'];
        if qos > 0 {
            body.extend(packet_id.to_be_bytes());
        }
        body.extend(std::iter::repeat_n(7, payload));
        let mut packet = vec![0x30 | (qos << 1)];
        let mut length = body.len();
        while length >= 128 {
            packet.push(u8::try_from(length % 128).unwrap() | 0x80);
            length /= 128;
        }
        packet.push(u8::try_from(length).unwrap());
        packet.extend(body);
        packet
    }

    fn too_large(packet_id: Option<u16>, bytes: usize) -> Frame {
        let topic = Bytes::from_static(b"a/b");
        Frame::TooLarge(packet_id, Oversized { topic, bytes })
    }

    /// The stream in pieces of `step` bytes.
    fn frames(stream: &[u8], step: usize, max: usize) -> Result<Vec<Frame>, FrameError> {
        let mut frames = Frames::new(max);
        let mut input = BytesMut::new();
        let mut all = Vec::new();
        for piece in stream.chunks(step) {
            input.extend_from_slice(piece);
            while let Some(frame) = frames.next(&mut input)? {
                all.push(frame);
            }
        }
        assert_eq!(input.len(), 0);
        Ok(all)
    }

    #[test]
    fn a_packet_that_is_too_large_is_passed_and_those_around_it_are_read() {
        let (before, after) = (publish(1, 1, 10), publish(1, 4, 10));
        let stream = [
            before.clone(),
            publish(1, 2, 1000),
            publish(0, 0, 20_000),
            after.clone(),
        ]
        .concat();
        for step in [1, 2, 7, 100, 100_000] {
            let expected = [
                Frame::Packet(BytesMut::from(before.as_slice())),
                too_large(Some(2), 1000),
                too_large(None, 20_000),
                Frame::Packet(BytesMut::from(after.as_slice())),
            ];
            assert_eq!(
                frames(&stream, step, 100).unwrap(),
                expected,
                "pieces of {step}"
            );
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_told_before_it_has_come() {
        let mut frames = Frames::new(100);
        let whole = publish(1, 2, 200_000_000);
        let mut input = BytesMut::from(&whole[..20]);
        let frame = frames.next(&mut input).unwrap();
        assert_eq!(frame, Some(too_large(Some(2), 200_000_000)));
        for piece in whole[20..].chunks(1_000_000) {
            input.extend_from_slice(piece);
            assert_eq!(frames.next(&mut input).unwrap(), None);
            assert_eq!(input.len(), 0, "nothing of it is kept");
        }
        input.extend_from_slice(&publish(1, 3, 1));
        let frame = frames.next(&mut input).unwrap();
        assert!(matches!(frame, Some(Frame::Packet(_))), "{frame:?}");
    }

    #[test]
    fn what_cannot_be_passed_is_an_error() {
        assert_eq!(
            frames(&[0x30, 0xff, 0xff, 0xff, 0xff], 1, 100),
            Err(FrameError::Length)
        );
        // QoS 2, which we never subscribe with; a SUBACK; a topic longer than its packet; packet id 0.
        for packet in [
            publish(2, 1, 200),
            vec![0x90, 0x80, 0x02],
            publish(1, 0, 200),
        ] {
            assert!(
                matches!(frames(&packet, 1000, 100), Err(FrameError::TooLarge { .. })),
                "{packet:?}"
            );
        }
    }

    #[test]
    fn the_packet_id_of_a_malformed_message_is_found() {
        assert_eq!(wanted_ack(&publish(1, 77, 0)), Some(Some(77)));
        assert_eq!(wanted_ack(&publish(0, 0, 0)), Some(None));
        for unknowable in [&[0x32, 2, 0, 9][..], &[0x40, 2, 0, 9], &[]] {
            assert_eq!(wanted_ack(unknowable), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hold_more_than_a_packet(stream in prop::collection::vec(any::<u8>(), 0..300), max in 2..50_usize) {
            let mut frames = Frames::new(max);
            let mut input = BytesMut::from(stream.as_slice());
            while let Ok(Some(frame)) = frames.next(&mut input) {
                if let Frame::Packet(packet) = frame {
                    prop_assert!(packet.len() <= max);
                    wanted_ack(&packet);
                }
            }
        }
    }
}
