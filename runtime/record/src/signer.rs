//! Who asks a centre: the seam between the uplink, which sends, and what holds the device key, which signs.

use std::error::Error;
use std::fmt;

use crate::Epoch;

/// Signs what this gateway asks of one centre, so that the centre knows whom it is from.
pub trait RequestSigner: fmt::Debug + Send + Sync {
    /// What is sent along with one request, which is sent once: a second attempt is another request. None for a centre at
    /// which this gateway was never enrolled.
    ///
    /// # Errors
    /// When the key cannot be used, or is that of a gateway of another name. Nothing should be sent then.
    fn sign(&self, request: &ToSign<'_>) -> Result<Option<String>, Box<dyn Error + Send + Sync>>;
}

/// A request that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct ToSign<'r> {
    /// Its method, in upper case.
    pub method: &'r str,
    /// Its path in the API, with its query.
    pub path: &'r str,
    /// The gateway's epoch, which its body may also name.
    pub epoch: Epoch,
    /// Its body.
    pub body: &'r [u8],
}
