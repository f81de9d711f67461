//! Names that have a number in the database.

use std::collections::HashMap;

use sqlx::{Row as _, SqliteConnection};
use tidegate_record::Name;

use crate::error::Error;

/// Names that have a number in the database, in memory.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<Name, i64>);

impl Names {
    /// All that are on disk.
    pub(crate) async fn read(connection: &mut SqliteConnection) -> Result<Self, Error> {
        let rows = sqlx::query("SELECT text, id FROM name")
            .fetch_all(connection)
            .await
            .map_err(Error::Read)?;
        let mut names = HashMap::new();
        for row in rows {
            let (text, id): (String, i64) = (
                row.try_get(0).map_err(Error::Read)?,
                row.try_get(1).map_err(Error::Read)?,
            );
            let name = Name::new(&text).map_err(|_| Error::Impossible {
                what: "a name with number",
                value: id,
            })?;
            names.insert(name, id);
        }
        Ok(Self(names))
    }

    pub(crate) fn get(&self, name: &Name) -> Option<i64> {
        self.0.get(name).copied()
    }

    /// The name with this number.
    pub(crate) fn name(&self, number: i64) -> Option<&Name> {
        let mut names = self.0.iter();
        names.find(|(_, id)| **id == number).map(|(name, _)| name)
    }

    /// Numbers `name`. Called while opening and within a commit, so that a number is on disk before it is used.
    pub(crate) async fn intern(
        &mut self,
        name: &Name,
        connection: &mut SqliteConnection,
    ) -> Result<i64, sqlx::Error> {
        if let Some(id) = self.get(name) {
            return Ok(id);
        }
        // Not with RETURNING: outside of a transaction such a statement commits when it is put away, and then nobody hears
        // that it could not.
        let added = sqlx::query("INSERT INTO name (text) VALUES (?)").bind(name.as_str());
        let id = added.execute(connection).await?.last_insert_rowid();
        self.0.insert(name.clone(), id);
        Ok(id)
    }
}
