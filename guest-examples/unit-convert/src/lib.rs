//! Turns `{"celsius": 21.5, …}` into `{"fahrenheit": 70.7, …}`. Whatever else the message says goes along unchanged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_sdk::{Json, Message};

#[derive(Debug, Deserialize)]
struct Celsius {
    celsius: f64,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Fahrenheit {
    fahrenheit: f64,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[tidegate_sdk::map]
fn to_fahrenheit(message: Message<Json<Celsius>>) -> Result<Json<Fahrenheit>, String> {
    let Json(Celsius { celsius, others }) = message.body;
    if celsius < -273.15 {
        return Err(format!("{celsius} Cel is below absolute zero"));
    }
    Ok(Json(Fahrenheit {
        fahrenheit: celsius * 1.8 + 32.0,
        others,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_sdk::testing::{Host, assert_recording};
    use tidegate_sdk::{Fault, Values};

    use super::*;

    fn convert(payload: Value) -> Result<Value, String> {
        let celsius = serde_json::from_value(payload).map_err(|error| error.to_string())?;
        let Json(fahrenheit) = to_fahrenheit(Message::new("press-7", Json(celsius)))?;
        serde_json::to_value(fahrenheit).map_err(|error| error.to_string())
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
