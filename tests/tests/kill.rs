//! The kill drill in small; `cargo xtask faults --kills 50` runs it in full.

#![cfg(test)]

use tidegate_tests::binaries::Binaries;
use tidegate_tests::faults::kills::{self, Drill, Finding};
use tidegate_tests::tools::{Tool, available};

const TOOLS: [Tool; 2] = [Tool::Mosquitto, Tool::Strace];

fn drill(ack_before_commit: bool) -> Finding {
    let directory = tempfile::tempdir().unwrap();
    let drill = Drill {
        kills: 5,
        saturated: 1,
        backlog: 20_000,
        per_second: 1000.0,
        seed: 1,
        ack_before_commit,
    };
    kills::run(
        &drill,
        Binaries::built().unwrap(),
        directory.path(),
        &mut |_| (),
    )
    .unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kills_under_load() {
    if !available(
        "nothing_acknowledged_is_lost_or_doubled_by_kills_under_load",
        &TOOLS,
    )
    .unwrap()
    {
        return;
    }
    let finding = drill(false);
    assert!(finding.holds(), "{}", finding.lines().join("\n"));
}

#[test]
fn the_drill_finds_a_gateway_that_acknowledges_before_it_commits() {
    if !available(
        "the_drill_finds_a_gateway_that_acknowledges_before_it_commits",
        &TOOLS,
    )
    .unwrap()
    {
        return;
    }
    let finding = drill(true);
    assert!(!finding.holds(), "{}", finding.lines().join("\n"));
    assert!(
        !finding.acks.holds(),
        "the trace alone must show it: {}",
        finding.lines().join("\n")
    );
}
