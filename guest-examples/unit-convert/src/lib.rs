//! Turns `{"celsius": 21.5, …}` into `{"fahrenheit": 70.7, …}`. Whatever else the message says goes along unchanged.

use serde_json::{Map, Value};
use tidegate_sdk::{Json, Message};

type Reading = Map<String, Value>;

#[tidegate_sdk::map]
fn to_fahrenheit(message: Message<Json<Reading>>) -> Result<Json<Reading>, String> {
    let Json(mut reading) = message.body;
    let celsius = reading.remove("celsius").ok_or("celsius is missing")?;
    let celsius = celsius.as_f64().ok_or("celsius is not a number")?;
    if celsius < -273.15 {
        return Err(format!("{celsius} Cel is below absolute zero"));
    }
    reading.insert("fahrenheit".to_owned(), Value::from(celsius * 1.8 + 32.0));
    Ok(Json(reading))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_sdk::testing::{Host, assert_recording};
    use tidegate_sdk::{Fault, Values};

    use super::*;

    fn convert(payload: Value) -> Result<Value, String> {
        let reading = payload.as_object().unwrap().clone();
        let Json(reading) = to_fahrenheit(Message::new("press-7", Json(reading)))?;
        Ok(Value::Object(reading))
    }

    #[test]
    fn celsius_becomes_fahrenheit_and_the_rest_goes_along() {
        let payload = json!({"celsius": 100.0, "seq": 7, "machine": {"line": "a"}});
        assert_eq!(
            convert(payload),
            Ok(json!({"fahrenheit": 212.0, "seq": 7, "machine": {"line": "a"}}))
        );
    }

    #[test]
    fn a_temperature_that_cannot_be_is_refused() {
        assert_eq!(
            convert(json!({"celsius": -300})),
            Err("-300 Cel is below absolute zero".to_owned())
        );
    }

    #[test]
    fn a_reading_is_published_and_kept_and_a_bad_one_harms_no_other() -> Result<(), Fault> {
        let mut host = Host::<to_fahrenheit>::new()
            .config("output.topic", "imperial/{topic}")
            .config("output.stream", "readings");
        let payloads = [
            json!({"celsius": -40, "seq": 1}),
            json!({"seq": 2}),
            json!({"celsius": 0, "seq": 3}),
        ];
        host.send_batch(
            payloads
                .into_iter()
                .map(|payload| host.message("press-7", payload))
                .collect(),
        )?;
        assert_eq!(host.published()[0].topic, "imperial/press-7");
        let values = Values::new().with("fahrenheit", 32.0).with("seq", 3_i64);
        assert_eq!(host.kept()[1].content, values.into());
        assert_eq!(host.rejected().len(), 1);
        Ok(())
    }

    #[test]
    fn the_recording_gives_what_is_expected() {
        assert_recording::<to_fahrenheit>();
    }
}
