//! Keys, their ids and their text form.
//!
//! A key file is one line: `tidegate-ed25519-public:` or `tidegate-ed25519-secret:`, then the 32 bytes of the key in
//! base64; or it is in PEM (`pem`), as other tools write it. Who reads a secret key file checks first that nobody else
//! can (mode 0600); this crate does no I/O.

mod pem;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

use crate::{Digest, Error, SIGNATURE_BYTES};

const PUBLIC_PREFIX: &str = "tidegate-ed25519-public:";
const SECRET_PREFIX: &str = "tidegate-ed25519-secret:";

/// The id of a key: the SHA-256 of the 32 bytes of its public half. So a key has one id, whoever lists it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct KeyId(Digest);

impl KeyId {
    /// Reads 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    ///
    /// `malformed` for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Digest::parse(text).map(Self)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(crate) fn of(public_key: &[u8]) -> Self {
        Self(Digest::of(public_key))
    }

    pub(crate) const fn from_digest(bytes: [u8; 32]) -> Self {
        Self(Digest::from_bytes(bytes))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A public Ed25519 key that passed import: canonical, and not of small order.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Imports the 32 bytes of a public key.
    ///
    /// # Errors
    ///
    /// `malformed` if they are no point of the curve, `weak-key` if signatures under them would prove nothing: a point
    /// of small order, under which a signature for one message holds for others, or a point that has a second encoding.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        let key = VerifyingKey::from_bytes(bytes)
            .map_err(|_| Error::malformed("the public key", "is no point of the curve"))?;
        if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
            return Err(Error::WeakKey {
                key_id: KeyId(Digest::of(bytes)),
            });
        }
        Ok(Self(key))
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// As [`PublicKey::from_bytes`], and `malformed` for a text of another form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::from_bytes(&key_bytes(text, PUBLIC_PREFIX, "public key")?)
    }

    /// The text form, without a line end.
    #[must_use]
    pub fn to_text(&self) -> String {
        key_text(PUBLIC_PREFIX, self.0.as_bytes())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The id of this key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(self.as_bytes()))
    }

    /// Whether the signature holds: `verify_strict` and nothing else.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let signature = Signature::from_bytes(signature);
        #[cfg(feature = "faults")]
        if crate::faults::verifies_loosely(&self.0, message, &signature) {
            return true;
        }
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

/// What signs documents: a key at hand, or one that is kept where this program cannot read it.
pub trait Sign {
    /// The key under which its signatures must hold.
    fn public_key(&self) -> PublicKey;

    /// Signs a message. Whether the signature holds is for its user to check.
    ///
    /// # Errors
    ///
    /// `signer` if it does not.
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], Error>;
}

impl Sign for SigningKey {
    fn public_key(&self) -> PublicKey {
        Self::public_key(self)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], Error> {
        Ok(Self::sign(self, message))
    }
}

/// A secret key. Overwritten in memory when dropped; never shown by `Debug`.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    ///
    /// `no-random` if the system has none.
    pub fn generate() -> Result<Self, Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::NoRandom(error.to_string()))?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a 32-byte seed (RFC 8032's secret key).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// `malformed` for a text of another form. The error never repeats the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self::from_seed(&key_bytes(
            text,
            SECRET_PREFIX,
            "secret key",
        )?))
    }

    /// The text form, without a line end. A secret: write it to a file of mode 0600.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        key_text(SECRET_PREFIX, self.0.as_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a message. Documents are signed through [`crate::Envelope::sign`].
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }

    /// A key for another purpose, which tells nothing of this one: HMAC-SHA-256 of `purpose` and `salt`.
    pub(crate) fn derive(&self, purpose: &[u8], salt: &[u8; 32]) -> [u8; 32] {
        let mut key = [0; 64]; // A block of SHA-256: HMAC fills a shorter key up with zeros.
        key.iter_mut()
            .zip(self.0.as_bytes())
            .for_each(|(to, from)| *to = *from);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&key.into());
        mac.update(purpose);
        mac.update(salt);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public_key().id())
    }
}

/// `prefix` and the bytes in base64.
pub(crate) fn key_text(prefix: &str, bytes: &[u8]) -> String {
    format!("{prefix}{}", BASE64.encode(bytes))
}

/// Reads `prefix` and 32 bytes in base64; one line end at the end is allowed.
pub(crate) fn key_bytes(text: &str, prefix: &str, what: &str) -> Result<[u8; 32], Error> {
    let bad = |problem: String| Error::malformed(format!("the {what}"), problem);
    let line = text.strip_suffix('\n').unwrap_or(text);
    let encoded = line
        .strip_prefix(prefix)
        .ok_or_else(|| bad(format!("must be one line that begins with {prefix}")))?;
    let bytes = BASE64
        .decode(encoded)
        .map_err(|_| bad("is not base64".to_owned()))?;
    <[u8; 32]>::try_from(bytes)
        .map_err(|bytes| bad(format!("is {} bytes long, must be 32", bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_from_its_text() {
        let key = SigningKey::from_seed(&[7; 32]);
        let read = SigningKey::parse(&format!("{}\n", key.to_secret_text())).unwrap();
        assert_eq!(read.public_key(), key.public_key());
        let public = PublicKey::parse(&key.public_key().to_text()).unwrap();
        assert_eq!(public.id(), key.public_key().id());
    }

    #[test]
    fn a_secret_is_neither_shown_nor_repeated_in_an_error() {
        let key = SigningKey::from_seed(&[7; 32]);
        let secret = key.to_secret_text();
        let encoded = secret.strip_prefix(SECRET_PREFIX).unwrap();
        assert!(!format!("{key:?}").contains(encoded));
        let error = SigningKey::parse(&format!("{secret}=")).unwrap_err();
        assert!(!error.to_string().contains(encoded));
        // The wrong half is refused, whichever way round.
        assert_eq!(PublicKey::parse(&secret).unwrap_err().reason(), "malformed");
        assert_eq!(
            SigningKey::parse(&key.public_key().to_text())
                .unwrap_err()
                .reason(),
            "malformed"
        );
    }
}
