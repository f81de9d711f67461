//! Many rows into few; pure. Rows give way to summaries of them, or to an entry of the loss ledger.
//!
//! What comes out covers the same numbers as what went in, without gaps, and says exactly how many rows there were and
//! the least and greatest of each of their values. Rows that have to stay (of another class, or such that cannot be
//! summarised) stay as they are, under their own numbers; and so do those that would not take less room afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_aggregate::{Moments, Sketch, Summary};
use tidegate_record::{
    Bins, Class, Content, Lost, LostValue, NamedValue, Numbers, Reason, Scalar, StoredRow, Thinned,
    ThinnedValue, WallTime,
};

/// Integers beyond this are not exact as a float.
const EXACT_MAX: u64 = 1 << 53;

/// How rows give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// To one row for each series and span of this length.
    Thin(Duration),
    /// To an entry of the loss ledger.
    Evict,
}

/// Rewrites `rows`, which are consecutive in one stream and epoch: what is of `class` gives way.
pub(crate) fn rewrite(rows: Vec<StoredRow>, class: Class, how: How) -> Vec<StoredRow> {
    let gives_way = |row: &StoredRow| {
        row.class == class
            && match how {
                How::Thin(_) => can_be_thinned(&row.content),
                How::Evict => can_be_evicted(&row.content),
            }
    };
    let (mut all, mut run) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        if gives_way(&row) {
            run.push(row);
        } else {
            end_run(&mut run, how, &mut all);
            all.push(row);
        }
    }
    end_run(&mut run, how, &mut all);
    all
}

fn end_run(run: &mut Vec<StoredRow>, how: How, all: &mut Vec<StoredRow>) {
    let before = std::mem::take(run);
    let after = match how {
        How::Thin(span) => thin(&before, span),
        How::Evict => evict(&before).into_iter().collect(),
    };
    // A step that takes more room than it makes finds none, and so nothing would ever go on.
    let takes = |rows: &[StoredRow]| rows.iter().map(crate::rows::bytes).sum::<u64>();
    let is_less = takes(&after) < takes(&before);
    all.extend(if is_less { after } else { before });
}

fn can_be_thinned(content: &Content) -> bool {
    match content {
        Content::Values(values) => values.iter().all(|value| match value.value {
            Scalar::Integer(integer) => integer.unsigned_abs() <= EXACT_MAX,
            Scalar::Boolean(_) | Scalar::Number(_) | Scalar::Text(_) => true,
        }),
        Content::Thinned(_) => true,
        Content::Document(_) | Content::Lost(_) => false,
    }
}

/// An entry keeps its reason.
fn can_be_evicted(content: &Content) -> bool {
    match content {
        Content::Lost(lost) => lost.reason == Reason::Evicted,
        Content::Values(_) | Content::Document(_) | Content::Thinned(_) => true,
    }
}

/// One summary for each series and span, in the order of the spans. They take the last numbers of the run, and the first
/// of them covers all those before.
fn thin(rows: &[StoredRow], span: Duration) -> Vec<StoredRow> {
    let (Some(from), Some(last)) = (rows.first().map(StoredRow::first), rows.last()) else {
        return Vec::new();
    };
    let last = last.seq;
    let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1);
    let mut groups: BTreeMap<(u64, String), Group> = BTreeMap::new();
    for row in rows {
        let begins = row.time.0 - row.time.0 % span;
        let group = groups.entry((begins, row.key.clone())).or_default();
        group.add(row);
    }
    let count = u64::try_from(groups.len()).unwrap_or(u64::MAX);
    let first = last.saturating_sub(count.saturating_sub(1));
    let summaries = (first..).zip(groups);
    summaries
        .filter_map(|(seq, ((begins, key), group))| {
            let mut row = group.into_row(WallTime(begins), span)?;
            row.key = key;
            row.seq = seq;
            row.from = (seq == first && from < seq).then_some(from);
            Some(row)
        })
        .collect()
}

/// One entry of the ledger for all of them.
fn evict(rows: &[StoredRow]) -> Option<StoredRow> {
    let (first, last) = (rows.first()?, rows.last()?);
    let mut lost = Lost {
        reason: Reason::Evicted,
        rows: 0,
        bytes: 0,
        values: Vec::new(),
    };
    for row in rows {
        add_lost(&mut lost, row);
    }
    Some(StoredRow {
        from: (first.first() < last.seq).then_some(first.first()),
        content: Content::Lost(lost),
        key: String::new(),
        time: first.time,
        duration_ns: end(last).saturating_sub(first.time.0),
        trace: None,
        ..last.clone()
    })
}

const fn end(row: &StoredRow) -> u64 {
    row.time.0.saturating_add(row.duration_ns)
}

fn add_lost(lost: &mut Lost, row: &StoredRow) {
    match &row.content {
        Content::Lost(earlier) => {
            lost.rows = lost.rows.saturating_add(earlier.rows);
            lost.bytes = lost.bytes.saturating_add(earlier.bytes);
            for value in &earlier.values {
                bound(lost, value.clone());
            }
            return;
        }
        Content::Thinned(thinned) => {
            lost.rows = lost.rows.saturating_add(thinned.rows);
            for value in &thinned.values {
                if let Some(numbers) = &value.numbers {
                    bound(
                        lost,
                        bounds(&value.name, numbers.count, numbers.min, numbers.max),
                    );
                }
            }
        }
        Content::Values(values) => {
            lost.rows = lost.rows.saturating_add(1);
            for value in values {
                if let Some(number) = number(&value.value) {
                    bound(lost, bounds(&value.name, 1, number, number));
                }
            }
        }
        Content::Document(_) => lost.rows = lost.rows.saturating_add(1),
    }
    lost.bytes = lost.bytes.saturating_add(crate::rows::bytes(row));
}

fn bounds(name: &str, count: u64, min: f64, max: f64) -> LostValue {
    LostValue {
        name: name.to_owned(),
        count,
        min,
        max,
    }
}

fn bound(lost: &mut Lost, more: LostValue) {
    let known = lost.values.len();
    match lost.values.iter_mut().find(|value| value.name == more.name) {
        Some(value) => {
            value.count = value.count.saturating_add(more.count);
            value.min = value.min.min(more.min);
            value.max = value.max.max(more.max);
        }
        None if known < Lost::VALUES_MAX => lost.values.push(more),
        None => {}
    }
}

/// A scalar that can be compared as a number.
fn number(scalar: &Scalar) -> Option<f64> {
    match scalar {
        Scalar::Boolean(on) => Some(f64::from(u8::from(*on))),
        #[allow(
            clippy::cast_precision_loss,
            reason = "rows with larger integers are not thinned, and a bound may round"
        )]
        Scalar::Integer(integer) => Some(*integer as f64),
        Scalar::Number(number) => number.is_finite().then_some(*number),
        Scalar::Text(_) => None,
    }
}

/// Rows of one series and span.
#[derive(Default)]
struct Group {
    rows: u64,
    values: Vec<Value>,
    last: Option<StoredRow>,
}

struct Value {
    name: String,
    count: u64,
    first: Scalar,
    last: Scalar,
    numbers: Summary,
}

impl Group {
    fn add(&mut self, row: &StoredRow) {
        match &row.content {
            Content::Values(values) => {
                self.rows = self.rows.saturating_add(1);
                for NamedValue { name, value } in values {
                    let into = self.value(name, value);
                    into.count = into.count.saturating_add(1);
                    into.last = value.clone();
                    if let Some(number) = number(value) {
                        into.numbers.add(number);
                    }
                }
            }
            Content::Thinned(thinned) => {
                self.rows = self.rows.saturating_add(thinned.rows);
                for value in &thinned.values {
                    let into = self.value(&value.name, &value.first);
                    into.count = into.count.saturating_add(value.count);
                    into.last = value.last.clone();
                    if let Some(numbers) = &value.numbers {
                        into.numbers.merge(&summary(numbers));
                    }
                }
            }
            Content::Document(_) | Content::Lost(_) => {}
        }
        self.last = Some(row.clone());
    }

    fn value(&mut self, name: &str, first: &Scalar) -> &mut Value {
        let position = self.values.iter().position(|value| value.name == name);
        let position = position.unwrap_or_else(|| {
            self.values.push(Value {
                name: name.to_owned(),
                count: 0,
                first: first.clone(),
                last: first.clone(),
                numbers: Summary::default(),
            });
            self.values.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "found or pushed just now")]
        &mut self.values[position]
    }

    fn into_row(self, begins: WallTime, span: u64) -> Option<StoredRow> {
        let values = self.values.into_iter().map(|value| ThinnedValue {
            name: value.name,
            count: value.count,
            first: value.first,
            last: value.last,
            numbers: numbers(&value.numbers),
        });
        let content = Content::Thinned(Thinned {
            rows: self.rows,
            values: values.collect(),
        });
        let last = self.last?;
        let ends = end(&last).max(begins.0.saturating_add(span));
        Some(StoredRow {
            content,
            time: begins,
            duration_ns: ends.saturating_sub(begins.0),
            trace: None,
            ..last
        })
    }
}

fn summary(numbers: &Numbers) -> Summary {
    let Numbers {
        count,
        min,
        max,
        mean,
        squares,
        sketch,
    } = numbers;
    Summary {
        moments: Moments::from_parts(*count, *min, *max, *mean, *squares),
        sketch: Sketch::from_bins(sketch.zeros, &sketch.positive, &sketch.negative),
    }
}

fn numbers(summary: &Summary) -> Option<Numbers> {
    let (moments, sketch) = (&summary.moments, &summary.sketch);
    Some(Numbers {
        count: moments.count(),
        min: moments.min()?,
        max: moments.max()?,
        mean: moments.mean()?,
        squares: moments.squares(),
        sketch: Bins {
            zeros: sketch.zeros(),
            positive: sketch.positive().to_vec(),
            negative: sketch.negative().to_vec(),
        },
    })
}

#[cfg(test)]
mod tests;
