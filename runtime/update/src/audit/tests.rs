use std::fs;

use super::*;
use crate::fixture::TestClock;

fn log(folder: &Path, lines: usize) -> Head {
    let mut audit = Audit::open(folder).unwrap();
    for line in 0..lines {
        let text = format!("line {line}");
        audit.note(&TestClock::default(), "test", &text).unwrap();
    }
    audit.head()
}

fn verify(folder: &Path, remembered: Head) -> Result<usize, Broken> {
    let verified = Audit::verify(folder, remembered).unwrap();
    verified.map(|lines| lines.len())
}

#[test]
fn a_log_that_nobody_touched_verifies_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(verify(folder.path(), Head::none()), Ok(0));
    let early = log(folder.path(), 3);
    let late = log(folder.path(), 4);
    assert_eq!(late.number, 7);
    assert_eq!(verify(folder.path(), early), Ok(7));
    assert_eq!(verify(folder.path(), late), Ok(7));
}

#[test]
fn a_line_that_was_changed_dropped_swapped_or_put_in_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let head = log(folder.path(), 6);
    let path = folder.path().join(LOG);
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = good.lines().collect();
    let write = |lines: &[&str]| fs::write(&path, lines.join("\n") + "\n").unwrap();
    for index in 0..lines.len() {
        let mut changed = lines.clone();
        let other = changed[index].replace("line", "lime");
        changed[index] = &other;
        write(&changed);
        assert!(verify(folder.path(), head).is_err(), "changed {index}");
        // With a digest of its own it does not fit to the next, or to what is remembered.
        let (_, json) = other.split_once(' ').unwrap();
        let forged = format!("{} {json}", Digest::of(json.as_bytes()));
        changed[index] = &forged;
        write(&changed);
        assert!(verify(folder.path(), head).is_err(), "forged {index}");

        let mut dropped = lines.clone();
        dropped.remove(index);
        write(&dropped);
        let first = index == 0; // As if it had been rotated away: what is left is whole.
        assert_eq!(
            verify(folder.path(), head).is_err(),
            !first,
            "dropped {index}"
        );

        let mut twice = lines.clone();
        twice.insert(index, lines[index]);
        write(&twice);
        assert!(verify(folder.path(), head).is_err(), "twice {index}");
    }
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    write(&swapped);
    assert!(verify(folder.path(), head).is_err());
    // The end is missing. The negative control: who remembers nothing does not see it.
    write(&lines[..4]);
    assert_eq!(
        verify(folder.path(), head),
        Err(Broken::Missing { number: 6 })
    );
    assert_eq!(verify(folder.path(), Head::none()), Ok(4));
    write(&lines);
    assert_eq!(verify(folder.path(), head), Ok(6));
}

#[test]
fn the_log_is_bounded_and_the_chain_goes_on_across_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut audit = Audit::open(folder.path()).unwrap();
    let long = "x".repeat(50_000);
    let mut early = audit.head();
    for line in 0..520 {
        audit.note(&TestClock::default(), "test", &long).unwrap();
        if line == 1 {
            early = audit.head();
        }
    }
    for name in [LOG, BEFORE] {
        let bytes = fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(bytes <= AUDIT_BYTES_MAX, "{name}: {bytes}");
    }
    let lines = verify(folder.path(), audit.head()).unwrap();
    assert!((200..520).contains(&lines), "{lines}");
    assert_eq!(
        verify(folder.path(), early),
        Ok(lines),
        "that line is rotated away"
    );
    drop(audit);
    assert_eq!(log(folder.path(), 1).number, 521);
}

#[test]
fn a_line_that_a_power_cut_left_unfinished_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let head = log(folder.path(), 2);
    let path = folder.path().join(LOG);
    let whole = fs::read(&path).unwrap();
    for torn in [&b"0123"[..], &[0; 300], b"\xff\xfe"] {
        fs::write(&path, [&whole, torn].concat()).unwrap();
        assert!(verify(folder.path(), head).is_err());
        assert_eq!(Audit::open(folder.path()).unwrap().head(), head);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn what_a_document_says_of_itself_is_one_line_and_disturbs_no_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let mut audit = Audit::open(folder.path()).unwrap();
    let evil = "\u{1b}[2J\nforged line\r\n";
    audit.note(&TestClock::default(), "refused", evil).unwrap();
    let text = fs::read_to_string(folder.path().join(LOG)).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(!text.trim_end().contains(char::is_control));
    let lines = Audit::verify(folder.path(), audit.head()).unwrap().unwrap();
    assert_eq!(lines[0].text, evil);
}
