use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

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
        settings: digest("settings"),
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
    on_the_way(&[Event::Passed(trial("a", 2)), Event::Faulted(trial("a", 2))])
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
        ("faulted", Event::Faulted(trial("a", 2))),
        ("rejected", Event::Rejected(trial("a", 2))),
        ("activated", Event::Activated),
        ("returned", Event::Returned),
        ("minutes", Event::Minutes(99)),
        ("started", Event::Started),
        ("stopping", Event::Stopping),
    ];
    // A dash stands for: nothing changes.
    let table = [
        ("nothing", "fetching - - - - - - - - nothing -"),
        (
            "fetching",
            "fetching shadow fetching - - - - - - fetching -",
        ),
        (
            "shadow",
            "fetching - fetching activating shadow nothing - - - shadow shadow",
        ),
        (
            "activating",
            "returning - returning - returning returning probation - - activating activating",
        ),
        (
            "probation",
            "returning - returning - returning returning - - nothing probation probation",
        ),
        ("returning", "returning - - - - - - nothing - returning -"),
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
                Some(Step::Activating) => "activating",
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
            Event::Faulted(late.clone()),
            Event::Rejected(late.clone()),
        ] {
            let mut after = machine.clone();
            assert_eq!(after.on(event), []);
            assert_eq!(after, machine);
        }
    }
}

#[test]
fn what_fails_is_denied_and_the_confirmed_set_is_active_again() {
    let mut machine = shadow();
    let rejected = machine.on(Event::Rejected(trial("a", 2)));
    let denied = [
        Command::Deny(digest("second")),
        Command::Deny(digest("a 2")),
    ];
    assert_eq!(rejected[..2], denied);
    assert_eq!(rejected[2..], [Command::EndTrials, Command::Collect]);

    let mut machine = probation();
    let faulted = machine.on(Event::Faulted(trial("a", 2)));
    assert_eq!(faulted[..2], denied);
    assert_eq!(faulted[2..], [Command::Return]);
    assert_eq!(machine.active().unwrap().deployment, digest("first"));
    assert_eq!(machine.on(Event::Returned), [Command::Collect]);
    let given_up = machine.given_up().unwrap();
    assert_eq!(given_up.module.as_deref(), Some("a"));
    assert_eq!(given_up.why, Why::Faulted);
}

#[test]
fn a_release_that_the_confirmed_set_runs_is_not_denied_with_a_bad_configuration() {
    let mut machine = confirmed();
    let mut bad = set("second", 1, 1);
    bad.modules[0].settings = digest("other settings");
    let _commands = machine.on(Event::Accepted(bad));
    let _commands = machine.on(Event::Stored);
    let commands = machine.on(Event::Rejected(trial("a", 2)));
    assert_eq!(commands[0], Command::Deny(digest("second")));
    assert!(!commands.contains(&Command::Deny(digest("a 1"))));
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
        Command::Deny(digest("a 2")),
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

/// What a site does to a machine.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// A newer deployment with version `a` and `b` of its modules.
    Offer { a: u64, b: u64 },
    /// The next command that waits is done, and the machine told.
    Do,
    /// The next command is done, and the power goes before the machine is told.
    DoAndCrash,
    /// The power goes.
    Crash,
    /// The process is stopped, and begins again.
    Stop,
    /// A module on trial faults.
    Fault,
    /// Time passes.
    Wait,
    /// The code of a module rots in the store.
    Rot(u64),
}

fn acts(crashes: bool) -> impl Strategy<Value = Vec<Act>> {
    let crash = if crashes { 2 } else { 0 };
    let act = prop_oneof![
        2 => (1..6_u64, 1..4_u64).prop_map(|(a, b)| Act::Offer { a, b }),
        12 => Just(Act::Do),
        crash => Just(Act::DoAndCrash),
        crash => Just(Act::Crash),
        1 => Just(Act::Stop),
        1 => Just(Act::Fault),
        3 => Just(Act::Wait),
        1 => (1..6_u64).prop_map(Act::Rot),
    ];
    vec(act, 0..120)
}

/// A gateway around the machine: what is on disk, and what is lost with the process.
struct Site {
    disk: Machine,
    store: BTreeSet<Digest>,
    denied: BTreeSet<Digest>,
    /// What is active, by the buffer's word.
    active: Option<Digest>,
    waiting: Vec<Command>,
    offers: u64,
    /// How often the power went during a trial of each deployment.
    crashed: BTreeMap<Digest, u64>,
    rotten: BTreeSet<Digest>,
    was_confirmed: bool,
}

/// Versions of `a` that cannot do it. It is in the code: each time, on every gateway.
fn is_bad(version: u64) -> bool {
    version.is_multiple_of(3)
}

impl Site {
    fn new() -> Self {
        Self {
            disk: Machine::default(),
            store: BTreeSet::new(),
            denied: BTreeSet::new(),
            active: None,
            waiting: Vec::new(),
            offers: 0,
            crashed: BTreeMap::new(),
            rotten: BTreeSet::new(),
            was_confirmed: false,
        }
    }

    fn tell(&mut self, event: Event) {
        let restarted = event == Event::Started;
        let mut machine = self.disk.clone();
        let commands = machine.on(event);
        for command in &commands {
            if let Command::Deny(digest) = command {
                self.denied.insert(*digest);
            }
        }
        if let Some(set) = machine.candidate() {
            let tried = commands.iter().any(|it| matches!(it, Command::Try(_)));
            let again = restarted && commands.contains(&Command::Activate);
            if tried || again {
                assert!(!self.denied.contains(&set.deployment), "tried again");
                let releases = set.modules.iter().map(|module| module.release);
                let bad = releases.filter(|it| self.denied.contains(it)).count();
                assert_eq!(bad, 0, "a denied release is tried again");
            }
        }
        let json = serde_json::to_string(&machine).unwrap();
        self.disk = serde_json::from_str(&json).unwrap();
        self.waiting.extend(commands);
        self.check();
    }

    fn check(&mut self) {
        let confirmed = self.disk.confirmed();
        assert!(
            confirmed.is_some() || !self.was_confirmed,
            "no confirmed set"
        );
        self.was_confirmed = confirmed.is_some();
        if let Some(set) = self.disk.active() {
            let named = self.disk.named();
            assert!(set.blobs().all(|blob| named.contains(&blob.sha256)));
        }
        if let Some(candidate) = &self.disk.candidate {
            assert!(candidate.attempts_left <= candidate.set.attempts);
        }
    }

    fn offer(&mut self, a: u64, b: u64) {
        self.offers += 1;
        let mut set = set(&format!("offer {}", self.offers), a, b);
        set.shadowed = !self.offers.is_multiple_of(4);
        let releases = set.modules.iter().map(|module| module.release);
        if releases
            .clone()
            .any(|release| self.denied.contains(&release))
        {
            return; // `Trust` refuses it.
        }
        let documents = set.releases.values().chain([&set.document]);
        self.store.extend(documents.map(|blob| blob.sha256));
        self.tell(Event::Accepted(set));
    }

    /// Does a command. What becomes of it the machine hears, unless the power goes.
    fn do_next(&mut self, heard: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let event = match self.waiting.remove(0) {
            Command::Fetch => self.disk.fetching().cloned().map(|set| {
                self.store.extend(set.blobs().map(|blob| blob.sha256));
                Event::Stored
            }),
            Command::Try(trial) => Some(self.judge(trial)),
            Command::Activate => self.disk.candidate().cloned().map(|set| {
                self.active = Some(set.deployment);
                Event::Activated
            }),
            Command::Return => {
                self.active = self.disk.confirmed().map(|set| set.deployment);
                Some(Event::Returned)
            }
            Command::Collect => {
                let named = self.disk.named();
                self.store.retain(|digest| named.contains(digest));
                None
            }
            Command::EndTrials | Command::Retire | Command::Deny(_) | Command::Confirm(_) => None,
        };
        if let (Some(event), true) = (event, heard) {
            self.tell(event);
        }
    }

    fn judge(&self, trial: Trial) -> Event {
        let bad = self.disk.candidate().is_some_and(|set| {
            let release = set.module("a").unwrap().release;
            trial.module == "a"
                && (1..6).any(|it| is_bad(it) && release == digest(&format!("a {it}")))
        });
        match bad {
            true => Event::Rejected(trial),
            false => Event::Passed(trial),
        }
    }

    fn restart(&mut self) {
        self.waiting.clear();
        self.tell(Event::Started);
    }

    fn crash(&mut self) {
        if let Some(candidate) = self.disk.candidate.as_ref().filter(|it| it.trying) {
            let crashed = self.crashed.entry(candidate.set.deployment).or_default();
            *crashed += 1;
            assert!(*crashed <= candidate.set.attempts, "begun with too often");
        }
        self.restart();
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Offer { a, b } => self.offer(a, b),
            Act::Do => self.do_next(true),
            Act::DoAndCrash => {
                self.do_next(false);
                self.crash();
            }
            Act::Crash => self.crash(),
            Act::Stop => {
                self.tell(Event::Stopping);
                self.restart();
            }
            Act::Fault => {
                let trial = self.disk.trials().first().cloned();
                trial
                    .into_iter()
                    .for_each(|trial| self.tell(Event::Faulted(trial)));
            }
            Act::Wait => self.tell(Event::Minutes(5)),
            Act::Rot(version) => {
                let rotten = digest(&format!("code a {version}"));
                let needed = self
                    .disk
                    .candidate()
                    .is_some_and(|set| set.artifacts.iter().any(|blob| blob.sha256 == rotten));
                if self.store.remove(&rotten) {
                    self.rotten.insert(rotten);
                    if needed {
                        self.tell(Event::Lost);
                    }
                }
            }
        }
    }

    /// Until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..200 {
            match self.waiting.is_empty() {
                false => self.do_next(true),
                true => self.tell(Event::Minutes(5)),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_schedule_of_events_and_crashes_breaks_an_invariant(acts in acts(true)) {
        let mut site = Site::new();
        site.tell(Event::Started);
        for act in acts {
            site.act(act);
            // Whatever is collected, it is nothing of the confirmed set.
            let kept = |blob: &Blob| {
                site.store.contains(&blob.sha256) || site.rotten.contains(&blob.sha256)
            };
            prop_assert!(site.disk.confirmed().is_none_or(|set| set.blobs().all(kept)));
        }
        site.restart();
        site.settle();
        prop_assert!(site.disk.candidate().is_none());
        let confirmed = site.disk.confirmed().map(|set| set.deployment);
        prop_assert_eq!(site.active, confirmed, "what is active is what is confirmed");
    }

    #[test]
    fn a_schedule_with_crashes_ends_like_one_without(
        a in 1..6_u64, b in 1..4_u64, crashes in vec((0..12_usize, any::<bool>()), 0..3),
    ) {
        let run = |crashes: &[(usize, bool)]| {
            let mut site = Site::new();
            site.tell(Event::Started);
            site.offer(1, 1);
            site.settle();
            // More attempts than there are crashes: with fewer the update is given up, and must be.
            site.offer(a, b);
            for step in 0..12 {
                let crash = crashes.iter().find(|(at, _)| *at == step);
                match crash {
                    Some((_, true)) => site.act(Act::DoAndCrash),
                    Some((_, false)) => site.act(Act::Crash),
                    None => site.act(Act::Do),
                }
            }
            site.settle();
            (site.disk.confirmed().cloned().unwrap(), site.active, site.denied, site.store)
        };
        prop_assert_eq!(run(&crashes), run(&[]));
    }

    #[test]
    fn a_deployment_that_takes_the_process_with_it_is_begun_as_often_as_it_may_be(attempts in 1..20_u64) {
        let mut machine = confirmed();
        let mut bad = set("second", 2, 1);
        bad.attempts = attempts;
        let _commands = machine.on(Event::Accepted(bad));
        let mut commands = machine.on(Event::Stored);
        let mut begun = 0;
        while commands.iter().any(|it| matches!(it, Command::Try(_))) {
            begun += 1;
            commands = machine.on(Event::Started);
        }
        prop_assert_eq!(begun, attempts);
        prop_assert!(machine.candidate().is_none());
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
