//! A network link that can be cut: a TCP proxy between the gateway and the cloud.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

/// The link. While it is cut, connections are closed and new ones end at once.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    cut: AtomicBool,
    closed: AtomicBool,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
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
            open: Mutex::default(),
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

    /// Mends the link.
    pub fn mend(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
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
        for stream in self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let _already_closed = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut pumps = Vec::new();
    while let Ok((near, _)) = listener.accept() {
        if shared.closed.load(Ordering::SeqCst) {
            break;
        }
        if shared.cut.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(far) = TcpStream::connect(shared.target) else {
            continue;
        };
        let _unsupported = (near.set_nodelay(true), far.set_nodelay(true));
        let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else {
            continue;
        };
        let (Ok(near_owned), Ok(far_owned)) = (near.try_clone(), far.try_clone()) else {
            continue;
        };
        shared
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend([near_owned, far_owned]);
        if shared.cut.load(Ordering::SeqCst) {
            shared.close_all();
        }
        let (up, down) = (shared.clone(), shared.clone());
        pumps.push(std::thread::spawn(move || pump(near, far, &up.bytes_up)));
        pumps.push(std::thread::spawn(move || {
            pump(far_too, near_too, &down.bytes_down)
        }));
        pumps.retain(|pump| !pump.is_finished());
    }
    shared.close_all();
    for pump in pumps {
        let _its_panic_was_printed = pump.join();
    }
}

/// Passes bytes on until either side ends, then ends both.
fn pump(mut from: TcpStream, mut to: TcpStream, bytes: &AtomicU64) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        bytes.fetch_add(u64::try_from(length).unwrap_or_default(), Ordering::Relaxed);
        if to
            .write_all(chunk.get(..length).unwrap_or_default())
            .is_err()
        {
            break;
        }
    }
    let _already_closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
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
    fn bytes_are_counted_both_ways() {
        let link = Link::to(echo()).unwrap();
        assert!(passes(link.address()) && passes(link.address()));
        assert_eq!((link.bytes_up(), link.bytes_down()), (8, 8));
    }
}
