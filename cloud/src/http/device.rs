//! Which gateway a request is from, by what its device key has signed (docs/formats/device.md).
//!
//! Tenant and name come from the key and from nothing else. A gateway that was enrolled is believed with its signature
//! alone; one that never was only by a centre that is open, which is for a first look and listens on loopback alone.

use axum::extract::Request;
use tidegate_bundle::{Asked, Claim, StoreEpoch};
use tidegate_wire::{DEVICE_HEADER, Epoch, Name};

use super::{App, Code, Refusal};
use crate::faults::left_out;
use crate::store::devices::{Alarm, Heard};
use crate::store::{GatewayId, Store, Tenant};

/// What a request says of who it is from, taken before its body is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claimed {
    method: String,
    path: String,
    claim: Option<String>,
}

/// A gateway that has signed a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    /// Which.
    pub(super) of: GatewayId,
    /// The opening of its database.
    pub(super) epoch: Epoch,
    /// What is kept, so that the request is not taken again.
    pub(super) heard: Heard,
}

impl Claimed {
    pub(super) fn read(request: &Request) -> Self {
        let path = request.uri().path_and_query();
        let claim = request.headers().get(DEVICE_HEADER);
        Self {
            method: request.method().to_string(),
            path: path.map_or_else(String::new, ToString::to_string),
            claim: claim.map(|claim| claim.to_str().unwrap_or_default().to_owned()),
        }
    }

    /// The gateway that has signed the request; none where nothing was claimed and the centre is open.
    pub(super) async fn signed<S: Store>(
        &self,
        app: &App<S>,
        body: &[u8],
    ) -> Result<Option<Signed>, Refusal> {
        let Some(text) = &self.claim else {
            return match app.open {
                true => Ok(None),
                false => Err(unsigned()),
            };
        };
        let claim = Claim::parse(text)
            .map_err(|error| Refusal::new(Code::BadSignature, error.to_string()))?;
        let Some(device) = app.store.device(claim.key_id).await? else {
            let message = format!(
                "no gateway has the device key {}: enrol it with `tidegate enrol`",
                claim.key_id
            );
            return Err(Refusal::new(Code::UnknownDevice, message));
        };
        let asked = Asked {
            centre: app.store.centre_id(),
            method: &self.method,
            path: &self.path,
            body,
        };
        let verified = claim.verify(&device.key, &asked);
        if let Err(error) = verified
            && !left_out("no-signature")
        {
            return Err(Refusal::new(Code::BadSignature, error.to_string()));
        }
        if device.ended && !left_out("no-revocation") {
            return Err(crate::store::Error::Revoked.into());
        }
        if device.of.gateway.as_str() != claim.gateway {
            let now = app.clock.wall_time();
            app.store
                .raise(&device.of, Alarm::KeyElsewhere, now)
                .await?;
            return Err(elsewhere(&claim.gateway));
        }
        let StoreEpoch { ordinal, random } = claim.epoch;
        Ok(Some(Signed {
            of: device.of,
            epoch: Epoch { ordinal, random },
            heard: Heard {
                key: claim.key_id,
                count: claim.count,
            },
        }))
    }
}

impl Signed {
    /// Whether the request names the gateway that has signed it.
    pub(super) fn is(&self, gateway: &Name) -> Result<(), Refusal> {
        match *gateway == self.of.gateway {
            true => Ok(()),
            false => Err(elsewhere(gateway.as_str())),
        }
    }

    /// Whether the body says what the header says.
    pub(super) fn check_body(&self, gateway: &Name, epoch: Epoch) -> Result<(), Refusal> {
        self.is(gateway)?;
        match epoch == self.epoch {
            true => Ok(()),
            false => Err(Refusal::new(
                Code::Malformed,
                "the epoch in the body is not the one that was signed",
            )),
        }
    }
}

/// A gateway as it says itself: only where the centre is open, and if nobody is known by that name.
pub(super) async fn believed<S: Store>(app: &App<S>, gateway: Name) -> Result<GatewayId, Refusal> {
    let of = GatewayId {
        tenant: Tenant::default(),
        gateway,
    };
    match app.store.identity(&of).await? {
        None => Ok(of),
        Some(_) => Err(unsigned()),
    }
}

fn unsigned() -> Refusal {
    let message =
        "this centre takes what an enrolled gateway has signed: enrol it with `tidegate enrol`";
    Refusal::new(Code::NoSignature, message)
}

fn elsewhere(gateway: &str) -> Refusal {
    let message = format!("the device key that signed is not that of gateway {gateway}");
    Refusal::new(Code::WrongGateway, message)
}
