//! Sources and disks that mean it badly.

use super::*;
use std::collections::BTreeMap;

use tidegate_bundle::{DeployedModule, Publish, WORLD};

fn files(folder: &Path) -> usize {
    std::fs::read_dir(site(folder).folder.join("sha256"))
        .unwrap()
        .count()
}

#[test]
fn a_source_that_gives_too_much_too_little_or_something_else_fills_no_disk_and_starts_nothing() {
    let module = fleet().module("pump", 1);
    let good = module.component.clone();
    let evil = vec![7; good.len()];
    type Body<'a> = Box<dyn Fn() -> Box<dyn Read> + 'a>;
    let cases: [(&str, Body<'_>); 5] = [
        ("trailing-data", Box::new(|| Box::new(io::repeat(0)))),
        ("truncated", Box::new(|| Box::new(io::empty()))),
        (
            "digest-mismatch",
            Box::new(|| Box::new(Cursor::new(evil.clone()))),
        ),
        (
            "trailing-data",
            Box::new(|| Box::new(Cursor::new(good.repeat(2)))),
        ),
        ("source-failed", Box::new(|| Box::new(Breaks))),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    for (reason, body) in cases {
        let mut source = Toxic {
            deployment: fleet().deployment(1, std::slice::from_ref(&module)),
            releases: BTreeMap::from([(module.digest, module.release.clone())]),
            blob: Box::new(|_| Some(body())),
        };
        let taken = client.take(&mut source, &policy()).unwrap();
        assert_eq!(taken.problems[0].reason(), reason);
        assert_eq!(taken.missing, [Blob::of(&good)]);
        assert!(
            !taken
                .commands
                .iter()
                .any(|it| matches!(it, Command::Try(_)))
        );
        assert_eq!(files(folder.path()), 2, "the documents alone");
    }
    let commands = take(&mut client, fleet().stick(1, &[module]));
    assert_eq!(commands, [Command::Try(trial("pump", 1))]);
}

/// A link that is cut.
struct Breaks;

impl Read for Breaks {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the link is cut"))
    }
}

#[test]
fn a_release_under_the_digest_of_another_is_refused() {
    let (a, b) = (fleet().module("a", 1), fleet().module("b", 1));
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let mut source = Toxic {
        deployment: fleet().deployment(1, &[a.clone(), b.clone()]),
        releases: BTreeMap::from([(a.digest, b.release), (b.digest, a.release)]),
        blob: Box::new(|_| None),
    };
    let error = client.take(&mut source, &policy()).unwrap_err();
    assert_eq!(error.reason(), "unexpected-release");
    assert_eq!(client.trust().seq(), 0);
}

#[test]
fn a_medium_that_answers_otherwise_the_second_time_gets_nothing_past_the_store() {
    /// Gives the good stick while headers are read, and other bytes for every body after that.
    struct TwoFaced {
        good: Cursor<Vec<u8>>,
        reads: usize,
    }
    impl Read for TwoFaced {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            let count = self.good.read(buffer)?;
            // The component is the only body as large as this.
            if buffer.len() > 10_000 && count > 10_000 {
                buffer[..count].fill(7);
            }
            Ok(count)
        }
    }
    impl io::Seek for TwoFaced {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.good.seek(to)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let module = fleet().module("pump", 1);
    assert!(module.component.len() > 10_000);
    let medium = TwoFaced {
        good: Cursor::new(fleet().stick(1, &[module])),
        reads: 0,
    };
    let taken = client.take_stick(medium, &policy()).unwrap();
    assert_eq!(taken.problems[0].reason(), "digest-mismatch");
    assert_eq!(taken.commands, [Command::Fetch]);
}

#[test]
fn each_rule_of_the_documents_has_its_reason_and_changes_nothing() {
    let module = fleet().module("pump", 1);
    let modules = std::slice::from_ref(&module);
    let stick = |document: &[u8], release: &[u8]| {
        let stick = Stick {
            roots: &[],
            deployment: document,
            releases: &[release],
            blobs: &[&module.component],
        };
        stick.write().unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let stranger = Fleet {
        deployer: tidegate_bundle::SigningKey::from_seed(&[9; 32]),
        publisher: tidegate_bundle::SigningKey::from_seed(&[8; 32]),
        ..fleet()
    };
    let forged = stranger.deployment(1, modules);
    assert_eq!(
        refused(&mut client, stick(&forged, &module.release)),
        "wrong-key"
    );
    let foreign = stranger.module("pump", 1);
    let good = fleet().deployment(1, modules);
    assert_eq!(
        refused(&mut client, stick(&good, &foreign.release)),
        "wrong-key"
    );
    let other = fleet().deployment_of(1, modules, |document| {
        document.target = tidegate_bundle::Target::GatewayId("gateway-2".to_owned());
    });
    assert_eq!(
        refused(&mut client, stick(&other, &module.release)),
        "wrong-gateway"
    );
    let wide = fleet().deployment_of(1, modules, |document| {
        let publish = |module: &mut DeployedModule| {
            module.grants.publish.push(Publish {
                to: "plant".to_owned(),
                topic: "valves/#".to_owned(),
            });
        };
        document.modules.iter_mut().for_each(publish);
    });
    assert_eq!(
        refused(&mut client, stick(&wide, &module.release)),
        "not-asked"
    );
    let mut flipped = good.clone();
    flipped[60] = if good[60] == b'A' { b'B' } else { b'A' };
    let reason = refused(&mut client, stick(&flipped, &module.release));
    assert!(["bad-signature", "malformed"].contains(&reason), "{reason}");
    assert!(audit(&client, folder.path()).len() >= 6, "each was noted");
    take(&mut client, stick(&good, &module.release));
}

#[test]
fn another_contract_is_refused_before_anything_runs() {
    let module = fleet().module_of("pump", 1, |release| {
        release.world = WORLD.replace("0.1.0", "0.9.0");
    });
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let mut source = Toxic {
        deployment: fleet().deployment(1, std::slice::from_ref(&module)),
        releases: BTreeMap::from([(module.digest, module.release.clone())]),
        blob: Box::new(|_| None),
    };
    let error = client.take(&mut source, &policy()).unwrap_err();
    assert_eq!(error.reason(), "unsupported-world");
    assert!(client.machine().candidate().is_none());
}

#[test]
fn a_store_that_is_full_says_so_and_takes_the_update_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut small = site(folder.path());
    small.store_bytes_max = 20_000;
    let mut client = Client::enrol(small, clock(), &fleet().root(1)).unwrap();
    let modules: Vec<_> = ["a", "b"].map(|name| fleet().module(name, 1)).to_vec();
    let stick = fleet().stick(1, &modules);
    let taken = client
        .take_stick(Cursor::new(stick.clone()), &policy())
        .unwrap();
    assert_eq!(taken.problems[0].reason(), "store-full");
    let mut client = restarted(client, folder.path());
    let commands = take(&mut client, stick);
    assert_eq!(commands.len(), 2);
}

#[test]
fn components_are_as_large_as_these_tests_take_them_to_be() {
    assert_eq!(component("pump", 1), fleet().module("pump", 1).component);
    let length = component("a", 1).len();
    assert!((10_000..20_000).contains(&length), "{length}");
}
