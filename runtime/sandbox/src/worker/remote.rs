//! The gateway's half of a guest in a worker.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::opening::{Opening, Process};
use super::{frame, message};
use crate::code::Code;
use crate::error::{Error, Failure};
use crate::guest::{CALL_BYTES_MAX, Call, GuestSpec, Reply};
use crate::guest_log::Said;

/// A reply: what a guest may pass, and what else is around it.
const REPLY_BYTES_MAX: usize = CALL_BYTES_MAX + (8 << 20);
/// A buffer that has grown beyond this is not kept between calls.
pub(super) const KEPT_BYTES_MAX: usize = 256 << 10;
/// Bytes that are read at once.
const READ_BYTES: usize = 32 << 10;
/// A worker stops a guest that takes too long by itself; one that does not, in this time beyond, is killed.
const GRACE: Duration = Duration::from_secs(2);

/// A guest in a worker, which may end at any time.
pub(crate) struct Remote {
    spec: Arc<GuestSpec>,
    code: Arc<Code>,
    line: Option<Line>,
    buffer: Vec<u8>,
}

/// The way to a guest.
struct Line {
    stream: Stream,
    process: Arc<Process>,
    /// Whether the guest was given its state.
    has_state: bool,
}

enum Stream {
    /// Not used yet: a stream may be made where no runtime is.
    New(StdStream),
    Open(BufReader<UnixStream>),
}

impl Remote {
    /// Loads the guest into a worker.
    ///
    /// # Errors
    /// When it does not fit the contract, or the worker has ended.
    pub(crate) fn open(spec: GuestSpec, code: Code, opening: &mut Opening) -> Result<Self, Error> {
        let line = Line::new(opening.load(&spec, &code)?);
        Ok(Self {
            spec: Arc::new(spec),
            code: Arc::new(code),
            line: Some(line),
            buffer: Vec::new(),
        })
    }

    /// Calls the guest. Where the worker ends meanwhile, the call is made once more, in a worker that has only this guest:
    /// whose fault it was is not known of a shared one, and any may be killed from outside. The second end is the call's.
    pub(crate) async fn call(&mut self, call: Call<'_>) -> Reply {
        let mut has_ended = false;
        loop {
            let mut line = match self.line.take() {
                Some(line) => line,
                None => match self.reopen().await {
                    Ok(line) => line,
                    Err(error) => return failed(format!("cannot be started again: {error}")),
                },
            };
            let within = self.spec.bounds.wait_max() * 2 + GRACE;
            let exchange = line.exchange(&mut self.buffer, &call);
            let error = match tokio::time::timeout(within, exchange).await {
                Ok(Ok(reply)) => {
                    self.line = Some(line);
                    return reply;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", within.as_secs()),
            };
            let name = &self.spec.name;
            let (was_shared, ended) = line.end().await;
            let said = format!("its worker ended ({ended}): {error}");
            if has_ended && !was_shared {
                return failed(said);
            }
            has_ended = true;
            tracing::error!(module = %name, "module {name} goes on in a worker of its own: {said}");
        }
    }

    async fn reopen(&self) -> Result<Line, String> {
        let (spec, code) = (self.spec.clone(), self.code.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let mut opening = Opening::start()?;
            let line = Line::new(opening.load(&spec, &code)?);
            opening.seal()?;
            Ok::<_, Error>(line)
        });
        match opening.await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => Err(format!("{:#}", anyhow::Error::from(error))),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Line {
    fn new((stream, process): (StdStream, Arc<Process>)) -> Self {
        Self {
            stream: Stream::New(stream),
            process,
            has_state: false,
        }
    }

    async fn exchange(&mut self, buffer: &mut Vec<u8>, call: &Call<'_>) -> io::Result<Reply> {
        let with_state = call.renew || !self.has_state;
        frame::frame(buffer, |buffer| {
            message::write_call(buffer, call, with_state)
        });
        let stream = self.stream.open()?;
        stream.write_all(buffer).await?;
        if !frame::read(stream, buffer, REPLY_BYTES_MAX).await? {
            return Err(io::Error::other("it closed the stream"));
        }
        self.has_state = true;
        let reply = message::read_reply(buffer);
        if buffer.capacity() > KEPT_BYTES_MAX {
            *buffer = Vec::new();
        }
        reply
    }

    /// Ends the worker; says whether it had other guests, and how it ended.
    async fn end(self) -> (bool, String) {
        let was_shared = self.process.is_shared();
        // To wait for the end of a process may take a moment, which the data path has not.
        let ended = tokio::task::spawn_blocking(move || self.process.end()).await;
        let ended = match ended {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        (was_shared, ended)
    }
}

impl Stream {
    fn open(&mut self) -> io::Result<&mut BufReader<UnixStream>> {
        if let Self::New(stream) = self {
            let stream = stream.try_clone()?;
            stream.set_nonblocking(true)?;
            let stream = UnixStream::from_std(stream)?;
            *self = Self::Open(BufReader::with_capacity(READ_BYTES, stream));
        }
        match self {
            Self::Open(stream) => Ok(stream),
            Self::New(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

fn failed(reason: String) -> Reply {
    Reply {
        result: Err(Failure::Ended(reason)),
        said: Said::default(),
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("name", &self.spec.name)
            .field("running", &self.line.is_some())
            .finish_non_exhaustive()
    }
}
