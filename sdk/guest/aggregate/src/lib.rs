//! Aggregates of a number. Every one here is bounded in size, exact in its count, and can be merged in any order: two
//! halves of a window, or the windows of a minute and of the next.
//!
//! # Layout
//! - [`Moments`]: count, least, greatest, mean and variance.
//! - [`Sketch`]: quantiles within 1 %.
//! - [`Summary`] is both.

mod moments;
mod sketch;

use serde::{Deserialize, Serialize};

pub use moments::Moments;
pub use sketch::Sketch;

/// Everything about a number: [`Moments`] and a [`Sketch`] of its quantiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Count, least, greatest, mean and variance.
    pub moments: Moments,
    /// Quantiles.
    pub sketch: Sketch,
}

impl Summary {
    /// Takes one value more.
    pub fn add(&mut self, value: f64) {
        self.moments.add(value);
        self.sketch.add(value);
    }

    /// Takes the values of another one.
    pub fn merge(&mut self, other: &Self) {
        self.moments.merge(&other.moments);
        self.sketch.merge(&other.sketch);
    }

    /// The value below which the part `q` (0 to 1) of the values lies, within 1 % of it; none without values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        // The sketch answers with the middle of a bin, which may lie beyond the outermost value.
        let value = self.sketch.quantile(q)?;
        Some(value.clamp(self.moments.min()?, self.moments.max()?))
    }
}
