//! What runs at the start: the modules of the fleet's deployment, each as the generation that the client calls active,
//! with the state that the buffer has for it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_buffer::Buffer;
use tidegate_bundle::Gateway;
use tidegate_record::{Clock, Name, Switch};
use tidegate_sandbox::{Crew, Module, Sandbox};
use tidegate_update::{
    Client, Command, Event, Found, FrozenClient, Generation, STORE_BYTES_DEFAULT, Site, Trial,
};

use super::Course;
use super::thread::{course, is_lost};
use crate::config::Settings;
use crate::deployed::{self, Surroundings};
use crate::error::{Error, chain};
use crate::install::{Installed, Loaded, Refusal};

/// When this program was built, at the earliest, in seconds since 1970: no clock of a gateway is before it.
const BUILT: u64 = 1_795_737_600;

/// Whose word this gateway runs by.
#[derive(Debug)]
pub(crate) enum Fleet {
    /// Its operator's: the modules are those of `gateway.toml`.
    None,
    /// A fleet's, but its memory cannot be read: what ran runs on, and nothing is taken.
    Frozen(Box<FrozenClient>),
    /// A fleet's.
    Enrolled(Box<Enrolled>),
}

/// A gateway of a fleet.
#[derive(Debug)]
pub(crate) struct Enrolled {
    pub(super) client: Client,
    /// What the client wants done when the modules run.
    pub(super) commands: Vec<Command>,
    pub(super) here: Surroundings,
    pub(super) course: Course,
    /// Names of the modules that run.
    pub(super) running: BTreeSet<String>,
    pub(super) policy: Option<PathBuf>,
}

/// What runs, and by whose word.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) installed: Vec<Installed>,
    pub(crate) fleet: Fleet,
}

/// Opens what the gateway has of a fleet.
pub(crate) fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Found, Error> {
    Ok(Client::open(site(settings), clock)?)
}

/// The gateway, as its documents name it.
pub(super) fn site(settings: &Settings) -> Site {
    let version = env!("CARGO_PKG_VERSION");
    Site {
        gateway: Gateway {
            gateway_id: settings.name.to_string(),
            group_id: settings.group.as_ref().map(Name::to_string),
            runtime_version: version.parse().unwrap_or(semver::Version::new(0, 0, 0)),
            built: BUILT,
        },
        folder: settings.updates(),
        store_bytes_max: STORE_BYTES_DEFAULT,
        // Code is compiled here, and kept under a MAC of this machine: none that comes ready is wanted.
        code: (String::new(), String::new()),
    }
}

/// Loads the modules of the fleet's deployment, and brings the buffer's generations in line with them.
pub(crate) async fn begin(
    found: Found,
    settings: &Settings,
    sandbox: &Sandbox,
    buffer: &mut Buffer,
) -> Result<Begun, Error> {
    let sources = settings.brokers.iter().map(|broker| broker.name.clone());
    let sensors = settings.sensors.iter().map(|sensor| sensor.name.clone());
    let uplink = settings.uplink.as_ref();
    let here = Surroundings {
        sources: sources.chain(sensors).collect(),
        secrets: settings.secrets(),
        regions: [
            uplink.and_then(|uplink| uplink.region.clone()),
            uplink.and_then(|uplink| uplink.second.as_ref()?.region.clone()),
        ],
    };
    let mut bench = Bench {
        here: &here,
        sandbox,
        buffer,
    };
    match found {
        Found::NotEnrolled => Ok(Begun {
            installed: Vec::new(),
            fleet: Fleet::None,
        }),
        Found::Frozen(frozen) => {
            tracing::error!("nothing new is taken: {}", frozen.reason());
            let generations = frozen.active().unwrap_or_else(|error| {
                tracing::error!("no modules run: {}", chain(&error));
                Vec::new()
            });
            Ok(Begun {
                installed: bench.install(&generations, &[]).await?,
                fleet: Fleet::Frozen(frozen),
            })
        }
        Found::Enrolled(client) => {
            let (client, commands, installed, generations) = bench.enrolled(*client).await?;
            let running = installed.iter().filter(|module| module.loaded.is_ok());
            let running = running.map(|module| module.name.clone()).collect();
            Ok(Begun {
                installed,
                fleet: Fleet::Enrolled(Box::new(Enrolled {
                    client,
                    commands,
                    course: course(&generations, &here),
                    running,
                    here,
                    policy: settings.policy.clone(),
                })),
            })
        }
    }
}

/// What modules are made ready with.
struct Bench<'a> {
    here: &'a Surroundings,
    sandbox: &'a Sandbox,
    buffer: &'a mut Buffer,
}

impl Bench<'_> {
    /// A candidate that cannot be loaded is given up, and what was confirmed runs.
    async fn enrolled(
        &mut self,
        mut client: Client,
    ) -> Result<(Client, Vec<Command>, Vec<Installed>, Vec<Generation>), Error> {
        let mut commands = client.on(Event::Started)?;
        loop {
            let generations = match client.active() {
                Ok(generations) => generations,
                Err(error) if is_lost(&error) && is_under_way(&client) => {
                    tracing::error!("cannot load the deployment on its way: {}", chain(&error));
                    commands = client.on(Event::Lost)?;
                    continue;
                }
                Err(error) => {
                    if client.machine().active().is_some() {
                        tracing::error!("no modules run: {}", chain(&error));
                    }
                    Vec::new()
                }
            };
            let before = match is_under_way(&client) {
                true => client.confirmed().unwrap_or_default(),
                false => Vec::new(),
            };
            let installed = self.install(&generations, &before).await?;
            let mut failed = installed
                .iter()
                .filter_map(|module| Some((&module.name, module.loaded.as_ref().err()?)));
            let refused = failed.find_map(|(name, refusal)| {
                Some(deployed::refused(trial(&client, name)?, refusal))
            });
            match refused {
                Some(refused) => commands = client.on(refused)?,
                None => return Ok((client, commands, installed, generations)),
            }
        }
    }

    async fn install(
        &mut self,
        generations: &[Generation],
        before: &[Generation],
    ) -> Result<Vec<Installed>, Error> {
        let residency = deployed::residency(generations, self.here);
        self.buffer.reside(&residency).await?;
        let (mut installed, mut crew) = (Vec::new(), self.sandbox.crew());
        for generation in generations {
            let name = generation.module.name.clone();
            let mut others = before.iter();
            let standby = others.find(|other| {
                other.module.name == name && other.generation != generation.generation
            });
            let loaded = self.make_ready(generation, standby, &mut crew).await?;
            let version = generation.release.version.to_string();
            match &loaded {
                Ok(_) => tracing::info!(
                    "module {name} {version} is loaded, generation {}",
                    generation.generation
                ),
                Err(refusal) => tracing::error!("module {name} {version}: {refusal}"),
            }
            installed.push(Installed {
                name,
                version,
                loaded,
            });
        }
        crew.seal()?;
        Ok(installed)
    }

    async fn make_ready(
        &mut self,
        active: &Generation,
        standby: Option<&Generation>,
        crew: &mut Crew<'_>,
    ) -> Result<Result<Loaded, Refusal>, Error> {
        let accepted = match deployed::accept(active, self.here) {
            Ok(accepted) => accepted,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let name = accepted.name.clone();
        self.align(&name, active.generation).await?;
        let restored = self.buffer.restore(&name).await?;
        let spec = accepted.spec(active.generation, restored.active, restored.seen);
        let loaded = crew.load(spec);
        let module = match loaded {
            Ok(module) => module,
            Err(error) => return Ok(Err(error.into())),
        };
        let standing_by = restored.generations.standby;
        let standby = standby.filter(|other| standing_by == Some(other.generation));
        let standby = standby.and_then(|other| {
            let accepted = deployed::accept(other, self.here).ok()?;
            let seen = tidegate_record::Seen::new(0, []);
            let spec = accepted.spec(other.generation, restored.standby, seen);
            let loaded: Option<Module> = crew.load(spec).ok();
            loaded.map(Box::new)
        });
        Ok(Ok(Loaded {
            active: module,
            standby,
        }))
    }

    /// The buffer may not have heard of the last switch, or may have heard of one that was taken back.
    async fn align(&mut self, module: &Name, wanted: u64) -> Result<(), Error> {
        let found = self.buffer.generations(module).await?;
        if found.active == wanted {
            return Ok(());
        }
        let forward = Switch::Forward {
            state: None,
            written_by: None,
        };
        if found.standby == Some(wanted) {
            self.buffer.switch(module, wanted, &Switch::Back).await?;
        } else {
            self.buffer.switch(module, wanted, &forward).await?;
            if found.active == 0 {
                // Nothing ran under this name, or it was no fleet's: there is nothing to go back to.
                self.buffer.switch(module, wanted, &Switch::Settle).await?;
            }
        }
        Ok(())
    }
}

/// Whether what is active is not confirmed.
fn is_under_way(client: &Client) -> bool {
    let machine = client.machine();
    machine.active().map(|set| set.deployment) != machine.confirmed().map(|set| set.deployment)
}

/// The trial of a module, if it is one that the active deployment changes.
fn trial(client: &Client, module: &str) -> Option<Trial> {
    let machine = client.machine();
    let mut changed = machine
        .active()
        .filter(|_| is_under_way(client))?
        .changed(machine.confirmed());
    let found = changed.find(|changed| changed.name == module)?;
    Some(Trial {
        module: found.name.clone(),
        generation: found.generation,
    })
}
