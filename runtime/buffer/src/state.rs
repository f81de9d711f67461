//! The states of modules, within a transaction: of the active generation, and of the one that stands by.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use tidegate_record::{Applied, StandBy, StateChange, Switch};

use crate::commit::Commits;
use crate::generation;
use crate::restore::checksum;
use crate::rows::{ROWS_PER_STATEMENT, Statement, insert_statement, statement};

static UPSERT_ACTIVE: LazyLock<[Arc<str>; 2]> =
    LazyLock::new(|| upsert("INSERT INTO state (module, key, value, sum) VALUES "));
static UPSERT_STANDBY: LazyLock<[Arc<str>; 2]> =
    LazyLock::new(|| upsert("INSERT INTO standby (module, key, value, sum) VALUES "));

/// For one entry and for many.
fn upsert(insert: &'static str) -> [Arc<str>; 2] {
    let conflict =
        " ON CONFLICT (module, key) DO UPDATE SET value = excluded.value, sum = excluded.sum";
    [1, ROWS_PER_STATEMENT].map(|rows| insert_statement(insert, 4, rows, conflict))
}

/// The last write of each key: those before it have no reader.
#[derive(Debug, Default)]
struct Writes {
    active: Entries,
    standby: Entries,
}

type Entries = BTreeMap<(i64, String), Option<Bytes>>;

impl Commits {
    /// Writes what these outcomes change, in their order where a switch makes it matter.
    pub(crate) async fn write_states(&mut self, all: &[Applied]) -> Result<(), sqlx::Error> {
        let mut writes = Writes::default();
        for applied in all {
            let module = self
                .names
                .intern(&applied.module, &mut self.connection)
                .await?;
            if let Some(switch) = &applied.switch {
                self.write_out(std::mem::take(&mut writes)).await?;
                self.switch(module, applied.generation, switch, &mut writes)
                    .await?;
            }
            if !applied.state.is_empty() && self.writers.get(&module) != Some(&applied.version) {
                self.name_writer(module, &applied.version).await?;
            }
            enter(&mut writes.active, module, &applied.state);
            if let Some(StandBy { version, state }) = &applied.standby {
                if !state.is_empty() && self.standby_writers.get(&module) != Some(version) {
                    generation::name_writer(&mut self.connection, module, version).await?;
                    self.standby_writers.insert(module, version.clone());
                }
                enter(&mut writes.standby, module, state);
            }
        }
        self.write_out(writes).await
    }

    async fn switch(
        &mut self,
        module: i64,
        active: u64,
        switch: &Switch,
        writes: &mut Writes,
    ) -> Result<(), sqlx::Error> {
        self.writers.remove(&module);
        self.standby_writers.remove(&module);
        match switch {
            Switch::Forward { state, written_by } => {
                generation::forward(&mut self.connection, module, active).await?;
                let Some(state) = state else { return Ok(()) };
                generation::clear(&mut self.connection, module).await?;
                enter(&mut writes.active, module, state);
                match written_by {
                    Some(version) => self.name_writer(module, version).await,
                    None => Ok(()),
                }
            }
            Switch::Back => generation::back(&mut self.connection, module).await,
            Switch::Settle => generation::settle(&mut self.connection, module).await,
        }
    }

    async fn write_out(&mut self, writes: Writes) -> Result<(), sqlx::Error> {
        let delete = "DELETE FROM state WHERE module = ? AND key = ?";
        self.write_entries(writes.active, &UPSERT_ACTIVE, delete)
            .await?;
        let delete = "DELETE FROM standby WHERE module = ? AND key = ?";
        self.write_entries(writes.standby, &UPSERT_STANDBY, delete)
            .await
    }

    async fn write_entries(
        &mut self,
        entries: Entries,
        [one, many]: &[Arc<str>; 2],
        delete: &'static str,
    ) -> Result<(), sqlx::Error> {
        let (written, deleted): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, value)| value.is_some());
        let (chunks, rest) = written.as_chunks::<ROWS_PER_STATEMENT>();
        for chunk in chunks {
            self.execute(chunk.iter().fold(statement(many), bind_entry))
                .await?;
        }
        for entry in rest {
            self.execute(bind_entry(statement(one), entry)).await?;
        }
        for ((module, key), _) in deleted {
            let query = sqlx::query(delete);
            self.execute(query.bind(module).bind(key)).await?;
        }
        Ok(())
    }

    async fn name_writer(&mut self, module: i64, version: &Arc<str>) -> Result<(), sqlx::Error> {
        self.writers.insert(module, version.clone());
        let query = sqlx::query(
            "INSERT INTO writer (module, version) VALUES (?, ?) ON CONFLICT (module) DO UPDATE SET version = excluded.version",
        );
        self.execute(query.bind(module).bind(version.to_string()))
            .await
    }
}

fn enter(entries: &mut Entries, module: i64, changes: &[StateChange]) {
    for StateChange { key, value } in changes {
        entries.insert((module, key.clone()), value.clone());
    }
}

fn bind_entry<'q>(
    query: Statement<'q>,
    ((module, key), value): &((i64, String), Option<Bytes>),
) -> Statement<'q> {
    let value = value.as_deref().unwrap_or_default();
    query
        .bind(*module)
        .bind(key.clone())
        .bind(value.to_vec())
        .bind(checksum(*module, key, value))
}
