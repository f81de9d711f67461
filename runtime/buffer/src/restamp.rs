//! Rows from before the clock was set.
//!
//! Until a time source has set the clock, the wall time of a row may be decades off; its time since boot is right. Once the
//! clock is set, the one says what the other should have been. Which boot began when is written down once a boot, and rows
//! are put right when they are read for a centre: on disk they stay as they are.
//!
//! What may have been sent before goes out as it did, so that no row ever comes with two contents. It carries its boot and
//! the time since then, by which the centre can tell.

use std::collections::HashMap;

use sqlx::SqliteConnection;
use tidegate_record::{BootId, Clock, ClockQuality, StoredRow, WallTime};

use crate::error::Error;
use crate::sequence::Place;

/// Boots that are remembered: rows of older ones stay as they are.
const BOOTS_MAX: i64 = 64;

/// When boots began, by a clock that was set.
pub(crate) type Boots = HashMap<BootId, WallTime>;

/// When the boot that is under way began; none while the clock is not set.
pub(crate) fn booted(clock: &dyn Clock) -> Option<(BootId, WallTime)> {
    let began = || WallTime(clock.wall_time().0.saturating_sub(clock.boot_time().0));
    (clock.quality() == ClockQuality::Synced).then(|| (clock.boot(), began()))
}

/// Puts a row right, if it is from before the clock was set and it is known when its boot began.
///
/// Its event time moves along where it lies between the boot and the row's commit by the clock of then: it is by that same
/// clock. Another time is a device's own, and stays.
pub(crate) fn restamp(row: &mut StoredRow, boots: &Boots) {
    if row.stamp.clock != ClockQuality::Unset {
        return;
    }
    let Some(booted) = boots.get(&row.stamp.boot) else {
        return;
    };
    let (since_boot, wrong) = (row.stamp.boot_time.0, row.stamp.wall_time.0);
    let right = booted.0.saturating_add(since_boot);
    let ends = row.time.0.saturating_add(row.duration_ns);
    if row.time.0 <= wrong && ends >= wrong.saturating_sub(since_boot) {
        let before_commit = wrong - row.time.0;
        row.time = WallTime(right.saturating_sub(before_commit));
    }
    row.stamp.wall_time = WallTime(right);
    row.stamp.clock = ClockQuality::Restamped;
}

/// The boots that are written down.
pub(crate) async fn read(connection: &mut SqliteConnection) -> Result<Boots, Error> {
    let rows: Vec<(i64, i64)> = sqlx::query_as("SELECT boot, booted FROM clock")
        .fetch_all(connection)
        .await
        .map_err(Error::Read)?;
    let boots = rows.into_iter().map(|(boot, booted)| {
        let booted = WallTime(booted.cast_unsigned());
        (BootId(boot.cast_unsigned()), booted)
    });
    Ok(boots.collect())
}

/// Writes down when a boot began, and up to where rows may have been sent before: they go out as they did.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    (boot, booted): (BootId, WallTime),
    sent: &[(Place, u64)],
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO clock (boot, booted) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(boot.0.cast_signed())
        .bind(booted.0.cast_signed())
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM clock WHERE id <= (SELECT max(id) FROM clock) - ?")
        .bind(BOOTS_MAX)
        .execute(&mut *connection)
        .await?;
    for ((stream, epoch), sent) in sent {
        sqlx::query("UPDATE mark SET plain = ?1, sent = ?1 WHERE stream = ?2 AND epoch = ?3")
            .bind(sent.cast_signed())
            .bind(stream)
            .bind(epoch.cast_signed())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_record::{BootTime, Class, Reason};

    const SECOND: u64 = 1_000_000_000;
    /// 2026, by the clock that was set in the end.
    const BOOTED: u64 = 1_780_000_000 * SECOND;

    fn boots() -> Boots {
        Boots::from([(BootId(7), WallTime(BOOTED))])
    }

    /// A row that was committed 100 s after the boot, at `wrong`, of `time`.
    fn row(boot: u64, wrong: u64, time: u64) -> StoredRow {
        let mut row = crate::rows::lost(1, None, Class::Raw, Reason::Evicted, 1);
        row.stamp.boot = BootId(boot);
        row.stamp.boot_time = BootTime(100 * SECOND);
        row.stamp.wall_time = WallTime(wrong);
        row.time = WallTime(time);
        row
    }

    fn restamped(mut row: StoredRow) -> (u64, u64, ClockQuality) {
        restamp(&mut row, &boots());
        (row.time.0, row.stamp.wall_time.0, row.stamp.clock)
    }

    #[test]
    fn a_row_from_before_the_clock_was_set_gets_its_true_time_in_1970_and_in_2099() {
        let right = BOOTED + 100 * SECOND;
        for wrong in [100 * SECOND, 4_070_908_800 * SECOND] {
            let expected = (right - 5 * SECOND, right, ClockQuality::Restamped);
            assert_eq!(restamped(row(7, wrong, wrong - 5 * SECOND)), expected);
        }
    }

    #[test]
    fn a_window_that_began_before_the_boot_moves_along() {
        let wrong = 1_000_000 * SECOND;
        let mut window = row(7, wrong, wrong - 130 * SECOND);
        assert_eq!(restamped(window.clone()).0, window.time.0);
        window.duration_ns = 60 * SECOND;
        assert_eq!(restamped(window).0, BOOTED - 30 * SECOND);
    }

    #[test]
    fn a_time_of_the_device_stays() {
        let device = 1_780_000_042 * SECOND;
        let (time, wall_time, _) = restamped(row(7, 100 * SECOND, device));
        assert_eq!((time, wall_time), (device, BOOTED + 100 * SECOND));
    }

    #[test]
    fn a_row_of_an_unknown_boot_or_of_a_clock_that_was_set_stays() {
        let unknown = row(8, 100 * SECOND, 99 * SECOND);
        assert_eq!(restamped(unknown).2, ClockQuality::Unset);
        let mut synced = row(7, 100 * SECOND, 99 * SECOND);
        synced.stamp.clock = ClockQuality::Synced;
        assert_eq!(restamped(synced).1, 100 * SECOND);
    }
}
