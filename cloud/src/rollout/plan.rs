//! What an operator asks for, checked when it is read.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use tidegate_bundle::Digest;

/// Most waves of one rollout.
pub const WAVES_MAX: usize = 16;

/// Most gateways that a wave names.
const NAMED_MAX: usize = 256;

/// How a deployment is to reach a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PlanFields", into = "PlanFields")]
pub struct Plan {
    /// The deployment, by the digest of its signed body.
    pub deployment: Digest,
    /// A deployment with a higher number that is offered instead where the rollout ends badly.
    pub revert: Option<Digest>,
    /// The waves, in their order. The last one reaches all.
    pub waves: Vec<Wave>,
    /// Most gateways that are offered it in a minute.
    pub rate: Option<NonZeroU32>,
}

/// One step of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WaveFields", into = "WaveFields")]
pub struct Wave {
    /// Whom it reaches, together with the waves before it.
    pub reach: Reach,
    /// Percent of the wave's gateways that must confirm before the next wave begins.
    pub success_percent: u32,
    /// Percent of the wave's gateways on which it may fail before the rollout stops.
    pub error_percent: u32,
}

/// Gateways of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// These.
    Gateways(Vec<String>),
    /// So many in all.
    Count(u32),
    /// So many percent of all, rounded up.
    Percent(u32),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFields {
    deployment: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    revert: Option<Digest>,
    waves: Vec<Wave>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<NonZeroU32>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaveFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    gateways: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u32>,
    #[serde(default = "all")]
    success_percent: u32,
    #[serde(default = "any")]
    error_percent: u32,
}

const fn all() -> u32 {
    100
}

/// The first failure ends it.
const fn any() -> u32 {
    1
}

impl TryFrom<PlanFields> for Plan {
    type Error = &'static str;

    fn try_from(fields: PlanFields) -> Result<Self, Self::Error> {
        if fields.waves.len() > WAVES_MAX {
            return Err("a rollout has at most 16 waves");
        }
        let last = fields.waves.last().map(|wave| &wave.reach);
        if last != Some(&Reach::Percent(100)) {
            return Err("the last wave of a rollout has percent 100");
        }
        if fields.revert == Some(fields.deployment) {
            return Err("a deployment cannot revert itself");
        }
        Ok(Self {
            deployment: fields.deployment,
            revert: fields.revert,
            waves: fields.waves,
            rate: fields.rate,
        })
    }
}

impl From<Plan> for PlanFields {
    fn from(plan: Plan) -> Self {
        Self {
            deployment: plan.deployment,
            revert: plan.revert,
            waves: plan.waves,
            rate: plan.rate,
        }
    }
}

impl TryFrom<WaveFields> for Wave {
    type Error = &'static str;

    fn try_from(fields: WaveFields) -> Result<Self, Self::Error> {
        let reach = match (fields.gateways, fields.count, fields.percent) {
            (Some(named), None, None) if (1..=NAMED_MAX).contains(&named.len()) => {
                Reach::Gateways(named)
            }
            (None, Some(count @ 1..), None) => Reach::Count(count),
            (None, None, Some(percent @ 1..=100)) => Reach::Percent(percent),
            _ => {
                return Err(
                    "a wave has one of gateways (1 to 256 names), count (from 1) and percent (1 to 100)",
                );
            }
        };
        if fields.success_percent > 100 || !(1..=100).contains(&fields.error_percent) {
            return Err("success_percent is 0 to 100, error_percent 1 to 100");
        }
        Ok(Self {
            reach,
            success_percent: fields.success_percent,
            error_percent: fields.error_percent,
        })
    }
}

impl From<Wave> for WaveFields {
    fn from(wave: Wave) -> Self {
        let (mut gateways, mut count, mut percent) = (None, None, None);
        match wave.reach {
            Reach::Gateways(named) => gateways = Some(named),
            Reach::Count(most) => count = Some(most),
            Reach::Percent(of) => percent = Some(of),
        }
        Self {
            gateways,
            count,
            percent,
            success_percent: wave.success_percent,
            error_percent: wave.error_percent,
        }
    }
}

impl std::fmt::Display for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gateways(named) => f.write_str(&named.join(", ")),
            Self::Count(1) => f.write_str("1 gateway"),
            Self::Count(most) => write!(f, "{most} gateways"),
            Self::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}
