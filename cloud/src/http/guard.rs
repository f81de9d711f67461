//! Who asks, and whether they may: before anything else of a request is read.
//!
//! A program shows its token in `Authorization: Bearer`, a browser its session in a cookie that no script can read and that
//! is not sent along from other sites. A session may change something only from a page of this centre, as the browser's
//! `Origin` says. The guarded handlers learn the tenant from [`Person`] alone, which only this module hands out: a route
//! that is not guarded has none, and so no data.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use tidegate_bundle::Digest;

use super::{App, Code, Refusal, in_time};
use crate::access::{Person, Role, Secret};
use crate::store::Store;

/// Longest token or session that is looked at.
const SECRET_BYTES_MAX: usize = 128;

const COOKIE: &str = "tidegate-session";

/// What a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A token.
    Token(Digest),
    /// A session.
    Session(Digest),
}

impl Shown {
    /// A token from a form or a header.
    pub(crate) fn token(text: &str) -> Self {
        Self::Token(digest(text))
    }

    /// What stands in the headers. A token goes before a session: a program says what it means.
    fn read(headers: &HeaderMap) -> Option<Self> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let text = value.to_str().unwrap_or_default();
            let token = match text.split_once(' ') {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
                _ => "",
            };
            return Some(Self::token(token));
        }
        let cookies = headers.get_all(header::COOKIE).iter();
        let mut pairs = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let (_, session) = pairs.find(|(name, _)| *name == COOKIE)?;
        Some(Self::Session(digest(session)))
    }
}

/// A text that is too long is no secret, whatever it says.
fn digest(text: &str) -> Digest {
    let bytes = text.as_bytes();
    Digest::of(bytes.get(..SECRET_BYTES_MAX).unwrap_or(bytes))
}

/// Who looks at the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A program: a refusal is JSON.
    Program,
    /// A person: who is not signed in is sent to sign in.
    Browser,
}

#[derive(Debug)]
struct Guard<S> {
    app: Arc<App<S>>,
    role: Role,
    reader: Reader,
}

impl<S> Clone for Guard<S> {
    fn clone(&self) -> Self {
        Self {
            app: self.app.clone(),
            ..*self
        }
    }
}

/// Lets only people of at least this role to these routes.
pub(super) fn guarded<S: Store>(
    app: &Arc<App<S>>,
    role: Role,
    reader: Reader,
    routes: Router<Arc<App<S>>>,
) -> Router<Arc<App<S>>> {
    let guard = Guard {
        app: app.clone(),
        role,
        reader,
    };
    routes.route_layer(middleware::from_fn_with_state(guard, admit))
}

async fn admit<S: Store>(
    State(guard): State<Guard<S>>,
    mut request: Request,
    next: Next,
) -> Response {
    let shown = Shown::read(request.headers());
    let person = match person(&guard.app, shown.as_ref()).await {
        Ok(person) => person,
        Err(refusal) if guard.reader == Reader::Browser && refusal.wants_token() => {
            return to_sign_in(&request);
        }
        Err(refusal) => return refusal.into_response(),
    };
    let allowed = may(&guard, &person, shown.as_ref(), &request);
    request.extensions_mut().insert(person);
    match allowed {
        Ok(()) => in_time(request, next).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Whom the request is from.
pub(crate) async fn person<S: Store>(
    app: &App<S>,
    shown: Option<&Shown>,
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
        None => Err(wrong(app)),
    }
}

/// A token or session that is worth nothing.
fn wrong<S: Store>(app: &App<S>) -> Refusal {
    match app.attempts.wrong(app.clock.boot_time()) {
        Some(untold) => {
            tracing::warn!(untold, "a token or session was refused");
            Refusal::new(
                Code::BadToken,
                "this token or session is not known here, was revoked or has expired",
            )
        }
        None => Refusal::new(
            Code::TooManyAttempts,
            "too many tokens were wrong lately; a right one is taken at any time",
        ),
    }
}

fn may<S>(
    guard: &Guard<S>,
    person: &Person,
    shown: Option<&Shown>,
    request: &Request,
) -> Result<(), Refusal> {
    if person.role < guard.role {
        let message = format!(
            "this needs the role {}, {} is a {}",
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
pub(super) fn changes(method: &Method) -> bool {
    !method.is_safe()
}

/// A form of another site can bring a browser to send what its user does not mean. A browser says where a form stood.
pub(crate) fn from_this_centre(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    match (origin, text(header::HOST)) {
        (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Refusal::new(
            Code::CrossSite,
            "a browser may do this from a page of this centre only",
        )),
    }
}

/// To where a person can sign in, and back; a cookie that is worth nothing is forgotten.
fn to_sign_in(request: &Request) -> Response {
    let path = request.uri().path();
    let mut response = Redirect::to(&format!("/sign-in?to={path}")).into_response();
    forget_session(response.headers_mut());
    response
}

/// Gives a browser its session.
pub(crate) fn give_session(headers: &mut HeaderMap, session: &Secret, secure: bool) {
    let age = crate::access::SESSION_LIFE.as_secs();
    set_cookie(headers, session.reveal(), age, secure);
}

/// Takes a browser's session from it.
pub(crate) fn forget_session(headers: &mut HeaderMap) {
    set_cookie(headers, "", 0, false);
}

fn set_cookie(headers: &mut HeaderMap, value: &str, age: u64, secure: bool) {
    let secure = if secure { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    // Its letters are those of a header.
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// The session that a request shows, for signing out.
pub(crate) fn session_of(headers: &HeaderMap) -> Option<Digest> {
    match Shown::read(headers) {
        Some(Shown::Session(session)) => Some(session),
        _ => None,
    }
}

/// Of a guarded route: the guard put it there.
impl<T: Sync> FromRequestParts<T> for Person {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &T) -> Result<Self, Refusal> {
        let person = parts.extensions.get().cloned();
        person.ok_or_else(|| Refusal::new(Code::NoToken, "this needs a token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_token_is_read_from_its_header_and_a_session_from_its_cookie() {
        let session = Some(Shown::Session(Digest::of(b"tgs_x")));
        for (pairs, expected) in [
            (&[][..], None),
            (
                &[("authorization", "Bearer tgt_x")],
                Some(Shown::token("tgt_x")),
            ),
            (
                &[("authorization", "bearer  tgt_x ")],
                Some(Shown::token("tgt_x")),
            ),
            (&[("authorization", "Basic tgt_x")], Some(Shown::token(""))),
            (
                &[("cookie", "a=b; tidegate-session=tgs_x; c")],
                session.clone(),
            ),
            (
                &[("cookie", "a=b"), ("cookie", "tidegate-session=tgs_x")],
                session,
            ),
            (&[("cookie", "other=tgs_x")], None),
            (
                &[
                    ("cookie", "tidegate-session=tgs_x"),
                    ("authorization", "Bearer tgt_x"),
                ],
                Some(Shown::token("tgt_x")),
            ),
        ] {
            assert_eq!(Shown::read(&headers(pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn only_a_page_of_this_centre_is_one() {
        let host = ("host", "centre.example:8443");
        for good in ["https://centre.example:8443", "https://Centre.Example:8443"] {
            assert_eq!(
                from_this_centre(&headers(&[host, ("origin", good)])),
                Ok(())
            );
        }
        for bad in [
            "https://centre.example",
            "https://other.example:8443",
            "null",
            "",
            "https://centre.example:8443.other.example",
        ] {
            assert!(
                from_this_centre(&headers(&[host, ("origin", bad)])).is_err(),
                "{bad}"
            );
        }
        assert!(from_this_centre(&headers(&[host])).is_err());
        assert!(from_this_centre(&headers(&[("origin", "null")])).is_err());
    }
}
