//! wasmtime's settings, the epoch ticker, and linking a component.
//!
//! Every setting that shapes compiled code is fixed here and part of the cache's fingerprint: a difference would make
//! precompiled code refuse to load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_record::Name;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, EngineWeak};

use crate::bindings::{Processor, ProcessorPre};
use crate::error::Error;
use crate::host::{Host, Whole};
use crate::wasi;

/// Version of wasmtime, which does not say it itself; a test holds it against the lock file.
const WASMTIME: &str = "48.0.8";
/// How often a running guest can be interrupted.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Ticks without a call after which the ticker sleeps until the next one.
const IDLE_TICKS_MAX: u64 = 50;
/// Stack of a guest. The thread's own stack is not used: calls run on fibers of [`ASYNC_STACK_BYTES`].
const WASM_STACK_BYTES: usize = 256 << 10;
/// Stack of a call's fiber: the guest's and what host functions need on top.
const ASYNC_STACK_BYTES: usize = 1 << 20;
/// What the contract itself lets a module import: by instance name, up to the version.
const CONTRACT: [&str; 4] = [
    "tidegate:module/",
    "wasi:config/store",
    "wasi:keyvalue/store",
    "wasi:logging/logging",
];

/// The engine of this process.
///
/// # Errors
/// When it cannot run on this machine.
pub(crate) fn engine() -> Result<Engine, Error> {
    Engine::new(&settings()).map_err(|error| Error::Engine(error.into()))
}

/// Engine, version, and what it compiles for: machine code by cranelift, or code for pulley, its interpreter.
pub(crate) fn name(engine: &Engine) -> String {
    let compiler = match engine.is_pulley() {
        true => "pulley",
        false => "cranelift",
    };
    format!("wasmtime {WASMTIME} {compiler}")
}

/// Checks that a component fits the contract, and imports nothing beyond. Nothing of it runs yet.
pub(crate) fn link(
    module: &Name,
    component: &Component,
    engine: &Engine,
) -> Result<ProcessorPre<Host>, Error> {
    refuse_ungranted(module, component, engine)?;
    let contract = |source: wasmtime::Error| Error::Contract {
        module: module.clone(),
        source: source.into(),
    };
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(contract)?;
    Processor::add_to_linker::<_, Whole>(&mut linker, |host| host).map_err(contract)?;
    let pre: InstancePre<Host> = linker.instantiate_pre(component).map_err(contract)?;
    ProcessorPre::new(pre).map_err(contract)
}

fn settings() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // The same bits on every machine, so that a replay on a laptop is exact.
        .cranelift_nan_canonicalization(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16));
    config
}

/// Refuses, by its name, the first import that is neither of the contract nor of the empty WASI baseline.
fn refuse_ungranted(module: &Name, component: &Component, engine: &Engine) -> Result<(), Error> {
    let granted = |import: &str| {
        CONTRACT
            .iter()
            .chain(&wasi::BASELINE)
            .any(|prefix| import.starts_with(prefix))
    };
    let ty = component.component_type();
    let refused = ty
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .find(|name| !granted(name));
    match refused {
        Some(import) => Err(Error::Import {
            module: module.clone(),
            import,
        }),
        None => Ok(()),
    }
}

/// Advances the engine's epoch while calls are made, from a thread of its own: guests run on the thread that would
/// otherwise have to interrupt them. Sleeps when no module is called, so that an idle gateway wakes nobody.
#[derive(Debug)]
pub(crate) struct Ticker {
    calls: Arc<AtomicU64>,
    asleep: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> Result<Self, Error> {
        Self::spawn(engine).map_err(|error| Error::Engine(error.into()))
    }

    fn spawn(engine: &Engine) -> std::io::Result<Self> {
        let (calls, asleep, stop) = <(Arc<AtomicU64>, Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let (running, runs) = std::sync::mpsc::sync_channel(1);
        let engine = engine.weak();
        let thread = {
            let ticker = (calls.clone(), asleep.clone(), stop.clone());
            let tick = move || {
                if running.send(()).is_err() {
                    return; // Nobody waits for it any more.
                }
                Self::tick(&engine, &ticker.0, &ticker.1, &ticker.2);
            };
            std::thread::Builder::new()
                .name("epoch".into())
                .spawn(tick)?
        };
        // A process that seals itself next would refuse the calls of a thread's beginning.
        runs.recv().map_err(std::io::Error::other)?;
        Ok(Self {
            calls,
            asleep,
            stop,
            thread: Some(thread),
        })
    }

    fn tick(engine: &EngineWeak, calls: &AtomicU64, asleep: &AtomicBool, stop: &AtomicBool) {
        let (mut known, mut idle) = (0, 0);
        while !stop.load(Ordering::SeqCst) {
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
            let now = calls.load(Ordering::SeqCst);
            idle = if now == known { idle + 1 } else { 0 };
            known = now;
            if idle < IDLE_TICKS_MAX {
                std::thread::park_timeout(TICK);
                continue;
            }
            asleep.store(true, Ordering::SeqCst);
            // A call that began in between has not seen `asleep`; it is seen here instead.
            if calls.load(Ordering::SeqCst) == known && !stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }

    /// A call begins: the epoch must advance.
    pub(crate) fn call(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // The thread holds nothing that outlives it, and a panic in it has no message for us.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_named_with_the_version_that_is_built_in_and_its_compiler() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"\n")));
        assert_eq!(
            name(&engine().unwrap()),
            format!("wasmtime {WASMTIME} cranelift")
        );
    }
}
