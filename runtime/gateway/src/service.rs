//! What the service manager is told: that every stage runs, that each of them goes on, and that the gateway ends.
//!
//! The protocol is systemd's `sd_notify`: lines in a datagram to `$NOTIFY_SOCKET`. Where there is no such socket nothing is
//! told, and nobody watches.
//!
//! **The watchdog is fed only while every stage answers.** Each has a [`Pulse`](tidegate_record::Pulse) of its own, on its own loop: it answers at
//! once while it waits, and when a step is done while it works. One that has not answered since the last feeding is named
//! in the status and in the log, and there is no feeding until it does; when that takes too long, the manager ends the
//! process and starts it again, from what is on disk. The control plane (status, metrics, updates) is not watched: that it
//! does not answer is no reason to stop the data.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Settings;
use crate::error::{Error, chain};
use crate::run::read;
use crate::status::Status;

/// Feedings in the time that the manager allows between two: a stage has most of that time to answer.
const FEEDINGS: u32 = 4;
/// How often the status is told where nobody watches.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// How often stages that begin are asked whether they run.
const READY_INTERVAL: Duration = Duration::from_millis(20);

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Service {
    manager: Option<Manager>,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Longest time between two feedings; none where nobody watches.
    watchdog: Option<Duration>,
}

impl Service {
    /// The manager that has started this process. One that cannot be told anything is warned of, and there is none.
    pub(crate) fn from_environment() -> Self {
        let manager = std::env::var_os("NOTIFY_SOCKET").and_then(|socket| {
            let opened = Manager::open(socket.as_encoded_bytes());
            let told = |error| tracing::warn!("cannot tell the service manager anything: {error}");
            opened.map_err(told).ok()
        });
        Self { manager }
    }

    /// A beginning, which is progress as well: all that was before has ended in order.
    pub(crate) fn begins(&self) {
        self.tell("WATCHDOG=1\nSTATUS=the data path begins");
    }

    /// The configuration is read again.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// It is refused, and what ran runs on.
    pub(crate) fn reload_refused(&self) {
        self.tell("READY=1\nSTATUS=the configuration was not taken, see the log");
    }

    /// The gateway ends.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stops: what is in work is committed");
    }

    /// Says when every stage runs, and feeds the watchdog for as long as each goes on.
    pub(crate) async fn watch(&self, status: &Status) {
        let Some(manager) = &self.manager else {
            return;
        };
        let mut watch = Watch::default();
        let mut told = String::new();
        loop {
            let silent = watch.ask(status).join(", ");
            if silent.is_empty() {
                break;
            }
            if silent != told {
                self.tell(&format!("STATUS=waits for {silent}"));
                told = silent;
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
        self.tell(&format!("READY=1\nSTATUS={}", status.line()));
        #[cfg(feature = "faults")]
        wedge(status);
        let interval = manager
            .watchdog
            .map_or(STATUS_INTERVAL, |longest| longest / FEEDINGS);
        loop {
            tokio::time::sleep(interval).await;
            match watch.ask(status).join(", ") {
                silent if silent.is_empty() => {
                    self.tell(&format!("WATCHDOG=1\nSTATUS={}", status.line()));
                }
                silent => {
                    tracing::error!("no answer from {silent}: the watchdog is not fed");
                    self.tell(&format!("STATUS=no answer from {silent}"));
                }
            }
        }
    }

    fn tell(&self, lines: &str) {
        if let Some(manager) = &self.manager
            && let Err(error) = manager.tell(lines)
        {
            // The next feeding says it again; nothing may wait for a manager that is busy.
            tracing::warn!("cannot tell the service manager {lines:?}: {error}");
        }
    }
}

impl Manager {
    fn open(name: &[u8]) -> std::io::Result<Self> {
        let address = match name.split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => {
                let path = std::str::from_utf8(name).map_err(std::io::Error::other)?;
                SocketAddr::from_pathname(path)?
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        // What was meant for another process was only inherited.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|longest| is_ours && *longest > 0);
        Ok(Self {
            socket,
            address,
            watchdog: watchdog.map(Duration::from_micros),
        })
    }

    fn tell(&self, lines: &str) -> std::io::Result<()> {
        // Not connected: a manager that was replaced has another socket under the same name.
        let sent = self.socket.send_to_addr(lines.as_bytes(), &self.address);
        sent.map(drop)
    }
}

/// What the stages' pulses were when all had answered last.
#[derive(Debug, Default)]
struct Watch {
    beats: Vec<u64>,
}

impl Watch {
    /// Stages that have not answered since all had. All are asked again.
    fn ask(&mut self, status: &Status) -> Vec<String> {
        let stages = status.stages();
        self.beats.resize(stages.len(), 0);
        let known = self.beats.iter();
        let silent: Vec<_> = stages
            .iter()
            .zip(known)
            .filter(|((_, pulse), known)| pulse.beats() == Some(**known))
            .map(|((name, _), _)| name.clone())
            .collect();
        for ((_, pulse), known) in stages.iter().zip(&mut self.beats) {
            if silent.is_empty() {
                *known = pulse.beats().unwrap_or(*known);
            }
            pulse.ask();
        }
        silent
    }
}

/// `wedge-STAGE`: that stage never goes on after its next wait.
#[cfg(feature = "faults")]
fn wedge(status: &Status) {
    let fault = std::env::var("TIDEGATE_FAULT").unwrap_or_default();
    for (name, pulse) in status.stages() {
        if fault.strip_prefix("wedge-") == Some(&name) {
            pulse.wedge();
        }
    }
}

/// The signals that the gateway heeds.
#[derive(Debug)]
pub(crate) struct Signals {
    file: PathBuf,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// To end.
    Stop,
    /// To begin again with these.
    Reload(Box<Settings>),
}

impl Signals {
    /// Heeds them from now on. `file` is the configuration.
    pub(crate) fn listen(file: &Path) -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|source| Error::System {
                what: "listen for signals",
                source,
            })
        };
        Ok(Self {
            file: file.to_owned(),
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for one. A configuration that cannot be used is told, and changes nothing.
    pub(crate) async fn next(&mut self, service: &Service) -> Asked {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Asked::Stop,
                _ = self.interrupt.recv() => return Asked::Stop,
                _ = self.hangup.recv() => {}
            }
            service.reloading();
            match read(&self.file) {
                Ok((settings, _)) => return Asked::Reload(Box::new(settings)),
                Err(error) => {
                    tracing::error!("not reloaded, what ran runs on: {}", chain(&error));
                    service.reload_refused();
                }
            }
        }
    }
}
