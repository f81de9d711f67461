//! Who asks, and whether they may: before anything else of a request is read.
//!
//! A program shows its token in `Authorization: Bearer`, a browser its session in a cookie that no script can read and that
//! is not sent along from other sites. A session may change something only from a page of this centre, as the browser's
//! `Origin` says. Whoever is refused, and whoever changes something, is in the audit log: by the handler, in the transaction
//! that changes it, or else by the guard. The guarded handlers learn the tenant from [`Person`] or [`Whose`] alone, which
//! only this module hands out: a route that is not guarded has none, and so no data. Some routes are for gateways, too.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use tidegate_wire::Name;

use super::device::{Claimed, believed};
use super::shown::{Shown, forget_session, from_this_centre};
use super::{App, Code, REQUEST_TIMEOUT, Refusal, in_time};
use crate::access::{Person, Role};
use crate::store::audit::Event;
use crate::store::{GatewayId, Store, Tenant};

/// Who looks at the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A program: a refusal is JSON.
    Program,
    /// A person: who is not signed in is sent to sign in.
    Browser,
}

/// Lets only people of at least this role to routes.
#[derive(Debug)]
pub(super) struct Guard<S> {
    app: Arc<App<S>>,
    role: Role,
    reader: Reader,
    /// For each request.
    time: Duration,
    /// Whether gateways get in as well.
    gateways: bool,
}

impl<S> Clone for Guard<S> {
    fn clone(&self) -> Self {
        Self {
            app: self.app.clone(),
            ..*self
        }
    }
}

impl<S: Store> Guard<S> {
    pub(super) fn new(app: &Arc<App<S>>, role: Role, reader: Reader) -> Self {
        Self {
            app: app.clone(),
            role,
            reader,
            time: REQUEST_TIMEOUT,
            gateways: false,
        }
    }

    /// Lets gateways in as well.
    pub(super) fn and_gateways(self) -> Self {
        Self {
            gateways: true,
            ..self
        }
    }

    /// Gives each request so much time.
    pub(super) fn patient(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Stands before these routes.
    pub(super) fn before(self, routes: Router<Arc<App<S>>>) -> Router<Arc<App<S>>> {
        routes.route_layer(middleware::from_fn_with_state(self, admit))
    }
}

async fn admit<S: Store>(
    State(guard): State<Guard<S>>,
    mut request: Request,
    next: Next,
) -> Response {
    let shown = Shown::read(request.headers());
    if let (true, None, Some(Ok(name))) = (guard.gateways, &shown, named(request.uri())) {
        let asked = asks(&guard.app, &Claimed::read(&request), name, &[]).await;
        return match asked {
            Ok(of) => {
                request.extensions_mut().insert(Whose(of.tenant));
                in_time(request, next, guard.time).await
            }
            Err(refusal) => refusal.into_response(),
        };
    }
    let action = action(&request);
    let person = match person(&guard.app, shown.as_ref(), &action).await {
        Ok(person) => person,
        Err(refusal) if guard.reader == Reader::Browser && refusal.wants_token() => {
            return to_sign_in(&request, shown.as_ref());
        }
        Err(refusal) => return refusal.into_response(),
    };
    let changes = changes(request.method());
    let deed = Deed { person, action };
    let response = match may(&guard, &deed.person, shown.as_ref(), &request) {
        Err(refusal) => refusal.into_response(),
        Ok(()) => {
            let whose = Whose(deed.person.tenant.clone());
            request.extensions_mut().insert(whose);
            request.extensions_mut().insert(deed.person.clone());
            request.extensions_mut().insert(deed.clone());
            let response = in_time(request, next, guard.time).await;
            if !changes || response.extensions().get::<Noted>().is_some() {
                return response;
            }
            response
        }
    };
    note(&guard.app, &deed, response).await
}

/// Notes what became of a request that no handler has noted. What cannot be noted is not said to be done.
async fn note<S: Store>(app: &App<S>, deed: &Deed, response: Response) -> Response {
    let outcome = response.extensions().get::<Code>();
    let outcome = outcome.map_or("done", |code| code.as_str());
    let event = Event::of(&deed.person, &deed.action, "", outcome);
    let now = app.clock.wall_time();
    match app.store.note(&deed.person.tenant, &event, now).await {
        Ok(_) => response,
        Err(error) => Refusal::from(error).into_response(),
    }
}

/// What is tried, as the audit log has it.
fn action(request: &Request) -> String {
    format!("{} {}", request.method(), request.uri().path())
}

/// What someone is about to do.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    /// Who.
    pub(super) person: Person,
    action: String,
}

impl Deed {
    /// To be noted with the deed.
    pub(super) fn done(&self, object: &str) -> Event {
        Event::of(&self.person, &self.action, object, "done")
    }
}

/// On a response: what it tells of is in the audit log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noted;

/// Whom the request is from.
pub(crate) async fn person<S: Store>(
    app: &App<S>,
    shown: Option<&Shown>,
    action: &str,
) -> Result<Person, Refusal> {
    let now = app.clock.wall_time();
    let found = match shown {
        None => {
            return Err(Refusal::new(
                Code::NoToken,
                "this needs a token: Authorization: Bearer …, or sign in at /sign-in",
            ));
        }
        Some(Shown::Token(secret)) => app.store.by_token(*secret, now).await?,
        Some(Shown::Session(secret)) => app.store.by_session(*secret, now).await?,
    };
    match found {
        Some(person) => Ok(person),
        None => Err(wrong(app, action).await),
    }
}

/// A token or session that is worth nothing. Whose log it is in is not known: it is in that of the centre's owner.
async fn wrong<S: Store>(app: &App<S>, action: &str) -> Refusal {
    match app.attempts.wrong(app.clock.boot_time()) {
        Some(before) => {
            let event = Event::of_nobody(action, &untold(before), Code::BadToken.as_str());
            let now = app.clock.wall_time();
            if let Err(error) = app.store.note(&Tenant::default(), &event, now).await {
                return error.into();
            }
            Refusal::new(
                Code::BadToken,
                "this token or session is not known here, was revoked or has expired",
            )
        }
        None => too_many(),
    }
}

/// How many before this one were not told.
pub(super) fn untold(before: u64) -> String {
    match before {
        0 => String::new(),
        before => format!("and {before} before it"),
    }
}

pub(super) fn too_many() -> Refusal {
    Refusal::new(
        Code::TooManyAttempts,
        "too many tokens were wrong lately; a right one is taken at any time",
    )
}

fn may<S>(
    guard: &Guard<S>,
    person: &Person,
    shown: Option<&Shown>,
    request: &Request,
) -> Result<(), Refusal> {
    if person.role < guard.role {
        let message = format!(
            "this needs the role {}, {} has the role {}",
            guard.role, person.name, person.role
        );
        return Err(Refusal::new(Code::WrongRole, message));
    }
    match shown {
        Some(Shown::Session(_)) if changes(request.method()) => from_this_centre(request.headers()),
        _ => Ok(()),
    }
}

/// Whether a request of this method may change something.
fn changes(method: &Method) -> bool {
    !method.is_safe()
}

/// To where a person can sign in, and back. A session that is worth nothing is forgotten; one that was not shown, because
/// a link of another site led here, may be worth something.
fn to_sign_in(request: &Request, shown: Option<&Shown>) -> Response {
    let path = request.uri().path();
    let mut response = Redirect::to(&format!("/sign-in?to={path}")).into_response();
    if let Some(Shown::Session(_)) = shown {
        forget_session(response.headers_mut());
    }
    response
}

/// Which gateway a request says that it is from, by `?gateway=NAME`; none if it does not say.
fn named(uri: &Uri) -> Option<Result<Name, Refusal>> {
    let bad = |error| Refusal::new(Code::BadQuery, format!("gateway: {error}"));
    Some(Name::new(parameter(uri, "gateway")?).map_err(bad))
}

/// The first parameter of this name in a query.
pub(super) fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let mut pairs = uri
        .query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

/// The gateway that has signed a request with this body, which a gateway alone can send.
pub(super) async fn gateway_of<S: Store>(
    app: &App<S>,
    claimed: &Claimed,
    uri: &Uri,
    body: &[u8],
) -> Result<GatewayId, Refusal> {
    let unsaid = || Refusal::new(Code::BadQuery, "this is for gateways: ?gateway=NAME");
    let name = named(uri).ok_or_else(unsaid)??;
    asks(app, claimed, name, body).await
}

/// By its signature, or by its word where the centre is open and nobody was enrolled by that name.
async fn asks<S: Store>(
    app: &App<S>,
    claimed: &Claimed,
    name: Name,
    body: &[u8],
) -> Result<GatewayId, Refusal> {
    match claimed.signed(app, body).await? {
        Some(signed) => signed.is(&name).map(|()| signed.of),
        None => believed(app, name).await,
    }
}

/// Whose fleet a person or gateway is of.
#[derive(Debug, Clone)]
pub(super) struct Whose(pub(super) Tenant);

impl<T: Sync> FromRequestParts<T> for Whose {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &T) -> Result<Self, Refusal> {
        guard_put(parts)
    }
}

/// Of a guarded route: the guard put it there.
impl<T: Sync> FromRequestParts<T> for Person {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &T) -> Result<Self, Refusal> {
        guard_put(parts)
    }
}

impl<T: Sync> FromRequestParts<T> for Deed {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &T) -> Result<Self, Refusal> {
        guard_put(parts)
    }
}

fn guard_put<V: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<V, Refusal> {
    let put = parts.extensions.get().cloned();
    put.ok_or_else(|| Refusal::new(Code::NoToken, "this needs a token"))
}
