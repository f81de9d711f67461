//! T20: the disk of a gateway that was revoked, or that another machine has replaced, or whose key another has followed.

use super::Outcome;
use super::centre::Scene;
use super::device::{Device, Sent, epoch, post};

pub(crate) async fn run(scene: &mut Scene) -> Outcome {
    let centre = scene.honest.centre.clone();
    for (number, how) in ["revoked", "replaced", "followed"].into_iter().enumerate() {
        let seed = 20 + u64::try_from(number)? * 2;
        // Each time another machine is gw-2.
        let token = scene.token("default", Some("gw-2")).await?;
        let stolen = Device::new(seed, "gw-2", &centre);
        scene.must(&stolen.enrol(&token)?).await?;
        scene.must(&stolen.sync(epoch(1, 2), 1, 5)?).await?;
        let captured = stolen.sync(epoch(1, 2), 2, 5)?;
        let again = scene.token("default", Some("gw-2")).await?;
        end(scene, &stolen, how, seed + 1).await?;
        for (what, sent) in spoils(&stolen, &token, &again)? {
            let what = format!("{what} of a machine that was {how}");
            scene.attempt(&what, &sent, "revoked").await?;
        }
        scene
            .attempt(&format!("captured, {how}"), &captured, "revoked")
            .await?;
        scene.go_on().await?;
    }
    Ok(())
}

/// Makes the key of a machine one that is worth nothing.
async fn end(scene: &Scene, stolen: &Device, how: &str, seed: u64) -> Outcome {
    match how {
        "revoked" => {
            let revoke = post("/v1/gateways/gw-2/revoke", &serde_json::Value::Null);
            let answer = scene.operate(&revoke).await?;
            match answer.status {
                204 => {}
                _ => return Err(format!("not revoked: {answer:?}").into()),
            }
        }
        "replaced" => {
            let token = scene.token("default", Some("gw-2")).await?;
            let other = Device::new(seed, "gw-2", &stolen.centre);
            scene.must(&other.enrol(&token)?).await?;
        }
        _ => {
            scene.must(&stolen.follow(seed)?).await?;
            let next = Device::new(seed, "gw-2", &stolen.centre);
            scene.must(&next.sync(epoch(1, 2), 3, 6)?).await?;
        }
    }
    Ok(())
}

/// What its key can be used for: rows, status, another key, and to be enrolled again with a token that is good.
fn spoils(stolen: &Device, used: &str, good: &str) -> Outcome<Vec<(String, Sent)>> {
    let mut spoils = Vec::new();
    for ordinal in 1..=5 {
        for count in [1, 2, 3, 1000, u64::MAX] {
            let what = format!("request {count} of opening {ordinal}");
            spoils.push((what, stolen.sync(epoch(ordinal, 2), count, 9)?));
        }
    }
    for seed in [90, 91] {
        spoils.push(("a change of key".to_owned(), stolen.follow(seed)?));
    }
    spoils.push(("its old token".to_owned(), stolen.enrol(used)?));
    spoils.push(("a new token".to_owned(), stolen.enrol(good)?));
    Ok(spoils)
}
