//! `tide plan` and `tide apply`: a folder of desired state, as it is kept in git, against the centre.
//!
//! The folder holds `fleet.toml` (labels and groups), and signed files: `root-*.json`, `*.tidegate`, `*.deployment.json`.
//! What differs at the centre is a list of changes; `plan` shows it, `apply` makes them in an order in which each
//! is possible. Nothing is ever removed but labels of gateways that the file names, and no rollout is started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidegate_bundle::{
    DEPLOYMENT_TYPE, ROOT_TYPE, Release, Target, UnverifiedBundle, VerifiedRoot,
};

use super::heard::Heard;
use super::push::{BUNDLE_CONTENT_TYPE, read_deployment};
use crate::centre::{Access, Centre};
use crate::error::Error;
use crate::files;
use crate::report::Report;

const FLEET_FILE: &str = "fleet.toml";
const FLEET_BYTES_MAX: u64 = 1 << 20;

/// Show what differs at a centre from a folder of desired state.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The folder.
    folder: PathBuf,
    #[command(flatten)]
    access: Access,
}

/// Make a centre what a folder of desired state says.
#[derive(Debug, clap::Args)]
pub(crate) struct Apply {
    /// The folder.
    folder: PathBuf,
    #[command(flatten)]
    access: Access,
}

impl Plan {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let centre = self.access.prepare()?;
        let folder = Folder::hold_against(&self.folder, &centre)?;
        let notes = Heard::notes(&centre, &folder.gateways)?;
        Ok(told(&folder.changes, "to do").notes(notes))
    }
}

impl Apply {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let centre = self.access.prepare()?;
        let folder = Folder::hold_against(&self.folder, &centre)?;
        for change in &folder.changes {
            change.make(&centre)?;
        }
        let notes = Heard::notes(&centre, &folder.gateways)?;
        Ok(told(&folder.changes, "done").notes(notes))
    }
}

fn told(changes: &[Change], what: &str) -> Report {
    let lines: Vec<_> = changes.iter().map(|change| change.says.clone()).collect();
    let report = Report::new(json!({"changes": lines, "what": what}));
    match lines.is_empty() {
        true => report.line("the centre is as the folder says"),
        false => lines.iter().fold(report, |report, line| report.line(line)),
    }
}

/// Something that differs, and what is sent to change it.
struct Change {
    says: String,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Change {
    fn of_json(says: String, path: String, body: &Value) -> Self {
        Self {
            says,
            path,
            content_type: "application/json",
            body: body.to_string().into_bytes(),
        }
    }

    fn make(&self, centre: &Centre) -> Result<(), Error> {
        let body = self.body.clone();
        centre.post(&self.path, self.content_type, body)?;
        Ok(())
    }
}

/// `fleet.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fleet {
    /// Labels of each gateway; all that it has.
    gateways: BTreeMap<String, BTreeMap<String, String>>,
    /// Labels of each group.
    groups: BTreeMap<String, BTreeMap<String, String>>,
}

/// A folder of desired state, held against a centre.
#[derive(Default)]
struct Folder {
    changes: Vec<Change>,
    /// Gateways that it names.
    gateways: BTreeSet<String>,
}

impl Folder {
    fn hold_against(folder: &Path, centre: &Centre) -> Result<Self, Error> {
        let names = names(folder)?;
        let of = |is: &dyn Fn(&str) -> bool| -> Vec<PathBuf> {
            let found = names.iter().filter(|name| is(name));
            found.map(|name| folder.join(name)).collect()
        };
        let is_root = |name: &str| name.starts_with("root-") && name.ends_with(".json");
        let mut held = Self::default();
        held.changes.extend(roots(&of(&is_root), centre)?);
        let bundles = of(&|name| name.ends_with(".tidegate"));
        held.changes.extend(releases(&bundles, centre)?);
        if names.iter().any(|name| name == FLEET_FILE) {
            held.fleet(&folder.join(FLEET_FILE), centre)?;
        }
        held.deployments(&of(&|name| name.ends_with(".deployment.json")), centre)?;
        Ok(held)
    }

    /// In the order of their numbers.
    fn deployments(&mut self, paths: &[PathBuf], centre: &Centre) -> Result<(), Error> {
        let mut missing = BTreeMap::new();
        for path in paths {
            let (body, deployment, digest) = read_deployment(path)?;
            if centre.file(&format!("/v1/deployments/{digest}"))?.is_none() {
                missing.insert((deployment.epoch, deployment.seq), (path, body));
            }
            if let Target::GatewayId(gateway) = deployment.target {
                self.gateways.insert(gateway);
            }
        }
        let change = |((_, seq), (path, body)): ((u64, u64), (&PathBuf, Vec<u8>))| Change {
            says: format!("+ deployment {}, seq {seq}", path.display()),
            path: "/v1/deployments".to_owned(),
            content_type: DEPLOYMENT_TYPE,
            body,
        };
        self.changes.extend(missing.into_iter().map(change));
        Ok(())
    }

    fn fleet(&mut self, path: &Path, centre: &Centre) -> Result<(), Error> {
        let text = files::read_text(path, FLEET_BYTES_MAX)?;
        let wanted: Fleet = toml::from_str(&text).map_err(|error| Error::Written {
            path: path.to_owned(),
            problem: error.to_string().trim_end().to_owned(),
        })?;
        let groups = labels_by_name(&centre.list("/v1/groups", "groups")?);
        for (name, labels) in &wanted.groups {
            if groups.get(name) != Some(labels) {
                let says = format!("~ group {name}: {}", words(labels));
                let body = json!({"name": name, "labels": labels});
                let change = Change::of_json(says, "/v1/groups".to_owned(), &body);
                self.changes.push(change);
            }
        }
        let gateways = labels_by_name(&centre.list("/v1/fleet", "gateways")?);
        for (name, labels) in &wanted.gateways {
            let has = gateways.get(name).cloned().unwrap_or_default();
            if has != *labels {
                self.changes.push(relabel(name, &has, labels)?);
            }
        }
        self.gateways.extend(wanted.gateways.into_keys());
        Ok(())
    }
}

/// Gives a gateway these labels and no others.
fn relabel(
    name: &str,
    has: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> Result<Change, Error> {
    let gone = has.keys().filter(|label| !labels.contains_key(*label));
    let gone = gone.map(|label| (label.clone(), Value::Null));
    let set = labels.iter();
    let set = set.map(|(label, value)| (label.clone(), Value::from(value.as_str())));
    let body: Map<_, _> = gone.chain(set).collect();
    let says = format!("~ gateway {name}: {}", words(labels));
    let path = format!("/v1/gateways/{}/labels", super::fleet::name(name)?);
    Ok(Change::of_json(says, path, &Value::Object(body)))
}

/// Names of the folder's files, in order.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// In the order of their versions.
fn roots(paths: &[PathBuf], centre: &Centre) -> Result<Vec<Change>, Error> {
    let mut missing = BTreeMap::new();
    for path in paths {
        let body = files::read_document(path)?;
        let root = VerifiedRoot::open(&body).map_err(|source| Error::Refused {
            path: path.clone(),
            source,
        })?;
        let version = root.root().version;
        if centre.file(&format!("/v1/roots/{version}"))?.as_ref() != Some(&body) {
            missing.insert(version, body);
        }
    }
    let change = |(version, body)| Change {
        says: format!("+ root {version}"),
        path: "/v1/roots".to_owned(),
        content_type: ROOT_TYPE,
        body,
    };
    Ok(missing.into_iter().map(change).collect())
}

/// Of a module in the order of their counters.
fn releases(paths: &[PathBuf], centre: &Centre) -> Result<Vec<Change>, Error> {
    let mut missing = BTreeMap::new();
    for path in paths {
        let refused = |source| Error::Refused {
            path: path.clone(),
            source,
        };
        let body = files::read_bundle(path)?;
        let bundle = UnverifiedBundle::open(body.clone()).map_err(refused)?;
        let document = bundle.unverified_document();
        let (release, digest) = Release::unverified(document).map_err(refused)?;
        if centre.file(&format!("/v1/releases/{digest}"))?.is_none() {
            let says = format!("+ release {} {}", release.module, release.version);
            missing.insert((release.module, release.counter), (says, body));
        }
    }
    let change = |(says, body)| Change {
        says,
        path: "/v1/releases".to_owned(),
        content_type: BUNDLE_CONTENT_TYPE,
        body,
    };
    Ok(missing.into_values().map(change).collect())
}

fn labels_by_name(all: &[Value]) -> BTreeMap<String, BTreeMap<String, String>> {
    let labels = |one: &Value| {
        let labels = one.get("labels")?.as_object()?.iter();
        let labels =
            labels.filter_map(|(label, value)| Some((label.clone(), value.as_str()?.to_owned())));
        Some((one.get("name")?.as_str()?.to_owned(), labels.collect()))
    };
    all.iter().filter_map(labels).collect()
}

fn words(labels: &BTreeMap<String, String>) -> String {
    let words = labels
        .iter()
        .map(|(label, value)| format!("{label}={value}"));
    words.collect::<Vec<_>>().join(" ")
}
