//! Who may do what: roles, people, and the secrets by which they are known.
//!
//! A person is known by a *token*, 256 random bits that are told once. Only its SHA-256 is kept: who reads the database
//! learns no token, and with so many bits none can be guessed. A browser that has shown a token gets a *session*, a secret
//! of the same make that ends by itself. Whose fleet a person sees is said by the token, and by nothing in a request.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use tidegate_bundle::Digest;
use tidegate_wire::{Name, WallTime};

use crate::store::{GatewayId, Tenant};

/// A session ends so long after its sign-in: a working day.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// By which a token is known in a log, a mail or a repository where it should not be.
const TOKEN_PREFIX: &str = "tgt_";

/// The same of a token by which a machine becomes a gateway.
const ENROLMENT_PREFIX: &str = "tge_";

/// The same of a session.
const SESSION_PREFIX: &str = "tgs_";

/// What a person may do. Each role may do all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Role {
    /// Reads: pages, rows, metrics, releases.
    Viewer,
    /// Brings exports of gateways, lets machines become gateways and ends that, and reads the audit log.
    Operator,
    /// Brings releases.
    Releaser,
}

impl Role {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Releaser];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Releaser => "releaser",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks, as a valid token or session says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Whose fleet is seen.
    pub tenant: Tenant,
    /// Name of the token.
    pub name: Name,
    /// What may be done.
    pub role: Role,
}

impl Person {
    /// A gateway of the person's tenant.
    pub fn gateway_id(&self, gateway: Name) -> GatewayId {
        GatewayId {
            tenant: self.tenant.clone(),
            gateway,
        }
    }
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is, and what it allows.
    pub person: Person,
    /// When it was made.
    pub created: WallTime,
    /// From when on it is worth nothing; none for never.
    pub expires: Option<WallTime>,
    /// When it was last used, to the hour; none for never.
    pub used: Option<WallTime>,
}

/// A token or the key of a session. It is shown by [`Secret::reveal`] alone.
pub struct Secret(String);

impl Secret {
    /// A new token.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn token() -> Result<Self, getrandom::Error> {
        Self::new(TOKEN_PREFIX)
    }

    /// A new key of a session.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn session() -> Result<Self, getrandom::Error> {
        Self::new(SESSION_PREFIX)
    }

    /// A new token by which a machine becomes a gateway of the centre of this id.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn enrolment(centre: &str) -> Result<Self, getrandom::Error> {
        let Self(secret) = Self::new(ENROLMENT_PREFIX)?;
        Ok(Self(format!("{secret}.{centre}")))
    }

    fn new(prefix: &str) -> Result<Self, getrandom::Error> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits)?;
        Ok(Self(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bits))))
    }

    /// Its text, for the one place where it is told.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        digest(&self.0)
    }
}

/// What is kept of a secret of this text.
pub(crate) fn digest(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_256_bits_and_a_prefix_and_no_two_are_the_same() {
        let (one, other) = (Secret::token().unwrap(), Secret::token().unwrap());
        assert_ne!(one.reveal(), other.reveal());
        let bits = one.reveal().strip_prefix("tgt_").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(bits).unwrap().len(), 32);
        assert!(Secret::session().unwrap().reveal().starts_with("tgs_"));
    }

    #[test]
    fn a_secret_is_in_no_debug_text() {
        let secret = Secret::token().unwrap();
        assert!(!format!("{secret:?}").contains(secret.reveal()));
    }

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(
                <Role as ValueEnum>::from_str(role.as_str(), false),
                Ok(role)
            );
        }
    }
}
