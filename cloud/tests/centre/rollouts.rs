//! Rollouts: from the canary to all, and back.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use tidegate_bundle::{Digest, Facts, InstalledModule, Phase, RefusedDocument, Status, Target};
use tidegate_cloud::access::Role;

use crate::access::signed_in;
use crate::client::{Caller, Centre};
use crate::deployments::{PLAIN, confirmed, deployment, group, offered, signed, status};

/// Canary, then half, then all.
fn plan(deployment: &str) -> Value {
    json!({
        "deployment": deployment,
        "waves": [{"gateways": ["gw-2"]}, {"percent": 50}, {"percent": 100}],
    })
}

#[tokio::test]
async fn a_good_release_reaches_the_group_by_waves_and_those_that_join_later() {
    let centre = Centre::start().await;
    let gateways = centre.fleet(6).await;
    let release = centre.released(1).await;
    let digest = centre.deployed(&deployment(group(), 5, &release)).await;
    assert_eq!(centre.seqs_desired(&gateways).await, [0; 6]);
    let page = centre.client.get("/v1/fleet?limit=4").await.json();
    assert_eq!(
        (&page["gateways"][3]["name"], &page["next"]),
        (&json!("gw-3"), &json!("gw-3"))
    );
    let rest = centre
        .client
        .get("/v1/fleet?limit=4&after=gw-3")
        .await
        .json();
    assert_eq!(
        (&rest["gateways"][1]["name"], &rest["next"]),
        (&json!("gw-5"), &Value::Null)
    );
    assert!(
        centre
            .why("gw-0")
            .await
            .contains("no deployment is offered")
    );
    let started = centre.say("/v1/rollouts", &plan(&digest)).await;
    assert_eq!(started.status, StatusCode::CREATED, "{started:?}");
    assert_eq!(offered(&started.json()), ["gw-2"]);
    assert_eq!(centre.seqs_desired(&gateways).await, [0, 0, 5, 0, 0, 0]);
    assert!(centre.why("gw-0").await.contains("it is in wave 1 of 3"));
    assert!(
        centre
            .why("gw-2")
            .await
            .contains("What its machine is, it has not said")
    );

    centre.report(&status("gw-2", 1, 5)).await;
    centre
        .until(1, |rollout| rollout["offers"][0]["state"] == "trying")
        .await;
    assert_eq!(offered(&centre.rollout(1).await).len(), 1);
    centre.report(&confirmed("gw-2", 2, 5, &digest)).await;
    let second = centre.until(1, |rollout| rollout["wave"] == 2).await;
    assert_eq!(offered(&second).len(), 3);
    for gateway in offered(&second) {
        centre.report(&confirmed(&gateway, 3, 5, &digest)).await;
    }
    let third = centre.until(1, |rollout| rollout["wave"] == 3).await;
    assert_eq!(offered(&third).len(), 6);
    for gateway in offered(&third) {
        centre.report(&confirmed(&gateway, 4, 5, &digest)).await;
    }
    centre.until(1, |rollout| rollout["state"] == "done").await;
    assert_eq!(centre.seqs_desired(&gateways).await, [5; 6]);
    assert!(
        centre
            .why("gw-0")
            .await
            .contains("gw-0 runs it, and has confirmed it")
    );

    let late = vec!["gw-late".to_owned()];
    assert_eq!(centre.seqs_desired(&late).await, [0]);
    centre
        .say("/v1/gateways/gw-late/labels", &json!({"kind": "pump"}))
        .await;
    assert_eq!(centre.seqs_desired(&late).await, [5]);
    let log = centre.client.get("/v1/audit").await.json();
    let rows = log["entries"].as_array().unwrap().iter();
    let own: Vec<_> = rows.filter(|row| row["who"] == "the centre").collect();
    let outcomes: Vec<_> = own
        .iter()
        .rev()
        .map(|row| row["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["wave 2 of 3", "wave 3 of 3", "is done"]);
}

#[tokio::test]
async fn a_report_that_comes_again_because_its_reply_was_lost_counts_once() {
    let centre = Centre::start().await;
    centre.fleet(4).await;
    let release = centre.released(1).await;
    let digest = centre.deployed(&deployment(group(), 5, &release)).await;
    centre.say("/v1/rollouts", &plan(&digest)).await;
    centre.report(&confirmed("gw-2", 1, 5, &digest)).await;
    let second = centre.until(1, |rollout| rollout["wave"] == 2).await;
    let of_wave = offered(&second);
    let other = of_wave.iter().find(|name| *name != "gw-2").unwrap();
    assert_eq!(of_wave.len(), 2, "half of four");
    // The same report, an older one, and newer ones that say the same: none of them stands for the other gateway.
    for counter in [1, 1, 2, 3, 2, 3] {
        centre.report(&confirmed("gw-2", counter, 5, &digest)).await;
    }
    let again = centre.report(&confirmed("gw-2", 3, 5, &digest)).await;
    assert_eq!(again.json()["new"], false);
    centre.report(&status(other, 1, 5)).await;
    let trying = |rollout: &Value| {
        let offers = rollout["offers"].as_array().unwrap();
        offers.iter().any(|offer| offer["state"] == "trying")
    };
    let still = centre.until(1, trying).await;
    assert_eq!((&still["wave"], offered(&still).len()), (&json!(2), 2));
    centre.report(&confirmed(other, 2, 5, &digest)).await;
    centre.until(1, |rollout| rollout["wave"] == 3).await;
}

#[tokio::test]
async fn a_bad_release_is_stopped_at_the_canary_and_taken_back_where_it_was_offered() {
    for revert in [false, true] {
        let centre = Centre::start().await;
        let gateways = centre.fleet(4).await;
        let (old, new) = (centre.released(1).await, centre.released(2).await);
        let before = centre.deployed(&deployment(group(), 5, &old)).await;
        let all = json!({"deployment": before, "waves": [{"percent": 100, "success_percent": 0}]});
        centre.say("/v1/rollouts", &all).await;
        centre.until(1, |rollout| rollout["state"] == "done").await;

        let bad = centre.deployed(&deployment(group(), 6, &new)).await;
        let back = centre.deployed(&deployment(group(), 7, &new)).await;
        let mut plan = plan(&bad);
        if revert {
            plan["revert"] = json!(back);
        }
        assert_eq!(
            centre.say("/v1/rollouts", &plan).await.status,
            StatusCode::CREATED
        );
        assert_eq!(centre.seqs_desired(&gateways).await, [5, 5, 6, 5]);
        let failing = InstalledModule {
            name: "pump".to_owned(),
            release: new,
            version: "1.2.0".parse().unwrap(),
            generation: 2,
            phase: Phase::RolledBack,
        };
        let failed = Status {
            modules: vec![failing],
            ..status("gw-2", 1, 6)
        };
        centre.report(&failed).await;
        let stopped = centre
            .until(2, |rollout| rollout["state"] == "stopped")
            .await;
        assert_eq!(
            stopped["says"],
            "was stopped, because it failed on 1 of 1 gateways of wave 1"
        );
        let word = r#"<b class="state bad">stopped</b> <span class="quiet">failed on 1 of 1 gateways of wave 1"#;
        let page = centre.client.get("/fleet").await.text();
        for part in [
            word,
            r#"seq <span class="number">6</span> <span class="quiet">pump 1.2.0</span>"#,
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        let shown = centre.rollout(2).await;
        assert_eq!(
            (&shown["seq"], &shown["versions"]),
            (&json!(6), &json!(["pump 1.2.0"]))
        );
        let expected = match revert {
            false => json!({"keep": 0, "says": "no gateway keeps it"}),
            true => json!({"of": 1, "back": 0, "failed": 0, "says": "0 of 1 back"}),
        };
        assert_eq!(shown["back"], expected);
        let canary = if revert { 7 } else { 6 };
        assert_eq!(centre.seqs_desired(&gateways).await, [5, 5, canary, 5]);
        let why = centre
            .client
            .get(&format!("/v1/fleet/gw-0/why?deployment={bad}"))
            .await;
        let why = why.json()["why"].as_str().unwrap().to_owned();
        assert!(
            why.contains("was stopped") && why.contains("before it reached gw-0"),
            "{why}"
        );
        let again = centre.say("/v1/rollouts/2/resume", &json!({})).await;
        assert_eq!(again.refusal().1, "wrong-state");
        if revert {
            centre.report(&confirmed("gw-2", 2, 7, &back)).await;
            let listed = centre.client.get("/v1/rollouts").await.json();
            assert_eq!(listed["rollouts"][0]["back"]["says"], "1 of 1 back");
            let page = centre.client.get("/fleet").await.text();
            assert!(
                page.contains("<span data-back>1 of 1 back</span>"),
                "{page}"
            );
        }
    }
}

#[tokio::test]
async fn an_operator_pauses_resumes_and_aborts_and_a_viewer_does_not() {
    let centre = Centre::start().await;
    let gateways = centre.fleet(4).await;
    let release = centre.released(1).await;
    let digest = centre.deployed(&deployment(group(), 5, &release)).await;
    let viewer = centre.person("eve", Role::Viewer).await;
    let body = plan(&digest).to_string().into_bytes();
    let denied = viewer.call(Method::POST, "/v1/rollouts", PLAIN, body).await;
    assert_eq!(denied.refusal().1, "wrong-role");
    centre.say("/v1/rollouts", &plan(&digest)).await;
    assert_eq!(
        centre.say("/v1/rollouts", &plan(&digest)).await.refusal().1,
        "wrong-state"
    );

    let operator = centre.person("otto", Role::Operator).await;
    let browser = signed_in(&centre, &operator.token).await;
    let pressed = browser
        .post("/fleet/rollouts/1/pause", &browser.here(), "")
        .await;
    assert_eq!(
        (pressed.status.as_u16(), &pressed.headers["location"]),
        (303, &"/fleet".parse().unwrap())
    );
    let foreign = browser
        .post("/fleet/rollouts/1/abort", "https://evil.example", "")
        .await;
    assert_eq!(foreign.refusal().1, "cross-site");
    assert_eq!(centre.rollout(1).await["state"], "paused");
    let paused = centre.client.get("/fleet").await.text();
    assert!(paused.contains("/fleet/rollouts/1/resume") && !paused.contains("rollouts/1/pause"));
    assert!(
        !viewer
            .get("/fleet")
            .await
            .text()
            .contains("/fleet/rollouts/1/resume")
    );

    centre.report(&confirmed("gw-2", 1, 5, &digest)).await;
    let now = centre
        .until(1, |rollout| rollout["offers"][0]["state"] == "confirmed")
        .await;
    assert_eq!((now["wave"].as_u64(), offered(&now).len()), (Some(1), 1));
    centre.say("/v1/rollouts/1/resume", &json!({})).await;
    assert_eq!(offered(&centre.rollout(1).await).len(), 2);
    centre.say("/v1/rollouts/1/abort", &json!({})).await;
    // The one that had not reported is not offered it any more.
    assert_eq!(centre.seqs_desired(&gateways).await.iter().sum::<u64>(), 5);
    for (path, code) in [
        ("1/abort", "wrong-state"),
        ("9/abort", "not-found"),
        ("1/burn", "not-found"),
    ] {
        let answer = centre
            .say(&format!("/v1/rollouts/{path}"), &json!({}))
            .await;
        assert_eq!(answer.refusal().1, code, "{path}");
    }
    let page = centre.client.get("/fleet").await.text();
    assert!(
        page.contains(r#"<tr data-rollout="1" data-state="stopped">"#),
        "{page}"
    );
    assert!(
        page.contains(r#"<tr data-gateway="gw-2" data-outcome="confirmed">"#),
        "{page}"
    );
}

#[tokio::test]
async fn a_rollout_that_cannot_work_is_refused_before_it_begins() {
    let centre = Centre::start().await;
    let release = centre.released(1).await;
    let digest = centre.deployed(&deployment(group(), 5, &release)).await;
    let own = deployment(Target::GatewayId("gw-0".to_owned()), 6, &release);
    let own = centre.deployed(&own).await;
    let all = json!([{"percent": 100}]);
    let start = async |plan: Value| centre.say("/v1/rollouts", &plan).await.refusal().1;
    let good = json!({"deployment": digest, "waves": all});
    assert_eq!(start(good.clone()).await, "not-found", "no such group");
    centre
        .say(
            "/v1/groups",
            &json!({"name": "pumps", "labels": {"kind": "pump"}}),
        )
        .await;
    assert_eq!(start(good.clone()).await, "wrong-state", "nobody is in it");
    centre.fleet(2).await;
    for (plan, code) in [
        (json!({"deployment": own, "waves": all}), "malformed"),
        (
            json!({"deployment": Digest::of(b"x"), "waves": all}),
            "not-found",
        ),
        (
            json!({"deployment": digest, "revert": own, "waves": all}),
            "malformed",
        ),
        (
            json!({"deployment": digest, "waves": [{"gateways": ["gw-9"]}, {"percent": 100}]}),
            "malformed",
        ),
        (json!({"deployment": digest, "waves": []}), "malformed"),
        (
            json!({"deployment": digest, "waves": all, "colour": 1}),
            "malformed",
        ),
    ] {
        assert_eq!(start(plan.clone()).await, code, "{plan}");
    }
    assert_eq!(
        centre.say("/v1/rollouts", &good).await.status,
        StatusCode::CREATED
    );
    centre.say("/v1/rollouts/1/abort", &json!({})).await;
    let newer = centre.deployed(&deployment(group(), 8, &release)).await;
    centre
        .say("/v1/rollouts", &json!({"deployment": newer, "waves": all}))
        .await;
    centre.say("/v1/rollouts/2/abort", &json!({})).await;
    assert_eq!(start(good).await, "stale-sequence");
}

#[tokio::test]
async fn what_does_not_fit_a_gateway_is_not_offered_to_it_and_it_is_said_why() {
    let centre = Centre::start().await;
    centre.fleet(2).await;
    let release = centre.released(1).await;
    let digest = centre.deployed(&deployment(group(), 5, &release)).await;
    let facts = |memory_bytes| Facts {
        target: "x86_64-unknown-linux-gnu".to_owned(),
        engine: "test".to_owned(),
        compiler: true,
        memory_bytes,
        field: vec!["line".to_owned()],
    };
    for (gateway, memory_bytes) in [("gw-0", 1 << 20), ("gw-1", 64 << 20)] {
        let told = Status {
            facts: Some(facts(memory_bytes)),
            ..status(gateway, 1, 0)
        };
        centre.report(&told).await;
    }
    centre
        .say(
            "/v1/rollouts",
            &json!({"deployment": digest, "waves": [{"percent": 100}]}),
        )
        .await;
    assert_eq!(offered(&centre.rollout(1).await), ["gw-1"]);
    let why = centre.why("gw-0").await;
    assert!(
        why.contains("may take 16 MiB of memory, and the gateway has 1 MiB"),
        "{why}"
    );
    let version = "/v1/fleet/gw-0/why?module=pump&version=1.1.0";
    let asked = centre.client.get(version).await.json();
    assert_eq!(asked["why"].as_str(), Some(why.as_str()));
    let missing = centre
        .client
        .get("/v1/fleet/gw-0/why?module=pump&version=9.0.0")
        .await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    // What it refuses itself is told as well.
    let sent = signed(&deployment(group(), 5, &release));
    let refusing = Status {
        refused: vec![RefusedDocument {
            sha256: Digest::of(&sent),
            reason: "not-permitted".to_owned(),
            why: Some("module pump is not permitted to publish to line: alarms/#".to_owned()),
        }],
        ..status("gw-1", 2, 0)
    };
    centre.report(&refusing).await;
    let stopped = centre
        .until(1, |rollout| rollout["state"] == "stopped")
        .await;
    let (offer, said) = (
        &stopped["offers"][0],
        "module pump is not permitted to publish to line: alarms/#",
    );
    assert_eq!(
        (&offer["reason"], &offer["why"]),
        (&json!("not-permitted"), &json!(said))
    );
    let words = format!("gw-1 refuses it: {said} (reason code not-permitted).");
    assert_eq!(centre.why("gw-1").await, words);
    let shown = centre.client.get("/v1/fleet/gw-1").await.json();
    assert_eq!(shown["reported"]["refused"][0]["why"], said);
    assert!(centre.client.get("/fleet").await.text().contains(&words));
    let frozen = Status {
        frozen: Some("no state of the update can be read".to_owned()),
        ..status("gw-0", 2, 0)
    };
    centre.report(&frozen).await;
    let why = centre.why("gw-0").await;
    assert!(
        why.ends_with(" It takes nothing any more: no state of the update can be read."),
        "{why}"
    );
}

#[tokio::test]
async fn a_new_rollout_counts_no_refusal_that_was_reported_before_it_offered_anything() {
    let centre = Centre::start().await;
    centre.fleet(1).await;
    let release = centre.released(1).await;
    let document = deployment(group(), 5, &release);
    let digest = centre.deployed(&document).await;
    let refusing = |counter| Status {
        refused: vec![RefusedDocument {
            sha256: Digest::of(&signed(&document)),
            reason: "not-permitted".to_owned(),
            why: None,
        }],
        ..status("gw-0", counter, 0)
    };
    // Each command takes rollouts on.
    let state = async |number: u64| {
        for command in ["pause", "resume"] {
            let path = format!("/v1/rollouts/{number}/{command}");
            centre.say(&path, &json!({})).await;
        }
        centre.rollout(number).await["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let plan = json!({"deployment": digest, "waves": [{"percent": 100}]});
    centre.say("/v1/rollouts", &plan).await;
    centre.desired("gw-0", "").await;
    centre.report(&refusing(1)).await;
    centre
        .until(1, |rollout| rollout["state"] == "stopped")
        .await;

    // The site's policy is put right, and the same is rolled out again.
    centre.say("/v1/rollouts", &plan).await;
    assert_eq!(state(2).await, "running");
    assert!(
        centre
            .why("gw-0")
            .await
            .contains("refused it before rollout 2 offered it")
    );
    let tag = format!("\"{digest}\"");
    let unchanged = centre.desired("gw-0", &tag).await;
    assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED);
    centre.report(&refusing(2)).await;
    assert_eq!(state(2).await, "running", "it has not looked at it again");

    // The control: it looks at it again, and refuses it again.
    assert_eq!(centre.desired("gw-0", "").await.status, StatusCode::OK);
    assert_eq!(state(2).await, "running", "it has said nothing since");
    centre.report(&refusing(3)).await;
    centre
        .until(2, |rollout| rollout["state"] == "stopped")
        .await;
}

#[tokio::test]
async fn no_tenant_sees_or_moves_anything_of_another() {
    let centre = Centre::start().await;
    centre.fleet(2).await;
    let release = centre.released(1).await;
    let digest = centre.deployed(&deployment(group(), 5, &release)).await;
    centre.say("/v1/rollouts", &plan_of_two(&digest)).await;
    let eve: Caller = centre.person_of("other", "eve", Role::Releaser, None).await;
    for path in [
        format!("/v1/deployments/{digest}"),
        format!("/v1/releases/{release}"),
        "/v1/rollouts/1".to_owned(),
        "/v1/fleet/gw-0".to_owned(),
    ] {
        assert_eq!(eve.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(
            centre.client.get(&path).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    for (path, list) in [
        ("/v1/deployments", "deployments"),
        ("/v1/rollouts", "rollouts"),
        ("/v1/groups", "groups"),
        ("/v1/fleet", "gateways"),
    ] {
        assert_eq!(eve.get(path).await.json()[list], json!([]), "{path}");
    }
    let abort = eve
        .call(Method::POST, "/v1/rollouts/1/abort", PLAIN, Vec::new())
        .await;
    assert_eq!(abort.status, StatusCode::NOT_FOUND);
    let body = plan_of_two(&digest).to_string().into_bytes();
    let start = eve.call(Method::POST, "/v1/rollouts", PLAIN, body).await;
    assert_eq!(start.status, StatusCode::NOT_FOUND);
    assert_eq!(centre.rollout(1).await["state"], "running");
}

fn plan_of_two(deployment: &str) -> Value {
    json!({"deployment": deployment, "waves": [{"count": 1}, {"percent": 100}]})
}
