//! `tide fleet`: which gateways there are, what each is to run, and why it does not.

use serde_json::{Map, Value, json};

use super::heard::Heard;
use super::rollout::{list, text};
use crate::centre::Access;
use crate::error::Error;
use crate::report::Report;

/// Gateways at the centre: what each is to run, and what it runs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Ls(All),
    Show(One),
    Why(Why),
    Label(Label),
    Group(Group),
}

impl Command {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        match self {
            Self::Ls(args) => args.run(),
            Self::Show(args) => args.run(),
            Self::Why(args) => args.run(),
            Self::Label(args) => args.run(),
            Self::Group(args) => args.run(),
        }
    }
}

/// List all gateways.
#[derive(Debug, clap::Args)]
pub(crate) struct All {
    #[command(flatten)]
    access: Access,
}

/// Show one gateway.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its name.
    gateway: String,
    #[command(flatten)]
    access: Access,
}

/// Say why a gateway does not run a version, or that it does.
#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    /// Its name.
    gateway: String,
    /// The module; what the newest deployment for it has, if not given.
    #[arg(long, requires = "version")]
    module: Option<String>,
    /// Its version.
    #[arg(long, requires = "module")]
    version: Option<String>,
    /// A deployment, by its digest.
    #[arg(long, conflicts_with = "module")]
    deployment: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// Set labels of a gateway: `site=north`; `site=` takes one away.
#[derive(Debug, clap::Args)]
pub(crate) struct Label {
    /// Its name.
    gateway: String,
    /// The labels.
    #[arg(required = true, value_name = "LABEL=VALUE")]
    labels: Vec<String>,
    #[command(flatten)]
    access: Access,
}

/// Say which gateways are in a group: those with all of these labels. Without a name: list groups.
#[derive(Debug, clap::Args)]
pub(crate) struct Group {
    /// Its name, as deployments name it.
    #[arg(requires = "members")]
    name: Option<String>,
    /// The labels.
    #[arg(value_name = "LABEL=VALUE", group = "members")]
    labels: Vec<String>,
    /// All gateways of the fleet are in it.
    #[arg(long, group = "members", requires = "name")]
    all: bool,
    #[command(flatten)]
    access: Access,
}

impl All {
    fn run(&self) -> Result<Report, Error> {
        let gateways = self.access.prepare()?.list("/v1/fleet", "gateways")?;
        let line = |[name, state, desired, accepted, groups]: [&str; 5]| {
            format!("{name:<24} {state:<12} {desired:>8} {accepted:>9}  {groups}")
        };
        let row = |gateway: &Value| {
            let desired = gateway.get("desired").unwrap_or(&Value::Null);
            line([
                &text(gateway, "name"),
                &text(gateway, "state"),
                &text(desired, "seq"),
                &text(gateway, "seq"),
                &groups(gateway),
            ])
        };
        let lines: Vec<_> = gateways.iter().map(row).collect();
        let report = Report::new(json!({ "gateways": gateways }));
        let report = match lines.is_empty() {
            true => report.line("no gateway is known yet"),
            false => report.line(line(["gateway", "state", "desired", "accepted", "groups"])),
        };
        Ok(lines
            .into_iter()
            .fold(report, |report, line| report.line(line)))
    }
}

fn groups(gateway: &Value) -> String {
    let groups = list(gateway, "groups").iter().filter_map(Value::as_str);
    groups.collect::<Vec<_>>().join(" ")
}

fn labels(of: &Value) -> String {
    let labels = of.get("labels").and_then(Value::as_object);
    let label = |(label, value): (&String, &Value)| {
        format!(
            "{label}={}",
            value.as_str().unwrap_or_default().escape_debug()
        )
    };
    let labels: Vec<_> = labels.into_iter().flatten().map(label).collect();
    labels.join(" ")
}

impl One {
    fn run(&self) -> Result<Report, Error> {
        let path = format!("/v1/fleet/{}", name(&self.gateway)?);
        let answer = self.access.prepare()?.get(&path)?;
        let desired = answer.get("desired").filter(|desired| desired.is_object());
        let mut facts = vec![
            ("gateway", text(&answer, "name")),
            ("labels", labels(&answer)),
            ("groups", groups(&answer)),
            ("last seen", text(&answer, "seen")),
            (
                "desired",
                desired.map_or_else(
                    || "nothing".to_owned(),
                    |it| format!("seq {}, {}", text(it, "seq"), text(it, "deployment")),
                ),
            ),
            ("state", text(&answer, "state")),
        ];
        if let Some(reported) = answer.get("reported").filter(|it| it.is_object()) {
            facts.push(("accepted", format!("seq {}", text(reported, "seq"))));
            if reported.get("frozen").is_some() {
                facts.push(("takes nothing", text(reported, "frozen")));
            }
            for module in list(reported, "modules") {
                let (version, phase) = (text(module, "version"), text(module, "phase"));
                facts.push((
                    "module",
                    format!("{} {version}, {phase}", text(module, "name")),
                ));
            }
            for refused in list(reported, "refused") {
                let (file, reason) = (text(refused, "sha256"), text(refused, "reason"));
                let why = refused.get("why").map(|_| text(refused, "why"));
                let why = why.map(|why| format!(", {why}")).unwrap_or_default();
                facts.push(("refused", format!("{file}: {reason}{why}")));
            }
        }
        if let Some(why) = answer.get("why").and_then(Value::as_str) {
            facts.push(("why", why.escape_debug().to_string()));
        }
        Ok(Report::new(answer).facts(facts))
    }
}

impl Why {
    fn run(&self) -> Result<Report, Error> {
        let mut path = format!("/v1/fleet/{}/why", name(&self.gateway)?);
        if let (Some(module), Some(version)) = (&self.module, &self.version) {
            let version = plain("version", version, |c| matches!(c, '.' | '-'))?;
            path.push_str(&format!("?module={}&version={version}", name(module)?));
        }
        if let Some(deployment) = &self.deployment {
            path.push_str(&format!("?deployment={}", name(deployment)?));
        }
        let answer = self.access.prepare()?.get(&path)?;
        let why = text(&answer, "why");
        Ok(Report::new(answer).line(why))
    }
}

impl Label {
    fn run(&self) -> Result<Report, Error> {
        let path = format!("/v1/gateways/{}/labels", name(&self.gateway)?);
        let body = pairs(&self.labels)?.into_iter().map(|(label, value)| {
            let value = (!value.is_empty()).then_some(value);
            (label, json!(value))
        });
        let body: Map<_, _> = body.collect();
        let centre = self.access.prepare()?;
        let answer = centre.post_json(&path, &Value::Object(body))?;
        let line = format!("{}: {}", self.gateway, labels(&answer));
        let notes = Heard::notes(&centre, &[self.gateway.clone()].into())?;
        Ok(Report::new(answer).line(line).notes(notes))
    }
}

impl Group {
    fn run(&self) -> Result<Report, Error> {
        let centre = self.access.prepare()?;
        if let Some(name) = &self.name {
            let labels = pairs(if self.all { &[] } else { &self.labels })?;
            let labels = labels
                .into_iter()
                .map(|(label, value)| (label, Value::from(value)));
            let labels: Map<_, _> = labels.collect();
            centre.post_json("/v1/groups", &json!({"name": name, "labels": labels}))?;
        }
        let answer = centre.get("/v1/groups")?;
        let lines: Vec<_> = list(&answer, "groups")
            .iter()
            .map(|group| {
                let (name, count) = (text(group, "name"), text(group, "gateways"));
                format!("{name:<24} {count:>5} gateways  {}", labels(group))
            })
            .collect();
        let report = Report::new(answer);
        Ok(lines
            .into_iter()
            .fold(report, |report, line| report.line(line)))
    }
}

/// `LABEL=VALUE` each.
fn pairs(arguments: &[String]) -> Result<Vec<(String, String)>, Error> {
    let pair = |argument: &String| match argument.split_once('=') {
        Some((label, value)) => Ok((label.to_owned(), value.to_owned())),
        None => Err(Error::Argument {
            what: "label",
            text: argument.clone(),
            problem: "is not LABEL=VALUE".to_owned(),
        }),
    };
    arguments.iter().map(pair).collect()
}

/// What becomes part of an address.
pub(super) fn name(text: &str) -> Result<&str, Error> {
    plain("name", text, |c| c == '-')
}

fn plain<'t>(
    what: &'static str,
    text: &'t str,
    other: impl Fn(char) -> bool,
) -> Result<&'t str, Error> {
    let good = |c: char| c.is_ascii_alphanumeric() || other(c);
    match !text.is_empty() && text.chars().all(good) {
        true => Ok(text),
        false => Err(Error::Argument {
            what,
            text: text.to_owned(),
            problem: "has characters that none has".to_owned(),
        }),
    }
}
