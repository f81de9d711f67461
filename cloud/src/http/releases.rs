//! `POST /v1/releases` takes a bundle, `GET /v1/releases` lists what was taken.
//!
//! A bundle goes to a file first, however slowly it comes, and is then verified as a gateway would verify it, against the
//! root document that the centre was given. What no gateway would run is not kept. The centre cannot make a release: it
//! has no key of the root.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_bundle::{BUNDLE_BYTES_MAX, Digest, RELEASE_TYPE, UnverifiedBundle, VerifiedRoot};
use tidegate_wire::{Name, WallTime};
use tokio::io::AsyncWriteExt as _;

use super::guard::{Deed, Noted, Whose};
use super::read::{Answer, NAMES_MAX, bad, limit, query};
use super::roots::{current, no_root};
use super::{App, Code, Refusal, rfc3339};
use crate::access::Person;
use crate::checked::COUNT_MAX;
use crate::store::Store;
use crate::store::deployments::Part;
use crate::store::releases::{KeptRelease, Parts, Put, ReleasePosition};

/// What a bundle is sent as.
pub(super) const BUNDLE_CONTENT_TYPE: &str = "application/vnd.tidegate.bundle";

/// `?after=MODULE:COUNTER&limit=N`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleasesQuery {
    after: Option<String>,
    limit: Option<u32>,
}

/// `POST /v1/releases`.
pub(super) async fn push<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    request: Request,
) -> Result<Response, Refusal> {
    let blobs = app.blobs.clone().ok_or_else(no_root)?;
    let root = current(&app, &deed.person.tenant).await?.verified;
    check_head(&request)?;
    let Ok(_place) = app.uploads.try_acquire() else {
        return Err(Refusal::new(Code::Busy, "other bundles are coming in"));
    };
    let (upload, file) = blobs.begin().map_err(unwritable)?;
    let file = receive(request.into_body(), file).await?;
    let (by, now) = (deed.person.name.to_string(), app.clock.wall_time());
    let verified = tokio::task::spawn_blocking(move || verify(file, &root, by, now)).await;
    let (release, parts) = verified.map_err(|_| unusable())??;
    let (tenant, digest) = (&deed.person.tenant, digest(&release)?);
    let mut put = app.store.would_put(tenant, &release).await?;
    if put == Put::Kept {
        let kept = tokio::task::spawn_blocking(move || blobs.keep(upload, digest)).await;
        kept.map_err(|_| unusable())?.map_err(unwritable)?;
    }
    if !matches!(put, Put::Stale(_)) {
        let KeptRelease {
            module,
            version,
            counter,
            ..
        } = &release;
        let event = deed.done(&format!("{module} {version}, counter {counter}"));
        let store = &app.store;
        put = store.put_release(tenant, &release, &parts, &event).await?;
    }
    let noted = (put == Put::Kept).then_some(Extension(Noted));
    let status = match put {
        Put::Kept => StatusCode::CREATED,
        Put::Known => StatusCode::OK,
        Put::Stale(highest) => return Err(stale(&release, highest)),
    };
    let answer = Json(json!({"release": json_of(&release), "new": put == Put::Kept}));
    Ok((status, noted, answer).into_response())
}

fn stale(release: &KeptRelease, highest: u64) -> Refusal {
    let (module, counter) = (&release.module, release.counter);
    let message = format!(
        "module {module} has a release with counter {highest} here, and this other one has {counter}: no gateway would go back"
    );
    Refusal::new(Code::StaleCounter, message)
}

fn check_head(request: &Request) -> Result<(), Refusal> {
    let header = |name| request.headers().get(name);
    if header(header::CONTENT_TYPE).is_none_or(|found| found != BUNDLE_CONTENT_TYPE) {
        let message = format!("content type must be {BUNDLE_CONTENT_TYPE}");
        return Err(Refusal::new(Code::WrongContentType, message));
    }
    let announced = header(header::CONTENT_LENGTH);
    let announced: Option<u64> = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    match announced.map(usize::try_from) {
        Some(Ok(0..=BUNDLE_BYTES_MAX)) | None => Ok(()),
        _ => Err(too_large()),
    }
}

/// Writes a body to a file, and no more than a bundle may have.
async fn receive(body: Body, file: File) -> Result<File, Refusal> {
    let mut file = tokio::fs::File::from_std(file);
    let mut pieces = body.into_data_stream();
    let mut left = BUNDLE_BYTES_MAX;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Refusal::new(Code::Malformed, "body ended early"))?;
        left = left.checked_sub(piece.len()).ok_or_else(too_large)?;
        file.write_all(&piece).await.map_err(unwritable)?;
    }
    file.flush().await.map_err(unwritable)?;
    Ok(file.into_std().await)
}

fn verify(
    mut file: File,
    root: &VerifiedRoot,
    by: String,
    received: WallTime,
) -> Result<(KeptRelease, Parts), Refusal> {
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(unwritable)?;
    let (blob, length) = (Digest::of(&bytes), bytes.len());
    let bundle = UnverifiedBundle::open(bytes).and_then(|bundle| bundle.verify(root));
    let bundle = bundle.map_err(|error| Refusal::of_file(Code::BundleRefused, &error))?;
    let release = bundle.release();
    let module = Name::new(&release.module)
        .map_err(|error| Refusal::new(Code::Malformed, format!("module: {error}")))?;
    if release.counter > COUNT_MAX {
        let message = format!("counter {} is over {COUNT_MAX}", release.counter);
        return Err(Refusal::new(Code::Malformed, message));
    }
    let parts = Parts {
        document: bundle.document().to_vec(),
        artifacts: bundle
            .places()
            .map(|(digest, place)| (digest, part(blob, &place)))
            .collect(),
    };
    let release = KeptRelease {
        module,
        counter: release.counter,
        version: release.version.to_string(),
        identity: bundle.digest().to_string(),
        blob: blob.to_string(),
        bytes: u64::try_from(length).unwrap_or(u64::MAX),
        received,
        by,
    };
    Ok((release, parts))
}

fn part(blob: Digest, place: &Range<usize>) -> Part {
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Part {
        blob,
        start: number(place.start),
        length: number(place.len()),
    }
}

fn digest(release: &KeptRelease) -> Result<Digest, Refusal> {
    Digest::parse(&release.blob).map_err(|_| unusable())
}

fn too_large() -> Refusal {
    let message = format!("a bundle has at most {BUNDLE_BYTES_MAX} bytes");
    Refusal::new(Code::TooLarge, message)
}

fn unusable() -> Refusal {
    Refusal::new(
        Code::Storage,
        "the bundle could not be verified, try again later",
    )
}

fn unwritable(error: std::io::Error) -> Refusal {
    tracing::error!(%error, "cannot keep a bundle");
    Refusal::new(
        Code::Storage,
        "the centre's storage failed, try again later",
    )
}

/// `GET /v1/releases/{digest}`: the release document whose signed body has this digest.
pub(super) async fn document<S: Store>(
    State(app): State<Arc<App<S>>>,
    Whose(tenant): Whose,
    Path(digest): Path<String>,
) -> Answer {
    let unknown = || Refusal::new(Code::NotFound, "no release has this digest");
    let digest = Digest::parse(&digest).map_err(|_| unknown())?;
    let document = app.store.release_document(&tenant, digest).await?;
    let headers = [(header::CONTENT_TYPE, RELEASE_TYPE)];
    Ok((headers, document.ok_or_else(unknown)?).into_response())
}

/// `GET /v1/releases`: by module, the highest counter first.
pub(super) async fn releases<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    uri: Uri,
) -> Answer {
    let query: ReleasesQuery = query(&uri)?;
    let after = match &query.after {
        None => None,
        Some(after) => Some(position(after).ok_or_else(|| bad("after is MODULE:COUNTER"))?),
    };
    let count_max = limit(query.limit, NAMES_MAX, NAMES_MAX)?;
    let page = app
        .store
        .releases(&person.tenant, after.as_ref(), count_max)
        .await?;
    let next = page.items.last().filter(|_| page.more);
    let next = next.map(|last| format!("{}:{}", last.module, last.counter));
    let releases: Vec<_> = page.items.iter().map(json_of).collect();
    Ok(Json(json!({ "releases": releases, "next": next })).into_response())
}

fn position(text: &str) -> Option<ReleasePosition> {
    let (module, counter) = text.split_once(':')?;
    Some(ReleasePosition {
        module: Name::new(module).ok()?,
        counter: counter.parse().ok()?,
    })
}

fn json_of(release: &KeptRelease) -> Value {
    json!({
        "module": release.module.as_str(),
        "counter": release.counter,
        "version": release.version,
        "identity": release.identity,
        "blob": format!("/v1/blobs/sha256/{}", release.blob),
        "bytes": release.bytes,
        "received": rfc3339(release.received),
        "by": release.by,
    })
}
