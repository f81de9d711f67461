//! Lines of a recording, as the `replay` driver plays them. Its readers are the driver's own, so their sources are compiled
//! in here.

#![no_main]

use std::sync::Arc;

use tidegate_fuzz::Subject;
use tidegate_record::{Body, Quality, Topic, WallTime};

#[path = "../../../hardware/src/replay/csv.rs"]
mod csv;
#[path = "../../../hardware/src/replay/jsonl.rs"]
mod jsonl;
#[path = "../../../hardware/src/replay/time.rs"]
mod time;

/// As in the driver.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    pub(crate) point: Arc<str>,
    pub(crate) unit: Option<Arc<str>>,
    pub(crate) body: Body,
    pub(crate) quality: Quality,
    pub(crate) time: Option<WallTime>,
}

/// As in the driver.
#[derive(Debug, Clone)]
pub(crate) enum RowShape {
    Points,
    Objects(Topic),
}

/// The file: JSON Lines, and CSV of both shapes.
struct Recording;

impl Subject for Recording {
    fn seeds() -> Vec<Vec<u8>> {
        let texts = [
            r#"{"topic":"plant/press-7/vibration","time":"2026-03-01T08:00:00.000Z","payload":{"seq":1,"x":0.21}}"#,
            r#"{"topic":"plant/press-7/temperature","time":1772352000500000000,"number":21.5,"unit":"Cel"}"#,
            r#"{"topic":"a","text":"no reading","quality":"bad","received":"2026-03-01T08:00:01+01:00"}"#,
            "time;flow [L/min];state\n2026-03-01 08:00:00.5;1.5;on\n1772352000.25;inf;\"a;\"\"b\"\"\"\n",
            "a,b [Cel]\n1,2\n,nan\nx,3\n",
        ];
        texts.map(|text| text.as_bytes().to_vec()).into()
    }

    /// A number is good if it is one; a row has no more readings than columns; a row that is one message is JSON.
    fn check(input: &[u8]) {
        let Ok(text) = std::str::from_utf8(input) else {
            return;
        };
        let mut lines = text.lines();
        for reading in lines.clone().filter_map(|line| jsonl::parse(line).ok()) {
            assert!(Topic::new(&reading.point).is_ok());
        }
        let topic = Topic::new("rows").expect("a topic");
        let header = lines.next().unwrap_or_default();
        let points = csv::Table::new(header, RowShape::Points);
        let objects = csv::Table::new(header, RowShape::Objects(topic));
        let (Ok(mut points), Ok(mut objects)) = (points, objects) else {
            return;
        };
        for line in lines {
            let (points, objects) = (points.parse(line), objects.parse(line));
            assert_eq!(points.is_ok(), objects.is_ok());
            let points = points.unwrap_or_default();
            assert!(points.len() <= line.split([',', ';']).count());
            points.iter().for_each(check_point);
            objects.iter().flatten().for_each(check_object);
        }
    }
}

fn check_point(reading: &Reading) {
    let Body::Number(number) = reading.body else {
        panic!("a point is a number");
    };
    assert_eq!(reading.quality == Quality::Good, number.is_finite());
}

fn check_object(reading: &Reading) {
    let Body::Payload(payload) = &reading.body else {
        panic!("a row is a message");
    };
    let object: serde_json::Map<_, _> = serde_json::from_slice(payload).expect("which is JSON");
    assert!(!object.contains_key(""));
}

tidegate_fuzz::target!(Recording);
