//! A network link that can be cut, and on which things go wrong: a TCP proxy between the gateway and the cloud.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use crate::mischief::{self, Memory, Mischief, Script};

/// The link. While it is cut, connections are closed and new ones end at once.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    cut: AtomicBool,
    closed: AtomicBool,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    /// Bytes that may come down before the link is cut.
    bytes_down_max: AtomicU64,
    open: Mutex<Vec<Weak<TcpStream>>>,
    script: Mutex<Option<Script>>,
    memory: Mutex<Memory>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// A link to `target`, on a free port.
    ///
    /// # Errors
    /// When no port can be opened.
    pub fn to(target: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind("127.0.0.1:0").context("cannot open a port for the link")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            cut: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            bytes_down_max: AtomicU64::new(u64::MAX),
            open: Mutex::default(),
            script: Mutex::default(),
            memory: Mutex::default(),
        });
        let for_acceptor = shared.clone();
        let acceptor = std::thread::spawn(move || accept(&listener, &for_acceptor));
        Ok(Self {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Where the gateway connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the link: closes what is open and lets nothing pass.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        self.shared.close_all();
    }

    /// Cuts the link when so many bytes more have come down.
    pub fn cut_after(&self, bytes: u64) {
        let max = self.bytes_down().saturating_add(bytes);
        self.shared.bytes_down_max.store(max, Ordering::SeqCst);
    }

    /// Whether the link is cut.
    pub fn is_cut(&self) -> bool {
        self.shared.cut.load(Ordering::SeqCst)
    }

    /// Mends the link.
    pub fn mend(&self) {
        self.shared.bytes_down_max.store(u64::MAX, Ordering::SeqCst);
        self.shared.cut.store(false, Ordering::SeqCst);
    }

    /// From now on, `script` says what happens to each exchange; without one, all pass.
    pub fn misbehave(&self, script: Option<Script>) {
        *locked(&self.shared.script) = script;
        self.shared.close_all();
    }

    /// Bytes that went up, headers and all.
    pub fn bytes_up(&self) -> u64 {
        self.shared.bytes_up.load(Ordering::Relaxed)
    }

    /// Bytes that came down.
    pub fn bytes_down(&self) -> u64 {
        self.shared.bytes_down.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.cut();
        let _wakes_the_acceptor = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _its_panic_was_printed = acceptor.join();
        }
    }
}

impl Shared {
    fn close_all(&self) {
        for stream in locked(&self.open).drain(..) {
            if let Some(stream) = stream.upgrade() {
                let _already_closed = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// A connection that ends with the link.
    fn hold(&self, stream: TcpStream) -> Arc<TcpStream> {
        let _unsupported = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let mut open = locked(&self.open);
        open.retain(|stream| stream.strong_count() > 0);
        open.push(Arc::downgrade(&stream));
        stream
    }

    /// How many of these bytes may still come down. When not all may, the link is cut.
    fn come_down(&self, length: usize) -> usize {
        let max = self.bytes_down_max.load(Ordering::SeqCst);
        let left = max.saturating_sub(self.bytes_down.load(Ordering::Relaxed));
        let passed = usize::try_from(left).map_or(length, |left| left.min(length));
        add(&self.bytes_down, passed);
        if passed < length {
            self.cut.store(true, Ordering::SeqCst);
        }
        passed
    }

    fn next(&self) -> Option<Mischief> {
        locked(&self.script).as_mut().map(|script| script())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((near, _)) = listener.accept() {
        if shared.closed.load(Ordering::SeqCst) {
            break;
        }
        if shared.cut.load(Ordering::SeqCst) {
            continue;
        }
        let near = shared.hold(near);
        if locked(&shared.script).is_some() {
            let shared = shared.clone();
            threads.push(std::thread::spawn(move || serve(&near, &shared)));
        } else if let Ok(far) = TcpStream::connect(shared.target) {
            let far = shared.hold(far);
            let (up, down) = (shared.clone(), shared.clone());
            let (near_too, far_too) = (near.clone(), far.clone());
            threads.push(std::thread::spawn(move || {
                pump(&near, &far, |length| {
                    add(&up.bytes_up, length);
                    length
                });
            }));
            threads.push(std::thread::spawn(move || {
                pump(&far_too, &near_too, |length| down.come_down(length));
            }));
        }
        if shared.cut.load(Ordering::SeqCst) {
            shared.close_all();
        }
        threads.retain(|thread| !thread.is_finished());
    }
    shared.close_all();
    for thread in threads {
        let _its_panic_was_printed = thread.join();
    }
}

/// Passes bytes on until either side ends or `passes` holds some back, then ends both.
fn pump(mut from: &TcpStream, mut to: &TcpStream, passes: impl Fn(usize) -> usize) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        let passed = passes(length);
        let written = to.write_all(chunk.get(..passed).unwrap_or_default());
        if written.is_err() || passed < length {
            break;
        }
    }
    let _already_closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Passes exchanges on, one by one, as the script says.
fn serve(mut near: &TcpStream, shared: &Shared) {
    while let Ok(Some(request)) = mischief::message(&mut near) {
        add(&shared.bytes_up, request.len());
        let Some(mischief) = shared.next() else { break };
        let mut memory = locked(&shared.memory);
        let answer = mischief::answer(mischief, &request, shared.target, &mut memory);
        drop(memory);
        let Ok(answer) = answer else { break };
        if let Mischief::Late(time) | Mischief::Silent(time) = mischief {
            // Until the gateway loses patience.
            let _unsupported = near.set_read_timeout(Some(time));
            if !matches!(near.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
            {
                break;
            }
            let _unsupported = near.set_read_timeout(None);
        }
        add(&shared.bytes_down, answer.len());
        let whole =
            mischief::message(&mut answer.as_slice()).is_ok_and(|message| message.is_some());
        if near.write_all(&answer).is_err() || !whole {
            break;
        }
    }
    let _already_closed = near.shutdown(Shutdown::Both);
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or_default(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo server that ends with the test's process.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut back = stream.try_clone().unwrap();
                std::thread::spawn(move || std::io::copy(&mut stream, &mut back));
            }
        });
        address
    }

    fn passes(address: SocketAddr) -> bool {
        let Ok(mut stream) = TcpStream::connect(address) else {
            return false;
        };
        let mut answer = [0; 4];
        stream.write_all(b"ping").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer == *b"ping"
    }

    #[test]
    fn nothing_passes_while_the_link_is_cut() {
        let link = Link::to(echo()).unwrap();
        assert!(passes(link.address()));
        let mut open = TcpStream::connect(link.address()).unwrap();
        link.cut();
        assert!(!passes(link.address()));
        assert_eq!(
            open.read(&mut [0; 1]).unwrap_or(0),
            0,
            "an open connection must end"
        );
        link.mend();
        assert!(passes(link.address()));
    }

    #[test]
    fn a_link_can_be_cut_at_a_byte() {
        let link = Link::to(echo()).unwrap();
        link.cut_after(6);
        assert!(passes(link.address()) && !link.is_cut());
        let mut stream = TcpStream::connect(link.address()).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut came = Vec::new();
        let _cut = stream.read_to_end(&mut came);
        assert_eq!(came, b"pi");
        assert!(link.is_cut() && !passes(link.address()));
        link.mend();
        assert!(passes(link.address()));
    }

    #[test]
    fn bytes_are_counted_both_ways() {
        let link = Link::to(echo()).unwrap();
        assert!(passes(link.address()) && passes(link.address()));
        assert_eq!((link.bytes_up(), link.bytes_down()), (8, 8));
    }
}
