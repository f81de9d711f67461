//! The gateway that is attacked, and what is counted.

use std::fmt::Arguments;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use tidegate_bundle::{
    Digest, Error, Gateway, Nonce, Now, PublicKey, Trust, UnverifiedBundle, VerifiedBundle,
    VerifiedDeployment, VerifiedStatus,
};

use super::Outcome;
use super::fleet::{CREATED, Fleet, Signed, fleet, gateway, nonce, time};
use super::random::Random;

/// Most variants that are told in a sentence each; all are counted.
const PROBLEMS_MAX: usize = 5;

/// Number of the deployment that the gateway runs.
pub(crate) const SEQ: u64 = 5;
/// Counter of the releases in it.
pub(crate) const COUNTER: u64 = 7;

/// Something that is given to the gateway, or to who stands for it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gift<'a> {
    /// The root with which it would begin.
    FirstRoot(&'a [u8]),
    /// The root that would follow.
    Root(&'a [u8]),
    /// A deployment, with releases beside it.
    Deployment(&'a [u8], &'a [&'a [u8]]),
    /// The deployment that would be next, with its release beside it.
    Next(&'a [u8]),
    /// The release beside the deployment that would be next.
    Release(&'a [u8]),
    /// The answer to a question.
    Time(Nonce, &'a [u8]),
    /// The answer to the question that is open.
    Answer(&'a [u8]),
    /// A report to the centre, as the gateway's.
    Status(&'a [u8]),
    /// A bundle.
    Bundle(&'a [u8]),
    /// A bundle, as one of the deployment that runs.
    Deployed(&'a [u8]),
    /// The bytes of its memory, after a restart.
    Memory(&'a [u8]),
}

/// What became of it.
enum Answer {
    /// What it was taken for.
    Taken(Vec<u8>),
    Refused(&'static str),
    Panicked,
}

impl Answer {
    fn word(&self) -> &'static str {
        match self {
            Self::Taken(_) => "accepted",
            Self::Refused(reason) => reason,
            Self::Panicked => "panic",
        }
    }
}

/// A module that runs: its name there, its release, its component.
type Running = Vec<(String, Digest)>;

/// What must be the same after a refusal as before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    memory: Vec<u8>,
    accepted: Option<Digest>,
    confirmed: Option<Digest>,
    running: Running,
}

/// What was counted.
#[derive(Debug, Default, Serialize)]
struct Report {
    variants: u64,
    refused: u64,
    reason_right: u64,
    state_unchanged: u64,
    running_unchanged: u64,
    /// Changes that left what is signed as it was, and were taken for the genuine document.
    harmless: u64,
    problems: Vec<String>,
}

/// A gateway that has taken a deployment of two modules and knows what time it is.
pub(crate) struct Scene {
    pub(crate) fleet: Fleet,
    pub(crate) gateway: Gateway,
    pub(crate) now: Now,
    pub(crate) trust: Trust,
    /// The releases that it runs.
    pub(crate) releases: [Signed; 2],
    pub(crate) deployment: Vec<u8>,
    /// What it would run next, and the one release in it.
    pub(crate) next: (Vec<u8>, Signed),
    /// What it has asked with, and has no answer to.
    pub(crate) question: Nonce,
    pub(crate) random: Random,
    /// How many random changes are wanted.
    pub(crate) mutations: u64,
    device: PublicKey,
    running: Running,
    before: State,
    report: Report,
}

impl Scene {
    pub(crate) fn new(mutations: u64, seed: u64) -> Outcome<Self> {
        let fleet = fleet();
        let trust = Trust::begin(&fleet.signed_root(1)?)?;
        let releases = [
            fleet.release("pump", COUNTER)?,
            fleet.release("valve", COUNTER)?,
        ];
        let [pump, valve] = &releases;
        let newer = fleet.release("pump", COUNTER + 1)?;
        let mut scene = Self {
            next: (fleet.deploy(SEQ + 1, &[&newer])?, newer),
            question: nonce(2)?,
            deployment: fleet.deploy(SEQ, &[pump, valve])?,
            gateway: gateway(),
            now: Now::Unsynchronised,
            before: State::of(&trust, &[])?,
            device: fleet.device.public_key(),
            random: Random::new(seed),
            mutations,
            running: Running::new(),
            report: Report::default(),
            trust,
            releases,
            fleet,
        };
        scene.settle()?;
        Ok(scene)
    }

    /// Takes the genuine documents, confirms the deployment and learns the time.
    fn settle(&mut self) -> Outcome {
        let (deployment, [pump, valve]) = (self.deployment.clone(), self.releases.clone());
        let releases: [&[u8]; 2] = [&pump.bytes, &valve.bytes];
        self.takes(Gift::Deployment(&deployment, &releases))?;
        let opened = self.trust.reopen(&deployment, &releases)?;
        self.trust.confirm(&opened)?;
        let question = nonce(1)?;
        let answer = self.fleet.sign_time(&time(question, CREATED, SEQ))?;
        self.takes(Gift::Time(question, &answer))
    }

    /// The same gateway before it had anything but its root.
    pub(crate) fn begin_anew(&mut self) -> Outcome {
        self.trust = Trust::begin(&self.fleet.signed_root(1)?)?;
        self.running.clear();
        self.note()
    }

    /// Gives it a genuine document, which it must take.
    pub(crate) fn takes(&mut self, gift: Gift<'_>) -> Outcome {
        self.give(&gift)
            .map_err(|error| format!("a genuine document was refused: {error}: {gift:?}"))?;
        self.note()
    }

    /// Notes what must stay as it is from here on.
    pub(crate) fn note(&mut self) -> Outcome {
        self.before = State::of(&self.trust, &self.running)?;
        Ok(())
    }

    /// Gives it a variant, which it must refuse for one of these reasons, and be as it was.
    pub(crate) fn refuses(
        &mut self,
        what: Arguments<'_>,
        gift: Gift<'_>,
        reasons: &[&str],
    ) -> Outcome {
        let answer = self.answer(&gift);
        self.count(what, &answer, reasons)
    }

    /// The same, unless it is taken for exactly what stands in it: then it is no variant.
    pub(crate) fn read_or_refused(
        &mut self,
        what: Arguments<'_>,
        gift: Gift<'_>,
        reasons: &[&str],
        exactly: impl FnOnce(&[u8]) -> bool,
    ) -> Outcome {
        match self.answer(&gift) {
            Answer::Taken(taken) if exactly(&taken) => {
                self.report.harmless += 1;
                self.restore()
            }
            answer => self.count(what, &answer, reasons),
        }
    }

    fn count(&mut self, what: Arguments<'_>, answer: &Answer, reasons: &[&str]) -> Outcome {
        let reason = answer.word();
        let after = State::of(&self.trust, &self.running)?;
        let refused = matches!(answer, Answer::Refused(_));
        let right = refused && reasons.contains(&reason);
        let running = after.runs_as(&self.before);
        let state = after.memory == self.before.memory;
        let report = &mut self.report;
        report.variants += 1;
        report.refused += u64::from(refused);
        report.reason_right += u64::from(right);
        report.state_unchanged += u64::from(state);
        report.running_unchanged += u64::from(running);
        if !(right && state && running) {
            let expected = reasons.join(" or ");
            report.tell(format!(
                "{what}: {reason}, expected {expected}; state unchanged: {state}, running set unchanged: {running}"
            ));
            self.restore()?;
        }
        Ok(())
    }

    /// Gives it a change that leaves what is signed as it was: it is the genuine document, and must be taken for this one
    /// and no other.
    pub(crate) fn harmless(
        &mut self,
        what: Arguments<'_>,
        gift: Gift<'_>,
        genuine: &[u8],
    ) -> Outcome {
        let answer = self.answer(&gift);
        self.report.harmless += 1;
        if !matches!(&answer, Answer::Taken(taken) if taken == genuine) {
            let word = answer.word();
            self.report
                .tell(format!("{what}: the genuine document, and {word}"));
        }
        self.restore()
    }

    /// Something that must be so, or the attack proves nothing.
    pub(crate) fn holds(&mut self, what: &str, holds: bool) {
        if !holds {
            self.report.tell(format!("does not hold: {what}"));
        }
    }

    fn answer(&mut self, gift: &Gift<'_>) -> Answer {
        match catch_unwind(AssertUnwindSafe(|| self.give(gift))) {
            Ok(Ok(taken)) => Answer::Taken(taken),
            Ok(Err(error)) => Answer::Refused(error.reason()),
            Err(_) => Answer::Panicked,
        }
    }

    /// What was taken, as JSON: the document that was verified, of a bundle also the component.
    fn give(&mut self, gift: &Gift<'_>) -> Result<Vec<u8>, Error> {
        match *gift {
            Gift::FirstRoot(bytes) => {
                self.trust = Trust::begin(bytes)?;
                Ok(json(self.trust.root().root()))
            }
            Gift::Root(bytes) => {
                self.trust.accept_root(bytes)?;
                Ok(json(self.trust.root().root()))
            }
            Gift::Deployment(bytes, releases) => {
                Ok(json(self.deploy(bytes, releases)?.deployment()))
            }
            Gift::Next(bytes) => {
                let release = self.next.1.bytes.clone();
                Ok(json(self.deploy(bytes, &[&release])?.deployment()))
            }
            Gift::Release(bytes) => {
                let deployment = self.next.0.clone();
                let taken = self.deploy(&deployment, &[bytes])?;
                Ok(taken
                    .modules()
                    .flat_map(|(_, release)| json(release))
                    .collect())
            }
            Gift::Time(nonce, bytes) => {
                let taken = self.trust.accept_time(&self.gateway, nonce, bytes)?;
                Ok(json(taken.time()))
            }
            Gift::Answer(bytes) => self.give(&Gift::Time(self.question, bytes)),
            Gift::Status(bytes) => Ok(json(VerifiedStatus::open(bytes, &self.device)?.status())),
            Gift::Bundle(bytes) => {
                let bundle = UnverifiedBundle::open(bytes.to_vec())?;
                Ok(contents(&bundle.verify(self.trust.root())?))
            }
            Gift::Deployed(bytes) => {
                let bundle = UnverifiedBundle::open(bytes.to_vec())?;
                Ok(contents(&bundle.verify_deployed(&self.reopened()?)?))
            }
            Gift::Memory(bytes) => {
                self.trust = Trust::from_bytes(bytes)?;
                self.trust.to_bytes()
            }
        }
    }

    fn deploy(&mut self, bytes: &[u8], releases: &[&[u8]]) -> Result<VerifiedDeployment, Error> {
        let (gateway, now) = (&self.gateway, self.now);
        let taken = self
            .trust
            .accept_deployment(gateway, now, bytes, releases)?;
        self.running = running(&taken);
        Ok(taken)
    }

    /// The deployment that runs, opened again as after a restart.
    fn reopened(&self) -> Result<VerifiedDeployment, Error> {
        let [pump, valve] = &self.releases;
        self.trust
            .reopen(&self.deployment, &[&pump.bytes, &valve.bytes])
    }

    fn restore(&mut self) -> Outcome {
        self.trust = Trust::from_bytes(&self.before.memory)?;
        self.running.clone_from(&self.before.running);
        Ok(())
    }

    /// Ends the attack: what was counted, as a line of JSON.
    pub(crate) fn end(self, attack: &str, name: &str) -> Outcome<String> {
        let mut line = serde_json::json!({"attack": attack, "name": name});
        let report = serde_json::to_value(&self.report)?;
        if let (Some(line), serde_json::Value::Object(report)) = (line.as_object_mut(), report) {
            line.extend(report);
        }
        Ok(line.to_string())
    }
}

impl State {
    fn of(trust: &Trust, running: &[(String, Digest)]) -> Result<Self, Error> {
        Ok(Self {
            memory: trust.to_bytes()?,
            accepted: trust.accepted(),
            confirmed: trust.confirmed(),
            running: running.to_vec(),
        })
    }

    fn runs_as(&self, before: &Self) -> bool {
        (&self.accepted, &self.confirmed, &self.running)
            == (&before.accepted, &before.confirmed, &before.running)
    }
}

impl Report {
    fn tell(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

/// The body of a document, as it is written.
fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

/// The release of a bundle, and the component after it.
fn contents(bundle: &VerifiedBundle) -> Vec<u8> {
    [&json(bundle.release()), bundle.component()].concat()
}

fn running(deployment: &VerifiedDeployment) -> Running {
    let modules = deployment.modules();
    modules
        .map(|(module, _)| (module.name.clone(), module.release))
        .collect()
}
