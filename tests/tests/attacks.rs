//! The attacks in small; `cargo xtask attacks` runs them in full. Each control must let something through.

#![cfg(test)]

use tidegate_tests::attacks::SUITES;

#[test]
fn every_attack_is_refused_for_its_reason_and_changes_nothing() {
    for suite in SUITES {
        for line in suite.run(20_000, 1).unwrap() {
            assert!(line.holds(), "{line:#?}");
        }
    }
}

#[test]
fn a_check_that_is_left_out_lets_something_through() {
    for suite in SUITES {
        for fault in suite.controls {
            let through = suite.control(fault, 1000, 1).unwrap();
            assert!(!through.is_empty(), "{fault}: the attacks prove nothing");
        }
    }
}
