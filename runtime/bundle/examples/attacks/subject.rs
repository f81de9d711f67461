//! Documents that the gateway would take next, to be forged and changed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tidegate_bundle::{
    DEPLOYMENT_TYPE, KeyId, RELEASE_TYPE, ROOT_TYPE, Role, STATUS_TYPE, SigningKey, TIME_TYPE,
};

use super::Outcome;
use super::fleet::{CREATED, Fleet, id, key, root_keys, status, time};
use super::scene::{Gift, SEQ, Scene};

/// How bytes are given to the gateway.
type Giving = for<'a> fn(&'a [u8]) -> Gift<'a>;

/// A genuine document of a kind, and all that there is to know about its signatures.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// The type of its payload.
    pub(crate) kind: &'static str,
    /// How it is given to the gateway.
    pub(crate) gift: Giving,
    pub(crate) bytes: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) signatures: Vec<(String, Vec<u8>)>,
    /// Keys that may sign it, and how many must: each of these.
    pub(crate) roles: Vec<(Vec<String>, usize)>,
    /// Those that did.
    pub(crate) signers: Vec<SigningKey>,
}

impl Subject {
    /// One of each kind.
    pub(crate) fn all(scene: &Scene) -> Outcome<Vec<Self>> {
        let fleet = &scene.fleet;
        let (old, new) = (fleet.root(1), fleet.root(2));
        let text = |id: &KeyId| id.to_string();
        let of = |role: &Role| (role.key_ids.iter().map(text).collect(), role.threshold);
        let only = |key: &SigningKey| (vec![id(key).to_string()], 1);
        let answer = fleet.sign_time(&time(scene.question, CREATED + 60, SEQ))?;
        let report = status(scene.next.1.digest).sign(&fleet.device)?;
        let roots = root_keys(1).into_iter().chain(root_keys(2)).collect();
        let deployers = (
            fleet
                .deployers
                .iter()
                .map(|key| id(key).to_string())
                .collect(),
            1,
        );
        Ok(vec![
            Self::of(
                ("root", ROOT_TYPE, |bytes| Gift::Root(bytes)),
                fleet.signed_root(2)?,
                vec![of(&old.roles.root), of(&new.roles.root)],
                roots,
            )?,
            Self::of(
                ("deployment", DEPLOYMENT_TYPE, |bytes| Gift::Next(bytes)),
                scene.next.0.clone(),
                vec![deployers],
                vec![key(5)],
            )?,
            Self::of(
                ("release", RELEASE_TYPE, |bytes| Gift::Release(bytes)),
                scene.next.1.bytes.clone(),
                vec![of(&old.roles.release.role)],
                vec![key(3)],
            )?,
            Self::of(
                ("time", TIME_TYPE, |bytes| Gift::Answer(bytes)),
                answer,
                vec![only(&fleet.timekeeper)],
                vec![key(7)],
            )?,
            Self::of(
                ("status", STATUS_TYPE, |bytes| Gift::Status(bytes)),
                report,
                vec![only(&fleet.device)],
                vec![key(8)],
            )?,
        ])
    }

    fn of(
        (name, kind, gift): (&'static str, &'static str, Giving),
        bytes: Vec<u8>,
        roles: Vec<(Vec<String>, usize)>,
        signers: Vec<SigningKey>,
    ) -> Outcome<Self> {
        let (_, body, signatures) = open(&serde_json::from_slice(&bytes)?)
            .ok_or("a genuine envelope has another form than expected")?;
        Ok(Self {
            name,
            kind,
            gift,
            bytes,
            body,
            signatures,
            roles,
            signers,
        })
    }

    /// The document with another first signature.
    pub(crate) fn with_first(&self, key_id: &str, signature: &[u8]) -> Vec<u8> {
        let rest = self.signatures.iter().skip(1).cloned();
        let first = (key_id.to_owned(), signature.to_vec());
        let signatures: Vec<_> = std::iter::once(first).chain(rest).collect();
        write(self.kind, &self.body, &signatures)
    }

    /// Keys of the fleet, and of nobody, that have none of its roles.
    pub(crate) fn outsiders<'f>(&self, fleet: &'f Fleet) -> Vec<&'f SigningKey> {
        let several = [&fleet.roots, &fleet.publishers, &fleet.deployers];
        let single = [&fleet.timekeeper, &fleet.device, &fleet.stranger];
        let all = several.into_iter().flatten().chain(single);
        let inside = |key: &&SigningKey| {
            let holds = |(keys, _): &(Vec<String>, usize)| keys.contains(&id(key).to_string());
            !self.roles.iter().any(holds)
        };
        all.filter(inside).collect()
    }
}

/// Type, body and signatures of an envelope, if it is one.
#[allow(
    clippy::type_complexity,
    reason = "three parts that have no name of their own"
)]
pub(crate) fn open(envelope: &Value) -> Option<(String, Vec<u8>, Vec<(String, Vec<u8>)>)> {
    let text = |value: &Value, field: &str| Some(value.get(field)?.as_str()?.to_owned());
    let bytes = |value: &Value, field: &str| BASE64.decode(text(value, field)?).ok();
    let signature = |value: &Value| Some((text(value, "keyid")?, bytes(value, "sig")?));
    let signatures = envelope.get("signatures")?.as_array()?.iter();
    Some((
        text(envelope, "payloadType")?,
        bytes(envelope, "payload")?,
        signatures.map(signature).collect::<Option<_>>()?,
    ))
}

/// An envelope with any signatures.
pub(crate) fn write(kind: &str, body: &[u8], signatures: &[(String, Vec<u8>)]) -> Vec<u8> {
    let signature =
        |(key_id, bytes): &(String, Vec<u8>)| json!({"keyid": key_id, "sig": BASE64.encode(bytes)});
    let envelope = json!({
        "payload": BASE64.encode(body),
        "payloadType": kind,
        "signatures": signatures.iter().map(signature).collect::<Vec<_>>(),
    });
    envelope.to_string().into_bytes()
}
