//! Tokens of people and sessions of browsers, as a store keeps them: by the digests of their secrets.

use std::future::Future;

use tidegate_bundle::Digest;
use tidegate_wire::{Name, WallTime};

use super::{Error, Tenant};
use crate::access::{Person, Token};

/// Most tokens of one tenant.
pub const TOKENS_MAX: u32 = 1000;

/// Most sessions of one token: a further one ends the oldest.
pub const SESSIONS_MAX: u32 = 32;

/// Where tokens and sessions are kept.
///
/// - A secret is looked up by its digest, so that the time of an answer says nothing of it.
/// - A token that is revoked or has expired is worth nothing from the next request on, and its sessions with it.
pub trait Credentials {
    /// Keeps a new token, unless its tenant has one of that name, or [`TOKENS_MAX`].
    fn add_token(
        &self,
        token: &Token,
        secret: Digest,
    ) -> impl Future<Output = Result<Added, Error>> + Send;

    /// All tokens of a tenant, by name.
    fn tokens(&self, tenant: &Tenant) -> impl Future<Output = Result<Vec<Token>, Error>> + Send;

    /// Forgets a token and its sessions. Gives whether there was one.
    fn revoke_token(
        &self,
        tenant: &Tenant,
        name: &Name,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Whether nobody has a token.
    fn has_no_token(&self) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Whose token this is, if it is one and worth something. Notes that it was used.
    fn by_token(
        &self,
        secret: Digest,
        now: WallTime,
    ) -> impl Future<Output = Result<Option<Person>, Error>> + Send;

    /// The same of a session.
    fn by_session(
        &self,
        secret: Digest,
        now: WallTime,
    ) -> impl Future<Output = Result<Option<Person>, Error>> + Send;

    /// Opens a session for whom this token is, until `expires`.
    fn open_session(
        &self,
        session: Digest,
        token: Digest,
        now: WallTime,
        expires: WallTime,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends a session, if there is one.
    fn close_session(&self, session: Digest) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What became of a new token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is kept.
    Kept,
    /// The tenant has a token of that name.
    NameTaken,
    /// The tenant has [`TOKENS_MAX`].
    TooMany,
}
