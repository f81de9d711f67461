//! A fleet: deployments of modules, signed and put on sticks with `tide`, for one gateway or for a group.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bundles::Workshop;
use crate::cloud::Cloud;
use crate::gateway::Gateway;
use crate::process::{Outcome, run};
use crate::site::GATEWAY;

/// What the site permits in these tests.
const POLICY: &str = "[[module]]\nname = \"tally\"\n";

/// Terms of a deployment.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Messages in the shadow.
    pub shadow_messages: u64,
    /// Minutes in probation.
    pub probation_minutes: u64,
    /// Processor time and time of calls, in percent of the version before.
    pub percent_max: u64,
    /// Attempts.
    pub attempts: u64,
    /// How long after it was signed it may be begun with.
    pub expires_after: Option<&'static str>,
}

impl Terms {
    /// A short shadow, no probation, and no bound on time that a busy machine could break.
    pub const QUICK: Self = Self {
        shadow_messages: 200,
        probation_minutes: 0,
        percent_max: 10_000,
        attempts: 3,
        expires_after: None,
    };
}

/// A module of a deployment.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// Its name on the gateway.
    pub name: &'static str,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Topic at the broker `plant` that it is fed with.
    pub topic: &'static str,
    /// Its configuration, as TOML.
    pub config: String,
}

/// For whom a deployment is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The one gateway of a [site](crate::site).
    Gateway,
    /// The gateways of a group.
    Group(&'static str),
}

/// A deployment on a stick.
#[derive(Debug, Clone)]
pub struct Stick {
    /// The file.
    pub file: PathBuf,
    /// What a gateway calls the deployment.
    pub deployment: Value,
}

/// Where deployments are signed.
#[derive(Debug)]
pub struct Fleet {
    workshop: Workshop,
    folder: PathBuf,
    target: Target,
    seq: u64,
}

impl Fleet {
    /// A fleet with the keys of a workshop, whose deployments are for `target`.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn new(workshop: Workshop, directory: &Path, target: Target) -> Result<Self> {
        let folder = directory.join("fleet");
        fs::create_dir_all(&folder)?;
        let fleet = Self {
            workshop,
            folder,
            target,
            seq: 0,
        };
        fs::write(fleet.policy(), POLICY)?;
        Ok(fleet)
    }

    /// The site's policy, for gateway.toml.
    pub fn policy(&self) -> PathBuf {
        self.folder.join("policy.toml")
    }

    /// The number of the next deployment.
    pub const fn next(&self) -> u64 {
        self.seq + 1
    }

    /// Where its bundles are made.
    pub const fn workshop(&self) -> &Workshop {
        &self.workshop
    }

    /// The root document.
    pub fn root(&self) -> PathBuf {
        self.workshop.root()
    }

    /// The secret key of all roles.
    pub fn key(&self) -> PathBuf {
        self.workshop.key()
    }

    /// Brings a signed file to a centre; gives its answer.
    ///
    /// # Errors
    /// When `tide` fails, or the centre does not take it.
    pub fn push(&self, cloud: &Cloud, file: &Path) -> Result<Value> {
        let access = cloud.access();
        self.at_centre(&access, &["push".as_ref(), file.as_os_str()])
    }

    /// Runs `tide` at a centre; gives its answer.
    ///
    /// # Errors
    /// When it fails.
    pub fn at_centre(&self, access: &[String], arguments: &[&OsStr]) -> Result<Value> {
        let access = access.iter().map(AsRef::as_ref);
        let arguments: Vec<_> = arguments.iter().copied().chain(access).collect();
        self.workshop.tide(&arguments)
    }

    /// The next deployment of these modules.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn signed(&mut self, terms: Terms, modules: &[Deployed]) -> Result<PathBuf> {
        self.seq += 1;
        let (file, signed) = (
            self.file("deployment", "toml"),
            self.file("deployment", "json"),
        );
        fs::write(&file, self.text(terms, modules))?;
        let (key, root) = (self.workshop.key(), self.workshop.root());
        self.workshop.tide(&[
            "deploy".as_ref(),
            file.as_ref(),
            "--key".as_ref(),
            key.as_ref(),
            "--root".as_ref(),
            root.as_ref(),
            "--to".as_ref(),
            signed.as_ref(),
        ])?;
        Ok(signed)
    }

    /// The next deployment of these modules, on a stick.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn stick(&mut self, terms: Terms, modules: &[Deployed]) -> Result<Stick> {
        let signed = self.signed(terms, modules)?;
        let (root, stick) = (self.root(), self.file("update", "tidegate-stick"));
        let mut arguments = vec![
            "bundle-usb".as_ref(),
            "--root".as_ref(),
            root.as_os_str(),
            "--deployment".as_ref(),
            signed.as_os_str(),
            "--to".as_ref(),
            stick.as_os_str(),
        ];
        let mut bundles: Vec<_> = modules.iter().map(|module| &module.bundle).collect();
        bundles.sort();
        bundles.dedup();
        for bundle in bundles {
            arguments.extend(["--bundle".as_ref(), bundle.as_os_str()]);
        }
        let written = self.workshop.tide(&arguments)?;
        let deployment = said(&written, "/sha256").clone();
        Ok(Stick {
            file: stick,
            deployment,
        })
    }

    fn file(&self, name: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{name}-{}.{end}", self.seq))
    }

    fn text(&self, terms: Terms, modules: &[Deployed]) -> String {
        let target = match self.target {
            Target::Gateway => format!("gateway = \"{GATEWAY}\""),
            Target::Group(group) => format!("group = \"{group}\""),
        };
        let expires = terms
            .expires_after
            .map(|after| format!("expires-after = \"{after}\"\n"));
        let mut text = format!(
            "{target}\nseq = {}\n{}\n[rollout]\ncheck = \"equal\"\nshadow-messages = {}\n\
             cpu-percent-max = {}\nlatency-percent-max = {}\nprobation-minutes = {}\nattempts = {}\n",
            self.seq,
            expires.unwrap_or_default(),
            terms.shadow_messages,
            terms.percent_max,
            terms.percent_max,
            terms.probation_minutes,
            terms.attempts,
        );
        for module in modules {
            text.push_str(&format!(
                "\n[[module]]\nname = \"{}\"\nbundle = \"{}\"\ninputs = [{{ from = \"plant\", topic = \"{}\" }}]\n\
                 config = {{ {} }}\n",
                module.name,
                module.bundle.display(),
                module.topic,
                module.config,
            ));
        }
        text
    }
}

/// Puts a gateway that does not run under this fleet.
///
/// # Errors
/// When it refuses.
pub fn join(gateway: &Gateway, fleet: &Fleet) -> Result<()> {
    let path = gateway.configuration();
    let text = fs::read_to_string(&path)?;
    let trust = format!("[trust]\npolicy = \"{}\"\n", fleet.policy().display());
    gateway.configure(&text.replacen("[trust]\n", &trust, 1))?;
    let outcome = update(gateway, &["join"])?;
    ensure!(outcome.code == Some(0), "cannot join: {}", outcome.stderr);
    Ok(())
}

/// Gives a running gateway a stick; gives what it answers.
///
/// # Errors
/// When the command cannot be started.
pub fn import(gateway: &Gateway, stick: &Path) -> Result<Outcome> {
    let stick = stick.to_str().context("a path is text")?;
    update(gateway, &["import", stick])
}

/// What it says of its updates to people.
///
/// # Errors
/// When it does not answer.
pub fn told(gateway: &Gateway) -> Result<String> {
    words(gateway, "status")
}

/// Its audit log, for people.
///
/// # Errors
/// When it is not whole.
pub fn log(gateway: &Gateway) -> Result<String> {
    words(gateway, "log")
}

fn words(gateway: &Gateway, command: &str) -> Result<String> {
    let outcome = update(gateway, &[command])?;
    ensure!(outcome.code == Some(0), "{command}: {}", outcome.stderr);
    Ok(outcome.stdout)
}

/// What the gateway says of its updates.
///
/// # Errors
/// When it does not answer.
pub fn status(gateway: &Gateway) -> Result<Value> {
    Ok(said(&gateway.status()?, "/updates").clone())
}

/// What is at this pointer; null if nothing is.
pub fn said<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// Runs `tidegate update` with these arguments.
///
/// # Errors
/// When the command cannot be started.
pub fn update(gateway: &Gateway, arguments: &[&str]) -> Result<Outcome> {
    let config = gateway.configuration();
    let all = ["update"]
        .iter()
        .chain(arguments)
        .map(|argument| argument.as_ref());
    run(
        gateway.program(),
        all.chain(["--config".as_ref(), config.as_os_str()]),
    )
}
