use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_record::{Body, Quality};

use super::*;

/// A recording in a file.
struct Recording {
    dir: tempfile::TempDir,
    config: ReplayConfig,
}

fn recording(name: &str, text: impl AsRef<[u8]>) -> Recording {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    std::fs::write(&file, text).unwrap();
    let config = ReplayConfig {
        file,
        speed: Speed::NO_PAUSES,
        rows: RowShape::Points,
        line_bytes_max: 1000,
    };
    Recording { dir, config }
}

/// Plays to the end: the readings and the count of malformed lines.
async fn play(config: &ReplayConfig) -> (Vec<Reading>, u64) {
    let mut replay = Replay::open(config).unwrap();
    let mut readings = Vec::new();
    loop {
        let mut due = Vec::new();
        match replay.next(&mut due).await.unwrap() {
            Progress::Ended => return (readings, replay.malformed()),
            Progress::More => readings.append(&mut due),
        }
    }
}

fn seconds(reading: &Reading) -> u64 {
    reading.time.unwrap().0 / 1_000_000_000
}

#[tokio::test]
async fn each_numeric_column_becomes_a_point_whatever_the_separator() {
    for separator in [";", ","] {
        let text = "datetime;Flow Rate [L/min];label;Pressure\n2020-03-09 10:14:33;32.0;ok;-0.5\n"
            .replace(';', separator);
        let (readings, malformed) = play(&recording("a.csv", text).config).await;
        assert_eq!(malformed, 0);
        let found: Vec<_> = readings
            .iter()
            .map(|r| (&*r.point, r.unit.as_deref(), r.body.clone(), seconds(r)))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "Flow Rate",
                    Some("L/min"),
                    Body::Number(32.0),
                    1_583_748_873
                ),
                ("Pressure", None, Body::Number(-0.5), 1_583_748_873)
            ]
        );
    }
}

#[tokio::test]
async fn a_row_can_be_one_json_object() {
    let mut config = recording(
        "a.csv",
        "time,x,label,y\n5,1.5,\"a \"\"b\"\", c\",\n6,NaN,b,2\n",
    );
    config.config.rows = RowShape::Objects(Topic::new("machine").unwrap());
    let (readings, _) = play(&config.config).await;
    let bodies: Vec<_> = readings
        .iter()
        .map(|r| (&*r.point, r.body.to_bytes()))
        .collect();
    assert_eq!(
        bodies[0],
        ("machine", Bytes::from(r#"{"x":1.5,"label":"a \"b\", c"}"#))
    );
    assert_eq!(
        bodies[1],
        ("machine", Bytes::from(r#"{"x":null,"label":"b","y":2.0}"#))
    );
}

#[tokio::test]
async fn malformed_rows_are_counted_and_the_others_played() {
    let long = "9".repeat(2000);
    let text = format!("time,x\n1,1\n2\n3,fast\nyesterday,3\n4,\"4\n5,{long}\n\n6,6\n7,\n8,NaN\n");
    let (readings, malformed) = play(&recording("a.csv", text).config).await;
    let found: Vec<_> = readings.iter().map(|r| (seconds(r), r.quality)).collect();
    assert_eq!(
        found,
        [(1, Quality::Good), (6, Quality::Good), (8, Quality::Bad)]
    );
    assert_eq!(malformed, 5);
}

#[tokio::test]
async fn a_recording_of_messages_is_played_with_every_kind_of_body() {
    let text = concat!(
        r#"{"topic":"a/b","time":"2020-03-09T10:14:33Z","payload":{"z":1,"a":[true]}}"#,
        "\n",
        r#"{"topic":"n","time":1583748874000000000,"number":1.5,"unit":"Cel"}"#,
        "\n",
        r#"{"topic":"i","integer":-7,"quality":"uncertain","source":"x","received":5}"#,
        "\n",
        r#"{"topic":"f","boolean":true}"#,
        "\n",
        r#"{"topic":"t","text":"on"}"#,
    );
    let (readings, malformed) = play(&recording("a.jsonl", text).config).await;
    assert_eq!(malformed, 0);
    let bodies: Vec<_> = readings
        .iter()
        .map(|r| (&*r.point, r.body.clone()))
        .collect();
    let payload = |text: &'static str| Body::Payload(Bytes::from(text));
    assert_eq!(
        bodies,
        [
            ("a/b", payload(r#"{"z":1,"a":[true]}"#)),
            ("n", Body::Number(1.5)),
            ("i", Body::Integer(-7)),
            ("f", Body::Boolean(true)),
            ("t", payload("on")),
        ]
    );
    assert_eq!(readings[1].unit.as_deref(), Some("Cel"));
    assert_eq!(readings[2].quality, Quality::Uncertain);
    assert_eq!(
        (
            seconds(&readings[0]),
            seconds(&readings[1]),
            readings[2].time
        ),
        (1_583_748_873, 1_583_748_874, None)
    );
}

#[tokio::test]
async fn malformed_messages_are_counted_and_the_others_played() {
    let lines: [&[u8]; 13] = [
        br#"{"topic":"good","number":1}"#,
        b"{",
        b"[]",
        br#"{"number":1}"#,
        br#"{"topic":"a/+","number":1}"#,
        br#"{"topic":"a"}"#,
        br#"{"topic":"a","number":1,"integer":1}"#,
        br#"{"topic":"a","integer":1.5}"#,
        br#"{"topic":"a","number":1,"paylod":1}"#,
        br#"{"topic":"a","number":1,"quality":"fine"}"#,
        br#"{"topic":"a","number":1,"received":"now"}"#,
        br#"{"topic":"a","number":1,"source":5}"#,
        b"{\"topic\":\"\xff\",\"number\":1}",
    ];
    let (readings, malformed) = play(&recording("a.jsonl", lines.join(&b'\n')).config).await;
    assert_eq!((readings.len(), malformed), (1, 12));
}

#[tokio::test(start_paused = true)]
async fn pauses_are_as_recorded_or_scaled() {
    for (speed, expected) in [
        (1.0, [0, 2000, 2000, 5000]),
        (10.0, [0, 200, 200, 500]),
        (0.0, [0, 0, 0, 0]),
    ] {
        let mut recording = recording("a.csv", "time,x\n100,1\n102,2\n101,3\n105,4\n");
        recording.config.speed = Speed::new(speed).unwrap();
        let mut replay = Replay::open(&recording.config).unwrap();
        let start = Instant::now();
        let mut due = Vec::new();
        let mut readings = Vec::new();
        while replay.next(&mut readings).await.unwrap() == Progress::More {
            due.extend(readings.drain(..).map(|_| start.elapsed().as_millis()));
        }
        assert_eq!(due, expected, "speed {speed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_loses_nothing() {
    let mut recording = recording("a.csv", "time,x\n100,1\n110,2\n");
    recording.config.speed = Speed::RECORDED;
    let mut replay = Replay::open(&recording.config).unwrap();
    let mut readings = Vec::new();
    replay.next(&mut readings).await.unwrap();
    for _ in 0..3 {
        assert!(
            tokio::time::timeout(Duration::from_secs(1), replay.next(&mut Vec::new()))
                .await
                .is_err()
        );
    }
    replay.next(&mut readings).await.unwrap();
    assert_eq!(readings.len(), 2);
    assert_eq!(replay.next(&mut readings).await.unwrap(), Progress::Ended);
}

#[test]
fn unusable_files_and_speeds_are_clear_errors() {
    let open = |name: &str, text: &str| {
        let recording = recording(name, text);
        let error = Replay::open(&recording.config).unwrap_err().to_string();
        error.replace(&recording.dir.path().display().to_string(), "")
    };
    assert_eq!(
        open("a.txt", ""),
        "/a.txt is no recording: its name must end in .csv or .jsonl"
    );
    assert_eq!(
        open("a.csv", ""),
        "/a.csv has no usable header line: the file is empty"
    );
    assert_eq!(
        open("a.csv", "a,a\n"),
        "/a.csv has no usable header line: it has two columns \"a\""
    );
    assert_eq!(
        open("a.csv", "1;2\n"),
        "/a.csv has no usable header line: it has only numbers, no names"
    );
    assert!(open("a.csv", "a,b/#\n").contains("wildcard"));
    assert!(open("a.csv", &"a,".repeat(400)).contains("a topic has 1 to 65535 bytes"));
    assert_eq!(
        Speed::new(-1.0).unwrap_err().to_string(),
        "a speed is 0 or more, this is -1"
    );
    assert!(Speed::new(f64::NAN).is_err());
}

#[tokio::test]
async fn a_long_recording_without_pauses_comes_in_bounded_parts() {
    let mut text = String::from("time,x\n");
    for row in 0..10_000 {
        writeln!(text, "{row},{row}").unwrap();
    }
    let recording = recording("a.csv", text);
    let mut replay = Replay::open(&recording.config).unwrap();
    let mut total = 0;
    let mut readings = Vec::new();
    while replay.next(&mut readings).await.unwrap() == Progress::More {
        assert!(readings.len() <= READINGS_MAX);
        total += readings.drain(..).len();
    }
    assert_eq!(total, 10_000);
}

proptest! {
    #[test]
    fn no_line_makes_a_parser_panic(line in "\\PC{0,80}", header in "[a-c;,\"\\[\\] ]{0,20}") {
        for rows in [RowShape::Points, RowShape::Objects(Topic::new("t").unwrap())] {
            if let Ok(mut table) = Table::new(&header, rows) {
                table.parse(&line).ok();
            }
        }
        jsonl::parse(&line).ok();
        time::parse_date_time(&line);
        time::parse_count(&line);
    }
}

#[test]
fn every_member_of_the_format_page_is_taken() {
    let line = r#"{"topic":"t","time":1,"received":"2026-03-01T08:00:00Z","source":"plant","quality":"uncertain","unit":"Cel","number":1.5}"#;
    let reading = super::jsonl::parse(line).unwrap();
    assert_eq!(reading.quality, Quality::Uncertain);
    assert!(super::jsonl::parse(&line.replace("uncertain", "fine")).is_err());
    assert!(super::jsonl::parse(&line.replace("\"source\"", "\"sauce\"")).is_err());
}
