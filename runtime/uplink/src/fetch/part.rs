//! A part of a file on its way.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::{Broken, Connection, Error, Fetcher};

/// A part of a file on its way, from one of its bytes to its end.
#[derive(Debug)]
pub struct Part<'a> {
    fetcher: &'a mut Fetcher,
    connection: Option<Connection>,
    body: Incoming,
    /// What is still to come.
    left: Range<u64>,
    /// What came in this window, and how long that was waited for. Time that the caller takes for it is not the sender's.
    window: (u64, Duration),
}

impl<'a> Part<'a> {
    pub(super) fn new(
        fetcher: &'a mut Fetcher,
        connection: Connection,
        body: Incoming,
        left: Range<u64>,
    ) -> Self {
        Self {
            fetcher,
            connection: Some(connection),
            body,
            left,
            window: (0, Duration::ZERO),
        }
    }

    /// Where in the file the next piece begins.
    pub const fn at(&self) -> u64 {
        self.left.start
    }

    /// The next piece, of some KiB; none when the end has come where it should be.
    ///
    /// # Errors
    /// When it ends too early or goes on too long, comes too slowly, or the byte budget is spent. All pieces before were good.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            self.fetcher.check_budget()?;
            let Some(piece) = self.frame().await? else {
                return self.end().await;
            };
            if piece.is_empty() {
                continue;
            }
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if length > self.left.end.saturating_sub(self.left.start) {
                return Err(Error::Long(self.left.end));
            }
            self.left.start = self.left.start.saturating_add(length);
            self.check_rate(length)?;
            return Ok(Some(piece));
        }
    }

    /// What comes next; none at the end. Trailers, and what else is no data, are empty.
    async fn frame(&mut self) -> Result<Option<Bytes>, Error> {
        let silence = self.fetcher.limits.fetch_silence_max;
        let begun = Instant::now();
        let frame = timeout(silence, self.body.frame()).await;
        self.window.1 = self.window.1.saturating_add(begun.elapsed());
        let frame = frame.map_err(|_| Error::Silent(silence))?;
        let frame = frame.transpose().map_err(Broken::Exchange)?;
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    async fn end(&mut self) -> Result<Option<Bytes>, Error> {
        if self.left.start < self.left.end {
            return Err(Error::Short {
                expected: self.left.end,
                found: self.left.start,
            });
        }
        if let Some(connection) = self.connection.take() {
            self.fetcher.done(connection).await;
        }
        Ok(None)
    }

    fn check_rate(&mut self, came: u64) -> Result<(), Error> {
        let (bytes, time) = &mut self.window;
        *bytes = bytes.saturating_add(came);
        let limits = &self.fetcher.limits;
        if *time < limits.fetch_rate_window {
            return Ok(());
        }
        let (bytes, time) = std::mem::take(&mut self.window);
        match bytes / time.as_secs().max(1) < limits.fetch_rate_min {
            true => Err(Error::Slow { bytes, time }),
            false => Ok(()),
        }
    }
}
