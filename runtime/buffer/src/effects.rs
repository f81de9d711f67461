//! What calls of modules change besides rows and state, within a transaction: publications, seen ids, dead letters.

use std::fmt::Write;

use sqlx::AssertSqlSafe;
use tidegate_record::{Applied, Name, Publication, Rejection};

use crate::commit::{Commits, Group};
use crate::prune::Pressure;
use crate::replay::envelope;
use crate::rows::ROWS_PER_STATEMENT;
use crate::tally::{self, Tallies, Tally};

/// Parts of the room for rows that dead letters may take, and publications that wait for their broker.
const DEAD_LETTERS_SHARE: u64 = 16;
/// See [`DEAD_LETTERS_SHARE`].
const PUBLICATIONS_SHARE: u64 = 8;
/// Publications that one commit gives up: more than it can add without being larger itself.
const PUBLICATIONS_PER_STEP: i64 = 500;
/// How publications that were given up are counted.
const UNDELIVERED: &str = "undelivered";

/// Seen chunks that are dropped at once, when a module's window has moved past them.
const SEEN_CHUNKS_SLACK: i64 = 256;

impl Commits {
    /// Writes all of a group but its rows.
    pub(crate) async fn write_effects(&mut self, group: &mut Group) -> Result<(), sqlx::Error> {
        self.write_states(&group.applied).await?;
        for applied in &group.applied {
            let module = self
                .names
                .intern(&applied.module, &mut self.connection)
                .await?;
            self.remember(module, applied).await?;
            for publication in &applied.publications {
                self.post(publication).await?;
            }
            for rejection in &applied.rejections {
                self.set_aside(module, rejection).await?;
            }
        }
        if group
            .applied
            .iter()
            .any(|applied| !applied.rejections.is_empty())
        {
            self.bound_dead_letters().await?;
        }
        if self.space.pressure() > Pressure::None {
            self.bound_publications(&mut group.tallies).await?;
        }
        Ok(())
    }

    /// Crosses off publications that their broker has acknowledged.
    pub(crate) async fn delivered(&mut self, ids: &[u64]) -> Result<(), sqlx::Error> {
        for ids in ids.chunks(ROWS_PER_STATEMENT) {
            let mut list = String::new();
            for id in ids {
                let comma = if list.is_empty() { "" } else { "," };
                // Writing to a string cannot fail.
                let _written = write!(list, "{comma}{id}");
            }
            let sql = format!("DELETE FROM publication WHERE id IN ({list})");
            self.execute(sqlx::query(AssertSqlSafe(sql)).persistent(false))
                .await?;
        }
        Ok(())
    }

    /// Appends the ids of a call, and forgets chunks that are certainly out of the window.
    async fn remember(&mut self, module: i64, applied: &Applied) -> Result<(), sqlx::Error> {
        if applied.seen.is_empty() {
            return Ok(());
        }
        let ids: Vec<u8> = applied
            .seen
            .iter()
            .flat_map(|id| id.0.to_le_bytes())
            .collect();
        let query = sqlx::query("INSERT INTO seen (module, ids) VALUES (?, ?)");
        let chunk = query
            .bind(module)
            .bind(ids)
            .execute(&mut self.connection)
            .await?
            .last_insert_rowid();
        if chunk % SEEN_CHUNKS_SLACK != 0 {
            return Ok(());
        }
        let query = sqlx::query(
            "DELETE FROM seen WHERE module = ?1 AND chunk <= (SELECT chunk FROM \
             (SELECT chunk, sum(length(ids)) OVER (ORDER BY chunk DESC) AS bytes FROM seen WHERE module = ?1) \
             WHERE bytes > ?2 ORDER BY chunk DESC LIMIT 1 OFFSET 1)",
        );
        let bytes_max = i64::try_from(self.limits.seen_ids_max * 8).unwrap_or(i64::MAX);
        self.execute(query.bind(module).bind(bytes_max)).await
    }

    async fn post(&mut self, publication: &Publication) -> Result<(), sqlx::Error> {
        let query = sqlx::query(
            "INSERT INTO publication (broker, topic, payload, content_type, retain) VALUES (?, ?, ?, ?, ?)",
        );
        let query = query
            .bind(publication.broker.as_str().to_owned())
            .bind(publication.topic.as_str().to_owned())
            .bind(publication.payload.to_vec())
            .bind(publication.content_type.as_deref().map(str::to_owned))
            .bind(publication.retain);
        self.execute(query).await
    }

    async fn set_aside(&mut self, module: i64, rejection: &Rejection) -> Result<(), sqlx::Error> {
        let record = &rejection.record;
        let query = sqlx::query(
            "INSERT INTO dead_letter (module, source, topic, payload, time, reason, envelope) VALUES (?, ?, ?, ?, ?, ?, ?)",
        );
        let query = query
            .bind(module)
            .bind(record.channel.source.as_str().to_owned())
            .bind(record.channel.topic.to_string())
            .bind(record.body.to_bytes().to_vec())
            .bind(record.time.0.cast_signed())
            .bind(rejection.reason.clone())
            .bind(envelope(record, self.clock.boot())?);
        self.execute(query).await
    }

    /// The oldest dead letters make room.
    async fn bound_dead_letters(&mut self) -> Result<(), sqlx::Error> {
        let query = sqlx::query(
            "DELETE FROM dead_letter WHERE id <= (SELECT id FROM \
             (SELECT id, row_number() OVER (ORDER BY id DESC) AS letters, \
              sum(length(payload)) OVER (ORDER BY id DESC) AS bytes FROM dead_letter) \
             WHERE letters > ?1 OR bytes > ?2 ORDER BY id DESC LIMIT 1)",
        );
        let query = query.bind(i64::from(self.limits.dead_letters_max));
        self.execute(query.bind(self.share(DEAD_LETTERS_SHARE)))
            .await
    }

    /// Publications wait for a broker that may be away for ever: when room is scarce, the oldest of too many are given up.
    async fn bound_publications(&mut self, tallies: &mut Tallies) -> Result<(), sqlx::Error> {
        let dropped: Vec<(String, i64)> = sqlx::query_as(
            "DELETE FROM publication WHERE id IN (SELECT id FROM publication WHERE \
             (SELECT sum(length(payload)) FROM publication) > ?1 ORDER BY id LIMIT ?2) RETURNING broker, length(payload)",
        )
        .bind(self.share(PUBLICATIONS_SHARE))
        .bind(PUBLICATIONS_PER_STEP)
        .fetch_all(&mut self.connection)
        .await?;
        for (broker, bytes) in dropped {
            let Ok(of) = Name::new(&broker) else { continue };
            let tally = Tally {
                of,
                reason: UNDELIVERED.to_owned(),
                messages: 1,
                bytes: bytes.unsigned_abs(),
                last: self.clock.wall_time(),
            };
            tally::add(tallies, tally);
        }
        Ok(())
    }

    /// A part of the room for rows, in bytes.
    fn share(&self, part: u64) -> i64 {
        i64::try_from(self.space.row_bytes_max() / part).unwrap_or(i64::MAX)
    }
}
