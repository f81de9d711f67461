//! Signatures that some verifiers of Ed25519 take and others do not, in the manner of `ed25519-speccheck`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::{EdwardsPoint, Scalar};
use sha2::{Digest as _, Sha512};
use tidegate_bundle::SigningKey;

use super::Outcome;

/// L, the order of the group: with s + L in place of s the equation holds as well.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The secret half, as a number.
struct Secret {
    scalar: Scalar,
    public: [u8; 32],
}

impl Secret {
    fn of(key: &SigningKey) -> Outcome<Self> {
        let text = key.to_secret_text();
        let (_, encoded) = text
            .split_once(':')
            .ok_or("a secret key without a prefix")?;
        let seed: [u8; 32] = BASE64
            .decode(encoded)?
            .try_into()
            .map_err(|_| "a short seed")?;
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        Ok(Self {
            scalar: key.to_scalar(),
            public: key.verifying_key().to_bytes(),
        })
    }

    /// The signature with this R: s is `r` and what the challenge asks for.
    fn answer(&self, point: [u8; 32], r: Scalar, message: &[u8]) -> Vec<u8> {
        let challenge = Sha512::new()
            .chain_update(point)
            .chain_update(self.public)
            .chain_update(message)
            .finalize();
        let k = Scalar::from_bytes_mod_order_wide(&challenge.into());
        [point, (r + k * self.scalar).to_bytes()].concat()
    }
}

/// Forgeries of a signature of this message, by whoever has the key but should not be able to write two signatures, or has a
/// broken source of nonces.
pub(crate) fn forged(key: &SigningKey, message: &[u8]) -> Outcome<Vec<(String, Vec<u8>)>> {
    let secret = Secret::of(key)?;
    let genuine = key.sign(message);
    let mut all = vec![
        ("all bits zero".to_owned(), vec![0; 64]),
        ("all bits one".to_owned(), vec![0xff; 64]),
        (
            "the point at infinity, and s of zero".to_owned(),
            [EdwardsPoint::default().compress().to_bytes(), [0; 32]].concat(),
        ),
    ];
    let mut raised = genuine;
    for times in 1..=8 {
        raised = add_order(raised);
        all.push((format!("s + {times} L"), raised.to_vec()));
    }
    let r = Scalar::from(5_u8);
    for (order, point) in EIGHT_TORSION.iter().enumerate() {
        let small = point.compress().to_bytes();
        let name = format!("R is point {order} of small order");
        all.push((name, secret.answer(small, Scalar::ZERO, message)));
        if order > 0 {
            let mixed = (ED25519_BASEPOINT_POINT * r + point).compress().to_bytes();
            let name = format!("R has component {order} of small order");
            all.push((name, secret.answer(mixed, r, message)));
        }
    }
    for (index, point) in second_encodings().into_iter().enumerate() {
        let name = format!("R in second encoding {index}");
        all.push((name, secret.answer(point, Scalar::ZERO, message)));
    }
    Ok(all)
}

/// Another signature of the same message, by the same key: any nonce makes one.
pub(crate) fn another(key: &SigningKey, nonce: u64, message: &[u8]) -> Outcome<Vec<u8>> {
    let r = Scalar::from(nonce);
    let point = (ED25519_BASEPOINT_POINT * r).compress().to_bytes();
    Ok(Secret::of(key)?.answer(point, r, message))
}

/// The points of small order, and every encoding that is not the canonical one: no public key.
pub(crate) fn weak_keys() -> Vec<[u8; 32]> {
    let small = EIGHT_TORSION
        .iter()
        .map(|point| point.compress().to_bytes());
    small.chain(second_encodings()).collect()
}

/// y = p + k for all k for which that fits into 255 bits, with either sign of x.
fn second_encodings() -> Vec<[u8; 32]> {
    let signs = (0..19_u8).flat_map(|k| [(k, 0x7f_u8), (k, 0xff)]);
    let encoding = |(k, sign): (u8, u8)| {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed + k;
        bytes[31] = sign;
        bytes
    };
    signs.map(encoding).collect()
}

fn add_order(mut signature: [u8; 64]) -> [u8; 64] {
    let mut carry = 0_u16;
    for (byte, add) in signature.iter_mut().skip(32).zip(L) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    signature
}
