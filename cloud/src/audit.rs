//! The audit log from the command line: read, and counted on from its first row.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use thiserror::Error;

use crate::store::audit::{Audit, Entry, START};
use crate::store::{self, SqliteStore, Store as _, Tenant};
use crate::tokens::{self, Database, to_the_minute};

/// Rows read at once.
const PAGE_ROWS: u32 = 1000;

/// What to do with the audit log.
#[derive(Debug, Clone, Subcommand)]
pub enum AuditCommand {
    /// Prints the newest rows, the oldest of them first.
    List {
        /// How many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Which centre.
        #[command(flatten)]
        database: Database,
    },
    /// Counts on from the first row: finds rows that were changed or dropped. Prints how many there are and the last hash.
    Verify(VerifyArguments),
}

/// Arguments of `audit verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArguments {
    /// A hash that an earlier run or a log has told: it must still be there, or rows were cut off.
    #[arg(long, value_name = "HASH")]
    known: Option<String>,
    #[command(flatten)]
    database: Database,
}

/// Does it; gives what stdout gets.
///
/// # Errors
/// See [`Error`].
pub async fn run(command: &AuditCommand) -> Result<String, Error> {
    let (AuditCommand::List { database, .. }
    | AuditCommand::Verify(VerifyArguments { database, .. })) = command;
    let store = database.open().await?;
    let tenant = Tenant::default();
    let done = match command {
        AuditCommand::List { limit, .. } => list(&store, &tenant, *limit).await,
        AuditCommand::Verify(arguments) => {
            let verified = verify(&store, &tenant, arguments.known.as_deref()).await;
            verified
                .map(|Verified { rows, last }| format!("{rows} rows, the last hash is {last}\n"))
        }
    };
    store.close().await;
    done
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Rows of the log.
    pub rows: u64,
    /// Hash of the last.
    pub last: String,
}

/// Counts on from the first row.
///
/// # Errors
/// When a row is not what follows the one before it, or `known` is the hash of none.
pub async fn verify(
    store: &impl Audit,
    tenant: &Tenant,
    known: Option<&str>,
) -> Result<Verified, Error> {
    let (mut number, mut hash, mut found) = (0, START, known.is_none());
    loop {
        let page = store.entries_after(tenant, number, PAGE_ROWS).await?;
        for entry in &page.items {
            let expected = number + 1;
            if entry.number != expected {
                return Err(Error::Dropped(expected));
            }
            if entry.hash != entry.hash_after(&hash, tenant)? {
                return Err(Error::Changed(expected));
            }
            (number, hash) = (entry.number, entry.hash);
            found = found || known == Some(hex(&hash).as_str());
        }
        if !page.more {
            break;
        }
    }
    match known {
        Some(known) if !found => Err(Error::CutOff {
            known: known.to_owned(),
            rows: number,
        }),
        _ => Ok(Verified {
            rows: number,
            last: hex(&hash),
        }),
    }
}

async fn list(store: &SqliteStore, tenant: &Tenant, limit: u32) -> Result<String, Error> {
    let page = store.entries_before(tenant, u64::MAX, limit).await?;
    Ok(page.items.iter().rev().map(line).collect())
}

fn line(entry: &Entry) -> String {
    let event = &entry.event;
    let known = !event.who.is_empty();
    let who = match known {
        true => format!("{} ({})", event.who, event.role),
        false => "nobody known".to_owned(),
    };
    format!(
        "{:>6} {} {who}: {} {}: {}\n",
        entry.number,
        to_the_minute(entry.time),
        event.action,
        event.object,
        event.outcome
    )
}

/// As 64 lower-case digits.
pub(crate) fn hex(hash: &[u8; 32]) -> String {
    hash.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Why the log is not read, or is not whole.
#[derive(Debug, Error)]
pub enum Error {
    /// Of the database.
    #[error(transparent)]
    Open(#[from] tokens::Error),
    /// Of the database.
    #[error("cannot read the audit log")]
    Read(#[from] store::Error),
    /// A row is missing before others.
    #[error("row {0} of the audit log is gone: rows were dropped")]
    Dropped(u64),
    /// A row is not what was written, or one before it was another.
    #[error("row {0} of the audit log does not follow the one before it: rows were changed")]
    Changed(u64),
    /// The end is not the one that was.
    #[error(
        "no row of the audit log has the hash {known}, of {rows} rows: rows were cut off, or all were written anew"
    )]
    CutOff {
        /// The hash that was.
        known: String,
        /// Rows that are there.
        rows: u64,
    },
}
