//! The centre as a process, and what it holds, asked through its API.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::binaries::Binaries;
use crate::http;
use crate::page::Entrance;
use crate::process::Process;

/// How long it may take to start, on a busy machine.
const START: Duration = Duration::from_secs(30);

/// Rows asked for at once.
const PAGE_ROWS: usize = 1000;

/// A running centre.
#[derive(Debug)]
pub struct Cloud {
    process: Process,
    address: SocketAddr,
    token: String,
    /// Whether gateways that were never enrolled are believed.
    open: bool,
    program: PathBuf,
    directory: PathBuf,
}

impl Cloud {
    /// Starts an open centre on a free port, with its database in `directory`: drills put requests wrong on the way, and what
    /// was signed would be refused before it could do harm.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(binaries: &Binaries, directory: &Path) -> Result<Self> {
        let program = binaries.tidegate_cloud();
        let (process, address) = launch(&program, directory, "127.0.0.1:0", &["--open"])?;
        let token = std::fs::read_to_string(token_file(directory));
        let token = token.context("the centre has written no first token")?;
        Ok(Self {
            process,
            address,
            token: token.trim().to_owned(),
            open: true,
            program,
            directory: directory.to_owned(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Address of a page, for somebody who signs in.
    pub fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The file with its first token.
    pub fn token_file(&self) -> PathBuf {
        token_file(&self.directory)
    }

    /// Signs in, and gives an address that leads a browser to a page as the one who did.
    ///
    /// # Errors
    /// When it cannot be signed in.
    pub fn entrance(&self, path: &str) -> Result<Entrance> {
        let origin = self.page("");
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", origin.as_str()),
        ];
        let body = format!("token={}", self.token);
        let answer = http::post_with(self.address, "/sign-in", &headers, body.as_bytes())?;
        let cookie = answer.header("set-cookie");
        let cookie = cookie.with_context(|| format!("cannot sign in: {}", answer.body))?;
        Entrance::open(&self.page(path), cookie)
    }

    /// Where it is and as whom, as `tide` wants to be told.
    pub fn access(&self) -> [String; 4] {
        let file = self.token_file().display().to_string();
        [
            "--centre".into(),
            self.page(""),
            "--token-file".into(),
            file,
        ]
    }

    /// Gets `path` from its API, with its first token.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&self, path: &str) -> Result<http::Answer> {
        let bearer = format!("Bearer {}", self.token);
        http::get_with(self.address, path, &[("authorization", &bearer)])
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// As [`Cloud::get`], and when the answer is no JSON or a refusal.
    pub fn get_json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path)?.json();
        answer.with_context(|| format!("GET {path}"))
    }

    /// Lets it know the device key of a gateway.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn know(&self, gateway: &str, device_key: &str) -> Result<()> {
        let folder = device_keys(&self.directory);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("{gateway}.pub")), device_key)
            .context("cannot write the device key")
    }

    /// From its next start on, believes only gateways that are enrolled.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// Posts JSON to its API, with its first token.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn post(&self, path: &str, json: &Value) -> Result<http::Answer> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        http::post_with(self.address, path, &headers, json.to_string().as_bytes())
    }

    /// A token by which a machine becomes this gateway.
    ///
    /// # Errors
    /// When it gives none.
    pub fn enrolment_token(&self, gateway: &str) -> Result<String> {
        let answer = self.post("/v1/enrolments", &serde_json::json!({"gateway": gateway}))?;
        let body: Value = serde_json::from_str(&answer.body)?;
        let token = body.pointer("/token").and_then(Value::as_str);
        let token = token.with_context(|| format!("no token: {}", answer.body))?;
        Ok(token.to_owned())
    }

    /// What it did since its start, as `/v1/stats` says.
    ///
    /// # Errors
    /// When the API does not answer as documented.
    pub fn stats(&self) -> Result<Value> {
        self.get_json("/v1/stats")
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// Starts it again at the same address and on the same database.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        self.start_again_with(&[])
    }

    /// As [`Cloud::start_again`], with further arguments.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again_with(&mut self, arguments: &[&str]) -> Result<()> {
        let listen = self.address.to_string();
        let open: &[&str] = if self.open { &["--open"] } else { &[] };
        let arguments = [open, arguments].concat();
        (self.process, self.address) = launch(&self.program, &self.directory, &listen, &arguments)?;
        Ok(())
    }

    /// Streams of a gateway.
    ///
    /// # Errors
    /// When the API does not answer as documented.
    pub fn streams(&self, gateway: &str) -> Result<Value> {
        self.get_json(&format!("/v1/gateways/{gateway}/streams"))
    }

    /// Messages of a gateway that led to nothing for this reason, as it last told.
    ///
    /// # Errors
    /// When the API does not answer as documented.
    pub fn tallied(&self, gateway: &str, reason: &str) -> Result<u64> {
        let ledger = self.get_json(&format!("/v1/gateways/{gateway}/ledger"))?;
        let tallies = ledger.get("tallies").and_then(Value::as_array);
        let tallies = tallies.with_context(|| format!("no tallies in {ledger}"))?;
        let of_reason = tallies.iter().filter(|tally| tally["reason"] == reason);
        Ok(of_reason
            .filter_map(|tally| tally["messages"].as_u64())
            .sum())
    }

    /// Number of rows of a stream; 0 while the centre has not heard of it.
    ///
    /// # Errors
    /// When the API does not answer as documented.
    pub fn count(&self, gateway: &str, stream: &str) -> Result<u64> {
        let path = format!("/v1/gateways/{gateway}/streams/{stream}/count");
        let answer = self.get(&path)?;
        if answer.status == 404 {
            return Ok(0);
        }
        let value: Value = serde_json::from_str(&answer.body)
            .with_context(|| format!("not JSON: {}", answer.body))?;
        let rows = value.pointer("/rows").and_then(Value::as_u64);
        rows.with_context(|| format!("no number of rows in {value}"))
    }

    /// Gives every row of a stream to `each`, page by page.
    ///
    /// # Errors
    /// When the API does not answer as documented, or `each` fails.
    pub fn rows(
        &self,
        gateway: &str,
        stream: &str,
        mut each: impl FnMut(&Value) -> Result<()>,
    ) -> Result<()> {
        let mut after = String::new();
        loop {
            let path =
                format!("/v1/gateways/{gateway}/streams/{stream}/rows?limit={PAGE_ROWS}{after}");
            let page = self.get_json(&path)?;
            let rows = page.pointer("/rows").and_then(Value::as_array);
            let rows = rows.with_context(|| format!("no rows in {page}"))?;
            for row in rows {
                each(row)?;
            }
            match page.pointer("/next").and_then(Value::as_str) {
                Some(cursor) => after = format!("&after={cursor}"),
                None => return Ok(()),
            }
        }
    }
}

fn device_keys(directory: &Path) -> PathBuf {
    directory.join("device-keys")
}

fn token_file(directory: &Path) -> PathBuf {
    directory.join("cloud.token")
}

fn launch(
    program: &Path,
    directory: &Path,
    listen: &str,
    arguments: &[&str],
) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(program);
    command
        .args(["run", "--listen", listen, "--database"])
        .arg(directory.join("cloud.db"))
        .arg("--device-keys")
        .arg(device_keys(directory))
        .args(arguments);
    // The first line of stdout says the address: an earlier run's must not be read.
    let stdout = directory.join("cloud.stdout");
    if stdout.exists() {
        std::fs::remove_file(&stdout)?;
    }
    let mut process = Process::start("cloud", directory, &mut command)?;
    let line = process.first_line(START)?;
    let address = line
        .rsplit("://")
        .next()
        .and_then(|text| text.trim_end_matches('/').parse().ok());
    Ok((
        process,
        address.with_context(|| format!("no address in the centre's first line: {line}"))?,
    ))
}
