//! What the attributes [`map`](macro@crate::map), [`filter`](macro@crate::filter) and [`window`](macro@crate::window)
//! stand on.
//!
//! # Configuration of every operator
//! | key | meaning |
//! |---|---|
//! | `input.field` | dotted path of the value inside a JSON payload; without it the whole body |
//! | `input.time` | dotted path of the event time inside a JSON payload; without it the time that came with the message |
//! | `output.topic` | local topic to publish results on; may have placeholders |
//! | `output.delivery` | `durable` (default: stored in the commit) or `at-once` (right after the call) |
//! | `output.retain` | `true` to have the broker keep the latest result; default `false` |
//! | `output.stream` | stream to keep results in as rows |
//! | `output.key` | key of the kept rows; may have placeholders; default `{topic}` |
//!
//! At least one of `output.topic` and `output.stream` must be there. Placeholders are those of
//! [`Template`](crate::Template).
//!
//! A window has more keys, which begin with `window`; see [`Windows`].
//!
//! An operator rejects a message of quality `bad`: it says that there was no reading, so there is nothing to compute.

mod destination;
mod filter;
mod input;
mod map;
mod window;

pub use destination::Destination;
pub use filter::{Filter, FilterResult};
pub use input::Input;
pub use map::{Map, MapResult};
pub use window::{Shape, Window, WindowResult, WindowType, Windows};
