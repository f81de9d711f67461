//! Fuzz targets: one for each parser that reads bytes of somebody else.
//!
//! An input is what that parser would be given: an envelope, an archive, a message, a text. Blind changes do not get far in
//! such a thing, because its checksum, compression or signature no longer holds. So a target also knows how to open an
//! input and to close it again after something inside was changed ([`Subject::change`]), with keys of its own.
//!
//! What comes out is held against what is promised: what is read and written again reads the same; another make's reader
//! sees the same; under the documented root, whose keys nobody here has, nothing but the documented documents is taken.
//! That the changes do get through the signatures is what the target `control` shows: it claims that none does, and must
//! be found out.
//!
//! # Layout
//!
//! - [`documents`]: root, release, time, status. [`deployment`]: the same for what a gateway takes and remembers.
//! - [`archives`]: bundle and stick; [`tar`]: their archive, taken apart and put together
//! - [`wire`]: sync requests and answers, exports
//! - [`texts`]: keys, claims, topic filters. [`settings`]: files that an operator writes
//! - `fuzz_targets`: one file each; those of parsers that are private to another crate hold it against its promises themselves
//! - [`fleet`]: documents that are documented, and keys to sign changed ones. [`chance`]: what changes them

pub mod archives;
pub mod chance;
pub mod deployment;
pub mod documents;
pub mod fleet;
pub mod settings;
pub mod tar;
pub mod texts;
pub mod wire;

pub use chance::{Chance, mutate};
pub use libfuzzer_sys;

/// A parser, and what is promised of it.
pub trait Subject {
    /// Inputs to begin with.
    fn seeds() -> Vec<Vec<u8>>;

    /// Gives an input to the parser.
    ///
    /// # Panics
    ///
    /// When a promise is broken.
    fn check(input: &[u8]);

    /// The input with something inside of it changed, closed again as it should be. None where there is nothing to open.
    fn change(_input: &[u8], _chance: &mut Chance) -> Option<Vec<u8>> {
        None
    }
}

/// The fuzz target of a subject.
#[macro_export]
macro_rules! target {
    ($subject:ty) => {
        static SEEDS: std::sync::LazyLock<Vec<Vec<u8>>> =
            std::sync::LazyLock::new(<$subject as $crate::Subject>::seeds);

        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            <$subject as $crate::Subject>::check(input);
        });

        $crate::libfuzzer_sys::fuzz_mutator!(|data: &mut [u8],
                                              size: usize,
                                              size_max: usize,
                                              seed: u32| {
            $crate::mutate::<$subject>(&SEEDS, data, size, size_max, seed)
        });
    };
}
