//! A real broker: mosquitto, started by the test on a free port, and its own clients.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::rig::soon;

/// Tests of this process that were skipped because there is no mosquitto.
static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// A running mosquitto; killed when dropped.
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    program: &'static str,
    settings: String,
    dir: tempfile::TempDir,
    child: Child,
    _log: Lines<BufReader<ChildStderr>>,
}

impl Mosquitto {
    /// Starts one that anybody may use; none, loudly, when the machine has no mosquitto.
    pub(crate) async fn start() -> Option<Self> {
        Self::with("allow_anonymous true\n").await
    }

    /// Starts one with further `settings`.
    pub(crate) async fn with(settings: &str) -> Option<Self> {
        let program = [
            "/usr/sbin/mosquitto",
            "/usr/bin/mosquitto",
            "/usr/local/sbin/mosquitto",
        ]
        .into_iter()
        .find(|path| std::fs::exists(path).unwrap_or(false));
        if program.is_none() {
            assert!(
                std::env::var_os("CI").is_none(),
                "mosquitto is missing, and CI has everything"
            );
            let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
            eprintln!(
                "SKIPPED: there is no mosquitto on this machine ({count} of this run so far)"
            );
        }
        let program = program?;
        let dir = tempfile::tempdir().unwrap();
        // Another process may take the port between our look and mosquitto's.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            if let Some((child, log)) = launch(program, &dir, port, settings).await {
                return Some(Self {
                    port,
                    program,
                    settings: settings.to_owned(),
                    dir,
                    child,
                    _log: log,
                });
            }
        }
        panic!("mosquitto does not start");
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Ends it without a chance to say goodbye.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts it again on the same port, with nothing remembered.
    pub(crate) async fn restart(&mut self) {
        let (child, log) = launch(self.program, &self.dir, self.port, &self.settings)
            .await
            .expect("mosquitto restarts");
        self.child = child;
        self._log = log;
    }

    /// Publishes each of `lines` as a message of QoS 1, and returns when the broker has them all.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        lines: impl IntoIterator<Item = impl AsRef<str>>,
    ) {
        self.publish_with(topic, &["-q", "1"], lines).await;
    }

    pub(crate) async fn publish_with(
        &self,
        topic: &str,
        options: &[&str],
        lines: impl IntoIterator<Item = impl AsRef<str>>,
    ) {
        let mut input = String::new();
        for line in lines {
            writeln!(input, "{}", line.as_ref()).unwrap();
        }
        let mut child = self.client(&["mosquitto_pub"], topic, &[&["-l"], options].concat());
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        assert!(soon(child.wait()).await.unwrap().success());
    }

    /// Publishes the content of a file as one message.
    pub(crate) async fn publish_bytes(&self, topic: &str, payload: &[u8]) {
        let path = self.dir.path().join("payload");
        std::fs::write(&path, payload).unwrap();
        let mut child = self.client(
            &["mosquitto_pub"],
            topic,
            &["-q", "1", "-f", path.to_str().unwrap()],
        );
        assert!(soon(child.wait()).await.unwrap().success());
    }

    /// Listens to `topic`; returns when the broker has the subscription.
    pub(crate) async fn listen(&self, topic: &str) -> Listener {
        // -d makes it say when it is subscribed, stdbuf at once.
        let mut child = self.client(
            &["stdbuf", "-oL", "mosquitto_sub"],
            topic,
            &["-q", "1", "-d"],
        );
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !soon(lines.next_line())
            .await
            .unwrap()
            .expect("mosquitto_sub runs")
            .starts_with("Subscribed")
        {}
        Listener {
            lines,
            _child: child,
        }
    }

    fn client(&self, command: &[&str], topic: &str, options: &[&str]) -> Child {
        let port = self.port.to_string();
        let [program, arguments @ ..] = command else {
            panic!("no command");
        };
        Command::new(program)
            .args(arguments)
            .args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-t", topic])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
}

/// A mosquitto_sub.
pub(crate) struct Listener {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Listener {
    /// The payload of the next message.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            let line = soon(self.lines.next_line())
                .await
                .unwrap()
                .expect("mosquitto_sub runs");
            // Among the messages are lines on what the client does.
            if !line.starts_with("Client ") && !line.starts_with("Subscribed") {
                return line;
            }
        }
    }
}

async fn launch(
    program: &str,
    dir: &tempfile::TempDir,
    port: u16,
    settings: &str,
) -> Option<(Child, Lines<BufReader<ChildStderr>>)> {
    let config = format!(
        "listener {port} 127.0.0.1\nmax_inflight_messages 1000\nmax_queued_messages 0\nlog_dest stderr\n\
         log_type information\nlog_type error\n{settings}"
    );
    let path = dir.path().join("mosquitto.conf");
    std::fs::write(&path, config).unwrap();
    let mut child = Command::new(program)
        .arg("-c")
        .arg(&path)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = soon(log.next_line()).await.unwrap() {
        if line.ends_with(" running") {
            return Some((child, log));
        }
        assert!(
            !line.contains("Error:") || line.contains("Address already in use"),
            "mosquitto says {line}"
        );
    }
    None
}
