//! Random schedules of events and crashes, on a gateway in small.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

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
    /// The site lacks what a module on trial needs.
    Hinder,
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
        1 => Just(Act::Hinder),
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
                let settings = set.modules.iter().map(|module| module.settings);
                let bad = settings.filter(|it| self.denied.contains(it)).count();
                assert_eq!(bad, 0, "a denied module is tried again");
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
        let mut settings = set.modules.iter().map(|module| module.settings);
        if settings.any(|settings| self.denied.contains(&settings)) {
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
            true => Event::Rejected(trial, WHY.to_owned()),
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
            Act::Fault => self.fail(Event::Faulted),
            Act::Hinder => self.fail(Event::Hindered),
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

    fn fail(&mut self, event: fn(Trial, String) -> Event) {
        if let Some(trial) = self.disk.trials().first() {
            self.tell(event(trial.clone(), WHY.to_owned()));
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
        while begun < 100 && commands.iter().any(|it| matches!(it, Command::Try(_))) {
            begun += 1;
            commands = machine.on(Event::Started);
        }
        prop_assert_eq!(begun, attempts);
        prop_assert!(machine.candidate().is_none());
    }
}
