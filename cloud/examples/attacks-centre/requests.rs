//! T22: requests that were forged, exchanged in parts, sent as another gateway or tenant, captured and sent again.

use super::Outcome;
use super::centre::Scene;
use super::cloned::next;
use super::device::{Device, Sent, body, epoch, post};

/// Requests that were captured.
const CAPTURED: u64 = 200;

/// Random changes that are worth one replay: after each, all that the centre holds is read.
const CHANGES_A_REPLAY: u64 = 10;

/// One part of a request is another's: every part, with every other.
pub(crate) async fn exchanged(scene: &mut Scene) -> Outcome {
    let centre = scene.honest.centre.clone();
    let others = [
        (
            "another tenant's gw-1",
            Device::new(8, "gw-1", &centre),
            "other",
        ),
        ("gw-2", Device::new(9, "gw-2", &centre), "default"),
    ];
    for (_, other, of) in &others {
        let token = scene.token(of, Some(&other.gateway)).await?;
        scene.must(&other.enrol(&token)?).await?;
        scene.must(&other.sync(epoch(1, 3), 1, 5)?).await?;
    }
    let stranger = Device::new(10, "gw-1", &centre);
    let elsewhere = Device::new(7, "gw-1", &"0".repeat(32));
    scene.go_on().await?;
    let ours = scene.next()?;
    for (what, sent, code) in forged(&ours)? {
        scene.attempt(&what, &sent, code).await?;
    }
    let count = scene.count + 1;
    let at = epoch(1, 1);
    let sent = stranger.sync(at, count, 5)?;
    scene
        .attempt("signed by nobody known", &sent, "unknown-device")
        .await?;
    let sent = elsewhere.sync(at, count, 5)?;
    scene
        .attempt("signed for another centre", &sent, "bad-signature")
        .await?;
    for (what, other, _) in &others {
        // Their header on our body, our header on theirs, and a body of ours that they have signed.
        let theirs = other.sync(epoch(1, 3), 7, 5)?;
        let swapped = Sent {
            body: ours.body.clone(),
            ..theirs.clone()
        };
        scene
            .attempt(
                &format!("our body, header of {what}"),
                &swapped,
                "bad-signature",
            )
            .await?;
        let swapped = Sent {
            body: theirs.body,
            ..ours.clone()
        };
        scene
            .attempt(
                &format!("our header, body of {what}"),
                &swapped,
                "bad-signature",
            )
            .await?;
    }
    for named in ["gw-1", "gw-2", "gw-3"] {
        for (what, signer, _) in &others {
            if signer.gateway == named {
                continue;
            }
            let foreign = body(named, epoch(1, 3), 5)?;
            let claim = signer.claim(epoch(1, 3), 9, "/v1/sync", &foreign)?;
            let sent = Sent {
                claim: Some(claim),
                body: foreign,
                ..ours.clone()
            };
            scene
                .attempt(
                    &format!("a body of {named}, signed by {what}"),
                    &sent,
                    "wrong-gateway",
                )
                .await?;
        }
    }
    for (what, other, _) in &others {
        let token = scene.token("default", None).await?;
        let enrol = Device::new(11, &scene.honest.gateway, &centre).enrol(&token)?;
        scene
            .attempt(&format!("our name, beside {what}"), &enrol, "name-taken")
            .await?;
        let change = Device::new(12, &other.gateway, &centre).follow(13)?;
        scene
            .attempt(
                &format!("a key after that of {what}"),
                &change,
                "unknown-device",
            )
            .await?;
    }
    scene.go_on().await
}

/// The genuine request with one thing changed.
fn forged(ours: &Sent) -> Outcome<Vec<(String, Sent, &'static str)>> {
    let claim = ours.claim.clone().ok_or("a genuine request has a claim")?;
    let mut forged = vec![
        (
            "without a header".to_owned(),
            Sent {
                claim: None,
                ..ours.clone()
            },
            "no-signature",
        ),
        (
            "with a query".to_owned(),
            Sent {
                path: "/v1/sync?tenant=other".to_owned(),
                ..ours.clone()
            },
            "bad-signature",
        ),
    ];
    // Each byte of the header and of the body.
    for place in 0..claim.len() {
        let mut changed = claim.clone().into_bytes();
        if let Some(byte) = changed.get_mut(place) {
            *byte = if *byte == b'0' { b'1' } else { b'0' };
        }
        let code = match place {
            // Of the id of the key: another key, which nobody has.
            2..66 => "unknown-device",
            _ => "bad-signature",
        };
        let claim = Some(String::from_utf8(changed)?);
        forged.push((
            format!("byte {place} of the header"),
            Sent {
                claim,
                ..ours.clone()
            },
            code,
        ));
    }
    for bit in 0..ours.body.len() * 8 {
        let mut body = ours.body.clone();
        if let Some(byte) = body.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        forged.push((
            format!("bit {bit} of the body"),
            Sent {
                body,
                ..ours.clone()
            },
            "bad-signature",
        ));
    }
    let nobody = post("/v1/device-keys", &serde_json::json!({}));
    forged.push(("an empty change of key".to_owned(), nobody, "malformed"));
    Ok(forged)
}

/// Captured requests, again and in any order.
pub(crate) async fn replayed(scene: &mut Scene, mutations: u64, seed: u64) -> Outcome {
    let mut captured = Vec::new();
    for _ in 0..CAPTURED {
        let next = scene.next()?;
        scene.must(&next).await?;
        captured.push(next);
    }
    let mut chance = seed.wrapping_mul(2).wrapping_add(1);
    for number in 0..(mutations / CHANGES_A_REPLAY).max(100) {
        let place = usize::try_from(next(&mut chance) % CAPTURED)?;
        let sent = captured.get(place).ok_or("captured")?.clone();
        let what = format!("replay {number}: request {place}");
        scene.attempt(&what, &sent, "replayed").await?;
    }
    scene.go_on().await
}
