//! What changes inputs: the fuzzer's own mutator, let in where a blind change would not get.

use libfuzzer_sys::fuzzer_mutate;

use crate::Subject;

/// Bytes that one change may add.
const GROWTH: usize = 64;

/// A source of choices and changes, from the fuzzer's seed.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// The same choices for the same seed.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed))
    }

    /// A number below `bound`; zero if that is zero. SplitMix64.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound.max(1) as u64).unwrap_or(0)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }

    /// Changes bytes as the fuzzer would.
    pub fn change(&mut self, bytes: &mut Vec<u8>) {
        let size = bytes.len();
        bytes.resize(size + GROWTH, 0);
        let size = fuzzer_mutate(bytes, size, size + GROWTH);
        bytes.truncate(size);
    }
}

/// The next input after this one, in its place: now and then one to begin with, mostly one that is changed inside, else one
/// that is changed blindly.
pub fn mutate<S: Subject>(
    seeds: &[Vec<u8>],
    data: &mut [u8],
    size: usize,
    size_max: usize,
    seed: u32,
) -> usize {
    let mut chance = Chance::new(seed);
    let input = data.get(..size).unwrap_or_default();
    let changed = match chance.below(16) {
        0 => chance.pick(seeds).cloned(),
        1..=11 => S::change(input, &mut chance),
        _ => None,
    };
    let changed = changed.filter(|bytes| bytes.len() <= size_max);
    if let Some(bytes) = changed
        && let Some(place) = data.get_mut(..bytes.len())
    {
        place.copy_from_slice(&bytes);
        return bytes.len();
    }
    fuzzer_mutate(data, size, size_max)
}
