//! mosquitto on a free port, with a configuration of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Process, run_well};
use crate::tools::Tool;
use crate::wait::wait_until;

/// How long it may take to start, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    port: u16,
    configuration: PathBuf,
    directory: PathBuf,
}

impl Broker {
    /// Starts a broker with its files in `directory`.
    ///
    /// # Errors
    /// When mosquitto is not installed or does not start.
    pub fn start(directory: &Path) -> Result<Self> {
        // Between choosing a free port and mosquitto's opening it, another program may take it.
        let mut result = Self::start_at(directory, free_port()?);
        for _ in 0..4 {
            if result.is_ok() {
                break;
            }
            result = Self::start_at(directory, free_port()?);
        }
        result
    }

    fn start_at(directory: &Path, port: u16) -> Result<Self> {
        let configuration = directory.join("mosquitto.conf");
        fs::write(&configuration, configuration_text(port, IN_MEMORY))
            .context("cannot write mosquitto.conf")?;
        let mut process = launch(directory, &configuration)?;
        await_port(&mut process, port)?;
        Ok(Self {
            process,
            port,
            configuration,
            directory: directory.to_owned(),
        })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until a client with this id has subscribed.
    ///
    /// # Errors
    /// When it has not within 30 s.
    pub fn wait_for_subscriber(&self, client_id: &str) -> Result<()> {
        wait_until(
            &format!("a subscription of {client_id}"),
            Duration::from_secs(30),
            || Ok(self.subscriptions(client_id)? > 0),
        )
    }

    /// How often a client with this id has subscribed to something, over all starts.
    ///
    /// # Errors
    /// When the broker's log cannot be read.
    pub fn subscriptions(&self, client_id: &str) -> Result<usize> {
        // mosquitto logs a subscription as "<time>: <client> <qos> <filter>".
        let start = format!(": {client_id} ");
        let log = self.process.stderr()?;
        Ok(log.lines().filter(|line| line.contains(&start)).count())
    }

    /// Lets it write down its sessions and messages, as it otherwise does now and then.
    ///
    /// # Errors
    /// When it does not.
    pub fn write_down(&self) -> Result<()> {
        let file = self.directory.join("mosquitto.db");
        let inode = || fs::metadata(&file).ok().map(|file| file.ino());
        let before = inode();
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("not a process id")?, Signal::USR1)?;
        wait_until("the broker's database", START, || {
            Ok(inode().is_some() && inode() != before)
        })
    }

    /// Lets it keep its sessions and messages on disk from now on, and starts it again.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn keep_on_disk(&mut self) -> Result<()> {
        // Where it is started by root, it would go on as a user who may not write here.
        let persistence = format!(
            "user root\npersistence true\npersistence_location {}/\n",
            self.directory.display()
        );
        fs::write(
            &self.configuration,
            configuration_text(self.port, &persistence),
        )
        .context("cannot write mosquitto.conf")?;
        self.restart()
    }

    /// Kills it and starts it again: unless it keeps them on disk, its sessions and queues are gone.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill9()?;
        self.process = launch(&self.directory, &self.configuration)?;
        await_port(&mut self.process, self.port)
    }

    /// Publishes lines as messages, with the publisher that comes with mosquitto.
    ///
    /// # Errors
    /// When it is not installed or cannot publish.
    pub fn mosquitto_pub(&self, topic: &str, payload: &str) -> Result<()> {
        let port = self.port.to_string();
        run_well(
            &Tool::MosquittoPub.path()?,
            ["-p", &port, "-q", "1", "-t", topic, "-m", payload],
        )
        .map(drop)
    }
}

/// Lines of a broker that forgets everything when it is killed.
const IN_MEMORY: &str = "persistence false\n";

/// Queues without a bound: what waits for the gateway while it is down is the test, not the broker's limit.
fn configuration_text(port: u16, persistence: &str) -> String {
    format!(
        "listener {port} 127.0.0.1\n\
         allow_anonymous true\n\
         {persistence}\
         max_inflight_messages 1000\n\
         max_queued_messages 0\n\
         set_tcp_nodelay true\n\
         log_dest stderr\n\
         log_type error\n\
         log_type warning\n\
         log_type notice\n\
         log_type subscribe\n"
    )
}

fn launch(directory: &Path, configuration: &Path) -> Result<Process> {
    Process::start(
        "mosquitto",
        directory,
        Command::new(Tool::Mosquitto.path()?)
            .arg("-c")
            .arg(configuration),
    )
}

fn await_port(process: &mut Process, port: u16) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    process.wait_for("the broker to listen", START, |_| {
        Ok(TcpStream::connect(address).is_ok().then_some(()))
    })
}

/// A port that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
