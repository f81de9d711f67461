//! What a centre says to be the newest, against what has come.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_bundle::{Freshness, Nonce, SigningKey, Time};
use tidegate_record::{BootId, BootTime, WallTime};

use super::*;
use crate::{Newest, Parcel};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const SIGNED: u64 = 1_800_000_000;

/// A clock of which each part is turned by itself; none of it is to be believed.
#[derive(Debug)]
struct Turned {
    wall: AtomicU64,
    since_boot: AtomicU64,
    boot: AtomicU64,
}

impl Turned {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            wall: AtomicU64::new(0),
            since_boot: AtomicU64::new(HOUR),
            boot: AtomicU64::new(1),
        })
    }

    fn turn(&self, wall: u64, since_boot: u64, boot: u64) {
        self.wall.store(wall, Ordering::Relaxed);
        self.since_boot.store(since_boot, Ordering::Relaxed);
        self.boot.store(boot, Ordering::Relaxed);
    }
}

impl Clock for Turned {
    fn wall_time(&self) -> WallTime {
        WallTime(self.wall.load(Ordering::Relaxed) * 1_000_000_000)
    }

    fn quality(&self) -> ClockQuality {
        ClockQuality::Unset
    }

    fn boot_time(&self) -> BootTime {
        BootTime(self.since_boot.load(Ordering::Relaxed) * 1_000_000_000)
    }

    fn boot(&self) -> BootId {
        BootId(self.boot.load(Ordering::Relaxed))
    }
}

fn time(nonce: Nonce, seq: u64) -> Time {
    Time {
        fleet_id: "plant-7".to_owned(),
        gateway_id: "gateway-1".to_owned(),
        nonce,
        time: SIGNED,
        epoch: 1,
        seq,
        root_version: 1,
        valid_for: DAY,
    }
}

/// What the centre answers to a question, changed before it is signed.
fn answer(nonce: Nonce, seq: u64, change: impl FnOnce(&mut Time)) -> Vec<u8> {
    let mut time = time(nonce, seq);
    change(&mut time);
    time.sign(&[&fleet().time]).unwrap()
}

/// Asks and takes the answer.
fn hear(client: &mut Client, seq: u64, change: impl FnOnce(&mut Time)) {
    let nonce = Nonce::generate().unwrap();
    let answer = answer(nonce, seq, change);
    client.take_time("centre", nonce, &answer).unwrap();
}

fn ago(seconds_ago: u64, overdue: bool) -> Freshness {
    Freshness::Confirmed {
        seconds_ago,
        overdue,
    }
}

fn kept_back(client: &Client) -> Option<(u64, u64)> {
    let newest = client.fresh().kept_back;
    newest.map(|newest| (newest.root_version, newest.seq))
}

#[test]
fn within_a_boot_the_time_since_boot_tells_the_age_and_no_wall_clock_does() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Turned::new();
    let mut client = Client::enrol(site(folder.path()), clock.clone(), &fleet().root(1)).unwrap();
    assert_eq!(client.fresh().freshness, Freshness::Never);
    hear(&mut client, 0, |_| {});
    for wall in [0, SIGNED, SIGNED + 50 * 365 * DAY, 10] {
        clock.turn(wall, 3 * HOUR, 1);
        let fresh = client.fresh();
        assert_eq!((fresh.freshness, fresh.exact), (ago(2 * HOUR, false), true));
    }
    clock.turn(0, 26 * HOUR, 1);
    assert_eq!(client.fresh().freshness, ago(25 * HOUR, true));
    // The process begins again, in the same boot.
    drop(client);
    let open = || match Client::open(site(folder.path()), clock.clone()).unwrap() {
        Found::Enrolled(client) => *client,
        other => panic!("{other:?}"),
    };
    let client = open();
    let fresh = client.fresh();
    assert_eq!((fresh.freshness, fresh.exact), (ago(25 * HOUR, true), true));
    drop(client);
    // Over a boot nobody here knows how long it was: at least since then.
    clock.turn(SIGNED + 50 * 365 * DAY, 5 * HOUR, 2);
    let mut client = open();
    let fresh = client.fresh();
    assert_eq!(
        (fresh.freshness, fresh.exact),
        (ago(5 * HOUR, false), false)
    );
    // What was signed since then says more, and confirms nothing.
    hear(&mut client, 3, |time| time.time = SIGNED + 8 * DAY);
    let fresh = client.fresh();
    assert_eq!((fresh.freshness, fresh.exact), (ago(8 * DAY, true), false));
    hear(&mut client, 0, |time| time.time = SIGNED + 9 * DAY);
    assert_eq!(client.fresh().freshness, ago(0, false));
}

#[test]
fn that_nothing_is_newer_is_written_once_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Turned::new();
    let mut client = Client::enrol(site(folder.path()), clock.clone(), &fleet().root(1)).unwrap();
    let before = client.turn();
    for minute in 0..180 {
        clock.turn(0, HOUR + minute * 60, 1);
        hear(&mut client, 0, |_| {});
        assert_eq!(client.fresh().freshness, ago(0, false));
    }
    assert_eq!(client.turn() - before, 3);
}

#[test]
fn what_is_said_to_be_newer_and_does_not_come_is_kept_back_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let pump = [fleet().module("pump", 1)];
    confirm(&mut client, 1, &pump);
    let running = running(&client);
    hear(&mut client, 1, |_| {});
    assert_eq!(kept_back(&client), None);
    hear(&mut client, 2, |_| {});
    assert_eq!(kept_back(&client), Some((1, 2)));
    hear(&mut client, 1, |time| time.root_version = 2);
    assert_eq!(kept_back(&client), Some((2, 1)));
    let lines = audit(&client, folder.path());
    let noted = lines.iter().filter(|line| line.starts_with("kept-back"));
    assert_eq!(noted.count(), 2, "{lines:?}");
    assert_eq!(super::running(&client), running, "it stops no work");
    let mut root = Parcel {
        roots: [(2, fleet().root(2))].into(),
        ..Parcel::default()
    };
    client.take_root(&mut root).unwrap();
    assert_eq!(kept_back(&client), None);
    hear(&mut client, 2, |time| time.root_version = 2);
    assert_eq!(kept_back(&client), Some((2, 2)));
    take(&mut client, fleet().stick(2, &[fleet().module("pump", 2)]));
    assert_eq!(kept_back(&client), None);
    // A centre that has heard less than a stick had keeps nothing back.
    hear(&mut client, 1, |time| time.root_version = 2);
    assert_eq!(kept_back(&client), None);
    assert_eq!(
        client.newest,
        Some(Newest {
            root_version: 2,
            epoch: 1,
            seq: 1
        })
    );
}

#[test]
fn what_came_whole_and_is_refused_is_not_kept_back_and_what_is_forged_or_in_part_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let pump = [fleet().module("pump", 1)];
    hear(&mut client, 7, |_| {});
    // Another gateway's; not signed by who may; without its release.
    let others = fleet().deployment_of(7, &pump, |document| {
        document.target = tidegate_bundle::Target::GatewayId("gateway-2".to_owned());
    });
    let forged = Fleet {
        deployer: SigningKey::from_seed(&[9; 32]),
        ..fleet()
    };
    for document in [others, forged.deployment(7, &pump)] {
        let parcel = Parcel {
            deployment: Some(document),
            ..Parcel::default()
        };
        client.lacking(&parcel).unwrap_err();
        assert_eq!(kept_back(&client), Some((1, 7)));
    }
    let mut parcel = Parcel {
        deployment: Some(fleet().deployment(7, &pump)),
        ..Parcel::default()
    };
    assert_eq!(client.lacking(&parcel).unwrap(), [pump[0].digest]);
    client.take(&mut parcel, &policy()).unwrap_err();
    assert_eq!(kept_back(&client), Some((1, 7)));
    // With its release, and against the policy of the site.
    parcel.releases = [(pump[0].digest, pump[0].release.clone())].into();
    let nothing = Policy::parse("").unwrap();
    let error = client.take(&mut parcel, &nothing).unwrap_err();
    assert!(matches!(error, Error::NotPermitted(_)), "{error:?}");
    assert_eq!(kept_back(&client), None);
}

#[test]
fn an_answer_to_another_question_of_another_gateway_or_by_another_key_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let (first, nonce) = (Nonce::generate().unwrap(), Nonce::generate().unwrap());
    let wrong = [
        (answer(first, 0, |_| {}), "wrong-nonce"),
        (
            answer(nonce, 0, |time| time.gateway_id = "gateway-2".to_owned()),
            "wrong-gateway",
        ),
        (
            answer(nonce, 0, |time| time.fleet_id = "plant-8".to_owned()),
            "wrong-fleet",
        ),
        (
            time(nonce, 0).sign(&[&fleet().deployer]).unwrap(),
            "wrong-key",
        ),
    ];
    for (bytes, reason) in wrong {
        let error = client.take_time("centre", nonce, &bytes).unwrap_err();
        assert_eq!(error.reason(), reason);
        let fresh = client.fresh();
        assert_eq!((fresh.freshness, fresh.kept_back), (Freshness::Never, None));
    }
    // The negative control: the answer to this question is taken.
    client
        .take_time("centre", nonce, &answer(nonce, 0, |_| {}))
        .unwrap();
    assert_eq!(client.fresh().freshness, ago(0, false));
}
