//! The field against a real broker, and against a scripted one where a real one cannot show the fault.
//!
//! Without mosquitto its tests are skipped, loudly, unless `CI` is set: there a missing mosquitto is a failure.

/// A test of each promise for both versions of MQTT; `paused` ones run in virtual time.
#[cfg(test)]
macro_rules! both_versions {
    ($($promise:ident)*) => {
        both_versions!(@ mqtt_5 mqtt_3_1_1 [tokio::test] $($promise)*);
    };
    (paused: $($promise:ident)*) => {
        both_versions!(@ mqtt_5_paused mqtt_3_1_1_paused [tokio::test(start_paused = true)] $($promise)*);
    };
    (@ $new:ident $old:ident $test:tt $($promise:ident)*) => {
        mod $new {
            $(both_versions!(# $promise Mqtt5 $test);)*
        }
        mod $old {
            $(both_versions!(# $promise Mqtt311 $test);)*
        }
    };
    (# $promise:ident $version:ident [$($test:tt)*]) => {
        #[$($test)*]
        async fn $promise() {
            super::$promise(tidegate_field::Protocol::$version).await;
        }
    };
}

#[cfg(test)]
mod against_mosquitto;
#[cfg(test)]
mod brokers;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod mosquitto;
#[cfg(test)]
mod on_the_wire;
#[cfg(test)]
mod oversized;
#[cfg(test)]
mod publisher;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod sensors;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod tls;
