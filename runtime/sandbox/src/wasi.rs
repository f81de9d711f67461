//! The empty WASI 0.2 baseline, which std links even when a guest does not use it: no files, no arguments, no network,
//! stdio to the log, clocks that answer the batch's time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_record::{BootTime, WallTime};
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx};

use crate::guest_log::Lines;

/// What a guest may import beyond the contract: by instance name, up to the version.
pub(crate) const BASELINE: [&str; 5] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
];

/// The batch's time, as the guest's clocks see it.
#[derive(Debug, Default)]
pub(crate) struct Now {
    wall: AtomicU64,
    boot: AtomicU64,
}

impl Now {
    pub(crate) fn set(&self, wall: WallTime, boot: BootTime) {
        self.wall.store(wall.0, Ordering::Relaxed);
        self.boot.store(boot.0, Ordering::Relaxed);
    }
}

/// A context that grants nothing.
pub(crate) fn context(now: &Arc<Now>, lines: &Arc<Lines>) -> WasiCtx {
    let stream = |level| LogStream {
        level,
        lines: lines.clone(),
    };
    WasiCtx::builder()
        .stdout(stream(Level::INFO))
        .stderr(stream(Level::WARN))
        .wall_clock(BatchClock(now.clone()))
        .monotonic_clock(BatchClock(now.clone()))
        .max_random_size(64 << 10)
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}

struct BatchClock(Arc<Now>);

impl HostWallClock for BatchClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.wall.load(Ordering::Relaxed))
    }
}

impl HostMonotonicClock for BatchClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.boot.load(Ordering::Relaxed)
    }
}

/// Standard output or error of a guest: each line is a log line.
#[derive(Clone)]
struct LogStream {
    level: Level,
    lines: Arc<Lines>,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines().filter(|line| !line.is_empty()) {
            self.lines.add(self.level, line);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
