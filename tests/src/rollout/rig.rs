//! The fleet of the rollout: its gateways, their broker and load, and the centre, which is reached over HTTPS alone.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Campaign;
use crate::broker::Broker;
use crate::bundles::Workshop;
use crate::cloud::Cloud;
use crate::faults::scene::MESSAGE_ID;
use crate::faults::source::Source;
use crate::fleet::{self, Fleet, Target, Terms, said};
use crate::gateway::Gateway;
use crate::plant::guest;
use crate::process::run_well;
use crate::tally::{Account, TALLY, deployed};
use crate::tools::Tool;
use crate::wait::wait_until;

/// Messages a second, of which each gateway gets every one.
pub(super) const PER_SECOND: f64 = 4.0;
/// Messages in the shadow.
pub(super) const SHADOW: u64 = 20;
/// The group of all gateways.
const GROUP: &str = "presses";
/// How long no gateway has a row before none is expected any more.
const QUIET: Duration = Duration::from_secs(3);
/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// The fleet.
pub(super) struct Rig {
    pub(super) gateways: Vec<Gateway>,
    pub(super) source: Source,
    broker: Broker,
    cloud: Cloud,
    fleet: Fleet,
    bundle: PathBuf,
    access: Vec<String>,
}

impl Rig {
    /// Starts it all: every gateway is enrolled, in the group, and has no deployment yet.
    pub(super) fn start(campaign: &Campaign<'_>) -> Result<Self> {
        let directory = campaign.directory;
        let workshop = Workshop::open(campaign.binaries, directory)?;
        let bundle = workshop.bundle(&guest(TALLY))?;
        let fleet = Fleet::new(workshop, directory, Target::Group(GROUP))?;
        let broker = Broker::start(&folder(directory, "broker")?)?;
        let mut cloud = Cloud::start(campaign.binaries, &folder(directory, "cloud")?)?;
        let names = names(campaign.gateways);
        let tokens: Result<Vec<_>> = names
            .iter()
            .map(|name| cloud.enrolment_token(name))
            .collect();
        let (certificate, access) = secure(&mut cloud, directory, &fleet)?;
        let mut rig = Self {
            gateways: Vec::new(),
            source: Source::new(broker.port(), PER_SECOND)?,
            broker,
            cloud,
            fleet,
            bundle,
            access,
        };
        rig.describe(directory, &names)?;
        for (name, token) in names.iter().zip(tokens?) {
            let gateway = Gateway::new(campaign.binaries.tidegate(), &folder(directory, name)?);
            gateway.configure(&rig.configuration(name, &certificate))?;
            fleet::join(&gateway, &rig.fleet)?;
            enrol(&gateway, &token)?;
            rig.gateways.push(gateway);
        }
        for gateway in &mut rig.gateways {
            gateway.launch()?;
        }
        rig.await_ready()?;
        Ok(rig)
    }

    /// Labels, group and release, as a folder that is applied.
    fn describe(&self, directory: &Path, names: &[String]) -> Result<()> {
        let wanted = folder(directory, "wanted")?;
        let mut text = format!("[groups]\n{GROUP} = {{ kind = \"press\" }}\n[gateways]\n");
        for name in names {
            text.push_str(&format!("{name} = {{ kind = \"press\" }}\n"));
        }
        fs::write(wanted.join("fleet.toml"), text)?;
        fs::copy(&self.bundle, wanted.join("tally.tidegate"))?;
        self.tide(&["apply".as_ref(), wanted.as_os_str()])?;
        Ok(())
    }

    fn configuration(&self, name: &str, certificate: &Path) -> String {
        format!(
            "[gateway]\nname = \"{name}\"\ngroup = \"{GROUP}\"\nstate = \"state\"\n\n\
             [trust]\nroot = \"{}\"\n\n[uplink]\nurl = \"https://{}\"\nca = \"{}\"\n\n\
             [updates]\ninterval = \"2s\"\n\n\
             [[broker]]\nname = \"plant\"\nurl = \"mqtt://127.0.0.1:{}\"\n{MESSAGE_ID}\n",
            self.fleet.root().display(),
            self.cloud.address(),
            certificate.display(),
            self.broker.port(),
        )
    }

    /// Signs the next deployment, with a flaw as in [`crate::tally::Scene::deploy`], and starts its rollout. Gives its digest
    /// and the rollout's number.
    pub(super) fn roll_out(
        &mut self,
        terms: Terms,
        flaw: &str,
        waves: &[&str],
    ) -> Result<(Value, u64)> {
        let module = deployed(&self.bundle, flaw, self.fleet.next());
        let signed = self.fleet.signed(terms, &[module])?;
        let pushed = self.tide(&["push".as_ref(), signed.as_os_str()])?;
        let digest = said(&pushed, "/deployment/digest").clone();
        ensure!(!digest.is_null(), "no digest in {pushed}");
        let start = ["rollout".as_ref(), "start".as_ref(), signed.as_os_str()];
        let waves = waves.iter().map(AsRef::as_ref);
        let arguments: Vec<&OsStr> = start.into_iter().chain(waves).collect();
        let started = self.tide(&arguments)?;
        let number = said(&started, "/number").as_u64();
        Ok((
            digest,
            number.with_context(|| format!("no number in {started}"))?,
        ))
    }

    /// How a rollout is, as `tide` says.
    pub(super) fn rollout(&self, number: u64) -> Result<Value> {
        let number = number.to_string();
        self.tide(&["rollout".as_ref(), "status".as_ref(), number.as_ref()])
    }

    fn tide(&self, arguments: &[&OsStr]) -> Result<Value> {
        self.fleet.at_centre(&self.access, arguments)
    }

    /// Waits until every gateway that runs is ready.
    pub(super) fn await_ready(&mut self) -> Result<()> {
        for gateway in &mut self.gateways {
            gateway.await_ready()?;
        }
        Ok(())
    }

    /// Waits until every gateway listens to the broker.
    pub(super) fn await_subscribers(&self) -> Result<()> {
        names(self.gateways.len())
            .iter()
            .try_for_each(|name| self.broker.wait_for_subscriber(name))
    }

    /// Gateways that run this deployment and have nothing else on the way.
    pub(super) fn settled(&self, deployment: &Value) -> usize {
        let runs = |gateway: &&Gateway| {
            let status = fleet::status(gateway).unwrap_or_default();
            let confirmed = *said(&status, "/confirmed") == *deployment;
            confirmed && said(&status, "/candidate").is_null()
        };
        self.gateways.iter().filter(runs).count()
    }

    /// Pauses the load, waits until the centre has everything or as much as will ever come, and counts what each gateway made
    /// of the messages.
    pub(super) fn account(&mut self) -> Result<Vec<Account>> {
        let messages = self.source.pause()?;
        let mut busy = Instant::now();
        wait_until("the rows to leave", PATIENCE, || {
            // The broker may still have a message for one that has sent all its rows.
            if !self.gateways.iter().all(is_empty) {
                busy = Instant::now();
            }
            Ok(busy.elapsed() > QUIET)
        })?;
        for gateway in &mut self.gateways {
            gateway.stop()?;
        }
        // What it holds is asked by a client that does not speak TLS.
        self.cloud.kill9()?;
        self.cloud.start_again()?;
        names(self.gateways.len())
            .iter()
            .map(|name| Account::read(&self.cloud, name, messages))
            .collect()
    }
}

/// Whether the centre has all rows that a gateway has made.
fn is_empty(gateway: &Gateway) -> bool {
    let status = gateway.status().unwrap_or_default();
    *said(&status, "/buffer/rows_waiting") == 0
}

/// Starts the centre again: over HTTPS, and for enrolled gateways only. Gives its certificate, and where it is for `tide`.
fn secure(cloud: &mut Cloud, directory: &Path, fleet: &Fleet) -> Result<(PathBuf, Vec<String>)> {
    let (certificate, key) = (directory.join("centre.pem"), directory.join("centre.key"));
    let (certificate_text, key_text) = (text(&certificate)?, text(&key)?);
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=centre \
                   -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let files = ["-keyout", key_text, "-out", certificate_text];
    run_well(
        &Tool::OpenSsl.path()?,
        request.split_whitespace().chain(files),
    )?;
    cloud.kill9()?;
    cloud.close();
    cloud.start_again_with(&[
        "--root",
        text(&fleet.root())?,
        "--tls-cert",
        certificate_text,
        "--tls-key",
        key_text,
    ])?;
    let token = cloud.token_file();
    let access = [
        "--centre",
        &format!("https://{}", cloud.address()),
        "--ca",
        certificate_text,
        "--token-file",
        text(&token)?,
    ]
    .map(str::to_owned);
    Ok((certificate, access.to_vec()))
}

fn enrol(gateway: &Gateway, token: &str) -> Result<()> {
    let file = gateway.directory().join("token");
    fs::write(&file, token)?;
    let config = gateway.configuration();
    let arguments: [&OsStr; 5] = [
        "enrol".as_ref(),
        "--token-file".as_ref(),
        file.as_ref(),
        "--config".as_ref(),
        config.as_ref(),
    ];
    run_well(gateway.program(), arguments).map(drop)
}

/// Names of so many gateways.
pub(super) fn names(gateways: usize) -> Vec<String> {
    (1..=gateways)
        .map(|number| format!("gw-{number:02}"))
        .collect()
}

fn folder(directory: &Path, name: &str) -> Result<PathBuf> {
    let folder = directory.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path is text")
}
