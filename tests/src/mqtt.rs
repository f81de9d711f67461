//! The few packets of MQTT that the rig speaks itself: enough to publish, to listen, and to read a conversation.
//!
//! Written from the standard, apart from the client library that the product uses, so that one mistake cannot be on
//! both sides. The rig speaks MQTT 3.1.1; [`Frame`] and [`publish_id`] read MQTT 5 as well.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Packet types, in the upper half of a packet's first byte.
pub mod kind {
    /// Server accepts a connection.
    pub const CONNACK: u8 = 2;
    /// A message.
    pub const PUBLISH: u8 = 3;
    /// Receipt for a message with QoS 1.
    pub const PUBACK: u8 = 4;
    /// Receipt for a subscription.
    pub const SUBACK: u8 = 9;
}

/// One packet in a stream of bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// First byte: type and flags.
    pub head: u8,
    /// What follows the length.
    pub body: &'a [u8],
    /// Bytes of the whole packet.
    pub length: usize,
}

impl<'a> Frame<'a> {
    /// The packet at the start of `bytes`, if it is there as a whole.
    ///
    /// # Errors
    /// When its length is malformed.
    pub fn first(bytes: &'a [u8]) -> Result<Option<Self>> {
        let Some((&head, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let mut length = 0_usize;
        for digits in 0..4 {
            let Some(&byte) = rest.get(digits) else {
                return Ok(None);
            };
            length |= usize::from(byte & 0x7f) << (7 * digits);
            if byte & 0x80 == 0 {
                let start = digits + 1;
                let body = rest.get(start..start + length);
                return Ok(body.map(|body| Self {
                    head,
                    body,
                    length: 1 + start + length,
                }));
            }
        }
        bail!("malformed packet length");
    }

    /// Its type, one of [`kind`].
    pub fn kind(&self) -> u8 {
        self.head >> 4
    }

    /// Whether it is a message that the broker has sent before.
    pub fn repeated(&self) -> bool {
        self.head & 8 != 0
    }

    /// Its QoS, where it is a message.
    pub fn qos(&self) -> u8 {
        (self.head >> 1) & 3
    }
}

/// Packet id of a message with QoS 1 or 2.
pub fn publish_id(frame: &Frame<'_>) -> Option<u16> {
    if frame.kind() != kind::PUBLISH || frame.qos() == 0 {
        return None;
    }
    let topic = usize::from(first_u16(frame.body)?);
    first_u16(frame.body.get(2 + topic..)?)
}

/// Packet id of a receipt.
pub fn receipt_id(frame: &Frame<'_>) -> Option<u16> {
    first_u16(frame.body)
}

/// Topic and payload of an MQTT 3.1.1 message.
pub fn message<'a>(frame: &Frame<'a>) -> Option<(&'a str, &'a [u8])> {
    let length = usize::from(first_u16(frame.body)?);
    let topic = std::str::from_utf8(frame.body.get(2..2 + length)?).ok()?;
    let id = if frame.qos() == 0 { 0 } else { 2 };
    Some((topic, frame.body.get(2 + length + id..)?))
}

/// Appends a message with QoS 1.
pub fn put_publish(buffer: &mut Vec<u8>, id: u16, topic: &str, payload: &[u8]) {
    put_head(buffer, 0x32, 2 + topic.len() + 2 + payload.len());
    put_text(buffer, topic);
    buffer.extend_from_slice(&id.to_be_bytes());
    buffer.extend_from_slice(payload);
}

/// Connects with a clean session and without keep-alive.
///
/// # Errors
/// When there is no broker at `port`, or it refuses.
pub fn connect(port: u16, client_id: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .with_context(|| format!("cannot connect to port {port}"))?;
    stream.set_nodelay(true)?;
    let mut packet = Vec::new();
    put_head(&mut packet, 0x10, 10 + 2 + client_id.len());
    put_text(&mut packet, "MQTT");
    packet.extend_from_slice(&[4, 2, 0, 0]);
    put_text(&mut packet, client_id);
    stream.write_all(&packet)?;
    let answer = read_exactly::<4>(&mut stream)?;
    ensure!(
        answer[0] >> 4 == kind::CONNACK && answer[3] == 0,
        "the broker refused the connection: {answer:02x?}"
    );
    Ok(stream)
}

/// Subscribes to `filter` with QoS 0 and waits for the receipt.
///
/// # Errors
/// When the connection ends or the broker refuses.
pub fn subscribe(stream: &mut TcpStream, filter: &str) -> Result<()> {
    let mut packet = Vec::new();
    put_head(&mut packet, 0x82, 2 + 2 + filter.len() + 1);
    packet.extend_from_slice(&1_u16.to_be_bytes());
    put_text(&mut packet, filter);
    packet.push(0);
    stream.write_all(&packet)?;
    let answer = read_exactly::<5>(stream)?;
    ensure!(
        answer[0] >> 4 == kind::SUBACK && answer[4] == 0,
        "the broker refused the subscription: {answer:02x?}"
    );
    Ok(())
}

fn read_exactly<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream
        .read_exact(&mut bytes)
        .context("the broker did not answer")?;
    stream.set_read_timeout(None)?;
    Ok(bytes)
}

fn put_head(buffer: &mut Vec<u8>, head: u8, mut length: usize) {
    buffer.push(head);
    loop {
        let digits = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        buffer.push(if length == 0 { digits } else { digits | 0x80 });
        if length == 0 {
            return;
        }
    }
}

fn put_text(buffer: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(text.as_bytes());
}

fn first_u16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_found_wherever_the_stream_is_cut() {
        for size in [0, 1, 100, 127, 128, 20_000] {
            let mut bytes = Vec::new();
            put_publish(&mut bytes, 4711, "machines/m1/temperature", &vec![7; size]);
            for cut in [0, 1, 2, bytes.len() / 2, bytes.len() - 1] {
                assert_eq!(
                    Frame::first(&bytes[..cut]).unwrap(),
                    None,
                    "{cut} of {} bytes",
                    bytes.len()
                );
            }
            bytes.push(0xc0);
            let frame = Frame::first(&bytes).unwrap().unwrap();
            assert_eq!(frame.length, bytes.len() - 1);
            assert_eq!(publish_id(&frame), Some(4711));
            assert_eq!(
                message(&frame),
                Some(("machines/m1/temperature", vec![7; size].as_slice()))
            );
        }
    }

    #[test]
    fn a_malformed_length_is_an_error() {
        assert!(Frame::first(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }
}
