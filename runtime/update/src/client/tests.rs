use std::io::{self, Cursor, Read};
use std::path::Path;

use tidegate_bundle::{Digest, Stick, Trust};

use super::*;
use crate::fixture::{Fleet, Module, Toxic, clock, component, fleet, policy, site};
use crate::{Blob, Policy};

/// Why a module failed.
const WHY: &str = "it does not like its configuration";

mod deliver;
mod fresh;
mod frozen;
mod hostile;
mod refusals;

fn enrolled(folder: &Path) -> Client {
    Client::enrol(site(folder), clock(), &fleet().root(1)).unwrap()
}

/// The process ends and begins again.
fn restarted(client: Client, folder: &Path) -> Client {
    drop(client);
    open(folder)
}

fn open(folder: &Path) -> Client {
    match Client::open(site(folder), clock()).unwrap() {
        Found::Enrolled(client) => *client,
        other => panic!("{other:?}"),
    }
}

fn trial(module: &str, generation: u64) -> Trial {
    Trial {
        module: module.to_owned(),
        generation,
    }
}

/// Takes a stick that is all right and gives what is left to do.
#[track_caller]
fn take(client: &mut Client, stick: Vec<u8>) -> Vec<Command> {
    let taken = client.take_stick(Cursor::new(stick), &policy()).unwrap();
    assert!(taken.missing.is_empty(), "{:?}", taken.missing);
    taken.commands
}

/// Takes a stick that is not.
#[track_caller]
fn refused(client: &mut Client, stick: Vec<u8>) -> &'static str {
    let before = (client.turn(), client.machine().clone());
    let error = client
        .take_stick(Cursor::new(stick), &policy())
        .unwrap_err();
    assert_eq!(
        (client.turn(), client.machine().clone()),
        before,
        "a refusal changed something"
    );
    error.reason()
}

/// Takes a stick and confirms what is on it.
fn confirm(client: &mut Client, seq: u64, modules: &[Module]) {
    let commands = take(client, fleet().stick(seq, modules));
    for command in commands {
        if let Command::Try(trial) = command {
            client.on(Event::Passed(trial)).unwrap();
        }
    }
    client.on(Event::Activated).unwrap();
    client.on(Event::Minutes(10)).unwrap();
    assert!(client.machine().candidate().is_none());
}

fn running(client: &Client) -> Vec<(String, u64, Vec<u8>)> {
    let active = client.active().unwrap().into_iter();
    active
        .map(|it| (it.module.name, it.generation, it.component))
        .collect()
}

fn audit(client: &Client, folder: &Path) -> Vec<String> {
    let verified = Audit::verify(&site(folder).folder, client.audit()).unwrap();
    let lines = verified.unwrap().into_iter();
    lines
        .map(|line| format!("{} {}", line.what, line.text))
        .collect()
}

#[test]
fn a_stick_makes_a_gateway_ready_to_try_to_activate_and_to_confirm() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let module = fleet().module("pump", 1);
    let commands = take(&mut client, fleet().stick(1, std::slice::from_ref(&module)));
    assert_eq!(commands, [Command::Try(trial("pump", 1))]);
    let ready = client.candidate().unwrap();
    assert_eq!(ready.len(), 1);
    assert_eq!(ready[0].component, module.component);
    assert_eq!(ready[0].release.counter, 1);
    assert_eq!(ready[0].module.grants.publish[0].topic, "alarms/pump");
    assert!(ready[0].config.contains_key("high"));
    assert!(client.active().is_err(), "nothing runs before it was tried");
    let commands = client.on(Event::Passed(trial("pump", 1))).unwrap();
    assert_eq!(commands, [Command::Activate]);
    client.on(Event::Activated).unwrap();
    let commands = client.on(Event::Minutes(10)).unwrap();
    assert_eq!(commands, [Command::Retire]);
    assert_eq!(client.trust().confirmed(), client.trust().accepted());
    assert_eq!(running(&client), [("pump".to_owned(), 1, module.component)]);
    let lines = audit(&client, folder.path());
    let whats: Vec<_> = lines
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let expected = [
        "enrolled",
        "verified",
        "accepted",
        "stored",
        "passed",
        "activated",
        "confirmed",
    ];
    assert_eq!(whats, expected);
    assert!(
        lines[1].contains("may now publish alarms/pump on plant"),
        "{}",
        lines[1]
    );
}

#[test]
fn the_same_stick_again_changes_nothing_and_an_older_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let (old, new) = (fleet().module("pump", 1), fleet().module("pump", 2));
    confirm(&mut client, 1, std::slice::from_ref(&old));
    confirm(&mut client, 2, std::slice::from_ref(&new));
    let turn = client.turn();
    assert_eq!(
        take(&mut client, fleet().stick(2, std::slice::from_ref(&new))),
        []
    );
    assert_eq!(client.turn(), turn);
    assert_eq!(
        refused(&mut client, fleet().stick(1, std::slice::from_ref(&old))),
        "sequence-rollback"
    );
    assert_eq!(
        refused(&mut client, fleet().stick(3, std::slice::from_ref(&old))),
        "release-rollback"
    );
    // After a restart as well. The negative control: a client that began anew would take it.
    let mut client = restarted(client, folder.path());
    assert_eq!(
        refused(&mut client, fleet().stick(1, std::slice::from_ref(&old))),
        "sequence-rollback"
    );
    let other = tempfile::tempdir().unwrap();
    let mut forgetful = enrolled(other.path());
    take(&mut forgetful, fleet().stick(1, &[old]));
}

#[test]
fn a_partial_stick_waits_for_another_that_has_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let (a, b) = (fleet().module("a", 1), fleet().module("b", 1));
    let document = fleet().deployment(1, &[a.clone(), b.clone()]);
    let stick = |releases: &[&[u8]], blobs: &[&[u8]]| {
        let stick = Stick {
            roots: &[],
            deployment: &document,
            releases,
            blobs,
        };
        Cursor::new(stick.write().unwrap())
    };
    let without_release = client.take_stick(stick(&[&a.release], &[&a.component]), &policy());
    assert_eq!(without_release.unwrap_err().reason(), "missing-release");
    let releases: [&[u8]; 2] = [&a.release, &b.release];
    let half = client
        .take_stick(stick(&releases, &[&a.component]), &policy())
        .unwrap();
    assert_eq!(half.commands, [Command::Fetch]);
    assert_eq!(half.missing, [Blob::of(&b.component)]);
    assert!(half.problems.is_empty());
    // Over a restart, and with no release on the other stick: ours are good.
    let mut client = restarted(client, folder.path());
    assert_eq!(client.on(Event::Started).unwrap(), [Command::Fetch]);
    let rest = client
        .take_stick(stick(&[], &[&b.component]), &policy())
        .unwrap();
    assert_eq!(
        rest.commands,
        [Command::Try(trial("a", 1)), Command::Try(trial("b", 1))]
    );
}

#[test]
fn only_what_changes_is_tried_and_the_rest_need_not_be_brought_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let (a, b, newer) = (
        fleet().module("a", 1),
        fleet().module("b", 1),
        fleet().module("b", 2),
    );
    confirm(&mut client, 1, &[a.clone(), b]);
    let stick = Stick {
        roots: &[],
        deployment: &fleet().deployment(2, &[a, newer.clone()]),
        releases: &[&newer.release],
        blobs: &[&newer.component],
    };
    let commands = take(&mut client, stick.write().unwrap());
    assert_eq!(commands, [Command::Try(trial("b", 2))]);
}

#[test]
fn what_fails_is_not_tried_again_until_a_newer_counter_comes() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let [good, bad, mended] = [1, 2, 3].map(|counter| fleet().module("pump", counter));
    confirm(&mut client, 1, std::slice::from_ref(&good));
    take(&mut client, fleet().stick(2, std::slice::from_ref(&bad)));
    let commands = client
        .on(Event::Rejected(trial("pump", 2), WHY.to_owned()))
        .unwrap();
    assert_eq!(commands, [Command::EndTrials]);
    assert_eq!(running(&client), [("pump".to_owned(), 1, good.component)]);
    let mut client = restarted(client, folder.path());
    assert_eq!(
        refused(&mut client, fleet().stick(2, std::slice::from_ref(&bad))),
        "denied"
    );
    assert_eq!(
        refused(&mut client, fleet().stick(3, std::slice::from_ref(&bad))),
        "denied"
    );
    let commands = take(&mut client, fleet().stick(4, &[mended]));
    assert_eq!(commands, [Command::Try(trial("pump", 3))]);
}

#[test]
fn a_module_that_takes_the_process_with_it_is_parked_after_its_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let (good, bad) = (fleet().module("pump", 1), fleet().module("pump", 2));
    confirm(&mut client, 1, std::slice::from_ref(&good));
    take(&mut client, fleet().stick(2, std::slice::from_ref(&bad)));
    let mut begun = 1;
    for _ in 0..10 {
        client = restarted(client, folder.path());
        let commands = client.on(Event::Started).unwrap();
        begun += usize::from(commands.contains(&Command::Try(trial("pump", 2))));
    }
    assert_eq!(begun, 3);
    assert_eq!(running(&client), [("pump".to_owned(), 1, good.component)]);
    assert_eq!(refused(&mut client, fleet().stick(3, &[bad])), "denied");
}

#[test]
fn the_confirmed_set_stays_whole_in_the_store_whatever_comes_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let good = fleet().module("pump", 1);
    confirm(&mut client, 1, std::slice::from_ref(&good));
    for counter in 2..12 {
        let module = fleet().module("pump", counter);
        take(
            &mut client,
            fleet().stick(counter, std::slice::from_ref(&module)),
        );
        if counter % 2 == 0 {
            client.on(Event::Passed(trial("pump", counter))).unwrap();
            client.on(Event::Activated).unwrap();
        }
        if counter % 3 == 0 {
            client = restarted(client, folder.path());
            client.on(Event::Started).unwrap();
        }
        client
            .on(Event::Rejected(trial("pump", counter), WHY.to_owned()))
            .unwrap();
        client.on(Event::Returned).unwrap();
        assert_eq!(
            running(&client),
            [("pump".to_owned(), 1, good.component.clone())]
        );
    }
    // The confirmed documents and component, and nothing else.
    assert_eq!(client.machine().named().len(), 3);
    let files = std::fs::read_dir(site(folder.path()).folder.join("sha256")).unwrap();
    assert_eq!(files.count(), 3);
}

#[test]
fn code_that_rots_in_the_store_is_found_and_brought_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let (good, new) = (fleet().module("pump", 1), fleet().module("pump", 2));
    confirm(&mut client, 1, std::slice::from_ref(&good));
    let rot = |module: &Module| {
        let digest = Digest::of(&module.component).to_string();
        let path = site(folder.path()).folder.join("sha256").join(digest);
        std::fs::write(path, b"rotten").unwrap();
    };
    // Of the candidate, in probation: back, and from the beginning.
    take(&mut client, fleet().stick(2, std::slice::from_ref(&new)));
    client.on(Event::Passed(trial("pump", 2))).unwrap();
    client.on(Event::Activated).unwrap();
    rot(&new);
    assert_eq!(client.active().unwrap_err().reason(), "damaged-blob");
    assert_eq!(client.on(Event::Lost).unwrap(), [Command::Return]);
    assert_eq!(
        running(&client),
        [("pump".to_owned(), 1, good.component.clone())]
    );
    assert_eq!(client.on(Event::Returned).unwrap(), [Command::Fetch]);
    let commands = take(&mut client, fleet().stick(2, std::slice::from_ref(&new)));
    assert_eq!(commands, [Command::Try(trial("pump", 3))]);
    // Of the confirmed set: any stick that has it mends it.
    rot(&good);
    assert_eq!(client.confirmed().unwrap_err().reason(), "damaged-blob");
    let stick = Stick {
        roots: &[],
        deployment: &fleet().deployment(2, &[new]),
        releases: &[],
        blobs: &[&good.component],
    };
    take(&mut client, stick.write().unwrap());
    assert_eq!(running(&client), [("pump".to_owned(), 1, good.component)]);
}

#[test]
fn roots_are_followed_one_by_one_and_those_before_a_bad_one_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let module = fleet().module("pump", 1);
    let roots: Vec<_> = (1..=40).map(|version| fleet().root(version)).collect();
    let mut with_gap: Vec<_> = roots.iter().map(Vec::as_slice).collect();
    with_gap.remove(9);
    let forged = Fleet {
        root: tidegate_bundle::SigningKey::from_seed(&[9; 32]),
        ..fleet()
    };
    let forged = forged.root(10);
    let stick = |roots: &[&[u8]]| {
        let stick = Stick {
            roots,
            deployment: &fleet().deployment(1, std::slice::from_ref(&module)),
            releases: &[&module.release],
            blobs: &[&module.component],
        };
        Cursor::new(stick.write().unwrap())
    };
    let mut bad = with_gap[..9].to_vec();
    bad.push(&forged);
    let error = client.take_stick(stick(&bad), &policy()).unwrap_err();
    assert_eq!(error.reason(), "wrong-key");
    assert_eq!(client.trust().root().root().version, 9);
    assert!(client.machine().candidate().is_none());
    let all: Vec<_> = roots.iter().map(Vec::as_slice).collect();
    client.take_stick(stick(&all), &policy()).unwrap();
    assert_eq!(client.trust().root().root().version, 40);
    let client = restarted(client, folder.path());
    assert_eq!(client.trust().root().root().version, 40);
}

#[test]
fn what_the_site_does_not_permit_is_refused_before_anything_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let module = fleet().module("pump", 1);
    let stick = fleet().stick(1, std::slice::from_ref(&module));
    let strict = Policy::parse("[[module]]\nname = \"pump\"").unwrap();
    let error = client
        .take_stick(Cursor::new(stick.clone()), &strict)
        .unwrap_err();
    assert_eq!(error.reason(), "not-permitted");
    assert_eq!(client.trust().seq(), 0);
    let files = std::fs::read_dir(site(folder.path()).folder.join("sha256")).unwrap();
    assert_eq!(files.count(), 0);
    // The site has thought it over: the same stick is taken.
    take(&mut client, stick);
}

#[test]
fn a_refusal_that_comes_every_minute_is_noted_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    for _ in 0..5 {
        assert_eq!(
            refused(&mut client, b"no stick at all".to_vec()),
            "truncated"
        );
    }
    let lines = audit(&client, folder.path());
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("refused stick: "), "{lines:?}");
}
