//! Count, least, greatest, mean and variance in constant space (Welford's update, Chan's merge).

use serde::{Deserialize, Serialize};

/// Count, least, greatest, mean and variance of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
}

impl Moments {
    /// Those that were written down before: count, least, greatest, mean and the sum of the squared distances from it.
    pub const fn from_parts(count: u64, min: f64, max: f64, mean: f64, squares: f64) -> Self {
        Self {
            count,
            min,
            max,
            mean,
            squares,
        }
    }

    /// Takes one value more.
    pub fn add(&mut self, value: f64) {
        self.merge(&Self {
            count: 1,
            min: value,
            max: value,
            mean: value,
            squares: 0.0,
        });
    }

    /// Takes the values of another one.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let count = self.count.saturating_add(other.count);
        let (own, others, all) = (float(self.count), float(other.count), float(count));
        let distance = other.mean - self.mean;
        self.count = count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.mean += distance * others / all;
        self.squares += other.squares + distance * distance * own * others / all;
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The least value; none without values.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The greatest value; none without values.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The mean; none without values.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The sum of the squared distances from the mean.
    pub const fn squares(&self) -> f64 {
        self.squares
    }

    /// The variance of the sample; 0 for a single value, none without values.
    pub fn variance(&self) -> Option<f64> {
        match self.count {
            0 => None,
            1 => Some(0.0),
            count => Some(self.squares / float(count - 1)),
        }
    }

    /// The standard deviation of the sample, like [`Moments::variance`].
    pub fn stddev(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53 values, close beyond"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|value| moments.add(*value));
        moments
    }

    #[test]
    fn moments_of_nothing_are_none_and_of_one_value_the_value() {
        let mut moments = Moments::default();
        assert_eq!(
            (moments.min(), moments.mean(), moments.variance()),
            (None, None, None)
        );
        moments.merge(&Moments::default());
        assert_eq!(moments, Moments::default());
        moments.add(-2.5);
        assert_eq!(
            (moments.min(), moments.max(), moments.mean()),
            (Some(-2.5), Some(-2.5), Some(-2.5))
        );
        assert_eq!(moments.stddev(), Some(0.0));
    }

    #[test]
    fn a_small_variance_on_a_large_offset_is_not_lost() {
        let moments = of(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
        assert_eq!(moments.variance(), Some(30.0));
    }

    proptest! {
        #[test]
        fn moments_agree_with_the_definition_and_merge_like_one(
            values in prop::collection::vec(-1e6..1e6_f64, 1..200),
            cut in 0_usize..200,
        ) {
            let (first, second) = values.split_at(cut.min(values.len()));
            let mut merged = of(first);
            merged.merge(&of(second));
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let variance = if values.len() == 1 { 0.0 } else { squares / (count - 1.0) };
            for moments in [merged, of(&values)] {
                prop_assert_eq!(moments.count(), values.len() as u64);
                prop_assert_eq!(moments.min(), values.iter().copied().reduce(f64::min));
                prop_assert_eq!(moments.max(), values.iter().copied().reduce(f64::max));
                prop_assert!((moments.mean().unwrap() - mean).abs() <= 1e-9 * 1e6);
                prop_assert!((moments.variance().unwrap() - variance).abs() <= 1e-9 * 1e12);
            }
        }
    }
}
