//! What a row says, as JSON.
//!
//! Nothing is lost on the way: values keep their order even where two share a name, a document is base64, and a number
//! that JSON cannot say (`NaN`, infinities) is a text. Of a thinned row the bins are told as quantiles.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tidegate_aggregate::{Moments, Sketch};
use tidegate_wire::{Content, LostValue, NamedValue, Numbers, Scalar, ThinnedValue};

/// Most bins of a sketch; one with more is not a gateway's, and has no quantiles.
const BINS_MAX: usize = 512;

/// See [`Content`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ContentJson<'r> {
    Values(Named<'r, NamedValue>),
    Document {
        content_type: &'r str,
        base64: String,
    },
    Thinned {
        rows: u64,
        values: Named<'r, ThinnedValue>,
    },
    Lost {
        reason: &'static str,
        rows: u64,
        bytes: u64,
        values: Named<'r, LostValue>,
    },
}

impl<'r> From<&'r Content> for ContentJson<'r> {
    fn from(content: &'r Content) -> Self {
        match content {
            Content::Values(values) => Self::Values(Named(values)),
            Content::Document(document) => Self::Document {
                content_type: &document.content_type,
                base64: STANDARD.encode(&document.bytes),
            },
            Content::Thinned(thinned) => Self::Thinned {
                rows: thinned.rows,
                values: Named(&thinned.values),
            },
            Content::Lost(lost) => Self::Lost {
                reason: lost.reason.as_str(),
                rows: lost.rows,
                bytes: lost.bytes,
                values: Named(&lost.values),
            },
        }
    }
}

/// An object with one member per value, in order.
#[derive(Debug)]
pub(super) struct Named<'r, V>(&'r [V]);

/// A value that has a name.
trait Member {
    fn name(&self) -> &str;
    fn json(&self) -> impl Serialize;
}

impl<V: Member> Serialize for Named<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for value in self.0 {
            map.serialize_entry(value.name(), &value.json())?;
        }
        map.end()
    }
}

impl Member for NamedValue {
    fn name(&self) -> &str {
        &self.name
    }

    fn json(&self) -> impl Serialize {
        ScalarJson::from(&self.value)
    }
}

impl Member for ThinnedValue {
    fn name(&self) -> &str {
        &self.name
    }

    fn json(&self) -> impl Serialize {
        ThinnedJson {
            count: self.count,
            first: ScalarJson::from(&self.first),
            last: ScalarJson::from(&self.last),
            numbers: self.numbers.as_ref().map(NumbersJson::from),
        }
    }
}

impl Member for LostValue {
    fn name(&self) -> &str {
        &self.name
    }

    fn json(&self) -> impl Serialize {
        BoundsJson {
            count: self.count,
            min: number(self.min),
            max: number(self.max),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ScalarJson<'r> {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(&'r str),
    NoNumber(String),
}

#[derive(Debug, Serialize)]
struct ThinnedJson<'r> {
    count: u64,
    first: ScalarJson<'r>,
    last: ScalarJson<'r>,
    numbers: Option<NumbersJson>,
}

#[derive(Debug, Serialize)]
struct NumbersJson {
    count: u64,
    min: ScalarJson<'static>,
    max: ScalarJson<'static>,
    mean: ScalarJson<'static>,
    deviation: Option<ScalarJson<'static>>,
    p50: Option<ScalarJson<'static>>,
    p95: Option<ScalarJson<'static>>,
    p99: Option<ScalarJson<'static>>,
}

#[derive(Debug, Serialize)]
struct BoundsJson {
    count: u64,
    min: ScalarJson<'static>,
    max: ScalarJson<'static>,
}

impl<'r> From<&'r Scalar> for ScalarJson<'r> {
    fn from(scalar: &'r Scalar) -> Self {
        match scalar {
            Scalar::Boolean(boolean) => Self::Boolean(*boolean),
            Scalar::Integer(integer) => Self::Integer(*integer),
            Scalar::Number(finite) => number(*finite),
            Scalar::Text(text) => Self::Text(text),
        }
    }
}

impl From<&Numbers> for NumbersJson {
    fn from(numbers: &Numbers) -> Self {
        let Numbers {
            count,
            min,
            max,
            mean,
            squares,
            ..
        } = *numbers;
        let sketch = sketch(numbers);
        let quantile = |q| {
            // The middle of a bin may lie beyond the outermost number. Not by `clamp`: a gateway's bounds may be any.
            let middle = sketch.as_ref()?.quantile(q)?;
            Some(number(middle.max(min).min(max)))
        };
        Self {
            count,
            min: number(min),
            max: number(max),
            mean: number(mean),
            deviation: Moments::from_parts(count, min, max, mean, squares)
                .stddev()
                .map(number),
            p50: quantile(0.50),
            p95: quantile(0.95),
            p99: quantile(0.99),
        }
    }
}

fn sketch(numbers: &Numbers) -> Option<Sketch> {
    let bins = &numbers.sketch;
    let most = bins.positive.len().max(bins.negative.len());
    (most <= BINS_MAX).then(|| Sketch::from_bins(bins.zeros, &bins.positive, &bins.negative))
}

fn number(number: f64) -> ScalarJson<'static> {
    match number.is_finite() {
        true => ScalarJson::Number(number),
        false => ScalarJson::NoNumber(number.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_wire::{Bins, Document, Thinned, WallTime};

    use super::super::json::RowJson;
    use super::*;
    use crate::samples::{START_NS, epoch, lost, row, thinned};
    use crate::store::HeldRow;

    fn text(content: Content) -> Value {
        let mut sample = row(1);
        sample.content = content;
        let held = HeldRow {
            epoch: epoch(3),
            received: WallTime(START_NS),
            row: sample,
        };
        serde_json::to_value(RowJson::from(&held)).unwrap()
    }

    #[test]
    fn values_of_every_kind_become_json() {
        let value = |name: &str, value| NamedValue {
            name: name.into(),
            value,
        };
        let json = text(Content::Values(vec![
            value("on", Scalar::Boolean(true)),
            value("count", Scalar::Integer(i64::MIN)),
            value("celsius", Scalar::Number(91.5)),
            value("nan", Scalar::Number(f64::NAN)),
            value("word", Scalar::Text("</script>".into())),
        ]));
        let expected = json!({ "on": true, "count": i64::MIN, "celsius": 91.5, "nan": "NaN", "word": "</script>" });
        assert_eq!(json["values"], expected);
        assert_eq!(
            json["epoch"],
            json!({ "ordinal": 3, "random": "fffffffffffffffc" })
        );
        assert_eq!(json["time"], "2026-11-21T07:30:01.000000000Z");
        assert_eq!(json["trace"], "07".repeat(16));
    }

    #[test]
    fn a_document_is_base64() {
        let document = Document {
            content_type: "image/png".into(),
            bytes: vec![0, 255],
        };
        let expected = json!({ "content_type": "image/png", "base64": "AP8=" });
        assert_eq!(text(Content::Document(document))["document"], expected);
    }

    #[test]
    fn a_thinned_row_says_its_numbers_and_quantiles() {
        // 20.5, 21.0 and so on up to 69.5.
        let json = text(thinned(1, 99).content);
        let numbers = &json["thinned"]["values"]["celsius"]["numbers"];
        assert_eq!(json["thinned"]["rows"], 99);
        assert_eq!(
            json["thinned"]["values"]["celsius"]["first"],
            numbers["min"]
        );
        assert_eq!(
            (&numbers["min"], &numbers["max"], &numbers["count"]),
            (&json!(20.5), &json!(69.5), &json!(99))
        );
        for (name, exact) in [
            ("mean", 45.0),
            ("p50", 45.0),
            ("p95", 67.0),
            ("p99", 69.0),
            ("deviation", 14.36),
        ] {
            let found = numbers[name].as_f64().unwrap();
            assert!((found - exact).abs() < exact / 90.0, "{name}: {found}");
        }
    }

    #[test]
    fn numbers_that_contradict_each_other_are_told_without_a_fault() {
        let numbers = |change: &dyn Fn(&mut Numbers)| {
            let Content::Thinned(Thinned { rows, mut values }) = thinned(1, 9).content else {
                panic!("a thinned row is thinned");
            };
            change(values[0].numbers.as_mut().unwrap());
            let json = text(Content::Thinned(Thinned { rows, values }));
            json["thinned"]["values"]["celsius"]["numbers"].clone()
        };
        assert_eq!(numbers(&|n| n.max = f64::NAN)["max"], "NaN");
        assert!(numbers(&|n| n.min = 1e9)["p50"].is_number());
        assert!(numbers(&|n| n.count = 0)["deviation"].is_null());
        let bins = |positive| Bins {
            zeros: u64::MAX,
            positive,
            negative: vec![(i32::MIN, u64::MAX)],
        };
        let told = numbers(&|n| n.sketch = bins(vec![(i32::MAX, u64::MAX), (0, 1)]));
        assert!(told["p50"].is_number());
        assert!(numbers(&|n| n.sketch = bins(vec![(0, 1); 513]))["p50"].is_null());
    }

    #[test]
    fn an_entry_of_the_ledger_says_why_how_many_and_their_bounds() {
        let expected = json!({
            "reason": "evicted", "rows": 9, "bytes": 900,
            "values": { "celsius": { "count": 9, "min": 20.5, "max": 24.5 } },
        });
        assert_eq!(text(lost(1, 9).content)["lost"], expected);
    }
}
