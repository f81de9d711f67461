//! `tidegate dead-letter replay`: messages that were set aside are given to their modules again, by the running gateway.
//!
//! Each leaves the dead letters in the commit that puts it on disk for its module. Its id does not count as seen. One
//! that fails again becomes a new letter.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{Common, print};
use crate::config::Settings;
use crate::control;
use crate::error::Error;
use crate::status::Status;

/// Numbers in one request to the gateway, which has a bound in bytes.
const IDS_PER_REQUEST: usize = 150;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Their numbers.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<u64>,
    /// All that are there.
    #[arg(long)]
    all: bool,
    /// Only those of this module.
    #[arg(long, requires = "all")]
    module: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// What became of some letters.
#[derive(Debug, Default)]
struct Outcome {
    replayed: Vec<u64>,
    missing: Vec<u64>,
    not_running: Vec<(u64, String)>,
}

/// Asks the running gateway.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Error> {
    let socket = Settings::read(&arguments.common.config)?.control_socket();
    let requests: Vec<Value> = match arguments.all {
        true => vec![json!({"command": "replay", "module": arguments.module})],
        false => {
            let some = arguments.ids.chunks(IDS_PER_REQUEST);
            some.map(|ids| json!({"command": "replay", "letters": ids}))
                .collect()
        }
    };
    let mut outcome = Outcome::default();
    for request in requests {
        let answer = control::ask_with(&socket, &request).await?;
        if let Some(error) = answer.get("error").and_then(Value::as_str) {
            return Err(Error::Refused(error.to_owned()));
        }
        outcome.add(&answer);
    }
    print(arguments.common.output, &outcome.json(), || outcome.text());
    match outcome.missing.len() + outcome.not_running.len() {
        0 => Ok(()),
        left => Err(Error::NotReplayed(left)),
    }
}

/// The running gateway's answer.
pub(crate) async fn answer(request: &Value, status: &Status) -> Value {
    match replay(request, status).await {
        Ok(outcome) => outcome.json(),
        Err(error) => json!({"error": crate::error::chain(&error)}),
    }
}

async fn replay(request: &Value, status: &Status) -> Result<Outcome, tidegate_buffer::Error> {
    let there = status.buffer.letters().await?;
    let module = request.get("module").and_then(Value::as_str);
    let asked: Option<Vec<u64>> = request
        .get("letters")
        .and_then(Value::as_array)
        .map(|ids| ids.iter().filter_map(Value::as_u64).collect());
    let mut outcome = Outcome::default();
    let mut letters = Vec::new();
    for id in asked.iter().flatten() {
        if !there.iter().any(|(letter, _)| letter == id) {
            outcome.missing.push(*id);
        }
    }
    for (id, of) in there {
        if asked.as_ref().is_some_and(|asked| !asked.contains(&id))
            || module.is_some_and(|module| module != of)
        {
            continue;
        }
        let mut modules = status.modules.iter();
        match modules.any(|module| module.name == of && module.runs()) {
            true => letters.push(id),
            false => outcome.not_running.push((id, of)),
        }
    }
    outcome.replayed = status.buffer.replay(&letters).await?;
    let gone = letters.iter().filter(|id| !outcome.replayed.contains(id));
    outcome.missing.extend(gone);
    Ok(outcome)
}

impl Outcome {
    fn json(&self) -> Value {
        let left = self.not_running.iter();
        let left = left.map(|(id, module)| json!({"id": id, "module": module}));
        json!({"replayed": self.replayed, "missing": self.missing, "not_running": left.collect::<Value>()})
    }

    fn add(&mut self, answer: &Value) {
        let list = |key: &str| {
            answer
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        self.replayed
            .extend(list("replayed").filter_map(Value::as_u64));
        self.missing
            .extend(list("missing").filter_map(Value::as_u64));
        for left in list("not_running") {
            let module = left.get("module").and_then(Value::as_str);
            if let Some((id, module)) = left.get("id").and_then(Value::as_u64).zip(module) {
                self.not_running.push((id, module.to_owned()));
            }
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} messages are given to their modules again\n",
            self.replayed.len()
        );
        for id in &self.missing {
            text.push_str(&format!("{id}: no such message is set aside\n"));
        }
        for (id, module) in &self.not_running {
            text.push_str(&format!("{id}: its module {module} does not run\n"));
        }
        text
    }
}
