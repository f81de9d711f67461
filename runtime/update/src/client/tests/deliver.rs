//! What a courier brings.

use super::*;
use crate::{Parcel, Piece};

fn parcel(seq: u64, modules: &[Module]) -> Parcel {
    Parcel {
        from: "centre".to_owned(),
        deployment: Some(fleet().deployment(seq, modules)),
        ..Parcel::default()
    }
}

fn with_releases(mut parcel: Parcel, modules: &[Module]) -> Parcel {
    let releases = modules.iter().map(|it| (it.digest, it.release.clone()));
    parcel.releases = releases.collect();
    parcel
}

/// All pieces of a wanted blob, of this size.
fn bring(client: &mut Client, bytes: &[u8], from: usize, size: usize) -> Vec<Command> {
    let blob = Blob::of(bytes);
    let mut at = from;
    for piece in bytes[from..].chunks(size) {
        let taken = client.take_piece("centre", blob, at as u64, piece).unwrap();
        at += piece.len();
        if let Piece::Whole(commands) = taken {
            assert_eq!(at, bytes.len());
            return commands;
        }
    }
    panic!("it was never whole");
}

#[test]
fn a_deployment_comes_with_its_releases_and_then_its_blobs_in_pieces_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let module = fleet().module("pump", 1);
    let parcel = parcel(1, std::slice::from_ref(&module));
    assert_eq!(client.wants().unwrap().known, None);
    assert_eq!(client.lacking(&parcel).unwrap(), [module.digest]);
    let mut parcel = with_releases(parcel, std::slice::from_ref(&module));
    let taken = client.take(&mut parcel, &policy()).unwrap();
    assert_eq!(taken.commands, [Command::Fetch]);
    assert!(taken.problems.is_empty(), "{:?}", taken.problems);
    let code = module.component.as_slice();
    let wants = client.wants().unwrap();
    assert_eq!(wants.blobs, [(Blob::of(code), 0)]);
    assert_eq!(wants.known, client.trust().accepted());
    client
        .take_piece("centre", Blob::of(code), 0, &code[..100])
        .unwrap();
    let mut client = restarted(client, folder.path());
    assert_eq!(client.on(Event::Started).unwrap(), [Command::Fetch]);
    assert_eq!(client.wants().unwrap().blobs, [(Blob::of(code), 100)]);
    let commands = bring(&mut client, code, 100, 1_000);
    assert_eq!(commands, [Command::Try(trial("pump", 1))]);
    assert!(client.wants().unwrap().blobs.is_empty());
    let installed = client.installed();
    assert_eq!(installed[0].version, semver::Version::new(1, 1, 0));
    // What is here already need not be brought again.
    let known = self::parcel(2, std::slice::from_ref(&module));
    assert!(client.lacking(&known).unwrap().is_empty());
}

#[test]
fn pieces_of_what_nobody_wants_and_wrong_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let module = fleet().module("pump", 1);
    let blob = Blob::of(&module.component);
    let unwanted = client.take_piece("centre", blob, 0, b"code").unwrap_err();
    assert_eq!(unwanted.reason(), "nothing");
    let modules = [module];
    let mut parcel = with_releases(parcel(1, &modules), &modules);
    client.take(&mut parcel, &policy()).unwrap();
    let mut wrong = modules[0].component.clone();
    wrong[500] ^= 1;
    client
        .take_piece("centre", blob, 0, &wrong[..1000])
        .unwrap();
    let gap = client.take_piece("centre", blob, 999, &wrong[999..]);
    assert_eq!(gap.unwrap_err().reason(), "gap");
    let mismatch = client.take_piece("centre", blob, 1000, &wrong[1000..]);
    assert_eq!(mismatch.unwrap_err().reason(), "digest-mismatch");
    assert_eq!(client.wants().unwrap().blobs, [(blob, 0)]);
    // A centre that begins anew is let.
    client
        .take_piece("centre", blob, 0, &wrong[..1000])
        .unwrap();
    let commands = bring(&mut client, &modules[0].component, 0, 4096);
    assert_eq!(commands, [Command::Try(trial("pump", 1))]);
}

#[test]
fn a_root_that_follows_is_taken_and_a_deployment_that_is_refused_is_before_its_releases_are_asked_for()
 {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    assert_eq!(client.wants().unwrap().root, 2);
    let mut roots = Parcel {
        from: "centre".to_owned(),
        roots: [(2, fleet().root(2))].into(),
        ..Parcel::default()
    };
    client.take_root(&mut roots).unwrap();
    assert_eq!(client.wants().unwrap().root, 3);
    roots.roots = [(3, fleet().root(4))].into();
    assert!(client.take_root(&mut roots).is_err());
    assert_eq!(client.wants().unwrap().root, 3);

    let modules = [fleet().module("pump", 1)];
    confirm(&mut client, 7, &modules);
    let older = client.lacking(&parcel(6, &modules)).unwrap_err();
    assert_eq!(older.reason(), "sequence-rollback");
    let lines = audit(&client, folder.path());
    let last = lines.last().unwrap();
    assert!(last.starts_with("refused centre: "), "{last}");
    // The one that is confirmed need not come again, until one of its documents is lost.
    assert!(client.wants().unwrap().known.is_some());
    let document = client.machine().confirmed().unwrap().document;
    std::fs::remove_file(
        folder
            .path()
            .join(format!("update/sha256/{}", document.sha256)),
    )
    .unwrap();
    assert_eq!(client.wants().unwrap().known, None);
    let mut again = parcel(7, &modules);
    client.take(&mut again, &policy()).unwrap();
    assert!(client.wants().unwrap().known.is_some());
}
