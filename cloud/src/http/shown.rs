//! What a request shows of who it is from, and what a browser is given to show: the header, the cookie, and where a form
//! stood.

use axum::http::{HeaderMap, HeaderValue, header};
use tidegate_bundle::Digest;

use super::{Code, Refusal};
use crate::access::{SESSION_LIFE, Secret};

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
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
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

/// Gives a browser its session.
pub(crate) fn give_session(headers: &mut HeaderMap, session: &Secret, secure: bool) {
    let age = SESSION_LIFE.as_secs();
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
    fn over_tls_a_session_never_travels_in_the_clear() {
        let session = Secret::session().unwrap();
        for secure in [true, false] {
            let mut headers = HeaderMap::new();
            give_session(&mut headers, &session, secure);
            let cookie = headers[header::SET_COOKIE].to_str().unwrap();
            assert_eq!(cookie.ends_with("; Secure"), secure, "{cookie}");
            assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
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
