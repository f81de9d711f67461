//! What signs: a secret key in a file, or a command that has its key elsewhere.
//!
//! Every `--key` names a file. One whose name ends in `.toml` is a signer file (`signer`); any other holds the secret key
//! itself, in our own form or as PKCS#8 in PEM, and is refused if others can read it.

use std::path::{Path, PathBuf};

use tidegate_bundle::{PublicKey, SIGNATURE_BYTES, Sign, SigningKey};

use crate::error::Error;
use crate::files;
use crate::signer::Signer;

#[derive(Debug)]
pub(crate) enum Key {
    Secret(SigningKey),
    Elsewhere(Signer),
}

impl Key {
    pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>, Error> {
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Result<Self, Error> {
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            Signer::read(path).map(Self::Elsewhere)
        } else {
            files::read_secret_key(path).map(Self::Secret)
        }
    }
}

impl Sign for Key {
    fn public_key(&self) -> PublicKey {
        match self {
            Self::Secret(key) => key.public_key(),
            Self::Elsewhere(signer) => signer.public_key(),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], tidegate_bundle::Error> {
        match self {
            Self::Secret(key) => Sign::sign(key, message),
            Self::Elsewhere(signer) => signer.sign(message),
        }
    }
}
