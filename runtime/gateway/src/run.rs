//! Puts the stages together, runs them, and takes them apart in the order in which the data flows; and all of that again
//! where a deployment asks for other modules, or feeds them with something else.
//!
//! Shutdown: the field takes no more records and drops its senders, each stage ends when its input closes, the buffer
//! commits, the field sends the last acknowledgements, the uplink sends what it can, the database closes. All of it
//! within `Limits::shutdown_grace`; what is not done by then comes again after the next start.

use std::collections::HashMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use tidegate_buffer::{Buffer, BufferHandle, Opened, Policy, Writer};
use tidegate_bundle::VerifiedRoot;
use tidegate_field::{Broker, Phase, Surroundings};
use tidegate_record::{Clock, Limits, Name, SystemClock};
use tidegate_sandbox::{CodeCache, Sandbox};
use tidegate_update::Found;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::Settings;
use crate::control::Control;
use crate::device;
use crate::dispatch::{self, DispatchCounters};
use crate::effects::Outward;
use crate::error::Error;
use crate::install;
use crate::lag::{self, Lags};
use crate::scrape::Scrape;
use crate::service::{Asked, Service, Signals};
use crate::skips::Skips;
use crate::stages::{Field, Path, Running};
use crate::status::Status;
use crate::updates::{self, Begun, Fleet, Reporter, read_policy};
use crate::uplink::{self, Provisions, Way};

/// Why the stages ended.
#[derive(Debug)]
enum Ended {
    /// A deployment asks for another data path.
    Again,
    /// A signal came.
    Asked(Asked),
}

/// Runs the gateway that `file` describes until it is stopped or a stage fails.
pub(crate) async fn run(file: &FilePath) -> Result<(), Error> {
    let mut settings = Settings::read(file)?;
    let service = Arc::new(Service::from_environment());
    let mut signals = Signals::listen(file)?;
    loop {
        service.begins();
        match once(&settings, &mut signals, &service).await? {
            Ended::Asked(Asked::Stop) => return Ok(()),
            Ended::Asked(Asked::Reload(read)) => settings = *read,
            Ended::Again => {}
        }
        tracing::info!("the data path begins again");
    }
}

/// The configuration, and the files that it names, as far as they decide whether a gateway can start.
pub(crate) fn read(file: &FilePath) -> Result<(Settings, VerifiedRoot), Error> {
    let settings = Settings::read(file)?;
    let root = install::read_root(&settings.root)?;
    if let Some(policy) = &settings.policy {
        read_policy(policy)?;
    }
    for broker in &settings.brokers {
        Broker::new(broker.clone())?;
    }
    uplink::check(&settings, &Limits::DEFAULT)?;
    Ok((settings, root))
}

/// From opening the database to closing it.
async fn once(
    settings: &Settings,
    signals: &mut Signals,
    service: &Arc<Service>,
) -> Result<Ended, Error> {
    let limits = Arc::new(limits(settings));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let config = buffer_config(settings);
    let mut buffer = Buffer::open(&config, limits.clone(), clock.clone()).await?;
    // For exports, which are no reason to stop; made here, so that it is the service's own.
    if let Err(error) = device::load_or_make(&settings.state) {
        tracing::error!("{}", crate::error::chain(&error));
    }
    let control = Control::open(settings.control_socket())?;
    let cache = CodeCache::open(&settings.state.join("compiled"))?;
    let sandbox = Arc::new(Sandbox::new(
        limits.clone(),
        clock.clone(),
        Some(cache),
        settings.guests,
    )?);
    let Begun { installed, fleet } = begin(settings, &clock, &sandbox, &mut buffer).await?;
    let wall = sandbox.wall();
    let standing = lag::standing(&mut buffer).await?;
    let scrape = match settings.metrics {
        Some(address) => Some(Scrape::open(address).await?),
        None => None,
    };
    let ids = buffer.id_hasher();
    let Opened {
        writer,
        applied,
        handle,
    } = buffer.start();

    let (records, arriving) = mpsc::channel(limits.inbox_records_max);
    let (phase, phases) = watch::channel(Phase::Running);
    let skips = Arc::<Skips>::default();
    let surroundings = Surroundings {
        records,
        phase: phases,
        clock: clock.clone(),
        ids,
        skips: skips.clone(),
        limits: limits.clone(),
    };
    let field = Field::start(settings, &installed, &handle, &surroundings)?;
    drop(surroundings);
    let outward = Arc::new(Outward::new(&field.brokers));
    let path = Path {
        limits: &limits,
        clock: &clock,
        outward: &outward,
        buffer: &handle,
    };
    let Running {
        stages,
        inboxes,
        router,
        modules,
        seats,
    } = path.start(installed, &applied);
    let (again, begins_again) = watch::channel(false);
    let way = Way::new(settings, &limits, &clock)?;
    let road = way
        .as_ref()
        .map(|way| way.road(settings, &limits, handle.epoch()));
    let road = road.transpose()?.flatten();
    let reporter = Reporter::new(settings, &sandbox, clock.clone(), handle.epoch());
    let updates = updates::start(fleet, sandbox, seats, again, (reporter, road))?;
    let streams = &settings.streams;
    let lags = Lags::new(handle.clone(), clock.clone(), streams, standing);
    let status = Arc::new(Status {
        gateway: settings.name.clone(),
        started: clock.boot_time(),
        clock: clock.clone(),
        brokers: field.brokers,
        sensors: field.sensors,
        modules,
        dispatch: DispatchCounters::default(),
        outward,
        buffer: handle.clone(),
        quota_bytes: settings.buffer.quota_bytes,
        uplink: way.as_ref().map(Way::told),
        lags: Arc::new(lags),
        updates: updates.told.clone(),
        wall,
    });
    let (stop_uplink, uplink_stopped) = watch::channel(false);
    let stopped = uplink_stopped.clone();
    let mut tasks = Tasks {
        field: field.tasks,
        stages,
        uplink: JoinSet::new(),
        operator: JoinSet::new(),
        control: JoinSet::new(),
    };
    let (dispatching, counted) = (status.clone(), applied.clone());
    tasks.stages.spawn(async move {
        tokio::select! {
            () = dispatch::run(arriving, router, inboxes, &*skips, &dispatching.dispatch) => {}
            () = skips.run(&counted) => {}
        }
        skips.finish(&counted).await;
    });
    if let Some(way) = way {
        let told = status.clone();
        let provisions = Provisions {
            gateway: settings.name.clone(),
            handle: handle.clone(),
            status: Arc::new(move || told.wire()),
            limits: limits.clone(),
            clock,
            stopped: uplink_stopped,
        };
        way.start(&provisions, &mut tasks.uplink);
    }
    if settings.uplink.is_some() {
        tasks.control.spawn(status.lags.clone().run(applied));
    }
    if let Some(scrape) = scrape {
        tasks.control.spawn(scrape.run(status.clone()));
    }
    let thread = updates.spawn(&mut tasks.control);
    tasks.operator.spawn(control.run(status.clone(), stopped));
    let told = service.clone();
    tasks
        .control
        .spawn(async move { told.watch(&status).await });
    tracing::info!(
        "gateway {} runs, epoch {}",
        settings.name,
        handle.epoch().ordinal
    );
    let shutdown = Shutdown {
        phase,
        stop_uplink,
        handle,
        limits,
    };
    let asked = (signals, &**service);
    let ended = supervise(writer, tasks, asked, begins_again, shutdown).await?;
    updates::join(thread);
    Ok(ended)
}

/// The modules that the fleet wants, or else the operator.
async fn begin(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    sandbox: &Sandbox,
    buffer: &mut Buffer,
) -> Result<Begun, Error> {
    let found = updates::open(settings, clock.clone())?;
    if matches!(found, Found::NotEnrolled) {
        let root = install::read_root(&settings.root)?;
        return Ok(Begun {
            installed: install::install_all(&settings.modules, &root, sandbox, buffer).await?,
            fleet: Fleet::None,
        });
    }
    if !settings.modules.is_empty() {
        tracing::warn!(
            "this gateway is in a fleet, which says what runs: no module of gateway.toml does"
        );
    }
    updates::begin(found, settings, sandbox, buffer).await
}

/// The buffer, as the operator wants it.
pub(crate) fn buffer_config(settings: &Settings) -> tidegate_buffer::Config {
    tidegate_buffer::Config {
        path: settings.database(),
        profile: settings.buffer.profile,
        quota_bytes: settings.buffer.quota_bytes,
        second: settings.second(),
        policies: policies(settings),
    }
}

/// The defaults, but for what the operator may ask for. A module has one window of ids, whatever brokers it listens to.
fn limits(settings: &Settings) -> Limits {
    let asked = settings.brokers.iter().map(|broker| broker.message_ids_max);
    Limits {
        seen_ids_max: asked.max().unwrap_or(Limits::DEFAULT.seen_ids_max),
        busy_max: busy_max(),
        ..Limits::DEFAULT
    }
}

#[cfg(not(feature = "faults"))]
const fn busy_max() -> Duration {
    Limits::DEFAULT.busy_max
}

/// The negative control of the tests of slow modules: none is ever detached.
#[cfg(feature = "faults")]
fn busy_max() -> Duration {
    match std::env::var_os("TIDEGATE_FAULT").is_some_and(|fault| fault == "never-detach") {
        true => Duration::MAX,
        false => Limits::DEFAULT.busy_max,
    }
}

fn policies(settings: &Settings) -> HashMap<Name, Policy> {
    let streams = settings.streams.iter();
    streams
        .map(|stream| (stream.name.clone(), stream.when_full))
        .collect()
}

/// The running tasks, by when they end.
struct Tasks {
    field: JoinSet<()>,
    stages: JoinSet<()>,
    uplink: JoinSet<()>,
    operator: JoinSet<()>,
    control: JoinSet<()>,
}

/// What is needed to end.
struct Shutdown {
    phase: watch::Sender<Phase>,
    stop_uplink: watch::Sender<bool>,
    handle: BufferHandle,
    limits: Arc<Limits>,
}

/// Runs the writer beside everything else until a signal or a failure, and then ends in order.
async fn supervise(
    writer: Writer,
    mut tasks: Tasks,
    (signals, service): (&mut Signals, &Service),
    mut again: watch::Receiver<bool>,
    shutdown: Shutdown,
) -> Result<Ended, Error> {
    let writing = writer.run();
    tokio::pin!(writing);
    let ended = tokio::select! {
        outcome = &mut writing => {
            // What is not committed is not acknowledged; dropping the tasks drops it.
            outcome?;
            return Err(Error::Task("buffer"));
        }
        () = failed(&mut tasks.field) => return Err(Error::Task("field")),
        () = failed(&mut tasks.stages) => return Err(Error::Task("modules")),
        () = failed(&mut tasks.uplink) => return Err(Error::Task("uplink")),
        asked = signals.next(service) => Ended::Asked(asked),
        // Its sender goes where there is no fleet.
        Ok(_) = again.wait_for(|again| *again) => Ended::Again,
    };
    if matches!(ended, Ended::Asked(Asked::Stop)) {
        service.stopping();
    }
    tracing::info!("stopping");
    let grace = shutdown.limits.shutdown_grace;
    let ending = async {
        let ended = end(&mut tasks, shutdown);
        tokio::pin!(ended);
        tokio::select! {
            outcome = &mut writing => return outcome,
            () = &mut ended => {}
        }
        writing.await
    };
    match tokio::time::timeout(grace, ending).await {
        Ok(outcome) => outcome.map(|()| ended).map_err(Error::from),
        Err(_) => {
            tracing::warn!(
                "not everything ended within {} s: the rest comes again after the next start",
                grace.as_secs()
            );
            Ok(ended)
        }
    }
}

/// Ends in the order of the data. The buffer's writer ends by itself when the last handle is dropped.
async fn end(tasks: &mut Tasks, shutdown: Shutdown) {
    shutdown.phase.send_replace(Phase::Draining);
    while tasks.stages.join_next().await.is_some() {}
    if shutdown.handle.flushed().await.is_err() {
        return;
    }
    shutdown.phase.send_replace(Phase::Ended);
    while tasks.field.join_next().await.is_some() {}
    shutdown.stop_uplink.send_replace(true);
    while tasks.uplink.join_next().await.is_some() {}
    while tasks.operator.join_next().await.is_some() {}
    tasks.control.shutdown().await;
}

/// Resolves when a task of the set has panicked. Those that end are at their end: a recording, for instance.
async fn failed(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!("{error}");
            return;
        }
    }
    std::future::pending().await
}
