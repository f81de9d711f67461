//! Time: told by whom, believed when, and what it may stop. It may stop nothing that runs.

use tidegate_bundle::{Deployment, Expiry, Freshness, Nonce, Now, Root, Time};

use crate::fixture::fleet;
use crate::site::{CREATED, MODULE, Site, deployment, edited_release, signed_release, site};

const DAY: u64 = 86_400;
const YEAR_2099: u64 = 4_070_908_800;

/// Asks, and takes the answer after it was changed.
fn told(site: &mut Site, time: u64, edit: impl FnOnce(&mut Time)) -> bool {
    let nonce = Nonce::generate().unwrap();
    let mut time = site.time(nonce, time);
    edit(&mut time);
    let bytes = time.sign(&[&site.fleet.timekeeper]).unwrap();
    let taken = site.trust.accept_time(&site.gateway, nonce, &bytes);
    taken.unwrap().confirms()
}

fn ago(seconds_ago: u64, overdue: bool) -> Freshness {
    Freshness::Confirmed {
        seconds_ago,
        overdue,
    }
}

#[test]
fn an_answer_is_good_for_one_question() {
    let mut site = site();
    let (first, second) = (Nonce::generate().unwrap(), Nonce::generate().unwrap());
    let bytes = site
        .time(first, CREATED)
        .sign(&[&site.fleet.timekeeper])
        .unwrap();
    site.refuses_time(second, &bytes, "wrong-nonce");
    let forged = site
        .time(first, CREATED)
        .sign(&[&site.fleet.deployer])
        .unwrap();
    site.refuses_time(first, &forged, "wrong-key");
    assert!(site.trust.accept_time(&site.gateway, first, &bytes).is_ok());
}

#[test]
fn newer_documents_that_are_kept_back_show_within_one_answer_and_stop_nothing() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let running = deployment(1, &[&release]);
    site.takes(&running, &[&release]);
    assert_eq!(
        site.trust.freshness(&site.gateway, Now::Unsynchronised),
        Freshness::Never
    );
    assert!(told(&mut site, CREATED, |_| ()));
    let now = Now::Synchronised(CREATED + 60);
    assert_eq!(site.trust.freshness(&site.gateway, now), ago(60, false));

    // A mirror holds back what is newer for eight days; the time comes through.
    for day in 1..=8 {
        let confirms = told(&mut site, CREATED + day * DAY, |time| time.seq = 2);
        assert!(!confirms, "day {day}");
    }
    let eight = ago(8 * DAY, true);
    let now = Now::Synchronised(CREATED + 8 * DAY);
    assert_eq!(site.trust.freshness(&site.gateway, now), eight);
    assert_eq!(
        site.trust.freshness(&site.gateway, Now::Unsynchronised),
        eight
    );
    assert_eq!(eight.to_string(), "last confirmed 691200 s ago");
    let bytes = site.sign(&running);
    assert!(site.trust.reopen(&bytes, &[&release.bytes]).is_ok());
    // The same with a root that is kept back.
    assert!(!told(&mut site, CREATED + 9 * DAY, |time| time
        .root_version =
        2));

    // It comes, is taken, and the next answer says that it is the newest.
    site.takes(&deployment(2, &[&release]), &[&release]);
    assert!(told(&mut site, CREATED + 10 * DAY, |_| ()));
    let now = Now::Synchronised(CREATED + 10 * DAY + 5);
    assert_eq!(site.trust.freshness(&site.gateway, now), ago(5, false));
}

#[test]
fn the_floor_is_the_latest_of_what_was_signed_and_built() {
    let mut site = site();
    let floor = |site: &Site| site.trust.time_floor(&site.gateway);
    assert_eq!(floor(&site), 1_700_000_000);
    let release = edited_release(MODULE, 7, |release| release.created = CREATED + 5);
    site.takes(&deployment(1, &[&release]), &[&release]);
    assert_eq!(floor(&site), CREATED + 5);
    told(&mut site, CREATED + DAY, |_| ());
    assert_eq!(floor(&site), CREATED + DAY);
    told(&mut site, CREATED, |_| ());
    assert_eq!(floor(&site), CREATED + DAY);
}

#[test]
fn no_clock_of_the_gateway_moves_the_floor() {
    let release = signed_release(MODULE, 7);
    let mut expected = None;
    for now in [
        Now::Unsynchronised,
        Now::Synchronised(0),
        Now::Synchronised(CREATED),
        Now::Synchronised(YEAR_2099),
        Now::Synchronised(u64::MAX),
    ] {
        let mut site = site();
        site.now = now;
        site.takes(&deployment(1, &[&release]), &[&release]);
        let memory = expected.get_or_insert_with(|| site.memory());
        assert_eq!(site.memory(), *memory, "{now:?}");
    }
}

/// A deployment that was good for a day.
fn short_lived(seq: u64, release: &crate::site::Signed) -> Deployment {
    let mut deployment = deployment(seq, &[release]);
    deployment.expires = Some(CREATED + DAY);
    deployment
}

#[test]
fn expiry_holds_by_a_clock_that_is_to_be_believed_and_by_no_other() {
    let release = signed_release(MODULE, 7);
    let mut site = site();
    site.now = Now::Synchronised(CREATED + DAY);
    site.refuses(&short_lived(1, &release), &[&release], "expired");
    site.now = Now::Synchronised(YEAR_2099);
    site.refuses(&short_lived(1, &release), &[&release], "expired");
    // Without a clock, with one that is certainly wrong, and in time, it is taken.
    for now in [
        Now::Unsynchronised,
        Now::Synchronised(0),
        Now::Synchronised(CREATED + DAY - 1),
    ] {
        let mut site = crate::site::site();
        site.now = now;
        site.takes(&short_lived(1, &release), &[&release]);
        // Once taken it is never refused for its age.
        site.now = Now::Synchronised(YEAR_2099);
        site.takes(&short_lived(1, &release), &[&release]);
        site.refuses(&short_lived(2, &release), &[&release], "expired");
    }
}

#[test]
fn expiry_is_told_as_far_as_it_is_known() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    site.takes(&short_lived(1, &release), &[&release]);
    let expiry = |site: &Site, now, expires| site.trust.expiry(&site.gateway, now, expires);
    let day = Some(CREATED + DAY);
    assert_eq!(expiry(&site, Now::Unsynchronised, None), Expiry::Never);
    assert_eq!(expiry(&site, Now::Unsynchronised, day), Expiry::Unknown);
    assert_eq!(expiry(&site, Now::Synchronised(5), day), Expiry::Unknown);
    let in_time = Now::Synchronised(CREATED + DAY - 1);
    assert_eq!(expiry(&site, in_time, day), Expiry::Ahead);
    assert_eq!(
        expiry(&site, Now::Synchronised(CREATED + DAY), day),
        Expiry::Passed
    );
    // A signed time is enough to know that it is over, and not enough to refuse anything.
    told(&mut site, CREATED + 2 * DAY, |_| ());
    assert_eq!(expiry(&site, Now::Unsynchronised, day), Expiry::Passed);
    site.takes(&short_lived(2, &release), &[&release]);
}

#[test]
fn a_time_that_a_stolen_key_ran_up_is_forgotten_with_the_epoch() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    site.takes(&deployment(1, &[&release]), &[&release]);
    told(&mut site, u64::MAX, |_| ());
    assert_eq!(site.trust.time_floor(&site.gateway), u64::MAX);
    // Meanwhile nothing is refused: the right clock is not believed, and that is all.
    site.now = Now::Synchronised(CREATED + DAY);
    site.takes(&short_lived(2, &release), &[&release]);
    let mut root: Root = site.fleet.root();
    (root.version, root.epoch) = (2, 2);
    let fleet = fleet();
    let root = root.sign(&[&fleet.roots[0], &fleet.roots[1]]).unwrap();
    site.trust.accept_root(&root).unwrap();
    assert_eq!(site.trust.time_floor(&site.gateway), site.gateway.built);
    assert_eq!(
        site.trust.freshness(&site.gateway, site.now),
        Freshness::Never
    );
}
