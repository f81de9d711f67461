//! Whether anything newer is kept from this gateway: what the centre signs in answer to its question.
//!
//! Whoever holds the link can keep documents back, and nobody can force them through. But an answer holds for one question,
//! and names the newest: so it is known that something is missing, or for how long nobody has said that nothing is. It
//! stops no work.

use std::fmt;
use std::time::Duration;

use tidegate_bundle::{Freshness, Nonce, Now, Refusal, Time};

use super::Client;
use crate::error::Error;
use crate::state::Moment;

/// How often it is written to disk that nothing is newer: flash wears out, and a restart forgets no more than this.
const WRITTEN_EVERY: Duration = Duration::from_secs(3600);

/// What a centre says to be the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Version of the root.
    pub root_version: u64,
    /// Epoch of the deployment for this gateway.
    pub epoch: u64,
    /// Its number; zero if there is none.
    pub seq: u64,
}

impl fmt::Display for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "root {}, deployment {} of epoch {}",
            self.root_version, self.seq, self.epoch
        )
    }
}

/// How fresh the documents of a gateway are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    /// When the centre last confirmed that nothing is newer.
    pub freshness: Freshness,
    /// Whether it was exactly so long ago. Otherwise it was before this boot, and at least so long ago.
    pub exact: bool,
    /// What the centre has last said to be the newest, if it did not give it.
    pub kept_back: Option<Newest>,
}

impl Client {
    /// Takes the answer to a question that was asked with `nonce`, after all that was asked for since has come: what has
    /// become of the centre meanwhile can only make this gateway newer than the answer.
    ///
    /// # Errors
    /// When it is not to be believed, and then nothing has changed; and where the log or state cannot be written.
    pub fn take_time(&mut self, from: &str, nonce: Nonce, bytes: &[u8]) -> Result<(), Error> {
        let taken = self.hear(nonce, bytes);
        if let Err(error @ Error::Document(_)) = &taken {
            self.note_refusal(from, error);
        }
        taken
    }

    /// How fresh what is here is. Within a boot the time since boot says it, over a boot what was signed: no setting of a
    /// wall clock changes it.
    #[must_use]
    pub fn fresh(&self) -> Fresh {
        let (trust, clock) = (&self.state.trust, &*self.clock);
        let elapsed = self.state.heard.and_then(|heard| heard.elapsed(clock));
        let freshness = match elapsed {
            Some(elapsed) => trust.freshness_after(elapsed.as_secs()),
            None => match trust.freshness(&self.site.gateway, Now::Unsynchronised) {
                Freshness::Never => Freshness::Never,
                Freshness::Confirmed { seconds_ago, .. } => {
                    let since_boot = clock.boot_time().0 / 1_000_000_000;
                    trust.freshness_after(seconds_ago.max(since_boot))
                }
            },
        };
        Fresh {
            freshness,
            exact: elapsed.is_some(),
            kept_back: self.newest.filter(|newest| self.lacks(*newest)),
        }
    }

    fn hear(&mut self, nonce: Nonce, bytes: &[u8]) -> Result<(), Error> {
        let mut state = self.state.clone();
        let answer = state.trust.accept_time(&self.site.gateway, nonce, bytes)?;
        let newest = Newest::of(answer.time());
        let is_news = self.newest.replace(newest) != Some(newest);
        if is_news && self.lacks(newest) {
            tracing::warn!("newer documents are kept back: {newest}");
            self.note("kept-back", &newest.to_string())?;
        }
        let clock = &*self.clock;
        if answer.confirms() {
            state.heard = Some(Moment::now(clock));
        }
        let written = self.written.and_then(|written| written.elapsed(clock));
        if answer.confirms() && written.is_none_or(|elapsed| elapsed >= WRITTEN_EVERY) {
            state.audit = self.audit.head();
            return self.commit(state);
        }
        self.state = state;
        Ok(())
    }

    /// Whether this is newer than all that has come.
    fn lacks(&self, newest: Newest) -> bool {
        let trust = &self.state.trust;
        let root = trust.root().root();
        let here = Some((root.epoch, trust.seq())).max(self.judged);
        newest.root_version > root.version || Some((newest.epoch, newest.seq)) > here
    }

    /// Remembers that a deployment has come, if it is refused for what it is itself. That something it needs is missing is
    /// no such reason.
    pub(super) fn note_judged(&mut self, bytes: &[u8], error: &Error) {
        let is_judged = match error {
            Error::NotPermitted(_) => true,
            Error::Document(tidegate_bundle::Error::Refused(refusal)) => !matches!(
                refusal,
                Refusal::MissingRelease { .. } | Refusal::UnexpectedRelease { .. }
            ),
            _ => false,
        };
        if is_judged {
            let place = self.state.trust.place(&self.site.gateway, bytes).ok();
            self.judged = self.judged.max(place);
        }
    }
}

impl Newest {
    fn of(time: &Time) -> Self {
        Self {
            root_version: time.root_version,
            epoch: time.epoch,
            seq: time.seq,
        }
    }
}
