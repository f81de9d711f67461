//! `tidegate buffer` and `tidegate dead-letter`: what the buffer holds, read from its file. They work without a running
//! gateway, and beside one.

use std::fmt::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidegate_buffer::{Account, Entry, Inspection, Tally};
use tidegate_record::StreamEpoch;

use crate::cli::{Common, print};
use crate::config::Settings;
use crate::error::Error;
use crate::export::{ExportArguments, export};
use crate::replay;
use crate::stat::{StatArguments, stat};

/// Dead letters read at a time.
const LETTERS_MAX: u32 = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum Buffer {
    /// Hold that every row is accounted for: held by the centre, waiting, thinned out, or in the loss ledger.
    Verify(Common),
    /// Show which rows are gone, and why; and messages that led to nothing.
    Ledger(Common),
    /// Show how much is in it, by stream and class.
    Stat(StatArguments),
    /// Write what the centre lacks to a file, signed, for `tide import` at the centre.
    Export(ExportArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetter {
    /// List messages that were set aside, the oldest first.
    List(ListArguments),
    /// Show one with its payload.
    Show(ShowArguments),
    /// Give some to their modules again.
    Replay(replay::Arguments),
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    common: Common,
    /// From the one after this.
    #[arg(long, default_value_t = 0)]
    after: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// Its number.
    id: u64,
    #[command(flatten)]
    common: Common,
}

impl Buffer {
    pub(crate) async fn run(self) -> Result<(), Error> {
        match self {
            Self::Verify(common) => verify(&common).await,
            Self::Ledger(common) => ledger(&common).await,
            Self::Stat(arguments) => stat(&arguments).await,
            Self::Export(arguments) => export(&arguments).await,
        }
    }
}

impl DeadLetter {
    pub(crate) async fn run(self) -> Result<(), Error> {
        match self {
            Self::List(arguments) => list(&arguments).await,
            Self::Show(arguments) => show(&arguments).await,
            Self::Replay(arguments) => replay::run(&arguments).await,
        }
    }
}

async fn open(common: &Common) -> Result<Inspection, Error> {
    let settings = Settings::read(&common.config)?;
    Ok(Inspection::open(&settings.database()).await?)
}

async fn verify(common: &Common) -> Result<(), Error> {
    let accounts = open(common).await?.verify().await?;
    let report = accounts.iter().map(account_json).collect();
    print(common.output, &report, || {
        accounts.iter().map(account_text).collect()
    });
    match accounts.iter().filter(|one| !one.is_complete()).count() {
        0 => Ok(()),
        incomplete => Err(Error::Accounts(incomplete)),
    }
}

fn account_json(account: &Account) -> Value {
    let lost = account.lost.iter();
    let lost = lost.map(|(reason, rows)| (reason.as_str().to_owned(), (*rows).into()));
    json!({
        "stream": account.of.stream.as_str(),
        "epoch": account.of.epoch.ordinal,
        "numbered": account.numbered,
        "held": account.held,
        "whole": account.whole,
        "thinned": account.thinned,
        "lost": Value::Object(lost.collect()),
        "complete": account.is_complete(),
        "faults": account.faults,
    })
}

fn account_text(account: &Account) -> String {
    let mut text = format!(
        "{}: {} numbered = {} held by the centre + {} waiting + {} thinned out",
        place(&account.of),
        account.numbered,
        account.held,
        account.whole,
        account.thinned
    );
    for (reason, rows) in &account.lost {
        // Writing to a string cannot fail.
        let _written = write!(text, " + {rows} {}", reason.as_str());
    }
    for fault in &account.faults {
        let _written = write!(text, "\n  {fault}");
    }
    text.push('\n');
    text
}

fn place(of: &StreamEpoch) -> String {
    format!("{} in epoch {}", of.stream, of.epoch.ordinal)
}

async fn ledger(common: &Common) -> Result<(), Error> {
    let mut inspection = open(common).await?;
    let (entries, tallies) = (inspection.ledger().await?, inspection.tallies().await?);
    let report = json!({
        "rows": entries.iter().map(entry_json).collect::<Value>(),
        "messages": tallies.iter().map(tally_json).collect::<Value>(),
    });
    print(common.output, &report, || {
        let rows = entries.iter().map(entry_text);
        let all: String = rows.chain(tallies.iter().map(tally_text)).collect();
        match all.is_empty() {
            true => "nothing was lost\n".to_owned(),
            false => all,
        }
    });
    Ok(())
}

fn entry_json(entry: &Entry) -> Value {
    let value = |value: &tidegate_record::LostValue| json!({"name": value.name, "count": value.count, "min": value.min, "max": value.max});
    json!({
        "stream": entry.of.stream.as_str(),
        "epoch": entry.of.epoch.ordinal,
        "first": entry.first,
        "last": entry.last,
        "reason": entry.lost.reason.as_str(),
        "rows": entry.lost.rows,
        "bytes": entry.lost.bytes,
        "values": entry.lost.values.iter().map(value).collect::<Value>(),
    })
}

fn entry_text(entry: &Entry) -> String {
    format!(
        "{}: rows {} to {} are gone, {}: {} rows of {} bytes\n",
        place(&entry.of),
        entry.first,
        entry.last,
        entry.lost.reason.as_str(),
        entry.lost.rows,
        entry.lost.bytes
    )
}

fn tally_json(tally: &Tally) -> Value {
    json!({"of": tally.of.as_str(), "reason": tally.reason, "messages": tally.messages, "bytes": tally.bytes})
}

fn tally_text(tally: &Tally) -> String {
    format!(
        "{}: {} messages of {} bytes {}\n",
        tally.of, tally.messages, tally.bytes, tally.reason
    )
}

async fn list(arguments: &ListArguments) -> Result<(), Error> {
    let mut inspection = open(&arguments.common).await?;
    let letters = inspection
        .dead_letters(arguments.after, LETTERS_MAX)
        .await?;
    let report = letters.iter().map(|letter| {
        json!({"id": letter.id, "module": letter.module, "source": letter.source, "topic": letter.topic,
            "bytes": letter.payload.len(), "reason": letter.reason})
    });
    print(arguments.common.output, &report.collect(), || {
        let lines = letters.iter().map(|letter| {
            format!(
                "{}: {} bytes of {} on {}, for {}: {}\n",
                letter.id,
                letter.payload.len(),
                letter.topic.escape_debug(),
                letter.source.escape_debug(),
                letter.module,
                letter.reason.escape_debug()
            )
        });
        lines.collect()
    });
    Ok(())
}

async fn show(arguments: &ShowArguments) -> Result<(), Error> {
    let mut inspection = open(&arguments.common).await?;
    let before = arguments.id.saturating_sub(1);
    let found = inspection.dead_letters(before, 1).await?;
    let letter = found
        .into_iter()
        .find(|letter| letter.id == arguments.id)
        .ok_or(Error::NoLetter(arguments.id))?;
    let payload = String::from_utf8_lossy(&letter.payload);
    let report = json!({"id": letter.id, "module": letter.module, "source": letter.source, "topic": letter.topic,
        "time": letter.time.0, "payload": payload, "reason": letter.reason});
    print(arguments.common.output, &report, || {
        format!(
            "message {} of {} on {}, for {}\nset aside: {}\n{}\n",
            letter.id,
            letter.topic.escape_debug(),
            letter.source.escape_debug(),
            letter.module,
            letter.reason.escape_debug(),
            payload.escape_debug()
        )
    });
    Ok(())
}
