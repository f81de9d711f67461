//! What must become of a changed bundle, worked out from where it was changed.

use std::ops::Range;

use super::oracle::{Judgement, judge};
use super::subject::Subject;

const BLOCK: usize = 512;
/// Bytes of a header that nobody reads: mode, owner, time, names of owners, devices, and what is left over.
const UNREAD: [Range<usize>; 4] = [100..124, 136..148, 265..345, 500..512];

/// A genuine bundle of one component, and where its parts are.
pub(crate) struct Bundle {
    pub(crate) bytes: Vec<u8>,
    document: Range<usize>,
    component: Range<usize>,
}

/// A part of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Header { unread: bool },
    Document,
    Component,
    Padding,
    End,
}

impl Bundle {
    /// `document` and `component` are what it was made of.
    pub(crate) fn new(bytes: Vec<u8>, document: &[u8], component: &[u8]) -> Self {
        let document = BLOCK..BLOCK + document.len();
        let start = document.end.next_multiple_of(BLOCK) + BLOCK;
        Self {
            bytes,
            component: start..start + component.len(),
            document,
        }
    }

    /// Judges changed bytes of it; `release` is the document in it.
    pub(crate) fn judge(&self, release: &Subject, bytes: &[u8]) -> Judgement {
        if let Some(more) = bytes.strip_prefix(&*self.bytes) {
            return if more.iter().all(|byte| *byte == 0) {
                Judgement::Same
            } else {
                Judgement::Refused(vec!["trailing-data"])
            };
        }
        if self.bytes.starts_with(bytes) {
            return Judgement::Refused(vec!["truncated"]);
        }
        if bytes.len() != self.bytes.len() {
            // Whatever is behind the change has moved: it is no header any more, is not where one is looked for, or is gone.
            let reasons = [
                "malformed",
                "trailing-data",
                "truncated",
                "unexpected-entry",
                "missing-entry",
            ];
            return Judgement::Refused(reasons.into());
        }
        let pairs = self.bytes.iter().zip(bytes).enumerate();
        let changed = pairs.filter(|(_, (old, new))| old != new);
        let mut parts: Vec<Part> = changed.map(|(at, _)| self.part(at)).collect();
        parts.dedup();
        let unread = Part::Header { unread: true };
        let sums_hold = self.sums_hold(bytes);
        if sums_hold && parts.iter().all(|part| *part == unread) {
            return Judgement::Same;
        }
        let mut reasons: Vec<_> = parts
            .iter()
            .flat_map(|part| part.reasons(sums_hold))
            .copied()
            .collect();
        if parts.contains(&Part::Document) {
            let document = bytes.get(self.document.clone()).unwrap_or_default();
            match judge(release, document) {
                Judgement::Refused(more) => reasons.extend(more),
                Judgement::Same => {}
            }
        }
        if reasons.is_empty() {
            Judgement::Same
        } else {
            Judgement::Refused(reasons)
        }
    }

    fn part(&self, at: usize) -> Part {
        let within = at % BLOCK;
        let unread = UNREAD.iter().any(|field| field.contains(&within));
        if self.document.contains(&at) {
            Part::Document
        } else if self.component.contains(&at) {
            Part::Component
        } else if at < BLOCK || (self.component.start - BLOCK..self.component.start).contains(&at) {
            Part::Header { unread }
        } else if at < self.component.end.next_multiple_of(BLOCK) {
            Part::Padding
        } else {
            Part::End
        }
    }

    /// Whether the bytes of each header add up to what they did.
    fn sums_hold(&self, bytes: &[u8]) -> bool {
        let sum = |bytes: &[u8], start| -> u32 {
            bytes
                .iter()
                .skip(start)
                .take(BLOCK)
                .map(|byte| u32::from(*byte))
                .sum()
        };
        let starts = [0, self.component.start - BLOCK];
        starts
            .iter()
            .all(|start| sum(bytes, *start) == sum(&self.bytes, *start))
    }
}

impl Part {
    /// What a change in this part comes to; `sums_hold` if changes of headers make up for each other.
    fn reasons(self, sums_hold: bool) -> &'static [&'static str] {
        match self {
            Self::Header { .. } if !sums_hold => &["malformed"],
            // Two digits of a name or a length have changed places.
            Self::Header { .. } => &[
                "malformed",
                "unexpected-entry",
                "missing-entry",
                "truncated",
                "trailing-data",
                "length",
            ],
            Self::Document => &[],
            Self::Component => &["digest-mismatch"],
            Self::Padding => &["trailing-data"],
            // A block that is not zero is taken for a header.
            Self::End => &["trailing-data", "malformed"],
        }
    }
}
