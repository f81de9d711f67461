//! T4: the memory of what was accepted, on a disk that fails or lies. It is refused as a whole: the gateway then runs on with what
//! it has, and takes nothing.
//!
//! An older memory that is put back whole cannot be seen here; that is for the store that keeps it.

use tidegate_bundle::{Digest, TRUST_BYTES_MAX};

use super::Outcome;
use super::scene::{Gift, Scene};

const DAMAGED: &[&str] = &["memory-damaged"];

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    let bytes = scene.trust.to_bytes()?;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        let bit = scene.random.below(8);
        if let Some(byte) = changed.get_mut(at) {
            *byte ^= 1 << bit;
        }
        scene.refuses(
            format_args!("bit {bit} of byte {at}"),
            Gift::Memory(&changed),
            DAMAGED,
        )?;
        let cut = bytes.get(..at).unwrap_or_default();
        scene.refuses(format_args!("cut off at {at}"), Gift::Memory(cut), DAMAGED)?;
        let rest = bytes.get(at + 1..).unwrap_or_default();
        scene.refuses(
            format_args!("only from {at} on"),
            Gift::Memory(rest),
            DAMAGED,
        )?;
    }
    sectors(scene, &bytes)?;
    files(scene, &bytes)?;
    forms(scene, &bytes)?;
    scene.takes(Gift::Memory(&bytes))
}

/// Sectors that were never written, or hold what another file had there.
fn sectors(scene: &mut Scene, bytes: &[u8]) -> Outcome {
    for start in (0..bytes.len()).step_by(512) {
        for fill in [0, 0xff, b' '] {
            let mut changed = bytes.to_vec();
            changed
                .iter_mut()
                .skip(start)
                .take(512)
                .for_each(|byte| *byte = fill);
            let what = format_args!("the sector at {start} filled with {fill}");
            scene.refuses(what, Gift::Memory(&changed), DAMAGED)?;
        }
    }
    Ok(())
}

/// Other files in its place, or halves of two.
fn files(scene: &mut Scene, bytes: &[u8]) -> Outcome {
    let earlier = {
        let fresh = tidegate_bundle::Trust::begin(&scene.fleet.signed_root(1)?)?;
        fresh.to_bytes()?
    };
    let line = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (head, body) = earlier.split_at(line(&earlier));
    let (own_head, own_body) = bytes.split_at(line(bytes));
    let root = scene.fleet.signed_root(1)?;
    let others: Vec<(&str, Vec<u8>)> = vec![
        ("deleted", vec![]),
        ("twice", [bytes, bytes].concat()),
        ("and a space", [bytes, b" "].concat()),
        ("and a line feed", [bytes, b"\n"].concat()),
        ("zeros", vec![0; bytes.len()]),
        ("a root", root),
        ("a deployment", scene.deployment.clone()),
        ("an earlier first line", [head, own_body].concat()),
        ("an earlier body", [own_head, body].concat()),
        ("too large", vec![b' '; TRUST_BYTES_MAX + 1]),
        (
            "an earlier form",
            String::from_utf8(bytes.to_vec())?
                .replacen("trust-1", "trust-0", 1)
                .into_bytes(),
        ),
        (
            "a later form",
            String::from_utf8(bytes.to_vec())?
                .replacen("trust-1", "trust-2", 1)
                .into_bytes(),
        ),
    ];
    for (what, other) in others {
        scene.refuses(format_args!("{what}"), Gift::Memory(&other), DAMAGED)?;
    }
    Ok(())
}

/// A right checksum over a wrong form.
fn forms(scene: &mut Scene, bytes: &[u8]) -> Outcome {
    let body = bytes
        .splitn(2, |byte| *byte == b'\n')
        .nth(1)
        .unwrap_or_default();
    let genuine: serde_json::Value = serde_json::from_slice(body)?;
    let fields: Vec<String> = genuine
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    for field in &fields {
        for replacement in [
            serde_json::json!(-1),
            serde_json::json!(null),
            serde_json::json!([[]]),
        ] {
            let mut changed = genuine.clone();
            if let Some(place) = changed.get_mut(field) {
                *place = replacement;
            }
            let body = changed.to_string();
            let digest = Digest::of(body.as_bytes());
            let bytes = format!("tidegate-trust-1 {digest}\n{body}");
            scene.refuses(
                format_args!("{body}"),
                Gift::Memory(bytes.as_bytes()),
                DAMAGED,
            )?;
        }
    }
    Ok(())
}
