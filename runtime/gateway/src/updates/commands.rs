//! `tidegate update`: what an operator on site can see and do.
//!
//! Beside a running gateway the commands ask it; without one they work on the folder, which only one process can have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidegate_record::SystemClock;
use tidegate_update::{Audit, Client, audit};

use super::{Told, begin, fresh};
use crate::cli::{Common, print};
use crate::config::Settings;
use crate::control;
use crate::error::{Error, chain};

#[derive(Debug, Subcommand)]
pub(crate) enum Update {
    /// From now on the fleet of the root document says what runs here, and no module of gateway.toml does.
    Join(Common),
    /// Show what the fleet wants and how far it has come.
    Status(Common),
    /// Take what is on a stick: the same checks as over a link.
    Import(ImportArguments),
    /// Hold that the audit log is whole, and show it.
    Log(Common),
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// The file that `tide bundle-usb` wrote.
    stick: PathBuf,
    #[command(flatten)]
    common: Common,
}

impl Update {
    pub(crate) async fn run(self) -> Result<(), Error> {
        match self {
            Self::Join(common) => join(&common),
            Self::Status(common) => status(&common).await,
            Self::Import(arguments) => import(&arguments).await,
            Self::Log(common) => log(&common),
        }
    }
}

fn join(common: &Common) -> Result<(), Error> {
    let settings = Settings::read(&common.config)?;
    let root = std::fs::read(&settings.root).map_err(|source| Error::ReadFile {
        what: "root document",
        path: settings.root.clone(),
        source,
    })?;
    let client = Client::enrol(begin::site(&settings), Arc::new(SystemClock::new()), &root)?;
    let root = client.trust().root();
    let (fleet, digest) = (root.root().fleet_id.clone(), root.digest());
    print(
        common.output,
        &json!({"fleet": fleet, "root": digest}),
        || format!("joined fleet {fleet}, root {digest}: restart the gateway\n"),
    );
    Ok(())
}

async fn status(common: &Common) -> Result<(), Error> {
    let socket = Settings::read(&common.config)?.control_socket();
    let answer = control::ask(&socket, "status").await?;
    let updates = answer.get("updates").cloned().unwrap_or_default();
    print(common.output, &updates, || text(&updates));
    Ok(())
}

async fn import(arguments: &ImportArguments) -> Result<(), Error> {
    let settings = Settings::read(&arguments.common.config)?;
    let stick = std::path::absolute(&arguments.stick).map_err(|source| Error::ReadFile {
        what: "stick",
        path: arguments.stick.clone(),
        source,
    })?;
    let request = json!({"command": "import", "stick": stick});
    let answer = control::ask_patiently(&settings.control_socket(), &request).await?;
    if let Some(refused) = answer.get("error").and_then(Value::as_str) {
        return Err(Error::Refused(refused.to_owned()));
    }
    print(arguments.common.output, &answer, || {
        let said = answer.get("said").and_then(Value::as_str);
        said.unwrap_or_default().to_owned()
    });
    Ok(())
}

/// The running gateway's answer.
pub(crate) async fn answer(request: &Value, told: &Told) -> Value {
    let stick = request.get("stick").and_then(Value::as_str);
    let imported = match (told, stick) {
        (_, None) => Err("the request names no stick".to_owned()),
        (Told::NotEnrolled, _) => Err(NO_FLEET.to_owned()),
        (Told::Frozen(reason), _) => Err(format!("nothing is taken: {reason}")),
        (Told::Enrolled(updates), Some(stick)) => updates.import(Path::new(stick).to_owned()).await,
    };
    match imported {
        Ok(said) => json!({"said": said}),
        Err(refused) => json!({"error": refused}),
    }
}

/// What the status of a gateway says of updates.
pub(crate) async fn told_json(told: &Told) -> Value {
    match told {
        Told::NotEnrolled => Value::Null,
        Told::Frozen(reason) => json!({"frozen": reason}),
        Told::Enrolled(updates) => updates.status().await.unwrap_or_default(),
    }
}

const NO_FLEET: &str =
    "this gateway is in no fleet: `tidegate update join` puts it under that of its root document";

fn text(updates: &Value) -> String {
    let word = |key: &str| updates.get(key).map(plain).unwrap_or_default();
    if updates.is_null() {
        return format!("{NO_FLEET}\n");
    }
    if let Some(reason) = updates.get("frozen") {
        return format!("nothing is taken: {}\n", plain(reason));
    }
    let mut text = format!(
        "fleet {}, root {}, deployment {} taken\n",
        word("fleet"),
        word("root_version"),
        word("seq")
    );
    for (key, words) in [("confirmed", "confirmed"), ("candidate", "on its way")] {
        if updates.get(key).is_some_and(|value| !value.is_null()) {
            text.push_str(&format!("{words}: {}\n", word(key)));
        }
    }
    if let Some(fresh) = fresh::text(updates) {
        text.push_str(&format!("{fresh}\n"));
    }
    if let Some(error) = updates.pointer("/centre/error").and_then(Value::as_str) {
        text.push_str(&format!("the centre was asked for updates: {error}\n"));
    }
    if updates.get("fetching") == Some(&Value::Bool(true)) {
        text.push_str("blobs are missing\n");
    }
    for module in updates
        .get("modules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let of = |key: &str| module.get(key).map(plain).unwrap_or_default();
        text.push_str(&format!(
            "module {}, generation {}: {}, release {}\n",
            of("name"),
            of("generation"),
            of("phase"),
            of("release")
        ));
    }
    if let Some(given_up) = updates.get("given_up").filter(|value| !value.is_null()) {
        let of = |key: &str| given_up.get(key).map(plain).unwrap_or_default();
        text.push_str(&format!(
            "given up: deployment {}, module {}, {}: {}\n",
            of("deployment"),
            of("module"),
            of("why"),
            of("sentence")
        ));
    }
    text
}

/// A value as it is read, without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn log(common: &Common) -> Result<(), Error> {
    let settings = Settings::read(&common.config)?;
    let folder = settings.updates();
    let read = Audit::verify(&folder, audit::Head::none()).map_err(|source| Error::ReadFile {
        what: "audit log in",
        path: folder.clone(),
        source,
    })?;
    let lines = read.map_err(|broken| Error::Refused(chain(&broken)))?;
    let report = lines.iter().map(|line| {
        json!({"number": line.number, "at": line.at, "clock": line.clock, "what": line.what, "text": line.text})
    });
    print(common.output, &report.collect(), || {
        let lines = lines.iter().map(|line| {
            format!(
                "{} {} {}: {}\n",
                line.number,
                line.at / 1_000_000_000,
                line.what,
                line.text.escape_debug()
            )
        });
        lines.collect()
    });
    Ok(())
}
