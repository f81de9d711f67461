//! What becomes of the rows of one stream and epoch, given its mark.

use tidegate_wire::StoredRow;

/// See [`verdict`].
#[derive(Debug, PartialEq)]
pub(super) enum Verdict<'r> {
    /// They begin beyond the mark: none is kept, and the mark tells the gateway where to begin.
    Gap {
        /// Where they begin.
        first: u64,
    },
    /// They meet or overlap what is held.
    Append {
        /// Held already: to be compared, not kept again.
        known: &'r [StoredRow],
        /// To be kept. The first of them covers the numbers from the mark's next, whatever it covered at its gateway.
        new: &'r [StoredRow],
    },
}

/// Splits `rows`, which cover their numbers without a gap, at `mark`.
pub(super) fn verdict(mark: u64, rows: &[StoredRow]) -> Verdict<'_> {
    let next = mark.saturating_add(1);
    let first = rows.first().map_or(next, StoredRow::first);
    if first > next {
        return Verdict::Gap { first };
    }
    let (known, new) = rows.split_at(rows.partition_point(|row| row.seq <= mark));
    Verdict::Append { known, new }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{lost, row, thinned};

    #[test]
    fn every_position_of_rows_against_the_mark_has_its_verdict() {
        let rows: Vec<_> = (4..=6).map(row).collect();
        for mark in 0..3 {
            assert_eq!(
                verdict(mark, &rows),
                Verdict::Gap { first: 4 },
                "mark {mark}"
            );
        }
        for (mark, known) in [(3, 0), (4, 1), (5, 2), (6, 3), (7, 3), (u64::MAX, 3)] {
            let expected = Verdict::Append {
                known: &rows[..known],
                new: &rows[known..],
            };
            assert_eq!(verdict(mark, &rows), expected, "mark {mark}");
        }
        assert_eq!(
            verdict(9, &[]),
            Verdict::Append {
                known: &[],
                new: &[]
            }
        );
    }

    #[test]
    fn a_row_is_new_if_the_mark_lies_before_the_last_number_that_it_covers() {
        // They cover 4, 5 to 9 and 10 to 12.
        let rows = [row(4), thinned(5, 9), lost(10, 12)];
        assert_eq!(verdict(2, &rows), Verdict::Gap { first: 4 });
        assert_eq!(verdict(8, &rows[2..]), Verdict::Gap { first: 10 });
        for (mark, known) in [(3, 0), (4, 1), (5, 1), (8, 1), (9, 2), (11, 2), (12, 3)] {
            let expected = Verdict::Append {
                known: &rows[..known],
                new: &rows[known..],
            };
            assert_eq!(verdict(mark, &rows), expected, "mark {mark}");
        }
    }
}
