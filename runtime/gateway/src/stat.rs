//! `tidegate buffer stat`: how much is in the buffer, by stream and class. From its file, with or without a running gateway.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};
use tidegate_buffer::{Account, Inspection, Stat, StreamStat};
use tidegate_record::{Name, Reason, WallTime};

use crate::cli::{Common, print};
use crate::config::Settings;
use crate::error::Error;

#[derive(Debug, Args)]
pub(crate) struct StatArguments {
    /// Tell as well how many rows were thinned out or are gone: reads every row that waits.
    #[arg(long)]
    count: bool,
    #[command(flatten)]
    common: Common,
}

/// What became of rows that wait.
#[derive(Debug, Default)]
struct Counted {
    thinned: u64,
    lost: BTreeMap<Reason, u64>,
}

pub(crate) async fn stat(arguments: &StatArguments) -> Result<(), Error> {
    let settings = Settings::read(&arguments.common.config)?;
    let mut inspection = Inspection::open(&settings.database()).await?;
    let stat = inspection.stat().await?;
    let counted = match arguments.count {
        true => Some(count(&inspection.verify().await?)),
        false => None,
    };
    let quota = settings.buffer.quota_bytes;
    let report = json(&stat, counted.as_ref(), quota);
    print(arguments.common.output, &report, || {
        text(&stat, counted.as_ref(), quota)
    });
    Ok(())
}

fn count(accounts: &[Account]) -> BTreeMap<Name, Counted> {
    let mut streams: BTreeMap<Name, Counted> = BTreeMap::new();
    for account in accounts {
        let counted = streams.entry(account.of.stream.clone()).or_default();
        counted.thinned += account.thinned;
        for (reason, rows) in &account.lost {
            *counted.lost.entry(*reason).or_default() += rows;
        }
    }
    streams
}

fn json(stat: &Stat, counted: Option<&BTreeMap<Name, Counted>>, quota: u64) -> Value {
    let time = |time: Option<WallTime>| time.map(|time| time.0);
    let streams = stat.streams.iter().map(|(name, stream)| {
        let [alarm, summary, raw] = stream.bytes;
        let counted = counted.and_then(|counted| counted.get(name));
        let lost = counted.map(|counted| {
            let lost = counted.lost.iter();
            lost.map(|(reason, rows)| (reason.as_str().to_owned(), Value::from(*rows)))
                .collect::<serde_json::Map<_, _>>()
        });
        json!({
            "stream": name.as_str(), "epochs": stream.epochs, "numbered": stream.numbered, "held": stream.held,
            "waiting": stream.waiting, "exported": stream.exported,
            "bytes": {"alarm": alarm, "summary": summary, "raw": raw},
            "oldest_ns": time(stream.oldest), "newest_ns": time(stream.newest),
            "thinned": counted.map(|counted| counted.thinned), "lost": lost,
        })
    });
    json!({
        "bytes_used": stat.bytes_used, "bytes_max": quota, "epochs": stat.epochs,
        "newest_epoch": stat.newest_epoch.map(|epoch| epoch.ordinal), "streams": streams.collect::<Value>(),
    })
}

fn text(stat: &Stat, counted: Option<&BTreeMap<Name, Counted>>, quota: u64) -> String {
    let mut text = format!(
        "{} of {} bytes used ({} %), rows of {} epochs\n",
        stat.bytes_used,
        quota,
        stat.bytes_used.saturating_mul(100) / quota.max(1),
        stat.epochs
    );
    for (name, stream) in &stat.streams {
        // Writing to a string cannot fail.
        let _written = write!(text, "{name}: {}", stream_text(stream));
        if let Some(counted) = counted.and_then(|counted| counted.get(name)) {
            let _written = write!(text, "\n  {} thinned out", counted.thinned);
            for (reason, rows) in &counted.lost {
                let _written = write!(text, ", {rows} {}", reason.as_str());
            }
        }
        text.push('\n');
    }
    text
}

fn stream_text(stream: &StreamStat) -> String {
    let mut text = format!(
        "{} rows numbered, {} held by the centre, {} waiting",
        stream.numbered, stream.held, stream.waiting
    );
    if stream.exported > 0 {
        let _written = write!(text, " ({} of them exported)", stream.exported);
    }
    for (class, bytes) in ["alarm", "summary", "raw"].iter().zip(stream.bytes) {
        if bytes > 0 {
            let _written = write!(text, ", {bytes} bytes {class}");
        }
    }
    if let (Some(oldest), Some(newest)) = (stream.oldest, stream.newest) {
        let seconds = newest.0.saturating_sub(oldest.0) / 1_000_000_000;
        let _written = write!(text, ", over {seconds} s");
    }
    text
}
