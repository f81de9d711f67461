//! Gateways, their keys and tokens in their tables.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use tidegate_bundle::{Digest, KeyId, PublicKey};
use tidegate_wire::{Epoch, WallTime};

use super::super::audit::{Entry, Event};
use super::super::devices::{
    Alarm, Applicant, DEVICE_KEYS_MAX, Device, Devices, ENROLMENT_TOKENS_MAX, Enrolled,
    EnrolmentToken, Followed, Heard, Identity, RETURNS_ALARM,
};
use super::super::{Error, GatewayId, Tenant};
use super::columns::{Statement, get, name, number, signed, unsigned};
use super::{SqliteStore, audit};
use crate::faults::left_out;

/// They stay for a while, so that they are known as used or as late.
const TRIM_TOKENS: &str = "DELETE FROM enrolment_tokens WHERE tenant = ?1 AND expires <= ?2";

/// How long after their end, in nanoseconds: a week.
const TOKENS_KEPT: u64 = 7 * 24 * 3600 * 1_000_000_000;

const COUNT_TOKENS: &str = "SELECT count(*) AS count FROM enrolment_tokens WHERE tenant = ?1";

const ADD_TOKEN: &str = "INSERT INTO enrolment_tokens (secret, tenant, gateway, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)";

const TOKEN: &str = "SELECT * FROM enrolment_tokens WHERE secret = ?1";

const USE_TOKEN: &str = "UPDATE enrolment_tokens SET used_by = ?2, used_for = ?3 WHERE secret = ?1";

const PUT_ENROLMENT: &str = "INSERT INTO enrolments (tenant, gateway, enrolled, highest, openings) VALUES (?1, ?2, ?3, 0, 0) \
    ON CONFLICT (tenant, gateway) DO UPDATE SET enrolled = excluded.enrolled, revoked = NULL, alarm = NULL, alarm_raised = NULL";

/// Of another machine, or of one that was set up anew: its count begins anew.
const FORGET_OPENINGS: &str = "DELETE FROM openings WHERE tenant = ?1 AND gateway = ?2";

const NO_OPENINGS: &str =
    "UPDATE enrolments SET highest = 0, openings = 0 WHERE tenant = ?1 AND gateway = ?2";

const IDENTITY: &str = "SELECT * FROM enrolments WHERE tenant = ?1 AND gateway = ?2";

const REVOKE: &str = "UPDATE enrolments SET revoked = ?3 WHERE tenant = ?1 AND gateway = ?2";

/// What a revoked key signed is worth nothing, whenever it did.
const FORGET_KEYS: &str = "UPDATE device_keys SET ended = 0 WHERE tenant = ?1 AND gateway = ?2";

const END_OTHER_KEYS: &str = "UPDATE device_keys SET ended = ?4 \
    WHERE tenant = ?1 AND gateway = ?2 AND key_id <> ?3 AND ended IS NULL";

/// Those before a key, once it is heard.
const END_KEYS_BEFORE: &str = "UPDATE device_keys SET ended = ?4 WHERE tenant = ?1 AND gateway = ?2 AND ended IS NULL \
    AND key_id IN (SELECT follows FROM device_keys WHERE tenant = ?1 AND gateway = ?2 AND key_id = ?3)";

const ADD_KEY: &str = "INSERT INTO device_keys (tenant, gateway, key_id, key, added, follows) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const KEY: &str = "SELECT * FROM device_keys WHERE key_id = ?1";

/// All but those that were revoked.
const KEYS: &str =
    "SELECT * FROM device_keys WHERE tenant = ?1 AND gateway = ?2 AND (ended IS NULL OR ended > 0)";

const COUNT_KEYS: &str =
    "SELECT count(*) AS count FROM device_keys WHERE tenant = ?1 AND gateway = ?2";

const RAISE: &str = "UPDATE enrolments SET alarm = ?3, alarm_raised = ?4 WHERE tenant = ?1 AND gateway = ?2 AND alarm IS NULL";

const DISMISS: &str = "UPDATE enrolments SET alarm = NULL, alarm_raised = NULL \
    WHERE tenant = ?1 AND gateway = ?2 AND alarm IS NOT NULL";

const OPENING: &str = "SELECT * FROM openings \
    WHERE tenant = ?1 AND gateway = ?2 AND epoch_ordinal = ?3 AND epoch_random = ?4";

const COUNT_OPENING: &str = "UPDATE enrolments SET openings = openings + 1, highest = max(highest, ?3) \
    WHERE tenant = ?1 AND gateway = ?2";

const PUT_OPENING: &str = "INSERT INTO openings (tenant, gateway, epoch_ordinal, epoch_random, place, count, returns) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant, gateway, epoch_ordinal, epoch_random) \
    DO UPDATE SET count = excluded.count, returns = excluded.returns";

impl Devices for SqliteStore {
    fn centre_id(&self) -> &str {
        &self.centre_id
    }

    async fn add_enrolment_token(
        &self,
        token: &EnrolmentToken,
        secret: Digest,
        event: &Event,
    ) -> Result<bool, Error> {
        let mut deed = Deed::begin(self, token.created).await?;
        let tenant = token.tenant.as_str().to_owned();
        let trim = sqlx::query(TRIM_TOKENS).bind(tenant.clone());
        let late = token.created.0.saturating_sub(TOKENS_KEPT);
        deed.execute(trim.bind(signed(late))).await?;
        let count = sqlx::query(COUNT_TOKENS).bind(tenant.clone());
        if deed.count(count).await? >= u64::from(ENROLMENT_TOKENS_MAX) {
            return Ok(false);
        }
        let add = sqlx::query(ADD_TOKEN)
            .bind(secret.as_bytes().to_vec())
            .bind(tenant)
            .bind(token.gateway.as_ref().map(|name| name.as_str().to_owned()))
            .bind(signed(token.created.0))
            .bind(signed(token.expires.0));
        deed.execute(add).await?;
        deed.done(&token.tenant, event).await?;
        Ok(true)
    }

    async fn enrol(&self, applicant: &Applicant, now: WallTime) -> Result<Enrolled, Error> {
        let token = || sqlx::query(TOKEN).bind(applicant.token.as_bytes().to_vec());
        // A guess must not wait for the writer, nor others for it.
        let known = token().fetch_optional(&self.readers).await;
        if known.map_err(failed)?.is_none() {
            return Ok(Enrolled::UnknownToken);
        }
        let mut deed = Deed::begin(self, now).await?;
        let Some(token) = deed.optional(token()).await? else {
            return Ok(Enrolled::UnknownToken);
        };
        let (of, named) = match allowed(&token, applicant, now)? {
            Ok(allowed) => allowed,
            Err(refused) => return Ok(refused),
        };
        let id = applicant.key.id();
        let held = key(deed.connection(), id).await?;
        if let Some(device) = held.as_ref().filter(|device| device.of != of) {
            deed.raise(&device.of, Alarm::KeyElsewhere).await?;
            deed.commit().await?;
            return Ok(Enrolled::KeyInUse);
        }
        let known = held.is_some();
        if held.is_some_and(|device| device.ended) {
            return Ok(Enrolled::KeyEnded);
        }
        let taken = deed.optional(of_gateway(IDENTITY, &of)).await?.is_some();
        if !named && !known && taken {
            return Ok(Enrolled::NameTaken);
        }
        if deed.count(of_gateway(COUNT_KEYS, &of)).await? >= u64::from(DEVICE_KEYS_MAX) {
            return Ok(Enrolled::TooManyKeys);
        }
        let used = sqlx::query(USE_TOKEN)
            .bind(applicant.token.as_bytes().to_vec())
            .bind(bytes(id))
            .bind(of.gateway.as_str().to_owned());
        deed.execute(used).await?;
        let put = of_gateway(PUT_ENROLMENT, &of).bind(signed(now.0));
        deed.execute(put).await?;
        deed.execute(of_key(END_OTHER_KEYS, &of, id).bind(signed(now.0)))
            .await?;
        if !known {
            deed.execute(of_gateway(FORGET_OPENINGS, &of)).await?;
            deed.execute(of_gateway(NO_OPENINGS, &of)).await?;
            deed.add_key(&of, &applicant.key, None).await?;
        }
        let event = Event::of_nobody("enrol", &format!("{}, key {id}", of.gateway), "done");
        deed.done(&of.tenant, &event).await?;
        Ok(Enrolled::Done(of))
    }

    async fn device(&self, id: KeyId) -> Result<Option<Device>, Error> {
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        key(&mut connection, id).await
    }

    async fn device_keys(&self, of: &GatewayId) -> Result<Vec<PublicKey>, Error> {
        let rows = of_gateway(KEYS, of).fetch_all(&self.readers).await;
        rows.map_err(failed)?.iter().map(public_key).collect()
    }

    async fn follow_key(
        &self,
        old: &Device,
        new: &PublicKey,
        now: WallTime,
    ) -> Result<Followed, Error> {
        let mut deed = Deed::begin(self, now).await?;
        match key(deed.connection(), old.key.id()).await? {
            Some(device) if !device.ended => {}
            _ => return Err(Error::Revoked),
        }
        match key(deed.connection(), new.id()).await? {
            Some(device) if device.of == old.of && !device.ended => return Ok(Followed::Done),
            Some(_) => return Ok(Followed::KeyInUse),
            None => {}
        }
        if deed.count(of_gateway(COUNT_KEYS, &old.of)).await? >= u64::from(DEVICE_KEYS_MAX) {
            return Ok(Followed::TooManyKeys);
        }
        deed.add_key(&old.of, new, Some(old.key.id())).await?;
        let (gateway, from, to) = (&old.of.gateway, old.key.id(), new.id());
        let object = format!("{gateway}, {from} by {to}");
        let event = Event::of_nobody("device key follows", &object, "done");
        deed.done(&old.of.tenant, &event).await?;
        Ok(Followed::Done)
    }

    async fn revoke_gateway(
        &self,
        of: &GatewayId,
        event: &Event,
        now: WallTime,
    ) -> Result<bool, Error> {
        let mut deed = Deed::begin(self, now).await?;
        let revoke = of_gateway(REVOKE, of).bind(signed(now.0));
        if deed.execute(revoke).await? == 0 {
            return Ok(false);
        }
        deed.execute(of_gateway(FORGET_KEYS, of)).await?;
        deed.done(&of.tenant, event).await?;
        Ok(true)
    }

    async fn raise(&self, of: &GatewayId, alarm: Alarm, now: WallTime) -> Result<(), Error> {
        let mut deed = Deed::begin(self, now).await?;
        deed.raise(of, alarm).await?;
        deed.commit().await
    }

    async fn dismiss(&self, of: &GatewayId, event: &Event, now: WallTime) -> Result<bool, Error> {
        let mut deed = Deed::begin(self, now).await?;
        if deed.execute(of_gateway(DISMISS, of)).await? == 0 {
            return Ok(false);
        }
        deed.done(&of.tenant, event).await?;
        Ok(true)
    }

    async fn identity(&self, of: &GatewayId) -> Result<Option<Identity>, Error> {
        let query = of_gateway(IDENTITY, of).fetch_optional(&self.readers);
        let found = query.await.map_err(failed)?;
        Ok(found.as_ref().map(identity).transpose()?.flatten())
    }
}

/// The id of the centre, which its tables have.
pub(super) async fn centre_id(pool: &SqlitePool) -> Result<String, Error> {
    let id = sqlx::query_scalar("SELECT id FROM centre")
        .fetch_one(pool)
        .await;
    id.map_err(failed)
}

/// Who a gateway is, from columns of the table `enrolments`, which may be those of none.
pub(super) fn identity(columns: &SqliteRow) -> Result<Option<Identity>, Error> {
    let time = |column| {
        let time = get::<Option<i64>>(columns, column)?;
        Ok(time.map(|time| WallTime(unsigned(time))))
    };
    let Some(enrolled) = time("enrolled")? else {
        return Ok(None);
    };
    let alarm = get::<Option<i64>>(columns, "alarm")?;
    let alarm = alarm.map(alarm_from_column).transpose()?;
    Ok(Some(Identity {
        enrolled,
        revoked: time("revoked")?,
        alarm: alarm.zip(time("alarm_raised")?),
    }))
}

/// Notes a signed request in the transaction that keeps its rows. Gives the alarm that it raised, as a row of the audit log.
///
/// # Errors
/// [`Error::Revoked`] and [`Error::Replayed`], by which nothing of the request is kept.
pub(super) async fn hear(
    transaction: &mut Transaction<'static, Sqlite>,
    of: &GatewayId,
    epoch: Epoch,
    heard: &Heard,
    now: WallTime,
) -> Result<Option<Entry>, Error> {
    match key(transaction, heard.key).await? {
        Some(device) if device.of == *of && !device.ended => {}
        Some(_) if left_out("no-revocation") => {}
        _ => return Err(Error::Revoked),
    }
    let keyed = |statement| {
        of_gateway(statement, of)
            .bind(signed(epoch.ordinal))
            .bind(signed(epoch.random))
    };
    let enrolment = one(transaction, of_gateway(IDENTITY, of)).await?;
    let highest = number(&enrolment, "highest")?;
    let last = number(&enrolment, "openings")?;
    let known = optional(transaction, keyed(OPENING)).await?;
    let (place, returns, alarm) = match known {
        None => {
            let count = of_gateway(COUNT_OPENING, of).bind(signed(epoch.ordinal));
            execute(transaction, count).await?;
            let back = last > 0 && epoch.ordinal <= highest;
            (last + 1, 0, back.then_some(Alarm::EpochWentBack))
        }
        Some(opening) => {
            let taken = number(&opening, "count")?;
            if heard.count <= taken && !left_out("no-count") {
                let count = heard.count;
                return Err(Error::Replayed { count, taken });
            }
            let place = number(&opening, "place")?;
            let returns = number(&opening, "returns")? + u64::from(place < last);
            let interleave = place < last && returns >= RETURNS_ALARM;
            (
                place,
                returns,
                interleave.then_some(Alarm::EpochsInterleave),
            )
        }
    };
    let put = keyed(PUT_OPENING)
        .bind(signed(place))
        .bind(signed(heard.count))
        .bind(signed(returns));
    execute(transaction, put).await?;
    let end = of_key(END_KEYS_BEFORE, of, heard.key).bind(signed(now.0));
    execute(transaction, end).await?;
    match alarm {
        Some(alarm) => raise(transaction, of, alarm, now).await,
        None => Ok(None),
    }
}

/// As whom, and whether the token is for that name.
fn allowed(
    token: &SqliteRow,
    applicant: &Applicant,
    now: WallTime,
) -> Result<Result<(GatewayId, bool), Enrolled>, Error> {
    let named: Option<String> = get(token, "gateway")?;
    let used: Option<Vec<u8>> = get(token, "used_by")?;
    let used_for: Option<String> = get(token, "used_for")?;
    let same = |name: Option<&str>| name.is_none_or(|name| name == applicant.gateway.as_str());
    if used.is_some_and(|key| key != bytes(applicant.key.id())) || !same(used_for.as_deref()) {
        return Ok(Err(Enrolled::Used));
    }
    if WallTime(number(token, "expires")?) <= now {
        return Ok(Err(Enrolled::Expired));
    }
    if !same(named.as_deref()) {
        return Ok(Err(Enrolled::OtherGateway(name(token, "gateway")?)));
    }
    let of = GatewayId {
        tenant: Tenant::new(&name(token, "tenant")?),
        gateway: applicant.gateway.clone(),
    };
    Ok(Ok((of, named.is_some())))
}

/// A transaction of the writer. Dropped before [`Deed::commit`], nothing of it was done.
struct Deed {
    transaction: Transaction<'static, Sqlite>,
    now: WallTime,
    noted: Vec<Entry>,
}

impl Deed {
    async fn begin(store: &SqliteStore, now: WallTime) -> Result<Self, Error> {
        let begun = store.writer.begin_with("BEGIN IMMEDIATE").await;
        Ok(Self {
            transaction: begun.map_err(failed)?,
            now,
            noted: Vec::new(),
        })
    }

    fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, Error> {
        execute(&mut self.transaction, statement).await
    }

    async fn optional(&mut self, statement: Statement) -> Result<Option<SqliteRow>, Error> {
        optional(&mut self.transaction, statement).await
    }

    async fn count(&mut self, statement: Statement) -> Result<u64, Error> {
        number(&one(&mut self.transaction, statement).await?, "count")
    }

    async fn add_key(
        &mut self,
        of: &GatewayId,
        key: &PublicKey,
        follows: Option<KeyId>,
    ) -> Result<(), Error> {
        let add = of_key(ADD_KEY, of, key.id())
            .bind(key.as_bytes().to_vec())
            .bind(signed(self.now.0))
            .bind(follows.map(bytes));
        self.execute(add).await.map(drop)
    }

    async fn raise(&mut self, of: &GatewayId, alarm: Alarm) -> Result<(), Error> {
        let raised = raise(&mut self.transaction, of, alarm, self.now).await?;
        self.noted.extend(raised);
        Ok(())
    }

    /// Notes what was done, and does it.
    async fn done(mut self, tenant: &Tenant, event: &Event) -> Result<(), Error> {
        let noted = audit::add(&mut self.transaction, tenant, event, self.now).await?;
        self.noted.push(noted);
        self.commit().await
    }

    async fn commit(self) -> Result<(), Error> {
        self.transaction.commit().await.map_err(failed)?;
        self.noted.iter().for_each(audit::tell);
        Ok(())
    }
}

async fn raise(
    transaction: &mut Transaction<'static, Sqlite>,
    of: &GatewayId,
    alarm: Alarm,
    now: WallTime,
) -> Result<Option<Entry>, Error> {
    let raise = of_gateway(RAISE, of)
        .bind(alarm_to_column(alarm))
        .bind(signed(now.0));
    if execute(transaction, raise).await? == 0 {
        return Ok(None);
    }
    let event = Event::of_nobody("identity alarm", of.gateway.as_str(), alarm.as_str());
    let entry = audit::add(transaction, &of.tenant, &event, now).await?;
    Ok(Some(entry))
}

async fn key(connection: &mut SqliteConnection, id: KeyId) -> Result<Option<Device>, Error> {
    let found = optional(connection, sqlx::query(KEY).bind(bytes(id))).await?;
    let device = |columns: &SqliteRow| {
        Ok(Device {
            of: GatewayId {
                tenant: Tenant::new(&name(columns, "tenant")?),
                gateway: name(columns, "gateway")?,
            },
            key: public_key(columns)?,
            ended: get::<Option<i64>>(columns, "ended")?.is_some(),
        })
    };
    found.as_ref().map(device).transpose()
}

fn public_key(columns: &SqliteRow) -> Result<PublicKey, Error> {
    let bytes: &[u8] = get(columns, "key")?;
    let bytes = bytes.try_into().map_err(|_| Error::Damaged("key"))?;
    PublicKey::from_bytes(bytes).map_err(|_| Error::Damaged("key"))
}

async fn optional(
    connection: &mut SqliteConnection,
    statement: Statement,
) -> Result<Option<SqliteRow>, Error> {
    statement.fetch_optional(connection).await.map_err(failed)
}

async fn one(connection: &mut SqliteConnection, statement: Statement) -> Result<SqliteRow, Error> {
    statement.fetch_one(connection).await.map_err(failed)
}

async fn execute(connection: &mut SqliteConnection, statement: Statement) -> Result<u64, Error> {
    let done = statement.execute(connection).await.map_err(failed)?;
    Ok(done.rows_affected())
}

fn of_gateway(statement: &'static str, of: &GatewayId) -> Statement {
    sqlx::query(statement)
        .bind(of.tenant.as_str().to_owned())
        .bind(of.gateway.as_str().to_owned())
}

fn of_key(statement: &'static str, of: &GatewayId, id: KeyId) -> Statement {
    of_gateway(statement, of).bind(bytes(id))
}

fn bytes(id: KeyId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// How an alarm is kept.
const fn alarm_to_column(alarm: Alarm) -> i64 {
    match alarm {
        Alarm::EpochWentBack => 0,
        Alarm::EpochsInterleave => 1,
        Alarm::KeyElsewhere => 2,
    }
}

fn alarm_from_column(number: i64) -> Result<Alarm, Error> {
    match number {
        0 => Ok(Alarm::EpochWentBack),
        1 => Ok(Alarm::EpochsInterleave),
        2 => Ok(Alarm::KeyElsewhere),
        _ => Err(Error::Damaged("alarm")),
    }
}

fn failed(source: sqlx::Error) -> Error {
    Error::Database {
        action: "keep who a gateway is",
        source,
    }
}
