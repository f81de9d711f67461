//! What a window counts. Every aggregate here is bounded in size, exact in its count, and can be merged.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use tidegate_aggregate::{Moments, Sketch, Summary};

use crate::payload::Decode;

/// What a window keeps of its messages instead of the messages. It must stay small: it is written to the state after
/// every call that changed it.
pub trait Aggregate: Clone + Debug + Default + Serialize + DeserializeOwned {
    /// What it takes from a message.
    type Input: Decode;

    /// Takes one message more.
    fn add(&mut self, input: Self::Input);

    /// Takes what another one counted of a later time: a window that hops or slides is put together of its steps.
    fn merge(&mut self, later: &Self);
}

/// Counts messages, whatever they carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count(pub u64);

impl Aggregate for Count {
    type Input = ();

    fn add(&mut self, (): ()) {
        self.0 += 1;
    }

    fn merge(&mut self, later: &Self) {
        self.0 += later.0;
    }
}

impl Aggregate for Summary {
    type Input = f64;

    fn add(&mut self, value: f64) {
        Summary::add(self, value);
    }

    fn merge(&mut self, later: &Self) {
        Summary::merge(self, later);
    }
}

impl Aggregate for Moments {
    type Input = f64;

    fn add(&mut self, value: f64) {
        Moments::add(self, value);
    }

    fn merge(&mut self, later: &Self) {
        Moments::merge(self, later);
    }
}

impl Aggregate for Sketch {
    type Input = f64;

    fn add(&mut self, value: f64) {
        Sketch::add(self, value);
    }

    fn merge(&mut self, later: &Self) {
        Sketch::merge(self, later);
    }
}
