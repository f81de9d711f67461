//! Keys, claims and topic filters.

use tidegate_bundle::{Asked, Claim, KeyId, PublicKey, SealingKey, SigningKey, StoreEpoch};
use tidegate_bundle::{Digest, Envelope, OpeningKey, Signers, text};
use tidegate_record::{Topic, TopicFilter};

use crate::Subject;
use crate::fleet::KEY;

/// A key, as it stands in a file or document.
#[derive(Debug)]
pub struct Key;

/// Who asks a centre, as the header of a request says.
#[derive(Debug)]
pub struct DeviceClaim;

/// Two topic filters and a topic, a line each.
#[derive(Debug)]
pub struct Filters;

impl Subject for Key {
    fn seeds() -> Vec<Vec<u8>> {
        let opening = KEY.to_secret_text().replace("ed25519", "x25519");
        let key = OpeningKey::parse(&opening).expect("any 32 bytes are one");
        let texts = [
            KEY.to_secret_text(),
            KEY.public_key().to_text(),
            KEY.public_key().id().to_string(),
            key.sealing_key().to_text(),
            opening,
        ];
        texts.map(String::into_bytes).into()
    }

    fn check(input: &[u8]) {
        if let Some((bytes, _)) = input.split_first_chunk::<32>()
            && let Ok(key) = PublicKey::from_bytes(bytes)
        {
            assert_eq!(key.as_bytes(), bytes);
            check_public(&key);
        }
        let Ok(text) = std::str::from_utf8(input) else {
            return;
        };
        // A key file ends its line, or does not.
        let line = text.strip_suffix('\n').unwrap_or(text);
        if let Ok(key) = PublicKey::parse(text) {
            assert_eq!(key.to_text(), line);
            check_public(&key);
        }
        if let Ok(key) = SigningKey::parse(text) {
            assert_eq!(key.to_secret_text(), line);
        }
        if let Ok(key) = SealingKey::parse(text) {
            assert_eq!(key.to_text(), line);
        }
        if let Ok(key) = OpeningKey::parse(text) {
            // Some bits of it are set whatever stands there, so it is the same key that is written, not the same text.
            let again = OpeningKey::parse(&key.to_secret_text()).expect("what is written is one");
            assert_eq!(again.to_secret_text(), key.to_secret_text());
            SealingKey::parse(&key.sealing_key().to_text()).expect("the public half is one");
        }
        if let Ok(id) = KeyId::parse(text) {
            assert_eq!(id.to_string(), text);
            assert!(Digest::parse(text).is_ok());
        }
    }
}

/// A key that is taken reads back, and nothing that its holder did not sign is signed by it.
fn check_public(key: &PublicKey) {
    assert_eq!(PublicKey::parse(&key.to_text()).ok().as_ref(), Some(key));
    let signers = Signers {
        keys: [(key.id(), key)].into(),
        threshold: 1,
    };
    // The signatures that hold for a careless verifier, if the key is of small order: R is the identity, s is zero.
    let mut signature = [0; 64];
    signature[0] = 1;
    for signature in [signature, [0; 64]] {
        let envelope = forged(key, signature);
        assert!(
            envelope.verify("type", &signers).is_err(),
            "signed by nobody"
        );
    }
}

fn forged(key: &PublicKey, signature: [u8; 64]) -> Envelope {
    use base64::Engine as _;
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    let envelope = serde_json::json!({
        "payload": "",
        "payloadType": "type",
        "signatures": [{"keyid": key.id().to_string(), "sig": signature}],
    });
    Envelope::read("document", envelope.to_string().as_bytes()).expect("an envelope")
}

/// What the documented claim, and ours, ask.
const ASKED: Asked<'_> = Asked {
    centre: "00112233445566778899aabbccddeeff",
    method: "POST",
    path: "/v1/sync",
    body: b"rows",
};

fn documented_claim() -> &'static str {
    let page = include_str!("../../../docs/formats/device.md");
    let claim = page.rsplit_once("tidegate-device: ").map(|(_, rest)| rest);
    claim
        .and_then(|rest| rest.lines().next())
        .expect("the page has a claim")
}

impl Subject for DeviceClaim {
    fn seeds() -> Vec<Vec<u8>> {
        let epoch = StoreEpoch {
            ordinal: 1,
            random: 2,
        };
        let own = Claim::sign(&KEY, "gw-2", epoch, 3, &ASKED).expect("a claim of ours");
        [documented_claim().to_owned(), own.to_string()]
            .map(String::into_bytes)
            .into()
    }

    fn check(input: &[u8]) {
        let Ok(input) = std::str::from_utf8(input) else {
            return;
        };
        let Ok(claim) = Claim::parse(input) else {
            return;
        };
        assert_eq!(claim.to_string(), input, "a claim has one text");
        assert!(text::check_name(&claim.gateway).is_ok());
        let device = SigningKey::from_seed(&[7; 32]).public_key();
        if claim.verify(&device, &ASKED).is_ok() {
            assert_eq!(input, documented_claim(), "a forged claim");
        }
    }
}

impl Subject for Filters {
    fn seeds() -> Vec<Vec<u8>> {
        let texts = [
            "alarms/#\nalarms/+/high\nalarms/pump/high",
            "+/a\n$SYS/a\n$SYS/a",
            "#\na//+\na//b",
        ];
        texts.map(|text| text.as_bytes().to_vec()).into()
    }

    fn check(input: &[u8]) {
        let Ok(input) = std::str::from_utf8(input) else {
            return;
        };
        let mut lines = input.split('\n');
        let (Some(wide), Some(narrow), Some(topic)) = (lines.next(), lines.next(), lines.next())
        else {
            return;
        };
        let filters = (TopicFilter::new(wide), TopicFilter::new(narrow));
        // What a document may name, the broker's side can take.
        for (line, filter) in [(wide, &filters.0), (narrow, &filters.1)] {
            assert!(filter.is_ok() || text::check_filter(line).is_err());
        }
        let (Ok(wide), Ok(narrow)) = filters else {
            return;
        };
        assert!(wide.covers(&wide) && narrow.covers(&narrow));
        let covers = wide.covers(&narrow);
        assert_eq!(text::filter_covers(wide.as_str(), narrow.as_str()), covers);
        let Ok(topic) = Topic::new(topic) else {
            return;
        };
        let topic = topic.as_str();
        if covers && narrow.matches(topic) {
            assert!(wide.matches(topic), "granted beyond what is permitted");
        }
        let alone = TopicFilter::new(topic).expect("a topic is a filter");
        assert_eq!(wide.covers(&alone), wide.matches(topic));
    }
}
