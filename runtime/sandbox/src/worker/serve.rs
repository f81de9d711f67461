//! The worker's half: loads guests, seals itself, and serves each on its stream until that closes.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tidegate_record::SystemClock;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use wasmtime::Engine;

use super::remote::KEPT_BYTES_MAX;
use super::{frame, message};
use crate::bindings::ProcessorPre;
use crate::code::Code;
use crate::engine::{self, Ticker};
use crate::error::Error;
use crate::guest::{Call, Guest, GuestSpec};
use crate::host::Host;
use crate::seal;

/// What a guest is given besides its code: its configuration, most of all.
const SPEC_BYTES_MAX: usize = 4 << 20;
/// A call: a full batch, with its properties, and a full state.
const CALL_FRAME_BYTES_MAX: usize = 64 << 20;

/// A guest that is loaded, and the stream to its module.
struct Loaded {
    pre: ProcessorPre<Host>,
    spec: GuestSpec,
    stream: StdStream,
}

/// The worker: its standard input is the stream on which it is filled.
pub fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> anyhow::Result<()> {
    let inherited = seal::inherited_files();
    let input = rustix::io::dup(rustix::stdio::stdin())?;
    let mut way = StdStream::from(input);
    let engine = engine::engine()?;
    let mut guests = Vec::new();
    while let Some(guest) = next(&mut way, &engine).context("while it was filled")? {
        guests.push(guest);
    }
    #[cfg(feature = "faults")]
    let drill = seal::escape::Drill::asked();
    #[cfg(feature = "faults")]
    let escaped = drill
        .as_ref()
        .filter(|drill| drill.before_seal)
        .map(|drill| drill.run());
    let mut layers = vec![inherited];
    layers.extend(seal::before_threads());
    let ticker = Arc::new(Ticker::start(&engine)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // To be told to stop is for the gateway, which lets this go when it has no more need of it.
        let _terminate = signal(SignalKind::terminate())?;
        let mut serving = JoinSet::new();
        let clock = Arc::new(SystemClock::new());
        for Loaded { pre, spec, stream } in guests {
            stream.set_nonblocking(true)?;
            let stream = UnixStream::from_std(stream)?;
            let guest = Guest::new(pre, spec, clock.clone(), ticker.clone());
            serving.spawn(serve(guest, stream));
        }
        layers.push(seal::calls());
        #[cfg(feature = "faults")]
        layers.extend(escaped.or_else(|| Some(drill?.run())).unwrap_or_default());
        let mut buffer = Vec::new();
        frame::frame(&mut buffer, |buffer| message::write_layers(buffer, &layers));
        frame::write_now(&mut way, &buffer, &[])?;
        drop(way);
        while let Some(ended) = serving.join_next().await {
            // Each is one stream's end; a panic is the end of all.
            ended??;
        }
        Ok(())
    })
}

/// Loads the next guest, and says what became of it; none when there are no more.
fn next(way: &mut StdStream, engine: &Engine) -> io::Result<Option<Loaded>> {
    let mut buffer = Vec::new();
    loop {
        let (bytes, files) = frame::read_with_files(way, SPEC_BYTES_MAX)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let spec = message::read_spec(&bytes)?;
        let files: [OwnedFd; 2] = files
            .try_into()
            .map_err(|_| io::Error::other("a guest comes with its stream and its code"))?;
        let [stream, code] = files;
        let linked = link(&spec, &Code::received(code), engine);
        frame::frame(&mut buffer, |buffer| {
            message::write_loaded(buffer, linked.as_ref().map(drop));
        });
        frame::write_now(way, &buffer, &[])?;
        if let Ok(pre) = linked {
            return Ok(Some(Loaded {
                pre,
                spec,
                stream: StdStream::from(stream),
            }));
        }
    }
}

fn link(spec: &GuestSpec, code: &Code, engine: &Engine) -> Result<ProcessorPre<Host>, Error> {
    let component = code.load(engine).map_err(|source| Error::Contract {
        module: spec.name.clone(),
        source: source.into(),
    })?;
    engine::link(&spec.name, &component, engine)
}

/// Answers calls until the module's side closes the stream.
async fn serve(mut guest: Guest, stream: UnixStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    while frame::read(&mut stream, &mut asked, CALL_FRAME_BYTES_MAX).await? {
        let call = message::read_call(&asked)?;
        let renew = call.state.is_some();
        let (state, written_by) = call.state.unwrap_or_default();
        let reply = guest
            .call(Call {
                now: call.now,
                clock: call.clock,
                boot: call.boot,
                state: &state,
                state_written_by: written_by,
                renew,
                batch: call.batch.as_ref(),
            })
            .await;
        frame::frame(&mut answered, |buffer| message::write_reply(buffer, &reply));
        stream.write_all(&answered).await?;
        for buffer in [&mut asked, &mut answered] {
            if buffer.capacity() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }
    Ok(())
}
