//! A clock that is set only later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_record::{
    BootId, BootTime, Class, Clock, ClockQuality, Mark, Outbox, StoredRow, WallTime,
};

use crate::rig::{Open, Rig};

const SECOND: u64 = 1_000_000_000;
/// When the boot began, by the clock that is set in the end.
const BOOTED: u64 = 1_780_000_000 * SECOND;

/// Begins in 1970, and is set after a while.
#[derive(Debug, Default)]
struct Late {
    since_boot: AtomicU64,
    set_to: AtomicU64,
}

impl Late {
    fn pass(&self, seconds: u64) {
        self.since_boot
            .fetch_add(seconds * SECOND, Ordering::Relaxed);
    }

    fn set(&self) {
        self.set_to.store(BOOTED, Ordering::Relaxed);
    }
}

impl Clock for Late {
    fn wall_time(&self) -> WallTime {
        WallTime(self.set_to.load(Ordering::Relaxed) + self.boot_time().0)
    }
    fn quality(&self) -> ClockQuality {
        match self.set_to.load(Ordering::Relaxed) {
            0 => ClockQuality::Unset,
            _ => ClockQuality::Synced,
        }
    }
    fn boot_time(&self) -> BootTime {
        BootTime(self.since_boot.load(Ordering::Relaxed))
    }
    fn boot(&self) -> BootId {
        BootId(1)
    }
}

fn rig() -> (Arc<Late>, Rig) {
    let clock = Arc::new(Late::default());
    clock.pass(10);
    let rig = Rig {
        clock: clock.clone(),
        ..Rig::new()
    };
    (clock, rig)
}

/// What a centre would get, which takes none of it.
async fn waiting(open: &Open) -> Vec<StoredRow> {
    let waiting = Outbox::next(&open.handle, 1000, Class::Raw).await.unwrap();
    waiting.into_iter().flat_map(|(_, rows)| rows).collect()
}

fn stamps(rows: &[StoredRow]) -> Vec<(u64, ClockQuality)> {
    let stamp = |row: &StoredRow| (row.stamp.wall_time.0, row.stamp.clock);
    rows.iter().map(stamp).collect()
}

#[tokio::test]
async fn rows_from_before_the_clock_was_set_leave_with_their_true_time_over_a_restart_too() {
    let (clock, rig) = rig();
    let open = rig.open().await;
    open.commit(rig.applied(1, 1)).await;
    open.close().await;
    clock.pass(90);
    clock.set();
    let open = rig.open().await;
    open.commit(rig.applied(2, 1)).await;
    let mut found = stamps(&waiting(&open).await);
    found.sort_by_key(|(time, _)| *time);
    let expected = [
        (BOOTED + 10 * SECOND, ClockQuality::Restamped),
        (BOOTED + 100 * SECOND, ClockQuality::Synced),
    ];
    assert_eq!(found, expected);
    open.close().await;
}

#[tokio::test]
async fn what_may_have_been_sent_before_the_clock_was_set_never_comes_with_two_contents() {
    let (clock, rig) = rig();
    let open = rig.open().await;
    open.commit(rig.applied(1, 3)).await;
    let sent = waiting(&open).await;
    clock.set();
    open.commit(rig.applied(2, 3)).await;
    assert_eq!(waiting(&open).await[..3], sent);
    // Nor after a restart, from a centre that was restored.
    open.close().await;
    let open = rig.open().await;
    let of = open.handle.known(false).pop().unwrap();
    for seq in [3, 0] {
        let mark = Mark {
            of: of.clone(),
            seq,
        };
        open.handle.acknowledged(&[mark]).await.unwrap();
    }
    assert_eq!(waiting(&open).await[..3], sent);
    open.close().await;
}
