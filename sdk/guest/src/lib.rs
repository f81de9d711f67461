//! Write modules for Tidegate.
//!
//! A module turns batches of messages into outputs: publications on a local broker, rows for the centre, writes to
//! devices. The shortest one is a function:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use tidegate_sdk::{Json, Message};
//!
//! #[derive(Deserialize)]
//! struct Celsius { celsius: f64 }
//!
//! #[derive(Serialize)]
//! struct Fahrenheit { fahrenheit: f64 }
//!
//! #[tidegate_sdk::map]
//! fn to_fahrenheit(message: Message<Json<Celsius>>) -> Json<Fahrenheit> {
//!     Json(Fahrenheit { fahrenheit: message.body.0.celsius * 1.8 + 32.0 })
//! }
//! ```
//!
//! Unit tests run natively and need no Wasm toolchain: call the function, or run the module on
//! `testing::Host`. Builds for `wasm32-wasip2` and, without any WASI import, for
//! `wasm32-unknown-unknown`.
//!
//! # Layout
//! - [`message`]: what a module is given
//! - [`payload`], [`field`]: typed bodies, and one value out of a JSON payload
//! - [`outcome`]: what a module answers
//! - [`processor`]: the trait behind every module
//! - [`operators`]: what the attributes [`macro@map`], [`macro@filter`] and [`macro@window`] stand on
//! - [`aggregate`]: what a window counts
//! - [`state`]: what must last
//! - [`config`], [`template`]: typed configuration
//! - [`log`], [`metrics`], [`time`]: lines and numbers for the operator; the two clocks
//! - `testing`: a host for native tests
//! - `host`, `abi`: the seam to the host and the contract's types, not public
#![cfg_attr(not(target_family = "wasm"), forbid(unsafe_code))]

extern crate self as tidegate_sdk;

pub mod aggregate;
pub mod config;
pub mod field;
pub mod log;
pub mod message;
pub mod metrics;
pub mod operators;
pub mod outcome;
pub mod payload;
pub mod processor;
pub mod state;
pub mod template;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod time;

mod host;

/// The glue of [`export!`]; not part of the interface.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[allow(missing_docs, reason = "only for the code that export! writes")]
pub mod abi;

/// What wit-bindgen makes of `wit/`; not part of the interface.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[allow(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "generated"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "processor",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "tidegate_sdk::bindings",
    });
}

pub use aggregate::{Aggregate, Count, Moments, Sketch, Summary};
pub use field::Field;
pub use message::{Batch, Body, Channel, ClockQuality, Message, Property, Quality};
pub use operators::Window;
pub use outcome::{
    Class, Command, Content, Delivery, Effect, Fault, Outcome, Output, Publication, Rejection, Row,
    Scalar, Values,
};
pub use payload::{Json, Raw};
pub use processor::{Processor, Start};
pub use state::Keyed;
pub use template::Template;
pub use tidegate_sdk_macros::{filter, map, window};
pub use time::{BootTime, WallTime};
