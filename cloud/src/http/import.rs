//! `POST /v1/gateways/{gateway}/import`: one chunk of an export, brought by someone who need not be trusted.
//!
//! The body is the running hash before the chunk, its signature, and the chunk (docs/formats/export.md). Only a key that
//! this centre knows as the gateway's counts: the file `GATEWAY.pub` in the folder of device keys, read for each chunk, so
//! that a new one needs no restart. Keys of enrolled gateways count as well, also those that another has followed; where there is one, no file does. The
//! signature is verified before anything of the chunk is read, and then its rows are
//! kept as those of a sync are.

use std::path::Path;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path as Address, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use tidegate_bundle::{Chain, PublicKey, SIGNATURE_BYTES};
use tidegate_wire::codec::COMPRESSED_BYTES_MAX;
use tidegate_wire::export::{CHUNK_CONTENT_TYPE, Chunk, EXPORT_VERSION, Part};
use tidegate_wire::{Name, WallTime};

use super::guard::{Deed, Noted};
use super::sync::{count, read_body};
use super::{App, Code, Refusal};
use crate::checked::Checked;
use crate::store::{Gap, Store};

const HASH_BYTES: usize = 32;

/// Largest body.
const BODY_BYTES_MAX: usize = HASH_BYTES + SIGNATURE_BYTES + COMPRESSED_BYTES_MAX;

/// Largest file of device keys: a key has one line, and a gateway few keys.
const KEY_FILE_BYTES_MAX: u64 = 4096;

pub(super) async fn import<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    Address(gateway): Address<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let gateway = Name::new(&gateway)
        .map_err(|error| Refusal::new(Code::BadQuery, format!("gateway: {error}")))?;
    let body = read_body(request, CHUNK_CONTENT_TYPE, BODY_BYTES_MAX).await?;
    let Ok(_place) = app.expanded.acquire().await else {
        return Err(Refusal::new(Code::Busy, "the centre is stopping"));
    };
    let (bytes, received) = (body.len(), app.clock.wall_time());
    let of = deed.person.gateway_id(gateway.clone());
    let enrolled = app.store.identity(&of).await?;
    let keys = match enrolled {
        Some(_) => Some(app.store.device_keys(&of).await?),
        None => None,
    };
    let (of, folder) = (gateway.clone(), app.device_keys.clone());
    let checked = tokio::task::spawn_blocking(move || {
        let keys = keys.map_or_else(|| device_keys(&of, folder.as_deref()), Ok)?;
        verify(&of, &keys, &body, received)
    })
    .await
    .map_err(|_| Refusal::new(Code::Malformed, "the chunk could not be decoded"))??;
    let rows: usize = checked.request().rows.iter().map(|of| of.rows.len()).sum();
    let event = deed.done(&format!("{gateway}, {rows} rows"));
    let of = deed.person.gateway_id(gateway);
    let commit = app.store.commit_noted(&of, &checked, received, &event);
    let committed = commit.await?;
    count(&app, bytes, &committed);
    app.events.announce(of, &committed.streams);
    let gaps: Value = committed.gaps.iter().map(gap).collect();
    let answer =
        json!({"rows_new": committed.rows_new, "rows_known": committed.rows_known, "gaps": gaps});
    Ok((Extension(Noted), Json(answer)).into_response())
}

fn gap(gap: &Gap) -> Value {
    json!({"stream": gap.of.stream.as_str(), "epoch": gap.of.epoch.ordinal, "mark": gap.mark, "first": gap.first})
}

/// The rows of a chunk that a device of this gateway has signed.
fn verify(
    gateway: &Name,
    keys: &[PublicKey],
    body: &Bytes,
    received: WallTime,
) -> Result<Checked, Refusal> {
    let Some((before, signed)) = body.split_first_chunk::<HASH_BYTES>() else {
        return Err(Refusal::new(Code::Malformed, "body ends within its hash"));
    };
    let chunk = keys
        .iter()
        .find_map(|key| Chain::after(*before).verify(key, signed).ok());
    let Some(chunk) = chunk else {
        return Err(Refusal::new(
            Code::BadSignature,
            format!("no device of gateway {gateway} that is known here has signed this chunk"),
        ));
    };
    let chunk: Chunk = tidegate_wire::decode(chunk)
        .map_err(|error| Refusal::new(Code::Malformed, error.to_string()))?;
    if chunk.version != EXPORT_VERSION {
        let (found, known) = (chunk.version, EXPORT_VERSION);
        let message = format!("chunk has version {found}, this centre knows {known}");
        return Err(Refusal::new(Code::WrongVersion, message));
    }
    if chunk.gateway != *gateway {
        let message = format!("chunk is of gateway {}, not of {gateway}", chunk.gateway);
        return Err(Refusal::new(Code::Malformed, message));
    }
    let rows = match chunk.part {
        Part::Rows(rows) => rows,
        Part::Head(_) | Part::End(_) => Vec::new(),
    };
    Ok(Checked::imported(chunk.gateway, rows, received)?)
}

/// The keys of this gateway's devices: one, unless the machine was replaced.
pub(super) fn device_keys(
    gateway: &Name,
    folder: Option<&Path>,
) -> Result<Vec<PublicKey>, Refusal> {
    let unknown = || {
        Refusal::new(
            Code::UnknownDevice,
            format!(
                "this centre knows no device key of gateway {gateway}: put the one that its \
                 `tidegate device-key` prints into {gateway}.pub in the folder of --device-keys"
            ),
        )
    };
    let path = folder
        .ok_or_else(unknown)?
        .join(format!("{}.pub", gateway.as_str()));
    let text = match path.metadata().map(|metadata| metadata.len()) {
        Err(_) => return Err(unknown()),
        Ok(KEY_FILE_BYTES_MAX..) => Err(std::io::Error::other("it is too large")),
        Ok(_) => std::fs::read_to_string(&path),
    };
    let unreadable = |error: &dyn std::fmt::Display| {
        tracing::error!("device key {}: {error}", path.display());
        Refusal::new(
            Code::Storage,
            format!(
                "the device key of gateway {gateway} cannot be used, the centre's log says why"
            ),
        )
    };
    let text = text.map_err(|error| unreadable(&error))?;
    let keys = text.lines().filter(|line| !line.trim().is_empty());
    let keys: Result<Vec<_>, _> = keys.map(PublicKey::parse).collect();
    keys.map_err(|error| unreadable(&error))
}
