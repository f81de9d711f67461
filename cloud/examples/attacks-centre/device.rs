//! Machines that sign, and their requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tidegate_bundle::{Asked, Claim, Digest, Enrolment, KeyChange, SigningKey, StoreEpoch};
use tidegate_wire::{
    BootId, BootTime, Class, ClockQuality, Content, Epoch, GatewayStatus, Name, NamedValue, Scalar,
    Stamp, StoredRow, StreamEpoch, StreamRows, SyncRequest, VERSION, WallTime,
};

use super::Outcome;

/// The stream of all rows.
pub(crate) const STREAM: &str = "journal";

/// A request as it goes over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) claim: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// A machine.
pub(crate) struct Device {
    pub(crate) key: SigningKey,
    pub(crate) gateway: String,
    pub(crate) centre: String,
}

/// The opening of this ordinal; the random part is another for each machine.
pub(crate) const fn epoch(ordinal: u64, machine: u64) -> Epoch {
    Epoch {
        ordinal,
        random: ordinal * 1000 + machine,
    }
}

fn key(seed: u64) -> SigningKey {
    let mut bytes = [7; 32];
    bytes
        .iter_mut()
        .zip(seed.to_le_bytes())
        .for_each(|(to, from)| *to = from);
    SigningKey::from_seed(&bytes)
}

impl Device {
    pub(crate) fn new(seed: u64, gateway: &str, centre: &str) -> Self {
        Self {
            key: key(seed),
            gateway: gateway.to_owned(),
            centre: centre.to_owned(),
        }
    }

    /// A sync of rows 1 to `last`.
    pub(crate) fn sync(&self, epoch: Epoch, count: u64, last: u64) -> Outcome<Sent> {
        let body = body(&self.gateway, epoch, last)?;
        Ok(Sent {
            method: "POST",
            path: "/v1/sync".to_owned(),
            content_type: tidegate_wire::CONTENT_TYPE,
            claim: Some(self.claim(epoch, count, "/v1/sync", &body)?),
            body,
        })
    }

    pub(crate) fn claim(
        &self,
        epoch: Epoch,
        count: u64,
        path: &str,
        body: &[u8],
    ) -> Outcome<String> {
        let Epoch { ordinal, random } = epoch;
        let asked = Asked {
            centre: &self.centre,
            method: "POST",
            path,
            body,
        };
        let epoch = StoreEpoch { ordinal, random };
        Ok(Claim::sign(&self.key, &self.gateway, epoch, count, &asked)?.to_string())
    }

    pub(crate) fn enrol(&self, token: &str) -> Outcome<Sent> {
        let asked = Enrolment {
            centre: &self.centre,
            token: Digest::of(token.as_bytes()),
            gateway: &self.gateway,
        };
        let application = json!({
            "token": token, "gateway": self.gateway, "device_key": self.key.public_key().to_text(),
            "signature": BASE64.encode(asked.sign(&self.key)?),
        });
        Ok(post("/v1/enrol", &application))
    }

    /// Lets the key of this seed follow.
    pub(crate) fn follow(&self, seed: u64) -> Outcome<Sent> {
        let new = key(seed);
        let (old, to) = (self.key.public_key().id(), new.public_key());
        let change = KeyChange {
            centre: &self.centre,
            gateway: &self.gateway,
            old,
            new: &to,
        };
        let signatures = [change.sign(&self.key)?, change.sign(&new)?];
        let change = json!({
            "gateway": self.gateway, "old": old.to_string(), "new": to.to_text(),
            "signatures": signatures.map(|bytes| BASE64.encode(bytes)),
        });
        Ok(post("/v1/device-keys", &change))
    }
}

/// A request with a JSON body that has no claim.
pub(crate) fn post(path: &str, json: &Value) -> Sent {
    Sent {
        method: "POST",
        path: path.to_owned(),
        content_type: "application/json",
        claim: None,
        body: json.to_string().into_bytes(),
    }
}

/// The body of a sync.
pub(crate) fn body(gateway: &str, epoch: Epoch, last: u64) -> Outcome<Vec<u8>> {
    let rows = StreamRows {
        of: StreamEpoch {
            stream: Name::new(STREAM)?,
            epoch,
        },
        rows: (1..=last).map(row).collect::<Result<_, _>>()?,
    };
    let request = SyncRequest {
        version: VERSION,
        gateway: Name::new(gateway)?,
        epoch,
        sent: WallTime(last),
        known: Vec::new(),
        rows: vec![rows],
        status: GatewayStatus {
            rows_waiting: last,
            ..GatewayStatus::default()
        },
    };
    Ok(tidegate_wire::encode(&request)?)
}

fn row(seq: u64) -> Outcome<StoredRow> {
    Ok(StoredRow {
        seq,
        class: Class::Raw,
        module: Name::new("journal")?,
        generation: 1,
        key: "press-7".to_owned(),
        time: WallTime(seq),
        duration_ns: 0,
        content: Content::Values(vec![NamedValue {
            name: "seq".to_owned(),
            value: Scalar::Integer(seq.cast_signed()),
        }]),
        stamp: Stamp {
            boot: BootId(7),
            boot_time: BootTime(seq),
            wall_time: WallTime(seq),
            clock: ClockQuality::Synced,
        },
        trace: None,
        from: None,
    })
}
