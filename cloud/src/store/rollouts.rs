//! Rollouts, as a store keeps them: one row each.

use std::future::Future;

use tidegate_wire::{Name, WallTime};

use super::audit::Event;
use super::{Error, Tenant};
use crate::rollout::Rollout;

/// Of a group's rollouts, so many of the newest say what its gateways run.
pub const ROLLOUTS_OF_GROUP: u32 = 32;

/// Where rollouts are kept.
pub trait Rollouts {
    /// Keeps a new rollout, unless its group has one that is not at its end. Gives its number.
    fn start_rollout(
        &self,
        tenant: &Tenant,
        start: &NewRollout,
        event: &Event,
    ) -> impl Future<Output = Result<Option<u64>, Error>> + Send;

    /// Keeps a changed rollout, and a row of the audit log with it, if it still has the revision that it was read with.
    /// Gives whether it had.
    fn save_rollout(
        &self,
        tenant: &Tenant,
        kept: &KeptRollout,
        event: Option<&Event>,
        now: WallTime,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Rollouts, the newest first: at most `count_max`.
    fn rollouts(
        &self,
        tenant: &Tenant,
        count_max: u32,
    ) -> impl Future<Output = Result<Vec<KeptRollout>, Error>> + Send;

    /// One of them.
    fn rollout(
        &self,
        tenant: &Tenant,
        number: u64,
    ) -> impl Future<Output = Result<Option<KeptRollout>, Error>> + Send;

    /// Those of a group, the newest first: at most [`ROLLOUTS_OF_GROUP`].
    fn rollouts_of(
        &self,
        tenant: &Tenant,
        group: &Name,
    ) -> impl Future<Output = Result<Vec<KeptRollout>, Error>> + Send;

    /// Those that are not at their end.
    fn active_rollouts(
        &self,
    ) -> impl Future<Output = Result<Vec<(Tenant, KeptRollout)>, Error>> + Send;
}

/// A rollout that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRollout {
    /// Its group.
    pub group: Name,
    /// The rollout.
    pub rollout: Rollout,
    /// When it begins, by the centre's clock.
    pub started: WallTime,
    /// Name of the token that began it.
    pub by: String,
}

/// A rollout and its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRollout {
    /// Its number.
    pub number: u64,
    /// Grows with each change.
    pub revision: u64,
    /// The rest.
    pub of: NewRollout,
}
