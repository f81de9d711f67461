//! What the centre says to be the newest.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use axum::http::StatusCode;
use tidegate_bundle::{Gateway, Nonce, ROOT_TYPE, SigningKey, Target, Time, Trust};

use crate::client::{Answer, Centre};
use crate::deployments::{deployment, refused};
use crate::process::{LOCAL, Process, command};
use crate::releases::{owner, plant, root_document, timer};

/// A gateway that has taken nothing, with this root.
fn trust() -> Trust {
    Trust::begin(&root_document()).unwrap()
}

fn here(gateway: &str) -> Gateway {
    Gateway {
        gateway_id: gateway.to_owned(),
        group_id: None,
        runtime_version: "0.1.0".parse().unwrap(),
        built: 0,
    }
}

impl Centre {
    async fn asked(&self, gateway: &str, nonce: &str) -> Answer {
        let path = format!("/v1/time?gateway={gateway}&nonce={nonce}");
        self.client.with_token("").get(&path).await
    }

    /// What a gateway with this memory learns.
    async fn time(&self, gateway: &str, trust: &mut Trust) -> Time {
        let nonce = Nonce::generate().unwrap();
        let answer = self.asked(gateway, &nonce.to_string()).await;
        let kind = &answer.headers["content-type"];
        assert_eq!(kind, tidegate_bundle::TIME_TYPE, "{answer:?}");
        let taken = trust.accept_time(&here(gateway), nonce, &answer.body);
        taken.unwrap().time().clone()
    }
}

#[tokio::test]
async fn a_gateway_learns_what_is_the_newest_for_it_in_answer_to_its_question() {
    let centre = Centre::start().await;
    let mut trust = trust();
    let newest = |time: Time| (time.root_version, time.epoch, time.seq);
    assert_eq!(newest(centre.time("gw-1", &mut trust).await), (1, 1, 0));
    let release = centre.released(1).await;
    let wanted = deployment(Target::GatewayId("gw-1".to_owned()), 5, &release);
    centre.deployed(&wanted).await;
    assert_eq!(newest(centre.time("gw-1", &mut trust).await), (1, 1, 5));
    assert_eq!(newest(centre.time("gw-2", &mut trust).await), (1, 1, 0));
    // A root counts from the next question on; of an older epoch nothing is the newest.
    let mut second = plant();
    (second.version, second.epoch) = (2, 2);
    let second = second.sign(&[&owner()]).unwrap();
    let sent = centre.send("/v1/roots", ROOT_TYPE, second.clone()).await;
    assert_eq!(sent.status, StatusCode::CREATED);
    assert_eq!(newest(centre.time("gw-1", &mut trust).await), (2, 2, 0));
    trust.accept_root(&second).unwrap();
    assert_eq!(newest(centre.time("gw-1", &mut trust).await), (2, 2, 0));
    for nonce in ["", "00", &"g".repeat(64)] {
        let answer = centre.asked("gw-1", nonce).await;
        assert_eq!(answer.refusal().1, "bad-query", "{nonce}");
    }
}

#[tokio::test]
async fn a_time_key_that_the_newest_root_does_not_name_signs_nothing() {
    let centre = Centre::start().await;
    let mut trust = trust();
    centre.time("gw-1", &mut trust).await;
    let other = SigningKey::from_seed(&[66; 32]).public_key();
    let mut second = plant();
    second.version = 2;
    second.keys.insert(other.id(), other.clone());
    second.roles.time = Some(tidegate_bundle::Role {
        key_ids: vec![other.id()],
        threshold: 1,
    });
    let bytes = second.sign(&[&owner()]).unwrap();
    let sent = centre.send("/v1/roots", ROOT_TYPE, bytes).await;
    assert_eq!(sent.status, StatusCode::CREATED);
    let nonce = Nonce::generate().unwrap().to_string();
    let (status, code, _) = refused(&centre.asked("gw-1", &nonce).await);
    assert_eq!((status, code.as_str()), (404, "no-time-key"));
}

#[tokio::test]
async fn that_there_is_no_newer_root_and_no_time_key_is_an_answer_and_no_refusal() {
    let centre = Centre::start().await;
    let counted = async || centre.client.get("/v1/stats").await.json()["refused"].clone();
    let before = counted().await;
    let mut second = plant();
    second.version = 2;
    second.roles.time = None;
    let bytes = second.sign(&[&owner()]).unwrap();
    centre.send("/v1/roots", ROOT_TYPE, bytes).await;
    let nonce = Nonce::generate().unwrap().to_string();
    let nobody = centre.client.with_token("");
    for _ in 0..3 {
        let next = nobody.get("/v1/roots/3?gateway=gw-1").await;
        assert_eq!(refused(&next).1, "not-found");
        assert_eq!(
            refused(&centre.asked("gw-1", &nonce).await).1,
            "no-time-key"
        );
    }
    assert_eq!(counted().await, before);
    // The control: what is refused is counted.
    assert_eq!(centre.asked("gw-1", "00").await.refusal().1, "bad-query");
    assert_ne!(counted().await, before);
}

#[tokio::test]
async fn a_centre_says_what_is_the_newest_by_a_key_that_only_its_owner_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let (root, key) = (
        folder.path().join("root.json"),
        folder.path().join("time.key"),
    );
    fs::write(&root, root_document()).unwrap();
    fs::write(&key, timer().to_secret_text()).unwrap();
    let root = ["--root", root.to_str().unwrap()];
    let with_key = ["--time-key", key.to_str().unwrap()];
    let all = [&LOCAL[..], &root, &with_key].concat();
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let mut wrong = command(folder.path(), &all);
    let output = wrong.stderr(Stdio::piped()).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert!(stderr.contains("has mode 644"), "{stderr}");
    mode(0o600);
    let nonce = Nonce::generate().unwrap();
    let path = format!("/v1/time?gateway=gw-1&nonce={nonce}");
    let keyed = Process::start(folder.path(), &all).await;
    let answer = keyed.client.get(&path).await;
    let taken = trust().accept_time(&here("gw-1"), nonce, &answer.body);
    assert!(taken.unwrap().confirms());
    let other = tempfile::tempdir().unwrap();
    let without = Process::start(other.path(), &[&LOCAL[..], &root].concat()).await;
    let (status, code, _) = refused(&without.client.get(&path).await);
    assert_eq!((status, code.as_str()), (404, "no-time-key"));
}
