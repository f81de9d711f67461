//! Modules of a deployment, as this gateway runs them.

use std::path::Path;

use bytes::Bytes;
use tidegate_buffer::{Destination, Residency};
use tidegate_bundle::{Check, ConfigValue, DeployedModule, Release, Rollout, Shadow};
use tidegate_record::{Name, TopicFilter};
use tidegate_sandbox::{Length, Terms};
use tidegate_update::{Denial, Event, Generation, Trial};

use crate::config::Wanted;
use crate::install::{self, Accepted, Refusal};
use crate::secrets;

/// Seconds of a minute, as a deployment counts them.
const MINUTE: u64 = 60;

/// What a deployment may refer to on this gateway.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// Names of brokers and sensors.
    pub(crate) sources: Vec<Name>,
    /// Folder of secrets.
    pub(crate) secrets: std::path::PathBuf,
    /// Regions of the centre and of the second one, where that is said.
    pub(crate) regions: [Option<String>; 2],
}

/// What the modules of a deployment say of where rows may go. Of two that keep rows in one stream, the stricter word counts.
pub(crate) fn residency(generations: &[Generation], here: &Surroundings) -> Residency {
    let mut residency = Residency::default();
    for generation in generations {
        for stream in &generation.release.streams {
            let Ok(name) = Name::new(&stream.name) else {
                continue;
            };
            residency.decided.insert(name.clone());
            let said = generation.module.residency(&stream.name);
            let destinations = [Destination::First, Destination::Second];
            for (destination, region) in destinations.into_iter().zip(&here.regions) {
                let is_there = said.region.is_none() || said.region == *region;
                if !said.may_leave_site || !is_there {
                    residency.withheld.insert((name.clone(), destination));
                }
            }
        }
    }
    residency
}

/// What a module of a deployment refers to, and is not here.
pub(crate) fn missing(
    module: &DeployedModule,
    release: &Release,
    here: &Surroundings,
) -> Vec<Denial> {
    let fed = module.inputs.iter().map(|input| &input.from);
    let publishes = module.grants.publish.iter().map(|publish| &publish.to);
    let is_here = |name: &&String| here.sources.iter().any(|known| known.as_str() == *name);
    let unknown = fed.chain(publishes).filter(|name| !is_here(name));
    let unknown = unknown.map(|name| Denial::Source {
        module: module.name.clone(),
        source_name: name.clone(),
    });
    let mut missing: Vec<_> = unknown.collect();
    for value in module.configuration(release).values() {
        if let ConfigValue::Secret(secret) = value
            && let Err(reason) = secrets::read(secret, &here.secrets)
        {
            missing.push(Denial::Secret {
                module: module.name.clone(),
                secret: secret.to_string(),
                reason,
            });
        }
    }
    missing
}

/// What becomes of a trial whose module may not run here: what this site lacks says nothing against it.
pub(crate) fn refused(trial: Trial, refusal: &Refusal) -> Event {
    let why = refusal.to_string();
    match refusal {
        Refusal::Secret { .. } | Refusal::UnknownSource(_) | Refusal::Machine(_) => {
            Event::Hindered(trial, why)
        }
        _ => Event::Rejected(trial, why),
    }
}

/// Holds a module of a verified deployment against what is here.
pub(crate) fn accept(generation: &Generation, here: &Surroundings) -> Result<Accepted, Refusal> {
    let wanted = wanted(generation, here)?;
    let component = Bytes::from(generation.component.clone());
    install::accept(&wanted, &generation.release, component)
}

/// What it is fed.
pub(crate) fn inputs(
    generation: &Generation,
    here: &Surroundings,
) -> Result<Vec<(Name, TopicFilter)>, Refusal> {
    let inputs = generation.module.inputs.iter();
    inputs
        .map(|input| topics(&input.from, &input.topic, here))
        .collect()
}

fn wanted(generation: &Generation, here: &Surroundings) -> Result<Wanted, Refusal> {
    let module = &generation.module;
    let publish = module.grants.publish.iter();
    Ok(Wanted {
        name: Some(install::named("module", &module.name)?),
        inputs: inputs(generation, here)?,
        publish: publish
            .map(|publish| topics(&publish.to, &publish.topic, here))
            .collect::<Result<_, _>>()?,
        actuate: module.grants.actuate.clone(),
        config: secrets::resolve(&generation.config, Path::new(&here.secrets))?,
    })
}

fn topics(source: &str, topic: &str, here: &Surroundings) -> Result<(Name, TopicFilter), Refusal> {
    let known = here.sources.iter().find(|name| name.as_str() == source);
    let known = known.ok_or_else(|| Refusal::UnknownSource(source.to_owned()))?;
    let filter = TopicFilter::new(topic).map_err(|error| Refusal::Malformed {
        what: "topic filter",
        text: topic.to_owned(),
        reason: error.to_string(),
    })?;
    Ok((known.clone(), filter))
}

/// The terms of a trial.
pub(crate) fn terms(rollout: &Rollout) -> Terms {
    Terms {
        check: match rollout.check {
            Check::Equal => tidegate_sandbox::Check::Equal,
            Check::Tolerance { tolerance_ppm: ppm } => tidegate_sandbox::Check::Tolerance { ppm },
            Check::Count => tidegate_sandbox::Check::Count,
        },
        length: match rollout.shadow {
            Shadow::Messages(messages) => Length::Messages(messages),
            Shadow::Minutes(minutes) => Length::Time(std::time::Duration::from_secs(
                minutes.saturating_mul(MINUTE),
            )),
        },
        cpu_percent_max: rollout.cpu_percent_max,
        latency_percent_max: rollout.latency_percent_max,
    }
}
