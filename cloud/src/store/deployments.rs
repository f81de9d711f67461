//! Roots, deployments and the parts of releases, as a store keeps them: the bytes that were signed, and what finds them.

use std::future::Future;

use tidegate_bundle::{Deployment, Digest, Target};
use tidegate_wire::WallTime;

use super::audit::Event;
use super::{Error, Page, Tenant};

/// Where documents for gateways are kept. Each was verified before it comes here, and none is ever changed.
pub trait Deployments {
    /// Keeps the root of this version, with a row of the audit log in the same transaction. Gives whether it is new;
    /// one that is here stays.
    fn put_root(
        &self,
        tenant: &Tenant,
        version: u64,
        document: &[u8],
        event: &Event,
        now: WallTime,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Roots that were brought, from this version on, in their order: at most `count_max`.
    fn roots(
        &self,
        tenant: &Tenant,
        from: u64,
        count_max: u32,
    ) -> impl Future<Output = Result<Vec<Vec<u8>>, Error>> + Send;

    /// Keeps a deployment, with a row of the audit log in the same transaction.
    fn put_deployment(
        &self,
        tenant: &Tenant,
        deployment: &KeptDeployment,
        event: &Event,
    ) -> impl Future<Output = Result<PutDeployment, Error>> + Send;

    /// Deployments, the newest first, from the one after `after`: at most `count_max`.
    fn deployments(
        &self,
        tenant: &Tenant,
        after: Option<Sequence>,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<KeptDeployment>, Error>> + Send;

    /// The deployment with this digest.
    fn deployment(
        &self,
        tenant: &Tenant,
        digest: Digest,
    ) -> impl Future<Output = Result<Option<KeptDeployment>, Error>> + Send;

    /// Of each gateway that has deployments by its name, the newest.
    fn own_deployments(
        &self,
        tenant: &Tenant,
    ) -> impl Future<Output = Result<Vec<KeptDeployment>, Error>> + Send;

    /// The release document whose signed body has this digest.
    fn release_document(
        &self,
        tenant: &Tenant,
        identity: Digest,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send;

    /// Where the artifact with this digest stands.
    fn artifact(
        &self,
        tenant: &Tenant,
        digest: Digest,
    ) -> impl Future<Output = Result<Option<Part>, Error>> + Send;
}

/// A place in the order of deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence {
    /// Epoch of the fleet.
    pub epoch: u64,
    /// Number in it.
    pub seq: u64,
}

/// A deployment that was verified when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDeployment {
    /// Its place.
    pub at: Sequence,
    /// SHA-256 of its signed body.
    pub digest: Digest,
    /// For whom it is.
    pub target: Target,
    /// The file.
    pub document: Vec<u8>,
    /// When it came, by the centre's clock.
    pub received: WallTime,
    /// Name of the token that brought it.
    pub by: String,
}

impl KeptDeployment {
    /// What the file says. It was verified when it came.
    ///
    /// # Errors
    /// When the stored file is damaged.
    pub fn open(&self) -> Result<Deployment, Error> {
        Deployment::unverified(&self.document)
            .ok()
            .filter(|(_, digest)| *digest == self.digest)
            .map(|(deployment, _)| deployment)
            .ok_or(Error::Damaged("deployment"))
    }
}

/// Some bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Digest of the file.
    pub blob: Digest,
    /// Where they begin.
    pub start: u64,
    /// How many they are.
    pub length: u64,
}

/// What became of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutDeployment {
    /// It is kept.
    Kept,
    /// It was here already.
    Known,
    /// Another one has its number.
    Reused,
    /// For the same target there is one with a number that is not lower.
    Stale(Sequence),
}
