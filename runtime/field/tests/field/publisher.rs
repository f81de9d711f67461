//! Publishes many messages to a real broker, faster than its own client does.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::mosquitto::Mosquitto;
use crate::rig::soon;

/// One message.
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) acknowledged: bool,
    pub(crate) retain: bool,
}

/// Publishes all of `messages` over one connection of MQTT 3.1.1; returns when the broker has acknowledged those that
/// want it.
pub(crate) async fn publish_all(broker: &Mosquitto, messages: Vec<Sent>) {
    let mut stream = TcpStream::connect(("127.0.0.1", broker.port))
        .await
        .unwrap();
    stream
        .write_all(&[
            0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'p',
        ])
        .await
        .unwrap();
    let mut welcome = [0; 4];
    soon(stream.read_exact(&mut welcome)).await.unwrap();
    assert_eq!(welcome, [0x20, 2, 0, 0]);
    let acks = messages.iter().filter(|sent| sent.acknowledged).count();
    let (mut reading, mut writing) = stream.split();
    tokio::join!(read_acks(&mut reading, acks), write(&mut writing, messages));
}

async fn write(writing: &mut WriteHalf<'_>, messages: Vec<Sent>) {
    let mut output = Vec::new();
    for (number, sent) in messages.into_iter().enumerate() {
        let packet_id = u16::try_from(number % 60_000 + 1).unwrap();
        let mut body = u16::try_from(sent.topic.len())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        body.extend(sent.topic.as_bytes());
        if sent.acknowledged {
            body.extend(packet_id.to_be_bytes());
        }
        body.extend(sent.payload);
        output.push(0x30 | u8::from(sent.acknowledged) << 1 | u8::from(sent.retain));
        // A length of two bytes.
        output.push(u8::try_from(body.len() % 128).unwrap() | 0x80);
        output.push(u8::try_from(body.len() / 128).unwrap());
        output.extend(body);
        if output.len() > 60_000 {
            soon(writing.write_all(&output)).await.unwrap();
            output.clear();
        }
    }
    soon(writing.write_all(&output)).await.unwrap();
    soon(writing.flush()).await.unwrap();
}

async fn read_acks(reading: &mut ReadHalf<'_>, count: usize) {
    let mut input = BytesMut::new();
    for _ in 0..count {
        while input.len() < 4 {
            soon(reading.read_buf(&mut input)).await.unwrap();
        }
        assert_eq!(input[..2], [0x40, 2]);
        input.advance(4);
    }
}
