//! A damaged database is set aside, and what was in it is accounted for.

use std::io::{Seek, SeekFrom, Write};

use tidegate_record::{Applied, Class, Content, Mark, Outbox, Reason, StateChange};

use crate::rig::{Open, Rig, name, nothing, record};

/// Pseudo-random numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A buffer with 1000 rows, of which the centre holds 300; stopped.
async fn filled() -> Rig {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(rig.applied(0, 1000)).await;
    let (of, _) = Outbox::next(&open.handle, 1, Class::Raw)
        .await
        .unwrap()
        .remove(0);
    open.handle
        .acknowledged(&[Mark { of, seq: 300 }])
        .await
        .unwrap();
    open.close().await;
    rig
}

fn overwrite(rig: &Rig, at: u64, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(rig.config().path)
        .unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// It takes rows and gives them out.
async fn goes_on(rig: &Rig, open: &Open) {
    open.commit(rig.applied(9, 5)).await;
    assert!(rig.acks().contains(&("ack", 9)));
    assert!(open.drain().await.len() >= 5);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_set_aside_and_a_new_one_goes_on_counting() {
    let rig = filled().await;
    let before = {
        let open = rig.open().await;
        let epoch = open.handle.epoch();
        open.close().await;
        epoch
    };
    overwrite(&rig, 0, b"this is not a database at all");
    let open = rig.open().await;
    assert!(open.handle.epoch().ordinal > before.ordinal);
    assert!(rig.folder.path().join("buffer.db.quarantine").exists());
    goes_on(&rig, &open).await;
    open.close().await;
}

#[tokio::test]
async fn rows_in_a_damaged_database_leave_an_entry() {
    let rig = filled().await;
    // As a process that met the damage while it ran leaves it.
    std::fs::write(rig.folder.path().join("buffer.damaged"), "").unwrap();
    let open = rig.open().await;
    let all = open.drain().await;
    let [(_, entry)] = &all[..] else {
        panic!("{all:?}")
    };
    let Content::Lost(lost) = &entry.content else {
        panic!("{entry:?}")
    };
    assert_eq!((lost.reason, lost.rows), (Reason::Quarantined, 700));
    assert_eq!((entry.first(), entry.seq), (301, 1000));
    goes_on(&rig, &open).await;
    open.close().await;
    // Once is enough.
    let open = rig.open().await;
    assert!(open.drain().await.is_empty());
    open.close().await;
}

#[tokio::test]
async fn rows_in_a_deleted_or_unreadable_database_leave_an_entry_as_well() {
    for damage in [
        |rig: &Rig| std::fs::remove_file(rig.config().path).unwrap(),
        |rig: &Rig| overwrite(rig, 0, &[7; 8192]),
    ] {
        let rig = filled().await;
        damage(&rig);
        let open = rig.open().await;
        let all = open.drain().await;
        let [(_, entry)] = &all[..] else {
            panic!("{all:?}")
        };
        assert_eq!((entry.first(), entry.seq), (301, 1000));
        goes_on(&rig, &open).await;
        open.close().await;
    }
}

#[tokio::test]
async fn a_row_with_a_flipped_bit_is_never_handed_out_as_a_row() {
    let rig = filled().await;
    let mut database = rig.database().await;
    sqlx::query(
        "UPDATE row SET body = substr(body, 1, 40) || x'ff' || substr(body, 42) WHERE seq = 500",
    )
    .execute(&mut database)
    .await
    .unwrap();
    drop(database);
    let open = rig.open().await;
    let all = open.drain().await;
    assert_eq!(all.len(), 700);
    for (_, row) in &all {
        let lost = matches!(row.content, Content::Lost(_));
        assert_eq!(lost, row.seq == 500, "{row:?}");
    }
    open.close().await;
}

/// Whatever became of the file: it opens, takes rows, and hands out no row that was not kept.
#[tokio::test]
async fn any_damage_ends_in_a_buffer_that_goes_on() {
    let seed = 1;
    let mut random = Random(seed);
    for round in 0..40 {
        let rig = filled().await;
        let length = rig.config().path.metadata().unwrap().len();
        match random.below(4) {
            0 => overwrite(
                &rig,
                random.below(length),
                &random.below(u64::MAX).to_le_bytes(),
            ),
            1 => overwrite(&rig, random.below(length / 4096) * 4096, &[0; 4096]),
            2 => {
                let file = std::fs::OpenOptions::new()
                    .write(true)
                    .open(rig.config().path)
                    .unwrap();
                file.set_len(random.below(length)).unwrap();
            }
            _ => std::fs::remove_file(rig.config().path).unwrap(),
        }
        // Damage may show only while it runs: then it ends, and the next one begins anew.
        let mut attempts = 0;
        loop {
            attempts += 1;
            assert!(attempts < 4, "seed {seed}, round {round}: no end of it");
            let open = rig.open().await;
            if open.applied.send(rig.applied(9, 5)).await.is_ok()
                && open.handle.flushed().await.is_ok()
                && open.try_drain().await
            {
                open.close_anyhow().await;
                break;
            }
            open.close_anyhow().await;
        }
        assert!(
            rig.acks().contains(&("ack", 9)),
            "seed {seed}, round {round}"
        );
    }
}

/// A buffer with two entries of state, after `change` was made to them on disk; and what is restored.
async fn state_after(change: &'static str) -> (usize, i64) {
    let rig = Rig::new();
    let open = rig.open().await;
    let write = |key: &str| StateChange {
        key: key.into(),
        value: Some(vec![1, 2, 3].into()),
    };
    open.commit(Applied {
        state: vec![write("window/1"), write("window/2")],
        ..nothing()
    })
    .await;
    open.close().await;
    let mut behind = rig.database().await;
    sqlx::query(change).execute(&mut behind).await.unwrap();
    let restored = rig.buffer().await.unwrap().restore(&name("module")).await;
    let left = sqlx::query_scalar("SELECT count(*) FROM state");
    let left: i64 = left.fetch_one(&mut behind).await.unwrap();
    let restored = restored.unwrap();
    assert_eq!(
        restored.active.entries.is_empty(),
        restored.active.written_by.is_none()
    );
    (restored.active.entries.len(), left)
}

#[tokio::test]
async fn a_module_whose_state_is_damaged_starts_without_any_of_it() {
    for damage in [
        "UPDATE state SET value = x'010203' || x'00' WHERE key = 'window/1'",
        "UPDATE state SET value = x'010202' WHERE key = 'window/1'",
        "UPDATE state SET key = 'window/3' WHERE key = 'window/1'",
        "UPDATE state SET sum = sum + 1 WHERE key = 'window/1'",
    ] {
        assert_eq!(state_after(damage).await, (0, 0), "{damage}");
    }
    // As it was written, and as an earlier version wrote it.
    assert_eq!(state_after("UPDATE state SET sum = sum").await, (2, 2));
    assert_eq!(state_after("UPDATE state SET sum = NULL").await, (2, 2));
}

/// Messages that are counted as gone with a database whose files `damage` has changed, after three restarts.
async fn counted_after(damage: impl Fn(&Rig)) -> u64 {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(rig.applied(0, 3)).await;
    open.close().await;
    // A database that is put back as it was before loses its end, as one does whose log is cut.
    let path = rig.config().path;
    std::fs::copy(&path, path.with_extension("old")).unwrap();
    let open = rig.open().await;
    open.commit(rig.applied(0, 3)).await;
    open.commit(Applied {
        spilled: (0..7).map(|_| record("t", vec![1; 100])).collect(),
        ..nothing()
    })
    .await;
    open.close().await;
    damage(&rig);
    for _ in 0..3 {
        rig.open().await.close().await;
    }
    let open = rig.open().await;
    let tallies = open.handle.tallies();
    open.close().await;
    let gone = tallies.iter().filter(|tally| tally.reason == "quarantined");
    gone.map(|tally| tally.messages).sum()
}

#[tokio::test]
async fn messages_that_waited_in_a_database_that_is_gone_are_counted_once() {
    let path = |rig: &Rig| rig.config().path;
    let unreadable = |rig: &Rig| std::fs::write(path(rig), b"not a database").unwrap();
    assert_eq!(counted_after(unreadable).await, 7);
    assert_eq!(
        counted_after(|rig| std::fs::remove_file(path(rig)).unwrap()).await,
        7
    );
    let noted = |rig: &Rig| std::fs::write(path(rig).with_extension("damaged"), b"").unwrap();
    assert_eq!(counted_after(noted).await, 7);
    let cut = |rig: &Rig| {
        let at = path(rig);
        let (old, log) = (at.with_extension("old"), "buffer.db-wal");
        std::fs::copy(old, &at).unwrap();
        std::fs::remove_file(rig.folder.path().join(log)).ok();
    };
    assert_eq!(counted_after(cut).await, 7);
    assert_eq!(counted_after(|_| ()).await, 0);
}
