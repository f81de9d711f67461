//! Goes between the centre and the client's thread: it waits for links, so that the thread need not.
//!
//! A round is a report, the question what is the newest, the roots that follow ours, the deployment that is wanted here, and
//! blobs that are missing, piece by piece; then it is seen whether all came that the answer names. One begins when the
//! gateway starts, at every interval, and at once when something has changed or is missing. A round that fails is followed
//! by another with back-off, or when the centre says; of a blob, what has come stays. A round ends after a minute with what
//! it has, so that what happens meanwhile is reported.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tidegate_bundle::{
    DEPLOYMENT_TYPE, DOCUMENT_BYTES_MAX, Deployment, Digest, Nonce, RELEASE_TYPE, ROOT_TYPE,
    STATUS_TYPE, TIME_TYPE,
};
use tidegate_record::{Backoff, Name};
use tidegate_update::{Blob, Parcel};
use tidegate_uplink::fetch::{self, Fetcher, Found};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::Word;
use super::delivery::{Answer, Delivery};
use crate::error::chain;

/// Whom it asks, for the log.
pub(super) const CENTRE: &str = "centre";
/// From the beginning of a round to that of the next, at least.
const APART: Duration = Duration::from_secs(1);
/// How long blobs are fetched in one round.
const SPELL: Duration = Duration::from_secs(60);
/// By how much the interval grows while rounds fail.
const BACKOFF_FACTOR: u32 = 16;
/// Longest wait that a centre may ask for.
const PATIENCE_MAX: Duration = Duration::from_secs(3600);
/// How long a deployment that was refused is not fetched again.
const REFUSED_FOR: Duration = Duration::from_secs(900);
/// How often it is seen meanwhile whether the site has changed its policy or a secret.
const SITE: Duration = Duration::from_secs(2);
/// Most roots that are followed in one round.
const ROOTS_MAX: usize = 64;
/// Most bytes of the releases of one deployment.
const RELEASES_BYTES_MAX: usize = 4 << 20;

/// The way to the centres.
#[derive(Debug)]
pub(crate) struct Road {
    /// The first, and one that stands in for it.
    pub(crate) fetchers: Vec<Fetcher>,
    /// Who asks.
    pub(crate) gateway: Name,
    /// From one question to the next, about.
    pub(crate) interval: Duration,
}

impl Road {
    /// Where something is asked for, or told.
    pub(super) fn path(&self, what: &str) -> String {
        format!("/v1/{what}?gateway={}", self.gateway)
    }

    /// From a half to one and a half of the interval: gateways that began together do not stay so.
    pub(super) fn pause(&self) -> Duration {
        let share = Backoff::new(self.interval, self.interval).jittered();
        self.interval.mul_f64(0.5).saturating_add(share)
    }
}

/// Goes between.
#[derive(Debug)]
pub(super) struct Courier {
    road: Road,
    words: mpsc::WeakSender<Word>,
    wake: Arc<Notify>,
    refused: Option<Refused>,
}

/// The deployment that was refused last.
#[derive(Debug)]
struct Refused {
    digest: Digest,
    when: Instant,
    /// Of what the site said, before the deployment was held against that.
    stamp: Digest,
}

/// Why a round ended early.
enum Broken {
    /// The client has gone.
    Gone,
    /// For this reason; another centre may do better.
    Failed(String),
    /// The same, and the centre asks not to be asked for so long.
    Busy(String, Duration),
    /// The client did not take what came, for this reason.
    Refused(String),
}

/// How a round ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Done,
    /// Its time was over, and there is more to fetch.
    More,
}

impl From<fetch::Error> for Broken {
    fn from(error: fetch::Error) -> Self {
        match error.retry_after() {
            Some(wait) => Self::Busy(chain(&error), wait.min(PATIENCE_MAX)),
            None => Self::Failed(chain(&error)),
        }
    }
}

impl Courier {
    pub(super) fn new(road: Road, words: mpsc::WeakSender<Word>, wake: Arc<Notify>) -> Self {
        Self {
            road,
            words,
            wake,
            refused: None,
        }
    }

    /// Runs until the client has gone, or it is dropped.
    pub(super) async fn run(mut self) {
        let interval = self.road.interval;
        let longest = interval.saturating_mul(BACKOFF_FACTOR);
        let mut backoff = Backoff::new(interval, longest);
        let wake = self.wake.clone();
        loop {
            let mut not_before = Instant::now() + APART;
            let wait = match self.round().await {
                Ok(Round::More) => Duration::ZERO,
                Ok(Round::Done) => {
                    backoff = Backoff::new(interval, longest);
                    self.road.pause()
                }
                Err(Broken::Failed(_) | Broken::Refused(_)) => backoff.jittered(),
                Err(Broken::Busy(_, asked)) => {
                    not_before = not_before.max(Instant::now() + asked);
                    // Those that were sent away together do not come back together.
                    asked.saturating_add(backoff.jittered())
                }
                Err(Broken::Gone) => return,
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = wake.notified() => {}
                () = self.site_changes() => {}
            }
            sleep_until(not_before).await;
        }
    }

    /// Until what was refused is to be asked for again, without a round in between.
    async fn site_changes(&mut self) {
        while self.refused.is_some() {
            sleep(SITE).await;
            match self.reconsiders().await {
                Ok(false) => {}
                Ok(true) => return,
                Err(_) => break, // The client is gone: the next round sees it.
            }
        }
        std::future::pending().await
    }

    /// Whether what was refused is to be asked for again: the site says something else than then, or it was long ago.
    async fn reconsiders(&mut self) -> Result<bool, Broken> {
        if self.refused.is_none() {
            return Ok(false);
        }
        let stamp = self.ask(Delivery::Stamp).await?;
        let is_over = |was: &mut Refused| was.stamp != stamp || was.when.elapsed() > REFUSED_FOR;
        Ok(self.refused.take_if(is_over).is_some())
    }

    /// Asks the first centre, and the second if that fails.
    async fn round(&mut self) -> Result<Round, Broken> {
        let mut fetchers = std::mem::take(&mut self.road.fetchers);
        let mut ended = Ok(Round::Done);
        for fetcher in &mut fetchers {
            ended = self.round_with(fetcher).await;
            if !matches!(ended, Err(Broken::Failed(_) | Broken::Busy(..))) {
                break;
            }
            fetcher.rest();
        }
        self.road.fetchers = fetchers;
        let told = match &ended {
            Ok(_) => Ok(()),
            Err(Broken::Failed(reason) | Broken::Busy(reason, _) | Broken::Refused(reason)) => {
                Err(reason.clone())
            }
            Err(Broken::Gone) => return Err(Broken::Gone),
        };
        self.say(Delivery::Asked(told)).await?;
        ended
    }

    async fn round_with(&mut self, fetcher: &mut Fetcher) -> Result<Round, Broken> {
        let report = self.ask(Delivery::Report).await?;
        let reported = fetcher
            .report(&self.road.path("status"), STATUS_TYPE, report)
            .await;
        // A centre that does not take the report may still have an update that makes it better.
        let reported = match reported {
            Err(error @ fetch::Error::Refused { .. }) => Err(error),
            reported => Ok(reported?),
        };
        // First the question, then all that the answer may name: what the centre gets meanwhile makes nothing seem kept back.
        let answer = self.question(fetcher).await;
        let brought = self.bring(fetcher).await;
        let heard = self.hear(answer).await;
        let round = brought?;
        heard?;
        reported?;
        Ok(round)
    }

    async fn bring(&mut self, fetcher: &mut Fetcher) -> Result<Round, Broken> {
        self.roots(fetcher).await?;
        self.desired(fetcher).await?;
        self.blobs(fetcher).await
    }

    /// Asks what is the newest; none from a centre without a time key.
    async fn question(&self, fetcher: &mut Fetcher) -> Result<Option<(Nonce, Vec<u8>)>, Broken> {
        let nonce = Nonce::generate().map_err(|error| Broken::Failed(chain(&error)))?;
        let path = format!("{}&nonce={nonce}", self.road.path("time"));
        let found = fetcher.document(&path, TIME_TYPE, &[], DOCUMENT_BYTES_MAX);
        Ok(match found.await? {
            Found::Document(answer) => Some((nonce, answer)),
            Found::Unchanged | Found::Nothing => None,
        })
    }

    async fn hear(&self, answer: Result<Option<(Nonce, Vec<u8>)>, Broken>) -> Result<(), Broken> {
        match answer? {
            Some((nonce, time)) => self.ask(|answer| Delivery::Time(nonce, time, answer)).await,
            None => Ok(()),
        }
    }

    async fn roots(&self, fetcher: &mut Fetcher) -> Result<(), Broken> {
        let first = self.ask(Delivery::Wants).await?.root;
        for version in (first..).take(ROOTS_MAX) {
            let path = self.road.path(&format!("roots/{version}"));
            let found = fetcher.document(&path, ROOT_TYPE, &[], DOCUMENT_BYTES_MAX);
            let Found::Document(root) = found.await? else {
                break;
            };
            let parcel = Parcel {
                roots: [(version, root)].into(),
                ..parcel()
            };
            self.ask(|answer| Delivery::Root(parcel, answer)).await?;
        }
        Ok(())
    }

    async fn desired(&mut self, fetcher: &mut Fetcher) -> Result<(), Broken> {
        self.reconsiders().await?;
        let refused = self.refused.as_ref().map(|refused| refused.digest);
        let known = self.ask(Delivery::Wants).await?.known.into_iter();
        let known: Vec<_> = known
            .chain(refused)
            .map(|digest| digest.to_string())
            .collect();
        let path = self.road.path("desired");
        let found = fetcher.document(&path, DEPLOYMENT_TYPE, &known, DOCUMENT_BYTES_MAX);
        let Found::Document(deployment) = found.await? else {
            return Ok(());
        };
        let tag = Deployment::unverified(&deployment);
        let stamp = self.ask(Delivery::Stamp).await?;
        let taken = self.take(fetcher, deployment).await;
        if let (Err(Broken::Refused(_)), Ok((_, digest))) = (&taken, tag) {
            self.refused = Some(Refused {
                digest,
                when: Instant::now(),
                stamp,
            });
        }
        taken
    }

    async fn take(&self, fetcher: &mut Fetcher, deployment: Vec<u8>) -> Result<(), Broken> {
        let mut parcel = Parcel {
            deployment: Some(deployment),
            ..parcel()
        };
        let looked = parcel.clone();
        let lacking = self.ask(|answer| Delivery::Look(looked, answer)).await?;
        let mut bytes_left = RELEASES_BYTES_MAX;
        for digest in lacking {
            let path = self.road.path(&format!("releases/{digest}"));
            let bytes_max = bytes_left.min(DOCUMENT_BYTES_MAX);
            let found = fetcher.document(&path, RELEASE_TYPE, &[], bytes_max);
            let Found::Document(release) = found.await? else {
                return Err(Broken::Failed(format!(
                    "the centre has no release {digest}"
                )));
            };
            bytes_left = bytes_left.saturating_sub(release.len());
            parcel.releases.insert(digest, release);
        }
        self.ask(|answer| Delivery::Take(parcel, answer)).await
    }

    async fn blobs(&self, fetcher: &mut Fetcher) -> Result<Round, Broken> {
        let end = Instant::now() + SPELL;
        let mut missing = None;
        for (blob, begun) in self.ask(Delivery::Wants).await?.blobs {
            let path = self.road.path(&format!("blobs/sha256/{}", blob.sha256));
            match self.blob(fetcher, &path, (blob, begun), end).await? {
                Some(Round::More) => return Ok(Round::More),
                Some(Round::Done) => {}
                None => missing = Some(blob.sha256),
            }
        }
        match missing {
            Some(digest) => Err(Broken::Failed(format!("the centre has no blob {digest}"))),
            None => Ok(Round::Done),
        }
    }

    /// Goes on with a blob where it broke off, for some time. None where the centre does not have it.
    async fn blob(
        &self,
        fetcher: &mut Fetcher,
        path: &str,
        (blob, begun): (Blob, u64),
        end: Instant,
    ) -> Result<Option<Round>, Broken> {
        let tag = blob.sha256.to_string();
        let part = fetcher.part(path, &tag, begun, blob.length).await?;
        let Some(mut part) = part else {
            return Ok(None);
        };
        loop {
            let at = part.at();
            let Some(piece) = part.next().await? else {
                return Ok(Some(Round::Done));
            };
            self.ask(|answer| Delivery::Piece(blob, at, piece, answer))
                .await?;
            if Instant::now() > end && part.at() < blob.length {
                return Ok(Some(Round::More));
            }
        }
    }

    /// Asks the client's thread.
    fn ask<T>(
        &self,
        delivery: impl FnOnce(Answer<T>) -> Delivery,
    ) -> impl Future<Output = Result<T, Broken>> {
        let (sender, answer) = oneshot::channel();
        let said = self.say(delivery(sender));
        async move {
            said.await?;
            let answer = answer.await.map_err(|_| Broken::Gone)?;
            answer.map_err(Broken::Refused)
        }
    }

    async fn say(&self, delivery: Delivery) -> Result<(), Broken> {
        let words = self.words.upgrade().ok_or(Broken::Gone)?;
        let said = words.send(Word::Delivery(delivery)).await;
        said.map_err(|_| Broken::Gone)
    }
}

fn parcel() -> Parcel {
    Parcel {
        from: CENTRE.to_owned(),
        ..Parcel::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_centre_that_asks_for_patience_is_given_it_up_to_an_hour() {
        let refused = |retry_after| fetch::Error::Refused {
            status: 503,
            text: "busy".to_owned(),
            retry_after,
        };
        for (asked, given) in [(1, 1), (600, 600), (u64::MAX, 3600)] {
            let broken = Broken::from(refused(Some(Duration::from_secs(asked))));
            assert!(
                matches!(broken, Broken::Busy(_, wait) if wait == Duration::from_secs(given)),
                "{asked}"
            );
        }
        assert!(matches!(Broken::from(refused(None)), Broken::Failed(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_asked_for_again_when_the_site_says_something_else_and_not_before()
    {
        let (words, mut told) = mpsc::channel(1);
        let road = Road {
            fetchers: Vec::new(),
            gateway: Name::new("gateway-1").unwrap(),
            interval: Duration::from_secs(86_400),
        };
        let mut courier = Courier::new(road, words.downgrade(), Arc::default());
        let (same, other) = (Digest::of(b"as it was"), Digest::of(b"mended"));
        courier.refused = Some(Refused {
            digest: Digest::of(b"deployment"),
            when: Instant::now(),
            stamp: same,
        });
        let begun = Instant::now();
        let site = async {
            for stamp in [same, same, other] {
                match told.recv().await {
                    Some(Word::Delivery(Delivery::Stamp(answer))) => {
                        answer.send(Ok(stamp)).unwrap()
                    }
                    word => panic!("{word:?}"),
                }
            }
        };
        tokio::join!(courier.site_changes(), site);
        assert_eq!(begun.elapsed(), 3 * SITE);
        assert!(courier.refused.is_none());
    }
}
