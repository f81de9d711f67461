//! Outputs of two generations for the same messages, side by side.

use serde_json::Value;
use tidegate_record::{Command, Content, NamedValue, Publication, Row, Scalar};

use crate::module::Called;

/// How outputs of two generations are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// All are the same.
    Equal,
    /// The same but for numbers, which may differ by so many millionths of the greater one.
    Tolerance {
        /// Millionths.
        ppm: u64,
    },
    /// As many of each kind.
    Count,
}

/// What a call asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outputs {
    rows: Vec<Row>,
    publications: Vec<Publication>,
    commands: Vec<Command>,
    rejected: usize,
}

impl Outputs {
    /// Those of a call. The order between kinds is not compared.
    pub(crate) fn of(called: &Called) -> Self {
        let rows = called.applied.rows.iter();
        let publications = called.at_once.iter().chain(&called.applied.publications);
        Self {
            rows: rows.map(|(row, _)| row.clone()).collect(),
            publications: publications.cloned().collect(),
            commands: called.commands.clone(),
            rejected: called.applied.rejections.len(),
        }
    }

    /// The first difference in words: `self` is of the active one.
    pub(crate) fn difference(&self, candidate: &Self, check: Check) -> Option<String> {
        for (what, ours, theirs) in [
            ("rows", self.rows.len(), candidate.rows.len()),
            (
                "publications",
                self.publications.len(),
                candidate.publications.len(),
            ),
            ("commands", self.commands.len(), candidate.commands.len()),
            ("rejected messages", self.rejected, candidate.rejected),
        ] {
            if ours != theirs {
                return Some(format!("{theirs} {what} instead of {ours}"));
            }
        }
        if check == Check::Count {
            return None;
        }
        let rows = self.rows.iter().zip(&candidate.rows);
        let publications = self.publications.iter().zip(&candidate.publications);
        let commands = self.commands.iter().zip(&candidate.commands);
        let row = || {
            rows.clone()
                .find(|(ours, theirs)| !rows_agree(ours, theirs, check))
        };
        if let Some((ours, theirs)) = row() {
            return Some(format!(
                "a row in stream {}: {theirs:?} instead of {ours:?}",
                ours.stream
            ));
        }
        for (ours, theirs) in publications {
            if !publications_agree(ours, theirs, check) {
                return Some(format!("another publication on {}", ours.topic));
            }
        }
        for (ours, theirs) in commands {
            if ours.point != theirs.point || !scalars_agree(&ours.value, &theirs.value, check) {
                return Some(format!("another command to {}", ours.point));
            }
        }
        None
    }
}

fn rows_agree(ours: &Row, theirs: &Row, check: Check) -> bool {
    let place = |row: &Row| {
        (
            row.stream.clone(),
            row.class,
            row.key.clone(),
            row.time,
            row.duration_ns,
        )
    };
    place(ours) == place(theirs)
        && match (&ours.content, &theirs.content) {
            (Content::Values(ours), Content::Values(theirs)) => {
                let mut pairs = ours.iter().zip(theirs);
                ours.len() == theirs.len()
                    && pairs.all(|(ours, theirs)| values_agree(ours, theirs, check))
            }
            (Content::Document(ours), Content::Document(theirs)) => {
                ours.content_type == theirs.content_type
                    && payloads_agree(&ours.bytes, &theirs.bytes, check)
            }
            (ours, theirs) => ours == theirs,
        }
}

fn values_agree(ours: &NamedValue, theirs: &NamedValue, check: Check) -> bool {
    ours.name == theirs.name && scalars_agree(&ours.value, &theirs.value, check)
}

fn scalars_agree(ours: &Scalar, theirs: &Scalar, check: Check) -> bool {
    match (ours, theirs) {
        (Scalar::Number(ours), Scalar::Number(theirs)) => numbers_agree(*ours, *theirs, check),
        (ours, theirs) => ours == theirs,
    }
}

fn publications_agree(ours: &Publication, theirs: &Publication, check: Check) -> bool {
    let rest = |publication: &Publication| Publication {
        payload: bytes::Bytes::new(),
        ..publication.clone()
    };
    rest(ours) == rest(theirs) && payloads_agree(&ours.payload, &theirs.payload, check)
}

/// Bytes, or within a tolerance numbers in JSON.
fn payloads_agree(ours: &[u8], theirs: &[u8], check: Check) -> bool {
    if ours == theirs {
        return true;
    }
    let parsed = || {
        Some((
            serde_json::from_slice(ours).ok()?,
            serde_json::from_slice(theirs).ok()?,
        ))
    };
    match check {
        Check::Equal => false,
        Check::Tolerance { .. } | Check::Count => {
            parsed().is_some_and(|(ours, theirs)| json_agrees(&ours, &theirs, check))
        }
    }
}

fn json_agrees(ours: &Value, theirs: &Value, check: Check) -> bool {
    match (ours, theirs) {
        (Value::Number(one), Value::Number(other)) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => numbers_agree(one, other, check),
            _ => one == other,
        },
        (Value::Array(ours), Value::Array(theirs)) => {
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len()
                && pairs.all(|(ours, theirs)| json_agrees(ours, theirs, check))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, value)| {
                    theirs
                        .get(key)
                        .is_some_and(|other| json_agrees(value, other, check))
                })
        }
        (ours, theirs) => ours == theirs,
    }
}

/// Two that are no numbers agree.
fn numbers_agree(ours: f64, theirs: f64, check: Check) -> bool {
    let same = ours.total_cmp(&theirs).is_eq() || (ours.is_nan() && theirs.is_nan());
    match check {
        Check::Tolerance { ppm } => {
            #[allow(clippy::cast_precision_loss, reason = "a tolerance need not be exact")]
            let part = ppm as f64 / 1e6;
            same || (ours - theirs).abs() <= part * ours.abs().max(theirs.abs())
        }
        Check::Equal | Check::Count => same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_record::{Class, Delivery, Name, Topic, WallTime};

    fn row(value: f64) -> Row {
        Row {
            stream: Name::new("summaries").unwrap(),
            class: Class::Summary,
            key: "press".into(),
            time: WallTime(1),
            duration_ns: 0,
            content: Content::Values(vec![NamedValue {
                name: "mean".to_owned(),
                value: Scalar::Number(value),
            }]),
        }
    }

    fn rows(values: &[f64]) -> Outputs {
        Outputs {
            rows: values.iter().copied().map(row).collect(),
            ..Outputs::default()
        }
    }

    fn published(payload: &'static str) -> Outputs {
        Outputs {
            publications: vec![Publication {
                broker: Name::new("plant").unwrap(),
                topic: Topic::new("alarms").unwrap(),
                payload: payload.into(),
                content_type: None,
                retain: false,
                delivery: Delivery::AtOnce,
            }],
            ..Outputs::default()
        }
    }

    #[test]
    fn equal_means_to_the_last_bit() {
        let ours = rows(&[1.0, 2.0]);
        assert_eq!(ours.difference(&rows(&[1.0, 2.0]), Check::Equal), None);
        let other = ours.difference(&rows(&[1.0, 2.000_000_000_1]), Check::Equal);
        assert!(other.is_some_and(|words| words.contains("stream summaries")));
        assert_eq!(
            rows(&[f64::NAN]).difference(&rows(&[f64::NAN]), Check::Equal),
            None
        );
    }

    #[test]
    fn a_tolerance_is_a_part_of_the_greater_number() {
        let check = Check::Tolerance { ppm: 1000 };
        assert_eq!(rows(&[1000.0]).difference(&rows(&[1001.0]), check), None);
        assert!(
            rows(&[1000.0])
                .difference(&rows(&[1001.1]), check)
                .is_some()
        );
        assert!(rows(&[0.0]).difference(&rows(&[0.1]), check).is_some());
        let ours = published(r#"{"celsius": 20.0, "site": "north"}"#);
        assert_eq!(
            ours.difference(&published(r#"{"site":"north","celsius":20.01}"#), check),
            None
        );
        assert!(
            ours.difference(&published(r#"{"site":"south","celsius":20.0}"#), check)
                .is_some()
        );
        assert!(ours.difference(&published("20.0"), check).is_some());
    }

    #[test]
    fn a_count_is_of_each_kind() {
        assert_eq!(rows(&[1.0]).difference(&rows(&[9.0]), Check::Count), None);
        let less = rows(&[1.0, 2.0]).difference(&rows(&[1.0]), Check::Count);
        assert_eq!(less.as_deref(), Some("1 rows instead of 2"));
        assert!(
            rows(&[1.0])
                .difference(&published("1"), Check::Count)
                .is_some()
        );
    }
}
