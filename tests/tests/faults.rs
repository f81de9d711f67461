//! The fault drills in small; `cargo xtask faults` runs them in full. Each also runs its negative control, which must find
//! fault, or the drill proves nothing.

#![cfg(test)]

use tidegate_tests::binaries::Binaries;
use tidegate_tests::faults::{
    Drill, Report, Run, broker, clock, corrupt, disk, links, points, power, store, update_points,
    update_power, updates,
};
use tidegate_tests::tools::{Tool, available};

/// What a power cut needs.
const POWER: [Tool; 5] = [
    Tool::Mosquitto,
    Tool::UserModeLinux,
    Tool::MakeExt4,
    Tool::CheckExt4,
    Tool::ReadExt4,
];

fn run(drill: Drill, count: u32, control: bool) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run {
        count,
        store_mib: 16,
        seed: 1,
        control,
        binaries: Binaries::built().unwrap(),
        directory: directory.path(),
        say: &mut |_| (),
    };
    drill(&mut run).unwrap()
}

/// Whether the drill could be run: it holds, and its control is caught.
fn holds(test: &str, tools: &[Tool], drill: Drill, count: u32) {
    if !available(test, tools).unwrap() {
        return;
    }
    let found = run(drill, count, false);
    assert!(found.holds(), "{found:#?}");
    let control = run(drill, count.min(4), true);
    assert!(control.caught(), "the drill proves nothing: {control:#?}");
}

#[test]
fn a_kill_at_any_point_of_a_commit_loses_and_doubles_nothing() {
    let name = "a_kill_at_any_point_of_a_commit_loses_and_doubles_nothing";
    holds(name, &[Tool::Mosquitto], points::drill, 0);
}

#[test]
fn a_kill_loses_nothing_and_costs_no_time_with_much_on_disk() {
    let name = "a_kill_loses_nothing_and_costs_no_time_with_much_on_disk";
    holds(name, &[Tool::Mosquitto], store::drill, 3);
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let name = "a_power_cut_loses_nothing_that_was_acknowledged";
    holds(name, &POWER, power::drill, 2);
}

#[test]
fn a_bad_link_loses_and_doubles_nothing() {
    let name = "a_bad_link_loses_and_doubles_nothing";
    holds(name, &[Tool::Mosquitto], links::drill, 12);
}

#[test]
fn a_bad_or_full_disk_loses_nothing_that_was_acknowledged() {
    let name = "a_bad_or_full_disk_loses_nothing_that_was_acknowledged";
    holds(name, &[Tool::Mosquitto], disk::drill, 5);
}

#[test]
fn a_broker_that_is_killed_costs_nothing_that_was_acknowledged() {
    let name = "a_broker_that_is_killed_costs_nothing_that_was_acknowledged";
    holds(name, &[Tool::Mosquitto], broker::drill, 4);
}

#[test]
fn a_wrong_clock_stalls_and_loses_nothing() {
    let name = "a_wrong_clock_stalls_and_loses_nothing";
    holds(name, &[Tool::Mosquitto], clock::drill, 1);
}

#[test]
fn a_damaged_database_is_set_aside_and_the_ledger_says_what_it_held() {
    let name = "a_damaged_database_is_set_aside_and_the_ledger_says_what_it_held";
    holds(name, &[Tool::Mosquitto], corrupt::drill, 4);
}

#[test]
fn updates_that_go_wrong_and_kills_in_the_middle_of_them_lose_and_double_nothing() {
    let name = "updates_that_go_wrong_and_kills_in_the_middle_of_them_lose_and_double_nothing";
    holds(name, &[Tool::Mosquitto], updates::drill, 8);
}

#[test]
fn a_kill_or_a_bad_disk_at_any_step_of_an_update_leaves_the_old_set_or_the_new_one_whole() {
    let name =
        "a_kill_or_a_bad_disk_at_any_step_of_an_update_leaves_the_old_set_or_the_new_one_whole";
    holds(name, &[Tool::Mosquitto], update_points::drill, 6);
}

#[test]
fn a_power_cut_in_an_update_leaves_the_old_set_or_the_new_one_whole() {
    let name = "a_power_cut_in_an_update_leaves_the_old_set_or_the_new_one_whole";
    holds(name, &POWER, update_power::drill, 1);
}
