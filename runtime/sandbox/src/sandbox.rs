//! Loads modules: code from the cache or the compiler, a guest here or in a worker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_record::{Clock, Limits};
use wasmtime::Engine;

use crate::cache::CodeCache;
use crate::code::Code;
use crate::compile;
use crate::engine::{self, Ticker};
use crate::error::Error;
use crate::guest::{Bounds, Guest, GuestSpec};
use crate::home::Home;
use crate::module::Module;
use crate::seal::Layer;
use crate::spec::ModuleSpec;
use crate::worker::{Opening, Remote};

/// Where guests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guests {
    /// In this process: to try a module, on a developer's machine.
    Here,
    /// In workers, sealed processes without network, keys and files. Those that start together share one.
    InWorkers,
    /// Each in a worker of its own.
    InOwnWorkers,
}

/// The engine, and all that modules share.
#[derive(Debug)]
pub struct Sandbox {
    engine: Engine,
    /// Where guests run here.
    ticker: Option<Arc<Ticker>>,
    guests: Guests,
    cache: Option<CodeCache>,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    wall: Mutex<Vec<Layer>>,
}

/// Modules that start together.
#[derive(Debug)]
pub struct Crew<'a> {
    sandbox: &'a Sandbox,
    opening: Option<Opening>,
}

impl Sandbox {
    /// Makes the engine. Compiled code is kept in `cache`, where there is one.
    ///
    /// # Errors
    /// When the engine cannot run on this machine.
    pub fn new(
        limits: Arc<Limits>,
        clock: Arc<dyn Clock>,
        cache: Option<CodeCache>,
        guests: Guests,
    ) -> Result<Self, Error> {
        let engine = engine::engine()?;
        let ticker = match guests {
            Guests::Here => Some(Arc::new(Ticker::start(&engine)?)),
            Guests::InWorkers | Guests::InOwnWorkers => None,
        };
        Ok(Self {
            engine,
            ticker,
            guests,
            cache,
            limits,
            clock,
            wall: Mutex::default(),
        })
    }

    /// The layers of the wall around the worker that was sealed last; none where there is no worker.
    pub fn wall(&self) -> Vec<Layer> {
        self.locked().clone()
    }

    fn seal(&self, opening: Opening) -> Result<(), Error> {
        let layers = opening.seal()?;
        for Layer { name, missing } in &layers {
            if let Some(reason) = missing {
                tracing::warn!("modules run without the layer {name}: {reason}");
            }
        }
        *self.locked() = layers;
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Layer>> {
        self.wall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Engine, version, and what it compiles for.
    #[must_use]
    pub fn engine_name(&self) -> String {
        engine::name(&self.engine)
    }

    /// Loads a module by itself, and checks that it fits the contract. Nothing of it runs yet.
    ///
    /// # Errors
    /// When it is not a component, imports what is not granted (said by name), or does not fit the contract.
    pub fn load(&self, spec: ModuleSpec) -> Result<Module, Error> {
        let mut crew = self.crew();
        let module = crew.load(spec)?;
        crew.seal()?;
        Ok(module)
    }

    /// To load modules that start together.
    pub const fn crew(&self) -> Crew<'_> {
        Crew {
            sandbox: self,
            opening: None,
        }
    }

    /// Compiles a component, or takes it from the cache.
    fn code(&self, spec: &ModuleSpec) -> Result<Code, Error> {
        if let Some(cache) = &self.cache
            && let Some(code) = cache.load(&self.engine, &spec.component)?
        {
            return Ok(code);
        }
        let compiled = match self.guests {
            Guests::Here => {
                compile::here(&self.engine, &spec.component).map_err(|source| Error::Compile {
                    module: spec.name.clone(),
                    source,
                })?
            }
            Guests::InWorkers | Guests::InOwnWorkers => {
                compile::in_child(&spec.name, &spec.component)?
            }
        };
        if let Some(cache) = &self.cache {
            cache.store(&self.engine, &spec.component, &compiled)?;
        }
        Code::seal(&compiled).map_err(|error| Error::Engine(error.into()))
    }
}

impl Crew<'_> {
    /// Loads one of them.
    ///
    /// # Errors
    /// As [`Sandbox::load`].
    pub fn load(&mut self, spec: ModuleSpec) -> Result<Module, Error> {
        let Sandbox {
            engine,
            ticker,
            guests,
            limits,
            clock,
            ..
        } = self.sandbox;
        let code = self.sandbox.code(&spec)?;
        let guest = GuestSpec {
            name: spec.name.clone(),
            version: spec.version.as_str().into(),
            config: Arc::new(spec.config.clone()),
            memory_bytes_max: spec.memory_bytes_max,
            state_bytes_max: spec.state_bytes_max,
            bounds: Bounds::of(limits),
        };
        let home = if let Some(ticker) = ticker {
            let component = code.load(engine).map_err(|source| Error::Contract {
                module: spec.name.clone(),
                source: source.into(),
            })?;
            let pre = engine::link(&spec.name, &component, engine)?;
            Home::Here(Box::new(Guest::new(
                pre,
                guest,
                clock.clone(),
                ticker.clone(),
            )))
        } else {
            let mut opening = match self.opening.take() {
                Some(opening) => opening,
                None => Opening::start()?,
            };
            let remote = Remote::open(guest, code, &mut opening);
            match (guests, &remote) {
                // It has ended: the next of them begins another, and those before have one each from their first call.
                (_, Err(Error::Worker { .. })) => {}
                (Guests::InOwnWorkers, _) => self.sandbox.seal(opening)?,
                (Guests::Here | Guests::InWorkers, _) => self.opening = Some(opening),
            }
            Home::Worker(Box::new(remote?))
        };
        Ok(Module::new(home, spec, limits.clone(), clock.clone()))
    }

    /// All are loaded: what they run in is sealed.
    ///
    /// # Errors
    /// When the worker is gone.
    pub fn seal(self) -> Result<(), Error> {
        match self.opening {
            Some(opening) => self.sandbox.seal(opening),
            None => Ok(()),
        }
    }
}
