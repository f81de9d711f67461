//! Durable publications of one broker: from the postbox to the session, and the broker's acknowledgements back.
//!
//! The courier hands out at most a window of publications that the postbox has not yet crossed off. A publication that
//! it handed out stays with the link, which sends it again on the next connection, until the broker acknowledged it. So
//! the postbox is read once from its beginning to its end, and only a restart of the process reads it again.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_record::{Backoff, Limits, Name, Postbox, Publication};
use tokio::sync::mpsc;

use crate::causes::with_causes;

/// A publication with its id in the postbox.
pub(crate) type Letter = (u64, Publication);

/// The courier's ends of the two channels to the link.
#[derive(Debug)]
pub(crate) struct Courier {
    broker: Name,
    letters: mpsc::Sender<Letter>,
    receipts: mpsc::Receiver<u64>,
    window: usize,
    /// The wait before the first of several attempts, for each of them to start from.
    backoff: Backoff,
}

/// The link's ends.
#[derive(Debug)]
pub(crate) struct Route {
    /// Publications to send.
    pub(crate) letters: mpsc::Receiver<Letter>,
    /// Ids that the broker acknowledged. Has room for everything that was handed out.
    pub(crate) receipts: mpsc::Sender<u64>,
}

/// A courier for `broker`, and the link's ends.
pub(crate) fn courier(broker: Name, limits: &Limits) -> (Courier, Route) {
    let window = usize::from(limits.publish_window).max(1);
    let (letters_in, letters) = mpsc::channel(window);
    let (receipts, receipts_out) = mpsc::channel(window);
    let backoff = Backoff::new(limits.backoff_min, limits.backoff_max);
    let courier = Courier {
        broker,
        letters: letters_in,
        receipts: receipts_out,
        window,
        backoff,
    };
    (courier, Route { letters, receipts })
}

impl Courier {
    /// Carries until the link is gone and its last receipts are passed on.
    pub(crate) async fn run<P: Postbox>(mut self, postbox: Arc<P>) {
        let mut last_id = 0;
        let mut handed_out = 0_usize;
        let mut waiting: VecDeque<Letter> = VecDeque::new();
        let mut receipts = Vec::new();
        // The first look comes without being told to: publications of an earlier process may wait.
        let mut posted = true;
        loop {
            let room = self.window.saturating_sub(handed_out);
            if posted && room > 0 && waiting.is_empty() {
                waiting.extend(self.fetch(&*postbox, last_id, room).await);
                // Fewer than asked for means that there are no more.
                posted = waiting.len() == room;
                handed_out += waiting.len();
                last_id = waiting.back().map_or(last_id, |(id, _)| *id);
            }
            tokio::select! {
                biased;
                count = self.receipts.recv_many(&mut receipts, self.window) => {
                    if count == 0 {
                        return;
                    }
                    self.pass_on(&*postbox, &receipts).await;
                    handed_out = handed_out.saturating_sub(receipts.len());
                    receipts.clear();
                }
                Ok(permit) = self.letters.reserve(), if !waiting.is_empty() => {
                    if let Some(letter) = waiting.pop_front() {
                        permit.send(letter);
                    }
                }
                () = postbox.posted(), if !posted => posted = true,
            }
        }
    }

    async fn fetch<P: Postbox>(&self, postbox: &P, after: u64, count: usize) -> Vec<Letter> {
        let mut backoff = self.backoff.clone();
        loop {
            match postbox.next(&self.broker, after, count).await {
                Ok(letters) => return letters,
                Err(_) if self.letters.is_closed() => return Vec::new(),
                Err(error) => {
                    self.failed(&mut backoff, "cannot read durable publications", &error)
                        .await
                }
            }
        }
    }

    /// Crosses off what the broker has. At the end of the run it is tried once: what stays is sent again next time.
    async fn pass_on<P: Postbox>(&self, postbox: &P, ids: &[u64]) {
        let mut backoff = self.backoff.clone();
        while let Err(error) = postbox.delivered(ids).await {
            self.failed(
                &mut backoff,
                "cannot cross off durable publications",
                &error,
            )
            .await;
            if self.letters.is_closed() {
                return;
            }
        }
    }

    async fn failed(
        &self,
        backoff: &mut Backoff,
        what: &str,
        error: &(dyn std::error::Error + Sync),
    ) {
        tracing::error!(broker = %self.broker, error = with_causes(error), "{what}");
        tokio::time::sleep(backoff.jittered()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Mutex;
    use std::time::Duration;
    use tidegate_record::{Delivery, Topic};
    use tokio::sync::Notify;
    use tokio::task::JoinSet;

    /// A postbox in memory, whose every first call fails.
    #[derive(Debug, Default)]
    struct Memory {
        letters: Mutex<Vec<u64>>,
        posted: Notify,
        crossed_off: Mutex<Vec<u64>>,
        calls: Mutex<u32>,
    }

    impl Memory {
        fn post(&self, ids: impl IntoIterator<Item = u64>) {
            self.letters.lock().unwrap().extend(ids);
            self.posted.notify_one();
        }

        fn fails(&self) -> std::io::Result<()> {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            match *calls % 2 {
                1 => Err(std::io::Error::other("busy")),
                _ => Ok(()),
            }
        }
    }

    impl Postbox for Memory {
        type Error = std::io::Error;

        async fn next(
            &self,
            broker: &Name,
            after: u64,
            count: usize,
        ) -> std::io::Result<Vec<Letter>> {
            self.fails()?;
            let publication = Publication {
                broker: broker.clone(),
                topic: Topic::new("a").unwrap(),
                payload: Bytes::new(),
                content_type: None,
                retain: false,
                delivery: Delivery::Durable,
            };
            let letters = self.letters.lock().unwrap();
            let wanted = letters.iter().filter(|id| **id > after).take(count);
            Ok(wanted.map(|id| (*id, publication.clone())).collect())
        }

        async fn delivered(&self, ids: &[u64]) -> std::io::Result<()> {
            self.fails()?;
            self.crossed_off.lock().unwrap().extend(ids);
            Ok(())
        }

        async fn posted(&self) {
            self.posted.notified().await;
        }
    }

    fn start(postbox: &Arc<Memory>, window: u16) -> (Route, JoinSet<()>) {
        let limits = Limits {
            publish_window: window,
            ..Limits::DEFAULT
        };
        let (courier, route) = courier(Name::new("plant").unwrap(), &limits);
        let mut tasks = JoinSet::new();
        tasks.spawn(courier.run(postbox.clone()));
        (route, tasks)
    }

    #[tokio::test(start_paused = true)]
    async fn every_letter_is_handed_out_once_and_crossed_off_when_acknowledged() {
        let postbox = Arc::new(Memory::default());
        postbox.post(1..=10);
        let (mut route, mut tasks) = start(&postbox, 3);
        for id in 1..=20 {
            if id == 11 {
                postbox.post(11..=20);
            }
            assert_eq!(route.letters.recv().await.unwrap().0, id);
            route.receipts.send(id).await.unwrap();
        }
        // The link has not quite gone yet, so a failed attempt is made again.
        let Route {
            letters: _letters,
            receipts,
        } = route;
        drop(receipts);
        tasks.join_next().await.unwrap().unwrap();
        assert_eq!(
            *postbox.crossed_off.lock().unwrap(),
            (1..=20).collect::<Vec<_>>()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_a_window_is_handed_out() {
        let postbox = Arc::new(Memory::default());
        postbox.post(1..=10);
        let (mut route, _tasks) = start(&postbox, 3);
        for id in 1..=3 {
            assert_eq!(route.letters.recv().await.unwrap().0, id);
        }
        let more = tokio::time::timeout(Duration::from_secs(100), route.letters.recv()).await;
        assert!(more.is_err());
        route.receipts.send(2).await.unwrap();
        assert_eq!(route.letters.recv().await.unwrap().0, 4);
    }
}
