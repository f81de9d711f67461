//! Keys as other tools write them: in PEM, a secret key as PKCS#8 and a public one as SPKI, both as RFC 8410 says.
//!
//! What `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write. A key of any other kind is refused with
//! what to do about it, because whoever gives it has just made it.

use std::fmt::Display;

use ed25519_dalek::pkcs8::spki::SubjectPublicKeyInfoRef;
use ed25519_dalek::pkcs8::{
    ALGORITHM_OID, ObjectIdentifier, PrivateKeyInfoRef, PublicKeyBytes, SecretDocument,
};

use super::{PublicKey, SigningKey};
use crate::Error;

/// How every key in PEM begins.
const BEGIN: &str = "-----BEGIN ";

/// One half of a key, and how it must be labelled.
struct Half {
    name: &'static str,
    label: &'static str,
    /// What it is, and which command makes one.
    wanted: &'static str,
}

const SECRET: Half = Half {
    name: "the secret key",
    label: "PRIVATE KEY",
    wanted: "an Ed25519 key in PKCS#8, as openssl genpkey -algorithm ed25519 makes it",
};
const PUBLIC: Half = Half {
    name: "the public key",
    label: "PUBLIC KEY",
    wanted: "that of an Ed25519 key, as openssl pkey -pubout makes it",
};

impl SigningKey {
    /// Reads the text of a secret key file: the text form, or PKCS#8 in PEM.
    ///
    /// # Errors
    ///
    /// `malformed` for a text of another form and for a key of another kind. The error never repeats the text.
    pub fn parse_file(text: &str) -> Result<Self, Error> {
        if !text.contains(BEGIN) {
            return Self::parse(text);
        }
        let document = SECRET.decode(text)?;
        let info = PrivateKeyInfoRef::try_from(document.as_bytes())
            .map_err(|error| SECRET.unreadable(&error))?;
        SECRET.check(info.algorithm.oid)?;
        // Where the public half is given as well, it must be that of the secret half.
        let key = ed25519_dalek::SigningKey::try_from(info)
            .map_err(|_| SECRET.refuse("is damaged, or its halves do not belong together"))?;
        Ok(Self(key))
    }
}

impl PublicKey {
    /// Reads the text of a public key file: the text form, or SPKI in PEM.
    ///
    /// # Errors
    ///
    /// As [`PublicKey::from_bytes`], and `malformed` for a text of another form and for a key of another kind.
    pub fn parse_file(text: &str) -> Result<Self, Error> {
        if !text.contains(BEGIN) {
            return Self::parse(text);
        }
        let document = PUBLIC.decode(text)?;
        let info = SubjectPublicKeyInfoRef::try_from(document.as_bytes())
            .map_err(|error| PUBLIC.unreadable(&error))?;
        PUBLIC.check(info.algorithm.oid)?;
        let bytes = PublicKeyBytes::try_from(info).map_err(|error| PUBLIC.unreadable(&error))?;
        Self::from_bytes(&bytes.0)
    }
}

impl Half {
    /// The DER inside, if this half is what the label says.
    fn decode(&self, text: &str) -> Result<SecretDocument, Error> {
        let label = label(text).ok_or_else(|| self.unreadable(&"it has no label"))?;
        // An older kind of PEM says only in a header that it is encrypted.
        if label.starts_with("ENCRYPTED") || text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(self.refuse(
                "is encrypted, and nothing here asks for a passphrase: \
                 decrypt it with openssl pkey -in FILE -out NEW, or sign with a command (a signer file)",
            ));
        }
        if label != self.label {
            return Err(self.refuse(format!("is a {label:?}, must be {}", self.wanted)));
        }
        let (_, document) =
            SecretDocument::from_pem(text).map_err(|error| self.unreadable(&error))?;
        Ok(document)
    }

    fn check(&self, algorithm: ObjectIdentifier) -> Result<(), Error> {
        if algorithm == ALGORITHM_OID {
            return Ok(());
        }
        let name = match algorithm.to_string().as_str() {
            "1.2.840.113549.1.1.1" => "RSA".to_owned(),
            "1.2.840.10045.2.1" => "ECDSA".to_owned(),
            "1.3.101.110" => "X25519".to_owned(),
            "1.3.101.113" => "Ed448".to_owned(),
            other => format!("the algorithm {other}"),
        };
        Err(self.refuse(format!("is one for {name}, must be {}", self.wanted)))
    }

    fn unreadable(&self, error: &impl Display) -> Error {
        self.refuse(format!(
            "cannot be read as PEM ({error}), must be {}",
            self.wanted
        ))
    }

    fn refuse(&self, problem: impl Into<String>) -> Error {
        Error::malformed(self.name, problem)
    }
}

/// The label on the first line. Of anything else on that line nothing is told: it could be the secret.
fn label(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(BEGIN)?;
    let label = rest.lines().next()?.strip_suffix("-----")?;
    let is_label = |label: &&str| label.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
    Some(label).filter(is_label)
}

#[cfg(test)]
mod tests;
