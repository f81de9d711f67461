//! `GET /v1/blobs/sha256/{digest}`: the file of a release, or one of its artifacts, whole or in part.
//!
//! A file never changes under its digest: it can be kept for ever, mirrored, and gone on with where it was cut off. Its
//! bytes need no trust in this centre: who asks knows their digest, and the bundle is signed.

use std::io::SeekFrom;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tidegate_bundle::Digest;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::guard::Whose;
use super::releases::BUNDLE_CONTENT_TYPE;
use super::{App, Code, Refusal};
use crate::store::Store;

/// Of a file that never changes, for the one who asked.
const LASTING: &str = "private, max-age=31536000, immutable";

/// Read and sent at once.
const PIECE_BYTES: usize = 64 << 10;

pub(super) async fn blob<S: Store>(
    State(app): State<Arc<App<S>>>,
    Whose(tenant): Whose,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let unknown = || Refusal::new(Code::NotFound, "no release has a file with this digest");
    let digest = Digest::parse(&digest).map_err(|_| unknown())?;
    let blobs = app.blobs.as_ref().ok_or_else(unknown)?;
    let artifact = match app.store.has_blob(&tenant, digest).await? {
        true => None,
        false => Some(
            app.store
                .artifact(&tenant, digest)
                .await?
                .ok_or_else(unknown)?,
        ),
    };
    let blob = artifact.map_or(digest, |part| part.blob);
    let unreadable = |error: std::io::Error| {
        tracing::error!(%digest, %error, "cannot read a file of a release");
        Refusal::new(
            Code::Storage,
            "the centre's storage failed, try again later",
        )
    };
    let mut file = File::open(blobs.path(blob)).await.map_err(unreadable)?;
    let whole = file.metadata().await.map_err(unreadable)?.len();
    let (start, length) = artifact.map_or((0, whole), |part| (part.start, part.length));
    let content_type = match artifact {
        None => BUNDLE_CONTENT_TYPE,
        Some(_) => "application/octet-stream",
    };
    let tag = format!("\"{digest}\"");
    let lasting = [
        (header::ETAG, tag.clone()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, LASTING.to_owned()),
        (header::CONTENT_TYPE, content_type.to_owned()),
    ];
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|known| matches(known, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, lasting).into_response());
    }
    let same = text(header::IF_RANGE).is_none_or(|known| known == tag);
    let asked = part(text(header::RANGE).filter(|_| same), length);
    let range = |said| [(header::CONTENT_RANGE, said)];
    let (first, last) = match asked {
        Part::Whole => (0, length.saturating_sub(1)),
        Part::Of { first, last } => (first, last),
        Part::Beyond => {
            let refusal = Refusal::new(Code::BadRange, format!("the file has {length} bytes"));
            return Ok((range(format!("bytes */{length}")), refusal).into_response());
        }
    };
    file.seek(SeekFrom::Start(start.saturating_add(first)))
        .await
        .map_err(unreadable)?;
    let count = last.saturating_add(1).saturating_sub(first).min(length);
    let size = [(header::CONTENT_LENGTH, count.to_string())];
    let body = (lasting, size, Body::from_stream(pieces(file, count)));
    Ok(match asked {
        Part::Of { .. } => {
            let range = range(format!("bytes {first}-{last}/{length}"));
            (StatusCode::PARTIAL_CONTENT, range, body).into_response()
        }
        _ => body.into_response(),
    })
}

/// Whether one of the tags that a client knows is this one.
pub(super) fn matches(known: &str, tag: &str) -> bool {
    let weak = |one: &str| one.trim().trim_start_matches("W/") == tag;
    known.trim() == "*" || known.split(',').any(weak)
}

/// What is asked for of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Of { first: u64, last: u64 },
    Beyond,
}

/// One range of bytes. Several, or what is none, get the whole file, as the standard allows.
fn part(asked: Option<&str>, length: u64) -> Part {
    let range = asked.and_then(|asked| asked.trim().strip_prefix("bytes="));
    let Some((first, last)) = range.and_then(|range| range.trim().split_once('-')) else {
        return Part::Whole;
    };
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    let end = length.saturating_sub(1);
    let (first, last) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.min(end)),
        (Some(first), None) if last.is_empty() => (first, end),
        (None, Some(count)) if first.is_empty() => match count {
            0 => return Part::Beyond,
            count => (length.saturating_sub(count), end),
        },
        _ => return Part::Whole,
    };
    match first < length {
        true => Part::Of { first, last },
        false => Part::Beyond,
    }
}

/// So many bytes of a file, from where it stands. A file that is shorter ends the connection with an error, and not as if
/// it were whole.
fn pieces(
    file: File,
    count: u64,
) -> impl stream::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    stream::try_unfold((file, count), async |(mut file, left)| {
        if left == 0 {
            return Ok(None);
        }
        let size = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let mut piece = vec![0; size];
        file.read_exact(&mut piece).await?;
        let left = left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
        Ok(Some((Bytes::from(piece), (file, left))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_the_whole_or_beyond_the_end() {
        let of = |first, last| Part::Of { first, last };
        for (asked, expected) in [
            (None, Part::Whole),
            (Some("bytes=0-0"), of(0, 0)),
            (Some("bytes=2-"), of(2, 9)),
            (Some("bytes=9-9"), of(9, 9)),
            (Some("bytes=5-99"), of(5, 9)),
            (Some("bytes=-3"), of(7, 9)),
            (Some("bytes=-99"), of(0, 9)),
            (Some("bytes=-0"), Part::Beyond),
            (Some("bytes=10-"), Part::Beyond),
            (Some("bytes=99-100"), Part::Beyond),
            (Some("bytes=5-2"), Part::Whole),
            (Some("bytes=0-1,4-5"), Part::Whole),
            (Some("bytes=-"), Part::Whole),
            (Some("bytes=+1-2"), Part::Whole),
            (Some("bytes=99999999999999999999-"), Part::Whole),
            (Some("rows=1-2"), Part::Whole),
        ] {
            assert_eq!(part(asked, 10), expected, "{asked:?}");
        }
        assert_eq!(part(Some("bytes=0-"), 0), Part::Beyond);
    }

    #[test]
    fn a_tag_is_found_among_those_that_a_client_knows() {
        for known in ["\"a\"", "\"b\", \"a\"", "W/\"a\"", "*"] {
            assert!(matches(known, "\"a\""), "{known}");
        }
        assert!(!matches("\"b\", a", "\"a\""));
    }
}
