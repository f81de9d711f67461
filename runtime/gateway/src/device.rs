//! The device key: what this machine signs with. Made once, in the state folder, and never replaced by itself: a centre that
//! knows its public half knows the machine by it. One that is to follow it lies beside it until each centre knows.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error as ThisError;
use tidegate_bundle::SigningKey;

use crate::cli::{Common, print};
use crate::config::Settings;
use crate::error::Error;

/// Longest key file: a key is one line.
const BYTES_MAX: u64 = 1024;

/// Why there is no device key.
#[derive(Debug, ThisError)]
pub(crate) enum Problem {
    #[error("it cannot be read or made")]
    File(#[from] io::Error),
    #[error("it can be read by others: chmod 600 it, if none of them has")]
    Open,
    #[error("it is not one")]
    Key(#[from] tidegate_bundle::Error),
}

/// The device key in this folder; made where there is none.
pub(crate) fn load_or_make(state: &Path) -> Result<SigningKey, Error> {
    load_or_make_at(path(state))
}

fn load_or_make_at(path: PathBuf) -> Result<SigningKey, Error> {
    let key = match read(&path) {
        Err(Problem::File(error)) if error.kind() == io::ErrorKind::NotFound => {
            make(&path).and_then(|()| read(&path))
        }
        read => read,
    };
    key.map_err(|source| Error::DeviceKey { path, source })
}

/// The device key in this folder. Where there is none, none is made: nobody would know it.
pub(crate) fn load(state: &Path) -> Result<SigningKey, Error> {
    let path = path(state);
    read(&path).map_err(|source| Error::DeviceKey { path, source })
}

/// The key that is to follow the device key; made where there is none.
pub(crate) fn load_or_make_next(state: &Path) -> Result<SigningKey, Error> {
    load_or_make_at(next(state))
}

/// Lets the next key be the device key: each centre knows it.
pub(crate) fn follow(state: &Path) -> Result<(), Error> {
    let path = next(state);
    let followed = fs::rename(&path, self::path(state))
        .and_then(|()| File::open(state))
        .and_then(|folder| folder.sync_all());
    followed.map_err(|error| Error::DeviceKey {
        path,
        source: Problem::File(error),
    })
}

/// `tidegate device-key`: the public half, for the centre's folder of device keys.
pub(crate) fn show(common: &Common) -> Result<(), Error> {
    let settings = Settings::read(&common.config)?;
    let key = load_or_make(&settings.state)?.public_key();
    let report = json!({
        "gateway": settings.name.as_str(), "device_key": key.to_text(), "key_id": key.id().to_string(),
    });
    print(common.output, &report, || format!("{}\n", key.to_text()));
    Ok(())
}

/// Where it is.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join("device.key")
}

fn next(state: &Path) -> PathBuf {
    state.join("device-next.key")
}

fn read(path: &Path) -> Result<SigningKey, Problem> {
    let metadata = fs::metadata(path)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Problem::Open);
    }
    if metadata.len() > BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
    }
    Ok(SigningKey::parse(&fs::read_to_string(path)?)?)
}

/// Under another name first, and on disk before it has its own: there is a whole key or none. If another process makes one
/// at the same time, the first that is named stays.
fn make(path: &Path) -> Result<(), Problem> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let part = path.with_extension(format!("{}.part", std::process::id()));
    fs::remove_file(&part).ok(); // Of a process of this number that was killed here.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)?;
    let text = format!("{}\n", SigningKey::generate()?.to_secret_text());
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let named = fs::hard_link(&part, path);
    fs::remove_file(&part)?;
    match named {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    Ok(File::open(folder)?.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let made = load_or_make(&state).unwrap().public_key();
        assert_eq!(load_or_make(&state).unwrap().public_key(), made);
        // Another process that found none at the same time.
        make(&path(&state)).unwrap();
        assert_eq!(load_or_make(&state).unwrap().public_key(), made);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path(&state)), 0o600);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);

        fs::set_permissions(path(&state), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load_or_make(&state).is_err());
    }

    #[test]
    fn a_damaged_key_is_refused_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        make(&path(folder.path())).unwrap();
        fs::write(path(folder.path()), b"half a key").unwrap();
        assert!(load_or_make(folder.path()).is_err());
        assert_eq!(fs::read(path(folder.path())).unwrap(), b"half a key");
    }
}
