//! MQTT 5: its packets to and from [`Incoming`], by rumqttc's encoder and decoder.

use bytes::BytesMut;
use rumqttc::mqttbytes::v5::{
    ConnAck, Connect, ConnectAuth, ConnectProperties, ConnectReturnCode, Packet, PubAckReason,
    Publish, PublishProperties, RetainForwardRule, SubAck, Subscribe, SubscribeFilter,
    SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error, QoS};
use tidegate_record::{Publication, TopicFilter};

use super::packets::{ONLY_QOS_0, SUBSCRIBE_ID};
use super::{DecodeError, Hello, Incoming, Message, Welcome};

/// Name of the property that holds a message's content type.
const CONTENT_TYPE: &str = "content-type";

/// Reads one whole packet; none when it says nothing that we need.
pub(super) fn decode(mut packet: BytesMut) -> Result<Option<Incoming>, DecodeError> {
    // A broker that knows no MQTT 5 says so in the words of 3.1.1.
    if let [0x20, 2, _, 1] = packet[..] {
        let reason = "it speaks no MQTT 5: say protocol = \"3.1.1\"";
        return Ok(Some(Incoming::Refused(reason.to_owned())));
    }
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

/// Asks to be connected. No Maximum Packet Size is said: the broker would discard what is larger without a word, and
/// what is lost must be counted.
pub(super) fn write_connect(hello: &Hello, output: &mut BytesMut) -> Result<(), DecodeError> {
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(hello.session_expiry_seconds);
    properties.receive_maximum = Some(hello.receive_maximum);
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
    Packet::Connect(connect, None, auth).write(output, None)?;
    Ok(())
}

/// Subscribes. A retained message comes only with a subscription that is new: not on every reconnect.
pub(super) fn write_subscribe(
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

/// Publishes, with the content type.
pub(super) fn write_publish(
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
    Packet::Publish(publish).write(output, u32::try_from(packet_bytes_max).ok())?;
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
        .filter_map(|(position, reason)| {
            let reason = match reason {
                SubscribeReasonCode::Success(QoS::AtMostOnce) => ONLY_QOS_0.to_owned(),
                SubscribeReasonCode::Success(_) => return None,
                refusal => format!("{refusal:?}"),
            };
            Some((position, reason))
        })
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

    #[test]
    fn connecting_keeps_the_session_and_bounds_what_comes_at_once_but_not_its_size() {
        let hello = Hello {
            client_id: "gateway-1".into(),
            credentials: Some(("user".into(), Some(Bytes::from_static(b"secret")))),
            keep_alive_seconds: 15,
            session_expiry_seconds: 99,
            receive_maximum: 1000,
        };
        let mut output = BytesMut::new();
        write_connect(&hello, &mut output).unwrap();
        let Packet::Connect(connect, None, auth) = Packet::read(&mut output, None).unwrap() else {
            panic!("no CONNECT");
        };
        let properties = connect.properties.unwrap();
        assert!(!connect.clean_start);
        assert_eq!(properties.session_expiry_interval, Some(99));
        assert_eq!(
            (properties.receive_maximum, properties.max_packet_size),
            (Some(1000), None)
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
    fn a_broker_of_3_1_1_is_told_from_one_that_speaks_nonsense() {
        let refused = decode(BytesMut::from(&[0x20, 2, 0, 1][..])).unwrap();
        assert!(
            matches!(&refused, Some(Incoming::Refused(reason)) if reason.contains("3.1.1")),
            "{refused:?}"
        );
    }
}
