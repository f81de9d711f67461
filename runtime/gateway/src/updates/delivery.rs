//! What the courier says to the client's thread, and what the thread answers. Each is done in the time that a disk takes.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_bundle::{Digest, Nonce};
use tidegate_update::{Blob, Error, Parcel, Piece, Wants};
use tokio::sync::{Notify, oneshot};

use super::begin::Enrolled;
use super::report::Reporter;
use super::site::{self, SiteRules};
use super::thread::Desk;
use crate::error::chain;

/// The reason code where the policy cannot be read: nobody knows what the site permits.
const BAD_POLICY: &str = "policy-unreadable";

/// The way back to the courier; in words where something is refused.
pub(super) type Answer<T> = oneshot::Sender<Result<T, String>>;

/// What the courier says.
#[derive(Debug)]
pub(super) enum Delivery {
    /// What is to be told to the centre?
    Report(Answer<Vec<u8>>),
    /// What is wanted?
    Wants(Answer<Wants>),
    /// Is what the site says still the same? By a stamp that changes with it.
    Stamp(Answer<Digest>),
    /// Here is the root that follows.
    Root(Parcel, Answer<()>),
    /// Here is a deployment: which of its releases are to be brought?
    Look(Parcel, Answer<Vec<Digest>>),
    /// Here it is with them.
    Take(Parcel, Answer<()>),
    /// Here is the piece of a blob that begins at this byte.
    Piece(Blob, u64, Bytes, Answer<()>),
    /// Here is what the centre says to be the newest, to a question with this nonce.
    Time(Nonce, Vec<u8>, Answer<()>),
    /// The centre was asked: this is how it went.
    Asked(Result<(), String>),
}

/// Between the client's thread and the courier.
#[derive(Debug)]
pub(super) struct Post {
    /// Makes what is told.
    pub(super) reporter: Reporter,
    /// Sends the courier at once.
    pub(super) wake: Arc<Notify>,
    /// Whom it asks, for the log.
    pub(super) from: &'static str,
    /// How it went when the centre was asked last; none before that, or where there is no centre.
    pub(super) asked: Option<Result<(), String>>,
}

impl Post {
    /// For the operator.
    pub(super) fn json(&self) -> Value {
        let told = |asked: &Result<(), String>| json!({"error": asked.as_ref().err()});
        self.asked.as_ref().map(told).unwrap_or_default()
    }
}

impl Desk<'_> {
    pub(super) fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Report(answer) => give(answer, self.post.reporter.report(&self.fleet.client)),
            Delivery::Wants(answer) => give(answer, self.wants()),
            Delivery::Stamp(answer) => {
                let Enrolled { policy, here, .. } = &self.fleet;
                give(answer, Ok(site::stamp(policy.as_deref(), &here.secrets)));
            }
            Delivery::Root(mut parcel, answer) => {
                let taken = self.fleet.client.take_root(&mut parcel);
                give(answer, taken.map_err(|error| chain(&error)));
            }
            Delivery::Look(parcel, answer) => {
                let lacking = self.fleet.client.lacking(&parcel);
                give(
                    answer,
                    lacking.map_err(|error| self.refuse(&parcel, &error)),
                );
            }
            Delivery::Take(parcel, answer) => give(answer, self.take(parcel)),
            Delivery::Piece(blob, at, piece, answer) => give(answer, self.piece(blob, at, &piece)),
            Delivery::Time(nonce, time, answer) => give(answer, self.time(nonce, &time)),
            Delivery::Asked(asked) => {
                if let Err(error) = &asked
                    && self.post.asked.as_ref() != Some(&asked)
                {
                    tracing::warn!("the centre was asked for updates: {error}");
                }
                self.post.asked = Some(asked);
            }
        }
    }

    fn wants(&mut self) -> Result<Wants, String> {
        let wants = self.fleet.client.wants().map_err(|error| chain(&error))?;
        let is_fetching = self.fleet.client.machine().fetching().is_some();
        if is_fetching && wants.blobs.is_empty() && wants.known.is_some() {
            // All of it came, and that could not be written down.
            let commands = self.fleet.client.complete();
            self.follow(commands.map_err(|error| chain(&error))?);
        }
        Ok(wants)
    }

    fn take(&mut self, mut parcel: Parcel) -> Result<(), String> {
        let policy = self.policy();
        let policy = policy.map_err(|why| self.tell_refused(&parcel, BAD_POLICY, why))?;
        let here = &self.fleet.here;
        let rules = SiteRules { policy, here };
        let taken = self.fleet.client.take(&mut parcel, &rules);
        let taken = taken.map_err(|error| self.refuse(&parcel, &error))?;
        if let Some(document) = &parcel.deployment {
            self.post.reporter.take_back(document);
        }
        self.follow(taken.commands);
        match taken.problems.first() {
            Some(problem) => Err(chain(problem)),
            None => Ok(()),
        }
    }

    fn piece(&mut self, blob: Blob, at: u64, piece: &[u8]) -> Result<(), String> {
        let taken = self
            .fleet
            .client
            .take_piece(self.post.from, blob, at, piece);
        if let Piece::Whole(commands) = taken.map_err(|error| chain(&error))? {
            self.follow(commands);
        }
        Ok(())
    }

    /// An answer that is refused is in the next report, and none is made for it: there may be one of these in each round.
    fn time(&mut self, nonce: Nonce, time: &[u8]) -> Result<(), String> {
        let taken = self.fleet.client.take_time(self.post.from, nonce, time);
        taken.map_err(|error| {
            if let Error::Document(refused) = &error {
                let why = self.fleet.client.sentence(&error);
                self.post.reporter.refuse(time, refused.reason(), &why);
            }
            chain(&error)
        })
    }

    /// A refusal is reported; that a disk or source failed is none.
    fn refuse(&mut self, parcel: &Parcel, error: &Error) -> String {
        let reason = error.reason();
        match reason {
            "disk-failed" | "source-failed" => chain(error),
            _ => {
                let why = self.fleet.client.sentence(error);
                self.tell_refused(parcel, reason, why)
            }
        }
    }

    /// A refusal that is news is reported at once. Gives back why.
    fn tell_refused(&mut self, parcel: &Parcel, reason: &str, why: String) -> String {
        if let Some(document) = &parcel.deployment
            && self.post.reporter.refuse(document, reason, &why)
        {
            self.post.wake.notify_one();
        }
        why
    }
}

/// The courier may have gone.
fn give<T>(answer: Answer<T>, told: Result<T, String>) {
    let _heard = answer.send(told);
}
