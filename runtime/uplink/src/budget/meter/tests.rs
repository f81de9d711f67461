use super::*;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate_record::{BootId, BootTime, ClockQuality, WallTime};

use crate::budget::Bounds;

/// Turned by hand.
#[derive(Debug, Default)]
struct Hand {
    boot: AtomicU64,
    seconds: AtomicU64,
}

impl Clock for Hand {
    fn wall_time(&self) -> WallTime {
        WallTime(0)
    }
    fn quality(&self) -> ClockQuality {
        ClockQuality::Unset
    }
    fn boot_time(&self) -> BootTime {
        BootTime(self.seconds.load(Ordering::Relaxed) * 1_000_000_000)
    }
    fn boot(&self) -> BootId {
        BootId(self.boot.load(Ordering::Relaxed))
    }
}

struct Bench {
    folder: tempfile::TempDir,
    clock: Arc<Hand>,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::default(),
        }
    }

    fn meter(&self, interface: Option<&str>) -> Meter {
        let config = BudgetConfig {
            bounds: Bounds {
                day: Some(1 << 20),
                ..Bounds::default()
            },
            interface: interface.map(str::to_owned),
        };
        let file = self.folder.path().join("uplink.budget");
        Meter::open_beside(self.folder.path(), config, file, self.clock.clone())
    }

    /// What the kernel says.
    fn interface(&self, received: u64, sent: u64) {
        let folder = self.folder.path().join("wwan0/statistics");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("rx_bytes"), format!("{received}\n")).unwrap();
        fs::write(folder.join("tx_bytes"), format!("{sent}\n")).unwrap();
    }

    fn file(&self) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join("uplink.budget")).ok()
    }
}

fn used(meter: &Meter) -> u64 {
    meter.report().spans[0].1
}

fn carry(meter: &Meter, bytes: u64) {
    meter.traffic.carried(bytes);
}

#[test]
fn an_interface_counts_whatever_carries_it_from_the_first_look_on() {
    let bench = Bench::new();
    bench.interface(1000, 5000);
    let meter = bench.meter(Some("wwan0"));
    assert_eq!(used(&meter), 0);
    bench.interface(1010, 5100);
    carry(&meter, 60);
    assert_eq!(used(&meter), 110);
    bench.interface(7, 5101);
    assert_eq!(used(&meter), 118, "one counter began again at 0");
}

#[test]
fn while_there_is_no_interface_our_own_bytes_count() {
    let bench = Bench::new();
    let meter = bench.meter(Some("wwan0"));
    carry(&meter, 60);
    assert_eq!(used(&meter), 60);
    bench.interface(100, 0);
    assert_eq!(used(&meter), 60);
    bench.interface(150, 0);
    carry(&meter, 50);
    assert_eq!(used(&meter), 110);
}

#[tokio::test]
async fn an_interface_goes_on_counting_while_the_gateway_does_not_run() {
    let bench = Bench::new();
    bench.interface(1000, 1000);
    let meter = bench.meter(Some("wwan0"));
    used(&meter);
    meter.keep(true).await;
    drop(meter);
    bench.interface(1500, 1000);
    let meter = bench.meter(Some("wwan0"));
    assert_eq!(used(&meter), 500);
    meter.keep(true).await;
    drop(meter);
    // The machine starts again, and its counters at 0.
    bench.clock.boot.store(2, Ordering::Relaxed);
    bench.interface(2000, 30);
    assert_eq!(used(&bench.meter(Some("wwan0"))), 2530);
}

#[tokio::test]
async fn a_kill_forgets_at_most_a_hundredth_of_the_budget_and_the_file_is_seldom_written() {
    let bench = Bench::new();
    let (mut spent, mut writes, mut before) = (0, 0, None);
    for kill in 0..20 {
        let meter = bench.meter(None);
        let remembered = used(&meter);
        assert!(spent - remembered <= (1 << 20) / 100, "kill {kill}");
        spent = remembered;
        for _ in 0..(kill * 5) {
            carry(&meter, 1000);
            spent += 1000;
            meter.keep(false).await;
            let now = bench.file();
            writes += u32::from(now != before);
            before = now;
        }
    }
    assert!(spent > 700_000, "{spent}");
    assert!((80..130).contains(&writes), "{writes}");
}

#[tokio::test]
async fn a_stop_forgets_nothing() {
    let bench = Bench::new();
    let meter = bench.meter(None);
    meter.keep(false).await;
    carry(&meter, 1);
    meter.keep(false).await;
    meter.keep(true).await;
    assert_eq!(used(&bench.meter(None)), 1);
}

#[test]
fn a_damaged_file_is_told_and_begins_anew() {
    let bench = Bench::new();
    fs::write(bench.folder.path().join("uplink.budget"), b"nonsense").unwrap();
    let meter = bench.meter(None);
    assert_eq!(used(&meter), 0);
    assert_eq!(meter.report().state, "free");
}

#[test]
fn a_spent_budget_says_until_when_and_comes_back() {
    let bench = Bench::new();
    let meter = bench.meter(None);
    carry(&meter, (1 << 20) - 1000);
    assert!(matches!(meter.grant(), Grant::Alarms { bytes: 1000, .. }));
    carry(&meter, 1000);
    let Grant::Spent { relief } = meter.grant() else {
        panic!("nothing is left");
    };
    assert_eq!(meter.report().relief, Some(relief));
    assert_eq!(relief, Duration::from_secs(25 * 3600));
    bench
        .clock
        .seconds
        .store(relief.as_secs(), Ordering::Relaxed);
    assert!(matches!(meter.grant(), Grant::All { .. }));
}
