//! What was spent, as it is kept in a file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use minicbor::{Decode, Encode};
use tidegate_record::{BootId, Stamp};

use super::age::Age;
use super::window::{Span, Window};
use super::{Bounds, Grant};

/// Version of the file.
const VERSION: u32 = 1;
/// Largest file: three windows have some seventy steps.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// What exchanges cost besides their rows may take this part of a budget: a tenth.
const OVERHEAD_PART: u64 = 10;
/// The longest wait for the sake of a budget that is not spent: a sign of life a day.
const SPACING_MAX: Duration = Duration::from_secs(24 * 3600);

/// The last part of each budget is for streams with alarms: a tenth.
const RESERVE_PART: u64 = 10;

/// A part of a budget.
type Part = fn(u64) -> u64;

/// All of it.
const fn whole(max: u64) -> u64 {
    max
}

/// What is not kept for alarms.
const fn ordinary(max: u64) -> u64 {
    max - max / RESERVE_PART
}

/// Bytes spent by span, and the time over which they were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Ledger {
    #[n(0)]
    version: u32,
    #[n(1)]
    age: Age,
    #[n(2)]
    hour: Window,
    #[n(3)]
    day: Window,
    #[n(4)]
    month: Window,
    /// What the interface said when it was last read.
    #[n(5)]
    pub(super) interface: Option<Reading>,
}

/// Counters of a network interface.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Reading {
    #[n(0)]
    pub(super) name: String,
    #[n(1)]
    pub(super) boot: BootId,
    #[n(2)]
    pub(super) received: u64,
    #[n(3)]
    pub(super) sent: u64,
}

impl Ledger {
    /// Reads the file; none when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok(file) => file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?,
        };
        let ledger: Self = minicbor::decode(&bytes).map_err(io::Error::other)?;
        match ledger.version {
            VERSION => Ok(Some(ledger)),
            version => Err(io::Error::other(format!("its version is {version}"))),
        }
    }

    /// Puts the file in place of the one before, which stands until this one is whole on disk.
    pub(super) fn write(&mut self, path: &Path) -> io::Result<()> {
        self.version = VERSION;
        let bytes = minicbor::to_vec(&*self).map_err(io::Error::other)?;
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    }

    /// Counts what passed until `now`.
    pub(super) fn add(&mut self, now: &Stamp, bytes: u64) {
        self.age.advance(now);
        let age = self.age.get();
        for span in Span::ALL {
            self.window_mut(span).add(span, age, bytes);
        }
    }

    pub(super) fn used(&self, span: Span) -> u64 {
        self.window(span).used()
    }

    /// What may be spent now. An exchange costs `overhead` bytes besides its rows.
    pub(super) fn grant(&self, bounds: &Bounds, overhead: u64) -> Grant {
        let spacing = |part| self.spacing(bounds, part, overhead);
        match (self.left(bounds, ordinary), self.left(bounds, whole)) {
            (_, 0) => Grant::Spent {
                relief: self.relief(bounds, whole),
            },
            (0, bytes) => Grant::Alarms {
                bytes,
                spacing: spacing(whole),
                relief: self.relief(bounds, ordinary),
            },
            (bytes, _) => Grant::All {
                bytes,
                spacing: spacing(ordinary),
            },
        }
    }

    fn left(&self, bounds: &Bounds, part: Part) -> u64 {
        let left = bounds
            .each()
            .map(|(span, max)| part(max).saturating_sub(self.used(span)));
        left.min().unwrap_or(u64::MAX)
    }

    /// How long until something is left of this part of every budget.
    fn relief(&self, bounds: &Bounds, part: Part) -> Duration {
        let age = self.age.get();
        let relief = bounds
            .each()
            .map(|(span, max)| self.window(span).relief(span, age, part(max)));
        relief.max().unwrap_or_default()
    }

    /// How far apart exchanges that carry little must be, so that over one span they take a tenth of what is left of its
    /// budget: the less is left, the rarer they are.
    fn spacing(&self, bounds: &Bounds, part: Part, overhead: u64) -> Duration {
        let apart = bounds.each().map(|(span, max)| {
            let left = part(max).saturating_sub(self.used(span)).max(1);
            let share = overhead.saturating_mul(OVERHEAD_PART);
            let seconds = u128::from(span.length().as_secs()) * u128::from(share);
            let seconds = u64::try_from(seconds / u128::from(left));
            Duration::from_secs(seconds.unwrap_or(u64::MAX))
        });
        apart.max().unwrap_or_default().min(SPACING_MAX)
    }

    const fn window(&self, span: Span) -> &Window {
        match span {
            Span::Hour => &self.hour,
            Span::Day => &self.day,
            Span::Month => &self.month,
        }
    }

    const fn window_mut(&mut self, span: Span) -> &mut Window {
        match span {
            Span::Hour => &mut self.hour,
            Span::Day => &mut self.day,
            Span::Month => &mut self.month,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_record::{BootTime, ClockQuality, WallTime};

    const HOUR: Bounds = Bounds {
        hour: Some(1 << 20),
        day: None,
        month: None,
    };
    const OVERHEAD: u64 = 1000;

    fn at(seconds: u64) -> Stamp {
        Stamp {
            boot: BootId(1),
            boot_time: BootTime(seconds * 1_000_000_000),
            wall_time: WallTime(0),
            clock: ClockQuality::Unset,
        }
    }

    fn spent(bytes: u64) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.add(&at(0), 0);
        ledger.add(&at(60), bytes);
        ledger
    }

    #[test]
    fn the_last_tenth_is_for_alarms_and_then_nothing_goes() {
        let max = 1 << 20;
        assert!(matches!(
            spent(max / 2).grant(&HOUR, OVERHEAD),
            Grant::All { bytes, .. } if bytes == max - max / 10 - max / 2
        ));
        assert!(matches!(
            spent(max - max / 10).grant(&HOUR, OVERHEAD),
            Grant::Alarms { bytes, .. } if bytes == max / 10
        ));
        let Grant::Spent { relief } = spent(max).grant(&HOUR, OVERHEAD) else {
            panic!("nothing is left");
        };
        // The step of five minutes in which it was spent counts for an hour after its end.
        assert_eq!(relief, Duration::from_secs(64 * 60));
        let mut later = spent(max);
        later.add(&at(60 + relief.as_secs()), 0);
        assert!(matches!(later.grant(&HOUR, OVERHEAD), Grant::All { .. }));
    }

    #[test]
    fn every_budget_counts_and_without_one_everything_goes() {
        let both = Bounds {
            day: Some(1 << 19),
            ..HOUR
        };
        assert!(matches!(
            spent(1 << 19).grant(&both, OVERHEAD),
            Grant::Spent { relief } if relief > Duration::from_secs(23 * 3600)
        ));
        let none = Bounds::default();
        assert_eq!(
            spent(u64::MAX).grant(&none, OVERHEAD),
            Grant::All {
                bytes: u64::MAX,
                spacing: Duration::ZERO
            }
        );
    }

    #[test]
    fn polls_get_rarer_as_the_budget_goes() {
        let spacing = |bytes| match spent(bytes).grant(&HOUR, OVERHEAD) {
            Grant::All { spacing, .. } | Grant::Alarms { spacing, .. } => spacing.as_secs(),
            Grant::Spent { .. } => panic!("spent"),
        };
        let tenths: Vec<_> = (0..9)
            .map(|tenth| spacing((1 << 20) / 10 * tenth))
            .collect();
        assert!(tenths.is_sorted(), "{tenths:?}");
        assert_eq!(tenths[0], 38);
        assert!(tenths[8] > tenths[0] * 8);
        assert!(spacing((1 << 20) - 1) == SPACING_MAX.as_secs());
    }

    #[test]
    fn a_ledger_survives_its_file_and_a_torn_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("budget");
        assert_eq!(Ledger::read(&path).unwrap(), None);
        let mut ledger = spent(4711);
        ledger.write(&path).unwrap();
        assert_eq!(Ledger::read(&path).unwrap(), Some(ledger));
        let bytes = fs::read(&path).unwrap();
        for end in 0..bytes.len() {
            fs::write(&path, &bytes[..end]).unwrap();
            assert!(Ledger::read(&path).is_err(), "{end} bytes");
        }
    }
}
