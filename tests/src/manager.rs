//! A service manager that only listens: what systemd would hear of a gateway.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::gateway::Gateway;

/// Longer than any message of the protocol.
const MESSAGE_BYTES_MAX: usize = 4096;

/// A socket as systemd has one for its services.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    /// Listens on a socket in this folder.
    ///
    /// # Errors
    /// When there cannot be one.
    pub fn listen(directory: &Path) -> Result<Self> {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).context("cannot listen for a service")?;
        let name = path.display().to_string();
        Ok(Self { socket, name })
    }

    /// Listens on a socket that has a name and no file, as in a container.
    ///
    /// # Errors
    /// When there cannot be one.
    pub fn listen_without_file(name: &str) -> Result<Self> {
        let address = SocketAddr::from_abstract_name(name)?;
        let socket = UnixDatagram::bind_addr(&address).context("cannot listen for a service")?;
        let name = format!("@{name}");
        Ok(Self { socket, name })
    }

    /// Watches this gateway from its next start on: it must not be silent for longer than `watchdog`.
    pub fn watch(&self, gateway: &mut Gateway, watchdog: Duration) {
        gateway.set_variable("NOTIFY_SOCKET", &self.name);
        gateway.set_variable("WATCHDOG_USEC", &watchdog.as_micros().to_string());
    }

    /// The lines of the next message; none when none comes within `limit`.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn next(&self, limit: Duration) -> Result<Option<Vec<String>>> {
        let limit = limit.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(limit))?;
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        match self.socket.recv(&mut bytes) {
            Ok(length) => {
                let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
                Ok(Some(text.lines().map(str::to_owned).collect()))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error).context("cannot hear a service"),
        }
    }

    /// Waits for a message with a line that begins with `beginning`; gives its lines.
    ///
    /// # Errors
    /// When none comes within `limit`: then with all that came instead.
    pub fn wait_for(&self, beginning: &str, limit: Duration) -> Result<Vec<String>> {
        let until = Instant::now() + limit;
        let mut others = Vec::new();
        while let Some(lines) = self.next(until.saturating_duration_since(Instant::now()))? {
            if lines.iter().any(|line| line.starts_with(beginning)) {
                return Ok(lines);
            }
            others.push(lines);
        }
        anyhow::bail!("no {beginning} within {limit:?}, but {others:?}")
    }

    /// How often the watchdog is fed within `time`, and the longest time without.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn feedings(&self, time: Duration) -> Result<(u32, Duration)> {
        let (begin, mut fed, mut longest) = (Instant::now(), 0, Duration::ZERO);
        let mut last = begin;
        while begin.elapsed() < time {
            let lines = self.next(time.saturating_sub(begin.elapsed()))?;
            let is_fed = lines.is_some_and(|lines| lines.iter().any(|line| line == "WATCHDOG=1"));
            longest = longest.max(last.elapsed());
            if is_fed {
                (fed, last) = (fed + 1, Instant::now());
            }
        }
        Ok((fed, longest))
    }
}
