use std::convert::Infallible;

use tidegate_record::{Backlog, Name, Waiting};
use tokio::sync::watch;

use super::*;
use crate::load::tests::{numbers, record};

/// A disk in memory: what is committed is there.
#[derive(Clone)]
struct Disk(watch::Sender<Content>);

#[derive(Clone, Default)]
struct Content {
    rows: Vec<(u64, i64)>,
    backlog: Backlog,
}

impl Inbox for Disk {
    type Error = Infallible;

    fn backlog(&self) -> Backlog {
        self.0.borrow().backlog
    }

    async fn until(&self, holds: impl Fn(&Backlog) -> bool + Send) {
        let mut changes = self.0.subscribe();
        let held = changes.wait_for(move |content| holds(&content.backlog));
        held.await.unwrap();
    }

    fn reserve(&self, records: u64, bytes: u64) -> bool {
        if self.backlog().room < bytes {
            return false;
        }
        self.0.send_modify(|content| {
            content.backlog.coming += records;
            content.backlog.room -= bytes;
        });
        true
    }

    async fn next(
        &self,
        after: u64,
        records_max: usize,
        _: usize,
    ) -> Result<Vec<Waiting>, Infallible> {
        tokio::task::yield_now().await;
        let content = self.0.borrow();
        let rows = content.rows.iter().filter(|(id, _)| *id > after);
        let waiting = rows.take(records_max).map(|(id, number)| Waiting {
            id: *id,
            bytes: 1,
            record: Some(record(*number)),
        });
        Ok(waiting.collect())
    }
}

impl Disk {
    fn new(rows: &[i64], room: u64) -> Self {
        let backlog = Backlog {
            added: u64::try_from(rows.len()).unwrap(),
            room,
            ..Backlog::default()
        };
        let rows = (1..).zip(rows.iter().copied()).collect();
        Self(watch::Sender::new(Content { rows, backlog }))
    }

    fn commit(&self, applied: Applied) -> Vec<i64> {
        let load = Load::live(applied.spilled);
        assert_eq!(applied.acks.len(), load.records.len());
        let numbers = numbers(&load);
        self.0.send_modify(|content| {
            for number in &numbers {
                let id = content.backlog.added + 1;
                content.rows.push((id, *number));
                content.backlog.added += 1;
                content.backlog.coming -= 1;
            }
        });
        numbers
    }
}

struct Rig {
    field: mpsc::Sender<Record>,
    writer: mpsc::Receiver<Applied>,
    disk: Disk,
    intake: Intake<Disk>,
}

const ROOM: u64 = 1 << 20;

impl Rig {
    fn new(on_disk: &[i64], room: u64) -> Self {
        let (field, live) = mpsc::channel(100);
        let (applied, writer) = mpsc::channel(100);
        let disk = Disk::new(on_disk, room);
        let blank = || Applied::new(Name::new("m").unwrap(), 1, "1".into());
        let limits = Arc::new(Limits {
            batch_records_max: 10,
            ..Limits::DEFAULT
        });
        let intake = Intake::new(
            live,
            disk.clone(),
            applied,
            Box::new(blank),
            Arc::default(),
            limits,
        );
        Self {
            field,
            writer,
            disk,
            intake,
        }
    }

    fn send(&self, numbers: std::ops::RangeInclusive<i64>) {
        for number in numbers {
            self.field.try_send(record(number)).unwrap();
        }
    }

    /// The next load, while what is spilled gets onto the disk.
    async fn next(&mut self) -> Option<Vec<i64>> {
        let next = self.intake.next();
        tokio::pin!(next);
        loop {
            tokio::select! {
                biased;
                load = &mut next => return load.as_ref().map(numbers),
                Some(applied) = self.writer.recv() => {
                    self.disk.commit(applied);
                }
            }
        }
    }

    fn detach(&mut self, left: &[i64]) -> bool {
        let mut todo = Vec::new();
        if !left.is_empty() {
            todo.push(Load::live(left.iter().copied().map(record).collect()));
        }
        self.intake.detach(&mut todo);
        todo.is_empty()
    }

    fn is_detached(&self) -> bool {
        self.intake
            .arrivals
            .counters
            .detached
            .load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_module_that_keeps_up_gets_its_messages_straight_from_the_field() {
    let mut rig = Rig::new(&[], ROOM);
    for _ in 0..3 {
        rig.send(1..=5);
        assert_eq!(rig.next().await, Some(vec![1, 2, 3, 4, 5]));
    }
    assert!(rig.writer.try_recv().is_err() && !rig.is_detached());
}

#[tokio::test]
async fn what_a_detached_module_has_left_and_what_comes_later_come_back_in_order() {
    let mut rig = Rig::new(&[], ROOM);
    rig.send(1..=4);
    assert_eq!(rig.next().await, Some(vec![1, 2, 3, 4]));
    rig.send(5..=6);
    assert!(rig.detach(&[3, 4]));
    assert_eq!(rig.next().await, Some(vec![3, 4, 5, 6]));
    assert!(rig.is_detached());
    rig.send(7..=8);
    assert_eq!(rig.next().await, Some(vec![7, 8]));
}

#[tokio::test]
async fn while_a_detached_module_works_what_arrives_goes_to_disk() {
    let mut rig = Rig::new(&[], ROOM);
    rig.send(1..=1);
    assert!(rig.detach(&[]));
    assert_eq!(rig.next().await, Some(vec![1]));
    rig.send(2..=30);
    let (done, working) = tokio::sync::oneshot::channel();
    let (disk, writer) = (rig.disk.clone(), &mut rig.writer);
    let watching = async move {
        let mut spilled = Vec::new();
        while spilled.len() < 29 {
            spilled.extend(disk.commit(writer.recv().await.unwrap()));
        }
        done.send(()).unwrap();
        spilled
    };
    let (worked, spilled) = tokio::join!(rig.intake.beside(working), watching);
    worked.unwrap();
    assert_eq!(spilled, (2..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn it_is_attached_again_when_it_has_caught_up() {
    let mut rig = Rig::new(&[], ROOM);
    rig.send(1..=3);
    assert!(rig.detach(&[]));
    assert_eq!(rig.next().await, Some(vec![1, 2, 3]));
    rig.intake.worked(3, Duration::ZERO);
    rig.send(4..=5);
    assert_eq!(rig.next().await, Some(vec![4, 5]));
    assert!(!rig.is_detached());
    assert_eq!(rig.disk.0.borrow().rows.len(), 3, "the last came straight");
}

#[tokio::test]
async fn what_was_on_disk_at_the_start_comes_before_anything_new() {
    let mut rig = Rig::new(&[1, 2, 3], ROOM);
    rig.send(4..=5);
    assert_eq!(rig.next().await, Some(vec![1, 2, 3]));
    rig.intake.worked(3, Duration::ZERO);
    assert_eq!(rig.next().await, Some(vec![4, 5]));
}

#[tokio::test]
async fn behind_a_long_backlog_what_arrives_does_not_wait_in_memory() {
    let backlog: Vec<i64> = (1..=25).collect();
    let mut rig = Rig::new(&backlog, ROOM);
    rig.send(26..=30);
    let mut all = Vec::new();
    while all.len() < 30 {
        let load = rig.next().await.unwrap();
        rig.intake.worked(load.len(), Duration::ZERO);
        all.extend(load);
    }
    assert_eq!(all, (1..=30).collect::<Vec<_>>());
    assert_eq!(rig.disk.0.borrow().rows.len(), 30);
}

#[tokio::test]
async fn without_room_on_disk_messages_stay_in_memory_and_in_order() {
    let mut rig = Rig::new(&[], 0);
    rig.send(3..=4);
    assert!(!rig.detach(&[1, 2]), "they would come again as they were");
    assert_eq!(rig.next().await, Some(vec![3, 4]));
    assert!(rig.writer.try_recv().is_err());
}

#[tokio::test]
async fn what_is_left_of_a_load_stays_when_later_messages_are_on_disk() {
    let mut rig = Rig::new(&[], ROOM);
    rig.send(5..=5);
    assert!(rig.detach(&[]));
    let applied = {
        let next = rig.intake.next();
        tokio::pin!(next);
        tokio::select! {
            biased;
            _ = &mut next => panic!("nothing is on disk yet"),
            applied = rig.writer.recv() => applied.unwrap(),
        }
    };
    assert!(!rig.detach(&[1, 2]));
    assert_eq!(rig.disk.commit(applied), [5]);
    assert!(!rig.detach(&[1, 2]));
}

#[tokio::test]
async fn what_comes_onto_the_disk_by_another_way_is_taken() {
    let mut rig = Rig::new(&[], ROOM);
    let disk = rig.disk.clone();
    let (load, ()) = tokio::join!(rig.next(), async {
        tokio::task::yield_now().await;
        disk.0.send_modify(|content| {
            content.rows.push((1, 7));
            content.backlog.added = 1;
        });
    });
    assert_eq!(load, Some(vec![7]));
}

#[tokio::test]
async fn when_the_field_has_gone_an_attached_module_takes_the_rest_and_a_detached_one_leaves_it_on_disk()
 {
    let mut rig = Rig::new(&[], ROOM);
    rig.send(1..=2);
    rig.field = mpsc::channel(1).0;
    assert_eq!(rig.next().await, Some(vec![1, 2]));
    assert_eq!(rig.next().await, None);

    let mut rig = Rig::new(&[1], ROOM);
    rig.send(2..=3);
    rig.field = mpsc::channel(1).0;
    assert_eq!(rig.next().await, None);
    assert_eq!(rig.disk.commit(rig.writer.recv().await.unwrap()), [2, 3]);
}
