//! Updates on a gateway whose wall clock is wrong, and on one whose clock is to be believed.

#![cfg(test)]

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::binaries::Binaries;
use tidegate_tests::faults::preload::{Clock, to_1970};
use tidegate_tests::fleet::{self, Terms, said};
use tidegate_tests::site::GATEWAY;
use tidegate_tests::tally::Scene;
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const SOON: Duration = Duration::from_secs(60);
const DAY_S: i64 = 86_400;
const YEAR_S: i64 = 31_556_952;

/// One that can be begun with for a day after it was signed.
const FOR_A_DAY: Terms = Terms {
    expires_after: Some("1d"),
    ..Terms::QUICK
};

/// A gateway under a fleet with a centre, and the clock under every further start of it.
fn scene(test: &str) -> Option<(TempDir, Scene, Clock)> {
    if !available(test, &[Tool::Mosquitto]).unwrap() {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let binaries = Binaries::built().unwrap();
    let mut scene = Scene::online(binaries, directory.path(), 300.0).unwrap();
    scene.site.gateway.stop().unwrap();
    let clock = Clock::put_under(&mut scene.site.gateway).unwrap();
    Some((directory, scene, clock))
}

/// What the gateway says of it; nothing while its data path begins again.
fn fresh(scene: &Scene) -> Value {
    let status = fleet::status(&scene.site.gateway).unwrap_or_default();
    said(&status, "/freshness").clone()
}

/// Waits until the centre has confirmed within the last minute that nothing is newer, whatever the wall clock says.
fn assert_fresh(scene: &Scene, clock: &str) {
    wait_until("the centre's word that nothing is newer", SOON, || {
        let fresh = fresh(scene);
        let seconds = said(&fresh, "/confirmed/seconds_ago").as_u64();
        Ok(seconds.is_some_and(|seconds| seconds < 60) && said(&fresh, "/kept_back").is_null())
    })
    .unwrap();
    let fresh = fresh(scene);
    assert_eq!(*said(&fresh, "/clock"), clock, "{fresh}");
    assert_eq!(*said(&fresh, "/confirmed/overdue"), false, "{fresh}");
}

#[test]
fn while_nobody_vouches_for_the_clock_no_date_is_held_against_an_update_whatever_it_says() {
    let Some((_directory, mut scene, clock)) = scene("while_nobody_vouches_for_the_clock") else {
        return;
    };
    clock.turn(to_1970().unwrap(), -1).unwrap();
    scene.site.gateway.start().unwrap();
    for (index, seconds) in [to_1970().unwrap(), 73 * YEAR_S, -50 * YEAR_S, -3600]
        .into_iter()
        .enumerate()
    {
        clock.turn(seconds, -1).unwrap();
        let pushed = scene.push(FOR_A_DAY, "").unwrap();
        scene.shown(&pushed, "confirmed").unwrap();
        if index == 0 {
            scene.site.broker.wait_for_subscriber(GATEWAY).unwrap();
            scene.source.resume();
        }
        assert_fresh(&scene, "unset");
        let brought = scene.deploy(FOR_A_DAY, "").unwrap();
        scene.settled(&brought).unwrap();
        scene.flow(100).unwrap();
    }
    let told = fleet::told(&scene.site.gateway).unwrap();
    assert!(told.contains("the clock is not synchronised"), "{told}");
    let account = scene.account().unwrap();
    assert!(account.holds(), "{account:?}");
}

#[test]
fn by_a_clock_that_is_vouched_for_what_has_expired_is_refused_and_what_has_not_is_taken() {
    let Some((_directory, mut scene, clock)) = scene("by_a_clock_that_is_vouched_for") else {
        return;
    };
    clock.vouch().unwrap();
    scene.site.gateway.start().unwrap();
    let first = scene.push(FOR_A_DAY, "").unwrap();
    scene.shown(&first, "confirmed").unwrap();
    scene.site.broker.wait_for_subscriber(GATEWAY).unwrap();
    scene.source.resume();
    assert_fresh(&scene, "synced");
    clock.turn(2 * DAY_S, -1).unwrap();
    let late = scene.push(FOR_A_DAY, "").unwrap();
    scene.shown(&late, "refused").unwrap();
    let stick = scene.stick(FOR_A_DAY, "").unwrap();
    let outcome = fleet::import(&scene.site.gateway, &stick.file).unwrap();
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("refused (expired)"), "{outcome:?}");
    // What was taken before it expired runs on; and it was the date alone.
    scene.settled(&first).unwrap();
    scene.flow(100).unwrap();
    clock.turn(0, -1).unwrap();
    let outcome = fleet::import(&scene.site.gateway, &stick.file).unwrap();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    scene.flow(100).unwrap();
    let account = scene.account().unwrap();
    assert!(account.holds(), "{account:?}");
}
