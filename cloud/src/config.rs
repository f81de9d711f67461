//! The command line, checked as a whole before anything is opened.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use thiserror::Error;

use crate::audit::AuditCommand;
use crate::gateways::GatewayTokenCommand;
use crate::tokens::TokenCommand;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Takes rows from gateways and serves the pages, until SIGTERM or SIGINT.
    Run(RunArguments),
    /// Gives people and programs their tokens, and takes them.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Gives machines the tokens by which they become gateways.
    #[command(subcommand)]
    GatewayToken(GatewayTokenCommand),
    /// Reads and verifies the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
}

/// Arguments of `run`, as written.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// Address and port to listen on; port 0 takes a free one. Without TLS only a loopback address.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// SQLite database; made where there is none.
    #[arg(long, value_name = "FILE")]
    pub database: PathBuf,
    /// Certificate chain (PEM).
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Also takes rows of gateways that were never enrolled, as the ones that they say they are. For a first look: only on a
    /// loopback address.
    #[arg(long)]
    pub open: bool,
    /// Folder of device keys, `GATEWAY.pub` each: exports of these gateways are taken, if they are not enrolled.
    #[arg(long, value_name = "FOLDER")]
    pub device_keys: Option<PathBuf>,
    /// The fleet's root document: releases that it vouches for are taken; without it, none.
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
    /// Secret key of the root's time role, for its owner alone: gateways learn with it that nothing newer is kept from them.
    #[arg(long, value_name = "FILE")]
    pub time_key: Option<PathBuf>,
    /// Rows a second that gateways may send of their backlogs, all of them together; otherwise as fast as they come.
    #[arg(long, value_name = "ROWS")]
    pub pace: Option<NonZeroU32>,
}

/// Arguments that fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The SQLite database.
    pub database: PathBuf,
    /// Whether connections are encrypted.
    pub channel: Channel,
    /// Whether gateways that were never enrolled are believed.
    pub open: bool,
    /// Folder of device keys.
    pub device_keys: Option<PathBuf>,
    /// The fleet's root document.
    pub root: Option<PathBuf>,
    /// Secret key of the time role.
    pub time_key: Option<PathBuf>,
    /// Rows a second of backlogs.
    pub pace: Option<NonZeroU32>,
}

/// How connections travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// In the clear: only on loopback.
    Plain,
    /// TLS 1.2 or 1.3.
    Tls {
        /// Certificate chain (PEM).
        certificate: PathBuf,
        /// Its private key (PEM).
        key: PathBuf,
    },
}

impl TryFrom<RunArguments> for Settings {
    type Error = Error;

    fn try_from(arguments: RunArguments) -> Result<Self, Error> {
        let channel = match (arguments.tls_cert, arguments.tls_key) {
            (Some(certificate), Some(key)) => Channel::Tls { certificate, key },
            (None, None) if arguments.listen.ip().is_loopback() => Channel::Plain,
            (None, None) => return Err(Error::PlainBeyondLoopback(arguments.listen)),
            (Some(_), None) => {
                return Err(Error::HalfOfTls {
                    given: "--tls-cert",
                    missing: "--tls-key",
                });
            }
            (None, Some(_)) => {
                return Err(Error::HalfOfTls {
                    given: "--tls-key",
                    missing: "--tls-cert",
                });
            }
        };
        if arguments.open && !arguments.listen.ip().is_loopback() {
            return Err(Error::OpenBeyondLoopback(arguments.listen));
        }
        if arguments.time_key.is_some() && arguments.root.is_none() {
            return Err(Error::TimeWithoutRoot);
        }
        Ok(Self {
            listen: arguments.listen,
            database: arguments.database,
            channel,
            open: arguments.open,
            device_keys: arguments.device_keys,
            root: arguments.root,
            time_key: arguments.time_key,
            pace: arguments.pace,
        })
    }
}

/// Why arguments do not fit together.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Others on the network could read and forge rows.
    #[error(
        "{0} is not a loopback address, and without TLS only loopback is served: give --tls-cert and --tls-key"
    )]
    PlainBeyondLoopback(SocketAddr),
    /// Anybody on the network could send rows as any gateway.
    #[error("{0} is not a loopback address, and --open is only for one: enrol gateways")]
    OpenBeyondLoopback(SocketAddr),
    /// A certificate without its key, or the reverse.
    #[error("{given} is given, but {missing} is missing")]
    HalfOfTls {
        /// The argument given.
        given: &'static str,
        /// The argument missing.
        missing: &'static str,
    },
    /// Nothing says whose time it would be.
    #[error("--time-key is given, but --root is missing")]
    TimeWithoutRoot,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(listen: &str, tls_cert: bool, tls_key: bool) -> RunArguments {
        RunArguments {
            listen: listen.parse().unwrap(),
            database: "centre.db".into(),
            tls_cert: tls_cert.then(|| "cert.pem".into()),
            tls_key: tls_key.then(|| "key.pem".into()),
            open: false,
            device_keys: None,
            root: None,
            time_key: None,
            pace: None,
        }
    }

    #[test]
    fn a_time_key_is_of_a_root() {
        let of = |root: Option<&str>| RunArguments {
            root: root.map(Into::into),
            time_key: Some("time.key".into()),
            ..arguments("127.0.0.1:0", false, false)
        };
        let error = Settings::try_from(of(None)).unwrap_err();
        assert_eq!(error, Error::TimeWithoutRoot);
        assert!(Settings::try_from(of(Some("root.json"))).is_ok());
    }

    #[test]
    fn without_tls_only_loopback_is_served() {
        for loopback in ["127.0.0.1:0", "127.9.9.9:80", "[::1]:8080"] {
            assert_eq!(
                Settings::try_from(arguments(loopback, false, false))
                    .unwrap()
                    .channel,
                Channel::Plain
            );
        }
        for open in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080"] {
            let error = Settings::try_from(arguments(open, false, false)).unwrap_err();
            assert_eq!(error, Error::PlainBeyondLoopback(open.parse().unwrap()));
            assert!(Settings::try_from(arguments(open, true, true)).is_ok());
        }
    }

    #[test]
    fn only_a_centre_on_loopback_can_be_open() {
        let open = |listen: &str| RunArguments {
            open: true,
            ..arguments(listen, true, true)
        };
        assert!(Settings::try_from(open("127.0.0.1:0")).unwrap().open);
        let error = Settings::try_from(open("0.0.0.0:443")).unwrap_err();
        let address = "0.0.0.0:443".parse().unwrap();
        assert_eq!(error, Error::OpenBeyondLoopback(address));
    }

    #[test]
    fn half_of_tls_is_refused() {
        for (cert, key) in [(true, false), (false, true)] {
            let error = Settings::try_from(arguments("127.0.0.1:0", cert, key)).unwrap_err();
            assert!(matches!(error, Error::HalfOfTls { .. }));
        }
    }
}
