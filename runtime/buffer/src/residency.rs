//! Which streams may not go where: their rows stay here, whatever asks for them.
//!
//! It is written down with the rows, so that an export, which another process reads, keeps to it as well, and so that
//! rows stay when the module that wrote them is gone.

use std::collections::BTreeSet;

use sqlx::{Connection, SqliteConnection};
use tidegate_record::Name;

use crate::error::Error;
use crate::sequence::{Destination, Withheld};

/// What streams are told about where their rows may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Residency {
    /// Streams that somebody decides about now. Of others, what was said before holds.
    pub decided: BTreeSet<Name>,
    /// Of these, those whose rows may not go to a destination.
    pub withheld: BTreeSet<(Name, Destination)>,
}

impl crate::Buffer {
    /// Keeps rows back from now on, those that are here already as well.
    ///
    /// # Errors
    /// When it cannot be committed.
    pub async fn reside(&mut self, residency: &Residency) -> Result<(), Error> {
        let mut decided = Vec::new();
        for stream in &residency.decided {
            decided.push(self.interned(stream).await?.0);
        }
        let mut withheld = Vec::new();
        for (stream, destination) in &residency.withheld {
            withheld.push((self.interned(stream).await?.0, *destination));
        }
        let connection = self.connection();
        let all = async {
            let mut transaction = connection.begin().await?;
            for stream in decided {
                let query = sqlx::query("DELETE FROM withheld WHERE stream = ?").bind(stream);
                query.execute(&mut *transaction).await?;
            }
            for (stream, destination) in withheld {
                let query = sqlx::query("INSERT INTO withheld (stream, destination) VALUES (?, ?)");
                let query = query.bind(stream).bind(number(destination));
                query.execute(&mut *transaction).await?;
            }
            let all = read(&mut transaction).await?;
            transaction.commit().await?;
            Ok(all)
        };
        let all = all.await.map_err(Error::Commit)?;
        self.withhold(all);
        Ok(())
    }
}

/// What is written down.
pub(crate) async fn read(connection: &mut SqliteConnection) -> Result<Withheld, sqlx::Error> {
    let rows: Vec<(i64, i64)> = sqlx::query_as("SELECT stream, destination FROM withheld")
        .fetch_all(connection)
        .await?;
    let destination = |of| match of {
        0 => Destination::First,
        _ => Destination::Second,
    };
    let rows = rows.into_iter();
    Ok(rows.map(|(stream, of)| (stream, destination(of))).collect())
}

const fn number(destination: Destination) -> i64 {
    match destination {
        Destination::First => 0,
        Destination::Second => 1,
    }
}
