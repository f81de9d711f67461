//! The control socket: one JSON request a line, one JSON answer a line. A Unix socket with mode 0660; the gateway opens
//! no TCP port.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::export;
use crate::metrics::openmetrics;
use crate::replay;
use crate::status::Status;
use crate::updates::commands;

/// Requests answered at a time; further ones wait.
const CONNECTIONS_MAX: usize = 8;
/// Longest request, in bytes: that of an export names each stream and epoch.
const REQUEST_BYTES_MAX: u64 = 256 << 10;
/// Longest time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for one that reads a stick, which may be slow.
const PATIENCE: Duration = Duration::from_secs(300);
/// A stop waits so long for answers that are on their way.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An open control socket. Its file goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Opens the socket. One that a killed gateway left is replaced; the buffer's lock has shown that none is running.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        let open = || {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
            Ok(listener)
        };
        match open() {
            Ok(listener) => Ok(Self { listener, path }),
            Err(source) => Err(Error::Listen { path, source }),
        }
    }

    /// Answers until it is told to stop, and then those that have asked, if there is an answer in time: one whose stick made
    /// the gateway begin again still hears that it was taken.
    pub(crate) async fn run(self, status: Arc<Status>, mut stopped: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break,
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => {
                        let status = status.clone();
                        connections.spawn(async move {
                            answer(stream, &status).await
                        });
                    }
                    Err(error) => tracing::warn!("cannot accept on the control socket: {error}"),
                },
                // What became of it, the other end has seen.
                Some(_) = connections.join_next() => {}
            }
        }
        let answered = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, answered).await.is_err() {
            tracing::debug!("stopping: not everybody on the control socket was answered");
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A file that stays is replaced at the next start.
        let _removed = std::fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, status: &Status) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut lines = BufReader::new(reader.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(REQUEST_TIMEOUT, lines.read_line(&mut line)).await??;
    let answer = tokio::time::timeout(PATIENCE, answered(&line, status)).await?;
    let answer = format!("{answer}\n");
    tokio::time::timeout(REQUEST_TIMEOUT, writer.write_all(answer.as_bytes())).await?
}

async fn answered(line: &str, status: &Status) -> Value {
    match serde_json::from_str::<Value>(line) {
        Ok(request) if request.get("command") == Some(&json!("status")) => status.json().await,
        Ok(request) if request.get("command") == Some(&json!("metrics")) => {
            json!({"openmetrics": openmetrics(status)})
        }
        Ok(request)
            if [Some(&json!("export")), Some(&json!("exported"))]
                .contains(&request.get("command")) =>
        {
            export::answer(&request, &status.buffer).await
        }
        Ok(request) if request.get("command") == Some(&json!("replay")) => {
            replay::answer(&request, status).await
        }
        Ok(request) if request.get("command") == Some(&json!("import")) => {
            commands::answer(&request, &status.updates).await
        }
        Ok(_) => {
            json!({"error": "unknown command, known are: status, metrics, export, exported, replay, import"})
        }
        Err(error) => json!({"error": format!("request is not one line of JSON: {error}")}),
    }
}

/// Gives the gateway on the socket at `path` a command: `status`, `metrics` or `export`.
pub(crate) async fn ask(path: &Path, command: &str) -> Result<Value, Error> {
    ask_with(path, &json!({"command": command})).await
}

/// The same with further arguments.
pub(crate) async fn ask_with(path: &Path, request: &Value) -> Result<Value, Error> {
    ask_for(path, request, REQUEST_TIMEOUT).await
}

/// The same for what may take minutes.
pub(crate) async fn ask_patiently(path: &Path, request: &Value) -> Result<Value, Error> {
    ask_for(path, request, PATIENCE).await
}

async fn ask_for(path: &Path, request: &Value, patience: Duration) -> Result<Value, Error> {
    let ask = async {
        let mut stream = UnixStream::connect(path).await?;
        let request = format!("{request}\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        serde_json::from_str(&text).map_err(io::Error::other)
    };
    let answered = tokio::time::timeout(patience, ask).await;
    let answered = answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    answered.map_err(|source| Error::NoAnswer {
        path: path.to_owned(),
        source,
    })
}
