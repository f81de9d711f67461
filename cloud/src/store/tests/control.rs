//! Roots, deployments, labels, reports and rollouts.

use std::collections::BTreeMap;

use tidegate_bundle::{ClockQuality, Digest, Status, StoreEpoch, Target};

use super::*;
use crate::audit::verify;
use crate::rollout::{Command, Plan, Rollout};
use crate::store::audit::Event;
use crate::store::deployments::{KeptDeployment, PutDeployment, Sequence};
use crate::store::fleet::{LABELS_MAX, Report};
use crate::store::rollouts::NewRollout;

fn event() -> Event {
    Event::of_nobody("POST /v1/something", "", "done")
}

fn deployment(target: Target, seq: u64) -> KeptDeployment {
    KeptDeployment {
        at: Sequence { epoch: 1, seq },
        digest: Digest::of(&seq.to_be_bytes()),
        target,
        document: seq.to_be_bytes().to_vec(),
        received: WallTime(seq),
        by: "anna".into(),
    }
}

fn gateway(name: &str) -> Target {
    Target::GatewayId(name.into())
}

pub(super) async fn of_a_target_the_number_only_grows_and_a_number_is_given_once(
    place: &impl Place,
) {
    let store = place.open().await;
    let tenant = Tenant::default();
    let put = async |target: Target, seq| {
        let kept = deployment(target, seq);
        store
            .put_deployment(&tenant, &kept, &event())
            .await
            .unwrap()
    };
    let group = Target::GroupId("gw-1".into());
    assert_eq!(put(gateway("gw-1"), 5).await, PutDeployment::Kept);
    assert_eq!(put(gateway("gw-1"), 5).await, PutDeployment::Known);
    let newest = Sequence { epoch: 1, seq: 5 };
    assert_eq!(put(gateway("gw-1"), 4).await, PutDeployment::Stale(newest));
    // A group of the same name is another target.
    assert_eq!(put(group.clone(), 3).await, PutDeployment::Kept);
    let other = KeptDeployment {
        digest: Digest::of(b"other"),
        ..deployment(group, 5)
    };
    let reused = store.put_deployment(&tenant, &other, &event()).await;
    assert_eq!(reused.unwrap(), PutDeployment::Reused);
    assert_eq!(put(gateway("gw-1"), 6).await, PutDeployment::Kept);
    assert_eq!(put(gateway("gw-2"), 2).await, PutDeployment::Kept);
    store.close().await;

    let store = place.open().await;
    let own = store.own_deployments(&tenant).await.unwrap();
    let mut own: Vec<_> = own.iter().map(|kept| kept.at.seq).collect();
    own.sort_unstable();
    assert_eq!(own, [2, 6]);
    let page = store.deployments(&tenant, None, 2).await.unwrap();
    let seqs: Vec<_> = page.items.iter().map(|kept| kept.at.seq).collect();
    assert_eq!((seqs, page.more), (vec![6, 5], true));
    let after = Some(Sequence { epoch: 1, seq: 5 });
    let rest = store.deployments(&tenant, after, 10).await.unwrap();
    assert_eq!(rest.items.len(), 2);
    let found = store.deployment(&tenant, rest.items[0].digest).await;
    assert_eq!(found.unwrap().as_ref(), Some(&rest.items[0]));
    let other = Tenant::new(&name("other"));
    assert_eq!(store.deployments(&other, None, 9).await.unwrap().items, []);
    // What changed nothing is in no row.
    assert_eq!(verify(&store, &tenant, None).await.unwrap().rows, 4);
}

pub(super) async fn labels_are_set_taken_away_and_bounded(place: &impl Place) {
    let store = place.open().await;
    let set = async |changes: &[(&str, Option<&str>)]| {
        let change =
            |(label, value): &(&str, Option<&str>)| (name(label), value.map(str::to_owned));
        let changes: BTreeMap<_, _> = changes.iter().map(change).collect();
        store
            .set_labels(&id("gw-1"), &changes, &event(), WallTime(1))
            .await
            .unwrap()
    };
    set(&[("site", Some("north")), ("kind", Some("pump"))]).await;
    let left = set(&[("site", Some("south")), ("kind", None), ("x", None)]).await;
    let south: BTreeMap<_, _> = [(name("site"), "south".to_owned())].into();
    assert_eq!(left, Some(south.clone()));
    let many: Vec<_> = (0..LABELS_MAX)
        .map(|number| format!("l-{number}"))
        .collect();
    let many: Vec<_> = many
        .iter()
        .map(|label| (label.as_str(), Some("x")))
        .collect();
    assert_eq!(set(&many).await, None);
    let known = store.known(&id("gw-1")).await.unwrap().unwrap();
    assert_eq!((&known.labels, known.seen), (&south, None));
    let tenant = Tenant::default();
    let (group, event) = (name("south"), event());
    let put = store.put_group(&tenant, &group, &south, &event, WallTime(1));
    assert!(put.await.unwrap());
    let groups = store.groups(&tenant).await.unwrap();
    assert!(known.is_in(&groups[&name("south")]));
}

fn report(ordinal: u64, counter: u64) -> Report {
    let status = Status {
        fleet_id: "plant".into(),
        gateway_id: "gw-1".into(),
        store_epoch: StoreEpoch { ordinal, random: 1 },
        counter,
        root_version: 1,
        epoch: 1,
        seq: 0,
        modules: Vec::new(),
        refused: Vec::new(),
        clock: ClockQuality::Unset,
        missing_protection: Vec::new(),
        confirmed: None,
        facts: None,
        frozen: None,
    };
    let device = tidegate_bundle::SigningKey::from_seed(&[9; 32]);
    Report {
        document: status.sign(&device).unwrap(),
        status,
        received: WallTime(counter),
    }
}

pub(super) async fn only_a_newer_report_takes_the_place_of_one(place: &impl Place) {
    let store = place.open().await;
    for (ordinal, counter, new) in [
        (2, 5, true),
        (2, 5, false),
        (2, 4, false),
        (1, 9, false),
        (2, 6, true),
        (3, 1, true),
        (2, 7, false),
    ] {
        let sent = report(ordinal, counter);
        let put = store.put_report(&id("gw-1"), &sent).await.unwrap();
        assert_eq!(put, new, "{ordinal} {counter}");
    }
    let known = store.known(&id("gw-1")).await.unwrap().unwrap();
    assert_eq!(known.report, Some(report(3, 1)));
    assert_eq!(known.seen, Some(WallTime(1)));
    assert!(store.known(&id("gw-2")).await.unwrap().is_none());
}

fn rollout() -> NewRollout {
    let digest = Digest::of(b"new");
    let plan = format!(r#"{{"deployment":"{digest}","waves":[{{"percent":100}}]}}"#);
    let plan: Plan = serde_json::from_str(&plan).unwrap();
    NewRollout {
        group: name("pumps"),
        rollout: Rollout::new(plan),
        started: WallTime(7),
        by: "anna".into(),
    }
}

pub(super) async fn a_group_has_one_rollout_at_a_time_and_of_two_writers_one_notices(
    place: &impl Place,
) {
    let store = place.open().await;
    let tenant = Tenant::default();
    let start = async || {
        let (new, event) = (rollout(), event());
        let start = store.start_rollout(&tenant, &new, &event);
        start.await.unwrap()
    };
    assert_eq!(start().await, Some(1));
    assert_eq!(start().await, None);
    let mut kept = store.rollout(&tenant, 1).await.unwrap().unwrap();
    assert_eq!(kept.of, rollout());
    kept.of.rollout.command(Command::Abort);
    let save = async || {
        let event = event();
        let save = store.save_rollout(&tenant, &kept, Some(&event), WallTime(8));
        save.await.unwrap()
    };
    assert!(save().await);
    assert!(!save().await, "it has another revision now");
    assert!(store.active_rollouts().await.unwrap().is_empty());
    assert_eq!(start().await, Some(2));
    store.close().await;

    let store = place.open().await;
    let listed = store.rollouts(&tenant, 9).await.unwrap();
    let numbers: Vec<_> = listed.iter().map(|kept| kept.number).collect();
    assert_eq!(numbers, [2, 1]);
    let of_group = store.rollouts_of(&tenant, &name("pumps")).await.unwrap();
    assert_eq!(of_group, listed);
    let active = store.active_rollouts().await.unwrap();
    assert_eq!(active, [(tenant.clone(), listed[0].clone())]);
    assert!(
        store
            .rollouts_of(&tenant, &name("fans"))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(verify(&store, &tenant, None).await.unwrap().rows, 3);
}
