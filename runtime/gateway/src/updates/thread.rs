//! The thread of the update client: it waits for the disk, hashes and compiles, and never touches the data path.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};
use tidegate_buffer::ModuleState;
use tidegate_record::{Name, Seen};
use tidegate_sandbox::{Module, Sandbox};
use tidegate_update::{Client, Command, Event, Generation, Policy, Set, Taken, Trial, store};
use tokio::sync::mpsc;

use super::begin::Enrolled;
use super::delivery::{Delivery, Post};
use super::site::SiteRules;
use super::{Course, Deed, Word, fresh, read_policy};
use crate::error::chain;
use crate::install::Refusal;
use crate::{deployed, secrets};

/// Events that wait because the disk fails.
const UNHEARD_MAX: usize = 64;

/// Runs until nobody can tell it anything any more.
pub(super) fn run(
    mut fleet: Enrolled,
    sandbox: &Sandbox,
    mut words: mpsc::Receiver<Word>,
    deeds: &mpsc::Sender<Deed>,
    post: Post,
) {
    let commands = std::mem::take(&mut fleet.commands);
    let mut desk = Desk {
        fleet,
        sandbox,
        deeds,
        post,
        unheard: VecDeque::new(),
    };
    desk.follow(commands);
    while let Some(word) = words.blocking_recv() {
        let turn = desk.fleet.client.turn();
        // That nothing is newer is written down as well, and is no news for the centre.
        let is_news = !matches!(word, Word::Delivery(Delivery::Time(..)));
        match word {
            Word::Event(event) => desk.hear(desk.without_secrets(event)),
            Word::Import(stick, answer) => {
                // Whoever asked may have gone.
                let _heard = answer.send(desk.import(&stick));
            }
            Word::Status(answer) => {
                let _heard = answer.send(desk.status());
            }
            Word::Delivery(delivery) => desk.deliver(delivery),
        }
        if is_news && desk.fleet.client.turn() != turn {
            desk.post.wake.notify_one();
        }
    }
    desk.hear(Event::Stopping);
}

/// The client, and what it works with.
pub(super) struct Desk<'a> {
    pub(super) fleet: Enrolled,
    sandbox: &'a Sandbox,
    deeds: &'a mpsc::Sender<Deed>,
    pub(super) post: Post,
    /// What the client could not write down. It is told again with the next event, at the latest in a minute.
    unheard: VecDeque<Event>,
}

impl Desk<'_> {
    fn hear(&mut self, event: Event) {
        // Time in which nothing can be written down does not count.
        let is_late = !self.unheard.is_empty() && matches!(event, Event::Minutes(_));
        if !is_late && self.unheard.len() < UNHEARD_MAX {
            self.unheard.push_back(event);
        }
        while let Some(event) = self.unheard.front() {
            match self.fleet.client.on(event.clone()) {
                Ok(commands) => {
                    self.unheard.pop_front();
                    self.follow(commands);
                }
                Err(error) => {
                    tracing::error!("the update waits: {}", chain(&error));
                    return;
                }
            }
        }
    }

    pub(super) fn follow(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Try(trial) => self.attempt(trial),
                Command::EndTrials => self.deed(Deed::EndTrials),
                Command::Activate => self.activate(),
                Command::Return => self.go_back(),
                Command::Retire => self.deed(Deed::Settle),
                Command::Fetch => self.post.wake.notify_one(),
                // The client has done it.
                Command::Deny(_) | Command::Confirm(_) | Command::Collect => {}
            }
        }
    }

    /// The gateway ends when nobody takes it.
    fn deed(&self, deed: Deed) {
        let _taken = self.deeds.blocking_send(deed);
    }

    /// What is new on this gateway, does not run, or is fed with something else, has nothing that it could be compared with:
    /// it has done well when it can be loaded.
    fn attempt(&mut self, trial: Trial) {
        let Some(found) = self.candidate(&trial.module) else {
            return;
        };
        let loaded = self.load(&found);
        let is_fed_alike = deployed::inputs(&found, &self.fleet.here).is_ok_and(|inputs| {
            let mut fed = self.fleet.course.fed.iter();
            fed.any(|(name, now)| name.as_str() == trial.module && *now == inputs)
        });
        match loaded {
            Ok(module) if is_fed_alike && self.fleet.running.contains(&trial.module) => {
                let terms = deployed::terms(&found.rollout);
                self.deed(Deed::Try(module.name().clone(), Box::new(module), terms));
            }
            Ok(_) => self.hear(Event::Passed(trial)),
            Err(refusal) => self.refused(trial, &refusal),
        }
    }

    fn refused(&mut self, trial: Trial, refusal: &Refusal) {
        tracing::error!("module {} cannot run here: {refusal}", trial.module);
        self.hear(deployed::refused(trial, refusal));
    }

    /// A module that says why it fails may say a secret that it was given.
    fn without_secrets(&self, event: Event) -> Event {
        let hidden = |trial: &Trial, why: String| {
            let candidate = self.fleet.client.candidate().unwrap_or_default();
            let found = candidate
                .into_iter()
                .find(|found| found.module.name == trial.module);
            match found {
                Some(found) => secrets::hide(why, &found.config, &self.fleet.here.secrets),
                None => "it failed, and is gone".to_owned(),
            }
        };
        match event {
            Event::Faulted(trial, why) => {
                let why = hidden(&trial, why);
                Event::Faulted(trial, why)
            }
            Event::Rejected(trial, why) => {
                let why = hidden(&trial, why);
                Event::Rejected(trial, why)
            }
            other => other,
        }
    }

    /// A module of the candidate. If the candidate cannot be loaded, it is fetched again.
    fn candidate(&mut self, module: &str) -> Option<Generation> {
        match self.fleet.client.candidate() {
            Ok(generations) => generations
                .into_iter()
                .find(|generation| generation.module.name == module),
            Err(error) => {
                tracing::error!("cannot load the deployment on its way: {}", chain(&error));
                if is_lost(&error) {
                    self.hear(Event::Lost);
                }
                None
            }
        }
    }

    fn load(&self, generation: &Generation) -> Result<Module, Refusal> {
        let accepted = deployed::accept(generation, &self.fleet.here)?;
        let state = ModuleState::default();
        let spec = accepted.spec(generation.generation, state, Seen::new(0, []));
        let loaded = self.sandbox.load(spec);
        loaded.map_err(Refusal::from)
    }

    fn activate(&mut self) {
        let Some(set) = self.fleet.client.machine().candidate().cloned() else {
            return;
        };
        if self.is_laid_otherwise(Some(&set)) {
            self.deed(Deed::Again);
            return;
        }
        let confirmed = self.fleet.client.machine().confirmed().cloned();
        let changed = set.changed(confirmed.as_ref());
        let mut generations = Vec::new();
        for module in changed.filter(|module| module.enabled) {
            let given = match set.shadowed {
                true => None,
                false => {
                    let Some(found) = self.candidate(&module.name) else {
                        return;
                    };
                    match self.load(&found) {
                        Ok(module) => Some(Box::new(module)),
                        Err(refusal) => {
                            let trial = Trial {
                                module: module.name.clone(),
                                generation: module.generation,
                            };
                            self.refused(trial, &refusal);
                            return;
                        }
                    }
                }
            };
            if let Ok(name) = Name::new(&module.name) {
                generations.push((name, module.generation, given));
            }
        }
        self.deed(Deed::Activate(generations));
    }

    fn go_back(&mut self) {
        let machine = self.fleet.client.machine();
        let (confirmed, candidate) = (machine.confirmed().cloned(), machine.candidate().cloned());
        if self.is_laid_otherwise(confirmed.as_ref()) {
            self.deed(Deed::Again);
            return;
        }
        let changed = candidate
            .iter()
            .flat_map(|set| set.changed(confirmed.as_ref()));
        let changed = changed.filter(|module| module.enabled);
        let names = changed.filter_map(|module| Name::new(&module.name).ok());
        self.deed(Deed::Return(names.collect()));
    }

    /// Whether this set has other modules than run, feeds one with something else, or lets rows go elsewhere.
    fn is_laid_otherwise(&mut self, set: Option<&Set>) -> bool {
        let Some(set) = set else {
            return !self.fleet.course.fed.is_empty();
        };
        match self.fleet.client.load(set) {
            Ok(generations) => course(&generations, &self.fleet.here) != self.fleet.course,
            // At the start it is found out what of it can run.
            Err(_) => true,
        }
    }

    fn import(&mut self, stick: &Path) -> Result<String, String> {
        let rules = SiteRules {
            policy: self.policy()?,
            here: &self.fleet.here,
        };
        let file = File::open(stick)
            .map_err(|error| format!("cannot read {}: {error}", stick.display()))?;
        let taken = self.fleet.client.take_stick(file, &rules);
        let Taken {
            commands,
            missing,
            problems,
        } = taken.map_err(|error| format!("refused ({}): {}", error.reason(), chain(&error)))?;
        self.follow(commands);
        let mut text = said(&self.fleet.client);
        for problem in &problems {
            text.push_str(&format!(
                "refused ({}): {}\n",
                problem.reason(),
                chain(problem)
            ));
        }
        if !missing.is_empty() {
            self.post.wake.notify_one();
            text.push_str(&format!("{} blobs are still missing\n", missing.len()));
        }
        Ok(text)
    }

    /// The site's policy as it is now. Without one, nothing is permitted.
    pub(super) fn policy(&self) -> Result<Policy, String> {
        let policy = match &self.fleet.policy {
            Some(path) => read_policy(path),
            None => return Policy::parse("").map_err(|_| "there is no policy".to_owned()),
        };
        policy.map_err(|error| chain(&error))
    }

    fn status(&self) -> Value {
        let mut status = status(&self.fleet.client);
        if let Some(fields) = status.as_object_mut() {
            fields.insert("centre".to_owned(), self.post.json());
            let fresh = fresh::told(&self.fleet.client.fresh(), self.post.reporter.clock());
            fields.insert("freshness".to_owned(), fresh);
        }
        status
    }
}

/// How the data path is laid for these modules.
pub(super) fn course(generations: &[Generation], here: &deployed::Surroundings) -> Course {
    let fed = |generation: &Generation| {
        let name = Name::new(&generation.module.name).ok()?;
        Some((name, deployed::inputs(generation, here).ok()?))
    };
    Course {
        fed: generations.iter().filter_map(fed).collect(),
        residency: deployed::residency(generations, here),
    }
}

/// Whether the store has lost something that it had.
pub(super) fn is_lost(error: &tidegate_update::Error) -> bool {
    matches!(
        error,
        tidegate_update::Error::Store(store::Error::Missing(_) | store::Error::Damaged(_))
    )
}

/// How it goes, in one line.
fn said(client: &Client) -> String {
    let machine = client.machine();
    match (machine.candidate(), machine.fetching(), machine.confirmed()) {
        (Some(set), Some(_), _) => format!("deployment {} waits for blobs\n", set.deployment),
        (Some(set), None, _) => format!("deployment {} is on its way\n", set.deployment),
        (None, _, Some(set)) => format!("deployment {} is confirmed\n", set.deployment),
        (None, _, None) => "there is no deployment\n".to_owned(),
    }
}

fn status(client: &Client) -> Value {
    let (machine, trust) = (client.machine(), client.trust());
    let root = trust.root().root();
    let modules = machine.phases().into_iter().map(|(module, phase)| {
        json!({"name": module.name, "release": module.release, "generation": module.generation, "phase": phase})
    });
    let given_up = machine.given_up().map(|given_up| {
        json!({"deployment": given_up.deployment, "module": given_up.module, "why": given_up.why, "sentence": given_up.sentence})
    });
    json!({
        "fleet": root.fleet_id,
        "root_version": root.version,
        "seq": trust.seq(),
        "confirmed": machine.confirmed().map(|set| set.deployment),
        "candidate": machine.candidate().map(|set| set.deployment),
        "fetching": machine.fetching().is_some(),
        "modules": modules.collect::<Value>(),
        "given_up": given_up,
        "audit": client.audit().number,
    })
}
