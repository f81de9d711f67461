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
    use std::time::Duration;

    use tidegate_sdk::testing::{Host, assert_recording};
    use tidegate_sdk::{Content, Fault, Scalar};

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
    fn the_recording_gives_what_is_expected() {
        assert_recording::<summary>();
    }
}
