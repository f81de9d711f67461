use super::*;
use crate::outcome::Effect;
use crate::{Fault, Json};

#[test]
fn a_window_closes_when_a_message_lies_beyond_it() -> Result<(), Fault> {
    let mut host = host::<moments>();
    for value in [1.0, 2.0, 6.0] {
        host.send("press-7", value)?;
        host.advance(seconds(2))?;
    }
    host.advance(seconds(4))?;
    assert!(host.kept().is_empty());
    host.send("press-7", 9.0)?;
    let values = Values::new().with("count", 3_i64).with("mean", 3.0);
    let row =
        Row::new("summaries", crate::Class::Summary, "press-7", START, values).lasting(seconds(10));
    assert_eq!(
        host.outputs(),
        [crate::Output {
            cause: Some(0),
            effect: Effect::Keep(row)
        }]
    );
    Ok(())
}

#[test]
fn the_last_window_of_a_quiet_stream_closes_by_itself() -> Result<(), Fault> {
    let mut host = host::<moments>();
    host.advance(seconds(3))?;
    host.send("press-7", 1.0)?;
    host.advance(Duration::from_millis(7_999))?;
    assert!(host.kept().is_empty());
    host.advance(Duration::from_millis(1))?;
    assert_eq!(counts(&host), [1]);
    host.settle()
}

#[test]
fn a_window_outlives_its_instance_and_the_boot() -> Result<(), Fault> {
    let mut host = host::<moments>();
    host.send("press-7", 1.0)?;
    host.restart();
    host.send("press-7", 1.0)?;
    host.reboot();
    host.send("press-7", 1.0)?;
    host.reboot();
    host.advance(seconds(11))?;
    assert_eq!(counts(&host), [3]);
    Ok(())
}

#[test]
fn a_failed_call_counts_nothing() -> Result<(), Fault> {
    let mut host = host::<moments>();
    host.send("press-7", 1.0)?;
    host.set_config("window.key", "{oops}");
    host.restart();
    assert!(host.send("press-7", 1.0).is_err());
    host.set_config("window.key", "{topic}");
    host.settle()?;
    assert_eq!(counts(&host), [1]);
    Ok(())
}

#[test]
fn a_message_that_does_not_fit_is_rejected_and_the_others_count() -> Result<(), Fault> {
    let mut host = host::<moments>()
        .config("input.field", "t")
        .config("window.keys", "2");
    let bodies = [
        serde_json::json!({"t": 1}),
        serde_json::json!({"t": "x"}),
        serde_json::json!({}),
        serde_json::json!({"t": 3}),
    ];
    for body in bodies {
        host.send("press-7", body)?;
    }
    let mut bad = host.message("press-7", serde_json::json!({"t": 2}));
    bad.quality = crate::Quality::Bad;
    host.send_batch(vec![bad])?;
    host.send("press-8", serde_json::json!({"t": 1}))?;
    host.send("press-9", serde_json::json!({"t": 1}))?;
    host.settle()?;
    assert_eq!(counts(&host), [2, 1]);
    let reasons: Vec<&str> = host
        .rejected()
        .iter()
        .map(|(_, reason)| reason.as_str())
        .collect();
    let expected = [
        "field \"t\": not a number: \"x\"",
        "field \"t\" is missing or null",
        "quality bad: there was no reading",
        "no room for key \"w/press-9\": the limit is 2 keys",
    ];
    assert_eq!(reasons, expected);
    Ok(())
}

#[test]
fn the_key_and_the_length_are_configured() -> Result<(), Fault> {
    let mut host = host::<moments>()
        .config("window", "1m")
        .config("window.key", "{0}")
        .config("output.topic", "sum/{topic}");
    host.send("press-7/a", 1.0)?;
    host.send("press-7/b", 3.0)?;
    host.settle()?;
    assert_eq!(counts(&host), [2]);
    assert_eq!(host.kept()[0].duration, seconds(60));
    let publication = host.published()[0];
    assert_eq!(publication.topic, "sum/press-7");
    let payload: serde_json::Value = serde_json::from_slice(&publication.payload).unwrap();
    assert_eq!(payload["values"]["mean"], 2.0);
    Ok(())
}

#[test]
fn after_a_change_of_the_length_no_time_is_summed_up_twice() -> Result<(), Fault> {
    let mut host = host::<moments>();
    host.send("press-7", 1.0)?;
    host.set_config("window", "1m");
    host.restart();
    host.advance(seconds(10))?;
    host.send("press-7", 1.0)?;
    host.settle()?;
    let spans: Vec<_> = host
        .kept()
        .iter()
        .map(|row| (row.time, row.duration))
        .collect();
    assert_eq!(
        spans,
        [(START, seconds(10)), (START.plus(seconds(10)), seconds(50))]
    );
    Ok(())
}

#[test]
fn a_series_of_a_typical_stream_takes_little_state() -> Result<(), Fault> {
    #[crate::window(tumbling = "10s")]
    fn summary(_: &Window<crate::Summary>) -> Values {
        Values::new()
    }
    let mut host = Host::<summary>::new().config("output.stream", "summaries");
    let value = |step: u32| 20.0 + f64::from(step) * 0.02;
    host.send_batch(
        (0..100)
            .map(|step| host.message("plant/press-7/temperature", value(step)))
            .collect(),
    )?;
    let bytes: usize = host
        .state()
        .iter()
        .map(|(key, size)| key.len() + size)
        .sum();
    assert!(bytes < 160, "{bytes} bytes");
    Ok(())
}

#[test]
fn a_state_that_fills_up_rejects_messages_until_windows_close_and_parks_nothing()
-> Result<(), Fault> {
    #[crate::window(tumbling = "1h")]
    fn spread(window: &Window<crate::Summary>) -> Values {
        Values::new().with("count", window.aggregate.moments.count())
    }
    let mut host = Host::<spread>::new().config("output.stream", "summaries");
    let batch = |host: &Host<spread>, value: f64| -> Vec<Message> {
        let topics = 0..900;
        let message = |topic| host.message(&format!("plant/sensor-{topic}/level"), value);
        topics.map(message).collect()
    };
    let mut sent = 0;
    for round in 0..150 {
        let messages = batch(&host, 1.1_f64.powi(round));
        sent += messages.len();
        host.send_batch(messages)?;
        host.advance(seconds(1))?;
    }
    let rejected = host.rejected().len();
    assert!(
        rejected > 0
            && reasons(&host)
                .iter()
                .all(|why| why.starts_with("no room for more"))
    );
    host.settle()?;
    let counted = usize::try_from(counts(&host).iter().sum::<i64>()).unwrap();
    assert_eq!(counted + rejected, sent);
    let messages = batch(&host, 1.0);
    host.send_batch(messages)?;
    assert_eq!(host.rejected().len(), rejected);
    Ok(())
}

#[test]
fn a_window_function_stays_an_ordinary_function() {
    let mut aggregate = Moments::default();
    aggregate.add(4.0);
    let window = Window {
        key: String::new(),
        start: START,
        end: START,
        aggregate,
        correction: false,
    };
    assert_eq!(
        moments(&window),
        Values::new().with("count", 1_i64).with("mean", 4.0)
    );
    let message = Message::new("t", Json(1.5));
    assert_eq!(message.body, Json(1.5));
}
