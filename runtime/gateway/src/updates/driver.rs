//! Between the client's thread and the modules' tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_record::Name;
use tidegate_sandbox::{News, Order, Report};
use tidegate_update::{Event, Trial};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Deed, Word};

/// How often time in probation is counted.
const MINUTE: Duration = Duration::from_secs(60);

/// The ways to the modules' tasks, and from them.
#[derive(Debug)]
pub(crate) struct Seats {
    pub(crate) orders: BTreeMap<Name, mpsc::Sender<Order>>,
    pub(crate) reports: mpsc::Receiver<Report>,
}

/// Does what the client says, and tells it what became of that.
#[derive(Debug)]
pub(crate) struct Driver {
    deeds: mpsc::Receiver<Deed>,
    words: mpsc::WeakSender<Word>,
    seats: Seats,
    again: watch::Sender<bool>,
    /// Modules whose switch was ordered and is not on disk yet.
    switching: BTreeSet<Name>,
    /// What is true when all of them have switched.
    then: Option<Event>,
}

/// The client has gone, or never came to be.
struct Gone;

impl Driver {
    pub(super) fn new(
        deeds: mpsc::Receiver<Deed>,
        words: mpsc::WeakSender<Word>,
        seats: Seats,
        again: watch::Sender<bool>,
    ) -> Self {
        Self {
            deeds,
            words,
            seats,
            again,
            switching: BTreeSet::new(),
            then: None,
        }
    }

    /// Runs until the client has gone, or it is dropped.
    pub(crate) async fn run(mut self) {
        let mut minutes = interval_at(Instant::now() + MINUTE, MINUTE);
        // Time in which nothing could be counted is not time without a fault.
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                deed = self.deeds.recv() => match deed {
                    Some(deed) => self.act(deed).await,
                    None => Err(Gone),
                },
                Some(report) = self.seats.reports.recv() => self.hear(report).await,
                _ = minutes.tick() => self.tell(Event::Minutes(1)).await,
            };
            if let Err(Gone) = done {
                return;
            }
        }
    }

    async fn act(&mut self, deed: Deed) -> Result<(), Gone> {
        match deed {
            Deed::Try(module, generation, terms) => {
                if !self.order(&module, Order::Try(generation, terms)).await {
                    tracing::error!("module {module} does not run: nothing can be tried beside it");
                }
            }
            Deed::EndTrials => self.order_all(|| Order::EndTrial).await,
            Deed::Settle => self.order_all(|| Order::Settle).await,
            Deed::Activate(generations) => {
                let names = generations.iter().map(|(module, ..)| module.clone());
                self.begin_switch(names.collect(), Event::Activated);
                for (module, generation, given) in generations {
                    let order = Order::Activate(generation, given);
                    if !self.order(&module, order).await {
                        // At the start it is found out what of it can run.
                        self.again.send_replace(true);
                    }
                }
                return self.switched().await;
            }
            Deed::Return(modules) => {
                // One that does not run has nothing to go back from.
                let running = modules.into_iter();
                let running = running.filter(|module| self.seats.orders.contains_key(module));
                let running: BTreeSet<_> = running.collect();
                self.begin_switch(running.clone(), Event::Returned);
                for module in &running {
                    self.order(module, Order::Return).await;
                }
                return self.switched().await;
            }
            Deed::Again => {
                self.again.send_replace(true);
            }
        }
        Ok(())
    }

    /// A later switch takes the place of one that was not over.
    fn begin_switch(&mut self, modules: BTreeSet<Name>, then: Event) {
        (self.switching, self.then) = (modules, Some(then));
    }

    async fn hear(&mut self, report: Report) -> Result<(), Gone> {
        let Report {
            module,
            generation,
            news,
        } = report;
        let trial = Trial {
            module: module.to_string(),
            generation,
        };
        match news {
            News::Passed => self.tell(Event::Passed(trial)).await,
            News::Rejected(why) => {
                tracing::error!("generation {generation} of module {module} is refused: {why}");
                self.tell(Event::Rejected(trial, why)).await
            }
            News::Faulted(why) => {
                tracing::error!("generation {generation} of module {module} has failed: {why}");
                self.tell(Event::Faulted(trial, why)).await
            }
            News::Activated => {
                self.switching.remove(&module);
                self.switched().await
            }
            News::Missing => {
                self.again.send_replace(true);
                Ok(())
            }
        }
    }

    async fn switched(&mut self) -> Result<(), Gone> {
        match self.then.take_if(|_| self.switching.is_empty()) {
            Some(event) => self.tell(event).await,
            None => Ok(()),
        }
    }

    /// False if the module does not run.
    async fn order(&self, module: &Name, order: Order) -> bool {
        let Some(seat) = self.seats.orders.get(module) else {
            return false;
        };
        // A task that has gone has lost its buffer, and the gateway ends.
        seat.send(order).await.is_ok()
    }

    async fn order_all(&self, order: impl Fn() -> Order) {
        for module in self.seats.orders.keys() {
            self.order(module, order()).await;
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Gone> {
        let words = self.words.upgrade().ok_or(Gone)?;
        let told = words.send(Word::Event(event)).await;
        told.map_err(|_| Gone)
    }
}
