//! Whether a stage goes on, as its own loop says.
//!
//! A stage that waits in [`Pulse::during`] answers whenever it is asked: its task is run, and looks again at what it waits
//! for. One that works says so with [`Pulse::beat`] when a step is done, and cannot answer before that. So a stage whose
//! step never ends is silent, however little there is to do, and one that has nothing to do is not.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// The pulse of one stage: its loop beats, and a watchdog asks and counts.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicU64,
    ended: AtomicBool,
    /// Wakes the loop where it waits.
    waiting: Mutex<Option<Waker>>,
    #[cfg(feature = "faults")]
    wedged: AtomicBool,
}

impl Pulse {
    /// Answers until `wait` is over. For what may take any time: what comes from outside, and what another stage does, which
    /// has a pulse of its own. Not for a stage's own work.
    pub async fn during<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        let done = poll_fn(|context| {
            self.beat();
            let done = wait.as_mut().poll(context);
            if done.is_pending() {
                self.listen(context.waker());
            }
            done
        });
        let done = done.await;
        #[cfg(feature = "faults")]
        if self.wedged.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        done
    }

    /// A step of work is done.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// The loop has come to its end, as it should.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Asks for a beat: it comes as soon as the loop is run, if that waits.
    pub fn ask(&self) {
        let waiting = self.waiting.lock();
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Beats so far; none when the loop has ended.
    pub fn beats(&self) -> Option<u64> {
        let ended = self.ended.load(Ordering::Relaxed);
        (!ended).then(|| self.beats.load(Ordering::Relaxed))
    }

    /// Never goes on after the next wait: the negative control of the tests of the watchdog.
    #[cfg(feature = "faults")]
    pub fn wedge(&self) {
        self.wedged.store(true, Ordering::Relaxed);
    }

    fn listen(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waiting {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake};

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Task(AtomicU64);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_loop_that_waits_answers_when_it_is_asked() {
        let (pulse, task) = (Pulse::default(), Arc::new(Task::default()));
        let waker = task.clone().into();
        let mut waiting = pin!(pulse.during(pending::<()>()));
        assert!(
            waiting
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        for asked in 1..=3 {
            let before = pulse.beats();
            pulse.ask();
            pulse.ask();
            assert_eq!(task.0.load(Ordering::Relaxed), asked);
            assert!(
                waiting
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            assert!(pulse.beats() > before);
        }
    }

    #[test]
    fn a_loop_that_works_is_silent_until_its_step_is_done() {
        let pulse = Pulse::default();
        let working = async {
            pulse.during(async {}).await;
            // A step that does not end by itself.
            pending::<()>().await;
        };
        let mut working = pin!(working);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(working.as_mut().poll(&mut context), Poll::Pending);
        let before = pulse.beats();
        pulse.ask();
        assert_eq!(working.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(pulse.beats(), before);
        pulse.beat();
        assert_ne!(pulse.beats(), before);
        pulse.end();
        assert_eq!(pulse.beats(), None);
    }
}
