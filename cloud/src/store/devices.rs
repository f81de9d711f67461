//! Who a gateway is: tokens that enrol, device keys, and what tells two machines with one identity apart.
//!
//! - A token is used once, by one key. That key may ask again until the token's end, and gets the same answer.
//! - A key is that of one gateway, of all tenants together.
//! - A request that was signed is taken once: the count within its opening moves in the transaction that keeps its rows.
//! - What a clone would do is an alarm and refuses nothing: nobody can know which of two machines is the right one.

use std::future::Future;

use tidegate_bundle::{Digest, KeyId, PublicKey};
use tidegate_wire::{Name, WallTime};

use super::audit::Event;
use super::{Error, GatewayId, Tenant};

/// Most tokens of one tenant, until a week after their end.
pub const ENROLMENT_TOKENS_MAX: u32 = 10_000;

/// Most keys of one gateway, those that ended among them.
pub const DEVICE_KEYS_MAX: u32 = 1000;

/// Requests of an opening after a later one has begun that are an alarm. One may have been on its way when its process died.
pub const RETURNS_ALARM: u64 = 2;

/// Where gateways and their keys are kept.
pub trait Devices {
    /// The id of this centre, as in what gateways sign.
    fn centre_id(&self) -> &str;

    /// Keeps a token, with a row of the audit log. Gives whether there was room.
    fn add_enrolment_token(
        &self,
        token: &EnrolmentToken,
        secret: Digest,
        event: &Event,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Makes the holder of a key a gateway, with a row of the audit log. Its signature was verified.
    fn enrol(
        &self,
        applicant: &Applicant,
        now: WallTime,
    ) -> impl Future<Output = Result<Enrolled, Error>> + Send;

    /// Whose key this is.
    fn device(&self, key: KeyId) -> impl Future<Output = Result<Option<Device>, Error>> + Send;

    /// The keys of a gateway, but for those that were revoked.
    fn device_keys(
        &self,
        of: &GatewayId,
    ) -> impl Future<Output = Result<Vec<PublicKey>, Error>> + Send;

    /// Lets `new` follow `old`, with a row of the audit log. Both signatures were verified.
    fn follow_key(
        &self,
        old: &Device,
        new: &PublicKey,
        now: WallTime,
    ) -> impl Future<Output = Result<Followed, Error>> + Send;

    /// Ends all keys of a gateway, with a row of the audit log. Gives whether it was enrolled.
    fn revoke_gateway(
        &self,
        of: &GatewayId,
        event: &Event,
        now: WallTime,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Raises an alarm, with a row of the audit log, unless one stands.
    fn raise(
        &self,
        of: &GatewayId,
        alarm: Alarm,
        now: WallTime,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Takes an alarm back, with a row of the audit log. Gives whether one stood.
    fn dismiss(
        &self,
        of: &GatewayId,
        event: &Event,
        now: WallTime,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// What is known of who a gateway is; none if it was never enrolled.
    fn identity(
        &self,
        of: &GatewayId,
    ) -> impl Future<Output = Result<Option<Identity>, Error>> + Send;
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// Whose fleet a machine joins with it.
    pub tenant: Tenant,
    /// As which gateway; none for any that is not known yet.
    pub gateway: Option<Name>,
    /// When it was made.
    pub created: WallTime,
    /// From when on it is worth nothing.
    pub expires: WallTime,
}

/// Who wants to be a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applicant {
    /// The token that was shown.
    pub token: Digest,
    /// As which gateway.
    pub gateway: Name,
    /// By which key it will be known.
    pub key: PublicKey,
}

/// What became of an applicant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    /// It is this gateway.
    Done(GatewayId),
    /// No such token was given.
    UnknownToken,
    /// Its end has come.
    Expired,
    /// Another key has used it.
    Used,
    /// It is for another gateway.
    OtherGateway(Name),
    /// The gateway is known by another key, and the token is for no name.
    NameTaken,
    /// The key is that of another gateway, which now has an alarm.
    KeyInUse,
    /// The key was revoked, or another has followed it: a new one must be made.
    KeyEnded,
    /// The gateway has [`DEVICE_KEYS_MAX`] keys.
    TooManyKeys,
}

/// What became of a key that was to follow another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Both are valid, until the new one is heard.
    Done,
    /// The new one is that of another gateway, or was ended.
    KeyInUse,
    /// The gateway has [`DEVICE_KEYS_MAX`] keys.
    TooManyKeys,
}

/// A key with whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Whose.
    pub of: GatewayId,
    /// The key.
    pub key: PublicKey,
    /// Whether it was revoked, or another has followed it.
    pub ended: bool,
}

/// A signed request, as far as it is not in the request itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The key that signed it.
    pub key: KeyId,
    /// Its number within its opening.
    pub count: u64,
}

/// What is known of who a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// When it was enrolled last.
    pub enrolled: WallTime,
    /// When it was revoked.
    pub revoked: Option<WallTime>,
    /// What someone should look at, since when.
    pub alarm: Option<(Alarm, WallTime)>,
}

/// Two machines seem to have one identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// An opening that was never heard of is not above all others.
    EpochWentBack,
    /// An opening goes on after a later one has begun.
    EpochsInterleave,
    /// The key has signed as another gateway, or was to be enrolled as one.
    KeyElsewhere,
}

impl Alarm {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::EpochWentBack,
        Self::EpochsInterleave,
        Self::KeyElsewhere,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EpochWentBack => "epoch-went-back",
            Self::EpochsInterleave => "epochs-interleave",
            Self::KeyElsewhere => "key-elsewhere",
        }
    }

    /// For a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::EpochWentBack => {
                "its database went back: a copy of its disk, or one that was restored"
            }
            Self::EpochsInterleave => "two machines send as this gateway at one time",
            Self::KeyElsewhere => "its device key was used as another gateway's",
        }
    }
}
