//! T25: older runtimes, older roots, older and newer forms of documents.

use tidegate_bundle::{RELEASE_TYPE, Trust, WORLD, signed_bytes};

use super::Outcome;
use super::fleet::{deployment, id, key, sign_any};
use super::scene::{Gift, SEQ, Scene};
use super::subject::{Subject, write};

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    for subject in &Subject::all(scene)? {
        types(scene, subject)?;
    }
    worlds(scene)?;
    older_roots(scene)?;
    runtimes(scene)
}

/// Types of other versions of a document, signed as such by who may sign it.
fn types(scene: &mut Scene, subject: &Subject) -> Outcome {
    let kinds = [
        subject.kind.replace(".v1", ".v0"),
        subject.kind.replace(".v1", ".v2"),
        subject.kind.replace(".v1", ""),
        subject.kind.replace("+json", ""),
        subject.kind.to_uppercase(),
        format!("{} ", subject.kind),
        format!("{}; charset=utf-8", subject.kind),
        "application/json".to_owned(),
        String::new(),
    ];
    for kind in kinds {
        let message = signed_bytes(&kind, &subject.body);
        let signatures = subject
            .signers
            .iter()
            .map(|key| (id(key).to_string(), key.sign(&message).to_vec()));
        let bytes = write(&kind, &subject.body, &signatures.collect::<Vec<_>>());
        let what = format_args!("{} as {kind:?}", subject.name);
        scene.refuses(what, (subject.gift)(&bytes), &["wrong-type"])?;
    }
    Ok(())
}

/// Releases for other contracts.
fn worlds(scene: &mut Scene) -> Outcome {
    let (_, body, _) =
        super::subject::open(&serde_json::from_slice(&scene.next.1.bytes)?).ok_or("no envelope")?;
    let mut release: serde_json::Value = serde_json::from_slice(&body)?;
    for world in [
        WORLD.replace("0.1.0", "0.0.9"),
        WORLD.replace("0.1.0", "0.2.0"),
        WORLD.replace("@0.1.0", ""),
        String::new(),
    ] {
        *release.get_mut("world").ok_or("no world in a release")? = world.clone().into();
        let bytes = sign_any(RELEASE_TYPE, &release, &[&key(3)])?;
        scene.refuses(
            format_args!("world {world:?}"),
            Gift::Release(&bytes),
            &["unsupported-world"],
        )?;
    }
    Ok(())
}

/// Deployments that need a newer root than the gateway has.
fn older_roots(scene: &mut Scene) -> Outcome {
    for version in [2, 3, u64::MAX] {
        let mut body = deployment(SEQ + 1, &[&scene.next.1]);
        body.min_root_version = version;
        let bytes = scene.fleet.sign_deployment(&body)?;
        scene.refuses(
            format_args!("for root {version}"),
            Gift::Next(&bytes),
            &["root-too-old"],
        )?;
    }
    Ok(())
}

/// A fleet that has left some runtimes behind, and each of these.
fn runtimes(scene: &mut Scene) -> Outcome {
    let mut root = scene.fleet.root(1);
    root.min_runtime_version = semver::Version::new(0, 3, 0);
    scene.trust = Trust::begin(&scene.fleet.sign_root(&root)?)?;
    scene.note()?;
    let next = scene.next.0.clone();
    for version in ["0.0.1", "0.1.0", "0.2.99", "0.3.0-rc.1", "0.3.0-alpha"] {
        scene.gateway.runtime_version = version.parse()?;
        scene.refuses(
            format_args!("runtime {version}"),
            Gift::Next(&next),
            &["runtime-too-old"],
        )?;
    }
    scene.gateway.runtime_version = "0.3.0".parse()?;
    scene.takes(Gift::Next(&next))
}
