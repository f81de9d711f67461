//! A chain of signed chunks: what a device signs piece by piece, and nobody can drop, swap, repeat or alter a piece of.
//!
//! Each signature is over a running hash: of the hash before, and of the chunk. So a chunk verifies only in its place, after
//! all those that were before it. Where the chain ends, only a chunk itself can say; who reads it must ask for that.

use crate::{Digest, Error, PublicKey, SigningKey, signed_bytes};

/// What is signed is of this type, so that no document can be passed off as a chunk.
pub const CHAIN_TYPE: &str = "application/vnd.tidegate.export-chunk";

/// Bytes of the signature in front of each chunk.
pub const SIGNATURE_BYTES: usize = 64;

/// The running hash of a chain: of all chunks up to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain([u8; 32]);

impl Chain {
    /// Before the first chunk.
    #[must_use]
    pub const fn start() -> Self {
        Self([0; 32])
    }

    /// After the chunk with this hash.
    #[must_use]
    pub const fn after(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Adds a chunk: its signature, then the chunk.
    #[must_use]
    pub fn sign(&mut self, key: &SigningKey, chunk: &[u8]) -> Vec<u8> {
        self.add(chunk);
        let mut signed = key.sign(&self.message()).to_vec();
        signed.extend_from_slice(chunk);
        signed
    }

    /// The chunk of `signed`, if `key` signed it for this place. After a refusal the chain is where it was.
    ///
    /// # Errors
    ///
    /// `truncated` if there is not even a signature, `bad-signature`.
    pub fn verify<'s>(&mut self, key: &PublicKey, signed: &'s [u8]) -> Result<&'s [u8], Error> {
        let Some((signature, chunk)) = signed.split_first_chunk::<SIGNATURE_BYTES>() else {
            return Err(Error::Truncated {
                what: "chunk",
                length: signed.len(),
                inside: "its signature".to_owned(),
            });
        };
        let mut next = *self;
        next.add(chunk);
        if !key.verifies(&next.message(), signature) {
            return Err(Error::BadSignature {
                document: "chunk",
                key_id: key.id(),
            });
        }
        *self = next;
        Ok(chunk)
    }

    fn add(&mut self, chunk: &[u8]) {
        let mut all = self.0.to_vec();
        all.extend_from_slice(chunk);
        self.0 = *Digest::of(&all).as_bytes();
    }

    fn message(&self) -> Vec<u8> {
        signed_bytes(CHAIN_TYPE, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    fn chain(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut chain = Chain::start();
        chunks
            .iter()
            .map(|chunk| chain.sign(&key(), chunk))
            .collect()
    }

    /// How many of them verify before the first refusal.
    fn verified(signed: &[Vec<u8>], key: &SigningKey) -> usize {
        let (mut chain, public) = (Chain::start(), key.public_key());
        signed
            .iter()
            .take_while(|signed| chain.verify(&public, signed).is_ok())
            .count()
    }

    #[test]
    fn a_chain_verifies_from_its_start_and_from_any_place_in_it() {
        let signed = chain(&[b"a", b"", b"c"]);
        assert_eq!(verified(&signed, &key()), 3);
        let (mut chain, public) = (Chain::start(), key().public_key());
        assert_eq!(chain.verify(&public, &signed[0]).unwrap(), b"a");
        let mut later = Chain::after(*chain.as_bytes());
        assert_eq!(later.verify(&public, &signed[1]).unwrap(), b"");
        assert_eq!(later.verify(&public, &signed[2]).unwrap(), b"c");
    }

    #[test]
    fn a_chunk_that_is_dropped_swapped_repeated_or_of_another_chain_is_refused() {
        let signed = chain(&[b"a", b"b", b"c"]);
        let pick = |places: &[usize]| -> Vec<Vec<u8>> {
            places.iter().map(|place| signed[*place].clone()).collect()
        };
        assert_eq!(verified(&pick(&[1, 2]), &key()), 0);
        assert_eq!(verified(&pick(&[0, 2]), &key()), 1);
        assert_eq!(verified(&pick(&[0, 2, 1]), &key()), 1);
        assert_eq!(verified(&pick(&[0, 0, 1, 2]), &key()), 1);
        let other = chain(&[b"x", b"b"]);
        assert_eq!(verified(&[signed[0].clone(), other[1].clone()], &key()), 1);
        assert_eq!(verified(&signed, &SigningKey::from_seed(&[8; 32])), 0);
    }

    #[test]
    fn no_flipped_bit_is_accepted_and_a_refusal_leaves_the_chain_where_it_was() {
        let signed = chain(&[b"chunk"]).remove(0);
        let (mut chain, public) = (Chain::start(), key().public_key());
        for bit in 0..signed.len() * 8 {
            let mut flipped = signed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(chain.verify(&public, &flipped).is_err(), "bit {bit}");
        }
        for end in 0..signed.len() {
            assert!(chain.verify(&public, &signed[..end]).is_err(), "{end}");
        }
        assert_eq!(chain, Chain::start());
        assert!(chain.verify(&public, &signed).is_ok());
    }
}
