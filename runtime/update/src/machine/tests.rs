use super::*;

mod schedules;

/// Why a module failed.
const WHY: &str = "it does not like its configuration";

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn blob(text: &str) -> Blob {
    Blob::of(text.as_bytes())
}

/// A deployment of modules `a` and `b`, each of this version.
fn set(name: &str, a: u64, b: u64) -> Set {
    let module = |name: &str, version: u64| Module {
        name: name.to_owned(),
        release: digest(&format!("{name} {version}")),
        settings: digest(&format!("settings {name} {version}")),
        enabled: true,
        generation: 0,
    };
    Set {
        deployment: digest(name),
        document: blob(name),
        releases: BTreeMap::from([
            (digest(&format!("a {a}")), blob(&format!("release a {a}"))),
            (digest(&format!("b {b}")), blob(&format!("release b {b}"))),
        ]),
        artifacts: vec![blob(&format!("code a {a}")), blob(&format!("code b {b}"))],
        modules: vec![module("a", a), module("b", b)],
        shadowed: true,
        probation_minutes: 10,
        attempts: 3,
    }
}

fn trial(module: &str, generation: u64) -> Trial {
    Trial {
        module: module.to_owned(),
        generation,
    }
}

/// A machine with a confirmed set of version 1 of both.
fn confirmed() -> Machine {
    let mut machine = Machine::default();
    for event in [
        Event::Accepted(set("first", 1, 1)),
        Event::Stored,
        Event::Passed(trial("a", 1)),
        Event::Passed(trial("b", 1)),
        Event::Activated,
        Event::Minutes(10),
    ] {
        let _commands = machine.on(event);
    }
    assert_eq!(machine.confirmed().unwrap().deployment, digest("first"));
    machine
}

/// A machine in which version 2 of `a` is in this step.
fn on_the_way(events: &[Event]) -> Machine {
    let mut machine = confirmed();
    let begin = [Event::Accepted(set("second", 2, 1)), Event::Stored];
    for event in begin.iter().chain(events) {
        let _commands = machine.on(event.clone());
    }
    machine
}

fn shadow() -> Machine {
    on_the_way(&[])
}

fn activating() -> Machine {
    on_the_way(&[Event::Passed(trial("a", 2))])
}

fn probation() -> Machine {
    on_the_way(&[Event::Passed(trial("a", 2)), Event::Activated])
}

fn returning() -> Machine {
    on_the_way(&[
        Event::Passed(trial("a", 2)),
        Event::Faulted(trial("a", 2), WHY.to_owned()),
    ])
}

#[test]
fn a_deployment_is_fetched_tried_activated_and_confirmed_and_what_does_not_change_is_left_alone() {
    let mut machine = confirmed();
    let accepted = machine.on(Event::Accepted(set("second", 2, 1)));
    assert_eq!(accepted, [Command::Collect, Command::Fetch]);
    let tried = machine.on(Event::Stored);
    assert_eq!(tried, [Command::Try(trial("a", 2))]);
    assert_eq!(machine.active().unwrap().deployment, digest("first"));
    let passed = machine.on(Event::Passed(trial("a", 2)));
    assert_eq!(passed, [Command::Activate]);
    assert_eq!(machine.active().unwrap().deployment, digest("second"));
    assert_eq!(machine.on(Event::Activated), []);
    assert_eq!(machine.on(Event::Minutes(9)), []);
    assert_eq!(machine.confirmed().unwrap().deployment, digest("first"));
    let proven = machine.on(Event::Minutes(1));
    let confirm = Command::Confirm(digest("second"));
    assert_eq!(proven, [confirm, Command::Retire, Command::Collect]);
    let confirmed = machine.confirmed().unwrap();
    let generations: Vec<_> = confirmed.modules.iter().map(|it| it.generation).collect();
    assert_eq!(generations, [2, 1]);
}

#[test]
fn every_event_in_every_state_does_what_the_diagram_says_and_nothing_else() {
    let steps = [
        ("nothing", confirmed()),
        ("fetching", {
            let mut machine = confirmed();
            let _commands = machine.on(Event::Accepted(set("second", 2, 1)));
            machine
        }),
        ("shadow", shadow()),
        ("activating", activating()),
        ("probation", probation()),
        ("returning", returning()),
    ];
    let events = [
        ("accepted", Event::Accepted(set("third", 3, 1))),
        ("stored", Event::Stored),
        ("lost", Event::Lost),
        ("passed", Event::Passed(trial("a", 2))),
        ("faulted", Event::Faulted(trial("a", 2), WHY.to_owned())),
        ("rejected", Event::Rejected(trial("a", 2), WHY.to_owned())),
        ("hindered", Event::Hindered(trial("a", 2), WHY.to_owned())),
        ("activated", Event::Activated),
        ("returned", Event::Returned),
        ("minutes", Event::Minutes(99)),
        ("started", Event::Started),
        ("stopping", Event::Stopping),
    ];
    // A dash stands for: nothing changes.
    let table = [
        ("nothing", "fetching - - - - - - - - - nothing -"),
        (
            "fetching",
            "fetching shadow fetching - - - - - - - fetching -",
        ),
        (
            "shadow",
            "fetching - fetching activating shadow nothing nothing - - - shadow shadow",
        ),
        (
            "activating",
            "returning - returning - returning returning returning probation - - activating activating",
        ),
        (
            "probation",
            "returning - returning - returning returning returning - - nothing activating probation",
        ),
        ("returning", "returning - - - - - - - nothing - returning -"),
    ];
    for ((name, machine), (row, expected)) in steps.iter().zip(table) {
        assert_eq!(*name, row);
        for ((event_name, event), expected) in events.iter().zip(expected.split(' ')) {
            let mut after = machine.clone();
            let commands = after.on(event.clone());
            let place = format!("{event_name} in {name}");
            if expected == "-" {
                assert_eq!((&after, commands.len()), (machine, 0), "{place}");
                continue;
            }
            let step = after.candidate.as_ref().map(|candidate| &candidate.step);
            let step = match step {
                None => "nothing",
                Some(Step::Fetching) => "fetching",
                Some(Step::Shadow { .. }) => "shadow",
                Some(Step::Activating { .. }) => "activating",
                Some(Step::Probation { .. }) => "probation",
                Some(Step::Returning { .. }) => "returning",
            };
            assert_eq!(step, expected, "{place}");
        }
    }
}

#[test]
fn a_late_word_of_a_generation_that_is_gone_changes_nothing() {
    let machine = probation();
    for late in [trial("a", 1), trial("a", 3), trial("b", 1), trial("c", 1)] {
        for event in [
            Event::Passed(late.clone()),
            Event::Faulted(late.clone(), WHY.to_owned()),
            Event::Rejected(late.clone(), WHY.to_owned()),
            Event::Hindered(late.clone(), WHY.to_owned()),
        ] {
            let mut after = machine.clone();
            assert_eq!(after.on(event), []);
            assert_eq!(after, machine);
        }
    }
}

#[test]
fn what_fails_is_denied_as_it_was_deployed_and_the_confirmed_set_is_active_again() {
    let mut machine = shadow();
    let rejected = machine.on(Event::Rejected(trial("a", 2), WHY.to_owned()));
    let denied = [
        Command::Deny(digest("second")),
        Command::Deny(digest("settings a 2")),
    ];
    assert_eq!(rejected[..2], denied);
    assert_eq!(rejected[2..], [Command::EndTrials, Command::Collect]);

    let mut machine = probation();
    let faulted = machine.on(Event::Faulted(trial("a", 2), WHY.to_owned()));
    assert_eq!(faulted[..2], denied);
    assert_eq!(faulted[2..], [Command::Return]);
    assert_eq!(machine.active().unwrap().deployment, digest("first"));
    assert_eq!(machine.on(Event::Returned), [Command::Collect]);
    let given_up = machine.given_up().unwrap();
    assert_eq!(given_up.module.as_deref(), Some("a"));
    assert_eq!(given_up.why, Why::Faulted);
    assert_eq!(given_up.sentence, WHY);
}

#[test]
fn what_the_site_hinders_is_given_up_and_not_denied() {
    for (mut machine, then) in [
        (shadow(), vec![Command::EndTrials, Command::Collect]),
        (probation(), vec![Command::Return]),
    ] {
        let commands = machine.on(Event::Hindered(trial("a", 2), WHY.to_owned()));
        assert_eq!(commands, then);
        let _commands = machine.on(Event::Returned);
        assert!(machine.candidate().is_none());
        assert_eq!(machine.given_up().unwrap().why, Why::Hindered);
        // It may come again.
        let commands = machine.on(Event::Accepted(set("second", 2, 1)));
        assert_eq!(commands, [Command::Collect, Command::Fetch]);
    }
}

#[test]
fn a_trial_that_ends_with_the_process_has_used_up_an_attempt_and_an_orderly_stop_has_not() {
    let mut machine = shadow();
    for _ in 0..2 {
        assert_eq!(machine.on(Event::Started), [Command::Try(trial("a", 2))]);
    }
    // Three were allowed, and each ended with the process.
    let commands = machine.on(Event::Started);
    assert_eq!(commands[0], Command::Deny(digest("second")));
    assert_eq!(
        commands[1],
        Command::Deny(digest("settings a 2")),
        "nothing else changed"
    );
    assert_eq!(machine.given_up().unwrap().why, Why::Crashed);
    assert!(machine.candidate().is_none());

    let mut machine = probation();
    for _ in 0..50 {
        assert_eq!(machine.on(Event::Stopping), []);
        assert_eq!(machine.on(Event::Stopping), [], "said twice, counted once");
        assert_eq!(machine.on(Event::Started), [Command::Activate]);
    }
    assert_eq!(machine.candidate.unwrap().attempts_left, 2);
}

#[test]
fn after_a_crash_in_probation_no_minute_counts_until_the_candidate_runs_again() {
    let mut machine = probation();
    assert_eq!(machine.on(Event::Minutes(4)), []);
    assert_eq!(machine.on(Event::Started), [Command::Activate]);
    assert_eq!(machine.on(Event::Minutes(99)), []);
    assert_eq!(machine.confirmed().unwrap().deployment, digest("first"));
    assert_eq!(machine.on(Event::Activated), []);
    assert_eq!(machine.on(Event::Minutes(5)), [], "four of ten are over");
    let proven = machine.on(Event::Minutes(1));
    assert_eq!(proven[0], Command::Confirm(digest("second")));
}

#[test]
fn of_several_modules_that_change_none_is_denied_for_a_crash() {
    let mut machine = confirmed();
    let _commands = machine.on(Event::Accepted(set("second", 2, 2)));
    let _commands = machine.on(Event::Stored);
    for _ in 0..2 {
        let _commands = machine.on(Event::Started);
    }
    let denied = machine.on(Event::Started);
    let denied = denied.iter().filter(|it| matches!(it, Command::Deny(_)));
    assert_eq!(denied.count(), 1, "the deployment alone");
}

#[test]
fn a_newer_deployment_takes_the_place_of_one_in_probation_by_way_of_the_confirmed_set() {
    let mut machine = probation();
    let commands = machine.on(Event::Accepted(set("third", 3, 1)));
    assert_eq!(commands, [Command::Return]);
    assert_eq!(machine.active().unwrap().deployment, digest("first"));
    assert!(machine.named().contains(&blob("code a 3").sha256));
    // A crash in between, and another deployment.
    assert_eq!(machine.on(Event::Started), [Command::Return]);
    assert_eq!(machine.on(Event::Accepted(set("fourth", 4, 1))), []);
    let commands = machine.on(Event::Returned);
    assert_eq!(commands, [Command::Collect, Command::Fetch]);
    assert_eq!(machine.candidate().unwrap().deployment, digest("fourth"));
    assert_eq!(machine.on(Event::Stored), [Command::Try(trial("a", 4))]);
}

#[test]
fn a_machine_reads_back_from_what_it_was_written_as() {
    for machine in [
        confirmed(),
        shadow(),
        activating(),
        probation(),
        returning(),
    ] {
        let json = serde_json::to_string(&machine).unwrap();
        assert_eq!(serde_json::from_str::<Machine>(&json).unwrap(), machine);
    }
}

#[test]
fn without_a_persisted_attempt_a_crash_loop_never_ends() {
    // The negative control: a machine that is written only after the trial forgets that there was one.
    let mut on_disk = confirmed();
    let _commands = on_disk.on(Event::Accepted(set("second", 2, 1)));
    for _ in 0..1_000 {
        let mut in_memory = on_disk.clone();
        let _commands = in_memory.on(Event::Started);
        assert_eq!(in_memory.on(Event::Stored), [Command::Try(trial("a", 2))]);
    }
}
