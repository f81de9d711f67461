//! Sensors: readings of a driver arrive as records.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_field::{FieldError, Phase, Sensor, SensorConfig, Surroundings};
use tidegate_hardware::{DriverConfig, HostConfig, ReplayConfig, RowShape, Speed};
use tidegate_record::{Body, ClockQuality, IdHasher, Limits, Name, Record, SystemClock};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::rig::{file, soon};

fn surroundings(inbox: usize) -> (Surroundings, mpsc::Receiver<Record>, watch::Sender<Phase>) {
    let (records_in, records) = mpsc::channel(inbox);
    let (phase, phase_out) = watch::channel(Phase::Running);
    let surroundings = Surroundings {
        records: records_in,
        phase: phase_out,
        clock: Arc::new(SystemClock::new()),
        ids: IdHasher::new(1),
        skips: Arc::new(crate::rig::Skips::default()),
        limits: Arc::new(Limits::DEFAULT),
    };
    (surroundings, records, phase)
}

fn replay(file: std::path::PathBuf) -> SensorConfig {
    let config = ReplayConfig {
        file,
        speed: Speed::NO_PAUSES,
        rows: RowShape::Points,
        line_bytes_max: 1000,
    };
    SensorConfig {
        name: Name::new("recorded").unwrap(),
        driver: DriverConfig::Replay(config),
    }
}

#[tokio::test]
async fn a_recording_arrives_whole_with_its_own_times_through_a_small_inbox() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = (0..1000).map(|row| format!("{row},{row},x\n")).collect();
    let path = file(
        &dir,
        "a.csv",
        &format!("time,flow [L/min],label\n{rows}oops\n"),
    );
    let (surroundings, mut records, _phase) = surroundings(3);
    let mut tasks = JoinSet::new();
    let handle = Sensor::new(replay(path))
        .unwrap()
        .spawn(&surroundings, &mut tasks);
    drop(surroundings);
    let mut first = None;
    for row in 0..1000_u32 {
        let record = soon(records.recv()).await.unwrap();
        assert_eq!(record.body, Body::Number(f64::from(row)));
        assert_eq!(
            (record.time.0, record.clock),
            (u64::from(row) * 1_000_000_000, ClockQuality::Device)
        );
        let channel = first.get_or_insert_with(|| record.channel.clone());
        assert!(Arc::ptr_eq(channel, &record.channel));
    }
    assert!(
        soon(records.recv()).await.is_none(),
        "the sensor ended with its recording"
    );
    let channel = first.unwrap();
    assert_eq!(
        (
            channel.source.as_str(),
            &*channel.topic,
            channel.unit.as_deref()
        ),
        ("recorded", "flow", Some("L/min"))
    );
    soon(tasks.join_next()).await.unwrap().unwrap();
    assert_eq!(handle.counters().readings.load(Ordering::Relaxed), 1000);
    assert_eq!(handle.counters().malformed.load(Ordering::Relaxed), 1);
    assert!(handle.counters().ended.load(Ordering::Relaxed));
}

#[tokio::test]
async fn this_machine_is_read_until_the_run_drains() {
    let (surroundings, mut records, phase) = surroundings(1000);
    let config = DriverConfig::Host(HostConfig::new(Duration::from_millis(10)));
    let mut tasks = JoinSet::new();
    let sensor = Sensor::new(SensorConfig {
        name: Name::new("machine").unwrap(),
        driver: config,
    })
    .unwrap();
    sensor.spawn(&surroundings, &mut tasks);
    drop(surroundings);
    for _ in 0..2 {
        while &*soon(records.recv()).await.unwrap().channel.topic != "memory/available" {}
    }
    phase.send(Phase::Draining).unwrap();
    while soon(records.recv()).await.is_some() {}
    soon(tasks.join_next()).await.unwrap().unwrap();
}

#[test]
fn a_sensor_that_cannot_be_opened_says_which_and_why() {
    let Err(FieldError::Driver { sensor, source }) = Sensor::new(replay("/nowhere/a.csv".into()))
    else {
        panic!("no error");
    };
    assert_eq!(
        (sensor.as_str(), source.to_string().as_str()),
        ("recorded", "cannot read /nowhere/a.csv")
    );
}
