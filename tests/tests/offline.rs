//! A week without a link in small; `cargo xtask offline` runs it in full, with optimised programs.

#![cfg(test)]

use std::time::Duration;

use tidegate_tests::binaries::Binaries;
use tidegate_tests::offline::{Outage, run};
use tidegate_tests::tools::{Tool, available};

/// What says something about the machine's load rather than about the product, on a machine that runs other tests as well.
const TIMES: [&str; 3] = ["start", "urgent message in", "memory"];

#[test]
fn an_outage_is_kept_within_the_quota_and_adds_up_exactly() {
    let name = "an_outage_is_kept_within_the_quota_and_adds_up_exactly";
    if !available(name, &[Tool::Mosquitto]).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let outage = Outage {
        days: 7,
        per_second: 50,
        records: 100_000,
        quota_mib: 16,
        live: Duration::from_secs(1),
        seed: 1,
        binaries: Binaries::built().unwrap(),
        directory: directory.path(),
    };
    let lines = run(&outage, &mut |_| ()).unwrap();
    let broken: Vec<_> = lines
        .iter()
        .filter(|line| !line.kept && !TIMES.iter().any(|time| line.what.starts_with(time)))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let thinned = lines.iter().find(|line| line.what.contains("in summaries"));
    assert!(
        thinned.is_some_and(|line| !line.measured.contains(", 0 in 0,")),
        "nothing had to give way, and nothing was shown: {thinned:?}"
    );
}
