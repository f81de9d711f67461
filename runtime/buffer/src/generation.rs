//! Which generation of a module is active, and which stands by with a state of its own.
//!
//! A switch is part of the commit that it belongs to: whatever was committed before it is of the one generation, whatever
//! comes after it of the other, and each finds its own state. A generation that nothing was said of is zero.

use sqlx::{Connection, SqliteConnection};
use tidegate_record::{Name, Switch};

use crate::error::Error;

/// The generations of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generations {
    /// Whose rows and publications count.
    pub active: u64,
    /// The one before, while it stands by.
    pub standby: Option<u64>,
}

/// What is written down of a module.
pub(crate) async fn read(
    connection: &mut SqliteConnection,
    module: i64,
) -> Result<Generations, sqlx::Error> {
    let found: Option<(i64, Option<i64>)> =
        sqlx::query_as("SELECT active, standby FROM generation WHERE module = ?")
            .bind(module)
            .fetch_optional(connection)
            .await?;
    Ok(
        found.map_or_else(Generations::default, |(active, standby)| Generations {
            active: active.cast_unsigned(),
            standby: standby.map(i64::cast_unsigned),
        }),
    )
}

/// Makes `active` the active one. The one before stands by with a copy of the state, in place of any that did.
pub(crate) async fn forward(
    connection: &mut SqliteConnection,
    module: i64,
    active: u64,
) -> Result<(), sqlx::Error> {
    for statement in [
        "DELETE FROM standby WHERE module = ?1",
        "INSERT INTO standby SELECT module, key, value, sum FROM state WHERE module = ?1",
        "INSERT INTO generation (module, active) VALUES (?1, 0) ON CONFLICT DO NOTHING",
    ] {
        let query = sqlx::query(statement).bind(module);
        query.execute(&mut *connection).await?;
    }
    let query = sqlx::query(
        "UPDATE generation SET standby = active, active = ?2, \
         writer = (SELECT version FROM writer WHERE module = ?1) WHERE module = ?1",
    );
    let query = query.bind(module).bind(active.cast_signed());
    query.execute(connection).await.map(drop)
}

/// Makes the one that stands by the active one again; without one, changes nothing.
pub(crate) async fn back(
    connection: &mut SqliteConnection,
    module: i64,
) -> Result<(), sqlx::Error> {
    if read(connection, module).await?.standby.is_none() {
        return Ok(());
    }
    clear(connection, module).await?;
    for statement in [
        "INSERT INTO state SELECT module, key, value, sum FROM standby WHERE module = ?1",
        "INSERT INTO writer SELECT module, writer FROM generation WHERE module = ?1 AND writer IS NOT NULL",
        "UPDATE generation SET active = standby WHERE module = ?1",
    ] {
        let query = sqlx::query(statement).bind(module);
        query.execute(&mut *connection).await?;
    }
    settle(connection, module).await
}

/// Forgets the one that stands by.
pub(crate) async fn settle(
    connection: &mut SqliteConnection,
    module: i64,
) -> Result<(), sqlx::Error> {
    for statement in [
        "DELETE FROM standby WHERE module = ?1",
        "UPDATE generation SET standby = NULL, writer = NULL WHERE module = ?1",
    ] {
        let query = sqlx::query(statement).bind(module);
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Empties the state of the active one.
pub(crate) async fn clear(
    connection: &mut SqliteConnection,
    module: i64,
) -> Result<(), sqlx::Error> {
    for statement in [
        "DELETE FROM state WHERE module = ?1",
        "DELETE FROM writer WHERE module = ?1",
    ] {
        let query = sqlx::query(statement).bind(module);
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The release that wrote the state of the one that stands by last.
pub(crate) async fn name_writer(
    connection: &mut SqliteConnection,
    module: i64,
    version: &str,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query("UPDATE generation SET writer = ?2 WHERE module = ?1");
    let query = query.bind(module).bind(version.to_owned());
    query.execute(connection).await.map(drop)
}

impl crate::Buffer {
    /// Which generation of a module is active, and which stands by.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn generations(&mut self, module: &Name) -> Result<Generations, Error> {
        let (id, connection) = self.interned(module).await?;
        read(connection, id).await.map_err(Error::Read)
    }

    /// Switches a module that does not run, in a commit of its own: `active` is the generation of a switch forward, which
    /// goes on with a copy of the state.
    ///
    /// # Errors
    /// When it cannot be committed.
    pub async fn switch(
        &mut self,
        module: &Name,
        active: u64,
        switch: &Switch,
    ) -> Result<(), Error> {
        let (id, connection) = self.interned(module).await?;
        let switched = async {
            let mut transaction = connection.begin().await?;
            match switch {
                Switch::Forward { .. } => forward(&mut transaction, id, active).await?,
                Switch::Back => back(&mut transaction, id).await?,
                Switch::Settle => settle(&mut transaction, id).await?,
            }
            transaction.commit().await
        };
        switched.await.map_err(Error::Commit)
    }
}
