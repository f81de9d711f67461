//! The form of deployments, times and reports: every one here is signed by who may sign it.

use serde_json::{Value, json};
use tidegate_bundle::{
    ClockQuality, ConfigValue, Deployment, Digest, Envelope, Facts, InstalledModule, Nonce, Phase,
    RefusedDocument, STATUS_TYPE, SecretRef, SigningKey, Status, StoreEpoch, TIME_TYPE,
    VerifiedStatus, text,
};

use crate::site::{CREATED, MODULE, deployment, downgrade, signed_as, signed_release, site};

/// A deployment with everything in it, changed and signed.
#[track_caller]
fn check(edit: impl FnOnce(&mut Value), reason: &str) {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let mut deployment = deployment(1, &[&release]);
    deployment.downgrades = vec![downgrade("pump", 3)];
    deployment.expires = Some(CREATED + 1);
    let bytes = signed_as(&deployment, &[&site.fleet.deployer], edit);
    if reason == "accepted" {
        site.give(&bytes, &[&release]).unwrap();
    } else {
        site.refuses_bytes(&bytes, &[&release], reason);
    }
}

/// As text, for what no JSON value can be.
#[track_caller]
fn check_text(from: &str, to: &str, reason: &str) {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let body = serde_json::to_string(&deployment(1, &[&release])).unwrap();
    assert!(body.contains(from), "{body}");
    let body = body.replacen(from, to, 1).into_bytes();
    let kind = tidegate_bundle::DEPLOYMENT_TYPE;
    let envelope = Envelope::sign("deployment", kind, body, &[&site.fleet.deployer]).unwrap();
    site.refuses_bytes(&envelope.write().unwrap(), &[&release], reason);
}

#[test]
fn a_deployment_reads_back_as_it_was_written() {
    let site = site();
    let release = signed_release(MODULE, 7);
    let mut all = deployment(1, &[&release]);
    all.downgrades = vec![downgrade("pump", 3)];
    all.expires = Some(CREATED + 1);
    let bytes = site.sign(&all);
    let (read, digest) = Deployment::verify(&bytes, site.trust.root()).unwrap();
    assert_eq!(read, all);
    assert_eq!(digest, Digest::of(&serde_json::to_vec(&all).unwrap()));
}

#[test]
fn a_deployment_has_every_field_once_and_no_other() {
    check(|_| (), "accepted");
    for path in [
        "/fleet_id",
        "/gateway_id",
        "/epoch",
        "/seq",
        "/min_root_version",
        "/modules",
        "/modules/0/name",
        "/modules/0/release",
        "/modules/0/inputs",
        "/modules/0/inputs/0/from",
        "/modules/0/inputs/0/topic",
        "/modules/0/capabilities",
        "/modules/0/capabilities/publish",
        "/modules/0/capabilities/publish/0/to",
        "/modules/0/capabilities/actuate",
        "/modules/0/capabilities/wasi",
        "/modules/0/config",
        "/modules/0/flags",
        "/modules/0/streams",
        "/modules/0/streams/0/name",
        "/modules/0/streams/0/may_leave_site",
        "/rollout",
        "/rollout/check",
        "/rollout/tolerance_ppm",
        "/rollout/shadow_messages",
        "/rollout/cpu_percent_max",
        "/rollout/latency_percent_max",
        "/rollout/probation_minutes",
        "/rollout/attempts",
        "/downgrades",
        "/downgrades/0/module",
        "/downgrades/0/to_counter",
        "/created",
    ] {
        let (object, field) = path.rsplit_once('/').unwrap();
        let fields = |body: &mut Value| body.pointer_mut(object).unwrap().take();
        let edit = |body: &mut Value| {
            let mut object_value = fields(body);
            object_value.as_object_mut().unwrap().remove(field).unwrap();
            *body.pointer_mut(object).unwrap() = object_value;
        };
        check(edit, "malformed");
        check(
            |body| *body.pointer_mut(path).unwrap() = Value::Null,
            "malformed",
        );
    }
    for object in [
        "",
        "/modules/0",
        "/modules/0/inputs/0",
        "/modules/0/streams/0",
        "/rollout",
    ] {
        let place = |body: &mut Value, name: &str| {
            body.pointer_mut(object).unwrap()[name] = json!(1);
        };
        check(|body| place(body, "priority"), "unknown-field");
        check(|body| place(body, "x-ticket"), "accepted");
    }
    check_text("\"seq\":1", "\"seq\":1,\"seq\":2", "duplicate-field");
    check_text("\"seq\":1", "\"seq\":1,\"s\\u0065q\":2", "duplicate-field");
    check_text(
        "\"high\":\"75\"",
        "\"high\":\"75\",\"high\":\"0\"",
        "duplicate-field",
    );
    check_text("\"seq\":1", "\"seq\":1.0", "malformed");
    check_text("\"seq\":1", "\"seq\":18446744073709551616", "malformed");
    check_text("\"seq\":1", "\"seq\":-1", "malformed");
}

#[test]
fn a_deployment_is_for_a_gateway_or_for_a_group() {
    check(|body| body["group_id"] = json!("pumps"), "malformed");
    check(
        |body| {
            body.as_object_mut().unwrap().remove("gateway_id");
            body["group_id"] = json!("pumps");
        },
        "accepted",
    );
}

#[test]
fn numbers_and_names_of_a_deployment_are_bounded() {
    for path in [
        "/epoch",
        "/seq",
        "/min_root_version",
        "/rollout/cpu_percent_max",
    ] {
        check(
            |body| *body.pointer_mut(path).unwrap() = json!(0),
            "malformed",
        );
    }
    for (path, most) in [
        ("/rollout/tolerance_ppm", 1_000_000),
        ("/rollout/shadow_messages", 1_000_000_000),
        ("/rollout/cpu_percent_max", 10_000),
        ("/rollout/latency_percent_max", 10_000),
        ("/rollout/probation_minutes", 525_600),
        ("/rollout/attempts", 100),
    ] {
        check(
            |body| *body.pointer_mut(path).unwrap() = json!(most),
            "accepted",
        );
        check(
            |body| *body.pointer_mut(path).unwrap() = json!(most + 1),
            "malformed",
        );
    }
    check(
        |body| body["rollout"]["check"] = json!("similar"),
        "malformed",
    );
    check(
        |body| body["rollout"]["check"] = json!("equal"),
        "unknown-field",
    );
    check(
        |body| body["rollout"]["shadow_minutes"] = json!(5),
        "malformed",
    );
    for name in ["", "../a", "a/b", "A", "a\u{0}", &"a".repeat(65)] {
        for path in ["/modules/0/name", "/modules/0/inputs/0/from", "/gateway_id"] {
            check(
                |body| *body.pointer_mut(path).unwrap() = json!(name),
                "malformed",
            );
        }
    }
    let repeat = |path: &'static str| {
        move |body: &mut Value| {
            let list = body.pointer_mut(path).unwrap().as_array_mut().unwrap();
            list.push(list[0].clone());
        }
    };
    for path in [
        "/modules",
        "/modules/0/inputs",
        "/modules/0/streams",
        "/modules/0/capabilities/publish",
        "/modules/0/capabilities/actuate",
        "/downgrades",
    ] {
        check(repeat(path), "malformed");
    }
}

#[test]
fn a_secret_is_named_and_never_a_path_or_a_value() {
    let with = |value: Value| {
        move |body: &mut Value| body["modules"][0]["config"]["token"] = value.clone()
    };
    for kind in ["file", "credential", "environment"] {
        check(with(json!({kind: "pump-token"})), "accepted");
        for name in ["../device.key", "/etc/shadow", "PATH", "", "a b"] {
            check(with(json!({kind: name})), "malformed");
        }
    }
    for other in [
        json!({}),
        json!({"value": "hunter2"}),
        json!({"file": "a", "credential": "a"}),
        json!({"file": "a", "x-note": 1}),
        json!({"file": {"file": "a"}}),
        json!(["a"]),
        json!(true),
        json!(1),
    ] {
        check(with(other), "malformed");
    }
    // What only looks like a reference is a text.
    check(with(json!("{\"file\":\"pump-token\"}")), "accepted");
}

#[test]
fn flags_switch_a_module_without_a_new_release() {
    let with = |name: &'static str, value: Value| {
        move |body: &mut Value| body["modules"][0]["flags"][name] = value.clone()
    };
    check(with("verbose", json!(true)), "accepted");
    check(with("mode", json!("slow")), "accepted");
    check(with("mode", json!(3)), "malformed");
    check(with("mode", json!("a\nb")), "malformed");
    check(with("Mode", json!(true)), "malformed");
    check(with("enabled", json!(false)), "accepted");
    check(with("enabled", json!("false")), "malformed");
    check(
        |body| body["modules"][0]["config"]["flag.mode"] = json!("x"),
        "malformed",
    );

    let mut site = site();
    let release = signed_release(MODULE, 7);
    let taken = site.takes(&deployment(1, &[&release]), &[&release]);
    let (module, release) = taken.modules().next().unwrap();
    let text = |text: &str| ConfigValue::Text(text.to_owned());
    let all: Vec<_> = module.configuration(release).into_iter().collect();
    let secret = ConfigValue::Secret(SecretRef::File("pump-token".to_owned()));
    let expected = [
        ("flag.mode".to_owned(), text("fast")),
        ("high".to_owned(), text("75")),
        ("token".to_owned(), secret),
    ];
    assert_eq!(all, expected);
    let mut off = module.clone();
    assert!(off.enabled());
    off.flags
        .insert("enabled".to_owned(), tidegate_bundle::Flag::Switch(false));
    assert!(!off.enabled());
}

#[test]
fn a_time_has_every_field_and_no_other() {
    let check = |edit: &dyn Fn(&mut Value), reason: &str| {
        let mut site = site();
        let nonce = Nonce::generate().unwrap();
        let mut body = serde_json::to_value(site.time(nonce, CREATED)).unwrap();
        edit(&mut body);
        let body = body.to_string().into_bytes();
        let envelope = Envelope::sign("time", TIME_TYPE, body, &[&site.fleet.timekeeper]).unwrap();
        let bytes = envelope.write().unwrap();
        if reason == "accepted" {
            site.trust
                .accept_time(&site.gateway, nonce, &bytes)
                .unwrap();
        } else {
            site.refuses_time(nonce, &bytes, reason);
        }
    };
    check(&|_| (), "accepted");
    for field in [
        "fleet_id",
        "gateway_id",
        "nonce",
        "time",
        "epoch",
        "seq",
        "root_version",
        "valid_for",
    ] {
        let remove = |body: &mut Value| drop(body.as_object_mut().unwrap().remove(field));
        check(&remove, "malformed");
        check(&|body| body[field] = json!(null), "malformed");
    }
    check(&|body| body["zone"] = json!("UTC"), "unknown-field");
    check(&|body| body["nonce"] = json!("00"), "malformed");
}

pub(crate) fn status() -> Status {
    Status {
        fleet_id: "plant-7".to_owned(),
        gateway_id: "gateway-1".to_owned(),
        store_epoch: StoreEpoch {
            ordinal: 3,
            random: u64::MAX,
        },
        counter: 12,
        root_version: 1,
        epoch: 1,
        seq: 5,
        modules: [
            Phase::Shadow,
            Phase::Probation,
            Phase::Confirmed,
            Phase::RolledBack,
            Phase::Off,
        ]
        .map(|phase| InstalledModule {
            name: MODULE.to_owned(),
            release: Digest::of(b"release"),
            version: semver::Version::new(1, 2, 0),
            generation: 4,
            phase,
        })
        .to_vec(),
        refused: vec![RefusedDocument {
            sha256: Digest::of(b"document"),
            reason: "sequence-rollback".to_owned(),
            why: Some("a newer deployment has been accepted".to_owned()),
        }],
        clock: ClockQuality::HeldOver,
        missing_protection: vec!["seccomp: the kernel lacks it".to_owned()],
        confirmed: None,
        facts: None,
        frozen: None,
    }
}

#[test]
fn a_report_is_believed_of_the_device_that_signed_it_and_of_no_other() {
    let (device, other) = (
        SigningKey::from_seed(&[20; 32]),
        SigningKey::from_seed(&[21; 32]),
    );
    let bytes = status().sign(&device).unwrap();
    let reason = |bytes: &[u8], key: &SigningKey| {
        let opened = VerifiedStatus::open(bytes, &key.public_key());
        opened.map_or_else(|error| error.reason(), |_| "accepted")
    };
    let opened = VerifiedStatus::open(&bytes, &device.public_key()).unwrap();
    assert_eq!(*opened.status(), status());
    for clock in [ClockQuality::Unset, ClockQuality::Synced] {
        let told = Status { clock, ..status() };
        let bytes = told.sign(&device).unwrap();
        let opened = VerifiedStatus::open(&bytes, &device.public_key()).unwrap();
        assert_eq!(*opened.status(), told);
    }
    assert_eq!(reason(&bytes, &other), "wrong-key");
    let mut twice = Envelope::read("status", &bytes).unwrap();
    twice.cosign(&device).unwrap();
    assert_eq!(
        reason(&twice.write().unwrap(), &device),
        "duplicate-signature-key"
    );
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert_ne!(reason(&damaged, &device), "accepted", "bit {at}");
    }
}

#[test]
fn a_report_has_every_field_and_no_other() {
    let device = SigningKey::from_seed(&[20; 32]);
    let check = |edit: &dyn Fn(&mut Value), expected: &str| {
        let mut body = serde_json::to_value(status()).unwrap();
        edit(&mut body);
        let body = body.to_string().into_bytes();
        let bytes = Envelope::sign("status", STATUS_TYPE, body, &[&device])
            .unwrap()
            .write()
            .unwrap();
        let opened = VerifiedStatus::open(&bytes, &device.public_key());
        let reason = opened.map_or_else(|error| error.reason(), |_| "accepted");
        assert_eq!(reason, expected);
    };
    check(&|_| (), "accepted");
    let fields: Vec<String> = serde_json::to_value(status())
        .unwrap()
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    for field in &fields {
        let remove = |body: &mut Value| drop(body.as_object_mut().unwrap().remove(field));
        check(&remove, "malformed");
    }
    check(&|body| body["uptime"] = json!(1), "unknown-field");
    check(&|body| body["clock"] = json!("good"), "malformed");
    check(
        &|body| body["modules"][0]["phase"] = json!("done"),
        "malformed",
    );
    check(
        &|body| body["refused"][0]["reason"] = json!("Bad"),
        "malformed",
    );
    check(
        &|body| body["missing_protection"] = json!(["a\u{1b}[2J"]),
        "malformed",
    );
}

#[test]
fn a_sentence_of_a_report_is_one_line_of_at_most_500_bytes_and_any_text_can_be_made_one() {
    let device = SigningKey::from_seed(&[20; 32]);
    let told = |sentence: &str| {
        let mut told = Status {
            frozen: Some(sentence.to_owned()),
            ..status()
        };
        told.refused[0].why = Some(sentence.to_owned());
        told
    };
    let longest = "e".repeat(500);
    let bytes = told(&longest).sign(&device).unwrap();
    assert_eq!(Status::unverified(&bytes).unwrap(), told(&longest));
    for bad in ["", "two\nlines", &"e".repeat(501)] {
        assert_eq!(told(bad).sign(&device).unwrap_err().reason(), "malformed");
        assert!(told(&text::sentence(bad)).sign(&device).is_ok(), "{bad}");
    }
    let cut = text::sentence(&"é".repeat(251));
    assert!(cut.len() <= 500 && cut.ends_with("é…"), "{cut}");
}

#[test]
fn a_report_may_say_what_its_machine_is_and_then_says_all_of_it() {
    let device = SigningKey::from_seed(&[20; 32]);
    let facts = Facts {
        target: "aarch64-unknown-linux-gnu".to_owned(),
        engine: "wasmtime-48".to_owned(),
        compiler: false,
        memory_bytes: 64 << 20,
        field: vec!["plant".to_owned(), "hwmon".to_owned()],
    };
    let told = Status {
        confirmed: Some(Digest::of(b"deployment")),
        facts: Some(facts),
        ..status()
    };
    let bytes = told.sign(&device).unwrap();
    assert_eq!(Status::unverified(&bytes).unwrap(), told);
    let body = serde_json::to_value(&told).unwrap();
    for field in body["facts"].as_object().unwrap().keys() {
        let mut body = body.clone();
        body["facts"].as_object_mut().unwrap().remove(field);
        let body = body.to_string().into_bytes();
        let envelope = Envelope::sign("status", STATUS_TYPE, body, &[&device]).unwrap();
        let refused = Status::unverified(&envelope.write().unwrap());
        assert_eq!(refused.unwrap_err().reason(), "malformed", "{field}");
    }
}

#[test]
fn no_signed_nonsense_ends_in_anything_but_a_reason() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let body = serde_json::to_vec(&deployment(1, &[&release])).unwrap();
    let mut state = 20_261_127_u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(bound).unwrap()).unwrap()
    };
    let signs = b"{}[]\",:0-9e.\\ntu\x00\xff ";
    let before = site.memory();
    for _ in 0..2000 {
        let mut nonsense = body.clone();
        for _ in 0..=random(3) {
            let (at, sign) = (random(nonsense.len()), signs[random(signs.len())]);
            match random(3) {
                0 => nonsense[at] = sign,
                1 => nonsense.insert(at, sign),
                _ => drop(nonsense.splice(at..(at + random(40)).min(nonsense.len()), [])),
            }
        }
        let key = &site.fleet.deployer;
        let kind = tidegate_bundle::DEPLOYMENT_TYPE;
        let bytes = Envelope::sign("deployment", kind, nonsense, &[key])
            .unwrap()
            .write()
            .unwrap();
        match Deployment::verify(&bytes, site.trust.root()) {
            // What can be read can be written, and then reads the same.
            Ok((read, _)) => {
                let again = site.sign(&read);
                assert_eq!(
                    Deployment::verify(&again, site.trust.root()).unwrap().0,
                    read
                );
            }
            Err(_) => assert!(site.give(&bytes, &[&release]).is_err()),
        }
    }
    assert_eq!(site.memory(), before);
}
