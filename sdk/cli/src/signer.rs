//! A command that signs with a key that this program never has: of an HSM, a token, or a signing service.
//!
//! A signer file names the command and its public key, with paths from the folder of the file:
//!
//! ```toml
//! command = ["./sign-with-hsm", "--label", "publisher"]
//! public-key = "publisher.pub"
//! ```
//!
//! The command gets the bytes to be signed on stdin, up to its end, and writes the 64 bytes of the signature to stdout.
//! No shell has a part in it, and `PATH` is not searched. Terminal and stderr stay the user's: it may ask for a PIN or a
//! touch there, and says there what is wrong. Whether the signature holds is for the bundle crate to check, which alone
//! verifies any.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tidegate_bundle::{PublicKey, SIGNATURE_BYTES};
use tidegate_settings::Problem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::error::Error;
use crate::files::{self, Problems};
use crate::report::say;

/// A few lines; arguments can be long.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// Time for a person to find the token and enter its PIN.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A command, and the key under which what it signs must hold.
#[derive(Debug)]
pub(crate) struct Signer {
    program: PathBuf,
    arguments: Vec<String>,
    public_key: PublicKey,
    timeout: Duration,
}

/// Why a command gave no signature.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot start {}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("cannot read what {} writes", program.display())]
    Read { program: PathBuf, source: io::Error },
    #[error("{} failed with {status}", program.display())]
    Failed {
        program: PathBuf,
        status: ExitStatus,
    },
    #[error("{} was ended, because it had not signed within {timeout:?}", program.display())]
    Overran { program: PathBuf, timeout: Duration },
    #[error("{} wrote {found} bytes, must be the {SIGNATURE_BYTES} of the signature and nothing else", program.display())]
    Length { program: PathBuf, found: String },
}

impl Signer {
    /// Reads a signer file, and the public key that it names.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = files::read_text(path, FILE_BYTES_MAX)?;
        // A name alone would be looked for in PATH.
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let read = parse(&text, folder.unwrap_or(Path::new(".")));
        let (program, arguments, public_key) =
            read.map_err(|problems| Problems::of(path, problems))?;
        Ok(Self {
            program,
            arguments,
            public_key: files::read_public_key(&public_key)?,
            timeout: TIMEOUT,
        })
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.public_key.clone()
    }

    /// Has the message signed. That the signature holds is not known yet.
    pub(crate) fn sign(
        &self,
        message: &[u8],
    ) -> Result<[u8; SIGNATURE_BYTES], tidegate_bundle::Error> {
        let key_id = self.public_key.id();
        say(format!(
            "{} signs with key {key_id}",
            self.program.display()
        ));
        self.ask(message)
            .map_err(|failure| tidegate_bundle::Error::Signer {
                key_id,
                source: failure.into(),
            })
    }

    fn ask(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| self.cannot_start(source))?;
        let answer = async { tokio::time::timeout(self.timeout, self.run(message)).await };
        runtime.block_on(answer).unwrap_or_else(|_| {
            Err(Failure::Overran {
                program: self.program.clone(),
                timeout: self.timeout,
            })
        })
    }

    /// Whoever stops waiting for this ends the command.
    async fn run(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], Failure> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| self.cannot_start(source))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let give = async {
            if let Some(mut stdin) = stdin {
                // What was not read was not signed: the signature will show it.
                stdin.write_all(message).await.ok();
            }
        };
        let take = async {
            let mut written = Vec::new();
            if let Some(stdout) = stdout {
                // A byte too many is enough to know.
                let mut stdout = stdout.take(SIGNATURE_BYTES as u64 + 1);
                stdout.read_to_end(&mut written).await?;
            }
            Ok::<_, io::Error>(written)
        };
        let ((), written) = tokio::join!(give, take);
        let program = || self.program.clone();
        let written = written.map_err(|source| Failure::Read {
            program: program(),
            source,
        })?;
        if written.len() > SIGNATURE_BYTES {
            return Err(self.wrong_length(format!("more than {SIGNATURE_BYTES}")));
        }
        let status = child.wait().await.map_err(|source| Failure::Read {
            program: program(),
            source,
        })?;
        if !status.success() {
            return Err(Failure::Failed {
                program: program(),
                status,
            });
        }
        <[u8; SIGNATURE_BYTES]>::try_from(written)
            .map_err(|written| self.wrong_length(written.len().to_string()))
    }

    fn cannot_start(&self, source: io::Error) -> Failure {
        Failure::Start {
            program: self.program.clone(),
            source,
        }
    }

    fn wrong_length(&self, found: String) -> Failure {
        Failure::Length {
            program: self.program.clone(),
            found,
        }
    }
}

/// The program, its arguments, and the file with the public key.
fn parse(text: &str, folder: &Path) -> Result<(PathBuf, Vec<String>, PathBuf), Vec<Problem>> {
    tidegate_settings::read(text, |top| {
        let mut command = top
            .list_as("command", |text| Ok(text.to_owned()))
            .into_iter();
        let program = command.next().filter(|program| !program.is_empty());
        if program.is_none() {
            let offset = top.offset("command");
            top.problem(
                offset,
                "command: a list is expected, of a program and its arguments",
            );
        }
        let public_key = top.required_as("public-key", |text| Ok(folder.join(text)));
        Some((folder.join(program?), command.collect(), public_key?))
    })
}

#[cfg(test)]
mod tests;
