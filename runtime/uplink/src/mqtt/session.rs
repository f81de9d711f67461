//! One connection to a broker: a window of publications, and their acknowledgements.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use rumqttc::mqttbytes::v5::{
    ConnAck, Connect, ConnectAuth, ConnectProperties, ConnectReturnCode, Packet, PubAckReason,
    Publish, PublishProperties,
};
use rumqttc::mqttbytes::{self, QoS};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::payload::Publication;
use crate::socket::Socket;

/// A broker's packets to somebody who subscribes to nothing are small.
const INCOMING_BYTES_MAX: u32 = 64 << 10;
/// A broker that hears nothing for one and a half times of this leaves us. Before a longer wait we leave it.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// A connection that the broker has accepted.
#[derive(Debug)]
pub(super) struct Session {
    socket: Socket,
    input: BytesMut,
    /// Publications that it takes at once, and bytes of one.
    window: usize,
    packet_bytes_max: Option<u32>,
    last_id: u16,
    /// How long the broker may be silent.
    patience: Duration,
}

/// Who we are.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) client_id: String,
    pub(super) auth: ConnectAuth,
}

/// Why a broker does not take rows.
#[derive(Debug, Error)]
pub(super) enum SessionError {
    /// The connection broke.
    #[error("the connection to the broker broke")]
    Broken(#[source] io::Error),
    /// It is silent.
    #[error("the broker was silent for {} s", _0.as_secs())]
    Silent(Duration),
    /// It does not let us in.
    #[error("the broker refused the connection: {0}")]
    Refused(String),
    /// It does not take a row.
    #[error("the broker refused a row: {0}")]
    RefusedRow(String),
    /// It closed the connection.
    #[error("the broker closed the connection: {0}")]
    Closed(String),
    /// It does not speak MQTT 5 as we know it.
    #[error("the broker sent what is no packet of MQTT 5 that we take")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row is larger than what it takes.
    #[error("a row is larger than the packets that the broker takes")]
    RowTooLarge(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Session {
    /// Asks to be connected. At most `window_max` publications are on the way at once.
    pub(super) async fn open(
        socket: Socket,
        hello: Hello,
        window_max: u16,
        patience: Duration,
    ) -> Result<Self, SessionError> {
        let mut session = Self {
            socket,
            input: BytesMut::new(),
            window: 1,
            packet_bytes_max: None,
            last_id: 0,
            patience,
        };
        let mut packet = BytesMut::new();
        let connect = Connect {
            keep_alive: u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX),
            client_id: hello.client_id,
            // The outbox knows what was not acknowledged: the broker need not.
            clean_start: true,
            properties: Some(ConnectProperties::new()),
        };
        Packet::Connect(connect, None, hello.auth)
            .write(&mut packet, None)
            .map_err(malformed)?;
        session.write(&packet).await?;
        match session.read().await? {
            Packet::ConnAck(ack) => session.welcome(ack, window_max)?,
            other => return Err(unexpected(&other)),
        }
        Ok(session)
    }

    fn welcome(&mut self, ack: ConnAck, window_max: u16) -> Result<(), SessionError> {
        let properties = ack.properties;
        if ack.code != ConnectReturnCode::Success {
            let text = properties.and_then(|properties| properties.reason_string);
            let text = text.map(|text| format!(": {}", short(&text)));
            let reason = format!("{:?}{}", ack.code, text.unwrap_or_default());
            return Err(SessionError::Refused(reason));
        }
        let said = properties.as_ref();
        let window = said.and_then(|said| said.receive_max).unwrap_or(u16::MAX);
        self.window = usize::from(window.clamp(1, window_max));
        self.packet_bytes_max = said.and_then(|said| said.max_packet_size);
        Ok(())
    }

    /// Asks whether the broker is alive.
    pub(super) async fn ping(&mut self) -> Result<(), SessionError> {
        self.write(&[0xc0, 0]).await?;
        match self.read().await? {
            Packet::PingResp => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Publishes in order, and gives the index of each publication that was acknowledged to `taken`. After a failure what
    /// was given stays so, and the rest is not known.
    pub(super) async fn publish(
        &mut self,
        publications: &[Publication],
        mut taken: impl FnMut(usize),
    ) -> Result<(), SessionError> {
        let mut waiting = publications.iter().enumerate().peekable();
        let mut inflight = VecDeque::<(u16, usize)>::new();
        let mut output = BytesMut::new();
        let mut refused = None;
        loop {
            while refused.is_none()
                && inflight.len() < self.window
                && let Some((index, publication)) = waiting.next()
            {
                match self.encode(publication, &mut output) {
                    Ok(id) => inflight.push_back((id, index)),
                    Err(error) => refused = Some(error),
                }
            }
            if inflight.is_empty() {
                return refused.map_or(Ok(()), Err);
            }
            self.write(&output).await?;
            output.clear();
            // Everything that has arrived is taken before more is written.
            let mut packet = Some(self.read().await?);
            while let Some(ack) = packet {
                let Packet::PubAck(ack) = ack else {
                    return Err(unexpected(&ack));
                };
                let position = inflight.iter().position(|(id, _)| *id == ack.pkid);
                if let Some((_, index)) = position.and_then(|position| inflight.remove(position)) {
                    match ack.reason {
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => taken(index),
                        reason => refused = Some(SessionError::RefusedRow(format!("{reason:?}"))),
                    }
                }
                packet = self.decode()?;
            }
        }
    }

    fn encode(
        &mut self,
        publication: &Publication,
        output: &mut BytesMut,
    ) -> Result<u16, SessionError> {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let properties = PublishProperties {
            content_type: Some("application/json".to_owned()),
            user_properties: publication.properties.clone(),
            ..PublishProperties::default()
        };
        let mut publish = Publish::new(
            publication.topic.as_str(),
            QoS::AtLeastOnce,
            publication.payload.clone(),
            Some(properties),
        );
        publish.pkid = self.last_id;
        // In a buffer of its own: what fails half-way must not be sent.
        let mut packet = BytesMut::new();
        Packet::Publish(publish)
            .write(&mut packet, self.packet_bytes_max)
            .map_err(|error| SessionError::RowTooLarge(Box::new(error)))?;
        output.put(packet);
        Ok(self.last_id)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let writing = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        let written = tokio::time::timeout(self.patience, writing).await;
        let written = written.map_err(|_| SessionError::Silent(self.patience))?;
        written.map_err(SessionError::Broken)
    }

    /// The next packet, when it comes.
    async fn read(&mut self) -> Result<Packet, SessionError> {
        loop {
            if let Some(packet) = self.decode()? {
                return Ok(packet);
            }
            let reading = self.socket.read_buf(&mut self.input);
            let read = tokio::time::timeout(self.patience, reading).await;
            let read = read.map_err(|_| SessionError::Silent(self.patience))?;
            if read.map_err(SessionError::Broken)? == 0 {
                let end = io::ErrorKind::UnexpectedEof.into();
                return Err(SessionError::Broken(end));
            }
        }
    }

    /// The next packet, if it has come whole.
    fn decode(&mut self) -> Result<Option<Packet>, SessionError> {
        match Packet::read(&mut self.input, Some(INCOMING_BYTES_MAX)) {
            Ok(Packet::Disconnect(said)) => {
                let text = said
                    .properties
                    .and_then(|properties| properties.reason_string);
                let text = text.map(|text| format!(": {}", short(&text)));
                let reason = format!("{:?}{}", said.reason_code, text.unwrap_or_default());
                Err(SessionError::Closed(reason))
            }
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(malformed(error)),
        }
    }
}

fn malformed(error: mqttbytes::Error) -> SessionError {
    SessionError::Malformed(Box::new(error))
}

fn unexpected(packet: &Packet) -> SessionError {
    let kind = format!("{packet:?}");
    let kind = kind.split(['(', ' ']).next().unwrap_or_default().to_owned();
    SessionError::Malformed(format!("{kind} was not expected").into())
}

/// What a broker says, as far as it fits into a line.
fn short(text: &str) -> String {
    let text: String = text.chars().take(200).collect();
    text.escape_debug().to_string()
}
