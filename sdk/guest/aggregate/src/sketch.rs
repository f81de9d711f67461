//! Quantiles within 1 % in bounded space: a DDSketch, merged by adding its bins.
//!
//! A value falls into a bin whose bounds are at most 2.02 % apart, so the middle of the bin is within 1 % of it. The bins
//! follow a cubic approximation of the logarithm, made of the float's own exponent and mantissa (as in DDSketch's
//! reference implementation): it needs no `ln`, and gives the same bins on every machine.
//!
//! Bounds: at most `BINS_MAX` bins per sign. Beyond it the bins nearest to zero become one, so that the quantiles of
//! large values stay within 1 %. Written to the state a bin takes two to four bytes.

use serde::{Deserialize, Serialize};

/// Bins per sign: 512 of them span a factor of 28,000 between the least and the greatest value.
const BINS_MAX: usize = 512;

/// What is closer to zero than this counts as zero.
const ZERO_BELOW: f64 = 1e-12;

/// Bins per doubling: 0.7 / ln(1.01 / 0.99), where 0.7 is the approximation's least slope, inverted.
const BINS_PER_OCTAVE: f64 = 34.998_833_3;

/// A sketch of the distribution of a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sketch {
    zeros: u64,
    positive: Bins,
    negative: Bins,
}

impl Sketch {
    /// The one that was written down before, bin by bin, in any order.
    pub fn from_bins(zeros: u64, positive: &[(i32, u64)], negative: &[(i32, u64)]) -> Self {
        let bins = |written: &[(i32, u64)]| {
            let mut bins = Bins::default();
            written
                .iter()
                .for_each(|(bin, count)| bins.add(*bin, *count));
            bins
        };
        Self {
            zeros,
            positive: bins(positive),
            negative: bins(negative),
        }
    }

    /// How many values are closer to zero than any bin.
    pub const fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Bins of values above zero, with their counts, in ascending order.
    pub fn positive(&self) -> &[(i32, u64)] {
        &self.positive.0
    }

    /// Bins of the sizes of values below zero, with their counts, in ascending order.
    pub fn negative(&self) -> &[(i32, u64)] {
        &self.negative.0
    }

    /// Takes one value more. One that is not finite is not a value.
    pub fn add(&mut self, value: f64) {
        match value.abs() {
            size if !size.is_finite() => {}
            size if size < ZERO_BELOW => self.zeros += 1,
            size if value > 0.0 => self.positive.add(bin(size), 1),
            size => self.negative.add(bin(size), 1),
        }
    }

    /// Takes the values of another one.
    pub fn merge(&mut self, other: &Self) {
        self.zeros = self.zeros.saturating_add(other.zeros);
        for (own, others) in [
            (&mut self.positive, &other.positive),
            (&mut self.negative, &other.negative),
        ] {
            others.iter().for_each(|(bin, count)| own.add(bin, count));
        }
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.zeros
            .saturating_add(self.positive.count())
            .saturating_add(self.negative.count())
    }

    /// The value below which the part `q` (0 to 1) of the values lies, within 1 % of it; none without values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.count().checked_sub(1)?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "a rank needs no more than 53 bits"
        )]
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and last"
        )]
        let mut rank = (q.clamp(0.0, 1.0) * last as f64).round() as u64;
        let negative = self
            .negative
            .iter()
            .rev()
            .map(|(bin, count)| (-middle(bin), count));
        let positive = self
            .positive
            .iter()
            .map(|(bin, count)| (middle(bin), count));
        for (value, count) in negative.chain([(0.0, self.zeros)]).chain(positive) {
            match rank.checked_sub(count) {
                Some(rest) => rank = rest,
                None => return Some(value),
            }
        }
        None
    }
}

/// Counts by bin, in ascending order, without empty ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Gaps", from = "Gaps")]
struct Bins(Vec<(i32, u64)>);

/// As in the state: the distance from the bin before, which is short, instead of the bin.
#[derive(Serialize, Deserialize)]
struct Gaps(Vec<(i32, u64)>);

impl Bins {
    fn add(&mut self, bin: i32, count: u64) {
        match self.0.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(at) => {
                if let Some((_, counted)) = self.0.get_mut(at) {
                    *counted = counted.saturating_add(count);
                }
            }
            Err(at) => {
                self.0.insert(at, (bin, count));
                self.collapse();
            }
        }
    }

    /// Merges the two bins nearest to zero when there is one too many.
    fn collapse(&mut self) {
        if self.0.len() > BINS_MAX {
            let (_, count) = self.0.remove(0);
            if let Some((_, counted)) = self.0.first_mut() {
                *counted = counted.saturating_add(count);
            }
        }
    }

    fn count(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, (_, count)| count.saturating_add(sum))
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> {
        self.0.iter().copied()
    }
}

impl From<Bins> for Gaps {
    fn from(bins: Bins) -> Self {
        let mut before = 0;
        let gap = |(bin, count)| (bin - std::mem::replace(&mut before, bin), count);
        Self(bins.0.into_iter().map(gap).collect())
    }
}

impl From<Gaps> for Bins {
    fn from(gaps: Gaps) -> Self {
        let mut bin = 0_i32;
        let next = |(gap, count)| {
            bin = bin.wrapping_add(gap);
            (bin, count)
        };
        Self(gaps.0.into_iter().map(next).collect())
    }
}

// The cubic on the mantissa: 0 at 0, 1 at 1, and nowhere far from log2(1 + s).
const A: f64 = 6.0 / 35.0;
const B: f64 = -3.0 / 5.0;
const C: f64 = 10.0 / 7.0;

/// The bin of a positive normal number.
fn bin(value: f64) -> i32 {
    const MANTISSA_BITS: u32 = 52;
    let bits = value.to_bits();
    let exponent = i32::try_from(bits >> MANTISSA_BITS).unwrap_or(i32::MAX) - 1023;
    let mantissa = f64::from_bits(bits & ((1 << MANTISSA_BITS) - 1) | 1.0_f64.to_bits()) - 1.0;
    let octaves = f64::from(exponent) + ((A * mantissa + B) * mantissa + C) * mantissa;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "at most 1024 octaves of 35 bins"
    )]
    let bin = (octaves * BINS_PER_OCTAVE).floor() as i32;
    bin
}

/// The value whose relative distance to both bounds of the bin is the same.
fn middle(bin: i32) -> f64 {
    let (lower, upper) = (lower_bound(bin), lower_bound(bin.saturating_add(1)));
    lower * (2.0 / (1.0 + lower / upper))
}

/// Inverts the approximation: the exponent is the whole part, the mantissa Newton's root of the cubic.
fn lower_bound(bin: i32) -> f64 {
    let octaves = f64::from(bin) / BINS_PER_OCTAVE;
    let exponent = octaves.floor();
    let target = octaves - exponent;
    let mut mantissa = target;
    for _ in 0..6 {
        let error = ((A * mantissa + B) * mantissa + C) * mantissa - target;
        mantissa -= error / ((3.0 * A * mantissa + 2.0 * B) * mantissa + C);
    }
    exponent.exp2() * (1.0 + mantissa)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a position"
    )]
    fn exact(values: &[f64], q: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[(q * (sorted.len() - 1) as f64).round() as usize]
    }

    fn assert_within_one_percent(estimate: f64, value: f64) {
        assert!(
            (estimate - value).abs() <= 0.010_000_1 * value.abs(),
            "{estimate} is not within 1 % of {value}"
        );
    }

    #[test]
    fn every_value_is_within_one_percent_of_the_middle_of_its_bin() {
        let mut value = ZERO_BELOW;
        while value < 1e300 {
            assert_within_one_percent(middle(bin(value)), value);
            value *= 1.000_37;
        }
    }

    #[test]
    fn a_sketch_that_was_written_down_is_the_same() {
        let sketch = of(&[0.0, 1.0, 1.0, -7.0, 1e9]);
        let again = Sketch::from_bins(sketch.zeros(), sketch.positive(), sketch.negative());
        assert_eq!(again, sketch);
        let hostile = Sketch::from_bins(
            u64::MAX,
            &[(5, u64::MAX), (-5, 1), (5, 1)],
            &[(i32::MIN, 1)],
        );
        assert_eq!(hostile.count(), u64::MAX);
        assert!(hostile.quantile(1.0).is_some());
    }

    #[test]
    fn a_sketch_of_nothing_has_no_quantile() {
        assert_eq!(Sketch::default().quantile(0.5), None);
        assert_eq!(of(&[f64::NAN, f64::INFINITY]).quantile(0.5), None);
        assert_eq!(of(&[0.0, -0.0, 1e-300]).quantile(0.5), Some(0.0));
    }

    #[test]
    fn a_sketch_is_bounded_and_keeps_its_count_and_its_upper_quantiles() {
        let values: Vec<f64> = (0..100_000)
            .map(|step| 1e-9 * 1.000_5_f64.powi(step))
            .collect();
        let sketch = of(&values);
        assert_eq!(sketch.positive.0.len(), BINS_MAX);
        assert_eq!(sketch.count(), 100_000);
        assert_within_one_percent(sketch.quantile(0.99).unwrap(), exact(&values, 0.99));
        assert!(postcard::to_allocvec(&sketch).unwrap().len() < 2048);
    }

    #[test]
    fn a_typical_sketch_takes_two_bytes_a_bin() {
        let values: Vec<f64> = (0..100).map(|step| 20.0 + f64::from(step) * 0.05).collect();
        let sketch = of(&values);
        assert!(postcard::to_allocvec(&sketch).unwrap().len() <= 2 * sketch.positive.0.len() + 5);
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_one_percent(
            values in prop::collection::vec(prop_oneof![-1e3..1e3_f64, -1.0..1.0_f64, Just(0.0)], 1..300),
            q in 0.0..=1.0_f64,
        ) {
            let value = exact(&values, q);
            assert_within_one_percent(of(&values).quantile(q).unwrap(), value);
        }

        #[test]
        fn a_sketch_merges_and_is_stored_like_one(
            values in prop::collection::vec(-1e3..1e3_f64, 0..300),
            cut in 0_usize..300,
        ) {
            let (first, second) = values.split_at(cut.min(values.len()));
            let mut merged = of(first);
            merged.merge(&of(second));
            prop_assert_eq!(&merged, &of(&values));
            let stored = postcard::to_allocvec(&merged).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Sketch>(&stored).unwrap(), merged);
        }
    }
}
