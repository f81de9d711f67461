//! T11: names that lead somewhere else, in archives and in documents that are signed by who may sign them.

use serde_json::Value;
use tidegate_bundle::{DEPLOYMENT_TYPE, Digest, RELEASE_TYPE};

use super::Outcome;
use super::archives::{archive, put};
use super::fleet::{component, deployment, key, sign_any};
use super::scene::{COUNTER, Gift, SEQ, Scene};

/// What is no name of anything.
const PATHS: &[&str] = &[
    "../secret",
    "..",
    ".",
    "",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:pump",
    "pump\0",
    "\0",
    "pump\n",
    "pump\u{1b}[2J",
    "PUMP",
    "pump.",
    "pump ",
    " pump",
    "~root",
    "$HOME",
    "%2e%2e",
    "pump\u{202e}",
    "p\u{fc}mp",
    "pump*",
    "con:",
    "-\u{0301}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Where a name stands in a deployment.
const IN_DEPLOYMENT: &[&str] = &[
    "/fleet_id",
    "/gateway_id",
    "/modules/0/name",
    "/modules/0/release",
    "/modules/0/inputs/0/from",
    "/modules/0/capabilities/publish/0/to",
    "/modules/0/config/token/file",
    "/modules/0/streams/0/name",
    "/modules/0/streams/0/region",
];

/// And in a release.
const IN_RELEASE: &[&str] = &["/module", "/streams/0/name", "/artifacts/0/sha256"];

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    in_archives(scene)?;
    kinds(scene)?;
    in_documents(scene)
}

/// Entries with such names, as one more file, or in the place of one.
fn in_archives(scene: &mut Scene) -> Outcome {
    let [pump, _] = scene.releases.clone();
    let body = component("pump", COUNTER);
    let name = format!("artifacts/{}", Digest::of(&body));
    let document = ("release.dsse.json".to_owned(), pump.bytes);
    let mut bad: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    bad.extend(PATHS.iter().map(|path| format!("artifacts/{path}")));
    bad.extend([
        format!("/{name}"),
        format!("./{name}"),
        format!("artifacts/../{name}"),
        name.to_uppercase(),
    ]);
    for path in &bad {
        let extra = archive(&[
            document.clone(),
            (name.clone(), body.clone()),
            (path.clone(), body.clone()),
        ]);
        let instead = archive(&[document.clone(), (path.clone(), body.clone())]);
        let first = archive(&[
            (path.clone(), document.1.clone()),
            (name.clone(), body.clone()),
        ]);
        for bundle in [extra, instead, first] {
            let what = format_args!("an entry {path:?}");
            scene.refuses(what, Gift::Bundle(&bundle), &["unexpected-entry"])?;
        }
    }
    Ok(())
}

/// Links, folders, devices and extensions where files should be; a name in two pieces.
fn kinds(scene: &mut Scene) -> Outcome {
    let [pump, _] = scene.releases.clone();
    for kind in (0..=u8::MAX).filter(|kind| *kind != b'0') {
        let mut bundle = pump.bundle.clone();
        put(&mut bundle, 156, &[kind]);
        scene.refuses(
            format_args!("an entry of type {kind}"),
            Gift::Bundle(&bundle),
            &["unexpected-entry"],
        )?;
    }
    for (at, field) in [
        (157, &b"/etc/passwd"[..]),
        (345, b".."),
        (345, b"/"),
        (20, b"x"),
    ] {
        let mut bundle = pump.bundle.clone();
        put(&mut bundle, at, field);
        scene.refuses(
            format_args!("text at {at} of a header"),
            Gift::Bundle(&bundle),
            &["unexpected-entry"],
        )?;
    }
    for magic in [
        &b"ustar  \0"[..],
        b"ustar\x0001",
        b"\0\0\0\0\0\0\0\0",
        b"USTAR\x0000",
    ] {
        let mut bundle = pump.bundle.clone();
        put(&mut bundle, 257, magic);
        scene.refuses(
            format_args!("an archive of another make"),
            Gift::Bundle(&bundle),
            &["malformed"],
        )?;
    }
    Ok(())
}

fn in_documents(scene: &mut Scene) -> Outcome {
    let deployment = serde_json::to_value(deployment(SEQ + 1, &[&scene.next.1]))?;
    let release: Value = super::subject::open(&serde_json::from_slice(&scene.next.1.bytes)?)
        .map(|(_, body, _)| serde_json::from_slice(&body))
        .ok_or("no envelope")??;
    for path in PATHS {
        for place in IN_DEPLOYMENT {
            let bytes = sign_any(
                DEPLOYMENT_TYPE,
                &put_in(&deployment, place, path)?,
                &[&key(5)],
            )?;
            scene.refuses(
                format_args!("{path:?} at {place}"),
                Gift::Next(&bytes),
                &["malformed"],
            )?;
        }
        for place in IN_RELEASE {
            let bytes = sign_any(RELEASE_TYPE, &put_in(&release, place, path)?, &[&key(3)])?;
            scene.refuses(
                format_args!("{path:?} at {place}"),
                Gift::Release(&bytes),
                &["malformed"],
            )?;
        }
    }
    Ok(())
}

fn put_in(document: &Value, place: &str, text: &str) -> Outcome<Value> {
    let mut document = document.clone();
    *document
        .pointer_mut(place)
        .ok_or("no such place in a document")? = text.into();
    Ok(document)
}
