//! Packets of whichever version a broker speaks.

use bytes::{BufMut, BytesMut};
use tidegate_record::{Publication, TopicFilter};

use super::{DecodeError, Hello, Incoming, v4, v5};
use crate::Protocol;

/// The packet id of our SUBSCRIBE: no publication has it.
pub(super) const SUBSCRIBE_ID: u16 = u16::MAX;

/// Why a subscription is not taken as asked when the broker grants less than QoS 1.
pub(super) const ONLY_QOS_0: &str = "only at QoS 0: what comes while we are away is lost";

/// Reads one whole packet; none when it says nothing that we need.
pub(super) fn decode(
    protocol: Protocol,
    packet: BytesMut,
) -> Result<Option<Incoming>, DecodeError> {
    match protocol {
        Protocol::Mqtt5 => v5::decode(packet),
        Protocol::Mqtt311 => v4::decode(packet),
    }
}

/// Asks to be connected, with the session that the broker has kept.
pub(super) fn write_connect(
    protocol: Protocol,
    hello: &Hello,
    output: &mut BytesMut,
) -> Result<(), DecodeError> {
    // Written into a buffer of its own: the libraries put the flags at a position counted from the buffer's beginning.
    let mut packet = BytesMut::new();
    match protocol {
        Protocol::Mqtt5 => v5::write_connect(hello, &mut packet)?,
        Protocol::Mqtt311 => v4::write_connect(hello, &mut packet)?,
    }
    output.extend_from_slice(&packet);
    Ok(())
}

/// Asks for all of `filters`, at QoS 1.
pub(super) fn write_subscribe(
    protocol: Protocol,
    filters: &[TopicFilter],
    output: &mut BytesMut,
) -> Result<(), DecodeError> {
    match protocol {
        Protocol::Mqtt5 => v5::write_subscribe(filters, output),
        Protocol::Mqtt311 => v4::write_subscribe(filters, output),
    }
}

/// Publishes at QoS 1.
///
/// # Errors
/// When the packet would have more than `packet_bytes_max` bytes: then nothing is written.
pub(super) fn write_publish(
    protocol: Protocol,
    publication: &Publication,
    packet_id: u16,
    packet_bytes_max: usize,
    output: &mut BytesMut,
) -> Result<(), DecodeError> {
    let written = output.len();
    let result = match protocol {
        Protocol::Mqtt5 => v5::write_publish(publication, packet_id, packet_bytes_max, output),
        Protocol::Mqtt311 => v4::write_publish(publication, packet_id, packet_bytes_max, output),
    };
    if result.is_err() {
        output.truncate(written);
    }
    result
}

/// Acknowledges a message.
pub(super) fn write_ack(packet_id: u16, output: &mut BytesMut) {
    output.put_slice(&[0x40, 2]);
    output.put_u16(packet_id);
}

/// Asks whether the broker is alive.
pub(super) fn write_ping(output: &mut BytesMut) {
    output.put_slice(&[0xc0, 0]);
}

/// Says goodbye; the broker keeps the session.
pub(super) fn write_disconnect(output: &mut BytesMut) {
    // MQTT 5 may leave out the reason when it is a normal one.
    output.put_slice(&[0xe0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tidegate_record::{Delivery, Name, Topic};

    const BOTH: [Protocol; 2] = [Protocol::Mqtt5, Protocol::Mqtt311];

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
        for protocol in BOTH {
            let mut output = BytesMut::from(&b"before"[..]);
            write_publish(protocol, &publication(b"{}"), 7, 1000, &mut output).unwrap();
            let Some(Incoming::Message(message)) = decode(protocol, output.split_off(6)).unwrap()
            else {
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
            // MQTT 3.1.1 has no properties.
            let content_type = ("content-type".to_owned(), "application/json".to_owned());
            let expected = match protocol {
                Protocol::Mqtt5 => vec![content_type],
                Protocol::Mqtt311 => Vec::new(),
            };
            assert_eq!(message.properties, expected);
        }
    }

    #[test]
    fn a_publication_larger_than_the_broker_takes_is_refused_and_leaves_no_bytes() {
        for protocol in BOTH {
            let mut output = BytesMut::from(&b"before"[..]);
            let publication = publication(&[0; 100]);
            assert!(write_publish(protocol, &publication, 7, 100, &mut output).is_err());
            assert_eq!(&output[..], b"before");
        }
    }

    #[test]
    fn qos_2_and_an_empty_topic_are_malformed() {
        for (protocol, properties) in [(Protocol::Mqtt5, &[0][..]), (Protocol::Mqtt311, &[])] {
            for packet in [&[0x34, 5, 0, 1, b'a', 0, 9][..], &[0x30, 2, 0, 0]] {
                let mut packet = BytesMut::from(packet);
                packet[1] += u8::try_from(properties.len()).unwrap();
                packet.extend_from_slice(properties);
                assert!(decode(protocol, packet).is_err());
            }
        }
    }

    #[test]
    fn what_both_versions_say_alike_is_what_the_library_says() {
        let mut ours = BytesMut::new();
        write_ack(0x1234, &mut ours);
        write_ping(&mut ours);
        let mut theirs = BytesMut::new();
        rumqttc_v4::PubAck::new(0x1234).write(&mut theirs).unwrap();
        rumqttc_v4::PingReq.write(&mut theirs).unwrap();
        assert_eq!(ours, theirs);
    }
}
