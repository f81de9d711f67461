//! The way in and out: a token for a session. Needs no script.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use tidegate_wire::WallTime;

use super::render;
use crate::access::{SESSION_LIFE, Secret};
use crate::http::guard::person;
use crate::http::shown::{Shown, forget_session, from_this_centre, give_session, session_of};
use crate::http::{App, Code, Refusal};
use crate::store::Store;
use crate::store::audit::Event;

/// As the audit log has it.
const SIGN_IN: &str = "POST /sign-in";

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignIn<'a> {
    /// To where it leads.
    to: &'a str,
    problem: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    to: Option<String>,
}

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct Filled {
    token: String,
    to: Option<String>,
}

/// `GET /sign-in`.
pub(crate) async fn form(uri: Uri) -> Result<Response, Refusal> {
    let asked = Query::<Asked>::try_from_uri(&uri);
    let to = asked.ok().and_then(|Query(asked)| asked.to);
    render(&SignIn {
        to: place(to.as_deref()),
        problem: None,
    })
}

/// `POST /sign-in`: who brings a token gets a session.
pub(crate) async fn enter<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    filled: Result<Form<Filled>, FormRejection>,
) -> Result<Response, Refusal> {
    from_this_centre(&headers)?;
    let Form(filled) = filled.map_err(|error| Refusal::new(Code::Malformed, error.body_text()))?;
    let to = place(filled.to.as_deref());
    let token = filled.token.trim();
    match person(&app, Some(&Shown::token(token)), SIGN_IN).await {
        Ok(person) => {
            let session = open(&app, token).await?;
            let event = Event::of(&person, SIGN_IN, "", "done");
            let now = app.clock.wall_time();
            app.store.note(&person.tenant, &event, now).await?;
            let mut response = Redirect::to(to).into_response();
            give_session(response.headers_mut(), &session, app.is_secure());
            Ok(response)
        }
        Err(refusal) if refusal.wants_token() => {
            let problem = Some(refusal.message());
            let page = render(&SignIn { to, problem })?;
            let mut response = (StatusCode::UNAUTHORIZED, page).into_response();
            response.extensions_mut().insert(refusal.code());
            Ok(response)
        }
        Err(refusal) => Err(refusal),
    }
}

/// `POST /sign-out`.
pub(crate) async fn leave<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if let Some(session) = session_of(&headers) {
        app.store.close_session(session).await?;
    }
    let mut response = Redirect::to("/sign-in").into_response();
    forget_session(response.headers_mut());
    Ok(response)
}

async fn open<S: Store>(app: &App<S>, token: &str) -> Result<Secret, Refusal> {
    let session = Secret::session().map_err(|error| {
        tracing::error!(%error, "no random numbers for a session");
        Refusal::new(Code::Storage, "no session can be made, try again later")
    })?;
    let now = app.clock.wall_time();
    let life = u64::try_from(SESSION_LIFE.as_nanos()).unwrap_or(u64::MAX);
    let expires = WallTime(now.0.saturating_add(life));
    let token = tidegate_bundle::Digest::of(token.as_bytes());
    app.store
        .open_session(session.digest(), token, now, expires)
        .await?;
    Ok(session)
}

/// A page of this centre, whatever is asked for: one of another place would get people whom we sent.
fn place(to: Option<&str>) -> &str {
    let here = |to: &&str| {
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-');
        to.starts_with('/') && !to.starts_with("//") && to.chars().all(letters)
    };
    to.filter(here).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_signs_in_stays_here() {
        for here in ["/", "/gateways/gw-1"] {
            assert_eq!(place(Some(here)), here);
        }
        for elsewhere in [
            "//other.example",
            "https://other.example",
            "/\\other.example",
            "/%09/other",
            "other",
            "",
        ] {
            assert_eq!(place(Some(elsewhere)), "/", "{elsewhere}");
        }
        assert_eq!(place(None), "/");
    }
}
