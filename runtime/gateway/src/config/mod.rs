//! `gateway.toml`: from text to [`Settings`], all problems at once.
//!
//! Nothing is opened or bound while reading. A setting that is left out has the default of the stage that it belongs to.

mod broker;
mod buffer;
mod metrics;
mod sandbox;
mod stream;
mod updates;
mod uplink;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_field::{BrokerConfig, SensorConfig};
use tidegate_hardware::{DriverConfig, HostConfig, ReplayConfig, RowShape, Speed};
use tidegate_record::{Limits, Name, Topic, TopicFilter};
use tidegate_settings::{Problem, Section, duration};

use crate::error::Error;
use buffer::BufferSettings;
pub(crate) use stream::StreamSettings;
pub(crate) use uplink::UplinkSettings;

/// How often the host driver reads, unless said otherwise.
const SENSOR_INTERVAL: Duration = Duration::from_secs(1);
/// Longest line of a recording.
const RECORDING_LINE_BYTES_MAX: usize = Limits::DEFAULT.payload_bytes_max;

/// A gateway, as its operator wants it.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The gateway's name.
    pub(crate) name: Name,
    /// The group of its fleet that it is in.
    pub(crate) group: Option<Name>,
    /// Folder of everything that must last.
    pub(crate) state: PathBuf,
    /// The root document.
    pub(crate) root: PathBuf,
    /// What deployments may ever grant here.
    pub(crate) policy: Option<PathBuf>,
    /// The buffer.
    pub(crate) buffer: BufferSettings,
    /// What is wanted of streams.
    pub(crate) streams: Vec<StreamSettings>,
    /// Where a monitoring system reads counters.
    pub(crate) metrics: Option<SocketAddr>,
    /// The way to the centre.
    pub(crate) uplink: Option<UplinkSettings>,
    /// From one question for updates to the next.
    pub(crate) updates_interval: Duration,
    /// Brokers.
    pub(crate) brokers: Vec<BrokerConfig>,
    /// Sensors.
    pub(crate) sensors: Vec<SensorConfig>,
    /// Modules.
    pub(crate) modules: Vec<ModuleSettings>,
    /// In which processes they run.
    pub(crate) guests: tidegate_sandbox::Guests,
}

/// One module, as its operator wants it.
#[derive(Debug)]
pub(crate) struct ModuleSettings {
    /// Its bundle.
    pub(crate) bundle: PathBuf,
    /// How it is to run.
    pub(crate) wanted: Wanted,
}

/// How a module is to run, by its operator's word or a deployment's.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Its name here, where the release's own is taken or does not say enough.
    pub(crate) name: Option<Name>,
    /// What it is fed.
    pub(crate) inputs: Vec<(Name, TopicFilter)>,
    /// What it may publish.
    pub(crate) publish: Vec<(Name, TopicFilter)>,
    /// Device points that it may write.
    pub(crate) actuate: Vec<String>,
    /// Configuration over the release's defaults.
    pub(crate) config: BTreeMap<String, String>,
}

impl Settings {
    /// The database, the cache and the socket are in the state folder.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.state.join("control.sock")
    }

    /// The buffer's database.
    pub(crate) fn database(&self) -> PathBuf {
        self.state.join("buffer.db")
    }

    /// What the update client keeps.
    pub(crate) fn updates(&self) -> PathBuf {
        self.state.join("updates")
    }

    /// The files that deployments may name as secrets.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.state.join("secrets")
    }

    /// What a second centre is for, if there is one.
    pub(crate) fn second(&self) -> Option<tidegate_buffer::Second> {
        Some(self.uplink.as_ref()?.second.as_ref()?.when)
    }

    /// Reads the file at `path`. Paths in it are relative to it.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
            what: "configuration",
            path: path.to_owned(),
            source,
        })?;
        let base = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, base).map_err(|problems| Error::Config {
            path: path.to_owned(),
            problems: problems
                .iter()
                .map(|problem| format!("\n  {problem}"))
                .collect(),
        })
    }

    fn parse(text: &str, base: &Path) -> Result<Self, Vec<Problem>> {
        let mut file = File {
            base,
            sources: BTreeMap::new(),
        };
        tidegate_settings::read(text, |top| file.read(top))
    }
}

/// What can be named by `from` and `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Broker,
    Sensor,
}

/// One file while it is read.
struct File<'a> {
    base: &'a Path,
    sources: BTreeMap<Name, Source>,
}

impl File<'_> {
    /// None when something that is needed is missing; the problem is noted.
    fn read(&mut self, top: &mut Section<'_>) -> Option<Settings> {
        let gateway = self.gateway(top);
        let root = top.section("trust").and_then(|mut trust| {
            let root = trust.required_as("root", |text| Ok(self.base.join(text)));
            let policy = trust.optional_as("policy", |text| Ok(self.base.join(text)));
            trust.end();
            Some((root?, policy))
        });
        let buffer = top.section("buffer").map(BufferSettings::read);
        let streams = stream::read(top.sections("stream"), top.offset("uplink") != 0);
        let metrics = top.section("metrics").and_then(metrics::read);
        let uplink = top
            .section("uplink")
            .and_then(|section| self.uplink(section));
        let guests = top.section("sandbox").map(sandbox::read);
        let updates_interval = top.section("updates").and_then(updates::read);
        let name = gateway.as_ref().map(|(name, ..)| name.clone());
        let brokers = top
            .sections("broker")
            .into_iter()
            .filter_map(|section| self.broker(section, name.as_ref()))
            .collect();
        let sensors = top
            .sections("sensor")
            .into_iter()
            .filter_map(|section| self.sensor(section))
            .collect();
        let modules = top
            .sections("module")
            .into_iter()
            .filter_map(|section| self.module(section))
            .collect();
        if root.is_none() && top.offset("trust") == 0 {
            top.problem(0, "section [trust] is missing: it names the root document");
        }
        let ((name, group, state), (root, policy)) = (gateway?, root?);
        Some(Settings {
            name,
            group,
            state,
            root,
            policy,
            buffer: buffer.unwrap_or_default(),
            streams,
            metrics,
            uplink,
            updates_interval: updates_interval.unwrap_or(updates::INTERVAL),
            brokers,
            sensors,
            modules,
            guests: guests.unwrap_or(sandbox::DEFAULT),
        })
    }

    fn gateway(&self, top: &mut Section<'_>) -> Option<(Name, Option<Name>, PathBuf)> {
        let Some(mut gateway) = top.section("gateway") else {
            top.problem(
                0,
                "section [gateway] is missing: it names the gateway and its state folder",
            );
            return None;
        };
        let name = gateway.required("name");
        let group = gateway.optional("group");
        let state = gateway.required_as("state", |text| Ok(self.base.join(text)));
        gateway.end();
        Some((name?, group, state?))
    }

    fn sensor(&mut self, mut section: Section<'_>) -> Option<SensorConfig> {
        let name = self.source(&mut section, Source::Sensor);
        let driver = section.required::<String>("driver");
        let driver = match driver.as_deref() {
            Some("host") => {
                let interval = section
                    .optional_as("interval", duration)
                    .unwrap_or(SENSOR_INTERVAL);
                Some(DriverConfig::Host(HostConfig::new(interval)))
            }
            Some("replay") => self.replay(&mut section).map(DriverConfig::Replay),
            Some(other) => {
                let offset = section.offset("driver");
                section.problem(
                    offset,
                    format!("driver: {other:?} is neither \"host\" nor \"replay\""),
                );
                return None;
            }
            None => None,
        };
        section.end();
        Some(SensorConfig {
            name: name?,
            driver: driver?,
        })
    }

    fn replay(&self, section: &mut Section<'_>) -> Option<ReplayConfig> {
        let file = section.required_as("file", |text| Ok(self.base.join(text)));
        let offset = section.offset("speed");
        let speed = match section.number("speed").map(Speed::new) {
            None => Speed::RECORDED,
            Some(Ok(speed)) => speed,
            Some(Err(error)) => {
                section.problem(offset, format!("speed: {error}"));
                return None;
            }
        };
        // With a topic, a row of a CSV file is one message with all columns; without one, each column is a point.
        let topic = section.optional_as("topic", |text| {
            Topic::new(text).map_err(|error| error.to_string())
        });
        Some(ReplayConfig {
            file: file?,
            speed,
            rows: topic.map_or(RowShape::Points, RowShape::Objects),
            line_bytes_max: RECORDING_LINE_BYTES_MAX,
        })
    }

    fn module(&self, mut section: Section<'_>) -> Option<ModuleSettings> {
        let bundle = section.required_as("bundle", |text| Ok(self.base.join(text)));
        let name = section.optional("name");
        let inputs = section.sections("inputs").into_iter();
        let inputs = inputs
            .filter_map(|input| self.topics(input, "from"))
            .collect();
        let publish = section.sections("publish").into_iter();
        let publish = publish
            .filter_map(|publish| self.topics(publish, "to"))
            .collect();
        let actuate = section.sections("actuate").into_iter();
        let actuate = actuate.filter_map(|mut point| {
            let name = point.required("point");
            point.end();
            name
        });
        let actuate = actuate.collect();
        let config = section
            .section("config")
            .map(Section::texts)
            .unwrap_or_default();
        section.end();
        Some(ModuleSettings {
            bundle: bundle?,
            wanted: Wanted {
                name,
                inputs,
                publish,
                actuate,
                config,
            },
        })
    }

    /// A broker or sensor and topics of it.
    fn topics(&self, mut section: Section<'_>, key: &'static str) -> Option<(Name, TopicFilter)> {
        let name: Option<Name> = section.required(key);
        let topic = section.required_as("topic", |text| {
            TopicFilter::new(text).map_err(|error| error.to_string())
        });
        if let Some(name) = &name {
            let offset = section.offset(key);
            match (self.sources.get(name), key) {
                (None, _) => section.problem(
                    offset,
                    format!("{key}: there is no broker or sensor named {name}"),
                ),
                (Some(Source::Sensor), "to") => {
                    section.problem(
                        offset,
                        format!("{key}: {name} is a sensor, and only a broker can be published to"),
                    );
                }
                _ => {}
            }
        }
        section.end();
        name.zip(topic)
    }

    /// The name of a broker or sensor, which no other has.
    fn source(&mut self, section: &mut Section<'_>, source: Source) -> Option<Name> {
        let name: Name = section.required("name")?;
        if self.sources.insert(name.clone(), source).is_some() {
            section.problem(
                section.offset("name"),
                format!("name: there is another broker or sensor named {name}"),
            );
        }
        Some(name)
    }
}

/// Topics that a source must deliver, for all modules together, without repetition.
pub(crate) fn subscriptions<'a>(
    inputs: impl IntoIterator<Item = &'a (Name, TopicFilter)>,
    source: &Name,
) -> Vec<TopicFilter> {
    let wanted = inputs.into_iter().filter(|(from, _)| from == source);
    let wanted: BTreeSet<_> = wanted.map(|(_, filter)| filter.clone()).collect();
    // One filter inside another would only make the broker deliver a message twice.
    let covered = |filter: &TopicFilter| {
        wanted
            .iter()
            .any(|other| other != filter && other.covers(filter))
    };
    wanted
        .iter()
        .filter(|filter| !covered(filter))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
