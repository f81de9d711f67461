//! What every store must hold: one suite, run on each.
//!
//! A store joins by a [`Place`] that opens it, and one line of [`hold!`] for it.

mod commit;
mod control;
mod cover;
mod lag;
mod people;
mod read;

use std::future::Future;
use std::path::PathBuf;

use tidegate_wire::{Class, Content, NamedValue, Scalar, SyncRequest, WallTime};

use super::*;
use crate::samples::{START_NS, epoch, lost, name, number, request, row, rows, stream, thinned};

/// Where a store lives, so that it can be opened again.
trait Place {
    type Store: Store;
    fn open(&self) -> impl Future<Output = Self::Store>;
    /// Keeps what is there, for [`Place::restore`]. The store is closed.
    fn save(&self);
    /// Puts back what was saved. The store is closed.
    fn restore(&self);
}

struct SqliteFile(tempfile::TempDir);

impl SqliteFile {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("centre.db")
    }
}

impl Place for SqliteFile {
    type Store = SqliteStore;
    async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.file()).await.unwrap()
    }

    fn save(&self) {
        std::fs::copy(self.file(), self.0.path().join("saved.db")).unwrap();
    }

    fn restore(&self) {
        std::fs::copy(self.0.path().join("saved.db"), self.file()).unwrap();
    }
}

macro_rules! hold {
    ($place:expr => $($group:ident::$promise:ident),* $(,)?) => { $(
        #[tokio::test]
        async fn $promise() {
            super::$group::$promise(&$place).await;
        }
    )* };
}

mod sqlite {
    use super::SqliteFile;
    hold!(SqliteFile::new() =>
        commit::a_request_that_comes_three_times_is_kept_once,
        commit::requests_in_any_order_end_in_the_same_rows,
        commit::rows_beyond_a_gap_are_not_kept_and_the_mark_says_so,
        commit::another_row_at_a_known_seq_refuses_the_whole_request,
        commit::values_that_are_not_numbers_are_no_conflict,
        commit::marks_and_rows_outlive_the_process,
        commit::gateways_tenants_and_epochs_do_not_mix,
        commit::every_field_of_a_row_comes_back_as_it_was,
        cover::rows_cover_every_number_up_to_the_mark,
        cover::a_row_over_the_mark_is_kept_for_the_part_above,
        cover::a_covering_row_that_comes_again_is_known_and_another_is_a_conflict,
        cover::a_centre_restored_from_a_backup_takes_the_rows_again,
        cover::the_ledger_is_told_newest_first_and_summed,
        cover::an_entry_of_the_ledger_is_no_value_and_no_alarm,
        cover::hostile_numbers_are_held_and_answered,
        read::pages_are_complete_and_stable_while_rows_arrive,
        read::rows_can_be_asked_by_class_and_key_and_from_the_end,
        read::a_page_ends_early_rather_than_fill_memory,
        read::the_newest_row_of_each_series_is_known,
        read::alarms_come_newest_first,
        read::a_gateway_is_what_its_last_request_said,
        read::streams_say_how_many_rows_and_the_first_and_last,
        lag::the_largest_lag_of_each_minute_and_hour_is_kept,
        lag::lags_are_forgotten_when_newer_ones_come,
        lag::absurd_lags_are_held_and_answered,
        people::a_token_is_known_by_its_digest_until_it_expires,
        people::a_session_ends_in_time_and_a_further_one_ends_the_oldest,
        people::several_processes_write_one_chain,
        control::of_a_target_the_number_only_grows_and_a_number_is_given_once,
        control::labels_are_set_taken_away_and_bounded,
        control::only_a_newer_report_takes_the_place_of_one,
        control::a_group_has_one_rollout_at_a_time_and_of_two_writers_one_notices,
    );
}

fn id(gateway: &str) -> GatewayId {
    GatewayId {
        tenant: Tenant::default(),
        gateway: name(gateway),
    }
}

fn stream_id(gateway: &str, stream: &str) -> StreamId {
    StreamId {
        of: id(gateway),
        stream: name(stream),
    }
}

/// What a stream holds where nothing was thinned out or lost.
fn plain(rows: u64) -> RowCount {
    RowCount {
        rows,
        entries: 0,
        covered: rows,
        marks: rows,
    }
}

async fn put(store: &impl Store, request: SyncRequest) -> Result<Committed, Error> {
    let of = GatewayId {
        tenant: Tenant::default(),
        gateway: request.gateway.clone(),
    };
    store
        .commit(&of, &Checked::new(request).unwrap(), WallTime(START_NS))
        .await
}

async fn all(store: &impl Store, of: &StreamId) -> Vec<HeldRow> {
    store
        .rows(of, &RowFilter::default(), Reach::First, 10_000)
        .await
        .unwrap()
        .items
}

async fn seqs(store: &impl Store, of: &StreamId) -> Vec<u64> {
    all(store, of)
        .await
        .iter()
        .map(|held| held.row.seq)
        .collect()
}
