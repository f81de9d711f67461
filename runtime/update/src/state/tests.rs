use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::*;
use crate::fixture::fleet;

/// A folder in which four states were written, and the copy of a confirmed one.
fn folder() -> tempfile::TempDir {
    static WRITTEN: OnceLock<tempfile::TempDir> = OnceLock::new();
    let written = WRITTEN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let mut file = StateFile::enrol(folder.path(), &state(1)).unwrap();
        for version in 2..=4 {
            file.write(&state(version)).unwrap();
        }
        fs::write(folder.path().join(CONFIRMED), page(4, &state(4)).unwrap()).unwrap();
        folder
    });
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(written.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// A state that can be told from others by its root.
fn state(version: u64) -> State {
    let fleet = fleet();
    let mut trust = Trust::begin(&fleet.root(1)).unwrap();
    for version in 2..=version {
        trust.accept_root(&fleet.root(version)).unwrap();
    }
    State {
        trust,
        machine: Machine::default(),
        audit: Head::none(),
        heard: None,
    }
}

fn version(state: &State) -> u64 {
    state.trust.root().root().version
}

/// The version gone on from, or why not and how much could still be read.
fn open(folder: &Path) -> Result<u64, (String, Vec<u64>)> {
    match StateFile::open(folder).unwrap() {
        Opened::NotEnrolled => panic!("begun anew"),
        Opened::Enrolled(_, state) => Ok(version(&state)),
        Opened::Frozen(frozen) => {
            let copies = frozen.copies.iter().map(version).collect();
            Err((frozen.reason, copies))
        }
    }
}

#[test]
fn the_newest_state_is_gone_on_from() {
    let folder = folder();
    assert_eq!(open(folder.path()), Ok(4));
    let Opened::Enrolled(mut file, _) = StateFile::open(folder.path()).unwrap() else {
        panic!("frozen");
    };
    assert_eq!(file.turn(), 4);
    file.write(&state(5)).unwrap();
    drop(file);
    assert_eq!(open(folder.path()), Ok(5));
}

#[test]
fn nothing_at_all_is_no_enrolment_and_nobody_enrols_twice() {
    let empty = tempfile::tempdir().unwrap();
    let opened = StateFile::open(empty.path()).unwrap();
    assert!(matches!(opened, Opened::NotEnrolled));
    drop(opened);
    let folder = folder();
    let again = StateFile::enrol(folder.path(), &state(1)).unwrap_err();
    assert!(matches!(again, Error::Enrolled { .. }));
    // Whatever is left of an enrolment is one.
    for name in [SLOTS[0], SLOTS[1], ENROLLED, CONFIRMED] {
        let left = tempfile::tempdir().unwrap();
        fs::write(left.path().join(name), b"").unwrap();
        let again = StateFile::enrol(left.path(), &state(1)).unwrap_err();
        assert!(matches!(again, Error::Enrolled { .. }), "{name}");
        assert!(open(left.path()).is_err(), "{name}");
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let folder = folder();
    let _held = StateFile::open(folder.path()).unwrap();
    assert!(matches!(StateFile::open(folder.path()), Err(Error::InUse)));
}

/// A way to damage files, and its name.
type Corruption = (String, Box<dyn Fn(&Path)>);
/// What becomes of the bytes of a file.
type Change = fn(&[u8]) -> Vec<u8>;
/// What becomes of a file.
type Deed = fn(&Path);

/// At least fifty ways to lose what the newest state says.
fn corruptions() -> Vec<Corruption> {
    let mut all: Vec<Corruption> = Vec::new();
    let mut add = |name: String, damage: Box<dyn Fn(&Path)>| all.push((name, damage));
    for victims in [vec![SLOTS[0]], vec![ENROLLED], vec![SLOTS[0], SLOTS[1]]] {
        let paths = move |folder: &Path| -> Vec<PathBuf> {
            victims.iter().map(|name| folder.join(name)).collect()
        };
        let what = format!("{:?}", paths(Path::new("")));
        let changes: [(&str, Change); 13] = [
            ("emptied", |_| Vec::new()),
            ("cut to one byte", |bytes| bytes[..1].to_vec()),
            ("cut in its first line", |bytes| bytes[..40].to_vec()),
            ("cut after its first line", |bytes| bytes[..83].to_vec()),
            ("cut in half", |bytes| bytes[..bytes.len() / 2].to_vec()),
            ("short of a byte", |bytes| bytes[..bytes.len() - 1].to_vec()),
            ("zeroed", |bytes| vec![0; bytes.len()]),
            ("all ones", |bytes| vec![0xff; bytes.len()]),
            ("zeroed at the end", |bytes| {
                let mut bytes = bytes.to_vec();
                let half = bytes.len() / 2;
                bytes[half..].fill(0);
                bytes
            }),
            ("longer by a byte", |bytes| [bytes, b"}"].concat()),
            ("written twice", |bytes| [bytes, bytes].concat()),
            ("another file", |_| b"[gateway]\nname = \"x\"\n".to_vec()),
            ("of another version", |_| sealed(&"a text").unwrap()),
        ];
        for (change_name, change) in changes {
            let paths = paths.clone();
            add(
                format!("{what} {change_name}"),
                Box::new(move |folder| {
                    for path in paths(folder) {
                        let bytes = fs::read(&path).unwrap();
                        fs::write(&path, change(&bytes)).unwrap();
                    }
                }),
            );
        }
        for place in [0, 17, 18, 50, 82, 83, 88, 92] {
            let paths = paths.clone();
            add(
                format!("{what} byte {place} flipped"),
                Box::new(move |folder| {
                    for path in paths(folder) {
                        let mut bytes = fs::read(&path).unwrap();
                        bytes[place] ^= 1;
                        fs::write(&path, bytes).unwrap();
                    }
                }),
            );
        }
        let others: [(&str, Deed); 3] = [
            ("deleted", |path| fs::remove_file(path).unwrap()),
            ("a link", |path| {
                let aside = path.with_extension("aside");
                fs::rename(path, &aside).unwrap();
                std::os::unix::fs::symlink(&aside, path).unwrap();
            }),
            ("a folder", |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }),
        ];
        for (change_name, change) in others {
            let paths = paths.clone();
            add(
                format!("{what} {change_name}"),
                Box::new(move |folder| {
                    paths(folder).iter().for_each(|path| change(path));
                }),
            );
        }
    }
    all
}

#[test]
fn whatever_is_lost_of_the_newest_state_it_is_frozen_and_never_begun_anew() {
    let corruptions = corruptions();
    assert!(corruptions.len() >= 50, "{}", corruptions.len());
    for (name, damage) in corruptions {
        let folder = folder();
        let before = fs::read(folder.path().join(CONFIRMED)).unwrap();
        damage(folder.path());
        let (reason, copies) = open(folder.path()).expect_err(&name);
        assert!(!reason.is_empty(), "{name}");
        assert!(
            copies.contains(&4) || copies.contains(&3),
            "{name}: {copies:?}"
        );
        // Nothing heals by itself, and nothing is overwritten.
        assert!(open(folder.path()).is_err(), "{name}");
        assert_eq!(
            fs::read(folder.path().join(CONFIRMED)).unwrap(),
            before,
            "{name}"
        );
    }
}

#[test]
fn every_flipped_bit_of_the_newest_state_is_noticed() {
    let folder = folder();
    for name in [SLOTS[0], ENROLLED] {
        let path = folder.path().join(name);
        let good = fs::read(&path).unwrap();
        // Every bit of the small file, and every 64th of the large one.
        let step = if good.len() > 500 { 67 } else { 1 };
        for bit in (0..good.len() * 8).step_by(step) {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            assert!(open(folder.path()).is_err(), "{name}, bit {bit}");
        }
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(open(folder.path()), Ok(4));
}

#[test]
fn an_older_copy_is_known_as_old() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let (newest, mark) = (
        fs::read(at(SLOTS[0])).unwrap(),
        fs::read(at(ENROLLED)).unwrap(),
    );
    // The slot of the one before in the place of the newest.
    fs::copy(at(SLOTS[1]), at(SLOTS[0])).unwrap();
    assert!(open(folder.path()).is_err());
    // The state before the one before, which had this slot.
    fs::write(at(SLOTS[0]), page(2, &state(2)).unwrap()).unwrap();
    let (reason, _) = open(folder.path()).unwrap_err();
    assert!(
        reason.contains("state 3 is the newest that can be read, 4 were written"),
        "{reason}"
    );
    fs::write(at(SLOTS[0]), &newest).unwrap();
    // An older mark.
    fs::write(at(ENROLLED), sealed(&Enrolment { turn: 2 }).unwrap()).unwrap();
    assert!(open(folder.path()).is_err());
    fs::write(at(ENROLLED), &mark).unwrap();
    assert_eq!(open(folder.path()), Ok(4));
    // The negative control: without the mark the older state would be gone on from.
    fs::remove_file(at(SLOTS[0])).unwrap();
    assert!(open(folder.path()).is_err());
    fs::write(at(ENROLLED), sealed(&Enrolment { turn: 3 }).unwrap()).unwrap();
    assert_eq!(open(folder.path()), Ok(3));
}

#[test]
fn damage_to_the_generation_before_takes_nothing_away() {
    let folder = folder();
    fs::write(folder.path().join(SLOTS[1]), b"gone").unwrap();
    assert_eq!(open(folder.path()), Ok(4));
}

#[test]
fn a_crash_at_any_point_of_a_write_leaves_the_state_before_or_after() {
    let next = page(5, &state(5)).unwrap();
    let mark = sealed(&Enrolment { turn: 5 }).unwrap();
    // What is on disk after each step of a write, and after each cut of what is being written.
    for cut in [0, 1, 40, next.len() / 2, next.len()] {
        let folder = folder();
        fs::write(folder.path().join("state-1.part"), &next[..cut]).unwrap();
        assert_eq!(open(folder.path()), Ok(4), "{cut} bytes of the state");
        assert!(!folder.path().join("state-1.part").exists());
        fs::write(folder.path().join(SLOTS[1]), &next).unwrap();
        assert_eq!(open(folder.path()), Ok(5), "named, and not yet counted");
        let cut = cut.min(mark.len());
        fs::write(folder.path().join("enrolled.part"), &mark[..cut]).unwrap();
        assert_eq!(open(folder.path()), Ok(5), "{cut} bytes of the mark");
        fs::write(folder.path().join(ENROLLED), &mark).unwrap();
        assert_eq!(open(folder.path()), Ok(5));
    }
}

#[test]
fn however_many_writes_in_a_row_are_cut_off_the_newest_state_is_gone_on_from() {
    // How far each of three writes came, each in a process of its own: not to its name, to that, to its count.
    for cuts in (0..27).map(|number| [number / 9, number / 3 % 3, number % 3]) {
        let folder = folder();
        let mut newest = 4;
        for cut in cuts {
            let Opened::Enrolled(file, _) = StateFile::open(folder.path()).unwrap() else {
                panic!("frozen: {cuts:?}");
            };
            let turn = file.turn() + 1;
            assert_eq!(turn, newest + 1, "{cuts:?}");
            if cut > 0 {
                let page = page(turn, &state(turn)).unwrap();
                fs::write(folder.path().join(slot(turn)), page).unwrap();
                newest = turn;
            }
            if cut > 1 {
                count(&file.folder, turn).unwrap();
            }
        }
        assert_eq!(open(folder.path()), Ok(newest), "{cuts:?}");
    }
}

#[test]
fn a_state_that_was_gone_on_from_is_missed_although_its_write_was_cut_off_before_the_count() {
    let folder = folder();
    let next = folder.path().join(SLOTS[1]);
    fs::write(&next, page(5, &state(5)).unwrap()).unwrap();
    assert_eq!(open(folder.path()), Ok(5));
    fs::remove_file(next).unwrap();
    let (reason, _) = open(folder.path()).unwrap_err();
    assert!(
        reason.contains("state 4 is the newest that can be read, 5 were written"),
        "{reason}"
    );
}

#[test]
fn the_copy_of_the_confirmed_state_is_written_once_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = StateFile::enrol(folder.path(), &state(1)).unwrap();
    file.keep(&state(1)).unwrap();
    assert!(
        !folder.path().join(CONFIRMED).exists(),
        "nothing is confirmed"
    );
}
