//! `tidegate buffer export`: what the centre lacks, into a file for a stick. It works without a running gateway, and beside
//! one.
//!
//! A running gateway is asked to note on disk what is about to be exported, and in the end that it is; where none runs, the
//! buffer is opened for those moments. In between the rows are read from the database as `tidegate buffer verify` does: the
//! gateway waits neither for the export nor for the stick, and may be stopped, killed and started meanwhile.

mod file;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tidegate_buffer::{Buffer, BufferHandle, Export, Opened};
use tidegate_bundle::SealingKey;
use tidegate_record::{Clock, Epoch, Limits, Name, StoredRow, StreamEpoch, SystemClock};
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
    note(&settings, &Note::About).await?;

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
    let all = export.begin(file.written()).await?;
    let mut told = 0;
    while let Some(rows) = chunk(&mut export, &mut file, &clock, path).await? {
        export.written(&rows);
        let percent = all.saturating_sub(export.left()) * 100 / all.max(1);
        if percent >= told + 10 {
            told = percent;
            say(&format!("{percent} %: {} rows", file.rows()));
        }
    }
    file.finish().map_err(refused)?;
    note(&settings, &Note::Written(file.written())).await?;
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

/// What is noted on disk.
enum Note<'a> {
    /// What waits is about to be exported.
    About,
    /// A file has it up to these numbers.
    Written(&'a HashMap<StreamEpoch, u64>),
}

impl Note<'_> {
    fn request(&self) -> Value {
        match self {
            Self::About => json!({"command": "export"}),
            Self::Written(written) => {
                let numbers = written.iter().map(|(of, seq)| {
                    let epoch = of.epoch;
                    json!([of.stream.as_str(), epoch.ordinal, epoch.random, seq])
                });
                json!({"command": "exported", "written": numbers.collect::<Value>()})
            }
        }
    }

    async fn write(&self, handle: &BufferHandle) -> Result<(), tidegate_buffer::Error> {
        match self {
            Self::About => handle.export().await,
            Self::Written(written) => handle.exported(written).await,
        }
    }
}

/// The running gateway's answer to either.
pub(crate) async fn answer(request: &Value, handle: &BufferHandle) -> Value {
    let written = request.get("written").and_then(Value::as_array);
    let written: HashMap<_, _> = written.into_iter().flatten().filter_map(number).collect();
    let note = match request.get("command").and_then(Value::as_str) {
        Some("exported") => Note::Written(&written),
        _ => Note::About,
    };
    match note.write(handle).await {
        Ok(()) => json!({"noted": true}),
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// A stream and epoch with a number in it.
fn number(numbered: &Value) -> Option<(StreamEpoch, u64)> {
    let number = |index: usize| numbered.get(index)?.as_u64();
    let of = StreamEpoch {
        stream: Name::new(numbered.get(0)?.as_str()?).ok()?,
        epoch: Epoch {
            ordinal: number(1)?,
            random: number(2)?,
        },
    };
    Some((of, number(3)?))
}

/// Has it noted on disk.
async fn note(settings: &Settings, note: &Note<'_>) -> Result<(), Error> {
    let socket = settings.control_socket();
    match control::ask_with(&socket, &note.request()).await {
        Ok(answer) if answer.get("noted") == Some(&true.into()) => return Ok(()),
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
        let noted = note.write(&handle).await;
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
