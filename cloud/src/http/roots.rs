//! `POST /v1/roots` takes the root that follows, `GET /v1/roots/{version}` gives one.
//!
//! The chain begins with the root that the operator gave with `--root`. Those that were brought are kept, and each is
//! verified again under the one before whenever the newest is asked for: the database is not what makes one believed.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;
use tidegate_bundle::{DOCUMENT_BYTES_MAX, ROOT_TYPE, VerifiedRoot};

use super::guard::{Deed, Noted, Whose};
use super::read::Answer;
use super::sync::read_body;
use super::{App, Code, Refusal};
use crate::store::{Store, Tenant};

/// Most roots that follow the operator's: one a day for three years.
const ROOTS_MAX: u32 = 1024;

/// A root document and its file.
#[derive(Debug, Clone)]
pub struct Rooted {
    /// The document.
    pub verified: VerifiedRoot,
    /// The file.
    pub document: Vec<u8>,
}

impl Rooted {
    /// Opens the root that the operator trusts.
    ///
    /// # Errors
    /// As [`VerifiedRoot::open`].
    pub fn open(document: Vec<u8>) -> Result<Self, tidegate_bundle::Error> {
        let verified = VerifiedRoot::open(&document)?;
        Ok(Self { verified, document })
    }

    fn version(&self) -> u64 {
        self.verified.root().version
    }
}

/// The newest root.
pub(crate) async fn current<S: Store>(app: &App<S>, tenant: &Tenant) -> Result<Rooted, Refusal> {
    let first = app.root.as_deref().ok_or_else(no_root)?.clone();
    let from = first.version().saturating_add(1);
    let later = app.store.roots(tenant, from, ROOTS_MAX).await?;
    later.into_iter().try_fold(first, |root, document| {
        let verified = root.verified.next(&document).map_err(|error| {
            tracing::error!(%error, after = root.version(), "a root that is kept does not follow");
            Refusal::new(Code::Storage, "the chain of roots is broken here")
        })?;
        Ok(Rooted { verified, document })
    })
}

pub(super) fn no_root() -> Refusal {
    let message = "this centre was started without --root: it cannot verify what is signed";
    Refusal::new(Code::NoRoot, message)
}

/// `POST /v1/roots`.
pub(super) async fn put<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    request: Request,
) -> Result<Response, Refusal> {
    let tenant = &deed.person.tenant;
    let current = current(&app, tenant).await?;
    let document = read_body(request, ROOT_TYPE, DOCUMENT_BYTES_MAX).await?;
    let answer = |version: u64, new| Json(json!({ "version": version, "new": new }));
    if *document == *current.document {
        return Ok(answer(current.version(), false).into_response());
    }
    let next = current.verified.next(&document);
    let next = next.map_err(|error| Refusal::of_file(Code::DocumentRefused, &error))?;
    let version = next.root().version;
    let event = deed.done(&format!("root {version}"));
    let now = app.clock.wall_time();
    let put = app.store.put_root(tenant, version, &document, &event, now);
    if !put.await? {
        let message = format!("another root {version} has just been brought");
        return Err(Refusal::new(Code::WrongState, message));
    }
    app.conductor.forget();
    let created = (StatusCode::CREATED, Extension(Noted));
    Ok((created.0, created.1, answer(version, true)).into_response())
}

/// `GET /v1/roots/{version}`. Every gateway asks for the one after its own: that it is not there is no refusal.
pub(super) async fn root<S: Store>(
    State(app): State<Arc<App<S>>>,
    Whose(tenant): Whose,
    Path(version): Path<String>,
) -> Answer {
    let unknown = || Refusal::new(Code::NotFound, "there is no root of this version");
    let version: u64 = version.parse().map_err(|_| unknown())?;
    let Some(first) = app.root.as_deref() else {
        return Ok(unknown().uncounted());
    };
    let document = match version.cmp(&first.version()) {
        std::cmp::Ordering::Equal => first.document.clone(),
        // They follow one another without a gap, from the operator's on or from an older one's.
        _ => {
            let found = app.store.roots(&tenant, version, 1).await?.pop();
            let is = |document: &Vec<u8>| {
                let version_of = VerifiedRoot::open(document).ok();
                version_of.is_some_and(|root| root.root().version == version)
            };
            match found.filter(is) {
                Some(document) => document,
                None => return Ok(unknown().uncounted()),
            }
        }
    };
    Ok(([(header::CONTENT_TYPE, ROOT_TYPE)], document).into_response())
}
