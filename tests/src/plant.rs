//! A running site in a folder of its own, as most tests want it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::binaries::{Binaries, repository};
use crate::bundles::Workshop;
use crate::site::{GATEWAY, Module, Plan, Site};
use crate::wait::wait_until;

/// A site with a running gateway. Its folder goes with it.
#[derive(Debug)]
pub struct Plant {
    /// The site.
    pub site: Site,
    /// Everything that it wrote.
    _directory: TempDir,
}

/// What differs from site to site: further lines of gateway.toml.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// In the broker's section.
    pub broker: &'a str,
    /// Sections.
    pub sections: &'a str,
}

impl Plant {
    /// Starts a site with the modules that `modules` makes, in a workshop and with a folder for its files. Returns when
    /// the gateway is ready, and has subscribed where a module reads from the broker.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(
        options: Options<'_>,
        modules: impl FnOnce(&Workshop, &Path) -> Result<Vec<Module>>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let binaries = Binaries::built()?;
        let workshop = Workshop::open(binaries, directory.path())?;
        let modules = modules(&workshop, directory.path())?;
        let reads = modules
            .iter()
            .any(|module| module.settings.contains("from = \"plant\""));
        let Options { broker, sections } = options;
        let folder = directory.path();
        let plan = Plan {
            directory: folder,
            binaries,
            program: None,
            modules,
            broker,
            sections,
            tapped: false,
        };
        let mut site = Site::start(&plan, &workshop)?;
        site.gateway.start()?;
        if reads {
            site.broker.wait_for_subscriber(GATEWAY)?;
        }
        Ok(Self {
            site,
            _directory: directory,
        })
    }
}

/// A plant with the journal, and further modules that go wrong beside it.
#[derive(Debug)]
pub struct Neighbourhood {
    /// The plant.
    pub plant: Plant,
}

impl Neighbourhood {
    /// Starts it, with the journal reading `m/#`.
    ///
    /// # Errors
    /// As [`Plant::start`].
    pub fn start(further: impl FnOnce(&Workshop, &Path) -> Result<Vec<Module>>) -> Result<Self> {
        let plant = Plant::start(Options::default(), |workshop, folder| {
            let mut modules = vec![signed(workshop, &guest("journal"), JOURNAL)?];
            modules.extend(further(workshop, folder)?);
            Ok(modules)
        })?;
        Ok(Self { plant })
    }

    /// The site.
    pub fn site(&self) -> &Site {
        &self.plant.site
    }

    /// Gives the journal a message, and waits until it is the only new row at the centre.
    ///
    /// # Errors
    /// When it is not: then what went wrong beside it has harmed it.
    pub fn goes_on(&self, number: u64) -> Result<()> {
        let site = self.site();
        let before = site.cloud.count(GATEWAY, "journal")?;
        site.broker
            .mosquitto_pub("m/1", &format!("{{\"seq\":{number}}}"))?;
        wait_until("the neighbour's row", Duration::from_secs(30), || {
            Ok(site.cloud.count(GATEWAY, "journal")? == before + 1)
        })?;
        let journal = site.gateway.module("journal")?;
        ensure!(
            journal.pointer("/faults") == Some(&0.into()),
            "the neighbour has a fault: {journal}"
        );
        Ok(())
    }
}

/// The lines of gateway.toml for the journal.
pub const JOURNAL: &str = r##"inputs = [{ from = "plant", topic = "m/#" }]"##;

/// Folder of an example module.
pub fn example(name: &str) -> PathBuf {
    repository().join("guest-examples").join(name)
}

/// Folder of a module that only tests run.
pub fn guest(name: &str) -> PathBuf {
    repository().join("tests/guests").join(name)
}

/// A signed module with these lines of gateway.toml.
///
/// # Errors
/// When it cannot be built or signed.
pub fn signed(workshop: &Workshop, source: &Path, settings: &str) -> Result<Module> {
    Ok(Module {
        bundle: workshop.bundle(source)?,
        settings: settings.to_owned(),
    })
}
