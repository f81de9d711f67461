//! Who this gateway is at a centre: where it was enrolled, and the signatures by which it is known there.
//!
//! The file `enrolment.json` in the state folder says at which centres, by address and id; it holds no secret. File and key
//! are read again when they have changed, so that neither `tidegate enrol` nor `tidegate device-key rotate` needs a restart.
//! Each request has a number of its own within the epoch: a process has one count for all centres, and each start has a new
//! epoch.

use std::error::Error as StdError;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tidegate_bundle::{Asked, Claim, SigningKey, StoreEpoch};
use tidegate_record::{Name, RequestSigner, ToSign};

use crate::device;

/// Largest file: a gateway has two centres at most, and had some before.
const BYTES_MAX: u64 = 64 << 10;

/// A centre that knows this gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Enrolment {
    /// Its address, as the uplink has it.
    pub(crate) url: String,
    /// Its id, from the token.
    pub(crate) centre: String,
    /// As which gateway.
    pub(crate) gateway: String,
}

/// Reads where this gateway was enrolled: nowhere, if there is no file.
pub(crate) fn enrolments(state: &Path) -> io::Result<Vec<Enrolment>> {
    let path = path(state);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(metadata) if metadata.len() > BYTES_MAX => {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        found => found.map(drop)?,
    }
    Ok(serde_json::from_slice(&fs::read(&path)?)?)
}

/// Notes that a centre knows this gateway, in place of what was noted of its address: the old file or the new one is there,
/// whatever happens.
pub(crate) fn note(state: &Path, enrolment: Enrolment) -> io::Result<()> {
    let mut all = enrolments(state)?;
    all.retain(|known| known.url != enrolment.url);
    all.push(enrolment);
    let part = path(state).with_extension("part");
    let mut file = File::create(&part)?;
    serde_json::to_writer_pretty(&mut file, &all)?;
    file.sync_all()?;
    fs::rename(&part, path(state))?;
    File::open(state)?.sync_all()
}

fn path(state: &Path) -> PathBuf {
    state.join("enrolment.json")
}

/// Signs for this gateway at one centre.
#[derive(Debug)]
pub(crate) struct Signer {
    state: PathBuf,
    gateway: Name,
    url: String,
    count: Arc<AtomicU64>,
    kept: Mutex<Kept>,
}

/// What was read, of which files.
#[derive(Debug, Default)]
struct Kept {
    of: Option<[Stamp; 2]>,
    centre: Option<String>,
    key: Option<SigningKey>,
}

/// A file that was replaced or changed has another one: inode, length, and time of change.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Signer {
    /// For the centre of this address. `count` is shared by all of the process.
    pub(crate) fn new(state: &Path, gateway: &Name, url: String, count: Arc<AtomicU64>) -> Self {
        Self {
            state: state.to_owned(),
            gateway: gateway.clone(),
            url,
            count,
            kept: Mutex::default(),
        }
    }

    fn read(&self) -> Result<Kept, Box<dyn StdError + Send + Sync>> {
        let of = [path(&self.state), device::path(&self.state)].map(|file| stamp(&file));
        let enrolled = enrolments(&self.state).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{}: {error}", path(&self.state).display()),
            )
        })?;
        let here = enrolled.into_iter().find(|known| known.url == self.url);
        let Some(Enrolment {
            centre, gateway, ..
        }) = here
        else {
            return Ok(Kept {
                of: Some(of),
                ..Kept::default()
            });
        };
        if gateway != self.gateway.as_str() {
            let message = format!(
                "this machine was enrolled as {gateway}, and gateway.toml says {}: enrol it again, or name it as it was",
                self.gateway
            );
            return Err(message.into());
        }
        Ok(Kept {
            of: Some(of),
            centre: Some(centre),
            key: Some(device::load(&self.state)?),
        })
    }
}

impl RequestSigner for Signer {
    fn sign(
        &self,
        request: &ToSign<'_>,
    ) -> Result<Option<String>, Box<dyn StdError + Send + Sync>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = [path(&self.state), device::path(&self.state)].map(|file| stamp(&file));
        if kept.of != Some(now) {
            *kept = Kept::default();
            *kept = self.read()?;
        }
        let (Some(centre), Some(key)) = (&kept.centre, &kept.key) else {
            return Ok(None);
        };
        let asked = Asked {
            centre,
            method: request.method,
            path: request.path,
            body: request.body,
        };
        let epoch = StoreEpoch {
            ordinal: request.epoch.ordinal,
            random: request.epoch.random,
        };
        let count = self.count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let claim = Claim::sign(key, self.gateway.as_str(), epoch, count, &asked)?;
        Ok(Some(claim.to_string()))
    }
}

fn stamp(file: &Path) -> Stamp {
    let metadata = fs::metadata(file).ok()?;
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    Some((metadata.ino(), metadata.len(), changed.0, changed.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_record::Epoch;

    const URL: &str = "https://centre.example/";

    fn enrolment(gateway: &str) -> Enrolment {
        Enrolment {
            url: URL.into(),
            centre: "0".repeat(32),
            gateway: gateway.into(),
        }
    }

    fn signer(state: &Path) -> Signer {
        let gateway = Name::new("gw-1").unwrap();
        Signer::new(state, &gateway, URL.into(), Arc::default())
    }

    const REQUEST: ToSign<'_> = ToSign {
        method: "POST",
        path: "/v1/sync",
        epoch: Epoch {
            ordinal: 3,
            random: 9,
        },
        body: b"rows",
    };

    fn claim(signer: &Signer) -> Claim {
        Claim::parse(&signer.sign(&REQUEST).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn a_gateway_signs_from_its_enrolment_on_and_counts() {
        let state = tempfile::tempdir().unwrap();
        let key = device::load_or_make(state.path()).unwrap().public_key();
        let signer = signer(state.path());
        assert_eq!(signer.sign(&REQUEST).unwrap(), None);
        note(state.path(), enrolment("gw-1")).unwrap();
        let asked = Asked {
            centre: &"0".repeat(32),
            method: "POST",
            path: "/v1/sync",
            body: b"rows",
        };
        for count in [1, 2] {
            let claim = claim(&signer);
            claim.verify(&key, &asked).unwrap();
            assert_eq!((claim.count, claim.epoch.ordinal), (count, 3));
        }
    }

    #[test]
    fn a_key_that_was_replaced_is_used_without_a_restart() {
        let state = tempfile::tempdir().unwrap();
        device::load_or_make(state.path()).unwrap();
        note(state.path(), enrolment("gw-1")).unwrap();
        let signer = signer(state.path());
        let before = claim(&signer).key_id;
        let next = device::load_or_make_next(state.path()).unwrap();
        assert_eq!(claim(&signer).key_id, before);
        device::follow(state.path()).unwrap();
        assert_eq!(claim(&signer).key_id, next.public_key().id());
    }

    #[test]
    fn nothing_is_sent_under_another_name_or_without_the_key() {
        let state = tempfile::tempdir().unwrap();
        note(state.path(), enrolment("gw-2")).unwrap();
        let error = signer(state.path()).sign(&REQUEST).unwrap_err();
        assert!(error.to_string().contains("enrolled as gw-2"), "{error}");
        note(state.path(), enrolment("gw-1")).unwrap();
        assert_eq!(enrolments(state.path()).unwrap(), [enrolment("gw-1")]);
        // A key that is gone is not made anew: the centre would not know it.
        assert!(signer(state.path()).sign(&REQUEST).is_err());
        fs::write(path(state.path()), "[{").unwrap();
        assert!(signer(state.path()).sign(&REQUEST).is_err());
    }
}
