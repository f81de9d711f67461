//! A scripted broker: says exactly what a test wants, and shows exactly what the field said. It knows its packets
//! byte by byte and nothing of the field's library, so that both must agree with the standard.

use bytes::{Buf, BytesMut};
use tidegate_field::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Setup, soon};

/// Where the stub listens.
pub(crate) struct Stub {
    listener: TcpListener,
    protocol: Protocol,
}

impl Stub {
    pub(crate) async fn start(protocol: Protocol) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, protocol }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// A field that connects to it.
    pub(crate) fn setup(&self) -> Setup {
        Setup::new(&format!("mqtt://{}", self.address()), self.protocol)
    }

    /// The next connection, before a word is said.
    pub(crate) async fn accept_silently(&self) -> Connection {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let (input, protocol) = (BytesMut::new(), self.protocol);
        Connection {
            stream,
            input,
            protocol,
        }
    }

    /// The next connection, once it has connected and subscribed.
    pub(crate) async fn accept(&self) -> Connection {
        self.accept_granting(&[1]).await
    }

    /// As [`Stub::accept`], with an answer to each filter.
    pub(crate) async fn accept_granting(&self, grants: &[u8]) -> Connection {
        let mut connection = self.accept_silently().await;
        let said = connection.next().await;
        assert_eq!(said, Said::Connect { clean: false }, "the session is kept");
        connection.welcome(true).await;
        let Said::Subscribe(packet_id, filters) = connection.next().await else {
            panic!("no SUBSCRIBE")
        };
        assert_eq!(filters, grants.len());
        let [high, low] = packet_id.to_be_bytes();
        let mut body = vec![high, low];
        body.extend(connection.properties());
        body.extend(grants);
        connection.send(0x90, &body).await;
        connection
    }
}

/// What the field said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Connect {
        clean: bool,
    },
    /// Packet id, and how many filters.
    Subscribe(u16, usize),
    Ack(u16),
    Publication(u16, String),
    Ping,
    Goodbye,
}

/// One connection of the field's.
pub(crate) struct Connection {
    stream: TcpStream,
    input: BytesMut,
    protocol: Protocol,
}

impl Connection {
    /// The next packet from the field.
    pub(crate) async fn next(&mut self) -> Said {
        self.next_or_end()
            .await
            .expect("the field closed the connection")
    }

    /// The next packet; none when the field closed the connection.
    pub(crate) async fn next_or_end(&mut self) -> Option<Said> {
        loop {
            if let Some((first, body)) = split_packet(&mut self.input) {
                return Some(said(self.protocol, first, body));
            }
            match soon(self.stream.read_buf(&mut self.input)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The packet ids of the next `count` packets, which must be acknowledgements.
    pub(crate) async fn acks(&mut self, count: usize) -> Vec<u16> {
        let mut ids = Vec::new();
        while ids.len() < count {
            match self.next().await {
                Said::Ack(packet_id) => ids.push(packet_id),
                other => panic!("no acknowledgement but {other:?}"),
            }
        }
        ids
    }

    /// The next packet, which must be a publication: its packet id and payload.
    pub(crate) async fn publication(&mut self) -> (u16, String) {
        match self.next().await {
            Said::Publication(packet_id, payload) => (packet_id, payload),
            other => panic!("no publication but {other:?}"),
        }
    }

    pub(crate) async fn welcome(&mut self, session_present: bool) {
        let mut body = vec![u8::from(session_present), 0];
        body.extend(self.properties());
        self.send(0x20, &body).await;
    }

    /// Refuses the user name or password.
    pub(crate) async fn refuse(&mut self) {
        let code = match self.protocol {
            Protocol::Mqtt5 => 0x86,
            Protocol::Mqtt311 => 4,
        };
        let mut body = vec![0, code];
        body.extend(self.properties());
        self.send(0x20, &body).await;
    }

    pub(crate) async fn deliver(&mut self, packet_id: u16, payload: impl AsRef<[u8]>) {
        self.deliver_to(b"in/a", Some(packet_id), payload.as_ref())
            .await;
    }

    /// A message of QoS 1, or without a packet id of QoS 0.
    pub(crate) async fn deliver_to(
        &mut self,
        topic: &[u8],
        packet_id: Option<u16>,
        payload: &[u8],
    ) {
        self.begin_message(topic, packet_id, payload.len()).await;
        self.send_bytes(payload).await;
    }

    /// All of a message but its payload, which has `bytes` bytes.
    pub(crate) async fn begin_message(
        &mut self,
        topic: &[u8],
        packet_id: Option<u16>,
        bytes: usize,
    ) {
        let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
        body.extend(topic);
        body.extend(packet_id.map(u16::to_be_bytes).into_iter().flatten());
        body.extend(self.properties());
        let first = if packet_id.is_some() { 0x32 } else { 0x30 };
        let mut packet = header(first, body.len() + bytes);
        packet.extend(body);
        self.send_bytes(&packet).await;
    }

    pub(crate) async fn acknowledge(&mut self, packet_id: u16) {
        self.send(0x40, &packet_id.to_be_bytes()).await;
    }

    /// Refuses a publication, which only MQTT 5 can.
    pub(crate) async fn not_authorized(&mut self, packet_id: u16) {
        let [high, low] = packet_id.to_be_bytes();
        self.send(0x40, &[high, low, 0x87, 0]).await;
    }

    pub(crate) async fn send(&mut self, first: u8, body: &[u8]) {
        let mut packet = header(first, body.len());
        packet.extend(body);
        self.send_bytes(&packet).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    /// The length of the properties, of which there are none.
    fn properties(&self) -> &'static [u8] {
        match self.protocol {
            Protocol::Mqtt5 => &[0],
            Protocol::Mqtt311 => &[],
        }
    }
}

/// The fixed header of a packet whose body has `length` bytes.
fn header(first: u8, mut length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    loop {
        let low = u8::try_from(length % 128).unwrap();
        length /= 128;
        if length == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Takes a whole packet off `input`: its first byte, and its body.
fn split_packet(input: &mut BytesMut) -> Option<(u8, BytesMut)> {
    let mut length = 0;
    for position in 1..=4 {
        let byte = *input.get(position)?;
        length |= usize::from(byte & 0x7f) << (7 * (position - 1));
        if byte & 0x80 == 0 {
            if input.len() < 1 + position + length {
                return None;
            }
            let first = input[0];
            input.advance(1 + position);
            return Some((first, input.split_to(length)));
        }
    }
    panic!("the field sent no packet");
}

fn said(protocol: Protocol, first: u8, mut body: BytesMut) -> Said {
    let with_properties = protocol == Protocol::Mqtt5;
    match first {
        0x10 => {
            assert_eq!(text(&mut body), "MQTT");
            assert_eq!(body.get_u8(), if with_properties { 5 } else { 4 });
            let flags = body.get_u8();
            let clean = flags & 2 != 0;
            Said::Connect { clean }
        }
        0x82 => {
            let packet_id = body.get_u16();
            skip_properties(with_properties, &mut body);
            let mut filters = 0;
            while body.has_remaining() {
                text(&mut body);
                assert_eq!(body.get_u8() & 0b11, 1, "QoS 1");
                filters += 1;
            }
            Said::Subscribe(packet_id, filters)
        }
        0x32 | 0x33 => {
            text(&mut body);
            let packet_id = body.get_u16();
            skip_properties(with_properties, &mut body);
            Said::Publication(packet_id, String::from_utf8(body.to_vec()).unwrap())
        }
        0x40 => Said::Ack(body.get_u16()),
        0xc0 => Said::Ping,
        0xe0 => Said::Goodbye,
        other => panic!("the field sent a packet of type {other:#x}"),
    }
}

fn skip_properties(there: bool, body: &mut BytesMut) {
    if there {
        let length = body.get_u8();
        assert!(length < 128, "few properties");
        body.advance(length.into());
    }
}

fn text(body: &mut BytesMut) -> String {
    let length = body.get_u16();
    String::from_utf8(body.split_to(length.into()).to_vec()).unwrap()
}
