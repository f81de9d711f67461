//! What was committed, live: `GET /v1/events`, as server-sent events.
//!
//! A commit is announced to a bounded channel. What arrives within [`COALESCE`] becomes one event per gateway, and a
//! client that falls behind skips: it is told so, and asks for what it shows. Nothing waits for a client. A client hears of
//! its own tenant, and after [`STREAM_LIFE`] has to show again who it is: a browser does so by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde_json::json;
use tidegate_wire::Name;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::Instant;

use super::{App, Code, Refusal};
use crate::access::Person;
use crate::store::{GatewayId, Store, Tenant};

/// Commits that a client may be behind.
const BEHIND_MAX: usize = 256;

/// Clients at once.
const CLIENTS_MAX: usize = 128;

/// A page redraws at most this often.
const COALESCE: Duration = Duration::from_millis(250);

/// After so long a stream ends: by then a token that was revoked is worth nothing here either.
const STREAM_LIFE: Duration = Duration::from_secs(3600);

/// A silent connection is shown to be alive after this.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The channel of commits and its clients.
#[derive(Debug)]
pub struct Events {
    commits: broadcast::Sender<Commit>,
    open: watch::Sender<bool>,
    clients: Arc<Semaphore>,
}

/// One commit, as announced.
#[derive(Debug, Clone)]
struct Commit {
    of: GatewayId,
    streams: Arc<[Name]>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self {
            commits: broadcast::Sender::new(BEHIND_MAX),
            open: watch::Sender::new(true),
            clients: Arc::new(Semaphore::new(CLIENTS_MAX)),
        }
    }

    /// Tells who listens that a gateway was heard of, and which streams gained rows.
    pub(super) fn announce(&self, of: GatewayId, streams: &[Name]) {
        // An error only says that nobody listens.
        let _listeners = self
            .commits
            .send(Commit {
                of,
                streams: streams.into(),
            })
            .unwrap_or(0);
    }

    /// Ends all event streams, so that their connections can end.
    pub(super) fn close(&self) {
        self.open.send_replace(false);
    }

    fn subscribe(&self, tenant: &Tenant) -> Option<Client> {
        let place = self.clients.clone().try_acquire_owned().ok()?;
        Some(Client {
            tenant: tenant.clone(),
            end: Instant::now() + STREAM_LIFE,
            commits: self.commits.subscribe(),
            open: self.open.subscribe(),
            waiting: Vec::new(),
            _place: place,
        })
    }
}

pub(super) async fn events<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let Some(client) = app.events.subscribe(&person.tenant) else {
        return Err(Refusal::new(
            Code::Busy,
            format!("{CLIENTS_MAX} clients listen already"),
        ));
    };
    let events = stream::unfold(client, async |mut client| {
        let event = client.next().await?;
        Some((Ok(event), client))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One event stream.
struct Client {
    tenant: Tenant,
    end: Instant,
    commits: broadcast::Receiver<Commit>,
    open: watch::Receiver<bool>,
    waiting: Vec<Event>,
    _place: OwnedSemaphorePermit,
}

impl Client {
    async fn next(&mut self) -> Option<Event> {
        while self.waiting.is_empty() {
            let first = tokio::select! {
                first = self.commits.recv() => first,
                _ = self.open.wait_for(|open| !open) => return None,
                () = tokio::time::sleep_until(self.end) => return None,
            };
            self.waiting = self.gather(first).await;
        }
        self.waiting.pop()
    }

    /// The events of what arrives within [`COALESCE`]: one per gateway, or one that says that some were skipped.
    async fn gather(&mut self, first: Result<Commit, RecvError>) -> Vec<Event> {
        let mut gateways: BTreeMap<Name, BTreeSet<Name>> = BTreeMap::new();
        let mut next = first;
        let end = tokio::time::sleep(COALESCE);
        tokio::pin!(end);
        loop {
            match next {
                Ok(commit) if commit.of.tenant != self.tenant => {}
                Ok(commit) => gateways
                    .entry(commit.of.gateway)
                    .or_default()
                    .extend(commit.streams.iter().cloned()),
                Err(RecvError::Lagged(_)) => {
                    return vec![Event::default().event("skipped").data("{}")];
                }
                Err(RecvError::Closed) => break,
            }
            if gateways.len() >= BEHIND_MAX {
                break;
            }
            next = tokio::select! {
                next = self.commits.recv() => next,
                () = &mut end => break,
            };
        }
        gateways
            .into_iter()
            .map(|(gateway, streams)| commit_event(&gateway, &streams))
            .collect()
    }
}

/// Names need no escaping, and the JSON has no line break.
fn commit_event(gateway: &Name, streams: &BTreeSet<Name>) -> Event {
    let streams: Vec<_> = streams.iter().map(Name::as_str).collect();
    Event::default()
        .event("commit")
        .data(json!({ "gateway": gateway.as_str(), "streams": streams }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::name;

    fn of(gateway: &str) -> GatewayId {
        GatewayId {
            tenant: Tenant::default(),
            gateway: name(gateway),
        }
    }

    fn texts(events: &[Event]) -> String {
        format!("{events:?}")
    }

    #[tokio::test(start_paused = true)]
    async fn commits_within_a_moment_become_one_event_per_gateway() {
        let events = Events::new();
        let mut client = events.subscribe(&Tenant::default()).unwrap();
        events.announce(of("gw-1"), &[name("a")]);
        events.announce(of("gw-2"), &[]);
        events.announce(of("gw-1"), &[name("b"), name("a")]);
        let both = [client.next().await.unwrap(), client.next().await.unwrap()];
        assert!(
            texts(&both).contains(r#"{\"gateway\":\"gw-1\",\"streams\":[\"a\",\"b\"]}"#),
            "{}",
            texts(&both)
        );
        assert!(
            texts(&both).contains(r#"{\"gateway\":\"gw-2\",\"streams\":[]}"#),
            "{}",
            texts(&both)
        );
        events.announce(of("gw-3"), &[]);
        assert!(texts(&[client.next().await.unwrap()]).contains("gw-3"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_falls_behind_skips_and_is_told() {
        let events = Events::new();
        let mut client = events.subscribe(&Tenant::default()).unwrap();
        for _ in 0..=BEHIND_MAX {
            events.announce(of("gw-1"), &[]);
        }
        assert!(texts(&[client.next().await.unwrap()]).contains("skipped"));
        assert!(texts(&[client.next().await.unwrap()]).contains("gw-1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_hears_of_its_own_tenant_and_has_to_come_again_in_time() {
        let events = Events::new();
        let mut client = events.subscribe(&Tenant::new(&name("other"))).unwrap();
        events.announce(of("gw-1"), &[]);
        events.announce(
            GatewayId {
                tenant: Tenant::new(&name("other")),
                ..of("gw-2")
            },
            &[],
        );
        let heard = texts(&[client.next().await.unwrap()]);
        assert!(heard.contains("gw-2") && !heard.contains("gw-1"), "{heard}");
        events.announce(of("gw-1"), &[]);
        assert!(client.next().await.is_none(), "an hour has passed");
    }

    #[tokio::test]
    async fn clients_are_bounded_and_end_when_the_centre_stops() {
        let events = Events::new();
        let mut clients: Vec<_> =
            std::iter::from_fn(|| events.subscribe(&Tenant::default())).collect();
        assert_eq!(clients.len(), CLIENTS_MAX);
        clients.pop();
        let mut client = events.subscribe(&Tenant::default()).unwrap();
        events.close();
        assert!(client.next().await.is_none());
    }
}
