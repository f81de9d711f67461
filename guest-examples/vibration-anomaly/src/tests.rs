use serde_json::json;
use tidegate_sdk::testing::{Host, assert_recording};

use super::*;

fn host() -> Host<VibrationAnomaly> {
    Host::new()
        .config("channels", r#"["x", "y"]"#)
        .config("alarm.topic", "anomalies/{topic}")
}

/// Noise of deviation 0.3 from a fixed seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX) - 0.5
    }
}

fn send(
    host: &mut Host<VibrationAnomaly>,
    noise: &mut Noise,
    messages: usize,
    x: f64,
) -> Result<(), Fault> {
    for _ in 0..messages {
        host.send(
            "press-7",
            json!({"x": x + noise.next(), "y": 5.0 + noise.next(), "seq": 1}),
        )?;
    }
    Ok(())
}

#[test]
fn a_channel_that_leaves_its_baseline_is_reported_once_and_so_is_its_return() -> Result<(), Fault> {
    let (mut host, mut noise) = (host(), Noise(1));
    send(&mut host, &mut noise, 1000, 2.0)?;
    assert_eq!(host.outputs(), []);
    send(&mut host, &mut noise, 100, 3.0)?;
    assert_eq!(host.kept().len(), 1);
    assert_eq!(host.kept()[0].key, "press-7/x");
    assert_eq!(host.published()[0].topic, "anomalies/press-7");
    send(&mut host, &mut noise, 100, 2.0)?;
    assert_eq!(host.kept().len(), 2);
    Ok(())
}

#[test]
fn a_single_spike_is_not_an_anomaly() -> Result<(), Fault> {
    let (mut host, mut noise) = (host(), Noise(2));
    send(&mut host, &mut noise, 1000, 2.0)?;
    send(&mut host, &mut noise, 1, 1e6)?;
    send(&mut host, &mut noise, 200, 2.0)?;
    assert_eq!(host.outputs(), []);
    Ok(())
}

#[test]
fn what_was_learnt_outlives_the_instance() -> Result<(), Fault> {
    let (mut host, mut noise) = (host(), Noise(3));
    send(&mut host, &mut noise, 1000, 2.0)?;
    host.restart();
    send(&mut host, &mut noise, 100, 3.0)?;
    host.restart();
    send(&mut host, &mut noise, 50, 3.0)?;
    assert_eq!(host.kept().len(), 1);
    Ok(())
}

#[test]
fn half_a_reading_is_rejected() -> Result<(), Fault> {
    let mut host = host();
    host.send("press-7", json!({"x": 1.0}))?;
    host.send("press-7", json!({"x": 1.0, "y": "n/a"}))?;
    host.send("press-7", 5.0)?;
    let reasons: Vec<&str> = host
        .rejected()
        .iter()
        .map(|(_, reason)| reason.as_str())
        .collect();
    assert_eq!(
        reasons[..2],
        ["channel \"y\" is not a number below 1e100"; 2]
    );
    assert_eq!(reasons.len(), 3);
    Ok(())
}

#[test]
fn a_channel_that_never_moved_is_watched_and_absurd_numbers_harm_nothing() -> Result<(), Fault> {
    let mut host = host();
    for _ in 0..400 {
        host.send("press-7", json!({"x": 0.0, "y": 5.0}))?;
        host.send("press-7", json!({"x": 1e308, "y": -1e308}))?;
    }
    assert_eq!(host.rejected().len(), 400);
    assert_eq!(host.outputs(), []);
    host.send("press-7", json!({"x": 1.0, "y": 5.0}))?;
    assert_eq!(host.kept()[0].key, "press-7/x");
    Ok(())
}

#[test]
fn the_recording_gives_what_is_expected() {
    assert_recording::<VibrationAnomaly>();
}
