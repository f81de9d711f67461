//! The vectors of docs/formats/vectors/documents.json, made anew. Ed25519 and the order of the fields leave no freedom, so
//! another implementation must arrive at the same bytes, and at the same answer in each case.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tidegate_bundle::{
    Deployment, Envelope, JUMP_MAX, Nonce, Now, Root, SigningKey, Target, Trust, VerifiedStatus,
};

use crate::fixture::Fleet;
use crate::forms::status;
use crate::site::{
    CREATED, MODULE, Signed, Site, deployment, downgrade, signed_as, signed_release, site,
};

const FILE: &str = include_str!("../../../../docs/formats/vectors/documents.json");
const DEVICE: [u8; 32] = [20; 32];
/// How far the gateway of the vectors has come.
const SEQ: u64 = 5;
const COUNTER: u64 = 7;

fn object(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn nonce() -> Nonce {
    Nonce::parse(&"5a".repeat(32)).unwrap()
}

/// A gateway that has taken one deployment.
fn begun() -> Site {
    let mut site = site();
    let release = signed_release(MODULE, COUNTER);
    site.takes(&deployment(SEQ, &[&release]), &[&release]);
    site
}

fn releases() -> [(&'static str, Signed); 3] {
    [
        ("threshold-alarm-6", signed_release(MODULE, 6)),
        ("threshold-alarm-7", signed_release(MODULE, COUNTER)),
        ("pump-1", signed_release("pump", 1)),
    ]
}

/// What is wrong with a deployment that is otherwise the next one, and what is said to it.
type Edit = (&'static str, fn(&mut Deployment), &'static str);

const EDITS: &[Edit] = &[
    ("the next", |_| (), "accepted"),
    ("the same again", |next| next.seq = SEQ, "accepted"),
    ("older", |next| next.seq = SEQ - 1, "sequence-rollback"),
    (
        "another under the same number",
        |next| {
            next.seq = SEQ;
            next.created += 1;
        },
        "sequence-reused",
    ),
    (
        "the largest jump",
        |next| next.seq = SEQ + JUMP_MAX,
        "accepted",
    ),
    (
        "a larger jump",
        |next| next.seq = SEQ + JUMP_MAX + 1,
        "sequence-jump",
    ),
    (
        "an epoch of no root",
        |next| next.epoch = 2,
        "unknown-epoch",
    ),
    (
        "another fleet",
        |next| next.fleet_id = "plant-8".to_owned(),
        "wrong-fleet",
    ),
    (
        "another gateway",
        |next| next.target = Target::GatewayId("gateway-2".to_owned()),
        "wrong-gateway",
    ),
    (
        "the gateway's group",
        |next| next.target = Target::GroupId("pumps".to_owned()),
        "accepted",
    ),
    (
        "another group",
        |next| next.target = Target::GroupId("presses".to_owned()),
        "wrong-group",
    ),
    (
        "a root that is missing",
        |next| next.min_root_version = 2,
        "root-too-old",
    ),
    (
        "a topic that is not asked for",
        |next| next.modules[0].grants.publish[0].topic = "#".to_owned(),
        "not-asked",
    ),
    (
        "a stream that is not there",
        |next| next.modules[0].streams[0].name = "other".to_owned(),
        "unknown-stream",
    ),
];

fn case(name: &str, document: &[u8], releases: &[&str], expect: &str) -> Value {
    json!({
        "name": name,
        "give": "deployment",
        "document": object(document),
        "releases": releases,
        "expect": expect,
    })
}

fn deployments(site: &Site) -> Vec<Value> {
    let [(old_name, old), (name, release), _] = &releases();
    let next = deployment(SEQ + 1, &[release]);
    let mut cases = Vec::new();
    for (what, edit, expect) in EDITS {
        let mut edited = next.clone();
        edit(&mut edited);
        cases.push(case(what, &site.sign(&edited), &[name], expect));
    }
    let bytes = site.sign(&next);
    cases.push(case("no release", &bytes, &[], "missing-release"));
    let surplus = case(
        "one too many",
        &bytes,
        &[name, "pump-1"],
        "unexpected-release",
    );
    cases.push(surplus);
    let mut expired = next.clone();
    expired.expires = Some(CREATED + 1);
    let expired = site.sign(&expired);
    cases.push(case(
        "expired, without a clock",
        &expired,
        &[name],
        "accepted",
    ));
    let mut by_clock = case("expired, by a clock", &expired, &[name], "expired");
    by_clock["now"] = (CREATED + 1).into();
    cases.push(by_clock);
    cases.extend(downgrades(&site.fleet, old_name, old));
    cases.extend(envelopes(&site.fleet, &next, name));
    cases
}

fn downgrades(fleet: &Fleet, name: &str, old: &Signed) -> Vec<Value> {
    let mut back = deployment(SEQ + 1, &[old]);
    let deployer = &fleet.deployer;
    let plain = signed_as(&back, &[deployer], |_| ());
    back.downgrades = vec![downgrade(MODULE, 6)];
    let alone = signed_as(&back, &[deployer], |_| ());
    let both = signed_as(&back, &[deployer, &fleet.publishers[0]], |_| ());
    vec![
        case("an older release", &plain, &[name], "release-rollback"),
        case("leave by one role", &alone, &[name], "downgrade-not-signed"),
        case("leave by both roles", &both, &[name], "accepted"),
    ]
}

fn envelopes(fleet: &Fleet, next: &Deployment, name: &str) -> Vec<Value> {
    let by = |keys: &[&SigningKey]| signed_as(next, keys, |_| ());
    let deployer = &fleet.deployer;
    let body = serde_json::to_string(next).unwrap();
    let of_body = |body: String| {
        let kind = tidegate_bundle::DEPLOYMENT_TYPE;
        let envelope = Envelope::sign("deployment", kind, body.into_bytes(), &[deployer]).unwrap();
        envelope.write().unwrap()
    };
    let twice = body.replacen("\"seq\":6", "\"seq\":6,\"s\\u0065q\":7", 1);
    let unknown = body.replacen('{', "{\"priority\":1,", 1);
    let mut forged = object(&by(&[deployer]));
    forged["signatures"][0]["sig"] = BASE64.encode([0; 64]).into();
    let forged = forged.to_string().into_bytes();
    let rows = [
        ("unsigned", by(&[]), "unsigned"),
        ("another role", by(&[&fleet.publishers[0]]), "wrong-key"),
        (
            "one key twice",
            by(&[deployer, deployer]),
            "duplicate-signature-key",
        ),
        (
            "a stranger as well",
            by(&[&fleet.stranger, deployer]),
            "accepted",
        ),
        ("a forged signature", forged, "bad-signature"),
        ("a root", fleet.signed_root(), "wrong-type"),
        ("a field twice", of_body(twice), "duplicate-field"),
        ("an unknown field", of_body(unknown), "unknown-field"),
        (
            "a second value",
            of_body(format!("{body} {{}}")),
            "trailing-data",
        ),
    ];
    let row = |(what, bytes, expect): (&str, Vec<u8>, &str)| case(what, &bytes, &[name], expect);
    rows.into_iter().map(row).collect()
}

fn roots(fleet: &Fleet) -> Vec<Value> {
    let fresh = SigningKey::from_seed(&[11; 32]);
    let id = fresh.public_key().id();
    let mut next: Root = fleet.root();
    next.version = 2;
    next.keys.insert(id, fresh.public_key());
    next.roles.root.key_ids[1] = id;
    let [first, second] = &fleet.roots;
    let mut skipped = next.clone();
    skipped.version = 3;
    let mut leap = next.clone();
    leap.epoch = 3;
    let by_all = |root: &Root| root.sign(&[first, second, &fresh]).unwrap();
    let rows = [
        ("by both sides", by_all(&next), "accepted"),
        (
            "by the new side",
            next.sign(&[first, &fresh]).unwrap(),
            "threshold",
        ),
        ("a version left out", by_all(&skipped), "root-version"),
        ("two epochs on", by_all(&leap), "root-epoch"),
        ("the one that it has", fleet.signed_root(), "root-version"),
    ];
    let row = |(name, bytes, expect): (&str, Vec<u8>, &str)| json!({"name": name, "give": "root", "document": object(&bytes), "expect": expect});
    rows.into_iter().map(row).collect()
}

fn times(site: &Site) -> Vec<Value> {
    let genuine = site.time(nonce(), CREATED).sign(&[&site.fleet.timekeeper]);
    let genuine = object(&genuine.unwrap());
    let row = |name: &str, nonce: String, expect: &str| json!({"name": name, "give": "time", "document": genuine, "nonce": nonce, "expect": expect});
    vec![
        row("the answer", nonce().to_string(), "accepted"),
        row("the answer to another", "00".repeat(32), "wrong-nonce"),
    ]
}

fn made() -> Value {
    let site = begun();
    let signed = releases();
    let by_name = signed
        .iter()
        .map(|(name, release)| ((*name).to_owned(), object(&release.bytes)));
    let [_, (_, first), _] = &signed;
    let deployed = site.sign(&deployment(SEQ, &[first]));
    let status = status().sign(&SigningKey::from_seed(&DEVICE)).unwrap();
    let mut cases = roots(&site.fleet);
    cases.extend(deployments(&site));
    cases.extend(times(&site));
    json!({
        "root": object(&site.fleet.signed_root()),
        "releases": by_name.collect::<serde_json::Map<_, _>>(),
        "deployment": object(&deployed),
        "memory": String::from_utf8(site.memory()).unwrap(),
        "status": object(&status),
        "cases": cases,
    })
}

#[test]
fn the_vectors_of_the_documents_are_what_this_code_writes() {
    let made = made();
    if serde_json::from_str::<Value>(FILE).ok().as_ref() == Some(&made) {
        return;
    }
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/documents.json");
    let text = serde_json::to_string_pretty(&made).unwrap();
    std::fs::write(path, format!("{text}\n")).unwrap();
    panic!("docs/formats/vectors/documents.json is not what this code writes: {path} is");
}

/// Runs one case at a gateway that remembers what the vectors say.
fn answer(vectors: &Value, case: &Value) -> (&'static str, bool) {
    let mut site = site();
    let memory = vectors["memory"].as_str().unwrap();
    site.trust = Trust::from_bytes(memory.as_bytes()).unwrap();
    let document = case["document"].to_string().into_bytes();
    let result = match case["give"].as_str().unwrap() {
        "root" => site.trust.accept_root(&document),
        "time" => {
            let nonce = Nonce::parse(case["nonce"].as_str().unwrap()).unwrap();
            let taken = site.trust.accept_time(&site.gateway, nonce, &document);
            taken.map(drop)
        }
        _ => {
            let now = case.get("now").and_then(Value::as_u64);
            site.now = now.map_or(Now::Unsynchronised, Now::Synchronised);
            let names = case["releases"].as_array().unwrap().iter();
            let releases: Vec<_> = names
                .map(|name| vectors["releases"][name.as_str().unwrap()].to_string())
                .collect();
            let releases: Vec<_> = releases.iter().map(String::as_bytes).collect();
            let taken = site
                .trust
                .accept_deployment(&site.gateway, site.now, &document, &releases);
            taken.map(drop)
        }
    };
    let reason = result.map_or_else(|error| error.reason(), |()| "accepted");
    (reason, site.memory() == memory.as_bytes())
}

#[test]
fn each_case_of_the_vectors_gets_the_answer_that_stands_there() {
    let vectors: Value = serde_json::from_str(FILE).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let (reason, unchanged) = answer(&vectors, case);
        assert_eq!(reason, case["expect"], "{}", case["name"]);
        assert!(unchanged || reason == "accepted", "{}", case["name"]);
    }
    let device = SigningKey::from_seed(&DEVICE).public_key();
    let report = vectors["status"].to_string().into_bytes();
    let opened = VerifiedStatus::open(&report, &device).unwrap();
    assert_eq!(*opened.status(), status());
}
