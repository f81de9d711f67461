//! Turns `{"celsius": 21.5}` into `{"fahrenheit": 70.7}`. Where the result goes is said in `tide.toml`.

use serde::{Deserialize, Serialize};
use tidegate_sdk::{Json, Message};

#[derive(Debug, Deserialize)]
struct Celsius {
    seq: i64,
    celsius: f64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Fahrenheit {
    seq: i64,
    fahrenheit: f64,
}

#[tidegate_sdk::map]
fn to_fahrenheit(message: Message<Json<Celsius>>) -> Json<Fahrenheit> {
    let Json(Celsius { seq, celsius }) = message.body;
    Json(Fahrenheit {
        seq,
        fahrenheit: celsius * 1.8 + 32.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn water_boils_at_212_degrees() {
        let celsius = Celsius {
            seq: 1,
            celsius: 100.0,
        };
        let Json(Fahrenheit { fahrenheit, .. }) =
            to_fahrenheit(Message::new("kettle", Json(celsius)));
        assert_eq!(fahrenheit, 212.0);
    }

    #[test]
    fn the_recording_gives_what_is_expected() {
        tidegate_sdk::testing::assert_recording::<to_fahrenheit>();
    }
}
