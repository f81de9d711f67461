//! Gateways as the centre's people see them: labels, groups, and what each has reported of itself.

use std::collections::BTreeMap;
use std::future::Future;

use tidegate_bundle::Status;
use tidegate_wire::{Name, WallTime};

use super::audit::Event;
use super::{Error, GatewayId, Tenant};

/// Most labels of one gateway, and of one group.
pub const LABELS_MAX: usize = 32;

/// Most groups of one tenant.
pub const GROUPS_MAX: usize = 1000;

/// Values by the names of labels.
pub type Labels = BTreeMap<Name, String>;

/// Where labels, groups and reports are kept.
pub trait Fleet {
    /// Sets labels of a gateway; one without a value is taken away. Gives those that it has then, or none and changes
    /// nothing where they would be more than [`LABELS_MAX`]. With a row of the audit log in the same transaction.
    fn set_labels(
        &self,
        of: &GatewayId,
        changes: &BTreeMap<Name, Option<String>>,
        event: &Event,
        now: WallTime,
    ) -> impl Future<Output = Result<Option<Labels>, Error>> + Send;

    /// Says which gateways are in a group: those that have these labels. Gives whether there was room for it.
    fn put_group(
        &self,
        tenant: &Tenant,
        name: &Name,
        labels: &Labels,
        event: &Event,
        now: WallTime,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// All groups.
    fn groups(
        &self,
        tenant: &Tenant,
    ) -> impl Future<Output = Result<BTreeMap<Name, Labels>, Error>> + Send;

    /// Keeps a report, unless a newer one is here; gives whether it is kept.
    fn put_report(
        &self,
        of: &GatewayId,
        report: &Report,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// All gateways that were ever heard of or have a label.
    fn fleet(
        &self,
        tenant: &Tenant,
    ) -> impl Future<Output = Result<BTreeMap<Name, Known>, Error>> + Send;

    /// One of them.
    fn known(&self, of: &GatewayId) -> impl Future<Output = Result<Option<Known>, Error>> + Send;
}

/// What a gateway has reported, as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it says.
    pub status: Status,
    /// The file.
    pub document: Vec<u8>,
    /// When it came, by the centre's clock.
    pub received: WallTime,
}

/// What is known of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// What people have said of it.
    pub labels: Labels,
    /// When it was last heard of, by the centre's clock.
    pub seen: Option<WallTime>,
    /// What it said last.
    pub report: Option<Report>,
}

impl Known {
    /// Whether it is in a group of gateways with these labels.
    pub fn is_in(&self, group: &Labels) -> bool {
        let has = |(label, value): (&Name, &String)| self.labels.get(label) == Some(value);
        group.iter().all(has)
    }

    /// What it has reported.
    pub fn status(&self) -> Option<&Status> {
        self.report.as_ref().map(|report| &report.status)
    }
}
