//! T5: newer documents are kept from the gateway. Nothing can force them through; but no old or foreign answer passes for a
//! new one, and the gateway can tell that it was left alone.

use tidegate_bundle::{Freshness, Now, SigningKey, Time};

use super::Outcome;
use super::fleet::{CREATED, nonce, time};
use super::scene::{Gift, SEQ, Scene};

const DAY: u64 = 86_400;

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    old_answers(scene)?;
    foreign_answers(scene)?;
    forged_answers(scene)?;
    left_alone(scene)
}

/// Answers to other questions, of eight days.
fn old_answers(scene: &mut Scene) -> Outcome {
    for hour in 0..8 * 24 {
        let asked = nonce(1000 + hour)?;
        let answer = scene
            .fleet
            .sign_time(&time(asked, CREATED + hour * 3600, SEQ))?;
        let what = format_args!("the answer of hour {hour}");
        scene.refuses(what, Gift::Answer(&answer), &["wrong-nonce"])?;
    }
    Ok(())
}

fn foreign_answers(scene: &mut Scene) -> Outcome {
    let genuine = time(scene.question, CREATED + DAY, SEQ);
    let other = |gateway_id: &str| Time {
        gateway_id: gateway_id.to_owned(),
        ..genuine.clone()
    };
    let fleet = |fleet_id: &str| Time {
        fleet_id: fleet_id.to_owned(),
        ..genuine.clone()
    };
    for (answer, reason) in [
        (other("gateway-2"), "wrong-gateway"),
        (other("gateway-10"), "wrong-gateway"),
        (other("pumps"), "wrong-gateway"),
        (fleet("plant-8"), "wrong-fleet"),
        (fleet("plant-70"), "wrong-fleet"),
    ] {
        let bytes = scene.fleet.sign_time(&answer)?;
        scene.refuses(format_args!("{answer:?}"), Gift::Answer(&bytes), &[reason])?;
    }
    Ok(())
}

/// "Nothing is newer", by who may not say so.
fn forged_answers(scene: &mut Scene) -> Outcome {
    let fleet = super::fleet::fleet();
    let several = [&fleet.roots, &fleet.publishers, &fleet.deployers];
    let keys: Vec<&SigningKey> = several
        .into_iter()
        .flatten()
        .chain([&fleet.device, &fleet.stranger])
        .collect();
    for (index, key) in keys.into_iter().enumerate() {
        let bytes = time(scene.question, CREATED + DAY, SEQ).sign(&[key])?;
        scene.refuses(
            format_args!("by key {index}"),
            Gift::Answer(&bytes),
            &["wrong-key"],
        )?;
    }
    Ok(())
}

/// No answer for eight days; then one that names what was kept back. Neither stops what runs.
fn left_alone(scene: &mut Scene) -> Outcome {
    let days = |scene: &Scene, days: u64| {
        let now = Now::Synchronised(CREATED + days * DAY);
        scene.trust.freshness(&scene.gateway, now)
    };
    let overdue = |freshness| matches!(freshness, Freshness::Confirmed { overdue: true, .. });
    let (fresh, late) = (days(scene, 0), days(scene, 8));
    scene.holds("it is not overdue at first", !overdue(fresh));
    scene.holds(
        "after eight days without an answer it is overdue",
        overdue(late),
    );
    let newer = time(scene.question, CREATED + 8 * DAY, SEQ + 3);
    let bytes = scene.fleet.sign_time(&newer)?;
    scene.takes(Gift::Answer(&bytes))?;
    let after = days(scene, 8);
    scene.holds(
        "an answer that names a newer deployment confirms nothing",
        overdue(after),
    );
    // Without any clock the answer itself has moved the floor.
    let unset = scene.trust.freshness(&scene.gateway, Now::Unsynchronised);
    scene.holds("without a clock it is overdue all the same", overdue(unset));
    Ok(())
}
