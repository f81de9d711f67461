//! T18: random changes of every kind of document, of the bundle and of the memory. Half of them are changes of bytes; half leave
//! JSON that is still JSON, and of these half are signed again, by keys of the fleet that may not sign this.

use tidegate_bundle::{SigningKey, signed_bytes};

use super::Outcome;
use super::archives::archive;
use super::fleet::{Fleet, component, fleet, id};
use super::mutate::{self, Json};
use super::oracle::{Judgement, judge};
use super::random::Random;
use super::regions::Bundle;
use super::scene::{COUNTER, Gift, Scene};
use super::subject::{Subject, write};

/// Of what changes are made.
struct Targets<'f> {
    documents: Vec<Document<'f>>,
    bundle: Bundle,
    component: Vec<u8>,
    /// What the gateway takes it for: the release, and the component after it.
    contents: Vec<u8>,
    memory: Vec<u8>,
    memory_json: Json,
}

struct Document<'f> {
    subject: Subject,
    envelope: Json,
    body: Json,
    /// Keys that may not sign it, and their ids.
    outsiders: Vec<(String, &'f SigningKey)>,
}

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    let fleet = fleet();
    let targets = Targets::new(scene, &fleet)?;
    let mut random = scene.random.clone();
    for number in 0..scene.mutations {
        let kinds = targets.documents.len() + 2;
        match targets.documents.get(random.below(kinds)) {
            Some(document) => targets.change_document(scene, &mut random, number, document)?,
            None if random.one_in(2) => targets.change_bundle(scene, &mut random, number)?,
            None => targets.change_memory(scene, &mut random, number)?,
        }
    }
    Ok(())
}

impl<'f> Targets<'f> {
    fn new(scene: &Scene, fleet: &'f Fleet) -> Outcome<Self> {
        let documents: Vec<_> = Subject::all(scene)?
            .into_iter()
            .map(|subject| Document::new(subject, fleet))
            .collect::<Outcome<_>>()?;
        let release = &scene.next.1;
        let component = component("pump", COUNTER + 1);
        let body = &documents.get(RELEASE).ok_or("no release")?.subject.body;
        let memory = scene.trust.to_bytes()?;
        let object = memory
            .splitn(2, |byte| *byte == b'\n')
            .nth(1)
            .unwrap_or_default();
        Ok(Self {
            bundle: Bundle::new(release.bundle.clone(), &release.bytes, &component),
            contents: [body, &*component].concat(),
            memory_json: Json::new(serde_json::from_slice(object)?),
            component,
            documents,
            memory,
        })
    }

    fn others(&self) -> Vec<&[u8]> {
        let documents = self
            .documents
            .iter()
            .map(|document| &*document.subject.bytes);
        documents
            .chain([&*self.bundle.bytes, &self.memory])
            .collect()
    }

    fn change_document(
        &self,
        scene: &mut Scene,
        random: &mut Random,
        number: u64,
        document: &Document<'_>,
    ) -> Outcome {
        let subject = &document.subject;
        let bytes = match random.below(4) {
            0 | 1 => mutate::bytes(random, &subject.bytes, &self.others()),
            2 => document.changed_json(random),
            _ => document.signed_by_outsiders(random),
        };
        let (what, gift) = (
            format_args!("change {number}, {}", subject.name),
            (subject.gift)(&bytes),
        );
        match judge(subject, &bytes) {
            Judgement::Refused(reasons) => scene.refuses(what, gift, &reasons),
            Judgement::Same => scene.harmless(what, gift, &subject.body),
        }
    }

    fn change_bundle(&self, scene: &mut Scene, random: &mut Random, number: u64) -> Outcome {
        let release = self.documents.get(RELEASE).ok_or("no release")?;
        let (bytes, judgement) = match random.below(4) {
            0 | 1 => {
                let bytes = mutate::bytes(random, &self.bundle.bytes, &self.others());
                let judgement = self.bundle.judge(&release.subject, &bytes);
                (bytes, judgement)
            }
            kind => {
                let document = if kind == 2 {
                    release.changed_json(random)
                } else {
                    release.signed_by_outsiders(random)
                };
                let judgement = judge(&release.subject, &document);
                (self.packed(document), judgement)
            }
        };
        let (what, gift) = (
            format_args!("change {number}, bundle"),
            Gift::Bundle(&bytes),
        );
        match judgement {
            Judgement::Refused(reasons) => scene.refuses(what, gift, &reasons),
            Judgement::Same => scene.harmless(what, gift, &self.contents),
        }
    }

    fn packed(&self, document: Vec<u8>) -> Vec<u8> {
        let name = format!("artifacts/{}", tidegate_bundle::Digest::of(&self.component));
        archive(&[
            ("release.dsse.json".to_owned(), document),
            (name, self.component.clone()),
        ])
    }

    /// There is no key to it: its checksum stays what it was.
    fn change_memory(&self, scene: &mut Scene, random: &mut Random, number: u64) -> Outcome {
        let bytes = if random.one_in(2) {
            mutate::bytes(random, &self.memory, &self.others())
        } else {
            let line = self
                .memory
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or_default();
            let (line, _) = self.memory.split_at(line + 1);
            [line, self.memory_json.changed(random).as_bytes()].concat()
        };
        let (what, gift) = (
            format_args!("change {number}, memory"),
            Gift::Memory(&bytes),
        );
        if bytes == self.memory {
            scene.harmless(what, gift, &self.memory)
        } else {
            scene.refuses(what, gift, &["memory-damaged"])
        }
    }
}

/// Where the release stands among the documents.
const RELEASE: usize = 2;

impl<'f> Document<'f> {
    fn new(subject: Subject, fleet: &'f Fleet) -> Outcome<Self> {
        let outsiders = subject.outsiders(fleet).into_iter();
        let outsiders = outsiders.map(|key| (id(key).to_string(), key)).collect();
        Ok(Self {
            envelope: Json::new(serde_json::from_slice(&subject.bytes)?),
            body: Json::new(serde_json::from_slice(&subject.body)?),
            outsiders,
            subject,
        })
    }

    /// Another body under the same signatures, or another envelope around the same body.
    fn changed_json(&self, random: &mut Random) -> Vec<u8> {
        let subject = &self.subject;
        match random.below(4) {
            0 | 1 => write(
                subject.kind,
                self.body.changed(random).as_bytes(),
                &subject.signatures,
            ),
            2 => self.envelope.changed(random).into_bytes(),
            _ => self.changed_signatures(random),
        }
    }

    fn changed_signatures(&self, random: &mut Random) -> Vec<u8> {
        let subject = &self.subject;
        let mut signatures = subject.signatures.clone();
        let at = random.below(signatures.len());
        let outsider = random
            .pick(&self.outsiders)
            .map(|(key_id, _)| key_id.clone());
        match (random.below(5), signatures.get_mut(at)) {
            (0, _) => drop(signatures.remove(at)),
            (1, Some(signature)) => {
                let again = signature.clone();
                signatures.push(again);
            }
            (2, Some(signature)) => signature.0 = outsider.unwrap_or_default(),
            (3, Some(signature)) => {
                let byte = random.below(64);
                signature
                    .1
                    .iter_mut()
                    .skip(byte)
                    .take(1)
                    .for_each(|byte| *byte ^= 1 << random.below(8));
            }
            _ => signatures.reverse(),
        }
        write(subject.kind, &subject.body, &signatures)
    }

    /// Another body, signed by one or two who may not, under their ids or that of who may, alone or beside the genuine
    /// signatures.
    fn signed_by_outsiders(&self, random: &mut Random) -> Vec<u8> {
        let subject = &self.subject;
        let body = match random.below(8) {
            0 => subject.body.clone(),
            _ => self.body.changed(random).into_bytes(),
        };
        let message = signed_bytes(subject.kind, &body);
        let mut signatures = Vec::new();
        for _ in 0..1 + random.below(2) {
            let Some((key_id, key)) = random.pick(&self.outsiders) else {
                continue;
            };
            let own = subject.signatures.first().map(|(key_id, _)| key_id.clone());
            let lies = random.one_in(3);
            let key_id = own.filter(|_| lies).unwrap_or_else(|| key_id.clone());
            signatures.push((key_id, key.sign(&message).to_vec()));
        }
        if random.one_in(4) {
            signatures.extend(subject.signatures.clone());
        }
        write(subject.kind, &body, &signatures)
    }
}
