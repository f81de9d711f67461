//! `POST /v1/sync`: read, verify, expand, check, commit, and only then answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use minicbor::Decode;
use tidegate_wire::codec::COMPRESSED_BYTES_MAX;
use tidegate_wire::{CONTENT_TYPE, SyncReply, SyncRequest, VERSION};

use super::device::{Claimed, believed};
use super::{App, Code, Refusal};
use crate::checked::{Checked, Flaw};
use crate::store::{Committed, Store};

pub(super) async fn sync<S: Store>(
    State(app): State<Arc<App<S>>>,
    request: Request,
) -> Result<Response, Refusal> {
    let claimed = Claimed::read(&request);
    let body = read_body(request, CONTENT_TYPE, COMPRESSED_BYTES_MAX).await?;
    let signed = claimed.signed(&app, &body).await?;
    let begun = app.clock.boot_time();
    let Ok(_place) = app.expanded.acquire().await else {
        return Err(Refusal::new(Code::Busy, "the centre is stopping"));
    };
    let bytes = body.len();
    let checked = tokio::task::spawn_blocking(move || expand(&body))
        .await
        .map_err(|_| Refusal::new(Code::Malformed, "the request could not be decoded"))??;
    let (said, now) = (checked.request(), app.clock.wall_time());
    let (of, committed) = match signed {
        Some(signed) => {
            signed.check_body(&said.gateway, said.epoch)?;
            let (of, heard) = (signed.of, signed.heard);
            let committed = app.store.commit_signed(&of, &checked, now, &heard).await?;
            (of, committed)
        }
        None => {
            let of = believed(&app, said.gateway.clone()).await?;
            let committed = app.store.commit(&of, &checked, now).await?;
            (of, committed)
        }
    };

    app.counters.syncs.fetch_add(1, Ordering::Relaxed);
    count(&app, bytes, &committed);
    for gap in &committed.gaps {
        let (stream, ordinal) = (&gap.of.stream, gap.of.epoch.ordinal);
        tracing::warn!(gateway = %of.gateway, %stream, ordinal, mark = gap.mark, first = gap.first, "rows begin beyond the mark");
    }
    let rows = checked.request().rows.iter().map(|of| of.rows.len()).sum();
    let now = app.clock.boot_time();
    let asked = app.pacer.ask(&of, rows, now.since(begun), now);
    app.events.announce(of, &committed.streams);
    let reply = SyncReply {
        version: VERSION,
        marks: committed.marks,
        server_time: app.clock.wall_time(),
        next_poll_ms: u32::try_from(asked.poll.as_millis()).unwrap_or(u32::MAX),
        pace: asked.pace,
    };
    let reply = tidegate_wire::encode(&reply)
        .map_err(|error| Refusal::new(Code::TooLarge, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], reply).into_response())
}

/// The body, if it is of this type and no longer.
pub(super) async fn read_body(
    request: Request,
    content_type: &str,
    bytes_max: usize,
) -> Result<Bytes, Refusal> {
    if request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|found| found != content_type)
    {
        return Err(Refusal::new(
            Code::WrongContentType,
            format!("content type must be {content_type}"),
        ));
    }
    let too_large = || Refusal::new(Code::TooLarge, format!("body is over {bytes_max} bytes"));
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced
        .is_some_and(|bytes: u64| usize::try_from(bytes).map_or(true, |bytes| bytes > bytes_max))
    {
        return Err(too_large());
    }
    to_bytes(request.into_body(), bytes_max)
        .await
        .map_err(|error| {
            // A body without an announced length ends over the bound; any other end is the connection's.
            let source = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            if source.contains("length limit") {
                too_large()
            } else {
                Refusal::new(Code::Malformed, "body ended early")
            }
        })
}

fn expand(body: &[u8]) -> Result<Checked, Refusal> {
    let request: SyncRequest =
        tidegate_wire::decode(body).map_err(|error| explain(body, &error))?;
    Ok(Checked::new(request)?)
}

/// A message of another version may have another shape: its number alone can then still be read.
fn explain(body: &[u8], error: &tidegate_wire::Error) -> Refusal {
    #[derive(Decode)]
    struct Versioned {
        #[n(0)]
        version: u32,
    }
    if let (tidegate_wire::Error::Malformed(_), Ok(Versioned { version })) =
        (error, tidegate_wire::decode(body))
        && version != VERSION
    {
        return Flaw::Version(version).into();
    }
    let code = match error {
        tidegate_wire::Error::TooLarge { .. } => Code::TooLarge,
        _ => Code::Malformed,
    };
    let cause = std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    Refusal::new(code, format!("{error}{cause}"))
}

/// What rows came to, whatever brought them.
pub(super) fn count<S>(app: &App<S>, bytes: usize, committed: &Committed) {
    let counters = &app.counters;
    counters
        .bytes
        .fetch_add(bytes.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    counters
        .rows_new
        .fetch_add(committed.rows_new, Ordering::Relaxed);
    counters
        .rows_known
        .fetch_add(committed.rows_known, Ordering::Relaxed);
    counters.gaps.fetch_add(
        committed.gaps.len().try_into().unwrap_or(u64::MAX),
        Ordering::Relaxed,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use minicbor::Encode;

    #[derive(Encode)]
    struct Later {
        #[n(0)]
        version: u32,
        #[n(1)]
        gateway: u32,
    }

    #[test]
    fn another_version_is_told_from_a_malformed_message() {
        let later = tidegate_wire::encode(&Later {
            version: 2,
            gateway: 7,
        })
        .unwrap();
        let expected = Refusal::new(
            Code::WrongVersion,
            "request speaks version 2, this centre speaks 1",
        );
        assert_eq!(expand(&later).unwrap_err(), expected);
        let same = tidegate_wire::encode(&Later {
            version: 1,
            gateway: 7,
        })
        .unwrap();
        let refusal = expand(&same).unwrap_err();
        assert!(
            format!("{refusal:?}").contains("message is malformed: "),
            "{refusal:?}"
        );
    }
}
