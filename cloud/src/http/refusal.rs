//! Every refusal: its code, its status, its counter. The code is part of the interface; the message says the fact.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::checked::Flaw;
use crate::store;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// Not what the address takes.
    Malformed,
    /// Another version of the exchange.
    WrongVersion,
    /// Over a bound.
    TooLarge,
    /// Another content type.
    WrongContentType,
    /// Neither token nor session.
    NoToken,
    /// A token or session that is worth nothing.
    BadToken,
    /// One too many of these.
    TooManyAttempts,
    /// A token of a gateway that has come to its end.
    TokenExpired,
    /// A token of a gateway that another machine has used.
    TokenUsed,
    /// Nothing says which gateway it is from.
    NoSignature,
    /// A device key that is worth nothing any more.
    Revoked,
    /// Not the gateway whose key, or for which the token is.
    WrongGateway,
    /// A signed request that was taken before.
    Replayed,
    /// Another machine is this gateway.
    NameTaken,
    /// Another gateway has this device key.
    KeyInUse,
    /// The person may not do that.
    WrongRole,
    /// A browser was brought to it by another site.
    CrossSite,
    /// No device key of this gateway is known.
    UnknownDevice,
    /// Signed by no known key of this gateway, or not for this place.
    BadSignature,
    /// A row came again with other content.
    Conflict,
    /// A bundle that no gateway would run; its reason code says why.
    BundleRefused,
    /// A release that is not newer than one that is here.
    StaleCounter,
    /// A document that no gateway would take; its reason code says why.
    DocumentRefused,
    /// A deployment whose number is not higher than one that is here.
    StaleSequence,
    /// Not possible as things are now.
    WrongState,
    /// Releases cannot be verified here.
    NoRoot,
    /// Nobody here may say what is the newest.
    NoTimeKey,
    /// Bytes beyond the end of a file.
    BadRange,
    /// Parameters of a query.
    BadQuery,
    /// Nothing there.
    NotFound,
    /// Another method.
    MethodNotAllowed,
    /// Too many at once.
    Busy,
    /// Took too long.
    Timeout,
    /// The store failed.
    Storage,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::Malformed,
        Self::WrongVersion,
        Self::TooLarge,
        Self::WrongContentType,
        Self::NoToken,
        Self::BadToken,
        Self::TooManyAttempts,
        Self::TokenExpired,
        Self::TokenUsed,
        Self::NoSignature,
        Self::Revoked,
        Self::WrongGateway,
        Self::Replayed,
        Self::NameTaken,
        Self::KeyInUse,
        Self::WrongRole,
        Self::CrossSite,
        Self::UnknownDevice,
        Self::BadSignature,
        Self::Conflict,
        Self::BundleRefused,
        Self::StaleCounter,
        Self::DocumentRefused,
        Self::StaleSequence,
        Self::WrongState,
        Self::NoRoot,
        Self::NoTimeKey,
        Self::BadRange,
        Self::BadQuery,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Busy,
        Self::Timeout,
        Self::Storage,
    ];

    /// The word for it in answers and counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongVersion => "wrong-version",
            Self::TooLarge => "too-large",
            Self::WrongContentType => "wrong-content-type",
            Self::NoToken => "no-token",
            Self::BadToken => "bad-token",
            Self::TooManyAttempts => "too-many-attempts",
            Self::TokenExpired => "token-expired",
            Self::TokenUsed => "token-used",
            Self::NoSignature => "no-signature",
            Self::Revoked => "revoked",
            Self::WrongGateway => "wrong-gateway",
            Self::Replayed => "replayed",
            Self::NameTaken => "name-taken",
            Self::KeyInUse => "key-in-use",
            Self::WrongRole => "wrong-role",
            Self::CrossSite => "cross-site",
            Self::UnknownDevice => "unknown-device",
            Self::BadSignature => "bad-signature",
            Self::Conflict => "conflict",
            Self::BundleRefused => "bundle-refused",
            Self::StaleCounter => "stale-counter",
            Self::DocumentRefused => "document-refused",
            Self::StaleSequence => "stale-sequence",
            Self::WrongState => "wrong-state",
            Self::NoRoot => "no-root",
            Self::NoTimeKey => "no-time-key",
            Self::BadRange => "bad-range",
            Self::BadQuery => "bad-query",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Storage => "storage",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::WrongVersion | Self::BadQuery => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WrongContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoToken
            | Self::BadToken
            | Self::TokenExpired
            | Self::TokenUsed
            | Self::NoSignature
            | Self::Revoked => StatusCode::UNAUTHORIZED,
            Self::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
            Self::WrongRole
            | Self::CrossSite
            | Self::UnknownDevice
            | Self::BadSignature
            | Self::WrongGateway => StatusCode::FORBIDDEN,
            Self::Conflict
            | Self::StaleCounter
            | Self::StaleSequence
            | Self::WrongState
            | Self::Replayed
            | Self::NameTaken
            | Self::KeyInUse => StatusCode::CONFLICT,
            Self::BundleRefused | Self::DocumentRefused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoRoot => StatusCode::NOT_IMPLEMENTED,
            Self::BadRange => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::NotFound | Self::NoTimeKey => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Busy | Self::Timeout | Self::Storage => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the same request can succeed later, and after how many seconds to try.
    const fn retry_after(self) -> Option<&'static str> {
        match self {
            Self::Busy => Some("1"),
            Self::Timeout | Self::Storage => Some("5"),
            Self::TooManyAttempts => Some("10"),
            _ => None,
        }
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    message: String,
    /// Of a bundle or document.
    reason: Option<&'static str>,
}

impl Refusal {
    /// With the fact that matters.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: None,
        }
    }

    /// Of a signed file, with what is wrong with it.
    pub fn of_file(code: Code, error: &tidegate_bundle::Error) -> Self {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        let message = format!("{error}{}", cause.unwrap_or_default());
        Self::new(code, message).with_reason(error.reason())
    }

    /// With the reason code of a bundle or document.
    #[must_use]
    pub fn with_reason(self, reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }

    /// Its code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What it says.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// As the answer "there is none" to a question that is asked every day: nothing was refused, and nothing is counted.
    pub(super) fn uncounted(self) -> Response {
        let mut response = self.into_response();
        response.extensions_mut().remove::<Code>();
        response
    }

    /// Whether a right token would help.
    pub const fn wants_token(&self) -> bool {
        matches!(
            self.code,
            Code::NoToken | Code::BadToken | Code::TooManyAttempts
        )
    }
}

/// `{"error":{"code":"…","message":"…"}}`, of a signed file with its `reason`; the code rides along for the counter.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code.as_str(), "message": self.message });
        if let (Some(error), Some(reason)) = (error.as_object_mut(), self.reason) {
            error.insert("reason".to_owned(), reason.into());
        }
        let body = Json(json!({ "error": error }));
        let mut response = (self.code.status(), body).into_response();
        if let Some(seconds) = self.code.retry_after() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if self.wants_token() {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self.code);
        response
    }
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        let code = match flaw {
            Flaw::Version(_) => Code::WrongVersion,
            Flaw::TooManyRows(_) | Flaw::TooManyStreams(_) => Code::TooLarge,
            Flaw::Ordinal(_)
            | Flaw::StreamTwice(_)
            | Flaw::Seq { .. }
            | Flaw::Cover { .. }
            | Flaw::Order { .. } => Code::Malformed,
        };
        Self::new(code, flaw.to_string())
    }
}

/// What a database says stays in our log.
impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        let code = match error {
            store::Error::Conflict { .. } => Some(Code::Conflict),
            store::Error::Replayed { .. } => Some(Code::Replayed),
            store::Error::Revoked => Some(Code::Revoked),
            _ => None,
        };
        if let Some(code) = code {
            return Self::new(code, error.to_string());
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(cause, "{error}");
        Self::new(
            Code::Storage,
            "the centre's storage failed, try again later",
        )
    }
}

/// What the process did since its start.
#[derive(Debug)]
pub struct Counters {
    /// Sync requests committed.
    pub syncs: AtomicU64,
    /// Their compressed bytes.
    pub bytes: AtomicU64,
    /// Rows that were new.
    pub rows_new: AtomicU64,
    /// Rows that were here already.
    pub rows_known: AtomicU64,
    /// Streams whose rows began beyond the mark.
    pub gaps: AtomicU64,
    refused: BTreeMap<Code, AtomicU64>,
}

impl Counters {
    /// All zero.
    pub(super) fn new() -> Self {
        Self {
            syncs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            rows_new: AtomicU64::new(0),
            rows_known: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            refused: Code::ALL
                .iter()
                .map(|code| (*code, AtomicU64::new(0)))
                .collect(),
        }
    }

    /// Counts one refusal.
    pub(super) fn refused(&self, code: Code) {
        if let Some(counter) = self.refused.get(&code) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Refusals by code.
    pub fn refusals(&self) -> impl Iterator<Item = (Code, u64)> {
        self.refused
            .iter()
            .map(|(code, count)| (*code, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_error_does_not_reach_the_client() {
        let source = sqlx::Error::Protocol("no such table: secrets in /srv/centre.db".into());
        let refusal = Refusal::from(store::Error::Database {
            action: "read rows",
            source,
        });
        assert_eq!(
            refusal,
            Refusal::new(
                Code::Storage,
                "the centre's storage failed, try again later"
            )
        );
    }

    #[test]
    fn every_code_has_a_counter_of_its_own() {
        let counters = Counters::new();
        counters.refused(Code::Conflict);
        let counted: Vec<_> = counters
            .refusals()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(counted, [(Code::Conflict, 1)]);
        assert_eq!(counters.refusals().count(), Code::ALL.len());
    }
}
