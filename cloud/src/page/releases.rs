//! `GET /releases`: what may be rolled out.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::text::{bytes, clean};
use super::view::{Moment, Now};
use super::{Footer, footer, render};
use crate::access::Person;
use crate::http::{App, Refusal};
use crate::store::Store;
use crate::store::releases::KeptRelease;

/// Shown at once; the API has them all.
const RELEASES_SHOWN: u32 = 500;

/// Digits that tell one release from another for people.
const SHORT: usize = 12;

#[derive(Template)]
#[template(path = "releases.html")]
struct Releases {
    now: Now,
    person: Person,
    footer: Footer,
    releases: Vec<ReleaseView>,
    more: bool,
}

struct ReleaseView {
    module: String,
    version: String,
    counter: u64,
    identity: String,
    short: String,
    blob: String,
    size: String,
    by: String,
    received: Moment,
}

pub(crate) async fn releases<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
) -> Result<Response, Refusal> {
    let kept = app.store.releases(&person.tenant, None, RELEASES_SHOWN);
    let kept = kept.await?;
    let now = Now(app.clock.wall_time());
    let views = kept.items.into_iter().map(|release| view(now, release));
    render(&Releases {
        releases: views.collect(),
        more: kept.more,
        footer: footer(&app),
        now,
        person,
    })
}

fn view(now: Now, release: KeptRelease) -> ReleaseView {
    ReleaseView {
        module: release.module.to_string(),
        version: clean(&release.version),
        counter: release.counter,
        short: release.identity.chars().take(SHORT).collect(),
        identity: release.identity,
        blob: release.blob,
        size: bytes(release.bytes),
        by: release.by,
        received: now.moment(release.received),
    }
}
