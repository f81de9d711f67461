//! The audit log: what is in it, and that no row of it can be changed or dropped unnoticed.

use axum::http::Method;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tidegate_cloud::access::Role;
use tidegate_cloud::audit::{Error, Verified, verify};
use tidegate_cloud::store::audit::{Audit, Entry, Event};
use tidegate_cloud::store::{Credentials, Tenant};
use tidegate_wire::WallTime;

use crate::access::signed_in;
use crate::client::Centre;
use crate::import::{hundred, key};
use crate::samples::name;

/// Who, action, object and outcome of all rows, oldest first.
async fn told(centre: &Centre) -> Vec<[String; 4]> {
    let answer = centre.client.get("/v1/audit").await.json();
    let field = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = answer["entries"].as_array().unwrap().iter().rev();
    rows.map(|row| ["who", "action", "object", "outcome"].map(|name| field(row, name)))
        .collect()
}

#[tokio::test]
async fn whatever_changes_something_or_is_refused_is_one_row() {
    let centre = Centre::start().await;
    centre.knows("gw-1", &key(7));
    let body = hundred().remove(0);
    centre.import("gw-1", body.clone()).await;
    centre.import("gw-1", b"nonsense".repeat(20)).await;
    let anna = centre.person("anna", Role::Viewer).await;
    anna.call(Method::POST, "/v1/gateways/gw-1/import", "", body)
        .await;
    let browser = signed_in(&centre, &anna.token).await;
    browser.post("/sign-out", "https://evil.example", "").await;
    browser.post("/sign-out", &browser.here(), "").await;
    centre.client.with_token("tgt_x").get("/metrics").await;
    // Who only reads leaves no row, and who shows nothing neither.
    centre.client.get("/v1/gateways").await;
    centre.client.with_token("").get("/v1/gateways").await;

    let import = "POST /v1/gateways/gw-1/import";
    let expected = [
        ["first", import, "gw-1, 25 rows", "done"],
        ["first", import, "", "bad-signature"],
        ["anna", import, "", "wrong-role"],
        ["anna", "POST /sign-in", "", "done"],
        ["anna", "POST /sign-out", "", "cross-site"],
        ["anna", "POST /sign-out", "", "done"],
        ["", "GET /metrics", "", "bad-token"],
    ];
    assert_eq!(
        told(&centre).await,
        expected.map(|row| row.map(str::to_owned))
    );
    let first = centre.client.get("/v1/audit?limit=1&after=5").await.json();
    assert_eq!(
        (&first["entries"][0]["number"], &first["next"]),
        (&4.into(), &4.into())
    );
    assert_eq!(first["entries"][0]["role"], "viewer");
}

#[tokio::test]
async fn of_many_wrong_tokens_the_log_has_a_burst_and_their_number() {
    let centre = Centre::start().await;
    for _ in 0..30 {
        centre.client.with_token("tgt_x").get("/v1/gateways").await;
    }
    assert_eq!(told(&centre).await.len(), 20);
}

/// A log of six rows.
async fn six() -> Centre {
    let centre = Centre::start().await;
    let tenant = Tenant::default();
    for number in 1..=6 {
        let event = Event::of_nobody("GET /", &number.to_string(), "bad-token");
        centre
            .store
            .note(&tenant, &event, WallTime(number))
            .await
            .unwrap();
    }
    centre
}

async fn tamper(centre: &Centre, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(centre.database());
    let pool = SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    pool.close().await;
}

async fn verified(centre: &Centre, known: Option<&str>) -> Result<Verified, Error> {
    verify(&centre.store, &Tenant::default(), known).await
}

#[tokio::test]
async fn a_row_that_is_changed_dropped_or_put_in_is_found() {
    let whole = verified(&six().await, None).await.unwrap();
    assert_eq!(whole.rows, 6, "the control: untouched it verifies");
    for (statement, fact) in [
        ("UPDATE audit SET object = 'x' WHERE number = 3", "row 3"),
        ("UPDATE audit SET time = time + 1 WHERE number = 1", "row 1"),
        (
            "UPDATE audit SET who = 'anna', role = 'viewer' WHERE number = 6",
            "row 6",
        ),
        (
            "UPDATE audit SET outcome = 'done' WHERE number = 4",
            "row 4",
        ),
        (
            "UPDATE audit SET hash = zeroblob(32) WHERE number = 2",
            "row 2",
        ),
        (
            "UPDATE audit SET tenant = 'other' WHERE number = 5",
            "row 5",
        ),
        ("DELETE FROM audit WHERE number = 1", "row 1"),
        ("DELETE FROM audit WHERE number = 4", "row 4"),
        (
            "DELETE FROM audit WHERE number = 4; UPDATE audit SET number = number - 1 WHERE number > 4",
            "row 4",
        ),
        (
            "INSERT INTO audit SELECT tenant, 7, time, who, role, action, object, outcome, hash FROM audit WHERE number = 6",
            "row 7",
        ),
    ] {
        let centre = six().await;
        tamper(&centre, statement).await;
        let error = verified(&centre, None).await.unwrap_err().to_string();
        assert!(error.starts_with(fact), "{statement}: {error}");
    }
}

#[tokio::test]
async fn an_end_that_is_cut_off_or_written_anew_is_found_by_a_hash_that_was_kept() {
    let centre = six().await;
    let last = verified(&centre, None).await.unwrap().last;
    let event = Event::of_nobody("GET /", "7", "bad-token");
    let tenant = Tenant::default();
    centre
        .store
        .note(&tenant, &event, WallTime(7))
        .await
        .unwrap();
    let more = verified(&centre, Some(&last)).await.unwrap();
    assert_eq!(more.rows, 7, "the control: it is there and others follow");

    tamper(&centre, "DELETE FROM audit WHERE number > 5").await;
    assert_eq!(
        verified(&centre, None).await.unwrap().rows,
        5,
        "nothing to see from within"
    );
    let error = verified(&centre, Some(&last)).await.unwrap_err();
    assert!(matches!(error, Error::CutOff { rows: 5, .. }), "{error}");
    centre
        .store
        .note(&tenant, &event, WallTime(7))
        .await
        .unwrap();
    assert!(verified(&centre, Some(&last)).await.is_err());
}

#[tokio::test]
async fn each_tenant_has_its_own_log() {
    let centre = six().await;
    let other = Tenant::new(&name("other"));
    let event = Event::of_nobody("GET /", "", "done");
    let first: Entry = centre
        .store
        .note(&other, &event, WallTime(1))
        .await
        .unwrap();
    assert_eq!(first.number, 1);
    assert_eq!(verified(&centre, None).await.unwrap().rows, 6);
    let eve = centre.person_of("other", "eve", Role::Operator, None).await;
    let log = eve.get("/v1/audit").await.json();
    assert_eq!(log["entries"].as_array().unwrap().len(), 1);
    assert_eq!(centre.store.tokens(&other).await.unwrap().len(), 1);
}
