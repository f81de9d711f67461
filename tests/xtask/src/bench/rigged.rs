//! A plant with release programs, and the bare subscriber.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::binaries::{Binaries, Profile, cargo_build, repository, target_folder};
use tidegate_tests::broker::Broker;
use tidegate_tests::bundles::Workshop;
use tidegate_tests::process::{Process, run_well};
use tidegate_tests::site::{Module, Plan, Site};

/// The topic of the load.
pub(super) const TOPIC: &str = "machines/press-7/temperature";

/// Name of the bare subscriber at the broker.
const BARE: &str = "bare";

/// What every bench needs.
#[derive(Debug)]
pub(super) struct Rig {
    /// The product.
    pub(super) binaries: Binaries,
    /// The bare subscriber.
    pub(super) bare: PathBuf,
    profile: Profile,
    quick: bool,
}

/// A module of a bench, by the folder of its source, with further lines of gateway.toml.
pub(super) type Wanted<'a> = (&'a str, String);

impl Rig {
    /// Builds the programs.
    pub(super) fn build(quick: bool) -> Result<Self> {
        let profile = if quick {
            Profile::Dev
        } else {
            Profile::Release
        };
        let binaries = Binaries::build(profile)?;
        let bare = example(profile, "tidegate-tests", "bare_subscriber")?;
        Ok(Self {
            binaries,
            bare,
            profile,
            quick,
        })
    }

    /// So many messages, or few where the bench is only tried.
    pub(super) fn messages(&self, number: u64) -> u64 {
        if self.quick { number / 10 } else { number }
    }

    /// Whether the bench is only tried.
    pub(super) const fn is_quick(&self) -> bool {
        self.quick
    }

    /// Runs an example that prints one line of JSON.
    pub(super) fn measured(&self, package: &str, name: &str, arguments: &[&Path]) -> Result<Value> {
        let printed = run_well(&example(self.profile, package, name)?, arguments)?;
        serde_json::from_str(&printed).with_context(|| format!("{name} printed no JSON: {printed}"))
    }

    /// Where bundles are made, in a folder of its own.
    pub(super) fn workshop(&self) -> Result<(TempDir, Workshop)> {
        // On the disk of the checkout: /tmp may be memory, where an fsync costs nothing.
        let folder = tempfile::tempdir_in(target_folder()?)?;
        let workshop = Workshop::open(&self.binaries, folder.path())?;
        Ok((folder, workshop))
    }

    /// A plant with these modules; the gateway is configured and not started.
    pub(super) fn site(&self, wanted: &[Wanted<'_>], tapped: bool) -> Result<(TempDir, Site)> {
        let (folder, workshop) = self.workshop()?;
        let mut modules = Vec::new();
        for (source, settings) in wanted {
            let bundle = workshop.bundle(&repository().join(source))?;
            modules.push(Module {
                bundle,
                settings: settings.clone(),
            });
        }
        let directory = folder.path();
        let plan = Plan {
            directory,
            binaries: &self.binaries,
            program: None,
            modules,
            broker: "",
            sections: "",
            tapped,
        };
        let site = Site::start(&plan, &workshop)?;
        Ok((folder, site))
    }

    /// Starts the bare subscriber, which ends after so many messages.
    pub(super) fn bare(&self, folder: &Path, broker: &Broker, messages: u64) -> Result<Bare> {
        let mut command = Command::new(&self.bare);
        command.args([
            &broker.port().to_string(),
            BARE,
            "machines/#",
            &messages.to_string(),
        ]);
        let stdout = folder.join("bare.stdout");
        if stdout.exists() {
            std::fs::remove_file(&stdout)?;
        }
        let mut process = Process::start("bare", folder, &mut command)?;
        process.first_line(Duration::from_secs(20))?;
        Ok(Bare { process })
    }
}

/// Builds an example of a package and gives its program.
fn example(profile: Profile, package: &str, name: &str) -> Result<PathBuf> {
    cargo_build(profile, &["-p", package, "--example", name])?;
    Ok(target_folder()?
        .join(profile.folder())
        .join("examples")
        .join(name))
}

/// The running bare subscriber.
#[derive(Debug)]
pub(super) struct Bare {
    process: Process,
}

/// What it measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct BareResult {
    /// When the first message came, in seconds since 1970.
    pub(super) first_at: f64,
    /// From the first message to the last.
    pub(super) seconds: f64,
    /// Of the processor.
    pub(super) cpu_seconds: f64,
}

impl Bare {
    /// Waits until it has all its messages.
    pub(super) fn finish(mut self) -> Result<BareResult> {
        let limit = Duration::from_secs(120);
        let json = self.process.wait_for("all messages", limit, |process| {
            let text = process.stdout()?;
            Ok(text
                .lines()
                .find(|line| line.starts_with('{'))
                .map(str::to_owned))
        })?;
        let json: Value = serde_json::from_str(&json)?;
        let number = |name: &str| {
            json.get(name)
                .and_then(Value::as_f64)
                .with_context(|| format!("no {name}"))
        };
        Ok(BareResult {
            first_at: number("first_at")?,
            seconds: number("seconds")?,
            cpu_seconds: number("cpu_seconds")?,
        })
    }
}

/// Lines of gateway.toml for a module that reads the load.
pub(super) fn reads_load() -> String {
    format!("inputs = [{{ from = \"plant\", topic = \"{TOPIC}\" }}]")
}

/// A message of the load: 128 bytes.
pub(super) fn payload(number: u64) -> Vec<u8> {
    let celsius = 60 + number % 40;
    let mut text = format!(
        "{{\"seq\":{number},\"celsius\":{celsius}.5,\"line\":\"line-1\",\"mode\":\"auto\",\"text\":\""
    );
    while text.len() < 126 {
        text.push('x');
    }
    text.push_str("\"}");
    text.into_bytes()
}

/// Messages that the gateway has acknowledged to the broker.
pub(super) fn acknowledged(site: &Site) -> Result<u64> {
    let status = site.gateway.status()?;
    status
        .pointer("/field/0/acknowledged")
        .and_then(Value::as_u64)
        .context("a status without acknowledged")
}

/// The value that this share of the sorted values does not exceed.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "positions in a list"
    )]
    let position = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(position).copied().unwrap_or(f64::NAN)
}

/// The middle of some values.
pub(super) fn median(mut values: Vec<f64>) -> Result<f64> {
    ensure!(!values.is_empty(), "nothing was measured");
    values.sort_by(f64::total_cmp);
    Ok(quantile(&values, 0.5))
}

/// For rates and ratios.
pub(super) fn float(number: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let float = number as f64;
    float
}
