//! For whom a document is, and that its parts belong together.

use tidegate_bundle::{
    Deployment, Gateway, Nonce, Now, Target, Trust, UnverifiedBundle, VerifiedRoot, seal,
};

use crate::fixture::{COMPONENT, fleet, release};
use crate::site::{
    CREATED, MODULE, Signed, Site, deployment, edited_release, gateway, signed_release, site,
};

/// Four gateways: two of each of two fleets that have the same keys, so that nothing but the names keeps them apart.
fn gateways() -> Vec<(String, Gateway, Trust)> {
    let fleet = fleet();
    let mut all = Vec::new();
    for name in ["plant-7", "plant-8"] {
        let mut root = fleet.root();
        root.fleet_id = name.to_owned();
        let root = root.sign(&[&fleet.roots[0], &fleet.roots[1]]).unwrap();
        for (id, group) in [("gateway-1", "pumps"), ("gateway-2", "presses")] {
            let here = Gateway {
                gateway_id: id.to_owned(),
                group_id: Some(group.to_owned()),
                ..gateway()
            };
            all.push((name.to_owned(), here, Trust::begin(&root).unwrap()));
        }
    }
    all
}

/// Gives each of four documents to each of four gateways.
fn substitute(
    document: impl Fn(&str, &Gateway) -> Vec<u8>,
    mut give: impl FnMut(&Gateway, &mut Trust, &[u8]) -> Result<(), tidegate_bundle::Error>,
    other: &str,
) {
    let made: Vec<_> = gateways()
        .iter()
        .map(|(fleet, here, _)| document(fleet, here))
        .collect();
    let mut accepted = 0;
    for (row, bytes) in made.iter().enumerate() {
        for (column, (_, here, mut trust)) in gateways().into_iter().enumerate() {
            let before = trust.to_bytes().unwrap();
            let result = give(&here, &mut trust, bytes);
            let reason = result.map_or_else(|error| error.reason(), |()| "accepted");
            let expected = match (row == column, row / 2 == column / 2) {
                (true, _) => "accepted",
                (_, true) => other,
                _ => "wrong-fleet",
            };
            assert_eq!(reason, expected, "document {row} at gateway {column}");
            accepted += usize::from(row == column);
            assert_eq!(row == column, trust.to_bytes().unwrap() != before);
        }
    }
    assert_eq!(accepted, 4);
}

#[test]
fn a_deployment_is_taken_by_its_own_gateway_or_group_and_by_no_other() {
    let signed = signed_release(MODULE, 7);
    let made = |fleet_id: &str, target| {
        let deployment = Deployment {
            fleet_id: fleet_id.to_owned(),
            target,
            ..deployment(1, &[&signed])
        };
        deployment.sign(&[&fleet().deployer]).unwrap()
    };
    let give = |here: &Gateway, trust: &mut Trust, bytes: &[u8]| {
        let taken = trust.accept_deployment(here, Now::Unsynchronised, bytes, &[&signed.bytes]);
        taken.map(drop)
    };
    substitute(
        |fleet, here| made(fleet, Target::GatewayId(here.gateway_id.clone())),
        give,
        "wrong-gateway",
    );
    substitute(
        |fleet, here| made(fleet, Target::GroupId(here.group_id.clone().unwrap())),
        give,
        "wrong-group",
    );
    // A gateway in no group, and a group that has the name of a gateway.
    let mut site = site();
    site.gateway.group_id = None;
    for group in ["pumps", "gateway-1"] {
        let mut deployment = deployment(1, &[&signed]);
        deployment.target = Target::GroupId(group.to_owned());
        site.refuses(&deployment, &[&signed], "wrong-group");
    }
}

#[test]
fn a_time_is_taken_by_the_gateway_that_asked_and_by_no_other() {
    let nonce = Nonce::generate().unwrap();
    substitute(
        |fleet_id, here| {
            let mut time = site().time(nonce, CREATED);
            time.fleet_id = fleet_id.to_owned();
            time.gateway_id.clone_from(&here.gateway_id);
            time.sign(&[&fleet().timekeeper]).unwrap()
        },
        |here, trust, bytes| trust.accept_time(here, nonce, bytes).map(drop),
        "wrong-gateway",
    );
}

/// Three releases, and two deployments that have one of them in common.
fn parts() -> [Signed; 3] {
    [("a", 7), ("b", 3), ("b", 4)].map(|(module, counter)| signed_release(module, counter))
}

#[test]
fn a_deployment_comes_with_exactly_its_own_releases() {
    let mut site = site();
    let [a, b, newer_b] = parts();
    let extra = signed_release("c", 1);
    let both = deployment(1, &[&a, &b]);
    site.refuses(&both, &[], "missing-release");
    site.refuses(&both, &[&a], "missing-release");
    site.refuses(&both, &[&a, &b, &extra], "unexpected-release");
    site.refuses(&both, &[&a, &b, &b], "unexpected-release");
    site.refuses(&both, &[&a, &a], "unexpected-release");
    // The newer release of the same module, genuine as it is, is not the one that was named.
    site.refuses(&both, &[&a, &newer_b], "unexpected-release");
    assert_eq!((site.trust.seq(), site.trust.counter("a")), (0, None));

    site.takes(&both, &[&b, &a]);
    // Parts of two genuine deployments, crossed.
    let next = deployment(2, &[&a, &newer_b]);
    site.refuses(&next, &[&a, &b], "unexpected-release");
    site.refuses(&next, &[&newer_b], "missing-release");
    assert_eq!(site.trust.counter("b"), Some(3));
    site.takes(&next, &[&a, &newer_b]);
}

#[test]
fn one_release_may_be_there_twice_and_two_of_one_module_not() {
    let mut site = site();
    let [a, b, newer_b] = parts();
    let mixed = deployment(1, &[&a, &b, &newer_b]);
    site.refuses(&mixed, &[&a, &b, &newer_b], "conflicting-releases");
    let twice = deployment(1, &[&a, &a]);
    site.takes(&twice, &[&a]);
}

#[test]
fn an_empty_deployment_takes_everything_away_and_forgets_nothing() {
    let mut site = site();
    let [a, b, _] = parts();
    site.takes(&deployment(1, &[&a, &b]), &[&a, &b]);
    site.takes(&deployment(2, &[]), &[]);
    assert_eq!(site.trust.counter("a"), Some(7));
    let older = signed_release("a", 6);
    site.refuses(&deployment(3, &[&older]), &[&older], "release-rollback");
}

#[test]
fn nothing_is_granted_that_the_release_does_not_ask_for() {
    let mut site = site();
    let signed = signed_release(MODULE, 7);
    let edited = |edit: &dyn Fn(&mut tidegate_bundle::Grants)| {
        let mut deployment = deployment(1, &[&signed]);
        edit(&mut deployment.modules[0].grants);
        deployment
    };
    for topic in ["#", "+/pump", "valves/pump", "$SYS/alarms"] {
        let wide = edited(&|grants| grants.publish[0].topic = topic.to_owned());
        site.refuses(&wide, &[&signed], "not-asked");
    }
    let point = edited(&|grants| grants.actuate.push("valve-2".to_owned()));
    site.refuses(&point, &[&signed], "not-asked");
    let import = edited(&|grants| grants.wasi.push("wasi:sockets/tcp@0.2.0".to_owned()));
    site.refuses(&import, &[&signed], "not-asked");
    let asking = edited_release(MODULE, 7, |release| {
        release.capabilities.wasi = vec!["wasi:sockets/tcp@0.2.0".to_owned()];
    });
    let mut granted = import.clone();
    granted.modules[0].release = asking.digest;
    site.takes(&granted, &[&asking]);
}

#[test]
fn residency_is_of_streams_that_there_are() {
    let mut site = site();
    let signed = signed_release(MODULE, 7);
    let mut wrong = deployment(1, &[&signed]);
    wrong.modules[0].streams[0].name = "alarm".to_owned();
    site.refuses(&wrong, &[&signed], "unknown-stream");
    let taken = site.takes(&deployment(1, &[&signed]), &[&signed]);
    let module = &taken.deployment().modules[0];
    assert_eq!(module.residency("alarms").region.as_deref(), Some("eu"));
    assert!(module.residency("other").may_leave_site);
}

#[test]
fn a_bundle_opens_as_one_of_a_deployment_and_of_no_other() {
    let Site { mut trust, .. } = site();
    let root = VerifiedRoot::open(&fleet().signed_root()).unwrap();
    let bundle = fleet().bundle();
    let opened = |bytes: &[u8]| UnverifiedBundle::open(bytes.to_vec()).unwrap();
    let verified = opened(&bundle).verify(&root).unwrap();
    let signed = Signed {
        bytes: verified.document().to_vec(),
        digest: verified.digest(),
    };
    let mut plain = deployment(1, &[&signed]);
    plain.modules[0].grants.actuate.clear();
    let bytes = plain.sign(&[&fleet().deployer]).unwrap();
    let taken = trust
        .accept_deployment(&gateway(), Now::Unsynchronised, &bytes, &[&signed.bytes])
        .unwrap();
    let again = opened(&bundle).verify_deployed(&taken).unwrap();
    assert_eq!(again.component(), COMPONENT);

    let mut other = release();
    other.counter += 1;
    let other = seal(&other, &[COMPONENT], &[&fleet().publishers[0]]).unwrap();
    let error = opened(&other).verify_deployed(&taken).unwrap_err();
    assert_eq!(error.reason(), "unexpected-release");
}
