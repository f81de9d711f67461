//! Tokens from the command line: given, listed, taken; and the first one of a new centre.
//!
//! The commands write to the database that a running centre reads: a token is worth something, or nothing any more, from
//! the next request on. Who can write that file is the one who decides who else may do what.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use thiserror::Error;
use tidegate_record::{Clock, SystemClock};
use tidegate_wire::{Name, WallTime};

use crate::access::{Person, Role, Secret, Token};
use crate::http::rfc3339;
use crate::store::audit::{Audit as _, Event};
use crate::store::credentials::{Added, TOKENS_MAX};
use crate::store::{self, Credentials as _, SqliteStore, Store as _, Tenant};

/// Name of the token that a new centre makes.
const FIRST: &str = "first";

/// What to do with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints it, this once. Only its SHA-256 is kept.
    Add(AddArguments),
    /// Lists tokens: name, role, made, expires, last used.
    List(Database),
    /// Ends a token and the sessions that were opened with it.
    Revoke {
        /// Its name.
        #[arg(value_parser = Name::new)]
        name: Name,
        /// Which centre.
        #[command(flatten)]
        database: Database,
    },
}

/// Arguments of `token add`.
#[derive(Debug, Clone, Args)]
pub struct AddArguments {
    /// Whose it is: a-z, 0-9 and -, at most 64. It stands in the audit log.
    #[arg(value_parser = Name::new)]
    name: Name,
    /// What it allows; each role may do what those before it may.
    #[arg(long, value_enum)]
    role: Role,
    /// After how long it is worth nothing: hours or days, such as 12h or 30d; otherwise never.
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<Duration>,
    #[command(flatten)]
    database: Database,
}

/// Which centre.
#[derive(Debug, Clone, Args)]
pub struct Database {
    /// The centre's SQLite database.
    #[arg(long = "database", value_name = "FILE")]
    pub(crate) file: PathBuf,
}

impl Database {
    /// Opens it, if it is there: a command on a mistyped name must not make a new one.
    pub(crate) async fn open(&self) -> Result<SqliteStore, Error> {
        if !self.file.is_file() {
            return Err(Error::NoDatabase(self.file.clone()));
        }
        let opened = SqliteStore::open(&self.file).await;
        opened.map_err(|source| self.failed(source))
    }

    pub(crate) fn failed(&self, source: store::Error) -> Error {
        Error::Store {
            file: self.file.clone(),
            source,
        }
    }
}

/// Does it; gives what stdout gets.
///
/// # Errors
/// See [`Error`].
pub async fn run(command: &TokenCommand) -> Result<String, Error> {
    let (TokenCommand::Add(AddArguments { database, .. })
    | TokenCommand::List(database)
    | TokenCommand::Revoke { database, .. }) = command;
    let store = database.open().await?;
    let now = SystemClock::new().wall_time();
    let done = match command {
        TokenCommand::Add(arguments) => add(&store, arguments, now).await,
        TokenCommand::List(database) => list(&store, database, now).await,
        TokenCommand::Revoke { name, database } => revoke(&store, name, database, now).await,
    };
    store.close().await;
    done
}

async fn add(
    store: &SqliteStore,
    arguments: &AddArguments,
    now: WallTime,
) -> Result<String, Error> {
    let secret = Secret::token().map_err(Error::Random)?;
    let token = Token {
        person: Person {
            tenant: Tenant::default(),
            name: arguments.name.clone(),
            role: arguments.role,
        },
        created: now,
        expires: arguments.expires.map(|life| after(now, life)),
        used: None,
    };
    let failed = |source| arguments.database.failed(source);
    match store
        .add_token(&token, secret.digest())
        .await
        .map_err(failed)?
    {
        Added::Kept => {
            note_added(store, &token.person, now)
                .await
                .map_err(failed)?;
            Ok(format!("{}\n", secret.reveal()))
        }
        Added::NameTaken => Err(Error::NameTaken(arguments.name.clone())),
        Added::TooMany => Err(Error::TooMany),
    }
}

async fn note_added(
    store: &SqliteStore,
    person: &Person,
    now: WallTime,
) -> Result<(), store::Error> {
    let object = format!("{}, {}", person.name, person.role);
    let event = Event::of_owner("token add", &object);
    store.note(&person.tenant, &event, now).await.map(drop)
}

async fn list(store: &SqliteStore, database: &Database, now: WallTime) -> Result<String, Error> {
    let tokens = store.tokens(&Tenant::default()).await;
    let tokens = tokens.map_err(|source| database.failed(source))?;
    let mut text = line(["NAME", "ROLE", "MADE", "EXPIRES", "USED"]);
    for token in tokens {
        let expires = match token.expires {
            None => "never".to_owned(),
            Some(time) if time <= now => "expired".to_owned(),
            Some(time) => to_the_minute(time),
        };
        let used = token.used.map_or("never".to_owned(), to_the_minute);
        let Person { name, role, .. } = &token.person;
        let made = to_the_minute(token.created);
        text.push_str(&line([
            name.as_str(),
            role.as_str(),
            &made,
            &expires,
            &used,
        ]));
    }
    Ok(text)
}

async fn revoke(
    store: &SqliteStore,
    name: &Name,
    database: &Database,
    now: WallTime,
) -> Result<String, Error> {
    let failed = |source| database.failed(source);
    let tenant = Tenant::default();
    if !store.revoke_token(&tenant, name).await.map_err(failed)? {
        return Err(Error::Unknown(name.clone()));
    }
    let event = Event::of_owner("token revoke", name.as_str());
    store.note(&tenant, &event, now).await.map_err(failed)?;
    Ok(String::new())
}

/// Where nobody has a token, makes the first one and writes it into a file beside the database that only its owner can
/// read: `centre.token` for `centre.db`. Gives that file.
///
/// # Errors
/// When the file cannot be written, or another process makes the first token at this moment.
pub async fn first(
    store: &SqliteStore,
    database: &Path,
    now: WallTime,
) -> Result<Option<PathBuf>, Error> {
    let failed = |source| Error::Store {
        file: database.to_owned(),
        source,
    };
    if !store.has_no_token().await.map_err(failed)? {
        return Ok(None);
    }
    let secret = Secret::token().map_err(Error::Random)?;
    let name = Name::new(FIRST).map_err(|_| Error::NoName)?;
    let token = Token {
        person: Person {
            tenant: Tenant::default(),
            name: name.clone(),
            role: Role::Releaser,
        },
        created: now,
        expires: None,
        used: None,
    };
    let file = database.with_extension("token");
    let part = database.with_extension("token.part");
    let unwritable = |source| Error::Write {
        file: file.clone(),
        source,
    };
    write_secret(&part, &secret).map_err(unwritable)?;
    match store
        .add_token(&token, secret.digest())
        .await
        .map_err(failed)?
    {
        Added::Kept => {
            fs::rename(&part, &file).map_err(unwritable)?;
            note_added(store, &token.person, now)
                .await
                .map_err(failed)?;
        }
        Added::NameTaken | Added::TooMany => return Err(Error::NameTaken(name)),
    }
    Ok(Some(file))
}

/// Made anew, so that it has this mode whoever made one of this name before.
fn write_secret(file: &Path, secret: &Secret) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(format!("{}\n", secret.reveal()).as_bytes())?;
    file.sync_all()
}

/// Hours or days.
fn time(text: &str) -> Result<Duration, String> {
    const HOUR: u64 = 3600;
    let (number, unit) = match text.strip_suffix('h') {
        Some(number) => (number, HOUR),
        None => (text.strip_suffix('d').unwrap_or_default(), 24 * HOUR),
    };
    let seconds = number
        .parse()
        .ok()
        .and_then(|count: u64| count.checked_mul(unit));
    match seconds.filter(|seconds| *seconds > 0) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err("it is a number of hours or days, such as 12h or 30d".to_owned()),
    }
}

/// Later than the last time that there is, it never comes.
pub(crate) fn after(now: WallTime, life: Duration) -> WallTime {
    let life = u64::try_from(life.as_nanos()).unwrap_or(u64::MAX);
    WallTime(now.0.saturating_add(life).min(crate::checked::COUNT_MAX))
}

/// `2026-11-21 07:30`.
pub(crate) fn to_the_minute(time: WallTime) -> String {
    let minute = rfc3339(time).replace('T', " ");
    minute.chars().take(16).collect()
}

fn line(columns: [&str; 5]) -> String {
    let [name, role, made, expires, used] = columns;
    format!("{name:<20} {role:<9} {made:<17} {expires:<17} {used}\n")
}

/// Why a token is neither given nor taken.
#[derive(Debug, Error)]
pub enum Error {
    /// A mistyped name would otherwise make a new one.
    #[error("there is no database {}: tidegate-cloud run makes it", .0.display())]
    NoDatabase(PathBuf),
    /// Of the database.
    #[error("cannot use database {}", file.display())]
    Store {
        /// The database.
        file: PathBuf,
        /// Why.
        source: store::Error,
    },
    /// Names are told apart in the audit log.
    #[error("there is a token {0} already: revoke it first, or take another name")]
    NameTaken(Name),
    /// Nobody looks after so many.
    #[error("there are {TOKENS_MAX} tokens already")]
    TooMany,
    /// Mistyped, or revoked before.
    #[error("there is no token {0}")]
    Unknown(Name),
    /// Never seen: the name of the first token is one.
    #[error("the first token has no name")]
    NoName,
    /// Of the system.
    #[error("no random numbers for a token")]
    Random(#[source] getrandom::Error),
    /// Of the file for the first token.
    #[error("cannot write the first token to {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_hours_or_days() {
        assert_eq!(time("12h"), Ok(Duration::from_secs(43_200)));
        assert_eq!(time("30d"), Ok(Duration::from_secs(2_592_000)));
        for bad in [
            "",
            "30",
            "d",
            "0d",
            "-1d",
            "1.5d",
            "30 d",
            "99999999999999999d",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert_eq!(
            after(WallTime(7), Duration::MAX).0,
            crate::checked::COUNT_MAX
        );
    }
}
