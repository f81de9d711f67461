//! One file per subcommand.

pub(crate) mod build;
pub(crate) mod bundle_usb;
pub(crate) mod deploy;
pub(crate) mod desired;
pub(crate) mod fleet;
mod heard;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod keygen;
pub(crate) mod new;
pub(crate) mod push;
pub(crate) mod rollout;
pub(crate) mod root;
pub(crate) mod rotate;
pub(crate) mod sign;
pub(crate) mod test;
pub(crate) mod verify;
