//! A scripted broker: says exactly what a test wants, and shows exactly what the field said.

use bytes::BytesMut;
use rumqttc::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::soon;

/// Where the stub listens.
pub(crate) struct Stub(TcpListener);

impl Stub {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://{}", self.0.local_addr().unwrap())
    }

    /// The next connection, before a word is said.
    pub(crate) async fn accept_silently(&self) -> Connection {
        let (stream, _) = soon(self.0.accept()).await.unwrap();
        Connection {
            stream,
            input: BytesMut::new(),
        }
    }

    /// The next connection, once it has connected and subscribed.
    pub(crate) async fn accept(&self) -> Connection {
        let mut connection = self.accept_silently().await;
        let Packet::Connect(connect, ..) = connection.next().await else {
            panic!("no CONNECT")
        };
        assert!(!connect.clean_start, "the session is kept");
        connection.welcome(true).await;
        let Packet::Subscribe(subscribe) = connection.next().await else {
            panic!("no SUBSCRIBE")
        };
        let return_codes =
            vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
        connection
            .send(Packet::SubAck(SubAck {
                pkid: subscribe.pkid,
                return_codes,
                properties: None,
            }))
            .await;
        connection
    }
}

/// One connection of the field's.
pub(crate) struct Connection {
    stream: TcpStream,
    input: BytesMut,
}

impl Connection {
    /// The next packet from the field.
    pub(crate) async fn next(&mut self) -> Packet {
        self.next_or_end()
            .await
            .expect("the field closed the connection")
    }

    /// The next packet; none when the field closed the connection.
    pub(crate) async fn next_or_end(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.input, None) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the field sent no packet: {error}"),
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
                Packet::PubAck(ack) => ids.push(ack.pkid),
                other => panic!("no acknowledgement but {other:?}"),
            }
        }
        ids
    }

    /// The next packet, which must be a publication: its packet id and payload.
    pub(crate) async fn publication(&mut self) -> (u16, String) {
        match self.next().await {
            Packet::Publish(publish) => (
                publish.pkid,
                String::from_utf8(publish.payload.to_vec()).unwrap(),
            ),
            other => panic!("no publication but {other:?}"),
        }
    }

    pub(crate) async fn welcome(&mut self, session_present: bool) {
        let code = ConnectReturnCode::Success;
        self.send(Packet::ConnAck(ConnAck {
            session_present,
            code,
            properties: None,
        }))
        .await;
    }

    pub(crate) async fn deliver(&mut self, packet_id: u16, payload: impl AsRef<[u8]>) {
        let mut publish = Publish::new("in/a", QoS::AtLeastOnce, payload.as_ref().to_vec(), None);
        publish.pkid = packet_id;
        self.send(Packet::Publish(publish)).await;
    }

    pub(crate) async fn acknowledge(&mut self, packet_id: u16) {
        self.send(Packet::PubAck(PubAck::new(packet_id, None)))
            .await;
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }
}
