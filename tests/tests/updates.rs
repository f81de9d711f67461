//! One generation of a module after the other, on a live stream: signed deployments that come on a stick or from the centre.

#![cfg(test)]

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::binaries::Binaries;
use tidegate_tests::fleet::{self, Terms, said};
use tidegate_tests::mischief::{Answers, Mischief};
use tidegate_tests::site::GATEWAY;
use tidegate_tests::tally::{Account, Scene};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const PER_SECOND: f64 = 300.0;
const SOON: Duration = Duration::from_secs(60);

fn scene(test: &str) -> Option<(TempDir, Scene)> {
    if !available(test, &[Tool::Mosquitto]).unwrap() {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let binaries = Binaries::built().unwrap();
    let mut scene = Scene::start(binaries, directory.path(), PER_SECOND, None).unwrap();
    scene.source.resume();
    scene.flow(500).unwrap();
    Some((directory, scene))
}

/// One whose deployments come from the centre.
fn online(test: &str) -> Option<(TempDir, Scene)> {
    if !available(test, &[Tool::Mosquitto]).unwrap() {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let binaries = Binaries::built().unwrap();
    let scene = Scene::online(binaries, directory.path(), PER_SECOND).unwrap();
    Some((directory, scene))
}

fn assert_holds(account: &Account) {
    assert!(account.holds(), "{account:?}");
}

#[test]
fn a_good_deployment_takes_over_from_the_one_before_without_losing_or_doubling_a_message() {
    let Some((_directory, mut scene)) = scene("a_good_deployment_takes_over") else {
        return;
    };
    for _ in 0..3 {
        let deployment = scene.deploy(Terms::QUICK, "").unwrap();
        scene.settled(&deployment).unwrap();
        scene.flow(300).unwrap();
    }
    let account = scene.account().unwrap();
    assert_holds(&account);
    assert_eq!(account.switches.len(), 3, "{account:?}");
}

#[test]
fn a_deployment_that_answers_otherwise_in_one_of_a_thousand_messages_is_refused_in_the_shadow() {
    let Some((_directory, mut scene)) = scene("a_deployment_that_answers_otherwise") else {
        return;
    };
    let terms = Terms {
        shadow_messages: 2_000,
        ..Terms::QUICK
    };
    let deployment = scene.deploy(terms, "wrong").unwrap();
    let (why, _) = scene.given_up(&deployment).unwrap();
    assert_eq!(why, "rejected");
    let account = scene.account().unwrap();
    assert_holds(&account);
    assert!(
        account.switches.is_empty(),
        "it was never active: {account:?}"
    );
}

#[test]
fn a_deployment_that_is_three_times_slower_is_refused_in_the_shadow() {
    let Some((_directory, mut scene)) = scene("a_deployment_that_is_three_times_slower") else {
        return;
    };
    let terms = Terms {
        shadow_messages: 2_000,
        percent_max: 200,
        ..Terms::QUICK
    };
    let deployment = scene.deploy(terms, "slow").unwrap();
    let (why, _) = scene.given_up(&deployment).unwrap();
    // On a busy machine it may meet the deadline of a call first.
    assert!(["rejected", "faulted"].contains(&why.as_str()), "{why}");
    // The negative control: it was the time that was wrong with it.
    let deployment = scene.deploy(terms, "").unwrap();
    scene.settled(&deployment).unwrap();
    assert_holds(&scene.account().unwrap());
}

#[test]
fn a_deployment_that_fails_when_it_is_active_gives_way_with_the_message_in_hand() {
    let Some((_directory, mut scene)) = scene("a_deployment_that_fails_when_it_is_active") else {
        return;
    };
    for flaw in ["trap", "hang", "leak", "flood"] {
        // The flaw shows after the shadow.
        let from = scene.counted().unwrap() + 1_000;
        let terms = Terms {
            probation_minutes: 10,
            ..Terms::QUICK
        };
        let deployment = scene.deploy(terms, &format!("{flaw}@{from}")).unwrap();
        let (why, _) = scene.given_up(&deployment).unwrap();
        assert_eq!(why, "faulted", "{flaw}");
        scene.flow(300).unwrap();
    }
    let account = scene.account().unwrap();
    assert_holds(&account);
    assert_eq!(
        account.switches.len(),
        8,
        "each was active, and is not: {account:?}"
    );
}

#[test]
fn an_update_goes_on_where_a_kill_has_left_it() {
    let Some((_directory, mut scene)) = scene("an_update_goes_on") else {
        return;
    };
    let terms = Terms {
        shadow_messages: 1_000,
        ..Terms::QUICK
    };
    let in_the_shadow = scene.deploy(terms, "").unwrap();
    scene.site.gateway.kill9().unwrap();
    scene.site.gateway.start().unwrap();
    scene.settled(&in_the_shadow).unwrap();
    let terms = Terms {
        probation_minutes: 1,
        ..Terms::QUICK
    };
    let in_probation = scene.deploy(terms, "").unwrap();
    scene.active(&in_probation).unwrap();
    scene.site.gateway.kill9().unwrap();
    scene.site.gateway.start().unwrap();
    scene.settled(&in_probation).unwrap();
    assert_holds(&scene.account().unwrap());
}

#[test]
fn a_deployment_that_is_pushed_to_the_centre_reaches_the_gateway_and_the_centre_shows_what_became_of_it()
 {
    let Some((_directory, mut scene)) = online("a_deployment_that_is_pushed") else {
        return;
    };
    let first = scene.push(Terms::QUICK, "").unwrap();
    scene.shown(&first, "confirmed").unwrap();
    scene.site.broker.wait_for_subscriber(GATEWAY).unwrap();
    scene.source.resume();
    scene.flow(500).unwrap();
    let next = scene.push(Terms::QUICK, "").unwrap();
    scene.shown(&next, "confirmed").unwrap();
    scene.flow(300).unwrap();
    // The flaw shows after the shadow, when it is active.
    let from = scene.counted().unwrap() + 10_000;
    let terms = Terms {
        probation_minutes: 10,
        ..Terms::QUICK
    };
    let failing = scene.push(terms, &format!("trap@{from}")).unwrap();
    scene.shown(&failing, "rolled-back").unwrap();
    let said_so = |report: &Value| refused_last(report, "denied", "module tally: ");
    scene.reported("the reason in words", said_so).unwrap();
    scene.flow(300).unwrap();
    // To one gap for the good one come two for the one that was taken back.
    let account = scene.account().unwrap();
    assert_holds(&account);
    assert_eq!(account.switches.len(), 3, "{account:?}");
}

/// Whether a report says for this reason, in these words, why the last document was refused.
fn refused_last(report: &Value, reason: &str, words: &str) -> bool {
    let refused = said(report, "/refused").as_array();
    let last = refused.and_then(|refused| refused.last());
    let why = last.and_then(|last| said(last, "/why").as_str());
    last.is_some_and(|last| *said(last, "/reason") == reason)
        && why.is_some_and(|why| why.contains(words))
}

#[test]
fn what_the_site_does_not_permit_or_lacks_is_reported_in_words_and_taken_within_seconds_of_being_mended()
 {
    let Some((_directory, mut scene)) = online("what_the_site_does_not_permit_or_lacks") else {
        return;
    };
    let first = scene.push(Terms::QUICK, "").unwrap();
    scene.shown(&first, "confirmed").unwrap();
    scene.site.broker.wait_for_subscriber(GATEWAY).unwrap();
    scene.source.resume();
    let mut module = scene.module("");
    module
        .config
        .push_str(", token = { file = \"tally-token\" }");
    let next = scene.push_module(Terms::QUICK, module).unwrap();
    let (what, words) = ("the site's policy to speak against it", "tally-token");
    let permitted = |report: &Value| refused_last(report, "not-permitted", words);
    scene.reported(what, permitted).unwrap();
    // What is refused is asked for again after a quarter of an hour, or when the site has changed something.
    let policy = "[[module]]\nname = \"tally\"\nsecrets = [\"tally-token\"]\n";
    fs::write(scene.fleet().policy(), policy).unwrap();
    let words = "secret file tally-token of module tally cannot be read";
    let lacks = |report: &Value| refused_last(report, "secret-unreadable", words);
    scene.reported("the secret to be missed", lacks).unwrap();
    scene.settled(&first).unwrap();
    let secrets = scene.site.gateway.state().join("secrets");
    fs::create_dir_all(&secrets).unwrap();
    fs::write(secrets.join("tally-token"), "s3cret\n").unwrap();
    scene.shown(&next, "confirmed").unwrap();
    let taken = |report: &Value| *said(report, "/refused") == serde_json::json!([]);
    scene.reported("nothing to be refused", taken).unwrap();
    assert_holds(&scene.account().unwrap());
}

#[test]
fn a_configuration_that_a_module_refuses_is_denied_and_the_same_release_runs_with_another() {
    let Some((_directory, mut scene)) = scene("a_configuration_that_a_module_refuses") else {
        return;
    };
    // Another release than the confirmed one.
    scene.alternate().unwrap();
    let refused = scene.deploy(Terms::QUICK, "refuse").unwrap();
    let (why, _) = scene.given_up(&refused).unwrap();
    assert_eq!(why, "faulted");
    let status = fleet::status(&scene.site.gateway).unwrap();
    let sentence = said(&status, "/given_up/sentence").as_str().unwrap();
    assert!(
        sentence.contains("this configuration cannot be"),
        "{sentence}"
    );
    let mended = scene.deploy(Terms::QUICK, "").unwrap();
    scene.settled(&mended).unwrap();
    assert_holds(&scene.account().unwrap());
}

#[test]
fn a_gateway_whose_state_cannot_be_read_says_so_to_the_centre_and_runs_on() {
    let Some((_directory, mut scene)) = online("a_gateway_whose_state_cannot_be_read") else {
        return;
    };
    let first = scene.push(Terms::QUICK, "").unwrap();
    scene.shown(&first, "confirmed").unwrap();
    let engine = |report: &Value| {
        let engine = said(report, "/facts/engine").as_str();
        engine.is_some_and(|engine| engine.starts_with("wasmtime "))
    };
    scene.reported("the engine to be named", engine).unwrap();
    scene.site.gateway.stop().unwrap();
    for slot in ["state-0", "state-1"] {
        let path = scene.site.gateway.state().join("updates").join(slot);
        fs::write(path, b"\0\0\0\0").unwrap();
    }
    scene.site.gateway.start().unwrap();
    let frozen = |report: &Value| {
        let why = said(report, "/frozen").as_str();
        why.is_some_and(|why| why.contains("no state can be read"))
            && *said(report, "/confirmed") == first
            && *said(report, "/modules/0/phase") == "confirmed"
    };
    scene.reported("that nothing is taken", frozen).unwrap();
    scene.site.broker.wait_for_subscriber(GATEWAY).unwrap();
    scene.source.resume();
    scene.flow(300).unwrap();
    assert_holds(&scene.account().unwrap());
}

#[test]
fn a_reply_to_a_report_that_is_lost_is_harmless() {
    let Some((_directory, mut scene)) = online("a_reply_to_a_report_that_is_lost") else {
        return;
    };
    let first = scene.push(Terms::QUICK, "").unwrap();
    scene.shown(&first, "confirmed").unwrap();
    scene.site.broker.wait_for_subscriber(GATEWAY).unwrap();
    scene.source.resume();
    // The centre takes each request, and two of three replies never arrive.
    let mut exchanges = 0_u64;
    let script = move || {
        exchanges += 1;
        match exchanges.is_multiple_of(3) {
            true => Mischief::None,
            false => Mischief::ReplyLost,
        }
    };
    scene.site.link.misbehave(Some(Box::new(script)));
    scene.flow(300).unwrap();
    scene.site.link.misbehave(None);
    let next = scene.push(Terms::QUICK, "").unwrap();
    scene.shown(&next, "confirmed").unwrap();
    let fleet = scene.site.cloud.get_json("/v1/fleet").unwrap();
    assert_eq!(said(&fleet, "/gateways").as_array().unwrap().len(), 1);
    assert_holds(&scene.account().unwrap());
}

#[test]
fn a_blob_goes_on_where_the_link_was_cut_and_is_not_fetched_again_from_the_start() {
    let Some((_directory, mut scene)) = online("a_blob_goes_on_where_the_link_was_cut") else {
        return;
    };
    let (bytes, before) = (
        scene.component_bytes().unwrap(),
        scene.site.link.bytes_down(),
    );
    // Most of it, whatever else comes down as well.
    scene.site.link.cut_after(bytes * 3 / 4);
    let deployment = scene.push(Terms::QUICK, "").unwrap();
    wait_until("the link to be cut", SOON, || Ok(scene.site.link.is_cut())).unwrap();
    let much = || Ok(scene.begun()?.is_some_and(|begun| begun > bytes / 3));
    wait_until("much of the blob to be there", SOON, much).unwrap();
    scene.site.gateway.kill9().unwrap();
    scene.site.link.mend();
    scene.site.gateway.start().unwrap();
    scene.settled(&deployment).unwrap();
    scene.shown(&deployment, "confirmed").unwrap();
    let came = scene.site.link.bytes_down() - before;
    assert!(
        came < bytes * 3 / 2,
        "{came} bytes came down for a file of {bytes}"
    );
}

/// Waits until this is so of how fresh the gateway says that its documents are.
fn fresh(scene: &Scene, what: &str, is: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    let seen = wait_until(what, SOON, || {
        // While its data path begins again it does not answer.
        let status = fleet::status(&scene.site.gateway).unwrap_or_default();
        last = said(&status, "/freshness").clone();
        Ok(is(&last))
    });
    seen.unwrap_or_else(|error| panic!("{error:#}: {last}"));
}

fn is_fresh(fresh: &Value) -> bool {
    *said(fresh, "/confirmed/overdue") == false && said(fresh, "/kept_back").is_null()
}

/// From now on the link keeps documents back, and lies about what is the newest or not.
fn keep_back(scene: &Scene, answers: Answers) {
    let script = move || Mischief::KeptBack(answers);
    scene.site.link.misbehave(Some(Box::new(script)));
}

#[test]
fn documents_that_are_kept_back_are_reported_and_no_answer_that_is_not_its_own_hides_it() {
    let Some((_directory, mut scene)) = online("documents_that_are_kept_back") else {
        return;
    };
    let first = scene.push(Terms::QUICK, "").unwrap();
    scene.shown(&first, "confirmed").unwrap();
    scene.site.broker.wait_for_subscriber(GATEWAY).unwrap();
    scene.source.resume();
    fresh(&scene, "the centre's word that nothing is newer", is_fresh);
    // An answer of before, and one to another gateway: of no use to whoever holds the link.
    keep_back(&scene, Answers::Replayed);
    let second = scene.push(Terms::QUICK, "").unwrap();
    for (answers, reason) in [
        (Answers::Replayed, "wrong-nonce"),
        (Answers::OfAnother, "wrong-gateway"),
    ] {
        keep_back(&scene, answers);
        let noted = || Ok(fleet::log(&scene.site.gateway)?.contains(reason));
        wait_until("the answer to be refused", SOON, noted).unwrap();
        scene.flow(300).unwrap();
    }
    // And the answer of the centre tells what is missing.
    keep_back(&scene, Answers::Genuine);
    fresh(&scene, "the report of what is kept back", |fresh| {
        *said(fresh, "/kept_back") == "root 1, deployment 2 of epoch 1"
    });
    let told = fleet::told(&scene.site.gateway).unwrap();
    assert!(told.contains("newer documents are kept back"), "{told}");
    scene.flow(300).unwrap();
    scene.settled(&first).unwrap();
    scene.site.link.misbehave(None);
    scene.shown(&second, "confirmed").unwrap();
    fresh(&scene, "the centre's word again", is_fresh);
    assert_holds(&scene.account().unwrap());
}
