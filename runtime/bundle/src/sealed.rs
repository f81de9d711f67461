//! Sealing a file to the centre's key, so that a lost stick tells nobody anything.
//!
//! A content key of the file's own encrypts its pieces (XChaCha20-Poly1305, a random nonce each). The file begins with a
//! preface in which that key is sealed to the centre: HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! ChaCha20-Poly1305. The gateway derives the content key from its device key and the preface's salt: it can go on with a
//! file that it began, and has nothing to remember for that.
//!
//! Who sealed a file, this does not say: that is the signature's, inside.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};

use crate::keys::{key_bytes, key_text};
use crate::{Digest, Error, KeyId, SigningKey};

const PUBLIC_PREFIX: &str = "tidegate-x25519-public:";
const SECRET_PREFIX: &str = "tidegate-x25519-secret:";

/// What the sealed key is for.
const INFO: &[u8] = b"tidegate-export-1";

/// Bytes that a sealed piece is longer than what it seals: nonce and tag.
pub const SEAL_BYTES: usize = NONCE_BYTES + 16;

/// Bytes of the preface: salt, id of the recipient's key, encapsulated key, sealed content key.
pub const PREFACE_BYTES: usize = 32 + 32 + 32 + 48;

const NONCE_BYTES: usize = 24;

type PublicX25519 = <X25519HkdfSha256 as Kem>::PublicKey;
type SecretX25519 = <X25519HkdfSha256 as Kem>::PrivateKey;
type Encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey;

/// The public half of a key that files are sealed to.
#[derive(Clone)]
pub struct SealingKey(PublicX25519);

/// The secret half: opens what is sealed to the key. Never shown by `Debug`.
pub struct OpeningKey(SecretX25519);

impl SealingKey {
    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// `malformed` for a text of another form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bytes = key_bytes(text, PUBLIC_PREFIX, "sealing key")?;
        let key = PublicX25519::from_bytes(&bytes);
        key.map(Self)
            .map_err(|_| Error::malformed("the sealing key", "is no point of the curve"))
    }

    /// The text form, without a line end.
    #[must_use]
    pub fn to_text(&self) -> String {
        key_text(PUBLIC_PREFIX, &self.0.to_bytes())
    }

    /// The id of this key: the SHA-256 of its bytes.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.0.to_bytes())
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.id())
    }
}

impl OpeningKey {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    ///
    /// `no-random` if the system has none.
    pub fn generate() -> Result<Self, Error> {
        let (secret, _) = X25519HkdfSha256::derive_keypair(&random::<32>()?);
        Ok(Self(secret))
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// `malformed` for a text of another form. The error never repeats the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bytes = key_bytes(text, SECRET_PREFIX, "opening key")?;
        let key = SecretX25519::from_bytes(&bytes);
        key.map(Self)
            .map_err(|_| Error::malformed("the opening key", "is not one of X25519"))
    }

    /// The text form, without a line end. A secret: write it to a file of mode 0600.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        key_text(SECRET_PREFIX, &self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn sealing_key(&self) -> SealingKey {
        SealingKey(X25519HkdfSha256::sk_to_pk(&self.0))
    }
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpeningKey({})", self.sealing_key().id())
    }
}

/// The key of one sealed file, with the preface that it begins with.
pub struct ContentKey {
    cipher: XChaCha20Poly1305,
    preface: [u8; PREFACE_BYTES],
}

impl ContentKey {
    /// A new one, for a file that the holder of `to` can open, and the device itself.
    ///
    /// # Errors
    ///
    /// `no-random`, or `weak-key` if nothing can be sealed to the key.
    pub fn seal(to: &SealingKey, device: &SigningKey) -> Result<Self, Error> {
        let salt = random::<32>()?;
        let content = device.derive(INFO, &salt);
        let mut preface = salt.to_vec();
        preface.extend_from_slice(Digest::of(&to.0.to_bytes()).as_bytes());
        let (encapsulated, sealed) = hpke::single_shot_seal::<
            ChaCha20Poly1305,
            HkdfSha256,
            X25519HkdfSha256,
        >(&OpModeS::Base, &to.0, INFO, &content, &preface)
        .map_err(|_| Error::WeakKey { key_id: to.id() })?;
        preface.extend_from_slice(&encapsulated.to_bytes());
        preface.extend_from_slice(&sealed);
        Self::new(&preface, &content)
    }

    /// That of a file that this device has begun.
    ///
    /// # Errors
    ///
    /// `truncated` if the preface is none. Whether it is of this device shows with the first piece.
    pub fn of_device(preface: &[u8], device: &SigningKey) -> Result<Self, Error> {
        let (salt, _) = preface.split_first_chunk::<32>().ok_or(cut(preface))?;
        Self::new(preface, &device.derive(INFO, salt))
    }

    /// That of a file that is sealed to this key.
    ///
    /// # Errors
    ///
    /// `truncated`, `wrong-recipient` if it is sealed to another key, `unsealable` if the preface was changed.
    pub fn open(preface: &[u8], with: &OpeningKey) -> Result<Self, Error> {
        let (head, rest) = preface.split_first_chunk::<64>().ok_or(cut(preface))?;
        let (encapsulated, sealed) = rest.split_first_chunk::<32>().ok_or(cut(preface))?;
        let (found, expected) = (with.sealing_key().id(), recipient(preface)?);
        if found != expected {
            return Err(Error::WrongRecipient { expected, found });
        }
        let unsealable = |_| Error::Unsealable { what: "preface" };
        let content = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &with.0,
            &Encapsulated::from_bytes(encapsulated).map_err(unsealable)?,
            INFO,
            sealed,
            head,
        );
        let content = content.map_err(unsealable)?;
        let content = content
            .try_into()
            .map_err(|_| Error::Unsealable { what: "preface" })?;
        Self::new(preface, &content)
    }

    fn new(preface: &[u8], content: &[u8; 32]) -> Result<Self, Error> {
        Ok(Self {
            cipher: XChaCha20Poly1305::new(content.into()),
            preface: preface.try_into().map_err(|_| cut(preface))?,
        })
    }

    /// What the file begins with.
    #[must_use]
    pub const fn preface(&self) -> &[u8; PREFACE_BYTES] {
        &self.preface
    }

    /// Seals a piece of the file.
    ///
    /// # Errors
    ///
    /// `no-random` if the system has no random numbers.
    pub fn seal_piece(&self, piece: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce = random::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: piece,
            aad: &self.preface,
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::Unsealable { what: "piece" })?;
        let mut all = nonce.to_vec();
        all.extend_from_slice(&sealed);
        Ok(all)
    }

    /// Opens a piece of the file.
    ///
    /// # Errors
    ///
    /// `unsealable` if it is of another file, or was changed.
    pub fn open_piece(&self, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let unsealable = Error::Unsealable { what: "piece" };
        let Some((nonce, sealed)) = sealed.split_first_chunk::<NONCE_BYTES>() else {
            return Err(unsealable);
        };
        let payload = Payload {
            msg: sealed,
            aad: &self.preface,
        };
        self.cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| unsealable)
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentKey").finish_non_exhaustive()
    }
}

/// Whose key a file with this preface is sealed to.
///
/// # Errors
///
/// `truncated` if it is no preface.
pub fn recipient(preface: &[u8]) -> Result<KeyId, Error> {
    let (_, rest) = preface.split_first_chunk::<32>().ok_or(cut(preface))?;
    let (id, _) = rest.split_first_chunk::<32>().ok_or(cut(preface))?;
    Ok(KeyId::from_digest(*id))
}

fn cut(preface: &[u8]) -> Error {
    Error::Truncated {
        what: "sealed file",
        length: preface.len(),
        inside: "its preface".to_owned(),
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::NoRandom(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    #[test]
    fn the_centre_and_the_device_open_what_is_sealed_and_nobody_else() {
        let centre = OpeningKey::generate().unwrap();
        let key = ContentKey::seal(&centre.sealing_key(), &device()).unwrap();
        let piece = key.seal_piece(b"rows").unwrap();
        assert_eq!(piece.len(), 4 + SEAL_BYTES);
        let preface = *key.preface();
        let at_the_centre = ContentKey::open(&preface, &centre).unwrap();
        assert_eq!(at_the_centre.open_piece(&piece).unwrap(), b"rows");
        let again = ContentKey::of_device(&preface, &device()).unwrap();
        assert_eq!(again.open_piece(&piece).unwrap(), b"rows");

        let stranger = OpeningKey::generate().unwrap();
        let refused = ContentKey::open(&preface, &stranger).unwrap_err();
        assert_eq!(refused.reason(), "wrong-recipient");
        let other = ContentKey::of_device(&preface, &SigningKey::from_seed(&[8; 32])).unwrap();
        assert_eq!(other.open_piece(&piece).unwrap_err().reason(), "unsealable");
    }

    #[test]
    fn a_piece_of_another_file_or_with_a_flipped_bit_does_not_open() {
        let centre = OpeningKey::generate().unwrap().sealing_key();
        let key = ContentKey::seal(&centre, &device()).unwrap();
        let other = ContentKey::seal(&centre, &device()).unwrap();
        let piece = key.seal_piece(b"rows").unwrap();
        assert!(other.open_piece(&piece).is_err());
        for bit in 0..piece.len() * 8 {
            let mut flipped = piece.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open_piece(&flipped).is_err(), "bit {bit}");
        }
        for end in 0..piece.len() {
            assert!(key.open_piece(&piece[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn no_changed_preface_opens() {
        let centre = OpeningKey::generate().unwrap();
        let key = ContentKey::seal(&centre.sealing_key(), &device()).unwrap();
        let piece = key.seal_piece(b"rows").unwrap();
        for byte in 0..PREFACE_BYTES {
            let mut changed = *key.preface();
            changed[byte] ^= 1;
            assert!(ContentKey::open(&changed, &centre).is_err(), "byte {byte}");
            let of_device = ContentKey::of_device(&changed, &device()).unwrap();
            assert!(of_device.open_piece(&piece).is_err(), "byte {byte}");
        }
        assert!(ContentKey::open(&key.preface()[1..], &centre).is_err());
    }

    #[test]
    fn keys_read_back_from_their_text_and_a_secret_is_not_shown() {
        let secret = OpeningKey::generate().unwrap();
        let read = OpeningKey::parse(&format!("{}\n", secret.to_secret_text())).unwrap();
        assert_eq!(read.sealing_key().id(), secret.sealing_key().id());
        let public = SealingKey::parse(&secret.sealing_key().to_text()).unwrap();
        assert_eq!(public.id(), secret.sealing_key().id());
        let text = secret.to_secret_text();
        let encoded = text.strip_prefix(SECRET_PREFIX).unwrap();
        assert!(!format!("{secret:?}").contains(encoded));
        assert!(SealingKey::parse(&text).is_err());
        assert!(OpeningKey::parse(&secret.sealing_key().to_text()).is_err());
    }
}
