//! What a device signs so that a centre knows it: its enrolment, the change of its key, and each of its requests.
//!
//! Each is signed over a type of its own and over lines of text, one for each field (docs/formats/device.md), so that none
//! can be passed off as another, or as a document. All name the centre by its id: what one centre was sent is worth nothing
//! at another. A [`Claim`] also names the opening of the gateway's database and counts requests within it, by which a centre
//! knows one that comes again; no clock is asked.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::{Digest, Error, KeyId, PublicKey, SIGNATURE_BYTES, SigningKey, StoreEpoch};
use crate::{signed_bytes, text};

const ENROLMENT_TYPE: &str = "application/vnd.tidegate.enrolment.v1";
const KEY_CHANGE_TYPE: &str = "application/vnd.tidegate.key-change.v1";
const REQUEST_TYPE: &str = "application/vnd.tidegate.request.v1";

/// What a claim's text begins with.
const CLAIM_VERSION: &str = "1";

/// Longest text of a claim, in bytes: more is not looked at.
const CLAIM_BYTES_MAX: usize = 512;

/// A device asks a centre to be known as a gateway.
#[derive(Debug, Clone, Copy)]
pub struct Enrolment<'a> {
    /// Id of the centre.
    pub centre: &'a str,
    /// SHA-256 of the token's text. The token itself is not signed, so that a signature tells nothing of it.
    pub token: Digest,
    /// Name of the gateway.
    pub gateway: &'a str,
}

impl Enrolment<'_> {
    /// Signs with the key that is to be known.
    ///
    /// # Errors
    ///
    /// `malformed` for a field with a line end.
    pub fn sign(&self, device: &SigningKey) -> Result<[u8; SIGNATURE_BYTES], Error> {
        Ok(device.sign(&self.message(&device.public_key())?))
    }

    /// Whether the holder of `device` asks for this.
    ///
    /// # Errors
    ///
    /// `bad-signature`, and `malformed` for a field with a line end.
    pub fn verify(
        &self,
        device: &PublicKey,
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<(), Error> {
        verify("enrolment", device, &self.message(device)?, signature)
    }

    fn message(&self, device: &PublicKey) -> Result<Vec<u8>, Error> {
        let (token, key) = (self.token.to_string(), device.to_text());
        message(ENROLMENT_TYPE, &[self.centre, &token, self.gateway, &key])
    }
}

/// A device changes its key: signed by the old one and by the new one.
#[derive(Debug, Clone, Copy)]
pub struct KeyChange<'a> {
    /// Id of the centre.
    pub centre: &'a str,
    /// Name of the gateway.
    pub gateway: &'a str,
    /// The key that the centre knows.
    pub old: KeyId,
    /// The key that is to follow it.
    pub new: &'a PublicKey,
}

impl KeyChange<'_> {
    /// Signs with one of the two keys.
    ///
    /// # Errors
    ///
    /// `malformed` for a field with a line end.
    pub fn sign(&self, device: &SigningKey) -> Result<[u8; SIGNATURE_BYTES], Error> {
        Ok(device.sign(&self.message()?))
    }

    /// Whether the holder of `device`, one of the two keys, wants this.
    ///
    /// # Errors
    ///
    /// `bad-signature`, and `malformed` for a field with a line end.
    pub fn verify(
        &self,
        device: &PublicKey,
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<(), Error> {
        verify("change of key", device, &self.message()?, signature)
    }

    fn message(&self) -> Result<Vec<u8>, Error> {
        let (old, new) = (self.old.to_string(), self.new.to_text());
        message(KEY_CHANGE_TYPE, &[self.centre, self.gateway, &old, &new])
    }
}

/// What is asked of a centre.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Id of the centre.
    pub centre: &'a str,
    /// Method, in upper case.
    pub method: &'a str,
    /// Path of the API, with its query: without what stands before `/v1` in the centre's address.
    pub path: &'a str,
    /// The body; empty if there is none.
    pub body: &'a [u8],
}

/// Who asks, as the header of a request says, with the signature that it stands on. Nothing of it is to be believed before
/// [`Claim::verify`], except for which key to verify it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The key that signed.
    pub key_id: KeyId,
    /// Name of the gateway.
    pub gateway: String,
    /// The opening of its database.
    pub epoch: StoreEpoch,
    /// Counts its requests within that opening, from 1.
    pub count: u64,
    signature: [u8; SIGNATURE_BYTES],
}

impl Claim {
    /// Signs a request.
    ///
    /// # Errors
    ///
    /// `malformed` for a field with a line end.
    pub fn sign(
        device: &SigningKey,
        gateway: &str,
        epoch: StoreEpoch,
        count: u64,
        asked: &Asked<'_>,
    ) -> Result<Self, Error> {
        let mut claim = Self {
            key_id: device.public_key().id(),
            gateway: gateway.to_owned(),
            epoch,
            count,
            signature: [0; SIGNATURE_BYTES],
        };
        claim.signature = device.sign(&claim.message(asked)?);
        Ok(claim)
    }

    /// Whether the holder of `device` asks for exactly this.
    ///
    /// # Errors
    ///
    /// `bad-signature`, `wrong-key` if it names another key, and `malformed` for a field with a line end.
    pub fn verify(&self, device: &PublicKey, asked: &Asked<'_>) -> Result<(), Error> {
        const DOCUMENT: &str = "request";
        if device.id() != self.key_id {
            return Err(Error::WrongKey { document: DOCUMENT });
        }
        verify(DOCUMENT, device, &self.message(asked)?, &self.signature)
    }

    /// Reads the value of the header: seven fields with a space between.
    ///
    /// # Errors
    ///
    /// `malformed` for a text of another form.
    pub fn parse(claim: &str) -> Result<Self, Error> {
        let bad = |problem: &str| Error::malformed("the claim of a device", problem);
        let fields: Vec<&str> = match claim.len() {
            0..=CLAIM_BYTES_MAX => claim.split(' ').collect(),
            _ => return Err(bad("is too long")),
        };
        let [version, key_id, gateway, ordinal, random, count, signature] = fields[..] else {
            return Err(bad("has not seven fields"));
        };
        if version != CLAIM_VERSION {
            return Err(bad("has another version than 1"));
        }
        text::check_name(gateway)
            .map_err(|problem| bad(&format!("names no gateway: {problem}")))?;
        let signature = BASE64
            .decode(signature)
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            key_id: KeyId::parse(key_id)?,
            gateway: gateway.to_owned(),
            epoch: StoreEpoch {
                ordinal: number(ordinal).ok_or_else(|| bad("has no ordinal"))?,
                random: number(random).ok_or_else(|| bad("has no random part"))?,
            },
            count: number(count).ok_or_else(|| bad("has no count"))?,
            signature: signature.ok_or_else(|| bad("has no signature of 64 bytes in base64"))?,
        })
    }

    fn message(&self, asked: &Asked<'_>) -> Result<Vec<u8>, Error> {
        let body = Digest::of(asked.body).to_string();
        let numbers = [self.epoch.ordinal, self.epoch.random, self.count];
        let [ordinal, random, count] = numbers.map(|number| number.to_string());
        let fields = [
            asked.centre,
            asked.method,
            asked.path,
            &self.gateway,
            &ordinal,
            &random,
            &count,
            &body,
        ];
        message(REQUEST_TYPE, &fields)
    }
}

/// The value of the header.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoreEpoch { ordinal, random } = self.epoch;
        let (key_id, gateway, count) = (self.key_id, &self.gateway, self.count);
        let signature = BASE64.encode(self.signature);
        write!(
            f,
            "{CLAIM_VERSION} {key_id} {gateway} {ordinal} {random} {count} {signature}"
        )
    }
}

/// Decimal, in its one form.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The bytes under a signature: the fields, each with a line end.
fn message(kind: &str, fields: &[&str]) -> Result<Vec<u8>, Error> {
    let mut body = String::new();
    for field in fields {
        if field.contains('\n') {
            return Err(Error::malformed(format!("{field:?}"), "has a line end"));
        }
        body.push_str(field);
        body.push('\n');
    }
    Ok(signed_bytes(kind, body.as_bytes()))
}

fn verify(
    document: &'static str,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8; SIGNATURE_BYTES],
) -> Result<(), Error> {
    match key.verifies(message, signature) {
        true => Ok(()),
        false => Err(Error::BadSignature {
            document,
            key_id: key.id(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENTRE: &str = "00112233445566778899aabbccddeeff";
    const EPOCH: StoreEpoch = StoreEpoch {
        ordinal: 3,
        random: u64::MAX,
    };
    const ASKED: Asked<'_> = Asked {
        centre: CENTRE,
        method: "POST",
        path: "/v1/sync",
        body: b"rows",
    };

    fn device(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn claim() -> Claim {
        Claim::sign(&device(7), "gw-1", EPOCH, 17, &ASKED).unwrap()
    }

    #[test]
    fn a_claim_reads_back_from_its_text_and_holds() {
        let read = Claim::parse(&claim().to_string()).unwrap();
        assert_eq!(read, claim());
        read.verify(&device(7).public_key(), &ASKED).unwrap();
        let other = read.verify(&device(8).public_key(), &ASKED).unwrap_err();
        assert_eq!(other.reason(), "wrong-key");
    }

    #[test]
    fn the_bytes_under_a_claim_are_the_documented_ones() {
        let body = format!(
            "{CENTRE}\nPOST\n/v1/sync\ngw-1\n3\n18446744073709551615\n17\n{}\n",
            Digest::of(b"rows")
        );
        let kind = "application/vnd.tidegate.request.v1";
        let bytes = format!("DSSEv1 {} {kind} {} {body}", kind.len(), body.len());
        assert_eq!(claim().message(&ASKED).unwrap(), bytes.as_bytes());
        let text = include_str!("../../../docs/formats/device.md");
        assert!(text.contains(&claim().to_string()), "{}", claim());
        assert!(text.contains(&device(7).public_key().to_text()));
    }

    #[test]
    fn whatever_of_a_request_is_another_the_claim_does_not_hold() {
        let key = device(7).public_key();
        let asked = [
            Asked {
                centre: "ff",
                ..ASKED
            },
            Asked {
                method: "GET",
                ..ASKED
            },
            Asked {
                path: "/v1/sync?",
                ..ASKED
            },
            Asked {
                body: b"row",
                ..ASKED
            },
        ];
        for asked in asked {
            let error = claim().verify(&key, &asked).unwrap_err();
            assert_eq!(error.reason(), "bad-signature", "{asked:?}");
        }
        let random = StoreEpoch { random: 1, ..EPOCH };
        let claims = [
            Claim {
                gateway: "gw-2".into(),
                ..claim()
            },
            Claim {
                epoch: random,
                ..claim()
            },
            Claim {
                count: 18,
                ..claim()
            },
        ];
        for claim in claims {
            let error = claim.verify(&key, &ASKED).unwrap_err();
            assert_eq!(error.reason(), "bad-signature", "{claim:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_claim_is_refused_and_a_claim_has_one_text() {
        let text = claim().to_string();
        for bad in [
            "",
            "1",
            "1 2 3 4 5 6 7",
            &text.replacen('1', "2", 1),
            &text.replace(" 17 ", " 017 "),
            &text.replace(" 17 ", " +17 "),
            &text.replace("gw-1", "gw_1"),
            &text.replace("gw-1", "gw\n1"),
            &format!("{text} "),
            &format!("{text}{}", "=".repeat(CLAIM_BYTES_MAX)),
        ] {
            let error = Claim::parse(bad).unwrap_err();
            assert_eq!(error.reason(), "malformed", "{bad}");
        }
    }

    #[test]
    fn an_enrolment_is_of_one_token_one_gateway_one_key_and_one_centre() {
        let asked = Enrolment {
            centre: CENTRE,
            token: Digest::of(b"token"),
            gateway: "gw-1",
        };
        let signature = asked.sign(&device(7)).unwrap();
        asked.verify(&device(7).public_key(), &signature).unwrap();
        assert!(asked.verify(&device(8).public_key(), &signature).is_err());
        let token = Digest::of(b"other");
        for other in [
            Enrolment {
                centre: "ff",
                ..asked
            },
            Enrolment { token, ..asked },
            Enrolment {
                gateway: "gw-2",
                ..asked
            },
        ] {
            let error = other.verify(&device(7).public_key(), &signature);
            assert_eq!(error.unwrap_err().reason(), "bad-signature", "{other:?}");
        }
    }

    #[test]
    fn a_change_of_key_is_signed_by_both_and_by_no_other() {
        let (old, new) = (device(7), device(8).public_key());
        let change = KeyChange {
            centre: CENTRE,
            gateway: "gw-1",
            old: old.public_key().id(),
            new: &new,
        };
        let signature = change.sign(&old).unwrap();
        change.verify(&old.public_key(), &signature).unwrap();
        assert!(change.verify(&new, &signature).is_err());
        let other = device(9).public_key();
        let changed = KeyChange {
            new: &other,
            ..change
        };
        assert!(changed.verify(&old.public_key(), &signature).is_err());
        let moved = KeyChange {
            gateway: "gw-1\n",
            ..change
        };
        assert_eq!(moved.sign(&old).unwrap_err().reason(), "malformed");
    }
}
