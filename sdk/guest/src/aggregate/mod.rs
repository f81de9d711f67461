//! What a window counts. Every aggregate here is bounded in size, exact in its count, and can be merged.

mod moments;
mod sketch;

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use moments::Moments;
pub use sketch::Sketch;

use crate::payload::Decode;

/// What a window keeps of its messages instead of the messages. It must stay small: it is written to the state after
/// every call that changed it.
pub trait Aggregate: Clone + Debug + Default + Serialize + DeserializeOwned {
    /// What it takes from a message.
    type Input: Decode;

    /// Takes one message more.
    fn add(&mut self, input: Self::Input);
}

/// Counts messages, whatever they carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count(pub u64);

impl Aggregate for Count {
    type Input = ();

    fn add(&mut self, (): ()) {
        self.0 += 1;
    }
}

/// Everything about a number: [`Moments`] and a [`Sketch`] of its quantiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Count, least, greatest, mean and variance.
    pub moments: Moments,
    sketch: Sketch,
}

impl Summary {
    /// The value below which the part `q` (0 to 1) of the values lies, within 1 % of it; none without values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        // The sketch answers with the middle of a bin, which may lie beyond the outermost value.
        let value = self.sketch.quantile(q)?;
        Some(value.clamp(self.moments.min()?, self.moments.max()?))
    }

    /// Takes the values of another one.
    pub fn merge(&mut self, other: &Self) {
        self.moments.merge(&other.moments);
        self.sketch.merge(&other.sketch);
    }
}

impl Aggregate for Summary {
    type Input = f64;

    fn add(&mut self, value: f64) {
        self.moments.add(value);
        self.sketch.add(value);
    }
}

impl Aggregate for Moments {
    type Input = f64;

    fn add(&mut self, value: f64) {
        Moments::add(self, value);
    }
}

impl Aggregate for Sketch {
    type Input = f64;

    fn add(&mut self, value: f64) {
        Sketch::add(self, value);
    }
}
