//! What is missing into what is shown: the loss ledger and the tallies, in plain words; pure.

use tidegate_wire::{LostValue, Reason, Tally, WallTime};

use super::text::{bytes, clean, grouped, short};
use super::view::{Moment, Now};
use crate::store::{self, Loss, SeriesRow};

/// Most values whose bounds are shown of one entry.
const VALUES_MAX: usize = 4;

/// One entry of the ledger.
#[derive(Debug)]
pub(super) struct EntryView {
    pub(super) stream: String,
    pub(super) reason: &'static str,
    pub(super) why: &'static str,
    pub(super) rows: u64,
    pub(super) rows_text: String,
    pub(super) bytes: String,
    pub(super) epoch: u64,
    /// Numbers that it covers.
    pub(super) first: String,
    pub(super) last: String,
    /// What they described.
    pub(super) from: Moment,
    pub(super) to: Moment,
    pub(super) bounds: Vec<String>,
    pub(super) received: Moment,
}

/// The sums of one stream and reason.
#[derive(Debug)]
pub(super) struct LossView {
    pub(super) stream: String,
    pub(super) reason: &'static str,
    pub(super) why: &'static str,
    pub(super) rows: u64,
    pub(super) rows_text: String,
    pub(super) bytes: String,
    pub(super) entries: String,
    pub(super) received: Moment,
}

/// Messages that led to nothing.
#[derive(Debug)]
pub(super) struct TallyView {
    pub(super) of: String,
    pub(super) reason: String,
    pub(super) why: String,
    pub(super) messages: u64,
    pub(super) messages_text: String,
    pub(super) bytes: String,
    pub(super) last: Moment,
}

/// An entry as it is shown; nothing of a row that is no entry.
pub(super) fn entry(now: Now, entry: &SeriesRow) -> Option<EntryView> {
    let row = &entry.held.row;
    let lost = store::lost(row)?;
    let end = row.time.0.saturating_add(row.duration_ns);
    Some(EntryView {
        stream: entry.stream.to_string(),
        reason: lost.reason.as_str(),
        why: why(lost.reason),
        rows: lost.rows,
        rows_text: grouped(lost.rows),
        bytes: bytes(lost.bytes),
        epoch: entry.held.epoch.ordinal,
        first: grouped(row.first()),
        last: grouped(row.seq),
        from: now.moment(row.time),
        to: now.moment(WallTime(end)),
        bounds: lost.values.iter().take(VALUES_MAX).map(bounds).collect(),
        received: now.moment(entry.held.received),
    })
}

pub(super) fn loss(now: Now, loss: &Loss) -> LossView {
    LossView {
        stream: loss.stream.to_string(),
        reason: loss.reason.as_str(),
        why: why(loss.reason),
        rows: loss.rows,
        rows_text: grouped(loss.rows),
        bytes: bytes(loss.bytes),
        entries: grouped(loss.entries),
        received: now.moment(loss.received),
    }
}

pub(super) fn tally(now: Now, tally: &Tally) -> TallyView {
    TallyView {
        of: tally.of.to_string(),
        reason: clean(&tally.reason),
        why: match tally.reason.as_str() {
            "rejected" => "the module set them aside".to_owned(),
            "late" => "they came after their window had closed".to_owned(),
            "unrouted" => "no module asks for their topic".to_owned(),
            "oversized" => "they were larger than a message may be".to_owned(),
            "malformed" => "they were no messages".to_owned(),
            "overflow" => {
                "they came faster than they could be taken, and wanted no answer".to_owned()
            }
            "damaged" => "they were damaged on disk before their module took them".to_owned(),
            other => clean(other),
        },
        messages: tally.messages,
        messages_text: grouped(tally.messages),
        bytes: bytes(tally.bytes),
        last: now.moment(tally.last),
    }
}

const fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Evicted => "the gateway's buffer was full",
        Reason::Forgotten => {
            "the centre held them, was restored from a backup, and the gateway no longer has them"
        }
        Reason::Quarantined => "the gateway's database was damaged",
        Reason::Elsewhere => {
            "the gateway's other centre holds them, or a file that it has exported"
        }
    }
}

fn bounds(value: &LostValue) -> String {
    let name = clean(&value.name);
    format!("{name} {} to {}", short(value.min), short(value.max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{START_NS, buffer, epoch, lost, name, row};
    use crate::store::HeldRow;
    use tidegate_wire::StoredRow;

    fn of(row: StoredRow) -> SeriesRow {
        SeriesRow {
            gateway: name("gw-1"),
            stream: name("a"),
            held: HeldRow {
                epoch: epoch(3),
                received: WallTime(START_NS + 120_000_000_000),
                row,
            },
        }
    }

    #[test]
    fn an_entry_says_what_is_missing_and_why() {
        let now = Now(WallTime(START_NS + 180_000_000_000));
        let view = entry(now, &of(lost(1, 60))).unwrap();
        assert_eq!((view.rows, view.bytes.as_str()), (60, "5.8 KiB"));
        assert_eq!((view.first.as_str(), view.last.as_str()), ("1", "60"));
        assert_eq!(view.why, "the gateway's buffer was full");
        let ago = (view.from.ago.as_str(), view.to.ago.as_str());
        assert_eq!(ago, ("2 min ago", "2 min ago"));
        assert_eq!(view.bounds, ["celsius 20.5 to 50"]);
        assert!(entry(now, &of(row(1))).is_none());
    }

    #[test]
    fn a_tally_is_told_in_plain_words_and_an_unknown_one_in_its_own() {
        let now = Now(WallTime(START_NS));
        let of = |reason: &str| {
            let mut tally = buffer().tallies.remove(0);
            tally.reason = reason.into();
            super::tally(now, &tally).why
        };
        assert_eq!(of("late"), "they came after their window had closed");
        assert_eq!(of("<b>\u{202E}"), "<b>\u{FFFD}");
    }
}
