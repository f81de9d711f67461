//! Typed access to the module's configuration: the `[config]` of `tide.toml`, overridden by that of the site.
//!
//! Read it in [`Processor::init`](crate::Processor::init): a fault there refuses an update before it runs.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::field::Field;
use crate::host;
use crate::outcome::Fault;
use crate::payload::{Json, excerpt};
use crate::template::Template;
use crate::time::parse_duration_ns;

/// A type that a configuration value can have.
pub trait FromConfig: Sized {
    /// What a value must be, to complete "is not …".
    const EXPECTED: &'static str;

    /// Reads the value.
    ///
    /// # Errors
    /// What is wrong with it beyond [`FromConfig::EXPECTED`]; may be empty.
    fn from_config(text: &str) -> Result<Self, String>;
}

/// The value of a key that must be there.
///
/// # Errors
/// A permanent fault when the key is missing or its value is malformed.
pub fn get<T: FromConfig>(key: &str) -> Result<T, Fault> {
    optional(key)?.ok_or_else(|| Fault::permanent(format!("configuration key {key} is missing")))
}

/// The value of a key, or `default` without it.
///
/// # Errors
/// A permanent fault when the value is malformed.
pub fn get_or<T: FromConfig>(key: &str, default: T) -> Result<T, Fault> {
    Ok(optional(key)?.unwrap_or(default))
}

/// The value of a key, if it is there.
///
/// # Errors
/// A permanent fault when the value is malformed.
pub fn optional<T: FromConfig>(key: &str) -> Result<Option<T>, Fault> {
    let Some(text) = host::config_get(key)? else {
        return Ok(None);
    };
    T::from_config(&text).map(Some).map_err(|detail| {
        let detail = if detail.is_empty() {
            detail
        } else {
            format!(": {detail}")
        };
        Fault::permanent(format!(
            "configuration key {key}: {} is not {}{detail}",
            excerpt(&text),
            T::EXPECTED
        ))
    })
}

macro_rules! from_config_by_parsing {
    ($($type:ty: $expected:literal),* $(,)?) => {$(
        impl FromConfig for $type {
            const EXPECTED: &'static str = $expected;

            fn from_config(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| String::new())
            }
        }
    )*};
}

from_config_by_parsing! {
    bool: "true or false",
    i64: "a whole number",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number from 0 on",
    usize: "a whole number from 0 on",
}

impl FromConfig for f64 {
    const EXPECTED: &'static str = "a finite number";

    fn from_config(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .ok()
            .filter(|number: &Self| number.is_finite())
            .ok_or_else(String::new)
    }
}

impl FromConfig for String {
    const EXPECTED: &'static str = "a text";

    fn from_config(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl FromConfig for Duration {
    const EXPECTED: &'static str = "a duration such as 250ms, 10s, 5m, 1h or 1d";

    fn from_config(text: &str) -> Result<Self, String> {
        parse_duration_ns(text.trim())
            .map(Self::from_nanos)
            .ok_or_else(String::new)
    }
}

impl FromConfig for Template {
    const EXPECTED: &'static str = "a text with placeholders";

    fn from_config(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl FromConfig for Field {
    const EXPECTED: &'static str = "a dotted path such as motor.temperature";

    fn from_config(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

/// A nested value: its JSON text.
impl<T: DeserializeOwned> FromConfig for Json<T> {
    const EXPECTED: &'static str = "the expected JSON";

    fn from_config(text: &str) -> Result<Self, String> {
        serde_json::from_str(text)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::with_mock;

    fn set(key: &str, text: &str) {
        with_mock(|mock| mock.config.insert(key.to_owned(), text.to_owned()));
    }

    #[test]
    fn a_value_is_read_as_the_type_that_is_asked_for() {
        set("limit", "80.5");
        set("window", "10s");
        set("fields", r#"["a", "b c"]"#);
        assert_eq!(get::<f64>("limit"), Ok(80.5));
        assert_eq!(get::<Duration>("window"), Ok(Duration::from_secs(10)));
        assert_eq!(
            get::<Json<Vec<String>>>("fields").map(|list| list.0.len()),
            Ok(2)
        );
        assert_eq!(get_or("missing", 7_u64), Ok(7));
        assert_eq!(optional::<bool>("missing"), Ok(None));
    }

    #[test]
    fn a_malformed_value_is_a_permanent_fault_that_names_key_and_value() {
        set("limit", "eighty");
        let fault = get::<f64>("limit").unwrap_err();
        assert_eq!(
            fault,
            Fault::permanent("configuration key limit: \"eighty\" is not a finite number")
        );
        assert_eq!(
            get::<f64>("limits").unwrap_err(),
            Fault::permanent("configuration key limits is missing")
        );
        set("limit", "inf");
        assert!(get_or("limit", 1.0).is_err());
        set("fields", "[1]");
        let fault = get::<Json<Vec<String>>>("fields").unwrap_err().to_string();
        assert!(fault.contains("expected a string"), "{fault}");
    }
}
