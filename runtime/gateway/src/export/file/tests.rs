use std::fs;

use super::*;
use tidegate_bundle::OpeningKey;
use tidegate_record::{
    BootId, BootTime, Class, ClockQuality, Content, Epoch, Stamp, StoredRow, WallTime,
};
use tidegate_wire::StreamRows;

const EPOCH: Epoch = Epoch {
    ordinal: 3,
    random: 7,
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn device(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn head() -> Part {
    Part::Head(Head {
        epoch: EPOCH,
        database: 9,
        created: WallTime(1),
        device_key: *device(7).public_key().as_bytes(),
    })
}

fn rows(seqs: std::ops::RangeInclusive<u64>) -> Part {
    let row = |seq| StoredRow {
        seq,
        class: Class::Raw,
        module: name("m"),
        generation: 1,
        key: String::new(),
        time: WallTime(seq),
        duration_ns: 0,
        content: Content::Values(Vec::new()),
        stamp: Stamp {
            boot: BootId(1),
            boot_time: BootTime(seq),
            wall_time: WallTime(seq),
            clock: ClockQuality::Synced,
        },
        trace: None,
        from: None,
    };
    Part::Rows(vec![StreamRows {
        of: of(),
        rows: seqs.map(row).collect(),
    }])
}

fn of() -> StreamEpoch {
    StreamEpoch {
        stream: name("readings"),
        epoch: EPOCH,
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

struct Stick(tempfile::TempDir);

impl Stick {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("week.tgx")
    }

    fn open(&self, to: Option<&SealingKey>) -> Result<ExportFile, Refusal> {
        ExportFile::open(&self.path(), &name("gw-1"), device(7), to)
    }

    /// One that holds rows 1 to 30 in three chunks; gives where each chunk ends.
    fn begun(&self, to: Option<&SealingKey>) -> Vec<u64> {
        let mut file = self.open(to).unwrap();
        let parts = [head(), rows(1..=10), rows(11..=20), rows(21..=30)];
        let ends = parts.into_iter().map(|part| {
            file.write(part).unwrap();
            file.bytes()
        });
        ends.collect()
    }
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_gone_on_with_after_its_last_whole_chunk() {
    let centre = OpeningKey::generate().unwrap().sealing_key();
    for to in [None, Some(&centre)] {
        let stick = Stick::new();
        let ends = stick.begun(to);
        let whole = fs::read(stick.path()).unwrap();
        assert_eq!(whole.len() as u64, ends[3]);
        for cut in 0..=whole.len() {
            fs::write(stick.path(), &whole[..cut]).unwrap();
            let mut file = stick.open(to).unwrap();
            let chunks = ends.iter().filter(|end| **end <= cut as u64).count();
            let expected = 10 * chunks.saturating_sub(1) as u64;
            assert_eq!(file.rows(), expected, "cut after {cut}");
            assert_eq!(file.head().is_some(), chunks > 0);
            let written = file.written().get(&of()).copied().unwrap_or_default();
            assert_eq!(written, expected);
            if cut % 97 == 0 {
                if chunks == 0 {
                    file.write(head()).unwrap();
                }
                file.write(rows(expected + 1..=40)).unwrap();
                file.finish().unwrap();
                drop(file);
                assert!(matches!(stick.open(to), Err(Refusal::Complete)));
            }
        }
    }
}

#[test]
fn what_a_power_cut_leaves_of_the_last_chunk_is_cut_off() {
    let stick = Stick::new();
    let ends = stick.begun(None);
    let whole = fs::read(stick.path()).unwrap();
    // The last chunk's place is there, and its bytes are not.
    let mut torn = whole.clone();
    torn[at(ends[2]) + 4..].fill(0);
    fs::write(stick.path(), &torn).unwrap();
    assert_eq!(stick.open(None).unwrap().rows(), 20);
    torn[at(ends[2])..].fill(0);
    fs::write(stick.path(), &torn).unwrap();
    assert_eq!(stick.open(None).unwrap().rows(), 20);
    // In the middle that is damage, and what follows may be all there is of it.
    let mut damaged = whole;
    damaged[at(ends[1]) + 100] ^= 1;
    fs::write(stick.path(), &damaged).unwrap();
    let refused = stick.open(None).unwrap_err();
    assert!(
        matches!(refused, Refusal::Damaged { offset, .. } if offset == ends[1]),
        "{refused}"
    );
    assert_eq!(fs::read(stick.path()).unwrap(), damaged);
}

#[test]
fn what_is_not_this_gateways_export_is_refused_and_left_as_it_is() {
    let (centre, other) = (
        OpeningKey::generate().unwrap(),
        OpeningKey::generate().unwrap(),
    );
    let (centre, other) = (centre.sealing_key(), other.sealing_key());
    let stick = Stick::new();
    fs::write(stick.path(), b"holiday pictures").unwrap();
    assert!(matches!(
        stick.open(None),
        Err(Refusal::File(ExportError::NoExport))
    ));
    assert_eq!(fs::read(stick.path()).unwrap(), b"holiday pictures");

    fs::remove_file(stick.path()).unwrap();
    stick.begun(Some(&centre));
    let before = fs::read(stick.path()).unwrap();
    assert!(matches!(stick.open(None), Err(Refusal::OtherSeal)));
    assert!(matches!(stick.open(Some(&other)), Err(Refusal::OtherSeal)));
    let stranger = ExportFile::open(&stick.path(), &name("gw-1"), device(8), Some(&centre));
    assert!(matches!(stranger, Err(Refusal::Stranger(_))));
    let renamed = ExportFile::open(&stick.path(), &name("gw-2"), device(7), Some(&centre));
    assert!(matches!(renamed, Err(Refusal::OtherGateway(_))));
    assert_eq!(fs::read(stick.path()).unwrap(), before);
}

#[test]
fn two_exports_do_not_write_one_file() {
    let stick = Stick::new();
    let _first = stick.open(None).unwrap();
    assert!(matches!(stick.open(None), Err(Refusal::InUse)));
}
