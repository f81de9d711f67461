//! A promise that is broken on purpose when `TIDEGATE_FAULT` says so: a negative control of the product's tests. No program
//! that is shipped has it.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_record::{Mark, StreamEpoch};
use tidegate_wire::{SyncReply, SyncRequest};

use crate::client::Client;
use crate::error::Error;

/// Sends `request`, without the identity of its rows where that is the fault.
pub(crate) async fn sync(client: &mut Client, request: &SyncRequest) -> Result<SyncReply, Error> {
    let nameless = Nameless::of(request);
    let reply = client
        .sync(tidegate_wire::encode(&nameless.request)?, request.epoch)
        .await?;
    Ok(nameless.recognised(reply))
}

/// A request whose rows have lost their identity (`no-identity`): each time they go out they are numbered from 1, in an
/// epoch that nobody has heard of. The centre cannot know that it has them.
struct Nameless {
    /// What is sent.
    request: SyncRequest,
    disguised: Vec<Disguised>,
}

struct Disguised {
    of: StreamEpoch,
    sent_as: StreamEpoch,
    /// What was taken off each number.
    before: u64,
}

impl Nameless {
    /// The request as it is, unless the fault is on.
    fn of(request: &SyncRequest) -> Self {
        let (mut request, mut disguised) = (request.clone(), Vec::new());
        if std::env::var_os("TIDEGATE_FAULT").is_some_and(|fault| fault == "no-identity") {
            static REQUESTS: AtomicU64 = AtomicU64::new(1);
            let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
            for rows in &mut request.rows {
                let of = rows.of.clone();
                // Mixed, so that neither another request nor another start gives the same.
                rows.of.epoch.random ^= number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let before = rows.rows.first().map_or(0, |row| row.first() - 1);
                for row in &mut rows.rows {
                    row.seq -= before;
                    row.from = row.from.map(|from| from - before);
                }
                let sent_as = rows.of.clone();
                disguised.push(Disguised {
                    of,
                    sent_as,
                    before,
                });
            }
        }
        Self { request, disguised }
    }

    /// The reply, with the marks of what was meant.
    fn recognised(&self, mut reply: SyncReply) -> SyncReply {
        if self.disguised.is_empty() {
            return reply;
        }
        let meant = |mark: Mark| {
            let mut disguised = self.disguised.iter();
            let found = disguised.find(|disguised| disguised.sent_as == mark.of)?;
            Some(Mark {
                of: found.of.clone(),
                seq: mark.seq + found.before,
            })
        };
        reply.marks = reply.marks.into_iter().filter_map(meant).collect();
        reply
    }
}
