//! A gateway that takes nothing still says so: it reports at every interval, and asks for nothing.

use tidegate_bundle::{STATUS_TYPE, Status};
use tokio::time::sleep;

use super::courier::Road;
use super::report::Reporter;
use crate::error::chain;

/// Tells the centre of a gateway that is frozen.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) road: Road,
    pub(super) reporter: Reporter,
    /// What is told: it does not change while the process runs.
    pub(super) status: Status,
}

impl Notice {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            match self.reporter.sign(self.status.clone()) {
                Ok(report) => self.send(&report).await,
                Err(error) => tracing::warn!("cannot report that nothing is taken: {error}"),
            }
            sleep(self.road.pause()).await;
        }
    }

    /// To the first centre, and to the second if that fails.
    async fn send(&mut self, report: &[u8]) {
        let path = self.road.path("status");
        for fetcher in &mut self.road.fetchers {
            match fetcher.report(&path, STATUS_TYPE, report.to_vec()).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!("cannot report that nothing is taken: {}", chain(&error));
                    fetcher.rest();
                }
            }
        }
    }
}
