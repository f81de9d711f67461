//! Sums each channel up in windows: count, least, greatest, mean, deviation, median and 99th percentile.

use tidegate_sdk::{Summary, Values, Window};

#[tidegate_sdk::window(tumbling = "10s")]
fn summary(window: &Window<Summary>) -> Option<Values> {
    let Summary { moments, .. } = &window.aggregate;
    let values = Values::new()
        .with("count", moments.count())
        .with("min", moments.min()?)
        .with("max", moments.max()?)
        .with("mean", moments.mean()?)
        .with("stddev", moments.stddev()?)
        .with("p50", window.aggregate.quantile(0.5)?)
        .with("p99", window.aggregate.quantile(0.99)?);
    Some(values)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tidegate_sdk::testing::{Cut, Host, assert_recording, recording};
    use tidegate_sdk::{ClockQuality, Content, Fault, Scalar};

    use super::*;

    fn value(host: &Host<summary>, row: usize, name: &str) -> Scalar {
        let Content::Values(values) = &host.kept()[row].content else {
            panic!("no values")
        };
        values
            .0
            .iter()
            .find(|(found, _)| found == name)
            .expect(name)
            .1
            .clone()
    }

    #[test]
    fn a_minute_of_readings_becomes_six_rows_that_count_every_reading() -> Result<(), Fault> {
        let mut host = Host::<summary>::new().config("output.stream", "summaries");
        for reading in 0..120 {
            host.send("press-7/temperature", 20.0 + f64::from(reading % 2))?;
            host.advance(Duration::from_millis(500))?;
        }
        host.settle()?;
        assert_eq!(host.kept().len(), 6);
        for row in 0..6 {
            assert_eq!(value(&host, row, "count"), Scalar::Integer(20));
            assert_eq!(value(&host, row, "mean"), Scalar::Number(20.5));
        }
        Ok(())
    }

    #[test]
    fn a_field_of_a_json_payload_is_summed_up_as_a_scalar_is() -> Result<(), Fault> {
        let mut host = Host::<summary>::new()
            .config("output.stream", "summaries")
            .config("input.field", "motor.t");
        host.send("press-7", r#"{"seq": 1, "motor": {"t": 70}}"#)?;
        host.send("press-7", r#"{"seq": 2, "motor": {"t": 80}}"#)?;
        host.send("press-7", r#"{"seq": 3}"#)?;
        host.settle()?;
        assert_eq!(value(&host, 0, "max"), Scalar::Number(80.0));
        assert_eq!(host.rejected()[0].1, "field \"motor.t\" is missing or null");
        Ok(())
    }

    #[test]
    fn with_corrections_only_absurd_times_of_the_recording_are_rejected() -> Result<(), String> {
        let text = std::fs::read_to_string("recorded/input.jsonl").map_err(|e| e.to_string())?;
        let mut host = Host::<summary>::new()
            .config("output.stream", "summaries")
            .config("window.corrections", "30s");
        host.set_clock(recording::starts_at(&text)?, ClockQuality::Synced);
        let messages = recording::read(&text, host.now(), host.now_boot())?;
        let one_by_one = Cut {
            messages_max: 1,
            restart: false,
        };
        host.replay(&messages, one_by_one)
            .map_err(|fault| fault.to_string())?;

        let reasons = host
            .rejected()
            .iter()
            .map(|(_, reason)| reason.split_once(": "));
        let kinds: Vec<&str> = reasons.map(|parts| parts.unwrap().0).collect();
        assert_eq!(kinds, ["ahead", "late", "late"]);
        // The last row of a window holds: a correction takes the place of the one before.
        let mut counts = BTreeMap::new();
        for (position, row) in host.kept().into_iter().enumerate() {
            let Scalar::Integer(count) = value(&host, position, "count") else {
                panic!("no count")
            };
            counts.insert((&row.key, row.time), count);
        }
        let counted: i64 = counts.values().sum();
        assert_eq!(usize::try_from(counted), Ok(messages.len() - 3));
        Ok(())
    }

    #[test]
    fn the_recording_gives_what_is_expected() {
        assert_recording::<summary>();
    }
}
