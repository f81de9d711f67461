//! All of it together: opens the store, listens, serves until a signal, and ends in order.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tidegate_bundle::{DOCUMENT_BYTES_MAX, SigningKey};
use tidegate_record::{Clock as _, SystemClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::audit;
use crate::blobs::Blobs;
use crate::config::{self, Channel, Settings};
use crate::http::{self, App, Listening, Rooted, TlsError};
use crate::store::{self, SqliteStore, Store};
use crate::tokens;

/// Serves until SIGTERM or SIGINT, then lets requests under way finish. Once it accepts connections it prints one line
/// on stdout: `listening on http://127.0.0.1:8080`.
///
/// # Errors
/// When it cannot start: the store, the certificate or the address.
pub async fn run(settings: Settings) -> Result<(), Error> {
    let (scheme, tls) = match &settings.channel {
        Channel::Plain => ("http", None),
        Channel::Tls { certificate, key } => ("https", Some(http::read_tls(certificate, key)?)),
    };
    let root = settings.root.as_deref().map(read_root).transpose()?;
    let time_key = settings.time_key.as_deref();
    let time_key = time_key.map(read_time_key).transpose()?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let store = SqliteStore::open(&settings.database)
        .await
        .map_err(|source| Error::Store {
            file: settings.database.clone(),
            source,
        })?;
    let clock = Arc::new(SystemClock::new());
    let first = tokens::first(&store, &settings.database, clock.wall_time()).await?;
    let listen = |source| Error::Listen {
        address: settings.listen,
        source,
    };
    let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let app = App::new(store.clone(), clock).with_pace(settings.pace);
    let app = app.with_device_keys(settings.device_keys.clone());
    let blobs = Blobs::beside(&settings.database).map_err(Error::Blobs)?;
    let app = app.with_releases(blobs, root).with_time_key(time_key);
    let app = app.opened(settings.open);
    if settings.open {
        tracing::warn!(
            "open: gateways that were never enrolled are believed without a signature; not for production"
        );
    }
    let app = Arc::new(app.with_tls(tls.is_some()));

    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {scheme}://{address}")
        .and_then(|()| stdout.flush())
        .map_err(Error::Stdout)?;
    if let Some(file) = first {
        let file = file.display();
        tracing::info!(%file, "nobody had a token: the first one is in this file, to sign in with at {scheme}://{address}/sign-in");
    }
    tracing::info!(%address, database = %settings.database.display(), "listening");
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: finishing requests"),
            _ = interrupt.recv() => tracing::info!("SIGINT: finishing requests"),
        }
    };
    http::serve(Listening { listener, tls }, app, stop).await;
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// The root document, which the centre believes because its operator has put it there.
fn read_root(file: &Path) -> Result<Rooted, Error> {
    let unreadable = |source| Error::ReadRoot {
        file: file.to_owned(),
        source,
    };
    let bytes = File::open(file).and_then(read_bounded);
    let bytes = bytes.map_err(unreadable)?;
    Rooted::open(bytes).map_err(|source| Error::Root {
        file: file.to_owned(),
        source,
    })
}

/// The key that tells gateways what is the newest: a secret, and refused when others can read it.
fn read_time_key(file: &Path) -> Result<SigningKey, Error> {
    let unreadable = |source| Error::ReadTimeKey {
        file: file.to_owned(),
        source,
    };
    let opened = File::open(file).map_err(unreadable)?;
    let mode = opened.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let file = file.to_owned();
        return Err(Error::OpenTimeKey { file, mode });
    }
    let bytes = read_bounded(opened).map_err(unreadable)?;
    let key = SigningKey::parse(&String::from_utf8_lossy(&bytes));
    key.map_err(|source| Error::TimeKey {
        file: file.to_owned(),
        source,
    })
}

/// What is larger than any document is read as far as to show that.
fn read_bounded(file: File) -> std::io::Result<Vec<u8>> {
    let limit = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why the centre did not start.
#[derive(Debug, Error)]
pub enum Error {
    /// Of the command line.
    #[error(transparent)]
    Settings(#[from] config::Error),
    /// Of tokens.
    #[error(transparent)]
    Tokens(#[from] tokens::Error),
    /// Of the audit log.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// Of a certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Of the root document.
    #[error("cannot read {}", file.display())]
    ReadRoot {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Of the root document.
    #[error("{} is no root document that can be used", file.display())]
    Root {
        /// The file.
        file: PathBuf,
        /// Why.
        source: tidegate_bundle::Error,
    },
    /// Of the time key.
    #[error("cannot read {}", file.display())]
    ReadTimeKey {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Of the time key.
    #[error("{} has mode {mode:o}: only its owner may read a secret key (0600)", file.display())]
    OpenTimeKey {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Of the time key.
    #[error("{} is no secret key", file.display())]
    TimeKey {
        /// The file.
        file: PathBuf,
        /// Why.
        source: tidegate_bundle::Error,
    },
    /// Of the files of releases.
    #[error("cannot use the folder blobs beside the database")]
    Blobs(#[source] std::io::Error),
    /// Of the database.
    #[error("cannot use database {}", file.display())]
    Store {
        /// The database.
        file: PathBuf,
        /// Why.
        source: store::Error,
    },
    /// Of the address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody can learn the address, or the token.
    #[error("cannot write to stdout")]
    Stdout(#[source] std::io::Error),
    /// Of the process.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// Of the process.
    #[error("cannot listen for signals")]
    Signal(#[source] std::io::Error),
}
