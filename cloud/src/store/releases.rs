//! Releases, as a store keeps them: what the bundle says, and the digest of its file.

use std::future::Future;

use tidegate_bundle::Digest;
use tidegate_wire::{Name, WallTime};

use super::audit::Event;
use super::deployments::Part;
use super::{Error, Page, Tenant};

/// Where releases are kept.
///
/// - Of a module the counter only grows: what gateways would refuse is not kept.
/// - The same file again changes nothing.
pub trait Releases {
    /// Keeps a release whose file is on disk, and where its parts are, with a row of the audit log in the same
    /// transaction. Of one that is here the parts are kept as well: an older centre did not.
    fn put_release(
        &self,
        tenant: &Tenant,
        release: &KeptRelease,
        parts: &Parts,
        event: &Event,
    ) -> impl Future<Output = Result<Put, Error>> + Send;

    /// What [`Releases::put_release`] would say at this moment.
    fn would_put(
        &self,
        tenant: &Tenant,
        release: &KeptRelease,
    ) -> impl Future<Output = Result<Put, Error>> + Send;

    /// Releases by module, the highest counter first, from the one after `after`: at most `count_max`.
    fn releases(
        &self,
        tenant: &Tenant,
        after: Option<&ReleasePosition>,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<KeptRelease>, Error>> + Send;

    /// Whether a file is that of a release of this tenant.
    fn has_blob(
        &self,
        tenant: &Tenant,
        blob: Digest,
    ) -> impl Future<Output = Result<bool, Error>> + Send;
}

/// A release that was verified when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRelease {
    /// Its module.
    pub module: Name,
    /// Orders the releases of the module.
    pub counter: u64,
    /// For people.
    pub version: String,
    /// Digest of the release document, 64 digits: the identity of the bundle.
    pub identity: String,
    /// Digest of the file, 64 digits.
    pub blob: String,
    /// Length of the file.
    pub bytes: u64,
    /// When it came, by the centre's clock.
    pub received: WallTime,
    /// Name of the token that brought it.
    pub by: String,
}

/// What gateways fetch of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Its release document, as it was signed.
    pub document: Vec<u8>,
    /// Where in the file each artifact stands, by its digest.
    pub artifacts: Vec<(Digest, Part)>,
}

/// A place in the order of releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasePosition {
    /// The module.
    pub module: Name,
    /// The counter.
    pub counter: u64,
}

/// What became of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is kept.
    Kept,
    /// This file was here already.
    Known,
    /// Of its module there is this counter already, which is not lower.
    Stale(u64),
}
