//! Who is killed when, and started again when.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::gateway::Gateway;
use crate::random::Random;

/// How long a gateway is away, at least and at most.
const AWAY_MS: (u64, u64) = (500, 4_000);

/// The kills of a rollout.
#[derive(Debug)]
pub(super) struct Outages {
    all: Vec<Outage>,
}

#[derive(Debug)]
struct Outage {
    /// Place of the gateway.
    gateway: usize,
    kill: Instant,
    start: Instant,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Away,
    Over,
}

impl Outages {
    /// Nobody is killed.
    pub(super) const fn none() -> Self {
        Self { all: Vec::new() }
    }

    /// A third of so many gateways, rounded up and with the first one, each at some moment from now to `span` later.
    pub(super) fn drawn(random: &mut Random, gateways: usize, span: Duration) -> Self {
        let begin = Instant::now();
        let mut left: Vec<usize> = (1..gateways).collect();
        let mut drawn = vec![0];
        while drawn.len() < gateways.div_ceil(3) && !left.is_empty() {
            let at = random.below(u64::try_from(left.len()).unwrap_or(0));
            drawn.push(left.swap_remove(usize::try_from(at).unwrap_or(0)));
        }
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let outage = |gateway| {
            let kill = begin + Duration::from_millis(random.below(span));
            let away = AWAY_MS.0 + random.below(AWAY_MS.1 - AWAY_MS.0);
            Outage {
                gateway,
                kill,
                start: kill + Duration::from_millis(away),
                state: State::Before,
            }
        };
        Self {
            all: drawn.into_iter().map(outage).collect(),
        }
    }

    /// Kills whose time it is, and starts who was away long enough.
    pub(super) fn go_on(&mut self, gateways: &mut [Gateway]) -> Result<()> {
        let now = Instant::now();
        for outage in &mut self.all {
            let gateway = gateways.get_mut(outage.gateway);
            let gateway = gateway.context("there is no such gateway")?;
            if outage.state == State::Before && now >= outage.kill {
                gateway.kill9()?;
                outage.state = State::Away;
            }
            if outage.state == State::Away && now >= outage.start {
                gateway.launch()?;
                outage.state = State::Over;
            }
        }
        Ok(())
    }

    /// Whether everybody was killed and started again.
    pub(super) fn are_over(&self) -> bool {
        self.all.iter().all(|outage| outage.state == State::Over)
    }

    /// Gateways that were killed.
    pub(super) fn killed(&self) -> usize {
        let killed = |outage: &&Outage| outage.state != State::Before;
        self.all.iter().filter(killed).count()
    }
}
