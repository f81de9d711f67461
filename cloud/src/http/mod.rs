//! HTTP: connections, the routes, and what holds for each request whatever it asks.
//!
//! Load is shed before anything is read: more than 64 requests at once are answered 503 with a time to
//! come back. A body is bounded, an expanded one more so, and each request has 30 s. Then the guard asks who it is: all but
//! what gateways send and sign, the way in, and what is built into the program is for people with a role.
//!
//! # Layout
//! - `serve`: connections, plain or TLS, and their orderly end.
//! - `tls`: certificate and key.
//! - `guard`: who asks, and whether they may.
//! - `shown`: what a request shows of who it is from.
//! - `device`: which gateway a request is from.
//! - `enrol`: how a machine becomes a gateway, changes its key, and is one no more.
//! - `attempts`: wrong tokens.
//! - `audit`: who did what.
//! - `releases`: `POST /v1/releases` and what was brought so.
//! - `blobs`: the files of releases.
//! - `roots`, `deployments`: what may be believed, and what is to run where.
//! - `rollouts`: how a deployment reaches a group.
//! - `fleet`: labels, groups, and what is to run and does.
//! - `desired`: what gateways ask and say of updates; `time`: what is the newest.
//! - `sync`: `POST /v1/sync`.
//! - `import`: `POST /v1/gateways/{gateway}/import`: rows that came in a file.
//! - `pace`: how fast gateways may send what has piled up.
//! - `read`: the read API.
//! - `lag`: how far the centre is behind.
//! - `metrics`: counters as OpenMetrics text.
//! - `json`: gateways, streams, rows and the loss ledger as JSON.
//! - `content`: what a row says as JSON.
//! - `events`: what was committed, live.
//! - [`refusal`]: every refusal, its code and its counter.

mod attempts;
mod audit;
mod blobs;
mod content;
mod deployments;
mod desired;
mod device;
mod enrol;
mod events;
mod fleet;
pub(crate) mod guard;
mod import;
mod json;
mod lag;
mod metrics;
mod pace;
mod read;
pub mod refusal;
mod releases;
pub(crate) mod rollouts;
mod roots;
mod serve;
pub(crate) mod shown;
mod sync;
mod time;
mod tls;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tidegate_bundle::SigningKey;
use tidegate_record::{BootTime, Clock};
use tokio::sync::Semaphore;

use crate::access::Role;
use crate::blobs::Blobs;
use crate::conductor::Conductor;
use crate::page;
use crate::store::Store;
use attempts::Attempts;
pub use events::Events;
use guard::{Guard, Reader};
pub(crate) use json::rfc3339;
pub(crate) use lag::by_stream;
use pace::Pacer;
pub use refusal::{Code, Counters, Refusal};
pub use roots::Rooted;
pub(crate) use roots::current as current_root;
pub use serve::{Listening, serve};
pub use tls::{TlsError, read_tls};

/// Requests at once; each may hold a body of `tidegate_wire::codec::COMPRESSED_BYTES_MAX`.
const REQUESTS_MAX: usize = 64;

/// Expanded requests at once; each may hold `tidegate_wire::codec::EXPANDED_BYTES_MAX`, and more once decoded. There is
/// one writer, so more would only wait in memory.
const EXPANDED_MAX: usize = 4;

/// From the request's head to the response's head.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for a bundle, which comes over any link: at 64 KiB a second the largest takes 17 minutes.
const PUSH_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// Bundles that come in at once; each is held in memory whole while it is verified.
const UPLOADS_MAX: usize = 2;

/// A gateway with nothing to send is asked to report after this.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// What the handlers share.
#[derive(Debug)]
pub struct App<S> {
    /// Where rows are kept.
    pub store: S,
    /// The centre's clock.
    pub clock: Arc<dyn Clock>,
    /// What was committed, live.
    pub events: Events,
    /// What was done and refused.
    pub counters: Counters,
    /// What is to run where.
    pub conductor: Conductor,
    started: BootTime,
    pacer: Pacer,
    device_keys: Option<PathBuf>,
    secure: bool,
    attempts: Attempts,
    open: bool,
    root: Option<Arc<Rooted>>,
    time_key: Option<SigningKey>,
    blobs: Option<Arc<Blobs>>,
    uploads: Semaphore,
    requests: Semaphore,
    expanded: Semaphore,
}

impl<S: Store> App<S> {
    /// An idle centre.
    pub fn new(store: S, clock: Arc<dyn Clock>) -> Self {
        let started = clock.boot_time();
        Self {
            store,
            clock,
            events: Events::new(),
            counters: Counters::new(),
            conductor: Conductor::default(),
            started,
            pacer: Pacer::default(),
            device_keys: None,
            secure: false,
            attempts: Attempts::new(started),
            open: false,
            root: None,
            time_key: None,
            blobs: None,
            uploads: Semaphore::new(UPLOADS_MAX),
            requests: Semaphore::new(REQUESTS_MAX),
            expanded: Semaphore::new(EXPANDED_MAX),
        }
    }

    /// Asks gateways to send so many rows a second of their backlogs, all of them together.
    #[must_use]
    pub fn with_pace(self, rows_per_second: Option<NonZeroU32>) -> Self {
        Self {
            pacer: Pacer::new(rows_per_second),
            ..self
        }
    }

    /// Takes exports of the gateways whose device keys are in this folder.
    #[must_use]
    pub fn with_device_keys(self, folder: Option<PathBuf>) -> Self {
        Self {
            device_keys: folder,
            ..self
        }
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.clock.boot_time().since(self.started)
    }

    /// Keeps the files of releases in this folder, and takes those that this root vouches for; without one, none. Machines that
    /// become gateways are given it.
    #[must_use]
    pub fn with_releases(self, blobs: Blobs, root: Option<Rooted>) -> Self {
        Self {
            blobs: Some(Arc::new(blobs)),
            root: root.map(Arc::new),
            ..self
        }
    }

    /// Tells gateways what is the newest, by this key.
    #[must_use]
    pub fn with_time_key(self, time_key: Option<SigningKey>) -> Self {
        Self { time_key, ..self }
    }

    /// Also takes rows of gateways that were never enrolled.
    #[must_use]
    pub fn opened(self, open: bool) -> Self {
        Self { open, ..self }
    }

    /// Lets browsers show their sessions over TLS only.
    #[must_use]
    pub fn with_tls(self, secure: bool) -> Self {
        Self { secure, ..self }
    }

    /// Whether connections are encrypted.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }
}

/// All routes. Each is in one of these lists, and a list says who may.
pub fn router<S: Store>(app: Arc<App<S>>) -> Router {
    let open = Router::new()
        .route("/v1/sync", post(sync::sync))
        .route("/v1/enrol", post(enrol::enrol))
        .route("/v1/device-keys", post(enrol::follow))
        .route("/v1/desired", get(desired::desired))
        .route("/v1/time", get(time::time))
        .route("/v1/status", post(desired::status))
        .route("/healthz", get(async || "ok\n"))
        .route(
            "/sign-in",
            get(page::sign_in::form).post(page::sign_in::enter),
        )
        .route("/assets/{file}", get(page::asset))
        .route_layer(middleware::from_fn(async |request: Request, next: Next| {
            in_time(request, next, REQUEST_TIMEOUT).await
        }));
    let pages = Router::new()
        .route("/", get(page::overview))
        .route("/gateways/{gateway}", get(page::gateway))
        .route("/fleet", get(page::fleet::fleet))
        .route("/releases", get(page::releases::releases));
    let buttons = Router::new().route(
        "/fleet/rollouts/{number}/{command}",
        post(page::fleet::press),
    );
    let viewer = Router::new()
        .route("/sign-out", post(page::sign_in::leave))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/events", get(events::events))
        .route("/v1/releases", get(releases::releases))
        .route("/v1/deployments", get(deployments::deployments))
        .route("/v1/deployments/{digest}", get(deployments::deployment))
        .route("/v1/groups", get(fleet::groups))
        .route("/v1/fleet", get(fleet::fleet))
        .route("/v1/fleet/{gateway}", get(fleet::gateway))
        .route("/v1/fleet/{gateway}/why", get(fleet::why))
        .route("/v1/rollouts", get(rollouts::rollouts))
        .route("/v1/rollouts/{number}", get(rollouts::rollout))
        .route("/v1/stats", get(read::stats))
        .route("/v1/gateways", get(read::gateways))
        .route("/v1/gateways/{gateway}/lag", get(lag::lag))
        .route("/v1/gateways/{gateway}/ledger", get(read::ledger))
        .route("/v1/gateways/{gateway}/streams", get(read::streams))
        .route(
            "/v1/gateways/{gateway}/streams/{stream}/rows",
            get(read::rows),
        )
        .route(
            "/v1/gateways/{gateway}/streams/{stream}/recent",
            get(read::recent),
        )
        .route(
            "/v1/gateways/{gateway}/streams/{stream}/count",
            get(read::count),
        );
    let fetched = Router::new()
        .route("/v1/blobs/sha256/{digest}", get(blobs::blob))
        .route("/v1/releases/{digest}", get(releases::document))
        .route("/v1/roots/{version}", get(roots::root));
    let operator = Router::new()
        .route("/v1/gateways/{gateway}/labels", post(fleet::labels))
        .route("/v1/groups", post(fleet::put_group))
        .route("/v1/rollouts", post(rollouts::start))
        .route("/v1/rollouts/{number}/{command}", post(rollouts::command))
        .route("/v1/audit", get(audit::audit))
        .route("/v1/enrolments", post(enrol::give))
        .route("/v1/gateways/{gateway}/revoke", post(enrol::revoke))
        .route("/v1/gateways/{gateway}/alarm", delete(enrol::dismiss))
        .route("/v1/gateways/{gateway}/import", post(import::import));
    let releaser = Router::new()
        .route("/v1/roots", post(roots::put))
        .route("/v1/deployments", post(deployments::put));
    let push = Router::new().route("/v1/releases", post(releases::push));
    let guard = |role, reader| Guard::new(&app, role, reader);
    open.merge(guard(Role::Viewer, Reader::Browser).before(pages))
        .merge(guard(Role::Operator, Reader::Browser).before(buttons))
        .merge(guard(Role::Viewer, Reader::Program).before(viewer))
        .merge(
            guard(Role::Viewer, Reader::Program)
                .and_gateways()
                .before(fetched),
        )
        .merge(guard(Role::Operator, Reader::Program).before(operator))
        .merge(guard(Role::Releaser, Reader::Program).before(releaser))
        .merge(
            guard(Role::Releaser, Reader::Program)
                .patient(PUSH_TIMEOUT)
                .before(push),
        )
        .fallback(async || Refusal::new(Code::NotFound, "there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            Refusal::new(Code::MethodNotAllowed, "this address has another method")
        })
        .layer(middleware::from_fn_with_state(app.clone(), govern))
        .with_state(app)
}

/// What holds for each request: shed, counted, and answered with headers that keep a page harmless.
async fn govern<S: Store>(
    State(app): State<Arc<App<S>>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match app.requests.try_acquire() {
        Err(_) => Refusal::new(Code::Busy, "too many requests at once").into_response(),
        Ok(_place) => next.run(request).await,
    };
    if let Some(code) = response.extensions().get::<Code>() {
        app.counters.refused(*code);
    }
    for (name, value) in SAFE_HEADERS {
        let header = response.headers_mut().entry(name);
        header.or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Bounds the time of a request.
async fn in_time(request: Request, next: Next, limit: Duration) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request took longer than {} s", limit.as_secs());
            Refusal::new(Code::Timeout, message).into_response()
        }
    }
}

/// A page runs its own script and no other, whatever text a gateway sent, and is framed by nobody. It is told to nobody
/// else; to this centre it must be, since with `no-referrer` a browser does not say where a form stood.
const SAFE_HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "private, no-cache"),
];
