//! The buffer and the exchange with the centre under random schedules: rows are kept and given up, requests are lost,
//! repeated, held up and delivered late, the gateway dies, the centre is restored from a backup. In the end both hold the
//! same account, and no row ever came with two contents. Beside it a module that is behind takes its messages from disk,
//! each once and in order.
//!
//! The buffer is the real one; the link and the centre are models, after docs/formats/wire.md.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use tidegate_record::{
    Applied, Class, Content, Inbox, Lost, Mark, NamedValue, Outbox, Row, Scalar, StoredRow,
    StreamEpoch, Waiting, WallTime,
};

use crate::rig::{Open, Rig, name, nothing, record};

/// One event.
#[derive(Debug, Clone)]
enum Event {
    /// A module keeps so many rows, and they are acknowledged.
    Keep(u16),
    /// So many that older ones have to give way.
    Flood,
    /// So many messages go to disk for a module that is behind.
    Spill(u8),
    /// It takes so many of them, and keeps a row for each.
    Take(u8),
    /// A request is made and reaches the centre, and its reply the gateway.
    Sync,
    /// A request is made and reaches the centre; its reply is lost.
    LoseReply,
    /// A request is made and held up on its way.
    HoldUp,
    /// One that was held up arrives after all, and may do so again.
    Deliver(u8),
    /// The gateway dies while it commits.
    Die,
    /// The link comes back, and the gateway asks where the centre stands.
    Reconnect,
    /// The centre makes a backup.
    BackUp,
    /// The centre is restored from its backup.
    Restore,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1..300_u16).prop_map(Event::Keep),
        2 => Just(Event::Flood),
        2 => any::<u8>().prop_map(Event::Spill),
        2 => any::<u8>().prop_map(Event::Take),
        6 => Just(Event::Sync),
        2 => Just(Event::LoseReply),
        2 => Just(Event::HoldUp),
        2 => any::<u8>().prop_map(Event::Deliver),
        1 => Just(Event::Die),
        2 => Just(Event::Reconnect),
        1 => Just(Event::BackUp),
        1 => Just(Event::Restore),
    ]
}

type Request = Vec<(StreamEpoch, Vec<StoredRow>)>;

/// What the centre holds: rows by the last number that they cover.
#[derive(Debug, Clone, Default)]
struct Centre(BTreeMap<StreamEpoch, BTreeMap<u64, StoredRow>>);

impl Centre {
    fn mark(&self, of: &StreamEpoch) -> u64 {
        let rows = self.0.get(of);
        rows.and_then(|rows| rows.keys().last())
            .copied()
            .unwrap_or(0)
    }

    fn take(&mut self, request: &Request) -> Vec<Mark> {
        for (of, rows) in request {
            for row in rows {
                self.take_row(of, row);
            }
        }
        self.marks(request.iter().map(|(of, _)| of.clone()).collect())
    }

    fn take_row(&mut self, of: &StreamEpoch, row: &StoredRow) {
        let mark = self.mark(of);
        if row.first() > mark + 1 {
            return;
        }
        let held = self.0.entry(of.clone()).or_default();
        if row.seq <= mark {
            // An entry of the ledger says that the gateway has nothing any more; an earlier request may have had.
            let is_entry = |row: &StoredRow| matches!(row.content, Content::Lost(_));
            if let Some(held) = held.get(&row.seq)
                && !is_entry(held)
                && !is_entry(row)
            {
                assert!(held == row, "row {} came with another content", row.seq);
            }
            return;
        }
        let mut row = row.clone();
        if row.first() <= mark {
            row.from = (mark + 1 < row.seq).then_some(mark + 1);
            let covered = row.seq - mark;
            let Content::Lost(Lost { rows, .. }) = &mut row.content else {
                panic!("the mark lies within {row:?}")
            };
            *rows = covered.min(*rows);
        }
        held.insert(row.seq, row);
    }

    fn marks(&self, of: Vec<StreamEpoch>) -> Vec<Mark> {
        let mark = |of: StreamEpoch| Mark {
            seq: self.mark(&of),
            of,
        };
        of.into_iter().map(mark).collect()
    }

    /// Rows that were kept, whatever became of them. Every number below a mark is covered once.
    fn account(&self) -> u64 {
        let mut all = 0;
        for rows in self.0.values() {
            let mut next = 1;
            for row in rows.values() {
                assert_eq!(row.first(), next, "{row:?}");
                next = row.seq + 1;
                all += match &row.content {
                    Content::Values(_) | Content::Document(_) => 1,
                    Content::Thinned(thinned) => thinned.rows,
                    Content::Lost(lost) => lost.rows,
                };
            }
        }
        all
    }
}

struct World {
    rig: Rig,
    open: Option<Open>,
    centre: Centre,
    backup: Centre,
    held_up: Vec<Request>,
    kept: u64,
    /// Rows of commits of which nobody knows whether they are on disk.
    unknown: u64,
    /// Messages that wait on disk for the module.
    behind: Vec<u64>,
    spilled: u64,
}

/// A case is a gateway with a full disk, and takes seconds.
const CASES: u32 = 8;
const REQUEST_ROWS: usize = 400;
const FLOOD_ROWS: u64 = 1500;

impl World {
    async fn new() -> Self {
        let rig = Rig::new();
        Self {
            open: Some(rig.open().await),
            rig,
            centre: Centre::default(),
            backup: Centre::default(),
            held_up: Vec::new(),
            kept: 0,
            unknown: 0,
            behind: Vec::new(),
            spilled: 0,
        }
    }

    fn open(&self) -> &Open {
        self.open.as_ref().unwrap()
    }

    /// Rows with some text: a few thousand fill the buffer.
    fn rows(&mut self, count: u64) -> Applied {
        let rows = (self.kept..self.kept + count).map(|number| {
            let values = vec![
                NamedValue {
                    name: "n".into(),
                    value: Scalar::Integer(number.cast_signed()),
                },
                NamedValue {
                    name: "text".into(),
                    value: Scalar::Text("x".repeat(2000)),
                },
            ];
            let row = Row {
                stream: name(if number % 50 == 0 {
                    "alarms"
                } else {
                    "readings"
                }),
                class: if number % 50 == 0 {
                    Class::Alarm
                } else {
                    Class::Raw
                },
                key: "press-7".into(),
                time: WallTime(number * 100_000_000),
                duration_ns: 0,
                content: Content::Values(values),
            };
            (row, None)
        });
        Applied {
            rows: rows.collect(),
            ..nothing()
        }
    }

    /// Where nothing can give way, only the centre can make room.
    async fn keep(&mut self, count: u64) {
        let rows = self.rows(count);
        self.kept += count;
        self.commit(rows).await;
    }

    async fn commit(&mut self, applied: Applied) {
        self.open().applied.send(applied).await.unwrap();
        let handle = self.open().handle.clone();
        let full = || handle.counters().full.load(Ordering::Relaxed);
        let before = full();
        let flushed = handle.flushed();
        tokio::pin!(flushed);
        loop {
            tokio::select! {
                biased;
                done = &mut flushed => return done.unwrap(),
                () = tokio::task::yield_now() => {}
            }
            if full() > before + 1 {
                self.sync().await;
            }
        }
    }

    async fn sync(&mut self) {
        let request = self.request().await;
        let marks = self.centre.take(&request);
        self.acknowledge(marks).await;
    }

    async fn request(&self) -> Request {
        Outbox::next(&self.open().handle, REQUEST_ROWS, Class::Raw)
            .await
            .unwrap()
    }

    async fn acknowledge(&self, marks: Vec<Mark>) {
        self.open().handle.acknowledged(&marks).await.unwrap();
    }

    async fn reconnect(&self) {
        let known = self.open().handle.known(false);
        self.acknowledge(self.centre.marks(known)).await;
        Outbox::connected(&self.open().handle).await.unwrap();
    }

    /// So many messages on their way to disk.
    fn messages(&mut self, count: u64) -> Applied {
        let numbers = self.spilled..self.spilled + count;
        self.spilled += count;
        let messages = numbers.map(|number| record("t", number.to_string().into_bytes()));
        Applied {
            spilled: messages.collect(),
            ..nothing()
        }
    }

    async fn spill(&mut self, count: u64) {
        self.behind.extend(self.spilled..self.spilled + count);
        let messages = self.messages(count);
        self.commit(messages).await;
    }

    /// Up to so many of the messages that wait, with their places: they are the first ones, in order.
    async fn look(&self, count: usize) -> Vec<(u64, u64)> {
        let inbox = self.open().handle.inbox(&name("module"));
        if inbox.backlog().messages == 0 || count == 0 {
            return Vec::new();
        }
        let number = |row: Waiting| {
            let payload = row.record.unwrap().body.to_bytes();
            let number = String::from_utf8(payload.to_vec()).unwrap();
            (row.id, number.parse().unwrap())
        };
        let rows = inbox.next(0, count, usize::MAX).await.unwrap();
        rows.into_iter().map(number).collect()
    }

    async fn take(&mut self, count: usize) {
        let found = self.look(count).await;
        let numbers: Vec<u64> = found.iter().map(|(_, number)| *number).collect();
        let expected: Vec<u64> = self.behind.drain(..numbers.len()).collect();
        assert_eq!(numbers, expected);
        assert!(numbers.len() == count || self.behind.is_empty());
        let rows = self.rows(numbers.len().try_into().unwrap());
        self.kept += u64::try_from(numbers.len()).unwrap();
        let taken = Applied {
            consumed_to: found.last().map(|(id, _)| *id),
            ..rows
        };
        self.commit(taken).await;
    }

    async fn die(&mut self) {
        let first = self.look(2).await;
        let rows = Applied {
            consumed_to: first.last().map(|(id, _)| *id),
            spilled: self.messages(3).spilled,
            ..self.rows(10)
        };
        self.unknown += 10;
        self.kept += 10;
        let open = self.open.take().unwrap();
        open.applied.send(rows).await.unwrap();
        open.writer.abort();
        let _ended = open.writer.await;
        drop((open.applied, open.handle));
        self.open = Some(self.rig.open().await);
        // All of that commit is on disk, or nothing of it.
        let there: Vec<u64> = self
            .look(usize::MAX)
            .await
            .iter()
            .map(|(_, number)| *number)
            .collect();
        let committed = self.behind.iter().copied().skip(first.len());
        let committed: Vec<u64> = committed.chain(self.spilled - 3..self.spilled).collect();
        assert!(there == self.behind || there == committed, "{there:?}");
        self.behind = there;
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Keep(count) => self.keep(count.into()).await,
            Event::Flood => self.keep(FLOOD_ROWS).await,
            Event::Spill(count) => self.spill(count.into()).await,
            Event::Take(count) => self.take(count.into()).await,
            Event::Sync => self.sync().await,
            Event::LoseReply => {
                let request = self.request().await;
                self.centre.take(&request);
            }
            Event::HoldUp => {
                let request = self.request().await;
                self.held_up.push(request);
            }
            Event::Deliver(which) => {
                if let Some(late) = self
                    .held_up
                    .get(usize::from(which) % self.held_up.len().max(1))
                {
                    self.centre.take(late);
                }
            }
            Event::Die => self.die().await,
            Event::Reconnect => self.reconnect().await,
            Event::BackUp => self.backup = self.centre.clone(),
            Event::Restore => self.centre = self.backup.clone(),
        }
    }

    /// The link holds until nothing waits.
    async fn settle(&mut self) {
        self.reconnect().await;
        for _ in 0..1000 {
            if self.open().handle.is_empty() {
                return;
            }
            self.sync().await;
        }
        panic!(
            "rows wait that do not leave: {:?}",
            self.request().await.first().map(|(of, rows)| (
                of,
                rows.first().map(StoredRow::first),
                self.centre.mark(of)
            ))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn no_schedule_loses_doubles_or_changes_a_row(events in prop::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for event in events {
                world.happen(event).await;
            }
            world.settle().await;
            let account = world.centre.account();
            assert!(account <= world.kept && account >= world.kept - world.unknown,
                "{account} of {} rows are accounted for, {} are unknown", world.kept, world.unknown);
            world.open.take().unwrap().close().await;
        });
    }
}

/// The control: the model of the centre does notice.
#[test]
#[should_panic(expected = "row 1 came with another content")]
fn a_row_that_comes_with_another_content_is_noticed() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new().await;
        world.keep(2).await;
        let mut request = world.request().await;
        world.centre.take(&request);
        for (_, rows) in &mut request {
            rows[0].key = "another".into();
        }
        world.centre.take(&request);
    });
}
