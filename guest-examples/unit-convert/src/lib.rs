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
    Ok(Json(Fahrenheit { fahrenheit: celsius * 1.8 + 32.0, others }))
}
