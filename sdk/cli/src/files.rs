//! Files: read within a bound, written so that nothing is lost halfway, and keys that only their owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tidegate_bundle::{
    BUNDLE_BYTES_MAX, DOCUMENT_BYTES_MAX, OpeningKey, PublicKey, SigningKey, VerifiedRoot,
};
use tidegate_settings::Problem;

use crate::error::Error;

/// Key files are a few lines; one of another kind, which can be long, is told as what it is.
const KEY_BYTES_MAX: u64 = 16 * 1024;

/// What is wrong with a file that a person has written: each problem on a line of its own.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(path, problems))]
pub(crate) struct Problems {
    path: PathBuf,
    problems: Vec<Problem>,
}

impl Problems {
    pub(crate) fn of(path: &Path, problems: Vec<Problem>) -> Self {
        Self {
            path: path.to_owned(),
            problems,
        }
    }
}

fn lines(path: &Path, problems: &[Problem]) -> String {
    let lines = problems
        .iter()
        .map(|Problem { line, text }| format!("{}:{line}: {text}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

/// A whole file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        return Ok(bytes);
    }
    Err(Error::TooLarge {
        path: path.to_owned(),
        limit,
    })
}

pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, Error> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read(path, limit)?).map_err(|error| Error::Read {
        path: path.to_owned(),
        source: not_text(error),
    })
}

/// A signed document, within the bound of documents.
pub(crate) fn read_document(path: &Path) -> Result<Vec<u8>, Error> {
    read(path, DOCUMENT_BYTES_MAX as u64)
}

/// A bundle or component, within the bound of bundles.
pub(crate) fn read_bundle(path: &Path) -> Result<Vec<u8>, Error> {
    read(path, BUNDLE_BYTES_MAX as u64)
}

/// Replaces a file in one step: at any moment there is the old one or the new one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    });
    if written.is_err() {
        // What is reported is why it could not be written, not why its remains stay.
        fs::remove_file(&part).ok();
    }
    written.map_err(failed)
}

/// Writes a file that is not there yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let create = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    create().map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

/// A secret key that signs.
pub(crate) fn read_secret_key(path: &Path) -> Result<SigningKey, Error> {
    read_secret(path, SigningKey::parse_file)
}

/// A secret key that opens what is sealed to it.
pub(crate) fn read_opening_key(path: &Path) -> Result<OpeningKey, Error> {
    read_secret(path, OpeningKey::parse)
}

fn read_secret<K>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<K, tidegate_bundle::Error>,
) -> Result<K, Error> {
    let text = read_private_text(path)?;
    parse(&text).map_err(|source| Error::Document {
        path: path.to_owned(),
        source,
    })
}

/// A secret key or token; refused when others can read it.
pub(crate) fn read_private_text(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::OpenKey {
            path: path.to_owned(),
        });
    }
    read_text(path, KEY_BYTES_MAX)
}

pub(crate) fn read_public_key(path: &Path) -> Result<PublicKey, Error> {
    let text = read_text(path, KEY_BYTES_MAX)?;
    PublicKey::parse_file(&text).map_err(|source| Error::Document {
        path: path.to_owned(),
        source,
    })
}

/// The root that the user trusts.
pub(crate) fn read_root(path: &Path) -> Result<VerifiedRoot, Error> {
    let bytes = read_document(path)?;
    VerifiedRoot::open(&bytes).map_err(|source| Error::Document {
        path: path.to_owned(),
        source,
    })
}

/// The path with something added to its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
