//! The envelope around every signed document: DSSE (Dead Simple Signing Envelope) version 1.
//!
//! `{"payload": base64, "payloadType": text, "signatures": [{"keyid": hex, "sig": base64}]}`. What is signed is the
//! type and the body together ([`signed_bytes`]), so a document can never be passed off as one of another type.
//!
//! A signature by a key that is not among the signers asked for is not looked at: while keys are rotated, documents
//! carry signatures of old and new keys. One by a key that is among them must hold, or the document is refused.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::json::{self, Item};
use crate::{Error, KeyId, PublicKey, SIGNATURE_BYTES, Sign};

/// Largest envelope in bytes. A document is read whole before anything about it is known; this bounds what a stranger
/// can make the reader hold.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Most signatures of one document; bounds the work that a stranger can ask for.
pub const SIGNATURES_MAX: usize = 16;

/// Who must sign: keys by id, and how many distinct ones of them.
#[derive(Debug, Clone)]
pub struct Signers<'a> {
    /// The keys that may sign.
    pub keys: BTreeMap<KeyId, &'a PublicKey>,
    /// How many distinct keys must.
    pub threshold: usize,
}

/// A signed document of any type. Its body is not to be believed before [`Envelope::verify`] gave it out.
#[derive(Debug, Clone)]
pub struct Envelope {
    document: &'static str,
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<(KeyId, [u8; SIGNATURE_BYTES])>,
}

impl Envelope {
    /// Reads an envelope; `document` names it in errors. The body stays unread.
    ///
    /// # Errors
    ///
    /// `too-large`, `malformed`, `unknown-field`, `duplicate-field` or `trailing-data`.
    pub fn read(document: &'static str, bytes: &[u8]) -> Result<Self, Error> {
        check_length(document, bytes.len())?;
        let mut fields = json::read(document, bytes)?.fields()?;
        let payload = base64_of(fields.required("payload")?)?;
        let payload_type = fields.required("payloadType")?.text()?;
        let list = fields.required("signatures")?;
        fields.end()?;
        let too_many = list.refuse(format!("has more than {SIGNATURES_MAX} entries"));
        let items = list.list()?;
        if items.len() > SIGNATURES_MAX {
            return Err(too_many);
        }
        let signatures = items
            .into_iter()
            .map(read_signature)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            document,
            payload_type,
            payload,
            signatures,
        })
    }

    /// Signs a body with each of the keys.
    ///
    /// # Errors
    ///
    /// As [`Envelope::cosign`].
    pub fn sign(
        document: &'static str,
        payload_type: &str,
        payload: Vec<u8>,
        keys: &[&impl Sign],
    ) -> Result<Self, Error> {
        let mut envelope = Self {
            document,
            payload_type: payload_type.to_owned(),
            payload,
            signatures: Vec::new(),
        };
        for key in keys {
            envelope.cosign(*key)?;
        }
        Ok(envelope)
    }

    /// Adds the signature of one more key, for signers who are not in one place.
    ///
    /// # Errors
    ///
    /// `signer` if it does not sign; `bad-signature` if what it gives does not hold: of a key that is kept elsewhere,
    /// nothing but its signature tells whether it was the right one.
    pub fn cosign(&mut self, key: &impl Sign) -> Result<(), Error> {
        let message = signed_bytes(&self.payload_type, &self.payload);
        let public = key.public_key();
        let signature = key.sign(&message)?;
        if !public.verifies(&message, &signature) {
            return Err(Error::BadSignature {
                document: self.document,
                key_id: public.id(),
            });
        }
        self.signatures.push((public.id(), signature));
        Ok(())
    }

    /// The envelope as JSON.
    ///
    /// # Errors
    ///
    /// `too-large` if no reader would take it.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let signature = |(key_id, sig): &(KeyId, [u8; SIGNATURE_BYTES])| serde_json::json!({"keyid": key_id.to_string(), "sig": BASE64.encode(sig)});
        let json = serde_json::json!({
            "payload": BASE64.encode(&self.payload),
            "payloadType": self.payload_type,
            "signatures": self.signatures.iter().map(signature).collect::<Vec<_>>(),
        })
        .to_string();
        check_length(self.document, json.len())?;
        Ok(json.into_bytes())
    }

    /// The body, and the keys that signed it, once the threshold of `signers` is reached by distinct keys.
    ///
    /// # Errors
    ///
    /// `wrong-type`, `unsigned`, `duplicate-signature-key`, `bad-signature`, `wrong-key` or `threshold`.
    pub fn verify(
        &self,
        payload_type: &'static str,
        signers: &Signers<'_>,
    ) -> Result<(&[u8], BTreeSet<KeyId>), Error> {
        self.check_type(payload_type)?;
        let document = self.document;
        if self.signatures.is_empty() {
            return Err(Error::Unsigned { document });
        }
        let message = signed_bytes(payload_type, &self.payload);
        let mut named = BTreeSet::new();
        let mut signed = BTreeMap::new();
        #[cfg(feature = "faults")]
        if crate::faults::counts_twice() {
            return self.verify_counting_twice(&message, signers);
        }
        for (key_id, signature) in &self.signatures {
            if !named.insert(key_id) {
                return Err(Error::DuplicateSignatureKey {
                    document,
                    key_id: *key_id,
                });
            }
            let Some(key) = signers.keys.get(key_id) else {
                continue;
            };
            if !key.verifies(&message, signature) {
                return Err(Error::BadSignature {
                    document,
                    key_id: *key_id,
                });
            }
            // By the key's bytes: what is counted are keys, whatever ids a caller lists them under.
            signed.insert(key.as_bytes(), *key_id);
        }
        match signed.len() {
            0 => Err(Error::WrongKey { document }),
            count if count < signers.threshold => Err(Error::Threshold {
                document,
                signed: count,
                threshold: signers.threshold,
            }),
            _ => Ok((&self.payload, signed.into_values().collect())),
        }
    }

    /// What [`Envelope::verify`] must not be: it counts signatures.
    #[cfg(feature = "faults")]
    fn verify_counting_twice(
        &self,
        message: &[u8],
        signers: &Signers<'_>,
    ) -> Result<(&[u8], BTreeSet<KeyId>), Error> {
        let holds = |(key_id, signature): &&(KeyId, [u8; SIGNATURE_BYTES])| {
            let key = signers.keys.get(key_id);
            key.is_some_and(|key| key.verifies(message, signature))
        };
        let signed: Vec<KeyId> = self
            .signatures
            .iter()
            .filter(holds)
            .map(|(id, _)| *id)
            .collect();
        if signed.len() < signers.threshold {
            return Err(Error::WrongKey {
                document: self.document,
            });
        }
        Ok((&self.payload, signed.into_iter().collect()))
    }

    pub(crate) fn check_type(&self, payload_type: &'static str) -> Result<(), Error> {
        if self.payload_type == payload_type {
            return Ok(());
        }
        Err(Error::WrongType {
            expected: payload_type,
            found: self.payload_type.clone(),
        })
    }

    /// The body, for a reader that must look before it can know the keys: the first root, and tools that show a file.
    pub(crate) fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }
}

/// What is signed: DSSE's pre-authentication encoding of type and body.
#[must_use]
pub fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

fn check_length(document: &'static str, length: usize) -> Result<(), Error> {
    if length <= DOCUMENT_BYTES_MAX {
        return Ok(());
    }
    let bytes = |count| u64::try_from(count).unwrap_or(u64::MAX);
    Err(Error::TooLarge {
        what: document,
        length: bytes(length),
        limit: bytes(DOCUMENT_BYTES_MAX),
    })
}

fn read_signature(item: Item) -> Result<(KeyId, [u8; SIGNATURE_BYTES]), Error> {
    let mut fields = item.fields()?;
    let key_id = fields.required("keyid")?.parsed(KeyId::parse)?;
    let item = fields.required("sig")?;
    fields.end()?;
    let wrong_length = item.refuse("must be 64 bytes long");
    let signature =
        <[u8; SIGNATURE_BYTES]>::try_from(base64_of(item)?).map_err(|_| wrong_length)?;
    Ok((key_id, signature))
}

/// Standard alphabet, padded, no stray bits: bytes have one text.
fn base64_of(item: Item) -> Result<Vec<u8>, Error> {
    item.parsed(|text| BASE64.decode(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    #[test]
    fn the_signed_bytes_are_those_of_the_dsse_specification() {
        let bytes = signed_bytes("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            bytes,
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_threshold_counts_keys_and_not_ids() {
        let (one, two) = (
            SigningKey::from_seed(&[1; 32]),
            SigningKey::from_seed(&[2; 32]),
        );
        let body = b"{}".to_vec();
        let mut envelope = Envelope::sign("note", "t", body, &[&one, &two]).unwrap();
        let keys = [&one, &two].map(SigningKey::public_key);
        let honest = Signers {
            keys: keys.iter().map(|key| (key.id(), key)).collect(),
            threshold: 2,
        };
        assert_eq!(envelope.verify("t", &honest).unwrap().1.len(), 2);

        // One key under two ids, as CVE-2020-15093 had it.
        let [first, second] = &keys;
        let twice = Signers {
            keys: [(first.id(), first), (second.id(), first)].into(),
            threshold: 2,
        };
        envelope.signatures[1].1 = envelope.signatures[0].1;
        assert_eq!(
            envelope.verify("t", &twice).unwrap_err().reason(),
            "threshold"
        );
    }
}
