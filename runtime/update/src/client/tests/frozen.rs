//! Restarts, crashes and damage, over real files.

use super::*;
use std::fs;
use std::path::PathBuf;

const STATE: [&str; 3] = ["state-0", "state-1", "enrolled"];

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn frozen(folder: &Path) -> FrozenClient {
    match Client::open(site(folder), clock()).unwrap() {
        Found::Frozen(frozen) => *frozen,
        other => panic!("{other:?}"),
    }
}

/// A gateway that has confirmed version 1 and has version 2 on probation.
fn on_probation(folder: &Path) -> Client {
    let mut client = enrolled(folder);
    confirm(&mut client, 1, &[fleet().module("pump", 1)]);
    take(&mut client, fleet().stick(2, &[fleet().module("pump", 2)]));
    client.on(Event::Passed(trial("pump", 2))).unwrap();
    client.on(Event::Activated).unwrap();
    client
}

#[test]
fn a_gateway_without_a_fleet_is_not_enrolled_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let found = Client::open(site(folder.path()), clock()).unwrap();
    assert!(matches!(found, Found::NotEnrolled));
    drop(found);
    let client = enrolled(folder.path());
    drop(client);
    let again = Client::enrol(site(folder.path()), clock(), &fleet().root(1));
    assert_eq!(again.unwrap_err().reason(), "disk-failed");
}

#[test]
fn with_a_damaged_state_what_ran_runs_on_and_nothing_is_taken() {
    for damaged in [&["state-0"][..], &["state-1"], &["enrolled"], &STATE] {
        let folder = tempfile::tempdir().unwrap();
        drop(on_probation(folder.path()));
        let state = site(folder.path()).folder;
        let before: Vec<_> = STATE
            .map(|name| fs::read(state.join(name)).unwrap())
            .to_vec();
        for name in damaged {
            fs::write(state.join(name), b"\0\0\0\0").unwrap();
        }
        let (reason, counters) = match Client::open(site(folder.path()), clock()).unwrap() {
            // One slot is of the generation before: its damage takes nothing away.
            Found::Enrolled(client) => {
                assert_eq!(damaged.len(), 1);
                (String::new(), running(&client))
            }
            Found::Frozen(frozen) => {
                let active = frozen.active().unwrap().into_iter();
                let active = active.map(|it| (it.module.name, it.generation, it.component));
                (frozen.reason().to_owned(), active.collect())
            }
            Found::NotEnrolled => panic!("begun anew"),
        };
        // All copies that can be read name a set that is whole: the candidate or the confirmed one.
        let (_, generation, code) = &counters[0];
        assert_eq!(
            *code,
            component("pump", *generation),
            "{damaged:?} {reason}"
        );
        if damaged.len() == 3 {
            assert_eq!(
                *generation, 1,
                "all that is left is the copy of the confirmed state"
            );
            let log = fs::read_to_string(state.join("audit.log")).unwrap();
            assert!(log.contains("\"frozen\""), "it is reported");
        }
        // Mended by a person who has the files: it goes on.
        for (name, bytes) in STATE.iter().zip(&before) {
            fs::write(state.join(name), bytes).unwrap();
        }
        assert_eq!(running(&open(folder.path()))[0].1, 2);
    }
}

#[test]
fn an_older_state_that_was_put_back_is_noticed_and_no_older_release_gets_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    confirm(&mut client, 1, &[fleet().module("pump", 1)]);
    drop(client);
    let state = site(folder.path()).folder;
    let old = tempfile::tempdir().unwrap();
    copy_folder(&state, old.path());
    let mut client = open(folder.path());
    confirm(&mut client, 2, &[fleet().module("pump", 2)]);
    drop(client);
    for name in ["state-0", "state-1"] {
        fs::copy(old.path().join(name), state.join(name)).unwrap();
    }
    let frozen = frozen(folder.path());
    assert!(
        frozen.reason().contains("were written"),
        "{}",
        frozen.reason()
    );
    // What is confirmed runs: the sets of the old states are not in the store any more.
    assert_eq!(frozen.active().unwrap()[0].release.counter, 2);
    drop(frozen);
    // The negative control: whoever begins anew takes the old release.
    let mut forgetful = Trust::begin(&fleet().root(1)).unwrap();
    let module = fleet().module("pump", 1);
    let accepted = forgetful.accept_deployment(
        &site(folder.path()).gateway,
        Now::Unsynchronised,
        &fleet().deployment(1, std::slice::from_ref(&module)),
        &[&module.release],
    );
    assert!(accepted.is_ok());
}

/// Every state that the folder goes through while a client works, as a power cut would leave it after each write.
fn snapshots(folder: &Path, work: &[Event]) -> Vec<PathBuf> {
    let state = site(folder).folder;
    let shots = folder.join("shots");
    let mut taken = Vec::new();
    let mut shoot = |state: &Path| {
        let shot = shots.join(taken.len().to_string()).join("update");
        copy_folder(state, &shot);
        taken.push(shot.parent().unwrap().to_owned());
    };
    let mut client = open(folder);
    shoot(&state);
    take(&mut client, fleet().stick(2, &[fleet().module("pump", 2)]));
    shoot(&state);
    for event in work {
        client.on(event.clone()).unwrap();
        shoot(&state);
    }
    taken
}

#[test]
fn a_power_cut_between_any_two_steps_leaves_the_old_or_the_new_and_it_goes_on_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    confirm(&mut client, 1, &[fleet().module("pump", 1)]);
    drop(client);
    let work = [
        Event::Passed(trial("pump", 2)),
        Event::Activated,
        Event::Minutes(5),
        Event::Minutes(5),
    ];
    let mut checked = 0;
    for shot in snapshots(folder.path(), &work) {
        let store = site(&shot).folder.join("sha256");
        let blobs: Vec<_> = fs::read_dir(&store)
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        // As it is, and with a blob of either version half written.
        for torn in std::iter::once(None).chain(blobs.iter().map(Some)) {
            let cut = tempfile::tempdir().unwrap();
            copy_folder(&site(&shot).folder, &site(cut.path()).folder);
            if let Some(torn) = torn {
                let name = torn.file_name().unwrap().to_str().unwrap();
                let part = site(cut.path())
                    .folder
                    .join("sha256")
                    .join(format!("{name}.part"));
                fs::write(part, b"half").unwrap();
            }
            let mut client = open(cut.path());
            let commands = client.on(Event::Started).unwrap();
            let (_, generation, code) = running(&client).remove(0);
            assert_eq!(
                code,
                component("pump", generation),
                "neither the old nor the new"
            );
            finish(&mut client, commands);
            assert_eq!(
                running(&client),
                [("pump".to_owned(), 2, component("pump", 2))]
            );
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked}");
}

/// Does what is left to do, as a gateway would, and brings the stick again.
fn finish(client: &mut Client, commands: Vec<Command>) {
    let mut left = commands;
    left.extend(take(client, fleet().stick(2, &[fleet().module("pump", 2)])));
    while let Some(command) = left.pop() {
        let event = match command {
            Command::Try(trial) => Event::Passed(trial),
            Command::Activate => Event::Activated,
            _ => continue,
        };
        left.extend(client.on(event).unwrap());
    }
    client.on(Event::Minutes(10)).unwrap();
    assert!(client.machine().candidate().is_none());
}
