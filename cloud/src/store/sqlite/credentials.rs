//! Tokens and sessions in their tables.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use tidegate_bundle::Digest;
use tidegate_wire::{Name, WallTime};

use super::super::credentials::{Added, SESSIONS_MAX, TOKENS_MAX};
use super::super::{Credentials, Error, Tenant};
use super::SqliteStore;
use super::columns::{
    Statement, get, name, number, role_from_column, role_to_column, signed, unsigned,
};
use crate::access::{Person, Token};

/// A token's last use is written down again after this, in nanoseconds: a write for each request would cost an fsync.
const USED_STEP: u64 = 3600 * 1_000_000_000;

const COUNT_TOKENS: &str = "SELECT count(*) AS tokens, count(CASE WHEN name = ?2 THEN 1 END) AS same FROM tokens WHERE tenant = ?1";

const ADD_TOKEN: &str = "INSERT INTO tokens (tenant, name, secret, role, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const TOKENS: &str = "SELECT * FROM tokens WHERE tenant = ?1 ORDER BY name";

const END_SESSIONS: &str = "DELETE FROM sessions WHERE token IN (SELECT secret FROM tokens WHERE tenant = ?1 AND name = ?2)";

const REVOKE_TOKEN: &str = "DELETE FROM tokens WHERE tenant = ?1 AND name = ?2";

const BY_TOKEN: &str =
    "SELECT * FROM tokens WHERE secret = ?1 AND (expires IS NULL OR expires > ?2)";

const BY_SESSION: &str = "SELECT tokens.* FROM sessions JOIN tokens ON tokens.secret = sessions.token \
    WHERE sessions.secret = ?1 AND sessions.expires > ?2 AND (tokens.expires IS NULL OR tokens.expires > ?2)";

const USE_TOKEN: &str = "UPDATE tokens SET used = ?3 WHERE tenant = ?1 AND name = ?2";

const OPEN_SESSION: &str =
    "INSERT INTO sessions (secret, token, created, expires) VALUES (?1, ?2, ?3, ?4)";

/// Those that have ended, and of one token the oldest beyond so many.
const TRIM_SESSIONS: &str = "DELETE FROM sessions WHERE expires <= ?2 OR (token = ?1 AND secret NOT IN \
    (SELECT secret FROM sessions WHERE token = ?1 ORDER BY created DESC LIMIT ?3))";

const CLOSE_SESSION: &str = "DELETE FROM sessions WHERE secret = ?1";

const ADD: &str = "keep a token";
const READ: &str = "read tokens";
const REVOKE: &str = "revoke a token";
const SESSION: &str = "keep a session";

impl Credentials for SqliteStore {
    async fn add_token(&self, token: &Token, secret: Digest) -> Result<Added, Error> {
        let failed = failed(ADD);
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        let (tenant, name) = (&token.person.tenant, &token.person.name);
        let count = named(COUNT_TOKENS, tenant, name)
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        if get::<i64>(&count, "same")? > 0 {
            return Ok(Added::NameTaken);
        }
        if get::<i64>(&count, "tokens")? >= i64::from(TOKENS_MAX) {
            return Ok(Added::TooMany);
        }
        let add = named(ADD_TOKEN, tenant, name)
            .bind(bytes(secret))
            .bind(role_to_column(token.person.role))
            .bind(signed(token.created.0))
            .bind(token.expires.map(|time| signed(time.0)));
        add.execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(Added::Kept)
    }

    async fn tokens(&self, tenant: &Tenant) -> Result<Vec<Token>, Error> {
        let query = sqlx::query(TOKENS).bind(tenant.as_str().to_owned());
        let rows = query.fetch_all(&self.readers).await.map_err(failed(READ))?;
        rows.iter().map(token).collect()
    }

    async fn revoke_token(&self, tenant: &Tenant, name: &Name) -> Result<bool, Error> {
        let failed = failed(REVOKE);
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        let sessions = named(END_SESSIONS, tenant, name);
        sessions.execute(&mut *transaction).await.map_err(failed)?;
        let revoked = named(REVOKE_TOKEN, tenant, name)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(revoked.rows_affected() > 0)
    }

    async fn has_no_token(&self) -> Result<bool, Error> {
        let any = sqlx::query("SELECT 1 FROM tokens LIMIT 1")
            .fetch_optional(&self.readers)
            .await
            .map_err(failed(READ))?;
        Ok(any.is_none())
    }

    async fn by_token(&self, secret: Digest, now: WallTime) -> Result<Option<Person>, Error> {
        known(self, BY_TOKEN, secret, now).await
    }

    async fn by_session(&self, secret: Digest, now: WallTime) -> Result<Option<Person>, Error> {
        known(self, BY_SESSION, secret, now).await
    }

    async fn open_session(
        &self,
        session: Digest,
        token: Digest,
        now: WallTime,
        expires: WallTime,
    ) -> Result<(), Error> {
        let open = sqlx::query(OPEN_SESSION)
            .bind(bytes(session))
            .bind(bytes(token))
            .bind(signed(now.0))
            .bind(signed(expires.0));
        execute(&self.writer, open, SESSION).await?;
        let trim = sqlx::query(TRIM_SESSIONS)
            .bind(bytes(token))
            .bind(signed(now.0))
            .bind(i64::from(SESSIONS_MAX));
        execute(&self.writer, trim, SESSION).await
    }

    async fn close_session(&self, session: Digest) -> Result<(), Error> {
        let close = sqlx::query(CLOSE_SESSION).bind(bytes(session));
        execute(&self.writer, close, SESSION).await
    }
}

/// Whom a secret stands for; the time of its token's use is moved on if that is long ago.
async fn known(
    store: &SqliteStore,
    statement: &'static str,
    secret: Digest,
    now: WallTime,
) -> Result<Option<Person>, Error> {
    let query = sqlx::query(statement)
        .bind(bytes(secret))
        .bind(signed(now.0));
    let found = query.fetch_optional(&store.readers).await;
    let Some(columns) = found.map_err(failed(READ))? else {
        return Ok(None);
    };
    let Token { person, used, .. } = token(&columns)?;
    if used.is_none_or(|used| now.0.saturating_sub(used.0) >= USED_STEP) {
        let used = named(USE_TOKEN, &person.tenant, &person.name).bind(signed(now.0));
        execute(&store.writer, used, ADD).await?;
    }
    Ok(Some(person))
}

fn token(columns: &SqliteRow) -> Result<Token, Error> {
    let time = |column| {
        let time = get::<Option<i64>>(columns, column)?;
        Ok(time.map(|time| WallTime(unsigned(time))))
    };
    Ok(Token {
        person: Person {
            tenant: Tenant::new(&name(columns, "tenant")?),
            name: name(columns, "name")?,
            role: role_from_column(get(columns, "role")?)?,
        },
        created: WallTime(number(columns, "created")?),
        expires: time("expires")?,
        used: time("used")?,
    })
}

fn named(statement: &'static str, tenant: &Tenant, name: &Name) -> Statement {
    sqlx::query(statement)
        .bind(tenant.as_str().to_owned())
        .bind(name.as_str().to_owned())
}

fn bytes(secret: Digest) -> Vec<u8> {
    secret.as_bytes().to_vec()
}

async fn execute(
    pool: &SqlitePool,
    statement: Statement,
    action: &'static str,
) -> Result<(), Error> {
    let done = statement.execute(pool).await;
    done.map(drop).map_err(failed(action))
}

fn failed(action: &'static str) -> impl Fn(sqlx::Error) -> Error + Copy {
    move |source| Error::Database { action, source }
}
