//! An archive as a bundle or stick has it, taken apart without a look at whether it is right, and put together again so
//! that it is: lengths, padding and checksums.

use crate::Chance;

const BLOCK: usize = 512;

/// A header and what follows it.
#[derive(Debug, Clone)]
pub struct Entry {
    header: Vec<u8>,
    /// The bytes of the entry.
    pub body: Vec<u8>,
}

impl Entry {
    /// An entry of this name.
    #[must_use]
    pub fn new(name: &str, body: &[u8]) -> Self {
        let mut header = vec![0; BLOCK];
        let fields: [(usize, &[u8]); 7] = [
            (0, name.as_bytes()),
            (100, b"0000644"),
            (108, b"0000000"),
            (116, b"0000000"),
            (136, b"00000000000"),
            (156, b"0"),
            (257, b"ustar\x0000"),
        ];
        for (at, bytes) in fields {
            if let Some(place) = header.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
        Self {
            header,
            body: body.to_vec(),
        }
    }

    /// Its name, as far as it is text.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.header.iter().take(100).take_while(|byte| **byte != 0);
        String::from_utf8_lossy(&name.copied().collect::<Vec<_>>()).into_owned()
    }
}

/// The entries of an archive, as far as it goes.
#[must_use]
pub fn read(mut archive: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Some((header, rest)) = archive.split_at_checked(BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let digits = header.iter().skip(124).take(11);
        let size = digits.fold(0_usize, |size, digit| {
            size.saturating_mul(8)
                .saturating_add(usize::from(digit & 7))
        });
        let size = size.min(rest.len());
        let padded = size.next_multiple_of(BLOCK).min(rest.len());
        let (body, rest) = (rest.split_at(size).0, rest.split_at(padded).1);
        entries.push(Entry {
            header: header.to_vec(),
            body: body.to_vec(),
        });
        archive = rest;
    }
    entries
}

/// An archive of these entries.
#[must_use]
pub fn write(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for Entry { header, body } in entries {
        let mut header = header.clone();
        header.resize(BLOCK, 0);
        set(&mut header, 124, &format!("{:011o}\0", body.len()));
        set(&mut header, 148, "        ");
        let sum: usize = header.iter().map(|byte| usize::from(*byte)).sum();
        set(&mut header, 148, &format!("{sum:06o}\0 "));
        archive.extend(header);
        archive.extend(body);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn set(header: &mut [u8], at: usize, text: &str) {
    if let Some(place) = header.get_mut(at..at + text.len()) {
        place.copy_from_slice(text.as_bytes());
    }
}

/// The archive with one thing changed: an entry left out, repeated, moved, its header or, by `change`, its body changed.
pub fn change(
    archive: &[u8],
    chance: &mut Chance,
    change: impl FnOnce(&mut Entry, &mut Chance),
) -> Option<Vec<u8>> {
    let mut entries = read(archive);
    let (at, other) = (chance.below(entries.len()), chance.below(entries.len()));
    let entry = entries.get_mut(at)?;
    match chance.below(10) {
        0 => drop(entries.remove(at)),
        1 => {
            let again = entry.clone();
            entries.push(again);
        }
        2 => entries.swap(at, other),
        3 | 4 => chance.change(&mut entry.header),
        _ => change(entry, chance),
    }
    Some(write(&entries))
}
