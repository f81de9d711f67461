//! MQTT 5: its packets to and from [`Incoming`], by rumqttc's encoder and decoder.

use bytes::{BufMut, BytesMut};
use rumqttc::mqttbytes::v5::{
    ConnAck, Connect, ConnectAuth, ConnectProperties, ConnectReturnCode, Disconnect,
    DisconnectReasonCode, Packet, PubAckReason, Publish, PublishProperties, RetainForwardRule,
    SubAck, Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error, QoS};
use tidegate_record::{Publication, TopicFilter};

use super::{DecodeError, Hello, Incoming, Message, Welcome};

/// The packet id of our SUBSCRIBE: no publication has it.
const SUBSCRIBE_ID: u16 = u16::MAX;
/// Name of the property that holds a message's content type.
const CONTENT_TYPE: &str = "content-type";

/// Reads one whole packet; none when it says nothing that we need.
pub(crate) fn decode(mut packet: BytesMut) -> Result<Option<Incoming>, DecodeError> {
    let incoming = match Packet::read(&mut packet, None)? {
        Packet::Publish(publish) => Incoming::Message(message(publish)?),
        Packet::PubAck(ack) => {
            let refused = match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
                reason => Some(format!("{reason:?}")),
            };
            Incoming::Published(ack.pkid, refused)
        }
        Packet::PingResp => Incoming::Pong,
        Packet::ConnAck(ack) => connected(ack),
        Packet::SubAck(ack) => Incoming::Subscribed(refused(&ack)),
        Packet::Disconnect(disconnect) => {
            let text = disconnect
                .properties
                .and_then(|properties| properties.reason_string);
            Incoming::Disconnected(with_text(format!("{:?}", disconnect.reason_code), text))
        }
        _ => return Ok(None),
    };
    Ok(Some(incoming))
}

/// Asks to be connected, with the session that the broker has kept.
pub(crate) fn write_connect(hello: &Hello, output: &mut BytesMut) -> Result<(), DecodeError> {
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(hello.session_expiry_seconds);
    properties.receive_maximum = Some(hello.receive_maximum);
    properties.max_packet_size = Some(u32::try_from(hello.packet_bytes_max)?);
    let connect = Connect {
        keep_alive: hello.keep_alive_seconds,
        client_id: hello.client_id.clone(),
        clean_start: false,
        properties: Some(properties),
    };
    let auth = match hello.credentials.clone() {
        None => ConnectAuth::None,
        Some((username, None)) => ConnectAuth::Username { username },
        Some((username, Some(password))) => ConnectAuth::UsernamePassword { username, password },
    };
    // Written into a buffer of its own: the library puts the flags at a position counted from the buffer's beginning.
    let mut packet = BytesMut::new();
    Packet::Connect(connect, None, auth).write(&mut packet, None)?;
    output.extend_from_slice(&packet);
    Ok(())
}

/// Asks for all of `filters`, at QoS 1. A retained message comes only with a subscription that is new: not on every
/// reconnect.
pub(crate) fn write_subscribe(
    filters: &[TopicFilter],
    output: &mut BytesMut,
) -> Result<(), DecodeError> {
    let filters = filters.iter().map(|filter| SubscribeFilter {
        path: filter.as_str().to_owned(),
        qos: QoS::AtLeastOnce,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::OnNewSubscribe,
    });
    let mut subscribe = Subscribe::new_many(filters, None);
    subscribe.pkid = SUBSCRIBE_ID;
    Packet::Subscribe(subscribe).write(output, None)?;
    Ok(())
}

/// Publishes at QoS 1.
///
/// # Errors
/// When the packet would have more than `packet_bytes_max` bytes: then nothing is written.
pub(crate) fn write_publish(
    publication: &Publication,
    packet_id: u16,
    packet_bytes_max: usize,
    output: &mut BytesMut,
) -> Result<(), DecodeError> {
    let properties = publication
        .content_type
        .as_ref()
        .map(|content_type| PublishProperties {
            content_type: Some(content_type.to_string()),
            ..PublishProperties::default()
        });
    let topic = publication.topic.as_str();
    let mut publish = Publish::new(
        topic,
        QoS::AtLeastOnce,
        publication.payload.clone(),
        properties,
    );
    publish.pkid = packet_id;
    publish.retain = publication.retain;
    let written = output.len();
    let result = Packet::Publish(publish).write(output, u32::try_from(packet_bytes_max).ok());
    if result.is_err() {
        output.truncate(written);
    }
    result?;
    Ok(())
}

/// Acknowledges a message.
pub(crate) fn write_ack(packet_id: u16, output: &mut BytesMut) {
    output.put_slice(&[0x40, 2]);
    output.put_u16(packet_id);
}

/// Asks whether the broker is alive.
pub(crate) fn write_ping(output: &mut BytesMut) {
    output.put_slice(&[0xc0, 0]);
}

/// Says goodbye; the broker keeps the session.
pub(crate) fn write_disconnect(output: &mut BytesMut) -> Result<(), DecodeError> {
    Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))
        .write(output, None)?;
    Ok(())
}

fn message(publish: Publish) -> Result<Message, Error> {
    let packet_id = match publish.qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce => Some(publish.pkid),
        // We subscribe at QoS 1.
        QoS::ExactlyOnce => return Err(Error::InvalidQoS(2)),
    };
    let mut properties = Vec::new();
    if let Some(more) = publish.properties {
        // We allow no topic alias, so a topic is never left out.
        properties = more.user_properties;
        properties.extend(
            more.content_type
                .map(|content_type| (CONTENT_TYPE.to_owned(), content_type)),
        );
    }
    if publish.topic.is_empty() {
        return Err(Error::MalformedPacket);
    }
    Ok(Message {
        packet_id,
        topic: publish.topic,
        payload: publish.payload,
        retained: publish.retain,
        redelivered: publish.dup,
        properties,
    })
}

fn connected(ack: ConnAck) -> Incoming {
    let properties = ack.properties;
    if ack.code != ConnectReturnCode::Success {
        let text = properties.and_then(|properties| properties.reason_string);
        return Incoming::Refused(with_text(format!("{:?}", ack.code), text));
    }
    let properties = properties.as_ref();
    let packet_bytes_max = properties.and_then(|p| p.max_packet_size);
    Incoming::Welcome(Welcome {
        session_present: ack.session_present,
        receive_maximum: properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
        packet_bytes_max: packet_bytes_max
            .and_then(|max| usize::try_from(max).ok())
            .unwrap_or(usize::MAX),
        retain_available: properties.and_then(|p| p.retain_available) != Some(0),
        keep_alive_seconds: properties.and_then(|p| p.server_keep_alive),
    })
}

fn refused(ack: &SubAck) -> Vec<(usize, String)> {
    let reasons = ack.return_codes.iter().enumerate();
    reasons
        .filter(|(_, reason)| !matches!(reason, SubscribeReasonCode::Success(_)))
        .map(|(position, reason)| (position, format!("{reason:?}")))
        .collect()
}

/// The broker's reason, with its own words where it has some, cut to what fits into a log line.
fn with_text(reason: String, text: Option<String>) -> String {
    match text {
        None => reason,
        Some(text) => format!("{reason}: {}", text.chars().take(200).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tidegate_record::{Delivery, Name, Topic};

    fn encoded(packet: &Packet) -> BytesMut {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        bytes
    }

    fn publication(payload: &'static [u8]) -> Publication {
        Publication {
            broker: Name::new("plant").unwrap(),
            topic: Topic::new("alarms/press").unwrap(),
            payload: Bytes::from_static(payload),
            content_type: Some("application/json".into()),
            retain: true,
            delivery: Delivery::AtOnce,
        }
    }

    #[test]
    fn a_publication_comes_back_as_the_message_that_it_was() {
        let mut output = BytesMut::from(&b"before"[..]);
        write_publish(&publication(b"{}"), 7, 1000, &mut output).unwrap();
        let Some(Incoming::Message(message)) = decode(output.split_off(6)).unwrap() else {
            panic!("no message");
        };
        assert_eq!(
            (&message.topic[..], &message.payload[..]),
            (&b"alarms/press"[..], &b"{}"[..])
        );
        assert_eq!(
            (message.packet_id, message.retained, message.redelivered),
            (Some(7), true, false)
        );
        assert_eq!(
            message.properties,
            [("content-type".to_owned(), "application/json".to_owned())]
        );
    }

    #[test]
    fn a_publication_larger_than_the_broker_takes_is_refused_and_leaves_no_bytes() {
        let mut output = BytesMut::from(&b"before"[..]);
        assert!(write_publish(&publication(&[0; 100]), 7, 100, &mut output).is_err());
        assert_eq!(&output[..], b"before");
    }

    #[test]
    fn an_ack_is_the_same_as_the_librarys() {
        let mut ours = BytesMut::new();
        write_ack(0x1234, &mut ours);
        let theirs = encoded(&Packet::PubAck(rumqttc::mqttbytes::v5::PubAck::new(
            0x1234, None,
        )));
        assert_eq!(ours, theirs);
        let mut ping = BytesMut::new();
        write_ping(&mut ping);
        assert_eq!(ping, encoded(&Packet::PingReq));
    }

    #[test]
    fn connecting_keeps_the_session_and_says_what_we_take() {
        let hello = Hello {
            client_id: "gateway-1".into(),
            credentials: Some(("user".into(), Some(Bytes::from_static(b"secret")))),
            keep_alive_seconds: 15,
            session_expiry_seconds: 99,
            receive_maximum: 1000,
            packet_bytes_max: 5000,
        };
        let mut output = BytesMut::from(&b"before"[..]);
        write_connect(&hello, &mut output).unwrap();
        let Packet::Connect(connect, None, auth) =
            Packet::read(&mut output.split_off(6), None).unwrap()
        else {
            panic!("no CONNECT");
        };
        let properties = connect.properties.unwrap();
        assert!(!connect.clean_start);
        assert_eq!(properties.session_expiry_interval, Some(99));
        assert_eq!(
            (properties.receive_maximum, properties.max_packet_size),
            (Some(1000), Some(5000))
        );
        assert_eq!(properties.topic_alias_max, None);
        assert_eq!(
            auth,
            ConnectAuth::UsernamePassword {
                username: "user".into(),
                password: Bytes::from_static(b"secret")
            }
        );
    }

    #[test]
    fn qos_2_and_an_empty_topic_are_malformed() {
        let mut publish = Publish::new("a", QoS::ExactlyOnce, "x", None);
        publish.pkid = 1;
        assert!(decode(encoded(&Packet::Publish(publish))).is_err());
        assert!(
            decode(encoded(&Packet::Publish(Publish::new(
                "",
                QoS::AtMostOnce,
                "x",
                None
            ))))
            .is_err()
        );
    }
}
