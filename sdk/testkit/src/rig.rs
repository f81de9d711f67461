//! A module in the engine, fed with a recording.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_record::{BootTime, Clock as _, Limits, Name, Record, Seen, TopicFilter};
use tidegate_sandbox::{
    Called, CodeCache, Failure, Grants, Guests, Module, ModuleSpec, Sandbox, StreamSpec,
};

use crate::Class;
use crate::clock::VirtualClock;
use crate::expectation::Outputs;
use crate::recording::{Recording, SOURCE};

/// Wake-ups that are followed after the last message before a module is taken for one that never rests.
const WAKE_UPS_MAX: usize = 10_000;
/// A developer's machine is busier than a gateway and a test no measurement: only a call that hangs is stopped.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// A module as its author describes it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The component.
    pub component: Vec<u8>,
    /// Configuration.
    pub config: BTreeMap<String, String>,
    /// Topic filters that it may publish to; all are granted.
    pub publish: Vec<String>,
    /// Device points that it may write; all are granted.
    pub actuate: Vec<String>,
    /// Streams that it may keep rows in.
    pub streams: Vec<(String, Class)>,
    /// Most linear memory, in bytes.
    pub memory_bytes_max: usize,
    /// Most state, in bytes.
    pub state_bytes_max: usize,
}

/// How a recording is cut into batches, and what happens between them. No choice may change what a module sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// In words.
    pub name: &'static str,
    /// Messages of a batch, at most.
    pub messages_max: usize,
    /// Whether each call has a new instance, which knows the state and nothing else.
    pub restart: bool,
}

/// The cuts in which a recording is run. The first is the one whose outputs are compared with the expectation.
pub const CUTS: [Cut; 4] = [
    Cut {
        name: "one message a call",
        messages_max: 1,
        restart: false,
    },
    Cut {
        name: "seven messages a call",
        messages_max: 7,
        restart: false,
    },
    Cut {
        name: "the largest batches of a gateway",
        messages_max: Limits::DEFAULT.batch_records_max,
        restart: false,
    },
    Cut {
        name: "two messages a call, each on a new instance",
        messages_max: 2,
        restart: true,
    },
];

/// Why a recording could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine lacks something.
    #[error("cannot prepare the engine")]
    Prepare(#[source] io::Error),
    /// The engine does not take the component, or cannot be made.
    #[error("the engine does not take it")]
    Load(#[from] tidegate_sandbox::Error),
    /// A name or topic filter is not of its form.
    #[error("{0}")]
    Subject(String),
    /// The module does not start.
    #[error("it does not start")]
    Start(#[source] Failure),
    /// A call failed.
    #[error("it fails {place} ({cut})")]
    Call {
        /// At which lines of the recording.
        place: String,
        /// In which cut.
        cut: &'static str,
        /// Why.
        source: Failure,
    },
    /// The module asks to be woken again and again.
    #[error("it asked to be woken {WAKE_UPS_MAX} times after the last message")]
    NeverRests,
}

/// The engine, and the virtual clock that all runs share.
#[derive(Debug)]
pub struct Rig {
    sandbox: Sandbox,
    clock: Arc<VirtualClock>,
    limits: Arc<Limits>,
    runtime: tokio::runtime::Runtime,
    /// Compiled code, so that a new instance does not cost a compilation.
    _cache: tempfile::TempDir,
}

impl Rig {
    /// Makes the engine, with the limits of a gateway.
    ///
    /// # Errors
    /// When the engine cannot run on this machine, or there is no place for temporary files.
    pub fn new() -> Result<Self, Error> {
        let clock = Arc::new(VirtualClock::new());
        let limits = Arc::new(Limits {
            call_deadline: CALL_DEADLINE,
            ..Limits::DEFAULT
        });
        let folder = tempfile::tempdir().map_err(Error::Prepare)?;
        let cache = CodeCache::open(folder.path())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(Error::Prepare)?;
        let sandbox = Sandbox::new(
            Arc::clone(&limits),
            Arc::clone(&clock) as Arc<_>,
            Some(cache),
            Guests::Here,
        )?;
        Ok(Self {
            sandbox,
            clock,
            limits,
            runtime,
            _cache: folder,
        })
    }

    /// Runs a recording in one cut: time passes as it says, and afterwards until the module rests.
    ///
    /// # Errors
    /// When the engine does not take the component, or the module fails.
    pub fn run(
        &self,
        subject: &Subject,
        recording: &Recording,
        cut: Cut,
    ) -> Result<Outputs, Error> {
        self.clock.restart(recording.start);
        let mut run = Run {
            rig: self,
            subject,
            cut,
            grants: grants(subject, recording)?,
            streams: streams(subject)?,
            module: None,
            state: BTreeMap::new(),
            wake_at: None,
            outputs: Outputs::default(),
        };
        self.runtime.block_on(run.replay(recording))?;
        Ok(run.outputs)
    }
}

/// One recording, on its way through one module.
struct Run<'a> {
    rig: &'a Rig,
    subject: &'a Subject,
    cut: Cut,
    grants: Grants,
    streams: Vec<StreamSpec>,
    module: Option<Module>,
    /// As committed.
    state: BTreeMap<String, Bytes>,
    wake_at: Option<BootTime>,
    outputs: Outputs,
}

impl Run<'_> {
    async fn replay(&mut self, recording: &Recording) -> Result<(), Error> {
        let lines = recording.lines.chunks(self.cut.messages_max);
        for (records, lines) in recording.records.chunks(self.cut.messages_max).zip(lines) {
            self.receive(records, lines).await?;
            if self.cut.restart {
                self.module = None;
            }
        }
        self.start().await?;
        for _ in 0..WAKE_UPS_MAX {
            let Some(wake_at) = self.wake_at else {
                return Ok(());
            };
            self.wake(wake_at).await?;
        }
        Err(Error::NeverRests)
    }

    /// Hands over messages in one call. A wake-up before the batch comes in time; one within it waits for its end.
    async fn receive(&mut self, records: &[Record], lines: &[usize]) -> Result<(), Error> {
        self.start().await?;
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(());
        };
        while let Some(wake_at) = self.wake_at.filter(|wake_at| *wake_at <= first.received) {
            self.wake(wake_at).await?;
        }
        self.rig.clock.pass_to(last.received);
        let place = match lines {
            [first, .., last] => format!("at lines {first} to {last} of the input"),
            [line] => format!("at line {line} of the input"),
            [] => String::new(),
        };
        self.call(records.to_vec(), place).await
    }

    async fn wake(&mut self, wake_at: BootTime) -> Result<(), Error> {
        self.rig.clock.pass_to(wake_at);
        self.wake_at = None;
        self.call(Vec::new(), "when it is woken".to_owned()).await
    }

    async fn call(&mut self, records: Vec<Record>, place: String) -> Result<(), Error> {
        let Some(module) = &mut self.module else {
            return Ok(());
        };
        let called = module.call(records).await.map_err(|failed| Error::Call {
            place,
            cut: self.cut.name,
            source: failed.failure,
        })?;
        self.apply(called);
        Ok(())
    }

    /// What a gateway does with the outcome of a call: outputs on their ways, state committed.
    fn apply(&mut self, called: Called) {
        let now = self.rig.clock.boot_time();
        self.wake_at = called.wake_at;
        for publication in called.at_once.iter().chain(&called.applied.publications) {
            self.outputs.publication(publication);
        }
        for command in &called.commands {
            self.outputs.command(command, now);
        }
        for (row, _) in &called.applied.rows {
            self.outputs.row(row);
        }
        for rejection in &called.applied.rejections {
            self.outputs.rejection(&rejection.reason);
        }
        for change in called.applied.state {
            match change.value {
                Some(value) => self.state.insert(change.key, value),
                None => self.state.remove(&change.key),
            };
        }
    }

    /// Makes an instance, unless there is one.
    async fn start(&mut self) -> Result<(), Error> {
        if self.module.is_some() {
            return Ok(());
        }
        let mut module = self.rig.sandbox.load(self.spec()?)?;
        self.wake_at = module.start().await.map_err(Error::Start)?;
        self.module = Some(module);
        Ok(())
    }

    fn spec(&self) -> Result<ModuleSpec, Error> {
        let Subject {
            version,
            component,
            config,
            ..
        } = self.subject;
        Ok(ModuleSpec {
            name: name(&self.subject.name)?,
            version: version.clone(),
            generation: 1,
            component: Bytes::copy_from_slice(component),
            config: config.clone(),
            grants: self.grants.clone(),
            streams: self.streams.clone(),
            memory_bytes_max: self
                .subject
                .memory_bytes_max
                .min(self.rig.limits.memory_bytes_max),
            state_bytes_max: self
                .subject
                .state_bytes_max
                .min(self.rig.limits.state_bytes_max),
            state: self.state.clone(),
            state_written_by: (!self.state.is_empty()).then(|| version.clone()),
            seen: Seen::new(0, []),
        })
    }
}

fn grants(subject: &Subject, recording: &Recording) -> Result<Grants, Error> {
    let broker = name(SOURCE)?;
    let grant = |filter: &String| match TopicFilter::new(filter) {
        Ok(filter) => Ok((broker.clone(), filter)),
        Err(error) => Err(Error::Subject(error.to_string())),
    };
    Ok(Grants {
        publish: subject
            .publish
            .iter()
            .map(grant)
            .collect::<Result<_, _>>()?,
        inputs: recording.inputs(),
        actuate: subject.actuate.clone(),
    })
}

fn streams(subject: &Subject) -> Result<Vec<StreamSpec>, Error> {
    subject
        .streams
        .iter()
        .map(|(stream, class)| {
            Ok(StreamSpec {
                name: name(stream)?,
                class: *class,
            })
        })
        .collect()
}

fn name(text: &str) -> Result<Name, Error> {
    Name::new(text).map_err(|error| Error::Subject(format!("{text:?}: {error}")))
}
