//! One generation after the other, at a boundary between two calls: no message is given to neither, and none counts twice.
//!
//! A switch is part of a commit, and is reported when that is on disk. The one before then stands by, is given all that
//! the new one is given, and takes over again at once where the new one fails at what it can do: with the message in hand,
//! so that nothing is set aside or repeated for it.

use std::sync::{Arc, Mutex};

use tidegate_record::{Ack, AckSink, Applied, Inbox, Switch};
use tokio::sync::oneshot;

use super::{Closed, Feeder};
use crate::companion::Companion;
use crate::error::Failure;
use crate::intake::Intake;
use crate::load::Load;
use crate::module::{Failed, Module};
use crate::order::{News, Order, Report};

impl Feeder {
    /// Does what the update client asks.
    pub(super) async fn obey<I: Inbox>(
        &mut self,
        order: Order,
        intake: &mut Intake<I>,
    ) -> Result<(), Closed> {
        match order {
            Order::Try(mut module, terms) => {
                module.follow(&self.module);
                let (generation, now) = (module.generation(), self.now());
                self.companion = None;
                let begun = Companion::on_trial(module, terms, now);
                match intake.beside(begun).await {
                    Ok(companion) => self.companion = Some(companion),
                    Err(failure) => {
                        let news = News::Faulted(failure.to_string());
                        self.report(generation, news).await;
                    }
                }
                Ok(())
            }
            Order::EndTrial => {
                self.companion.take_if(|companion| !companion.stands_by());
                Ok(())
            }
            Order::Activate(generation, given) => self.activate(generation, given, intake).await,
            Order::Return => self.go_back(intake).await,
            Order::Settle => {
                self.companion.take_if(|companion| companion.stands_by());
                let settled = self.module.nothing();
                self.commit_switch(settled, Switch::Settle, intake).await
            }
        }
    }

    async fn activate<I: Inbox>(
        &mut self,
        generation: u64,
        given: Option<Box<Module>>,
        intake: &mut Intake<I>,
    ) -> Result<(), Closed> {
        if self.module.generation() == generation {
            self.report(generation, News::Activated).await;
            return Ok(());
        }
        let on_trial = self.companion.take_if(|companion| {
            !companion.stands_by() && companion.module.generation() == generation
        });
        let next = match (on_trial, given) {
            (Some(companion), _) => {
                self.wake_at = companion.wake_at();
                Some(companion.module)
            }
            (None, Some(mut module)) if module.generation() == generation => {
                module.follow(&self.module);
                Some(module)
            }
            _ => None,
        };
        let Some(next) = next else {
            self.report(generation, News::Missing).await;
            return Ok(());
        };
        let before = self.take_over(next);
        let (state, written_by) = self.module.state();
        let switch = Switch::Forward {
            state: Some(state),
            written_by,
        };
        self.companion = Some(Companion::standing_by(before));
        let outcome = self.module.nothing();
        self.commit_switch(outcome, switch, intake).await?;
        self.report(generation, News::Activated).await;
        Ok(())
    }

    async fn go_back<I: Inbox>(&mut self, intake: &mut Intake<I>) -> Result<(), Closed> {
        let standing_by = self.companion.take_if(|companion| companion.stands_by());
        let Some(companion) = standing_by else {
            // Back already, if it was ever away.
            self.report(self.module.generation(), News::Activated).await;
            return Ok(());
        };
        self.wake_at = companion.wake_at();
        self.take_over(companion.module);
        let outcome = self.module.nothing();
        self.commit_switch(outcome, Switch::Back, intake).await?;
        self.report(self.module.generation(), News::Activated).await;
        Ok(())
    }

    /// The active generation has failed at this load, one message of it or none. Where the one that stands by can do it,
    /// that one is active again, and the load is done. Otherwise gives it back: then it is the load that is bad.
    pub(super) async fn fall_back<I: Inbox>(
        &mut self,
        failure: &Failure,
        load: Load,
        intake: &mut Intake<I>,
    ) -> Result<Option<Load>, Closed> {
        let standing_by = self.companion.take_if(|companion| companion.stands_by());
        let Some(companion) = standing_by else {
            return Ok(Some(load));
        };
        let mut failed = self.take_over(companion.module);
        let Load { records, place } = load;
        match intake.beside(self.module.call(records)).await {
            Ok(mut called) => {
                let (generation, news) = (failed.generation(), News::Faulted(failure.to_string()));
                tracing::warn!(
                    "generation {} of module {} {failure}: generation {} takes over again",
                    generation,
                    self.module.name(),
                    self.module.generation()
                );
                called.applied.switch = Some(Switch::Back);
                self.pass_on(called, place).await?;
                self.report(generation, news).await;
                Ok(None)
            }
            Err(Failed { records, .. }) => {
                std::mem::swap(&mut *failed, &mut self.module);
                self.module.succeed(&mut failed);
                self.counters.runs(&self.module);
                self.companion = Some(Companion::standing_by(failed));
                Ok(Some(Load { records, place }))
            }
        }
    }

    /// Makes another generation the one that is called, and gives the one before.
    fn take_over(&mut self, next: Box<Module>) -> Box<Module> {
        let mut before = Box::new(std::mem::replace(&mut self.module, *next));
        self.module.succeed(&mut before);
        self.faults.clear();
        self.counters.runs(&self.module);
        before
    }

    /// Commits a switch, and waits until it is on disk.
    async fn commit_switch<I: Inbox>(
        &mut self,
        mut applied: Applied,
        switch: Switch,
        intake: &mut Intake<I>,
    ) -> Result<(), Closed> {
        let (sender, written) = oneshot::channel();
        let notice = Notice(Mutex::new(Some(sender)));
        applied.switch = Some(switch);
        applied.acks = vec![Ack::new(Arc::new(notice), 0)];
        self.send(applied).await?;
        let written = self.counters.pulse.during(intake.beside(written));
        written.await.map_err(|_| Closed)
    }

    pub(super) async fn report(&mut self, generation: u64, news: News) {
        let report = Report {
            module: self.module.name().clone(),
            generation,
            news,
        };
        // Nobody listens any more when the gateway ends: the next start finds out again.
        let _heard = self.reports.send(report).await;
    }
}

/// Says that a commit is on disk.
struct Notice(Mutex<Option<oneshot::Sender<()>>>);

impl Notice {
    fn take(&self) -> Option<oneshot::Sender<()>> {
        let mut sender = self.0.lock();
        sender
            .as_mut()
            .map_or_else(|poisoned| poisoned.get_mut().take(), |sender| sender.take())
    }
}

impl AckSink for Notice {
    fn acknowledge(&self, _: u64) {
        if let Some(sender) = self.take() {
            // Whoever waited has gone.
            let _told = sender.send(());
        }
    }

    fn abandon(&self, _: u64) {
        // Dropping the sender says it.
        drop(self.take());
    }
}
