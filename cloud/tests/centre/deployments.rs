//! Roots, deployments and reports: what a releaser brings, what a gateway is given, and what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tidegate_bundle::{
    Check, ClockQuality, DEPLOYMENT_TYPE, DeployedModule, Deployment, Digest, Grants, Input,
    ROOT_TYPE, Rollout, STATUS_TYPE, Shadow, SigningKey, Status, StoreEpoch, Target, VerifiedRoot,
};

use crate::client::{Answer, Centre};
use crate::lag::Turned;
use crate::releases::{bundle, deployer, owner, plant};
use crate::samples::request;

pub(crate) const PLAIN: &str = "application/json";

/// A device's key.
pub(crate) fn device(gateway: &str) -> SigningKey {
    SigningKey::from_seed(Digest::of(gateway.as_bytes()).as_bytes())
}

pub(crate) fn deployment(target: Target, seq: u64, release: &Digest) -> Deployment {
    Deployment {
        fleet_id: "plant".to_owned(),
        target,
        epoch: 1,
        seq,
        min_root_version: 1,
        modules: vec![DeployedModule {
            name: "pump".to_owned(),
            release: *release,
            inputs: vec![Input {
                from: "line".to_owned(),
                topic: "#".to_owned(),
            }],
            grants: Grants::default(),
            config: BTreeMap::new(),
            flags: BTreeMap::new(),
            streams: Vec::new(),
        }],
        rollout: Rollout {
            check: Check::Equal,
            shadow: Shadow::Messages(0),
            cpu_percent_max: 200,
            latency_percent_max: 200,
            probation_minutes: 5,
            attempts: 3,
        },
        downgrades: Vec::new(),
        created: 1_700_000_000,
        expires: None,
    }
}

pub(crate) fn group() -> Target {
    Target::GroupId("pumps".to_owned())
}

pub(crate) fn signed(deployment: &Deployment) -> Vec<u8> {
    deployment.sign(&[&deployer()]).unwrap()
}

/// What a gateway with this deployment reports.
pub(crate) fn status(gateway: &str, counter: u64, seq: u64) -> Status {
    Status {
        fleet_id: "plant".to_owned(),
        gateway_id: gateway.to_owned(),
        store_epoch: StoreEpoch {
            ordinal: 1,
            random: 7,
        },
        counter,
        root_version: 1,
        epoch: 1,
        seq,
        modules: Vec::new(),
        refused: Vec::new(),
        clock: ClockQuality::Synced,
        missing_protection: Vec::new(),
        confirmed: None,
        facts: None,
        frozen: None,
    }
}

impl Centre {
    pub(crate) async fn send(&self, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
        self.client
            .call(Method::POST, path, content_type, body)
            .await
    }

    pub(crate) async fn say(&self, path: &str, body: &Value) -> Answer {
        self.send(path, PLAIN, body.to_string().into_bytes()).await
    }

    /// Brings a release of `pump`; gives its identity.
    pub(crate) async fn released(&self, counter: u64) -> Digest {
        let answer = self.push(bundle("pump", counter)).await.json();
        Digest::parse(answer["release"]["identity"].as_str().unwrap()).unwrap()
    }

    /// Brings a deployment; gives its digest as text.
    pub(crate) async fn deployed(&self, deployment: &Deployment) -> String {
        let sent = self.send("/v1/deployments", DEPLOYMENT_TYPE, signed(deployment));
        let answer = sent.await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()["deployment"]["digest"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Makes the group `pumps`, with so many gateways that the centre knows.
    pub(crate) async fn fleet(&self, count: usize) -> Vec<String> {
        let names: Vec<_> = (0..count).map(|number| format!("gw-{number}")).collect();
        for name in &names {
            self.client.sync(&request(name, Vec::new())).await;
            self.knows(name, &format!("{}\n", device(name).public_key().to_text()));
            let (path, labels) = (
                format!("/v1/gateways/{name}/labels"),
                json!({"kind": "pump"}),
            );
            let labelled = self.say(&path, &labels).await;
            assert_eq!(labelled.status, StatusCode::OK);
        }
        let group = json!({"name": "pumps", "labels": {"kind": "pump"}});
        assert_eq!(self.say("/v1/groups", &group).await.status, StatusCode::OK);
        names
    }

    pub(crate) async fn report(&self, status: &Status) -> Answer {
        let gateway = &status.gateway_id;
        let nobody = self.client.with_token("");
        let body = status.sign(&device(gateway)).unwrap();
        let path = format!("/v1/status?gateway={gateway}");
        nobody.call(Method::POST, &path, STATUS_TYPE, body).await
    }

    /// What a gateway is given.
    pub(crate) async fn desired(&self, gateway: &str, known: &str) -> Answer {
        let nobody = self.client.with_token("");
        let headers = [(header::IF_NONE_MATCH, known)];
        let path = format!("/v1/desired?gateway={gateway}");
        nobody.send(Method::GET, &path, &headers, Vec::new()).await
    }

    /// The number of the deployment that each gateway is given; zero for none.
    pub(crate) async fn seqs_desired(&self, gateways: &[String]) -> Vec<u64> {
        let mut seqs = Vec::new();
        for gateway in gateways {
            let answer = self.desired(gateway, "").await;
            seqs.push(match answer.status {
                StatusCode::NO_CONTENT => 0,
                _ => Deployment::unverified(&answer.body).unwrap().0.seq,
            });
        }
        seqs
    }

    pub(crate) async fn rollout(&self, number: u64) -> Value {
        self.client
            .get(&format!("/v1/rollouts/{number}"))
            .await
            .json()
    }

    /// Waits until a rollout is so.
    pub(crate) async fn until(&self, number: u64, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let rollout = self.rollout(number).await;
            if is(&rollout) {
                return rollout;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn why(&self, gateway: &str) -> String {
        let answer = self.client.get(&format!("/v1/fleet/{gateway}/why")).await;
        answer.json()["why"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn offered(rollout: &Value) -> Vec<String> {
    let offers = rollout["offers"].as_array().unwrap().iter();
    let names = offers.map(|offer| offer["gateway"].as_str().unwrap().to_owned());
    names.collect()
}

pub(crate) fn confirmed(gateway: &str, counter: u64, seq: u64, deployment: &str) -> Status {
    Status {
        confirmed: Some(Digest::parse(deployment).unwrap()),
        ..status(gateway, counter, seq)
    }
}

pub(crate) fn refused(answer: &Answer) -> (u16, String, String) {
    let (status, code, _) = answer.refusal();
    let reason = answer.json()["error"]["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (status, code, reason)
}

#[tokio::test]
async fn a_deployment_is_taken_when_a_gateway_would_take_it_and_its_releases_are_here() {
    let centre = Centre::start().await;
    let release = centre.released(1).await;
    let good = deployment(Target::GatewayId("gw-1".to_owned()), 5, &release);
    let send = async |bytes: Vec<u8>| centre.send("/v1/deployments", DEPLOYMENT_TYPE, bytes).await;
    let change = |edit: &dyn Fn(&mut Deployment)| {
        let mut changed = good.clone();
        edit(&mut changed);
        signed(&changed)
    };
    let unknown = Digest::of(b"unknown");
    let unasked = |deployment: &mut Deployment| {
        deployment.modules[0].grants.wasi = vec!["wasi:sockets/tcp@0.2.0".to_owned()];
    };
    for (bytes, reason) in [
        (good.sign(&[&owner()]).unwrap(), "wrong-key"),
        (
            change(&|it| it.modules[0].release = unknown),
            "missing-release",
        ),
        (
            change(&|it| it.fleet_id = "other".to_owned()),
            "wrong-fleet",
        ),
        (change(&|it| it.epoch = 2), "unknown-epoch"),
        (change(&|it| it.min_root_version = 2), "root-too-old"),
        (change(&|it| it.expires = Some(1_700_000_001)), "expired"),
        (change(&unasked), "not-asked"),
        (b"{}".to_vec(), "malformed"),
    ] {
        let found = refused(&send(bytes).await);
        assert_eq!(
            found,
            (422, "document-refused".to_owned(), reason.to_owned())
        );
    }
    assert_eq!(
        centre.desired("gw-1", "").await.status,
        StatusCode::NO_CONTENT
    );
    let listed = centre.client.get("/v1/deployments").await.json();
    assert_eq!(listed["deployments"], json!([]));

    let digest = centre.deployed(&good).await;
    assert_eq!(send(signed(&good)).await.status, StatusCode::OK);
    for (seq, to) in [(5, "gw-2"), (4, "gw-1")] {
        let other = deployment(Target::GatewayId(to.to_owned()), seq, &release);
        assert_eq!(
            refused(&send(signed(&other)).await).1,
            "stale-sequence",
            "{seq}"
        );
    }
    // One for another gateway may have a number between.
    centre
        .deployed(&deployment(
            Target::GatewayId("gw-2".to_owned()),
            4,
            &release,
        ))
        .await;
    let listed = centre.client.get("/v1/deployments?limit=1").await.json();
    assert_eq!(
        (&listed["deployments"][0]["seq"], &listed["next"]),
        (&json!(5), &json!("1:5"))
    );
    let rest = centre.client.get("/v1/deployments?after=1:5").await.json();
    assert_eq!(rest["deployments"][0]["gateway"], "gw-2");
    let file = centre
        .client
        .get(&format!("/v1/deployments/{digest}"))
        .await;
    assert_eq!(&file.body[..], signed(&good));
    let log = centre.client.get("/v1/audit").await.json();
    let log = log["entries"].as_array().unwrap().iter();
    let done = log
        .filter(|row| row["object"] == "gateway gw-1, epoch 1, seq 5" && row["outcome"] == "done");
    assert_eq!(done.count(), 1);
}

#[tokio::test]
async fn a_gateway_gets_its_deployment_and_all_that_it_names_and_no_other_gets_it() {
    let centre = Centre::start().await;
    let release = centre.released(1).await;
    let wanted = deployment(Target::GatewayId("gw-1".to_owned()), 5, &release);
    let digest = centre.deployed(&wanted).await;
    let given = centre.desired("gw-1", "").await;
    assert_eq!(
        (given.status, &given.body[..]),
        (StatusCode::OK, &signed(&wanted)[..])
    );
    assert_eq!(given.headers["etag"], format!("\"{digest}\""));
    assert_eq!(
        centre.desired("gw-2", "").await.status,
        StatusCode::NO_CONTENT
    );

    let nobody = centre.client.with_token("");
    let get = async |path: String| nobody.get(&path).await;
    let document = get(format!("/v1/releases/{release}?gateway=gw-1")).await;
    let (read, found) = tidegate_bundle::Release::unverified(&document.body).unwrap();
    assert_eq!(found, release);
    let component = read.artifacts[0].sha256;
    let path = format!("/v1/blobs/sha256/{component}?gateway=gw-1");
    let blob = get(path.clone()).await;
    assert_eq!(Digest::of(&blob.body), component);
    let range = [(header::RANGE, "bytes=1-2")];
    let part = nobody.send(Method::GET, &path, &range, Vec::new()).await;
    assert_eq!(
        (part.status.as_u16(), &part.body[..]),
        (206, &blob.body[1..3])
    );
    for path in [
        format!("/v1/releases/{release}"),
        format!("/v1/blobs/sha256/{component}"),
        format!("/v1/blobs/sha256/{component}?gateway=UPPER"),
        "/v1/roots/1".to_owned(),
    ] {
        assert_eq!(get(path.clone()).await.refusal().1, "no-token", "{path}");
    }
    for path in [
        "/v1/desired",
        "/v1/desired?gateway=..%2Fx",
        "/v1/desired?gateway=",
    ] {
        assert_eq!(
            get(path.to_owned()).await.refusal().1,
            "bad-query",
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_gateway_that_has_its_deployment_is_answered_without_the_database() {
    let clock = Arc::new(Turned::default());
    let centre = Centre::with_clock(clock.clone()).await;
    let release = centre.released(1).await;
    let target = Target::GatewayId("gw-1".to_owned());
    let first = centre
        .deployed(&deployment(target.clone(), 5, &release))
        .await;
    let tag = format!("\"{first}\"");
    assert_eq!(
        centre.desired("gw-1", &tag).await.status,
        StatusCode::NOT_MODIFIED
    );

    // Behind the centre's back: what is in memory is not looked for again, for as long as it is young.
    centre
        .damage("UPDATE deployments SET document = x'00'")
        .await;
    for _ in 0..3 {
        assert_eq!(
            centre.desired("gw-1", &tag).await.status,
            StatusCode::NOT_MODIFIED
        );
    }
    clock.0.store(11, Ordering::Relaxed);
    assert_eq!(centre.desired("gw-1", &tag).await.refusal().1, "storage");
    centre.damage("DELETE FROM deployments").await;
    // A new one is known at once.
    centre.deployed(&deployment(target, 6, &release)).await;
    let given = centre.desired("gw-1", &tag).await;
    assert_eq!(Deployment::unverified(&given.body).unwrap().0.seq, 6);
}

#[tokio::test]
async fn a_root_follows_the_one_before_and_is_in_force_from_then_on() {
    let centre = Centre::start().await;
    let first = centre.client.get("/v1/roots/1").await.body;
    let root = plant();
    let (mut second, new_deployer) = (root.clone(), SigningKey::from_seed(&[55; 32]));
    second.version = 2;
    let key = new_deployer.public_key();
    second.keys.insert(key.id(), key.clone());
    second.roles.deploy = Some(tidegate_bundle::Role {
        key_ids: vec![key.id()],
        threshold: 1,
    });
    let send = async |bytes: Vec<u8>| centre.send("/v1/roots", ROOT_TYPE, bytes).await;
    let mut skipped = second.clone();
    skipped.version = 3;
    assert_eq!(
        refused(&send(skipped.sign(&[&owner()]).unwrap()).await).2,
        "root-version"
    );
    assert_eq!(refused(&send(b"{}".to_vec()).await).2, "malformed");
    assert_eq!(send(first.to_vec()).await.json()["new"], false);

    let release = centre.released(1).await;
    let wanted = deployment(Target::GatewayId("gw-1".to_owned()), 5, &release);
    let by_new = wanted.sign(&[&new_deployer]).unwrap();
    let deploy = async |bytes: &Vec<u8>| {
        centre
            .send("/v1/deployments", DEPLOYMENT_TYPE, bytes.clone())
            .await
    };
    assert_eq!(refused(&deploy(&by_new).await).2, "wrong-key");
    let bytes = second.sign(&[&owner()]).unwrap();
    assert_eq!(send(bytes.clone()).await.status, StatusCode::CREATED);
    assert_eq!(send(bytes.clone()).await.json()["new"], false);
    assert_eq!(refused(&deploy(&signed(&wanted)).await).2, "wrong-key");
    assert_eq!(deploy(&by_new).await.status, StatusCode::CREATED);

    let nobody = centre.client.with_token("");
    let chain = VerifiedRoot::open(&first).unwrap();
    let given = nobody.get("/v1/roots/2?gateway=gw-1").await;
    assert_eq!(chain.next(&given.body).unwrap().root().version, 2);
    for missing in ["0", "3", "x", "18446744073709551615"] {
        let answer = centre.client.get(&format!("/v1/roots/{missing}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{missing}");
    }
}

#[tokio::test]
async fn a_report_is_of_the_gateway_whose_device_signed_it_and_an_older_one_changes_nothing() {
    let centre = Centre::start().await;
    centre.fleet(2).await;
    assert_eq!(
        centre.report(&status("gw-0", 2, 0)).await.json()["new"],
        true
    );
    for counter in [1, 2] {
        assert_eq!(
            centre.report(&status("gw-0", counter, 9)).await.json()["new"],
            false
        );
    }
    let shown = centre.client.get("/v1/fleet/gw-0").await.json();
    assert_eq!(shown["reported"]["counter"], 2);
    assert_eq!(shown["seq"], 0);
    let nobody = centre.client.with_token("");
    let forged = status("gw-0", 3, 9).sign(&device("gw-1")).unwrap();
    let misnamed = status("gw-0", 3, 9).sign(&device("gw-1")).unwrap();
    let foreign = Status {
        fleet_id: "other".to_owned(),
        ..status("gw-0", 3, 9)
    };
    let foreign = foreign.sign(&device("gw-0")).unwrap();
    for (body, gateway, code, reason) in [
        (forged, "gw-0", "document-refused", "wrong-key"),
        (misnamed, "gw-1", "document-refused", "wrong-gateway"),
        (foreign, "gw-0", "document-refused", "wrong-fleet"),
        (
            status("gw-9", 3, 9).sign(&device("gw-9")).unwrap(),
            "gw-9",
            "unknown-device",
            "",
        ),
        (Vec::new(), "gw-0", "document-refused", "malformed"),
    ] {
        let path = format!("/v1/status?gateway={gateway}");
        let answer = nobody.call(Method::POST, &path, STATUS_TYPE, body).await;
        let found = refused(&answer);
        assert_eq!((found.1.as_str(), found.2.as_str()), (code, reason));
    }
    assert_eq!(
        centre.client.get("/v1/fleet/gw-0").await.json()["reported"]["counter"],
        2
    );
}
