//! MQTT 3.1.1 (version 4 on the wire): its packets to and from [`Incoming`], by rumqttc's encoder and decoder.
//!
//! It lacks what bounds the broker: no Receive Maximum, so what is too much waits in the socket (`session`); no Maximum
//! Packet Size, so what is too large is read past (`frames`). It lacks reasons: a publication is never refused, a
//! subscription is without saying why. And it has no rule for retained messages: they come with every subscription, so
//! on every connect.

use bytes::BytesMut;
use rumqttc_v4::{
    ConnAck, Connect, ConnectAuth, ConnectReturnCode, Error, Packet, Publish, QoS, SubAck,
    Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use tidegate_record::{Publication, TopicFilter};

use super::packets::{ONLY_QOS_0, SUBSCRIBE_ID};
use super::{DecodeError, Hello, Incoming, Message, Welcome};

/// Reads one whole packet; none when it says nothing that we need.
pub(super) fn decode(mut packet: BytesMut) -> Result<Option<Incoming>, DecodeError> {
    let incoming = match Packet::read(&mut packet, usize::MAX)? {
        Packet::Publish(publish) => Incoming::Message(message(publish)?),
        Packet::PubAck(ack) => Incoming::Published(ack.pkid, None),
        Packet::PingResp => Incoming::Pong,
        Packet::ConnAck(ack) => connected(&ack),
        Packet::SubAck(ack) => Incoming::Subscribed(refused(&ack)),
        _ => return Ok(None),
    };
    Ok(Some(incoming))
}

/// Asks to be connected.
pub(super) fn write_connect(hello: &Hello, output: &mut BytesMut) -> Result<(), DecodeError> {
    let auth = match hello.credentials.clone() {
        None => ConnectAuth::None,
        Some((username, None)) => ConnectAuth::Username { username },
        Some((username, Some(password))) => ConnectAuth::UsernamePassword { username, password },
    };
    let connect = Connect {
        keep_alive: hello.keep_alive_seconds,
        client_id: hello.client_id.clone(),
        clean_session: false,
        last_will: None,
        auth,
    };
    Packet::Connect(connect).write(output, usize::MAX)?;
    Ok(())
}

/// Subscribes.
pub(super) fn write_subscribe(
    filters: &[TopicFilter],
    output: &mut BytesMut,
) -> Result<(), DecodeError> {
    let mut subscribe = Subscribe::new_many(filters.iter().map(|filter| SubscribeFilter {
        path: filter.as_str().to_owned(),
        qos: QoS::AtLeastOnce,
    }));
    subscribe.pkid = SUBSCRIBE_ID;
    Packet::Subscribe(subscribe).write(output, usize::MAX)?;
    Ok(())
}

/// Publishes; there is no word for the content type.
pub(super) fn write_publish(
    publication: &Publication,
    packet_id: u16,
    packet_bytes_max: usize,
    output: &mut BytesMut,
) -> Result<(), DecodeError> {
    let topic = publication.topic.as_str();
    let payload = publication.payload.clone();
    let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, payload);
    publish.pkid = packet_id;
    publish.retain = publication.retain;
    Packet::Publish(publish).write(output, packet_bytes_max)?;
    Ok(())
}

fn message(publish: Publish) -> Result<Message, Error> {
    let packet_id = match publish.qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce => Some(publish.pkid),
        // We subscribe at QoS 1.
        QoS::ExactlyOnce => return Err(Error::InvalidQoS(2)),
    };
    Ok(Message {
        packet_id,
        topic: publish.topic,
        payload: publish.payload,
        retained: publish.retain,
        redelivered: publish.dup,
        properties: Vec::new(),
    })
}

fn connected(ack: &ConnAck) -> Incoming {
    match ack.code {
        ConnectReturnCode::Success => Incoming::Welcome(Welcome {
            session_present: ack.session_present,
            receive_maximum: u16::MAX,
            packet_bytes_max: usize::MAX,
            retain_available: true,
            keep_alive_seconds: None,
        }),
        code => Incoming::Refused(format!("{code:?}")),
    }
}

fn refused(ack: &SubAck) -> Vec<(usize, String)> {
    let reasons = ack.return_codes.iter().enumerate();
    reasons
        .filter_map(|(position, reason)| {
            let reason = match reason {
                SubscribeReasonCode::Success(QoS::AtMostOnce) => ONLY_QOS_0,
                SubscribeReasonCode::Success(_) => return None,
                SubscribeReasonCode::Failure => "the broker gave no reason",
            };
            Some((position, reason.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn connecting_keeps_the_session() {
        let hello = Hello {
            client_id: "gateway-1".into(),
            credentials: Some(("user".into(), Some(Bytes::from_static(b"secret")))),
            keep_alive_seconds: 15,
            session_expiry_seconds: 99,
            receive_maximum: 1000,
        };
        let mut output = BytesMut::new();
        write_connect(&hello, &mut output).unwrap();
        let Packet::Connect(connect) = Packet::read(&mut output, usize::MAX).unwrap() else {
            panic!("no CONNECT");
        };
        assert!(!connect.clean_session);
        assert_eq!((connect.keep_alive, connect.last_will), (15, None));
        let (username, password) = ("user".into(), Bytes::from_static(b"secret"));
        let expected = ConnectAuth::UsernamePassword { username, password };
        assert_eq!(connect.auth, expected);
    }

    #[test]
    fn what_the_version_does_not_say_is_without_a_bound() {
        let welcome = decode(BytesMut::from(&[0x20, 2, 1, 0][..])).unwrap();
        let expected = Welcome {
            session_present: true,
            receive_maximum: u16::MAX,
            packet_bytes_max: usize::MAX,
            retain_available: true,
            keep_alive_seconds: None,
        };
        assert_eq!(welcome, Some(Incoming::Welcome(expected)));
    }

    #[test]
    fn refusals_are_told() {
        let refused = decode(BytesMut::from(&[0x20, 2, 0, 5][..])).unwrap();
        assert_eq!(refused, Some(Incoming::Refused("NotAuthorized".into())));
        let Some(Incoming::Subscribed(refused)) =
            decode(BytesMut::from(&[0x90, 5, 0xff, 0xff, 1, 0x80, 0][..])).unwrap()
        else {
            panic!("no SUBACK");
        };
        let positions: Vec<_> = refused.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, [1, 2]);
    }
}
