//! A row as a message: JSON for consumers of any kind, and its identity beside it. docs/formats/mqtt.md is its
//! specification.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tidegate_wire::{
    ClockQuality, Content, Lost, Name, NamedValue, Numbers, Scalar, Stamp, StoredRow, StreamEpoch,
    Thinned,
};

/// A row on its way to a broker.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// MQTT 5 user properties.
    pub(crate) properties: Vec<(String, String)>,
}

impl Publication {
    /// A row of `gateway`, on `<prefix>/<gateway>/<stream>`.
    pub(crate) fn new(prefix: &str, gateway: &Name, of: &StreamEpoch, row: &StoredRow) -> Self {
        let epoch = format!("{}-{:016x}", of.epoch.ordinal, of.epoch.random);
        let id = format!("{gateway}/{}/{epoch}/{}", of.stream, row.seq);
        let properties = [
            ("id", id.clone()),
            ("gateway", gateway.to_string()),
            ("stream", of.stream.to_string()),
            ("epoch", epoch.clone()),
            ("seq", row.seq.to_string()),
            ("class", row.class.as_str().to_owned()),
        ];
        let payload = json(gateway, of, &epoch, id, row).to_string();
        Self {
            topic: format!("{prefix}/{gateway}/{}", of.stream),
            payload: payload.into(),
            properties: properties
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }

    /// About what it takes on the way, headers included.
    pub(crate) fn bytes(&self) -> usize {
        let properties = self.properties.iter();
        let properties = properties.map(|(name, value)| name.len() + value.len() + 5);
        self.topic.len() + self.payload.len() + properties.sum::<usize>() + 32
    }
}

fn json(gateway: &Name, of: &StreamEpoch, epoch: &str, id: String, row: &StoredRow) -> Value {
    let mut object = json!({
        "id": id,
        "gateway": gateway.as_str(),
        "stream": of.stream.as_str(),
        "epoch": epoch,
        "seq": row.seq,
        "class": row.class.as_str(),
        "module": row.module.as_str(),
        "generation": row.generation,
        "key": row.key,
        "time_ns": row.time.0,
        "duration_ns": row.duration_ns,
        "stamp": stamp(&row.stamp),
    });
    if let Some(fields) = object.as_object_mut() {
        if let Some(from) = row.from {
            fields.insert("from".to_owned(), from.into());
        }
        if let Some(trace) = row.trace {
            let trace = trace.iter().map(|byte| format!("{byte:02x}"));
            fields.insert("trace".to_owned(), trace.collect::<String>().into());
        }
        let (name, content) = content(&row.content);
        fields.insert(name.to_owned(), content);
    }
    object
}

fn stamp(stamp: &Stamp) -> Value {
    let clock = match stamp.clock {
        ClockQuality::Unset => "unset",
        ClockQuality::HeldOver => "held-over",
        ClockQuality::Synced => "synced",
        ClockQuality::Device => "device",
        ClockQuality::Restamped => "restamped",
    };
    json!({
        "boot": format!("{:016x}", stamp.boot.0),
        "boot_time_ns": stamp.boot_time.0,
        "wall_time_ns": stamp.wall_time.0,
        "clock": clock,
    })
}

fn content(content: &Content) -> (&'static str, Value) {
    match content {
        Content::Values(values) => ("values", values_json(values)),
        Content::Document(document) => (
            "document",
            json!({"content_type": document.content_type, "base64": STANDARD.encode(&document.bytes)}),
        ),
        Content::Thinned(thinned) => ("thinned", thinned_json(thinned)),
        Content::Lost(lost) => ("lost", lost_json(lost)),
    }
}

fn values_json(values: &[NamedValue]) -> Value {
    let values = values.iter();
    let values = values.map(|value| (value.name.clone(), scalar(&value.value)));
    Value::Object(values.collect::<Map<_, _>>())
}

/// Numbers that JSON has no word for, infinite ones and those that are none, are `null`.
fn scalar(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Boolean(on) => (*on).into(),
        Scalar::Integer(integer) => (*integer).into(),
        Scalar::Number(number) => (*number).into(),
        Scalar::Text(text) => text.as_str().into(),
    }
}

fn thinned_json(thinned: &Thinned) -> Value {
    let values = thinned.values.iter().map(|value| {
        let summary = json!({
            "count": value.count,
            "first": scalar(&value.first),
            "last": scalar(&value.last),
            "numbers": value.numbers.as_ref().map(numbers),
        });
        (value.name.clone(), summary)
    });
    json!({"rows": thinned.rows, "values": Value::Object(values.collect())})
}

fn numbers(numbers: &Numbers) -> Value {
    json!({
        "count": numbers.count, "min": numbers.min, "max": numbers.max, "mean": numbers.mean,
        "squares": numbers.squares,
        "sketch": {
            "zeros": numbers.sketch.zeros,
            "positive": numbers.sketch.positive,
            "negative": numbers.sketch.negative,
        },
    })
}

fn lost_json(lost: &Lost) -> Value {
    let values = lost.values.iter().map(|value| {
        let bounds = json!({"count": value.count, "min": value.min, "max": value.max});
        (value.name.clone(), bounds)
    });
    json!({
        "reason": lost.reason.as_str(), "rows": lost.rows, "bytes": lost.bytes,
        "values": Value::Object(values.collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_wire::{BootId, BootTime, Class, Document, Epoch, WallTime};

    fn row(content: Content) -> StoredRow {
        StoredRow {
            seq: 17,
            class: Class::Raw,
            module: Name::new("unit-convert").unwrap(),
            generation: 3,
            key: "press-7".into(),
            time: WallTime(1_795_246_199_000_000_000),
            duration_ns: 0,
            content,
            stamp: Stamp {
                boot: BootId(0xb007),
                boot_time: BootTime(5_000_000_000),
                wall_time: WallTime(1_795_246_199_500_000_000),
                clock: ClockQuality::Synced,
            },
            trace: Some([0x11; 16]),
            from: None,
        }
    }

    fn publication(content: Content) -> Publication {
        let of = StreamEpoch {
            stream: Name::new("temperature").unwrap(),
            epoch: Epoch {
                ordinal: 2,
                random: 7,
            },
        };
        Publication::new("tidegate", &Name::new("gw-1").unwrap(), &of, &row(content))
    }

    fn value(name: &str, value: Scalar) -> NamedValue {
        NamedValue {
            name: name.into(),
            value,
        }
    }

    /// The example of docs/formats/mqtt.md, byte for byte.
    #[test]
    fn a_row_is_the_json_of_the_page() {
        let page = include_str!("../../../../docs/formats/mqtt.md");
        let example = page.split("```json\n").nth(1).unwrap();
        let example: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
        let publication = publication(Content::Values(vec![
            value("celsius", Scalar::Number(91.5)),
            value("running", Scalar::Boolean(true)),
        ]));
        let payload: Value = serde_json::from_slice(&publication.payload).unwrap();
        assert_eq!(payload, example);
        assert_eq!(publication.topic, "tidegate/gw-1/temperature");
        let id = publication.properties.iter().find(|(name, _)| name == "id");
        assert_eq!(payload["id"], id.unwrap().1.as_str());
    }

    #[test]
    fn what_json_has_no_word_for_is_null_and_bytes_are_base64() {
        let numbers = publication(Content::Values(vec![value("x", Scalar::Number(f64::NAN))]));
        let payload: Value = serde_json::from_slice(&numbers.payload).unwrap();
        assert_eq!(payload["values"]["x"], Value::Null);
        let document = publication(Content::Document(Document {
            content_type: "image/png".into(),
            bytes: vec![0, 255],
        }));
        let payload: Value = serde_json::from_slice(&document.payload).unwrap();
        assert_eq!(payload["document"]["base64"], "AP8=");
    }
}
