//! The deployment document: what a gateway, or a group of them, runs now.
//!
//! It is complete: every module is named by the digest of its signed release, with its inputs, what it is granted, its
//! configuration and flags. So there is nothing to mix and match, and whatever is rolled back is rolled back together.
//! `(epoch, seq)` orders deployments; which of them a gateway takes is decided in [`crate::Trust`].
//!
//! No secret stands in a deployment, only the name of one ([`SecretRef`]), and that is a name and never a path: who
//! steals the deploy key can point a module to what the site has set aside for modules, and to no other file.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    Capabilities, Digest, Envelope, Error, Refusal, Release, Root, Sign, VerifiedRoot, json, text,
};

pub(crate) use read::{DOCUMENT, read};

/// DSSE payload type of the deployment document.
pub const DEPLOYMENT_TYPE: &str = "application/vnd.tidegate.deployment.v1+json";

/// The deployment document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deployment {
    /// Name of the fleet.
    pub fleet_id: String,
    /// For whom it is.
    #[serde(flatten)]
    pub target: Target,
    /// Epoch of the fleet, as in its root.
    pub epoch: u64,
    /// Orders the deployments of an epoch, from 1, whoever they are for.
    pub seq: u64,
    /// Oldest root under which this may be taken.
    pub min_root_version: u64,
    /// All modules.
    pub modules: Vec<DeployedModule>,
    /// How changed modules prove themselves.
    pub rollout: Rollout,
    /// Modules that may go back to an older release. Needs signatures of publishers as well.
    pub downgrades: Vec<Downgrade>,
    /// Unix seconds of signing.
    pub created: u64,
    /// Unix seconds after which it should not be begun with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// For whom a deployment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// One gateway.
    GatewayId(String),
    /// All gateways of a group.
    GroupId(String),
}

/// One module of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployedModule {
    /// Its name on the gateway.
    pub name: String,
    /// Digest of the signed body of its release document.
    pub release: Digest,
    /// What it is fed.
    pub inputs: Vec<Input>,
    /// What it is granted.
    #[serde(rename = "capabilities")]
    pub grants: Grants,
    /// Configuration over the release's own.
    pub config: BTreeMap<String, ConfigValue>,
    /// Switches, for what should change without a new release.
    pub flags: BTreeMap<String, Flag>,
    /// Where rows of its streams may go. One that is not named here may go anywhere.
    pub streams: Vec<Residency>,
}

/// Messages that a module is fed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Input {
    /// Name of a broker or sensor of the gateway.
    pub from: String,
    /// Topic filter.
    pub topic: String,
}

/// What a module is granted, of what its release asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Grants {
    /// Where it may publish.
    pub publish: Vec<Publish>,
    /// Device points that it may write.
    pub actuate: Vec<String>,
    /// Imports that it gets beyond the contract.
    pub wasi: Vec<String>,
}

/// Topics of one broker that a module may publish to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Publish {
    /// Name of a broker of the gateway.
    pub to: String,
    /// Topic filter.
    pub topic: String,
}

/// The value of a configuration key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ConfigValue {
    /// The value itself.
    Text(String),
    /// Where the gateway finds it.
    Secret(SecretRef),
}

/// The name of a secret, and where a gateway keeps secrets of that name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// A file in the gateway's folder of secrets.
    File(String),
    /// A credential that the service manager hands to the gateway.
    Credential(String),
    /// A variable of the gateway's environment.
    Environment(String),
}

/// The value of a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Flag {
    /// On or off.
    Switch(bool),
    /// One of several.
    Text(String),
}

/// Where rows of a stream may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Residency {
    /// Name of the stream.
    pub name: String,
    /// The only region in which they may be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether they may leave the site at all.
    pub may_leave_site: bool,
}

/// How a changed module proves itself before, and after, it takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// How its outputs are compared with those of the one before.
    #[serde(flatten)]
    pub check: Check,
    /// How long it runs in the shadow.
    #[serde(flatten)]
    pub shadow: Shadow,
    /// Most CPU time it may take, in percent of what the one before takes.
    pub cpu_percent_max: u64,
    /// Longest that it may take for a batch, in percent of what the one before takes.
    pub latency_percent_max: u64,
    /// How long the one before stands by after the switch.
    pub probation_minutes: u64,
    /// How often it is started before it is given up.
    pub attempts: u64,
}

/// How the outputs of two versions are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "check", rename_all = "lowercase")]
pub enum Check {
    /// All outputs are the same.
    Equal,
    /// The same but for numbers, which may differ by so many millionths of the greater one.
    Tolerance {
        /// Millionths.
        tolerance_ppm: u64,
    },
    /// As many outputs of each kind.
    Count,
}

/// How long a candidate runs in the shadow; zero for not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Shadow {
    /// For so many messages.
    #[serde(rename = "shadow_messages")]
    Messages(u64),
    /// For so many minutes.
    #[serde(rename = "shadow_minutes")]
    Minutes(u64),
}

/// Leave for one module to go back to an older release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Downgrade {
    /// The module, as its release names it.
    pub module: String,
    /// The counter of the older release, and no other.
    pub to_counter: u64,
}

impl Flag {
    /// The flag that switches a module off; its value is never a text.
    pub const ENABLED: &str = "enabled";
}

impl Rollout {
    /// Longest shadow and probation: a year.
    pub const MINUTES_MAX: u64 = 525_600;
    /// Longest shadow in messages: at one a millisecond, twelve days.
    pub const MESSAGES_MAX: u64 = 1_000_000_000;
    /// Widest bound of time, in percent: a hundred times what the one before takes.
    pub const PERCENT_MAX: u64 = 10_000;
    /// Widest tolerance, in millionths: two numbers that differ by all of the greater one.
    pub const PPM_MAX: u64 = 1_000_000;
    /// Most starts: each that fails costs the gateway seconds.
    pub const ATTEMPTS_MAX: u64 = 100;
}

impl Deployment {
    /// Signs this deployment with keys of the deploy role, and of publishers where it grants downgrades.
    ///
    /// # Errors
    ///
    /// Whatever a reader would say to its form; whether the signatures are enough, only a root can say.
    pub fn sign(&self, keys: &[&impl Sign]) -> Result<Vec<u8>, Error> {
        let payload = json::write(DOCUMENT, self)?;
        read(&payload)?;
        Envelope::sign(DOCUMENT, DEPLOYMENT_TYPE, payload, keys)?.write()
    }

    /// Verifies a deployment under the deploy role and reads it: the document and the SHA-256 of its signed body. Whether
    /// it is for a certain gateway, and newer than what that has, this does not say; a gateway asks its
    /// [`crate::Trust`].
    ///
    /// # Errors
    ///
    /// Any reason of the envelope, of its signatures or of the document's form.
    pub fn verify(bytes: &[u8], root: &VerifiedRoot) -> Result<(Self, Digest), Error> {
        let (_, deployment, digest) = open(bytes, root)?;
        Ok((deployment, digest))
    }

    /// Whether each way back that it grants is signed as a gateway wants it that needs the grant: by the threshold of the
    /// release role, with keys that may sign the module.
    ///
    /// # Errors
    ///
    /// As [`Deployment::verify`]; `downgrade-not-signed`.
    pub fn verify_downgrades(bytes: &[u8], root: &VerifiedRoot) -> Result<(), Error> {
        let (envelope, deployment, _) = open(bytes, root)?;
        for downgrade in &deployment.downgrades {
            check_downgrade_signed(&envelope, root.root(), downgrade)?;
        }
        Ok(())
    }

    /// Holds each module against its release, and the releases against each other. A release that is not among these is
    /// passed over.
    ///
    /// # Errors
    ///
    /// `not-asked`, `unknown-stream`, `conflicting-releases`.
    pub fn check_releases(&self, releases: &BTreeMap<Digest, Release>) -> Result<(), Error> {
        for module in &self.modules {
            if let Some(release) = releases.get(&module.release) {
                module.check(release)?;
            }
        }
        let named = self.releases();
        let named = named.iter().filter_map(|digest| releases.get(digest));
        let mut modules = BTreeSet::new();
        for release in named {
            if !modules.insert(&release.module) {
                let module = release.module.clone();
                return Err(Refusal::ConflictingReleases { module }.into());
            }
        }
        Ok(())
    }

    /// Reads a deployment without a look at its signatures: to show it, or because its digest is already trusted.
    ///
    /// # Errors
    ///
    /// Any reason of the document's form.
    pub fn unverified(bytes: &[u8]) -> Result<(Self, Digest), Error> {
        let envelope = Envelope::read(DOCUMENT, bytes)?;
        envelope.check_type(DEPLOYMENT_TYPE)?;
        let payload = envelope.unverified_payload();
        Ok((read(payload)?, Digest::of(payload)))
    }

    /// The digests of all releases that it names.
    #[must_use]
    pub fn releases(&self) -> BTreeSet<Digest> {
        self.modules.iter().map(|module| module.release).collect()
    }
}

/// Verifies a deployment; the envelope as well, for signatures of other roles.
pub(crate) fn open(
    bytes: &[u8],
    root: &VerifiedRoot,
) -> Result<(Envelope, Deployment, Digest), Error> {
    let root = root.root();
    let signers = root.signers_of(root.roles.deploy.as_ref());
    let envelope = Envelope::read(DOCUMENT, bytes)?;
    let (payload, _) = envelope.verify(DEPLOYMENT_TYPE, &signers)?;
    let (deployment, digest) = (read(payload)?, Digest::of(payload));
    Ok((envelope, deployment, digest))
}

/// A way back is signed by whoever may sign the release that it leads to.
pub(crate) fn check_downgrade_signed(
    envelope: &Envelope,
    root: &Root,
    downgrade: &Downgrade,
) -> Result<(), Refusal> {
    let role = &root.roles.release.role;
    let publishers = match envelope.verify(DEPLOYMENT_TYPE, &root.signers(role)) {
        Ok((_, signed_by)) => root.publishers_of(&downgrade.module, &signed_by),
        Err(_) => 0,
    };
    if publishers >= role.threshold {
        return Ok(());
    }
    Err(Refusal::DowngradeNotSigned {
        module: downgrade.module.clone(),
        to_counter: downgrade.to_counter,
    })
}

impl DeployedModule {
    /// Whether it is to run: it is, unless its flag `enabled` is false.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.flags.get(Flag::ENABLED) != Some(&Flag::Switch(false))
    }

    /// SHA-256 of all that the deployment says of it, its release and configuration among it: it says nothing to others, and
    /// tells this gateway whether it has had the same before.
    ///
    /// # Errors
    ///
    /// Those of the encoder, which no module causes.
    pub fn digest(&self) -> Result<Digest, Error> {
        Ok(Digest::of(&json::write(DOCUMENT, self)?))
    }

    /// The configuration that the module gets: the release's, over it the deployment's, and each flag `NAME` under the
    /// key `flag.NAME`.
    #[must_use]
    pub fn configuration(&self, release: &Release) -> BTreeMap<String, ConfigValue> {
        let own = release.config.iter();
        let mut all: BTreeMap<_, _> = own
            .map(|(key, value)| (key.clone(), ConfigValue::Text(value.clone())))
            .collect();
        all.extend(self.config.clone());
        let flags = self.flags.iter().filter(|(name, _)| *name != Flag::ENABLED);
        all.extend(flags.map(|(name, flag)| {
            let key = format!("{}{name}", text::FLAG_PREFIX);
            (key, ConfigValue::Text(flag.to_string()))
        }));
        all
    }

    /// Where rows of a stream may go.
    #[must_use]
    pub fn residency(&self, stream: &str) -> Residency {
        let found = self.streams.iter().find(|other| other.name == stream);
        found.cloned().unwrap_or_else(|| Residency {
            name: stream.to_owned(),
            region: None,
            may_leave_site: true,
        })
    }

    /// Holds the module against the release that it names.
    fn check(&self, release: &Release) -> Result<(), Refusal> {
        let beyond = self.grants.capabilities().beyond(&release.capabilities);
        let lists = [
            ("publish", beyond.publish),
            ("actuate", beyond.actuate),
            ("wasi", beyond.wasi),
        ];
        for (what, texts) in lists {
            if let Some(text) = texts.into_iter().next() {
                let module = self.name.clone();
                return Err(Refusal::NotAsked { module, what, text });
            }
        }
        let kept = |name: &str| release.streams.iter().any(|stream| stream.name == name);
        match self.streams.iter().find(|stream| !kept(&stream.name)) {
            Some(stream) => Err(Refusal::UnknownStream {
                module: self.name.clone(),
                stream: stream.name.clone(),
            }),
            None => Ok(()),
        }
    }
}

impl Grants {
    /// The same without the brokers: what the release must ask for, and the site permit.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let publish: BTreeSet<_> = self.publish.iter().map(|publish| &publish.topic).collect();
        Capabilities {
            publish: publish.into_iter().cloned().collect(),
            actuate: self.actuate.clone(),
            wasi: self.wasi.clone(),
        }
    }
}

impl std::fmt::Display for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, name) = match self {
            Self::File(name) => ("file", name),
            Self::Credential(name) => ("credential", name),
            Self::Environment(name) => ("environment", name),
        };
        write!(f, "{kind} {name}")
    }
}

impl std::fmt::Display for Flag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch(on) => on.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
