use super::*;
use crate::Fault;

/// Seconds after the start.
fn after(start: u64) -> WallTime {
    START.plus(seconds(start))
}

#[test]
fn a_late_message_is_rejected_with_the_reason() -> Result<(), Fault> {
    let mut host = host::<moments>();
    host.advance(seconds(60))?;
    send_at(&mut host, after(60))?;
    let time = host.now().minus(Duration::from_millis(3200));
    send_at(&mut host, time)?;
    let reason = "late: by 3.2 s, windows before 2026-01-01T00:01:00Z are closed";
    assert_eq!(reasons(&host), [reason]);
    host.settle()?;
    assert_eq!(counts(&host), [1]);
    Ok(())
}

#[test]
fn a_window_waits_for_as_long_as_lateness_is_allowed() -> Result<(), Fault> {
    let mut host = host::<moments>().config("window.lateness", "5s");
    host.advance(seconds(20))?;
    for time in [5, 12, 9, 14, 3] {
        send_at(&mut host, after(time))?;
    }
    assert_eq!(ends(&host), []);
    send_at(&mut host, after(15))?;
    assert_eq!(ends(&host), [(10, 3)]);
    send_at(&mut host, after(9))?;
    assert_eq!(
        reasons(&host),
        ["late: by 1.0 s, windows before 2026-01-01T00:00:10Z are closed"]
    );
    // A quiet stream: five seconds of event time, five of lateness, one more.
    host.advance(Duration::from_millis(10_999))?;
    assert_eq!(host.kept().len(), 1);
    host.advance(Duration::from_millis(1))?;
    assert_eq!(ends(&host), [(10, 3), (20, 3)]);
    Ok(())
}

#[test]
fn what_comes_after_that_corrects_the_window_once_and_says_so() -> Result<(), Fault> {
    let mut host = host::<moments>()
        .config("window.corrections", "1m")
        .config("output.topic", "sums");
    host.advance(seconds(40))?;
    send_at(&mut host, after(5))?;
    send_at(&mut host, after(25))?;
    // A device sends what it had stored.
    for time in [1, 2, 12, 3] {
        send_at(&mut host, after(time))?;
    }
    assert_eq!(ends(&host), [(10, 1)]);
    host.advance(seconds(1))?;
    assert_eq!(ends(&host), [(10, 1), (10, 4), (20, 1)]);
    let corrections: Vec<bool> = host.kept().iter().map(|row| is_correction(row)).collect();
    assert_eq!(corrections, [false, true, true]);
    let (first, revised) = (host.kept()[0], host.kept()[1]);
    let identity = |row: &Row| (row.key.clone(), row.time, row.duration);
    assert_eq!(identity(first), identity(revised));
    let published = |sent: usize| -> serde_json::Value {
        serde_json::from_slice(&host.published()[sent].payload).unwrap()
    };
    assert_eq!(published(0)["correction"], serde_json::Value::Null);
    assert_eq!(published(1)["correction"], true);
    assert_eq!(published(1)["values"]["count"], 4);
    assert_eq!(reasons(&host), [""; 0]);
    Ok(())
}

#[test]
fn what_comes_later_still_is_rejected() -> Result<(), Fault> {
    let mut host = host::<moments>().config("window.corrections", "30s");
    host.advance(seconds(100))?;
    send_at(&mut host, after(95))?;
    send_at(&mut host, after(60))?;
    send_at(&mut host, after(59))?;
    host.settle()?;
    assert_eq!(ends(&host), [(70, 1), (100, 1)]);
    let reason = "late: by 1.0 s, windows before 2026-01-01T00:01:00Z are closed";
    assert_eq!(reasons(&host), [reason]);
    Ok(())
}

#[test]
fn every_window_that_hops_over_the_time_is_corrected() -> Result<(), Fault> {
    let mut host = host::<hops::moments>().config("window.corrections", "1m");
    host.advance(seconds(40))?;
    send_at(&mut host, after(5))?;
    send_at(&mut host, after(25))?;
    assert_eq!(ends(&host), [(10, 1), (20, 1)]);
    host.clear();
    send_at(&mut host, after(7))?;
    host.advance(seconds(1))?;
    assert_eq!(ends(&host), [(10, 2), (20, 2)]);
    assert!(host.kept().iter().all(|row| is_correction(row)));
    host.clear();
    host.settle()?;
    assert_eq!(ends(&host), [(30, 3), (40, 1), (50, 1)]);
    assert!(!host.kept().iter().any(|row| is_correction(row)));
    Ok(())
}

#[test]
fn a_correction_that_waits_outlives_the_instance_and_the_boot() -> Result<(), Fault> {
    let mut host = host::<moments>().config("window.corrections", "1m");
    host.advance(seconds(40))?;
    for time in [5, 12, 6] {
        send_at(&mut host, after(time))?;
        host.restart();
    }
    host.reboot();
    host.settle()?;
    assert_eq!(ends(&host), [(10, 1), (10, 2), (20, 1)]);
    Ok(())
}

#[test]
fn more_steps_than_a_series_may_hold_refuse_the_start() {
    let fault = host::<moments>()
        .config("window.corrections", "1h")
        .start()
        .unwrap_err();
    let expected = "configuration keys window, window.lateness and window.corrections: together 361 steps of 10s, \
                    the limit is 128";
    assert_eq!(fault, Fault::permanent(expected));
}

#[test]
fn the_event_time_can_be_a_field_of_the_payload() -> Result<(), Fault> {
    let mut host = host::<moments>()
        .config("input.field", "t")
        .config("input.time", "at");
    host.advance(seconds(60))?;
    for at in ["2026-01-01T00:00:41Z", "2026-01-01T00:00:52Z"] {
        host.send("press-7", serde_json::json!({"t": 20.5, "at": at}))?;
    }
    host.send("press-7", serde_json::json!({"t": 1, "at": 1_767_225_645}))?;
    host.send("press-7", serde_json::json!({"t": 1, "at": "soon"}))?;
    host.send("press-7", serde_json::json!({"t": 1}))?;
    host.settle()?;
    assert_eq!(ends(&host), [(50, 1), (60, 1)]);
    let expected = [
        "late: by 5.0 s, windows before 2026-01-01T00:00:50Z are closed",
        "field \"at\": \"soon\" is not a time such as 2026-03-01T08:00:00.000Z",
        "field \"at\" is missing or null",
    ];
    assert_eq!(reasons(&host), expected);
    Ok(())
}
