//! Who a gateway is: tokens that enrol, signed requests, keys that follow and end, and two machines with one identity.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::{HeaderName, Method, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tidegate_bundle::{
    Asked, Claim, Digest, Enrolment, KeyChange, KeyId, PublicKey, SigningKey, StoreEpoch,
};
use tidegate_cloud::access::Role;
use tidegate_cloud::audit::verify;
use tidegate_cloud::store::{Devices, Tenant};
use tidegate_wire::{CONTENT_TYPE, Epoch, SyncRequest, encode};

use crate::client::{Answer, Caller, Centre};
use crate::lag::Turned;
use crate::releases::root_document;
use crate::samples::{epoch, request, rows};

const JSON: &str = "application/json";
const CLAIM: HeaderName = HeaderName::from_static("tidegate-device");

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// A machine that signs for a centre.
struct Device {
    key: SigningKey,
    gateway: &'static str,
    centre: String,
}

impl Device {
    fn new(centre: &Centre, seed: u8, gateway: &'static str) -> Self {
        Self {
            key: key(seed),
            gateway,
            centre: centre.store.centre_id().to_owned(),
        }
    }

    fn application(&self, token: &str) -> Value {
        let asked = Enrolment {
            centre: &self.centre,
            token: Digest::of(token.as_bytes()),
            gateway: self.gateway,
        };
        json!({
            "token": token, "gateway": self.gateway, "device_key": self.key.public_key().to_text(),
            "signature": BASE64.encode(asked.sign(&self.key).unwrap()),
        })
    }

    async fn enrol(&self, centre: &Centre, token: &str) -> Answer {
        post(&centre.client, "/v1/enrol", &self.application(token)).await
    }

    /// The header of a sync.
    fn claim(&self, epoch: Epoch, count: u64, body: &[u8]) -> String {
        let asked = Asked {
            centre: &self.centre,
            method: "POST",
            path: "/v1/sync",
            body,
        };
        let Epoch { ordinal, random } = epoch;
        let epoch = StoreEpoch { ordinal, random };
        let claim = Claim::sign(&self.key, self.gateway, epoch, count, &asked);
        claim.unwrap().to_string()
    }

    async fn sync(&self, centre: &Centre, count: u64, sent: &SyncRequest) -> Answer {
        let body = encode(sent).unwrap();
        let claim = self.claim(sent.epoch, count, &body);
        signed(centre, &claim, body).await
    }
}

/// A sync with this header, from whoever sends it.
async fn signed(centre: &Centre, claim: &str, body: Vec<u8>) -> Answer {
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (CLAIM, claim)];
    let nobody = centre.client.with_token("");
    nobody.send(Method::POST, "/v1/sync", &headers, body).await
}

async fn post(caller: &Caller, path: &str, body: &Value) -> Answer {
    let body = body.to_string().into_bytes();
    caller.call(Method::POST, path, JSON, body).await
}

/// A token for this gateway, or for any.
async fn token(caller: &Caller, gateway: Option<&str>) -> String {
    let answer = post(caller, "/v1/enrolments", &json!({ "gateway": gateway })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

/// An enrolled machine with the key of this seed.
async fn enrolled(centre: &Centre, seed: u8, gateway: &'static str) -> Device {
    let device = Device::new(centre, seed, gateway);
    let token = token(&centre.client, Some(gateway)).await;
    let answer = device.enrol(centre, &token).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    device
}

fn refused(answer: &Answer) -> (u16, String) {
    let (status, code, _) = answer.refusal();
    (status, code)
}

fn sent(gateway: &str, ordinal: u64, last: u64) -> SyncRequest {
    let mut request = request(gateway, vec![rows("a", epoch(ordinal), 1..=last)]);
    request.epoch = epoch(ordinal);
    request
}

async fn alarm(centre: &Centre, gateway: &str) -> Value {
    let gateways = centre.client.get("/v1/gateways").await.json();
    let mut gateways = gateways["gateways"].as_array().unwrap().iter();
    let found = gateways.find(|found| found["gateway"] == gateway).unwrap();
    found["identity"]["alarm"]["reason"].clone()
}

#[tokio::test]
async fn a_token_makes_one_machine_a_gateway_and_gives_it_the_root_document() {
    let centre = Centre::closed().await;
    let token = token(&centre.client, None).await;
    assert!(token.starts_with("tge_") && token.ends_with(centre.store.centre_id()));
    let device = Device::new(&centre, 7, "gw-1");
    // An answer may be lost: the same machine gets it again.
    for _ in 0..2 {
        let answer = device.enrol(&centre, &token).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let answer = answer.json();
        assert_eq!(
            (&answer["tenant"], &answer["gateway"]),
            (&"default".into(), &"gw-1".into())
        );
        assert_eq!(answer["root"], BASE64.encode(root_document()));
    }
    for other in [
        Device::new(&centre, 8, "gw-2"),
        Device::new(&centre, 7, "gw-2"),
    ] {
        let answer = other.enrol(&centre, &token).await;
        assert_eq!(refused(&answer), (401, "token-used".into()));
    }
    let stats = centre.client.get("/v1/stats").await.json();
    assert_eq!(stats["refused"]["token-used"], 2);
    // Neither the token nor a key of 256 secret bits stands anywhere in the database.
    let database = std::fs::read(centre.database()).unwrap();
    let secret = token.strip_prefix("tge_").unwrap().as_bytes();
    assert!(!database.windows(20).any(|bytes| bytes == &secret[..20]));
    verify(&centre.store, &Tenant::default(), None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_that_is_not_for_this_is_refused_with_a_code_and_makes_nobody_a_gateway() {
    let clock = Arc::<Turned>::default();
    let centre = Centre::begin(clock.clone(), false).await;
    let device = Device::new(&centre, 7, "gw-1");
    let unknown = format!("tge_{}.{}", "A".repeat(43), device.centre);
    let elsewhere = Device {
        centre: "0".repeat(32),
        ..Device::new(&centre, 7, "gw-1")
    };
    let late = token(&centre.client, Some("gw-1")).await;
    let mut forged = device.application(&late);
    forged["device_key"] = key(8).public_key().to_text().into();
    clock.0.store(24 * 3600, Ordering::Relaxed);
    let fresh = token(&centre.client, Some("gw-1")).await;
    let for_other = token(&centre.client, Some("gw-2")).await;
    for (answer, expected) in [
        (device.enrol(&centre, &unknown).await, (401, "bad-token")),
        (
            device.enrol(&centre, &for_other).await,
            (403, "wrong-gateway"),
        ),
        (device.enrol(&centre, &late).await, (401, "token-expired")),
        (
            elsewhere.enrol(&centre, &fresh).await,
            (403, "bad-signature"),
        ),
        (
            post(&centre.client, "/v1/enrol", &forged).await,
            (403, "bad-signature"),
        ),
        (
            post(&centre.client, "/v1/enrol", &json!({})).await,
            (400, "malformed"),
        ),
    ] {
        let (status, code) = expected;
        assert_eq!(refused(&answer), (status, code.to_owned()));
    }
    let answer = device.sync(&centre, 1, &sent("gw-1", 1, 3)).await;
    assert_eq!(refused(&answer), (403, "unknown-device".into()));
    // The control: the token that was for this.
    assert_eq!(device.enrol(&centre, &fresh).await.status, 201);
    assert_eq!(
        device.sync(&centre, 1, &sent("gw-1", 1, 3)).await.status,
        200
    );
}

#[tokio::test]
async fn guesses_are_bounded_and_a_right_token_is_taken_all_the_same() {
    let centre = Centre::closed().await;
    let device = Device::new(&centre, 7, "gw-1");
    let right = token(&centre.client, None).await;
    let mut codes = Vec::new();
    for _ in 0..25 {
        codes.push(refused(&device.enrol(&centre, "tge_guess").await).1);
    }
    assert_eq!(codes[..20], ["bad-token"; 20].map(str::to_owned));
    assert_eq!(codes[20..], ["too-many-attempts"; 5].map(str::to_owned));
    assert_eq!(device.enrol(&centre, &right).await.status, 201);
}

#[tokio::test]
async fn the_name_and_the_key_of_a_gateway_are_nobody_elses() {
    let centre = Centre::closed().await;
    enrolled(&centre, 7, "gw-1").await;
    let any = token(&centre.client, None).await;
    let other = Device::new(&centre, 8, "gw-1");
    assert_eq!(
        refused(&other.enrol(&centre, &any).await),
        (409, "name-taken".into())
    );
    let copy = Device::new(&centre, 7, "gw-2");
    assert_eq!(
        refused(&copy.enrol(&centre, &any).await),
        (409, "key-in-use".into())
    );
    // In another tenant as well.
    let eve = centre.person_of("other", "eve", Role::Operator, None).await;
    let theirs = token(&eve, None).await;
    let copy = Device::new(&centre, 7, "gw-1");
    assert_eq!(
        refused(&copy.enrol(&centre, &theirs).await),
        (409, "key-in-use".into())
    );
    // A token for the name replaces the machine: the key of the one before ends, and is never taken again.
    let named = token(&centre.client, Some("gw-1")).await;
    assert_eq!(other.enrol(&centre, &named).await.status, 201);
    let before = Device::new(&centre, 7, "gw-1");
    let answer = before.sync(&centre, 1, &sent("gw-1", 1, 3)).await;
    assert_eq!(refused(&answer), (401, "revoked".into()));
    let named = token(&centre.client, Some("gw-1")).await;
    assert_eq!(
        refused(&before.enrol(&centre, &named).await),
        (401, "revoked".into())
    );
    // Whose database begins anew: that is no alarm.
    assert_eq!(
        other.sync(&centre, 1, &sent("gw-1", 1, 3)).await.status,
        200
    );
    assert_eq!(alarm(&centre, "gw-1").await, Value::Null);
}

#[tokio::test]
async fn a_gateway_is_believed_by_its_signature_alone() {
    let centre = Centre::closed().await;
    let device = enrolled(&centre, 7, "gw-1").await;
    let sent = sent("gw-1", 1, 3);
    let body = encode(&sent).unwrap();
    let unsigned = centre.client.post(body.clone()).await;
    assert_eq!(refused(&unsigned), (401, "no-signature".into()));
    let claim = device.claim(epoch(1), 1, &body);
    let other_centre = Device {
        centre: "0".repeat(32),
        ..Device::new(&centre, 7, "gw-1")
    };
    let stranger = Device::new(&centre, 9, "gw-1");
    for (claim, body, expected) in [
        (
            claim.clone(),
            [&body[..], b"x"].concat(),
            (403, "bad-signature"),
        ),
        (
            claim.replacen(" 1 ", " 2 ", 1),
            body.clone(),
            (403, "bad-signature"),
        ),
        (
            claim.replace("gw-1", "gw-2"),
            body.clone(),
            (403, "bad-signature"),
        ),
        ("nonsense".into(), body.clone(), (403, "bad-signature")),
        (
            device.claim(epoch(2), 1, &body),
            body.clone(),
            (400, "malformed"),
        ),
        (
            other_centre.claim(epoch(1), 1, &body),
            body.clone(),
            (403, "bad-signature"),
        ),
        (
            stranger.claim(epoch(1), 1, &body),
            body.clone(),
            (403, "unknown-device"),
        ),
    ] {
        let (status, code) = expected;
        let answer = signed(&centre, &claim, body).await;
        assert_eq!(refused(&answer), (status, code.to_owned()), "{claim}");
    }
    let gateways = centre.client.get("/v1/gateways").await.json();
    assert_eq!(gateways["gateways"].as_array().unwrap().len(), 0);
    // The control: what the device signed, as it signed it.
    assert_eq!(signed(&centre, &claim, body).await.status, 200);
    assert_eq!(centre.client.count("gw-1", "a").await, 3);
}

#[tokio::test]
async fn a_request_is_taken_once_and_none_before_it_also_after_a_restart() {
    let centre = Centre::closed().await;
    let device = enrolled(&centre, 7, "gw-1").await;
    let later = sent("gw-1", 1, 9);
    assert_eq!(device.sync(&centre, 2, &later).await.status, 200);
    for count in [2, 1] {
        let answer = device.sync(&centre, count, &sent("gw-1", 1, 3)).await;
        assert_eq!(refused(&answer), (409, "replayed".into()));
    }
    assert_eq!(device.sync(&centre, 3, &later).await.status, 200);
    // Another process on the same database.
    let mut again = Device::new(&centre, 7, "gw-1");
    again.centre = tidegate_cloud::store::SqliteStore::open(&centre.database())
        .await
        .unwrap()
        .centre_id()
        .to_owned();
    assert_eq!(refused(&again.sync(&centre, 3, &later).await).1, "replayed");
    assert_eq!(centre.client.count("gw-1", "a").await, 9);
}

#[tokio::test]
async fn a_gateway_of_one_tenant_cannot_send_as_one_of_another_or_of_its_own() {
    let centre = Centre::closed().await;
    let ours = enrolled(&centre, 7, "gw-1").await;
    let eve = centre.person_of("other", "eve", Role::Operator, None).await;
    let theirs = Device::new(&centre, 8, "gw-1");
    let token = token(&eve, Some("gw-1")).await;
    assert_eq!(theirs.enrol(&centre, &token).await.status, 201);
    assert_eq!(
        theirs.sync(&centre, 1, &sent("gw-1", 1, 5)).await.status,
        200
    );
    assert_eq!(ours.sync(&centre, 1, &sent("gw-1", 1, 3)).await.status, 200);
    // Each tenant has its own rows under the same name.
    assert_eq!(centre.client.count("gw-1", "a").await, 3);
    assert_eq!(eve.count("gw-1", "a").await, 5);
    // The body names another gateway than the key, or the header does.
    let answer = ours.sync(&centre, 2, &sent("gw-2", 1, 3)).await;
    assert_eq!(refused(&answer), (403, "wrong-gateway".into()));
    assert_eq!(alarm(&centre, "gw-1").await, Value::Null);
    let as_other = Device {
        gateway: "gw-2",
        ..Device::new(&centre, 7, "gw-1")
    };
    let answer = as_other.sync(&centre, 3, &sent("gw-2", 1, 3)).await;
    assert_eq!(refused(&answer), (403, "wrong-gateway".into()));
    assert_eq!(alarm(&centre, "gw-1").await, "key-elsewhere");
    let gateways = centre.client.get("/v1/gateways").await.json();
    assert_eq!(gateways["gateways"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_open_centre_believes_who_was_never_enrolled_and_nobody_else() {
    let centre = Centre::start().await;
    centre.client.sync(&sent("gw-2", 1, 3)).await;
    let device = enrolled(&centre, 7, "gw-1").await;
    let unsigned = centre.client.post(encode(&sent("gw-1", 1, 3)).unwrap());
    assert_eq!(refused(&unsigned.await), (401, "no-signature".into()));
    assert_eq!(
        device.sync(&centre, 1, &sent("gw-1", 1, 3)).await.status,
        200
    );
}

#[tokio::test]
async fn a_revoked_gateway_is_refused_at_once_and_its_rows_stay() {
    let centre = Centre::closed().await;
    let device = enrolled(&centre, 7, "gw-1").await;
    assert_eq!(
        device.sync(&centre, 1, &sent("gw-1", 1, 3)).await.status,
        200
    );
    let revoke = "/v1/gateways/gw-1/revoke";
    let answer = centre
        .client
        .call(Method::POST, revoke, "", Vec::new())
        .await;
    assert_eq!(answer.status, 204);
    let answer = device.sync(&centre, 2, &sent("gw-1", 1, 5)).await;
    assert_eq!(refused(&answer), (401, "revoked".into()));
    assert_eq!(centre.client.count("gw-1", "a").await, 3);
    let gateway = &centre.client.get("/v1/gateways").await.json()["gateways"][0];
    assert!(gateway["identity"]["revoked"].is_string(), "{gateway}");
    let page = centre.client.get("/gateways/gw-1").await.text();
    assert!(page.contains("<dd>revoked</dd>"), "{page}");
    // What it signed for a stick is worth nothing either.
    let import = centre.import("gw-1", crate::import::hundred().remove(0));
    assert_eq!(refused(&import.await), (403, "bad-signature".into()));
    let answer = centre
        .client
        .call(Method::POST, "/v1/gateways/gw-9/revoke", "", Vec::new());
    assert_eq!(refused(&answer.await), (404, "not-found".into()));
    let audit = centre.client.get("/v1/audit?limit=9").await.text();
    assert!(
        audit.contains(revoke) && audit.contains("\"done\""),
        "{audit}"
    );
}

fn change(device: &Device, new: &SigningKey, signers: [&SigningKey; 2]) -> Value {
    let (old, to): (KeyId, PublicKey) = (device.key.public_key().id(), new.public_key());
    let wanted = KeyChange {
        centre: &device.centre,
        gateway: device.gateway,
        old,
        new: &to,
    };
    json!({
        "gateway": device.gateway, "old": old.to_string(), "new": to.to_text(),
        "signatures": signers.map(|signer| BASE64.encode(wanted.sign(signer).unwrap())),
    })
}

#[tokio::test]
async fn a_key_follows_another_and_both_are_taken_until_the_new_one_is_heard() {
    let centre = Centre::closed().await;
    let device = enrolled(&centre, 7, "gw-1").await;
    let (new, path) = (key(8), "/v1/device-keys");
    for signers in [[&new, &new], [&device.key, &device.key], [&key(9), &new]] {
        let answer = post(&centre.client, path, &change(&device, &new, signers)).await;
        assert_eq!(refused(&answer), (403, "bad-signature".into()));
    }
    let good = change(&device, &new, [&device.key, &new]);
    // An answer may be lost.
    for _ in 0..2 {
        assert_eq!(post(&centre.client, path, &good).await.status, 200);
    }
    assert_eq!(
        device.sync(&centre, 1, &sent("gw-1", 1, 3)).await.status,
        200
    );
    let after = Device::new(&centre, 8, "gw-1");
    assert_eq!(
        after.sync(&centre, 2, &sent("gw-1", 1, 5)).await.status,
        200
    );
    let answer = device.sync(&centre, 3, &sent("gw-1", 1, 9)).await;
    assert_eq!(refused(&answer), (401, "revoked".into()));
    // What the old one signed for a stick is still known; and a change by it is not.
    assert_eq!(
        centre
            .import("gw-1", crate::import::hundred().remove(0))
            .await
            .status,
        200
    );
    assert_eq!(
        refused(&post(&centre.client, path, &good).await),
        (401, "revoked".into())
    );
    assert_eq!(alarm(&centre, "gw-1").await, Value::Null);
}

#[tokio::test]
async fn two_machines_with_one_identity_raise_an_alarm_and_lose_nothing() {
    let centre = Centre::closed().await;
    let device = enrolled(&centre, 7, "gw-1").await;
    // Restarts, and a request of the first that came late: no alarm.
    for (ordinal, count, last) in [(1, 1, 3), (2, 1, 3), (1, 2, 4), (3, 1, 3), (3, 2, 4)] {
        let answer = device
            .sync(&centre, count, &sent("gw-1", ordinal, last))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(alarm(&centre, "gw-1").await, Value::Null);
    // A copy of the disk has the same ordinal next, and another random part.
    let mut copy = sent("gw-1", 3, 2);
    copy.epoch.random = 99;
    copy.rows[0].of.epoch.random = 99;
    assert_eq!(device.sync(&centre, 1, &copy).await.status, 200);
    assert_eq!(alarm(&centre, "gw-1").await, "epoch-went-back");
    for path in ["/", "/gateways/gw-1"] {
        let page = centre.client.get(path).await.text();
        assert!(page.contains("a copy of its disk"), "{page}");
    }
    let metrics = centre.client.get("/metrics").await.text();
    assert!(
        metrics.contains("tidegate_gateway_identity_alarm{gateway=\"gw-1\"} 1"),
        "{metrics}"
    );
    let answer = centre
        .client
        .call(Method::DELETE, "/v1/gateways/gw-1/alarm", "", Vec::new());
    assert_eq!(answer.await.status, 204);
    assert_eq!(alarm(&centre, "gw-1").await, Value::Null);
    // Both go on.
    for count in [3, 4] {
        assert_eq!(
            device
                .sync(&centre, count, &sent("gw-1", 3, 4))
                .await
                .status,
            200
        );
    }
    assert_eq!(alarm(&centre, "gw-1").await, "epochs-interleave");
    assert_eq!(centre.client.count("gw-1", "a").await, 4 + 3 + 4 + 2);
}

#[tokio::test]
async fn who_may_not_enrol_gives_no_token_and_a_token_is_of_the_tenant_of_who_gave_it() {
    let centre = Centre::closed().await;
    let anna = centre.person("anna", Role::Viewer).await;
    let answer = post(&anna, "/v1/enrolments", &json!({})).await;
    assert_eq!(refused(&answer), (403, "wrong-role".into()));
    for bad in [
        json!({"tenant": "other"}),
        json!({"hours": 0}),
        json!({"hours": 745}),
        json!({"gateway": "GW"}),
    ] {
        let answer = post(&centre.client, "/v1/enrolments", &bad).await;
        assert_eq!(refused(&answer), (400, "malformed".into()), "{bad}");
    }
    let eve = centre.person_of("other", "eve", Role::Operator, None).await;
    let device = Device::new(&centre, 7, "gw-1");
    let token = token(&eve, None).await;
    assert_eq!(
        device.enrol(&centre, &token).await.json()["tenant"],
        "other"
    );
    assert_eq!(
        device.sync(&centre, 1, &sent("gw-1", 1, 3)).await.status,
        200
    );
    assert_eq!(eve.count("gw-1", "a").await, 3);
    let none = centre.client.get("/v1/gateways").await.json();
    assert_eq!(none["gateways"].as_array().unwrap().len(), 0);
}
