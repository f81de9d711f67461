//! `tide import`: exports of gateways, from a stick into a centre.
//!
//! A file is verified as a whole before its first row is sent: that one device signed it all, and nothing is missing at its
//! end. Whether that device is the gateway's the centre decides, chunk by chunk. Rows have identities, so that an import
//! that was cut short is simply done again.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_bundle::{Chain, ContentKey, KeyId, OpeningKey, PublicKey, SIGNATURE_BYTES};
use tidegate_wire::export::{CHUNK_CONTENT_TYPE, EXPORT_VERSION, ExportError, Frames, Head};
use tidegate_wire::{Chunk, Part, WallTime};

use crate::centre::{Access, Centre};
use crate::error::Error;
use crate::files;
use crate::report::{Report, say};

/// Bring rows that gateways have exported to a centre.
///
/// Bring the older file of a gateway first. A file may be imported again: the centre keeps each row once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `tidegate buffer export` wrote.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    access: Access,
    /// The centre's opening key, for files that are sealed to it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// What is wrong with an export.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    File(#[from] ExportError),
    #[error("it is sealed to key {0}: give that key with --key")]
    Sealed(KeyId),
    #[error("chunk {number} is refused")]
    Signature {
        number: u64,
        source: tidegate_bundle::Error,
    },
    #[error("chunk {number} is no chunk")]
    Message {
        number: u64,
        source: tidegate_wire::Error,
    },
    #[error("chunk {number} {problem}")]
    Order { number: u64, problem: &'static str },
    #[error(
        "it is not complete: it ends after chunk {chunks}; let the gateway go on with it, by the same `tidegate buffer export`"
    )]
    NotComplete { chunks: u64 },
}

/// What a whole file says.
#[derive(Debug)]
struct Facts {
    gateway: String,
    device_key: KeyId,
    head: Head,
    rows: u64,
}

/// What the centre made of it.
#[derive(Debug, Default)]
struct Outcome {
    new: u64,
    known: u64,
    gaps: Vec<Value>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let key = self
            .key
            .as_deref()
            .map(files::read_opening_key)
            .transpose()?;
        let centre = self.access.prepare()?;
        let mut verified = Vec::new();
        for path in &self.files {
            verified.push((path, verify(path, key.as_ref())?));
        }
        let (mut report, mut files) = (String::new(), Vec::new());
        for (path, facts) in verified {
            let outcome = send(path, key.as_ref(), &facts, &centre)?;
            report.push_str(&text(path, &facts, &outcome));
            files.push(json(path, &facts, &outcome));
            if !outcome.gaps.is_empty() {
                return Err(Error::Gaps {
                    path: path.clone(),
                    gaps: outcome.gaps.iter().map(gap_text).collect(),
                });
            }
        }
        Ok(Report::new(json!({"files": files})).line(report.trim_end()))
    }
}

fn text(path: &Path, facts: &Facts, outcome: &Outcome) -> String {
    format!(
        "{}: {} rows of gateway {}, {} of them new to the centre\n",
        path.display(),
        facts.rows,
        facts.gateway,
        outcome.new
    )
}

fn json(path: &Path, facts: &Facts, outcome: &Outcome) -> Value {
    let WallTime(created) = facts.head.created;
    json!({
        "file": path, "gateway": facts.gateway, "device_key": facts.device_key, "created_ns": created, "rows": facts.rows,
        "rows_new": outcome.new, "rows_known": outcome.known,
    })
}

fn gap_text(gap: &Value) -> String {
    let number = |name| gap.get(name).and_then(Value::as_u64).unwrap_or_default();
    format!(
        "\n  stream {} in epoch {}: rows from {} on, the centre holds them up to {}",
        gap.get("stream").and_then(Value::as_str).unwrap_or("?"),
        number("epoch"),
        number("first"),
        number("mark")
    )
}

/// Reads all of it, and holds that it is whole.
fn verify(path: &Path, key: Option<&OpeningKey>) -> Result<Facts, Error> {
    let refused = |source| Error::Export {
        path: path.to_owned(),
        source,
    };
    let mut chunks = Chunks::open(path, key)?;
    let facts = chunks.facts().map_err(refused)?;
    if !chunks.complete {
        return Err(refused(Problem::NotComplete {
            chunks: chunks.number,
        }));
    }
    Ok(facts)
}

fn send(
    path: &Path,
    key: Option<&OpeningKey>,
    facts: &Facts,
    centre: &Centre,
) -> Result<Outcome, Error> {
    let refused = |source| Error::Export {
        path: path.to_owned(),
        source,
    };
    let address = format!("/v1/gateways/{}/import", facts.gateway);
    let (mut chunks, mut outcome) = (Chunks::open(path, key)?, Outcome::default());
    while let Some(signed) = chunks.next_chunk().map_err(refused)? {
        if !matches!(signed.chunk.part, Part::Rows(_)) {
            continue;
        }
        let mut body = signed.before.as_bytes().to_vec();
        body.extend_from_slice(&signed.bytes);
        let answer = centre.post(&address, CHUNK_CONTENT_TYPE, body)?;
        let number = |name| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
        outcome.new += number("rows_new");
        outcome.known += number("rows_known");
        let gaps = answer.get("gaps").and_then(Value::as_array);
        outcome.gaps.extend(gaps.into_iter().flatten().cloned());
        let done = outcome.new + outcome.known;
        say(format!("{}: {done} of {} rows", path.display(), facts.rows));
    }
    Ok(outcome)
}

/// A chunk, with what its signature is verified by.
struct Signed {
    before: Chain,
    bytes: Vec<u8>,
    chunk: Chunk,
}

/// Reads an export chunk by chunk. Each is verified under the key that the first one names.
struct Chunks {
    frames: Frames<BufReader<File>>,
    content: Option<ContentKey>,
    chain: Chain,
    device: Option<PublicKey>,
    /// Chunks so far.
    number: u64,
    complete: bool,
}

impl Chunks {
    fn open(path: &Path, key: Option<&OpeningKey>) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let refused = |source| Error::Export {
            path: path.to_owned(),
            source,
        };
        let frames = Frames::open(BufReader::new(file)).map_err(|error| refused(error.into()))?;
        let content = match (frames.preface(), key) {
            ([], _) => None,
            (preface, Some(key)) => Some(ContentKey::open(preface, key)),
            (preface, None) => match tidegate_bundle::recipient(preface) {
                Ok(id) => return Err(refused(Problem::Sealed(id))),
                Err(error) => Some(Err(error)),
            },
        };
        let content = content.transpose().map_err(|source| Error::Refused {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            frames,
            content,
            chain: Chain::start(),
            device: None,
            number: 0,
            complete: false,
        })
    }

    /// What all of it says.
    fn facts(&mut self) -> Result<Facts, Problem> {
        let mut facts: Option<Facts> = None;
        while let Some(Signed { chunk, .. }) = self.next_chunk()? {
            let wrong = |problem| Problem::Order {
                number: self.number,
                problem,
            };
            match (chunk.part, &mut facts) {
                (Part::Head(head), none @ None) => {
                    let key = self.device.as_ref();
                    let key = key.ok_or(wrong("has no device key before it"))?;
                    *none = Some(Facts {
                        gateway: chunk.gateway.to_string(),
                        device_key: key.id(),
                        head,
                        rows: 0,
                    });
                }
                (_, Some(facts)) if facts.gateway != chunk.gateway.as_str() => {
                    return Err(wrong("is of another gateway"));
                }
                (Part::Rows(streams), Some(facts)) => {
                    let rows: usize = streams.iter().map(|stream| stream.rows.len()).sum();
                    facts.rows += u64::try_from(rows).unwrap_or(u64::MAX);
                }
                (Part::End(end), Some(facts)) if end.rows == facts.rows => {}
                (Part::End(_), Some(_)) => return Err(wrong("tells another number of rows")),
                (Part::Head(_), Some(_)) => return Err(wrong("is a second beginning")),
                (_, None) => return Err(wrong("comes before the beginning")),
            }
        }
        facts.ok_or(Problem::NotComplete { chunks: 0 })
    }

    fn next_chunk(&mut self) -> Result<Option<Signed>, Problem> {
        let Some(frame) = self.frames.next_frame().or_else(cut_off)? else {
            return Ok(None);
        };
        self.number += 1;
        let number = self.number;
        if self.complete {
            let problem = "comes after the end";
            return Err(Problem::Order { number, problem });
        }
        let signature = |source| Problem::Signature { number, source };
        let bytes = match &self.content {
            Some(content) => content.open_piece(&frame).map_err(signature)?,
            None => frame,
        };
        let decode = |bytes: &[u8]| {
            tidegate_wire::decode::<Chunk>(bytes)
                .map_err(|source| Problem::Message { number, source })
        };
        let device = match self.device.take() {
            Some(device) => device,
            // The first chunk brings the key; it says that one device signed all of it, and not whose device.
            None => match decode(bytes.get(SIGNATURE_BYTES..).unwrap_or_default())?.part {
                Part::Head(head) => PublicKey::from_bytes(&head.device_key).map_err(signature)?,
                Part::Rows(_) | Part::End(_) => {
                    let problem = "comes before the beginning";
                    return Err(Problem::Order { number, problem });
                }
            },
        };
        let before = self.chain;
        let chunk = decode(self.chain.verify(&device, &bytes).map_err(signature)?)?;
        self.device = Some(device);
        if chunk.version != EXPORT_VERSION {
            return Err(ExportError::Version(chunk.version).into());
        }
        self.complete = matches!(chunk.part, Part::End(_));
        Ok(Some(Signed {
            before,
            bytes,
            chunk,
        }))
    }
}

/// Where a file is cut off, its end is missing: that is told with what to do about it.
fn cut_off(error: ExportError) -> Result<Option<Vec<u8>>, ExportError> {
    match error {
        ExportError::CutOff { .. } => Ok(None),
        other => Err(other),
    }
}
