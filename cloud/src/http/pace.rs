//! How fast gateways may send what has piled up: as the operator says, and slower while the centre is loaded. Live rows
//! and alarms are not meant: a gateway sends them first.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidegate_record::BootTime;

use super::POLL_INTERVAL;
use crate::store::GatewayId;

/// A request that takes longer than this, from its arrival to its commit, says that the centre is loaded.
const LOADED: Duration = Duration::from_secs(1);
/// While it is loaded, gateways with nothing to send come so much more seldom.
const LOADED_POLLS: u32 = 4;
/// A gateway drains a backlog while it sends requests with so many rows, ...
const BACKLOG_ROWS: usize = 50;
/// ... the last of them so long ago at most.
const BACKLOG_RECENT: Duration = Duration::from_secs(10);

/// What gateways are asked for.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    /// Rows a second, of all gateways together.
    rows_per_second: Option<NonZeroU32>,
    /// Gateways that drain a backlog, and when they were last heard.
    draining: Mutex<HashMap<GatewayId, BootTime>>,
}

/// What one gateway is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// Rows a second of its backlog; none for as fast as they come.
    pub(super) pace: Option<u32>,
    /// When it should be heard again.
    pub(super) poll: Duration,
}

impl Pacer {
    pub(super) fn new(rows_per_second: Option<NonZeroU32>) -> Self {
        Self {
            rows_per_second,
            draining: Mutex::default(),
        }
    }

    /// A request of `gateway` with so many `rows` was committed at `now`, and took so long.
    pub(super) fn ask(
        &self,
        gateway: &GatewayId,
        rows: usize,
        took: Duration,
        now: BootTime,
    ) -> Asked {
        let share = self.share(gateway, rows, now);
        if took <= LOADED {
            return Asked {
                pace: share,
                poll: POLL_INTERVAL,
            };
        }
        // Half of the rate at which it was served: where all slow down by that, the centre catches up.
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        let half = rows.saturating_mul(500) / u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let half = u32::try_from(half).unwrap_or(u32::MAX);
        Asked {
            pace: Some(share.map_or(half, |share| share.min(half))),
            poll: POLL_INTERVAL * LOADED_POLLS,
        }
    }

    /// The equal share of each gateway that drains a backlog.
    fn share(&self, gateway: &GatewayId, rows: usize, now: BootTime) -> Option<u32> {
        let whole = self.rows_per_second?.get();
        let mut draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        draining.retain(|_, heard| now.since(*heard) <= BACKLOG_RECENT);
        if rows >= BACKLOG_ROWS {
            draining.insert(gateway.clone(), now);
        }
        let gateways = u32::try_from(draining.len().max(1)).unwrap_or(u32::MAX);
        Some((whole / gateways).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::name;
    use crate::store::Tenant;

    const QUICK: Duration = Duration::from_millis(5);

    fn gateway(text: &str) -> GatewayId {
        GatewayId {
            tenant: Tenant::default(),
            gateway: name(text),
        }
    }

    fn at(seconds: u64) -> BootTime {
        BootTime(seconds * 1_000_000_000)
    }

    #[test]
    fn gateways_that_drain_share_the_pace_and_those_that_trickle_do_not_count() {
        let pacer = Pacer::new(NonZeroU32::new(9000));
        let pace = |of: &str, rows, seconds| {
            let asked = pacer.ask(&gateway(of), rows, QUICK, at(seconds));
            asked.pace.unwrap()
        };
        assert_eq!(pace("a", 5000, 1), 9000);
        assert_eq!(pace("b", 5000, 2), 4500);
        assert_eq!(pace("c", 3, 3), 4500);
        assert_eq!(pace("a", 4500, 3), 4500);
        assert_eq!(pace("a", 4500, 14), 9000, "b has ended");
    }

    #[test]
    fn without_a_word_of_the_operator_only_a_loaded_centre_slows_gateways_down() {
        let pacer = Pacer::default();
        let ask = |took| pacer.ask(&gateway("a"), 5000, took, at(1));
        let free = Asked {
            pace: None,
            poll: POLL_INTERVAL,
        };
        assert_eq!(ask(QUICK), free);
        assert_eq!(ask(LOADED), free);
        let loaded = ask(Duration::from_secs(5));
        assert_eq!(loaded.pace, Some(500));
        assert!(loaded.poll > POLL_INTERVAL);
    }
}
