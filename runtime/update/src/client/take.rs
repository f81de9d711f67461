//! Taking what a source has: roots, a deployment with its releases, blobs; in that order, each verified before the next.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use tidegate_bundle::{DeployedModule, Deployment, Refusal, Release, Shadow, VerifiedDeployment};

use super::{Client, code};
use crate::error::Error;
use crate::machine::{Command, Event, Module, Set};
use crate::policy::{Rules, changes};
use crate::source::Source;
use crate::stick::StickFile;
use crate::store::{self, Blob};

/// Most roots that are followed at once. A gateway that was away for longer takes the rest the next time.
const ROOTS_MAX: usize = 1024;

/// What came of a source.
#[derive(Debug)]
pub struct Taken {
    /// What is left for the gateway to do.
    pub commands: Vec<Command>,
    /// What the sets that are on their way, or fallen back to, lack: another source may have it.
    pub missing: Vec<Blob>,
    /// Why, where it is not only that the source does not have it.
    pub problems: Vec<Error>,
}

impl Client {
    /// Takes what the source has, as far as it is genuine, newer, and permitted here.
    ///
    /// # Errors
    /// The reason of the first thing that is not. Roots before it are taken; nothing else has changed.
    pub fn take(&mut self, source: &mut dyn Source, rules: &dyn Rules) -> Result<Taken, Error> {
        let taken = self.take_all(source, rules);
        match &taken {
            Ok(taken) if taken.problems.is_empty() => self.refused = None,
            Ok(_) => {}
            Err(error) => self.note_refusal(&source.name(), error),
        }
        taken
    }

    /// Takes what is on a stick.
    ///
    /// # Errors
    /// As [`Client::take`], and where the file is no stick.
    pub fn take_stick(
        &mut self,
        file: impl Read + Seek,
        rules: &dyn Rules,
    ) -> Result<Taken, Error> {
        match StickFile::open(file) {
            Ok(mut stick) => self.take(&mut stick, rules),
            Err(error) => {
                let error = Error::Stick(error);
                self.note_refusal("stick", &error);
                Err(error)
            }
        }
    }

    /// Whatever fails after the deployment was taken is told beside the commands that came of that.
    fn take_all(&mut self, source: &mut dyn Source, rules: &dyn Rules) -> Result<Taken, Error> {
        self.follow_roots(source)?;
        let mut taken = Taken {
            commands: self.take_deployment(source, rules)?,
            missing: Vec::new(),
            problems: Vec::new(),
        };
        self.fetch(source, &mut taken);
        if taken.missing.is_empty() && self.state.machine.fetching().is_some() {
            let trust = self.state.trust.clone();
            match self.advance(trust, Event::Stored) {
                Ok(commands) => {
                    taken.commands.retain(|command| *command != Command::Fetch);
                    taken.commands.extend(commands);
                }
                Err(error) => taken.problems.push(error),
            }
        }
        for problem in &taken.problems {
            self.note_refusal(&source.name(), problem);
        }
        Ok(taken)
    }

    /// Takes the roots that follow ours, one by one. Those before a bad one are good.
    pub(super) fn follow_roots(&mut self, source: &mut dyn Source) -> Result<(), Error> {
        let mut trust = self.state.trust.clone();
        let before = trust.root().root().version;
        let followed = (0..ROOTS_MAX).try_for_each(|_| {
            let next = trust.root().root().version.saturating_add(1);
            match asked(source, "root document", |source| source.root(next)) {
                Ok(Some(bytes)) => trust
                    .accept_root(&bytes)
                    .map_err(|error| Some(error.into())),
                Ok(None) => Err(None),
                Err(error) => Err(Some(error)),
            }
        });
        let root = trust.root();
        let version = root.root().version;
        if version > before {
            let text = format!("root {version}, {}", root.digest());
            self.note("root", &text)?;
            let mut state = self.state.clone();
            (state.trust, state.audit) = (trust, self.audit.head());
            self.commit(state)?;
        }
        match followed {
            Ok(()) | Err(None) => Ok(()),
            Err(Some(error)) => Err(error),
        }
    }

    fn take_deployment(
        &mut self,
        source: &mut dyn Source,
        rules: &dyn Rules,
    ) -> Result<Vec<Command>, Error> {
        let bytes = asked(source, "deployment document", |source| source.deployment())?;
        let bytes = bytes.ok_or_else(|| Error::NoDeployment {
            source_name: source.name(),
        })?;
        let taken = self.take_document(&bytes, source, rules);
        if let Err(error) = &taken {
            self.note_judged(&bytes, error);
        }
        taken
    }

    /// Takes a deployment, unless it is confirmed or on its way already.
    fn take_document(
        &mut self,
        bytes: &[u8],
        source: &mut dyn Source,
        rules: &dyn Rules,
    ) -> Result<Vec<Command>, Error> {
        let mut trust = self.state.trust.clone();
        let (gateway, now) = (&self.site.gateway, self.now());
        let deployment = trust.check_deployment(gateway, now, bytes)?;
        if self.is_known(&deployment) {
            return Ok(Vec::new());
        }
        let releases = self.releases(source, &deployment)?;
        let presented: Vec<_> = releases.iter().map(Vec::as_slice).collect();
        let verified = trust.accept_deployment(gateway, now, bytes, &presented)?;
        let changes = self.check_rules(&verified, rules)?;
        let set = self.set(&verified, bytes, &releases)?;
        self.note("verified", &changes)?;
        self.store_documents(&set, bytes, &releases)?;
        self.advance(trust, Event::Accepted(set))
    }

    /// One that has our newest number is our newest: the memory has held it against that.
    fn is_known(&self, deployment: &Deployment) -> bool {
        let trust = &self.state.trust;
        let accepted = trust.accepted();
        deployment.seq == trust.seq()
            && accepted.is_some_and(|digest| self.state.machine.knows(digest))
    }

    /// The releases that a deployment names: from the source, or else our own, which nobody need bring twice. The
    /// deployment is held against what is missing.
    fn releases(
        &self,
        source: &mut dyn Source,
        deployment: &Deployment,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut releases = Vec::new();
        for digest in deployment.releases() {
            let found = asked(source, "release document", |source| source.release(digest))?;
            let ours = || self.state.machine.release(digest);
            match found {
                Some(bytes) if Release::unverified_digest(&bytes)? == digest => {
                    releases.push(bytes);
                }
                Some(_) => {
                    let refusal = Refusal::UnexpectedRelease { digest };
                    return Err(Error::Document(refusal.into()));
                }
                None => releases.extend(ours().and_then(|blob| self.store.load(blob).ok())),
            }
        }
        Ok(releases)
    }

    /// Holds every module against what the site says and says what changes.
    fn check_rules(
        &self,
        verified: &VerifiedDeployment,
        rules: &dyn Rules,
    ) -> Result<String, Error> {
        let confirmed = self.confirmed_modules()?;
        let mut denials = Vec::new();
        let document = verified.deployment();
        let mut text = format!("deployment {}, seq {}", verified.digest(), document.seq);
        for (module, release) in verified.modules() {
            let before = confirmed.get(&module.name);
            denials.extend(rules.denials(module, release, before));
            text.push_str(&format!("; {} {}", module.name, release.version));
            for change in changes(before, Some(module)) {
                text.push_str(&format!(", {change}"));
            }
        }
        match denials.is_empty() {
            true => Ok(text),
            false => Err(Error::NotPermitted(denials)),
        }
    }

    /// What the confirmed deployment says of its modules. One whose documents are damaged grants nothing to anybody.
    fn confirmed_modules(&self) -> Result<BTreeMap<String, DeployedModule>, Error> {
        let Some(set) = self.state.machine.confirmed() else {
            return Ok(BTreeMap::new());
        };
        let deployment = match self.reopen(&self.state.trust, set) {
            Err(Error::Store(store::Error::Missing(_) | store::Error::Damaged(_))) => {
                return Ok(BTreeMap::new());
            }
            reopened => reopened?,
        };
        let modules = deployment.deployment().modules.iter();
        Ok(modules
            .map(|module| (module.name.clone(), module.clone()))
            .collect())
    }

    fn set(
        &self,
        verified: &VerifiedDeployment,
        document: &[u8],
        releases: &[Vec<u8>],
    ) -> Result<Set, Error> {
        let deployment = verified.deployment();
        let digests = deployment.releases();
        let mut artifacts = Vec::new();
        for release in digests
            .iter()
            .filter_map(|digest| verified.release(*digest))
        {
            let wanted = release.artifacts.iter().filter(|it| self.site.wants(it));
            artifacts.extend(wanted.map(code::blob));
        }
        let rollout = &deployment.rollout;
        Ok(Set {
            deployment: verified.digest(),
            document: Blob::of(document),
            // Presented in the order of their digests, and each was there.
            releases: digests
                .into_iter()
                .zip(releases.iter().map(|bytes| Blob::of(bytes)))
                .collect(),
            artifacts,
            modules: deployment
                .modules
                .iter()
                .map(module)
                .collect::<Result<_, _>>()?,
            shadowed: !matches!(rollout.shadow, Shadow::Messages(0) | Shadow::Minutes(0)),
            probation_minutes: rollout.probation_minutes,
            attempts: rollout.attempts,
        })
    }

    fn store_documents(
        &self,
        set: &Set,
        document: &[u8],
        releases: &[Vec<u8>],
    ) -> Result<(), Error> {
        self.store.put(set.document, &mut &*document)?;
        for bytes in releases {
            self.store.put(Blob::of(bytes), &mut bytes.as_slice())?;
        }
        Ok(())
    }

    /// Brings what the sets lack into the store. A bad blob does not keep the next from being asked for; a source that
    /// fails does.
    fn fetch(&self, source: &mut dyn Source, taken: &mut Taken) {
        let mut failed = false;
        for set in self.state.machine.sets() {
            let is_candidate = self.state.machine.fetching() == Some(set);
            for blob in set.blobs().copied() {
                // What a trial is about to stand on is hashed; the rest is, whenever it is loaded.
                let there = match is_candidate {
                    true => self.store.load(blob).is_ok(),
                    false => self.store.has(blob).unwrap_or(false),
                };
                if there {
                    continue;
                }
                match if failed {
                    Ok(false)
                } else {
                    self.fetch_one(source, set, blob)
                } {
                    Ok(true) => {}
                    Ok(false) => taken.missing.push(blob),
                    Err(error) => {
                        failed = matches!(error.reason(), "source-failed" | "disk-failed");
                        taken.missing.push(blob);
                        taken.problems.push(error);
                    }
                }
            }
        }
    }

    /// A document is asked for by what it is, an artifact by its digest. False where the source does not have it.
    fn fetch_one(&self, source: &mut dyn Source, set: &Set, blob: Blob) -> Result<bool, Error> {
        let release = set.releases.iter().find(|(_, file)| **file == blob);
        let document = if set.document == blob {
            asked(source, "deployment document", |source| source.deployment())?
        } else if let Some((digest, _)) = release {
            asked(source, "release document", |source| source.release(*digest))?
        } else {
            let name = source.name();
            let found = source.blob(blob.sha256);
            let found = found.map_err(|source| source_failed(name, "blob", source))?;
            let Some(mut reader) = found else {
                return Ok(false);
            };
            self.store.put(blob, &mut reader)?;
            return Ok(true);
        };
        let Some(bytes) = document.filter(|bytes| Blob::of(bytes) == blob) else {
            return Ok(false);
        };
        self.store.put(blob, &mut bytes.as_slice())?;
        Ok(true)
    }
}

/// What the machine must know of a module.
fn module(module: &DeployedModule) -> Result<Module, Error> {
    Ok(Module {
        name: module.name.clone(),
        release: module.release,
        settings: module.digest()?,
        enabled: module.enabled(),
        generation: 0,
    })
}

fn asked<T>(
    source: &mut dyn Source,
    what: &'static str,
    ask: impl FnOnce(&mut dyn Source) -> io::Result<T>,
) -> Result<T, Error> {
    let answer = ask(source);
    answer.map_err(|error| source_failed(source.name(), what, error))
}

fn source_failed(source_name: String, what: &'static str, source: io::Error) -> Error {
    Error::Source {
        source_name,
        what,
        source,
    }
}
