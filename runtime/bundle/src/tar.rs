//! The archive, read strictly.
//!
//! Plain POSIX `ustar` with regular files and nothing else. General tar readers understand long-name, PAX and sparse
//! extensions, and disagreements between two of them have hidden files from one and shown them to the other; here
//! there is nothing to disagree about. Of a header, name and size are used. Owner, mode and times are not read.

use std::ops::Range;

use crate::Error;

pub(crate) const BLOCK: usize = 512;
/// The archive ends with two blocks of zeros.
const END: usize = 2 * BLOCK;
const WHAT: &str = "bundle";

const NAME: Range<usize> = 0..100;
const SIZE: Range<usize> = 124..136;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK_NAME: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const PREFIX: Range<usize> = 345..500;
const USTAR: &[u8] = b"ustar\x0000";

/// An entry: its name, and where its bytes stand.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) body: Range<usize>,
}

/// Reads all entries of an archive, at most `entries_max`, and the zeros after them.
pub(crate) fn read(bytes: &[u8], entries_max: usize) -> Result<Vec<Entry>, Error> {
    let truncated = |inside: String| Error::Truncated {
        what: WHAT,
        length: bytes.len(),
        inside,
    };
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let header = bytes
            .get(at..at + BLOCK)
            .ok_or_else(|| truncated("a header".to_owned()))?;
        if header.iter().all(|byte| *byte == 0) {
            check_end(bytes, at)?;
            return Ok(entries);
        }
        if entries.len() == entries_max {
            return Err(Error::malformed(
                "the bundle",
                format!("has more than {entries_max} entries"),
            ));
        }
        let (name, size) = read_header(header)?;
        let start = at + BLOCK;
        let end = start.checked_add(size).filter(|end| *end <= bytes.len());
        let end = end.ok_or_else(|| truncated(format!("entry {name}")))?;
        at = end.next_multiple_of(BLOCK);
        let padding = bytes
            .get(end..at)
            .ok_or_else(|| truncated(format!("the padding of entry {name}")))?;
        if let Some(stray) = padding.iter().position(|byte| *byte != 0) {
            return Err(Error::TrailingData {
                what: "entry",
                offset: end + stray,
            });
        }
        entries.push(Entry {
            name,
            body: start..end,
        });
    }
}

/// Appends an entry. Owner, times and mode are fixed, so that the same contents give the same bytes.
pub(crate) fn append(archive: &mut Vec<u8>, name: &str, body: &[u8]) {
    let mut header = Vec::with_capacity(BLOCK);
    let mut field = |bytes: &[u8], length: usize| {
        header.extend_from_slice(bytes);
        header.extend(std::iter::repeat_n(0, length.saturating_sub(bytes.len())));
    };
    field(name.as_bytes(), 100);
    field(b"0000644", 8);
    field(b"0000000", 8);
    field(b"0000000", 8);
    field(format!("{:011o}", body.len()).as_bytes(), 12);
    field(b"00000000000", 12);
    field(b"        ", 8);
    field(b"0", 1);
    field(b"", 100);
    field(USTAR, 8);
    field(b"", 32 + 32);
    field(b"0000000", 8);
    field(b"0000000", 8);
    field(b"", 155 + 12);
    let [checksum, _] = checksums(&header);
    header.splice(CHECKSUM, checksum.into_bytes());
    archive.extend_from_slice(&header);
    archive.extend_from_slice(body);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

/// Ends the archive.
pub(crate) fn finish(archive: &mut Vec<u8>) {
    archive.resize(archive.len() + END, 0);
}

fn check_end(bytes: &[u8], at: usize) -> Result<(), Error> {
    if bytes.len() < at + END {
        return Err(Error::Truncated {
            what: WHAT,
            length: bytes.len(),
            inside: "its end".to_owned(),
        });
    }
    match bytes.iter().skip(at).position(|byte| *byte != 0) {
        Some(offset) => Err(Error::TrailingData {
            what: WHAT,
            offset: at + offset,
        }),
        None => Ok(()),
    }
}

/// Name and size of a regular file.
pub(crate) fn read_header(header: &[u8]) -> Result<(String, usize), Error> {
    let field = |range: Range<usize>| header.get(range).unwrap_or_default();
    let malformed = |problem: &str| Error::malformed("a header of the archive", problem);
    if !checksums(header)
        .iter()
        .any(|spelling| field(CHECKSUM) == spelling.as_bytes())
    {
        return Err(malformed("does not match its checksum"));
    }
    if field(MAGIC) != USTAR {
        return Err(malformed("is not of the POSIX ustar format"));
    }
    let text = field(NAME)
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let name = String::from_utf8_lossy(text).into_owned();
    let unexpected = |why| {
        Err(Error::UnexpectedEntry {
            name: name.clone(),
            why,
        })
    };
    match header.get(TYPE) {
        Some(b'0') => {}
        Some(b'1') => return unexpected("a hard link"),
        Some(b'2') => return unexpected("a symbolic link"),
        Some(b'5') => return unexpected("a folder"),
        _ => return unexpected("not a regular file"),
    }
    let after_name = field(NAME).iter().skip(text.len());
    if after_name
        .chain(field(LINK_NAME))
        .chain(field(PREFIX))
        .any(|byte| *byte != 0)
    {
        return unexpected("a name in more than one piece");
    }
    let size = octal(field(SIZE)).ok_or_else(|| malformed("has no size in octal digits"))?;
    Ok((name, size))
}

/// The sum of all bytes, those of the checksum counted as spaces, in the two spellings that archivers use. In no other:
/// nothing else protects these eight bytes.
fn checksums(header: &[u8]) -> [String; 2] {
    let byte = |(index, byte): (usize, &u8)| {
        if CHECKSUM.contains(&index) {
            b' '
        } else {
            *byte
        }
    };
    let sum: usize = header.iter().enumerate().map(byte).map(usize::from).sum();
    [format!("{sum:06o}\0 "), format!("{sum:07o}\0")]
}

/// Octal digits, then only zero bytes and spaces.
fn octal(field: &[u8]) -> Option<usize> {
    let digits = field
        .iter()
        .take_while(|byte| (b'0'..=b'7').contains(byte))
        .count();
    let (digits, rest) = field.split_at_checked(digits)?;
    if digits.is_empty() || rest.is_empty() || !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0_usize, |value, digit| {
        value.checked_mul(8)?.checked_add(usize::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn archive() -> Vec<u8> {
        let mut archive = Vec::new();
        append(&mut archive, "a", b"hello");
        append(&mut archive, "b", &[7; 512]);
        append(&mut archive, "c", b"");
        finish(&mut archive);
        archive
    }

    #[test]
    fn an_archive_reads_back_here_and_in_a_reader_of_another_make() {
        let bytes = archive();
        let ours = read(&bytes, 3).unwrap();
        let mut theirs = tar::Archive::new(&*bytes);
        for (entry, other) in ours.iter().zip(theirs.entries().unwrap()) {
            let mut other = other.unwrap();
            assert_eq!(other.path().unwrap().to_str().unwrap(), entry.name);
            let mut body = Vec::new();
            other.read_to_end(&mut body).unwrap();
            assert_eq!(body, bytes[entry.body.clone()]);
        }
        assert_eq!(ours.len(), 3);
    }

    #[test]
    fn an_archive_of_another_make_is_read_if_it_is_plain_ustar() {
        let mut builder = tar::Builder::new(Vec::new());
        for mut header in [tar::Header::new_ustar(), tar::Header::new_gnu()] {
            header.set_size(3);
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(0o600);
            header.set_mtime(1_700_000_000);
            builder.append_data(&mut header, "x", &b"abc"[..]).unwrap();
        }
        let bytes = builder.into_inner().unwrap();
        let error = read(&bytes, 3).unwrap_err();
        assert!(error.to_string().contains("ustar"), "{error}");
        let mut only_ustar = bytes[..2 * BLOCK].to_vec();
        finish(&mut only_ustar);
        assert_eq!(read(&only_ustar, 3).unwrap()[0].name, "x");
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = archive();
        for length in 0..bytes.len() {
            assert_eq!(
                read(&bytes[..length], 3).unwrap_err().reason(),
                "truncated",
                "{length}"
            );
        }
    }
}
