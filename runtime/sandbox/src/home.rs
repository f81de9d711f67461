//! Where the guest of a module runs.

use crate::guest::{Call, Guest, Reply};
use crate::worker::Remote;

/// A guest, here or elsewhere.
#[derive(Debug)]
pub(crate) enum Home {
    /// In this process.
    Here(Box<Guest>),
    /// In that of a worker.
    Worker(Box<Remote>),
}

impl Home {
    pub(crate) async fn call(&mut self, call: Call<'_>) -> Reply {
        match self {
            Self::Here(guest) => guest.call(call).await,
            Self::Worker(remote) => remote.call(call).await,
        }
    }
}
