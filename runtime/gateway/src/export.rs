//! `tidegate buffer export`: what the centre lacks, into a file for a stick. It works without a running gateway, and beside
//! one.
//!
//! A running gateway is asked to note on disk what is about to be exported; where none runs, the buffer is opened for that
//! moment. Then the rows are read from the database as `tidegate buffer verify` does: the gateway neither waits for the
//! export nor for the stick, and may be stopped, killed and started meanwhile.

mod file;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tidegate_buffer::{Buffer, Export, Opened};
use tidegate_bundle::SealingKey;
use tidegate_record::{Clock, Limits, StoredRow, StreamEpoch, SystemClock};
use tidegate_wire::{Head, Part, StreamRows};

use crate::cli::{Common, print};
use crate::config::Settings;
use crate::error::Error;
use crate::{control, device, run};
use file::ExportFile;
pub(crate) use file::Refusal;

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// Where to write; one that an earlier run could not finish is gone on with.
    file: PathBuf,
    /// Seal it to this key of the centre's, so that nobody else can read it.
    #[arg(long, value_name = "KEY.pub")]
    to: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(crate) async fn export(arguments: &ExportArguments) -> Result<(), Error> {
    let path = &arguments.file;
    let refused = |source| Error::Export {
        path: path.clone(),
        source,
    };
    let settings = Settings::read(&arguments.common.config)?;
    // Before anything is noted: there is a buffer, and a file to write.
    drop(Export::open(&settings.database()).await?);
    let device = device::load_or_make(&settings.state)?;
    let public = device.public_key();
    let to = arguments.to.as_deref().map(read_key).transpose()?;
    let mut file = ExportFile::open(path, &settings.name, device, to.as_ref()).map_err(refused)?;
    note(&settings).await?;

    let clock = SystemClock::new();
    let mut export = Export::open(&settings.database()).await?;
    let before = file.rows();
    match file.head() {
        Some(head) if head.database != export.database() => {
            return Err(refused(Refusal::OtherDatabase));
        }
        Some(_) => say(&format!("going on after {before} rows")),
        None => {
            let head = Head {
                epoch: export.epoch(),
                database: export.database(),
                created: clock.wall_time(),
                device_key: *public.as_bytes(),
            };
            file.write(Part::Head(head)).map_err(refused)?;
        }
    }
    let left = export.begin(file.written()).await?;
    let mut told = 0;
    while let Some(rows) = chunk(&mut export, &mut file, &clock, path).await? {
        export.written(&rows);
        let done = export.left();
        let percent = (left - done.min(left)) * 100 / left.max(1);
        if percent >= told + 10 {
            told = percent;
            say(&format!("{percent} %: {} rows", file.rows()));
        }
    }
    file.finish().map_err(refused)?;
    let report = json!({
        "file": path, "gateway": settings.name.as_str(), "rows": file.rows(), "rows_before": before,
        "bytes": file.bytes(), "device_key": public.to_text(), "sealed_to": to.map(|key| key.id().to_string()),
    });
    print(arguments.common.output, &report, || text(&report));
    Ok(())
}

fn text(report: &Value) -> String {
    let field = |name| match report.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    format!(
        "{}: {} rows, {} bytes, on disk and complete\nsigned by {}\n",
        field("file"),
        field("rows"),
        field("bytes"),
        field("device_key")
    )
}

/// Writes the next chunk, with as many rows as fit; none when nothing is left.
async fn chunk(
    export: &mut Export,
    file: &mut ExportFile,
    clock: &SystemClock,
    path: &Path,
) -> Result<Option<Vec<(StreamEpoch, Vec<StoredRow>)>>, Error> {
    let mut rows_max = Limits::DEFAULT.sync_rows_max;
    loop {
        let rows = export.next(rows_max, clock.wall_time()).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let streams = rows.iter().map(|(of, rows)| StreamRows {
            of: of.clone(),
            rows: rows.clone(),
        });
        match file.write(Part::Rows(streams.collect())) {
            Ok(()) => return Ok(Some(rows)),
            Err(Refusal::TooLarge(_)) if rows_max > 1 => rows_max /= 2,
            Err(source) => {
                let path = path.to_owned();
                return Err(Error::Export { path, source });
            }
        }
    }
}

/// Has it noted on disk what is about to be exported.
async fn note(settings: &Settings) -> Result<(), Error> {
    let socket = settings.control_socket();
    match control::ask(&socket, "export").await {
        Ok(answer) if answer.get("exporting") == Some(&true.into()) => return Ok(()),
        Ok(answer) => {
            let source = io::Error::other(answer.to_string());
            return Err(Error::NoAnswer {
                path: socket,
                source,
            });
        }
        Err(Error::NoAnswer { source, .. }) if nobody_is_there(&source) => {}
        Err(error) => return Err(error),
    }
    let clock = Arc::new(SystemClock::new());
    let config = run::buffer_config(settings);
    let buffer = Buffer::open(&config, Arc::new(Limits::DEFAULT), clock).await?;
    let Opened {
        writer,
        applied,
        handle,
    } = buffer.start();
    drop(applied);
    let noted = async {
        let noted = handle.export().await;
        drop(handle);
        noted
    };
    // The writer ends with the last handle. What it says of a failure is the reason for the other.
    let (written, noted) = tokio::join!(writer.run(), noted);
    written?;
    Ok(noted?)
}

fn nobody_is_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn read_key(path: &Path) -> Result<SealingKey, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
        what: "key",
        path: path.to_owned(),
        source,
    })?;
    SealingKey::parse(&text).map_err(|source| Error::SealingKey {
        path: path.to_owned(),
        source,
    })
}

/// Progress, on stderr. Without anybody to read it, it is not worth failing for.
fn say(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}
