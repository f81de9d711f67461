//! The form of documents: every one here is signed by a key that may sign it.

use serde_json::{Value, json};
use tidegate_bundle::{DOCUMENT_BYTES_MAX, RELEASE_TYPE, UnverifiedBundle, VerifiedRoot};

use crate::fixture::{bundle_of, component_name, envelope, fleet, release, release_body};

fn check_body(body: &str, reason: &str) {
    let fleet = fleet();
    let result = fleet.verify(fleet.bundle_of_body(body));
    assert_eq!(
        result.map_or_else(|error| error.reason(), |()| "accepted"),
        reason,
        "{body}"
    );
}

fn check_edit(edit: impl FnOnce(&mut Value), reason: &str) {
    let mut body = serde_json::to_value(release()).unwrap();
    edit(&mut body);
    check_body(&body.to_string(), reason);
}

#[test]
fn a_release_reads_back_as_it_was_written() {
    let fleet = fleet();
    let root = VerifiedRoot::open(&fleet.signed_root()).unwrap();
    let bundle = UnverifiedBundle::open(fleet.bundle())
        .unwrap()
        .verify(&root)
        .unwrap();
    assert_eq!(*bundle.release(), release());
    assert_eq!(
        bundle.digest(),
        tidegate_bundle::Digest::of(release_body().as_bytes())
    );
}

#[test]
fn a_field_that_stands_twice_is_refused_everywhere() {
    let body = release_body();
    let twice = |from: &str, to: &str| check_body(&body.replacen(from, to, 1), "duplicate-field");
    twice(r#""counter":7"#, r#""counter":7,"counter":7"#);
    twice(r#""counter":7"#, r#""counter":7,"count\u0065r":9"#);
    twice(r#""high":"80""#, r#""high":"80","high":"10""#);
    twice(r#""class":"alarm""#, r#""class":"raw","class":"alarm""#);
    twice(r#""counter":7"#, r#""counter":7,"x-note":{"a":1,"a":1}"#);

    let fleet = fleet();
    let genuine = envelope(&fleet.bundle()).to_string();
    let two_payloads = genuine.replacen(r#"{"payload":"#, r#"{"payload":"e30=","payload":"#, 1);
    fleet.check(bundle_of(two_payloads.as_bytes()), "duplicate-field");
}

#[test]
fn an_unknown_field_is_refused_unless_it_is_a_note() {
    check_edit(|body| body["priority"] = json!(1), "unknown-field");
    check_edit(
        |body| body["artifacts"][0]["url"] = json!("http://example.com"),
        "unknown-field",
    );
    check_edit(
        |body| body["artifacts"][0]["target"] = json!("any"),
        "unknown-field",
    );
    check_edit(
        |body| body["capabilities"]["network"] = json!([]),
        "unknown-field",
    );
    check_edit(|body| body["limits"]["cpu"] = json!(1), "unknown-field");
    check_edit(
        |body| body["streams"][0]["x-owner"] = json!(null),
        "accepted",
    );
    check_edit(
        |body| body["x-build"] = json!({"commit": "abc", "dirty": false, "load": 0.5}),
        "accepted",
    );

    let fleet = fleet();
    let genuine = envelope(&fleet.bundle()).to_string();
    let more = genuine.replacen('{', r#"{"alg":"none","#, 1);
    fleet.check(bundle_of(more.as_bytes()), "unknown-field");
}

#[test]
fn a_release_says_what_the_format_wants_and_nothing_else() {
    for field in [
        "module",
        "version",
        "counter",
        "artifacts",
        "capabilities",
        "limits",
        "streams",
        "config",
        "created",
    ] {
        let remove = |body: &mut Value| drop(body.as_object_mut().unwrap().remove(field));
        check_edit(remove, "malformed");
        check_edit(|body| body[field] = json!(null), "malformed");
    }
    for name in [
        "",
        "../alarm",
        "/etc/passwd",
        "a/b",
        "a\0b",
        "Alarm",
        "a_b",
        &"a".repeat(65),
    ] {
        check_edit(|body| body["module"] = json!(name), "malformed");
        check_edit(|body| body["streams"][0]["name"] = json!(name), "malformed");
    }
    check_edit(
        |body| body["world"] = json!("tidegate:module/processor@9.0.0"),
        "unsupported-world",
    );
    check_edit(|body| body["version"] = json!("1.2"), "malformed");
    for counter in [json!(0), json!(-1), json!(1.5), json!("7"), json!(1e30)] {
        check_edit(|body| body["counter"] = counter, "malformed");
    }
    check_edit(|body| body["artifacts"] = json!([]), "malformed");
    check_edit(
        |body| body["artifacts"][0]["kind"] = json!("script"),
        "malformed",
    );
    check_edit(
        |body| body["artifacts"][0]["sha256"] = json!("../../etc/passwd"),
        "malformed",
    );
    let repeat = |list: &mut Value| {
        let first = list[0].clone();
        list.as_array_mut().unwrap().push(first);
    };
    check_edit(|body| repeat(&mut body["artifacts"]), "malformed");
    check_edit(|body| repeat(&mut body["streams"]), "malformed");
    check_edit(
        |body| repeat(&mut body["capabilities"]["publish"]),
        "malformed",
    );
    check_edit(
        |body| body["capabilities"]["publish"] = json!(["alarms/#/x"]),
        "malformed",
    );
    check_edit(
        |body| body["capabilities"]["actuate"] = json!(["valve\u{1b}[2J"]),
        "malformed",
    );
    check_edit(
        |body| body["limits"]["memory_bytes"] = json!(0),
        "malformed",
    );
    check_edit(
        |body| body["streams"][0]["class"] = json!("urgent"),
        "malformed",
    );
    check_edit(|body| body["config"] = json!({"high": 80}), "malformed");
}

#[test]
fn a_document_is_json_to_its_last_byte() {
    for body in ["", "null", "[]", "{", "release", "{\"module\":"] {
        check_body(body, "malformed");
    }
    check_body(&format!("{} {{}}", release_body()), "trailing-data");

    let fleet = fleet();
    let genuine = envelope(&fleet.bundle()).to_string();
    fleet.check(
        bundle_of(format!("{genuine}{{}}").as_bytes()),
        "trailing-data",
    );
    fleet.check(bundle_of(b""), "malformed");
    fleet.check(bundle_of(&[0xff; 40]), "malformed");
}

#[test]
fn a_document_is_bounded_before_it_is_read() {
    let fleet = fleet();
    let genuine = envelope(&fleet.bundle()).to_string();
    let padded = |length: usize| format!("{genuine}{}", " ".repeat(length - genuine.len()));
    fleet.check(bundle_of(padded(DOCUMENT_BYTES_MAX).as_bytes()), "accepted");
    fleet.check(
        bundle_of(padded(DOCUMENT_BYTES_MAX + 1).as_bytes()),
        "too-large",
    );
    // Deep nesting within the bound.
    fleet.check(
        bundle_of("[".repeat(DOCUMENT_BYTES_MAX).as_bytes()),
        "malformed",
    );
    let one = json!({"keyid": "0".repeat(64), "sig": "A".repeat(86) + "=="});
    let many = json!({"payload": "", "payloadType": RELEASE_TYPE, "signatures": vec![one; 17]});
    fleet.check(bundle_of(many.to_string().as_bytes()), "malformed");
    assert_eq!(
        VerifiedRoot::open(&[b' '; DOCUMENT_BYTES_MAX + 1])
            .unwrap_err()
            .reason(),
        "too-large"
    );
}

#[test]
fn a_refusal_shows_nothing_that_could_disturb_a_terminal() {
    let fleet = fleet();
    let body = release_body().replacen('{', "{\"\\u001b[2J\\n\":1,", 1);
    let error = fleet.verify(fleet.bundle_of_body(&body)).unwrap_err();
    assert_eq!(error.reason(), "unknown-field");
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
    let name = component_name().replace("artifacts", "art\u{1b}facts");
    let archive = crate::fixture::archive(&[("release.dsse.json", b"{}"), (&name, b"")]);
    let error = fleet.verify(archive).unwrap_err();
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
}
