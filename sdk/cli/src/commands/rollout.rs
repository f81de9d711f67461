//! `tide rollout`: a deployment to a group, in waves.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::heard::Heard;
use super::push::read_deployment;
use crate::centre::Access;
use crate::error::Error;
use crate::report::Report;

/// Bring a deployment to a group of gateways, in waves.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Start(Start),
    Status(Status),
    /// Offer it to nobody further for now.
    Pause(One),
    /// Go on.
    Resume(One),
    /// End it: nobody further is offered it, and the revert deployment, if there is one, goes where it was offered.
    Abort(One),
}

impl Command {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        match self {
            Self::Start(args) => args.run(),
            Self::Status(args) => args.run(),
            Self::Pause(args) => args.say("pause"),
            Self::Resume(args) => args.say("resume"),
            Self::Abort(args) => args.say("abort"),
        }
    }
}

/// Start a rollout of a deployment that is at the centre.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// What `tide deploy` wrote.
    deployment: PathBuf,
    /// A deployment with a higher number that is offered instead if it ends badly.
    #[arg(long, value_name = "FILE")]
    revert: Option<PathBuf>,
    /// Gateway of the first wave; may be repeated.
    #[arg(long, value_name = "GATEWAY")]
    canary: Vec<String>,
    /// The waves: numbers of gateways, or percent of the group; the last is 100%.
    #[arg(long, value_delimiter = ',', default_value = "1,10%,50%,100%")]
    waves: Vec<String>,
    /// Percent of a wave that must confirm before the next begins.
    #[arg(long, default_value_t = 100)]
    success: u32,
    /// Percent of a wave on which it may fail before the rollout stops.
    #[arg(long, default_value_t = 1)]
    errors: u32,
    /// Most gateways that are offered it in a minute.
    #[arg(long)]
    rate: Option<u32>,
    #[command(flatten)]
    access: Access,
}

/// Show rollouts, or one of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Its number; all, if not given.
    number: Option<u64>,
    #[command(flatten)]
    access: Access,
}

/// One rollout.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its number.
    number: u64,
    #[command(flatten)]
    access: Access,
}

impl Start {
    fn run(&self) -> Result<Report, Error> {
        let plan = self.plan()?;
        let centre = self.access.prepare()?;
        let answer = centre.post_json("/v1/rollouts", &plan)?;
        let group = answer.get("group").unwrap_or(&Value::Null);
        let notes = Heard::notes_of_group(&centre, group)?;
        Ok(show(answer).notes(notes))
    }

    fn plan(&self) -> Result<Value, Error> {
        let mut waves = Vec::new();
        if !self.canary.is_empty() {
            waves.push(json!({"gateways": self.canary}));
        }
        for wave in &self.waves {
            waves.push(reach(wave)?);
        }
        for wave in waves.iter_mut().filter_map(Value::as_object_mut) {
            wave.insert("success_percent".to_owned(), self.success.into());
            wave.insert("error_percent".to_owned(), self.errors.into());
        }
        let (_, _, deployment) = read_deployment(&self.deployment)?;
        let mut plan = json!({"deployment": deployment, "waves": waves});
        if let Some(plan) = plan.as_object_mut() {
            if let Some(revert) = &self.revert {
                plan.insert("revert".to_owned(), json!(read_deployment(revert)?.2));
            }
            plan.extend(self.rate.map(|rate| ("rate".to_owned(), rate.into())));
        }
        Ok(plan)
    }
}

/// `3`, or `25%`.
fn reach(wave: &str) -> Result<Value, Error> {
    let (number, unit) = match wave.strip_suffix('%') {
        Some(number) => (number, "percent"),
        None => (wave, "count"),
    };
    let number: u32 = number.trim().parse().map_err(|_| Error::Argument {
        what: "wave",
        text: wave.to_owned(),
        problem: "is neither a number of gateways nor a percentage".to_owned(),
    })?;
    Ok(json!({unit: number}))
}

impl Status {
    fn run(&self) -> Result<Report, Error> {
        let centre = self.access.prepare()?;
        if let Some(number) = self.number {
            return Ok(show(centre.get(&format!("/v1/rollouts/{number}"))?));
        }
        let answer = centre.get("/v1/rollouts")?;
        let rollouts = list(&answer, "rollouts").iter().map(summary);
        let lines: Vec<_> = rollouts.collect();
        let mut report = Report::new(answer);
        if lines.is_empty() {
            report = report.line("no rollout yet");
        }
        Ok(lines
            .into_iter()
            .fold(report, |report, line| report.line(line)))
    }
}

impl One {
    fn say(&self, command: &str) -> Result<Report, Error> {
        let path = format!("/v1/rollouts/{}/{command}", self.number);
        Ok(show(self.access.prepare()?.post_json(&path, &json!({}))?))
    }
}

pub(super) fn list<'v>(answer: &'v Value, name: &str) -> &'v [Value] {
    answer
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Text of the centre, on one line.
pub(super) fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.escape_debug().to_string(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn summary(rollout: &Value) -> String {
    let back = rollout.get("back").filter(|back| back.is_object());
    let back = back.map(|back| format!("; {}", text(back, "says")));
    format!(
        "rollout {} of group {}, seq {}, {}{}",
        text(rollout, "number"),
        text(rollout, "group"),
        text(rollout, "seq"),
        text(rollout, "says"),
        back.unwrap_or_default()
    )
}

fn show(answer: Value) -> Report {
    let mut lines = vec![summary(&answer)];
    let versions = list(&answer, "versions").iter().filter_map(Value::as_str);
    lines.extend(versions.map(|version| format!("  {}", version.escape_debug())));
    let current = answer.get("wave").and_then(Value::as_u64);
    for (number, wave) in (1_u64..).zip(list(&answer, "waves")) {
        let here = if current == Some(number) { ">" } else { " " };
        lines.push(format!(
            "{here} wave {number}, {}: {} offered, {} confirmed, {} failed",
            text(wave, "reach"),
            text(wave, "offered"),
            text(wave, "confirmed"),
            text(wave, "failed")
        ));
    }
    for offer in list(&answer, "offers") {
        let said = |name: &str, before: &str| match offer.get(name) {
            Some(Value::String(said)) => format!("{before}{}", said.escape_debug()),
            _ => String::new(),
        };
        let reason = said("reason", ", reason code ") + &said("why", ": ");
        lines.push(format!(
            "  {:<24} wave {}  {}{reason}",
            text(offer, "gateway"),
            text(offer, "wave"),
            text(offer, "state")
        ));
    }
    let report = Report::new(answer);
    lines
        .into_iter()
        .fold(report, |report, line| report.line(line))
}
