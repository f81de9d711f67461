//! T8: documents of other gateways, groups and fleets; the other fleet has the same keys, the worst that can be.

use tidegate_bundle::{Deployment, Gateway, Target, Time, Trust};

use super::Outcome;
use super::fleet::{CREATED, FLEET, deployment, time};
use super::scene::{Gift, Scene};

/// Fleet, gateway and group.
const PLACES: [(&str, &str, Option<&str>); 4] = [
    (FLEET, "gateway-1", Some("pumps")),
    (FLEET, "gateway-2", Some("fans")),
    ("plant-8", "gateway-1", Some("pumps")),
    ("plant-8", "gateway-2", None),
];

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    for here in PLACES {
        settle(scene, here)?;
        for there in PLACES {
            substitute(scene, here, there)?;
        }
        spellings(scene)?;
    }
    Ok(())
}

/// A gateway at this place, which has its root and nothing else.
fn settle(
    scene: &mut Scene,
    (fleet_id, gateway_id, group_id): (&str, &str, Option<&str>),
) -> Outcome {
    let mut root = scene.fleet.root(1);
    root.fleet_id = fleet_id.to_owned();
    scene.begin_anew()?;
    scene.trust = Trust::begin(&scene.fleet.sign_root(&root)?)?;
    scene.gateway = Gateway {
        gateway_id: gateway_id.to_owned(),
        group_id: group_id.map(str::to_owned),
        ..scene.gateway.clone()
    };
    scene.note()
}

fn substitute(
    scene: &mut Scene,
    here: (&str, &str, Option<&str>),
    there: (&str, &str, Option<&str>),
) -> Outcome {
    let (fleet_id, gateway_id, group_id) = there;
    let wrong_fleet = (fleet_id != here.0).then_some("wrong-fleet");
    let wrong_gateway = wrong_fleet.or((gateway_id != here.1).then_some("wrong-gateway"));
    let wrong_group = wrong_fleet.or((group_id != here.2).then_some("wrong-group"));
    let by_id = addressed(scene, fleet_id, Target::GatewayId(gateway_id.to_owned()))?;
    let answer = Time {
        fleet_id: fleet_id.to_owned(),
        gateway_id: gateway_id.to_owned(),
        ..time(scene.question, CREATED, 0)
    };
    let answer = scene.fleet.sign_time(&answer)?;
    let mut gifts = vec![
        (Gift::Next(&by_id), wrong_gateway),
        (Gift::Answer(&answer), wrong_gateway),
    ];
    let by_group = match group_id {
        Some(group) => addressed(scene, fleet_id, Target::GroupId(group.to_owned()))?,
        None => Vec::new(),
    };
    if group_id.is_some() {
        gifts.push((Gift::Next(&by_group), wrong_group));
    }
    for (gift, wrong) in gifts {
        let Some(reason) = wrong else {
            let trust = scene.trust.clone();
            scene.takes(gift)?;
            scene.trust = trust;
            scene.note()?;
            continue;
        };
        scene.refuses(format_args!("{there:?} at {here:?}"), gift, &[reason])?;
    }
    Ok(())
}

fn addressed(scene: &Scene, fleet_id: &str, target: Target) -> Outcome<Vec<u8>> {
    let body = Deployment {
        fleet_id: fleet_id.to_owned(),
        target,
        ..deployment(1, &[&scene.next.1])
    };
    scene.fleet.sign_deployment(&body)
}

/// Ids that are nearly those of the place.
fn spellings(scene: &mut Scene) -> Outcome {
    let fleet_id = scene.trust.root().root().fleet_id.clone();
    let gateway = scene.gateway.clone();
    for id in [
        format!("{}0", gateway.gateway_id),
        "gateway-".to_owned(),
        "gateway".to_owned(),
    ] {
        let bytes = addressed(scene, &fleet_id, Target::GatewayId(id.clone()))?;
        scene.refuses(
            format_args!("gateway {id}"),
            Gift::Next(&bytes),
            &["wrong-gateway"],
        )?;
    }
    // The gateway's id as a group, the group's as a gateway.
    let bytes = addressed(scene, &fleet_id, Target::GroupId(gateway.gateway_id))?;
    scene.refuses(
        format_args!("a group of that name"),
        Gift::Next(&bytes),
        &["wrong-group"],
    )?;
    if let Some(group) = gateway.group_id {
        let bytes = addressed(scene, &fleet_id, Target::GatewayId(group))?;
        scene.refuses(
            format_args!("a gateway of that name"),
            Gift::Next(&bytes),
            &["wrong-gateway"],
        )?;
    }
    Ok(())
}
