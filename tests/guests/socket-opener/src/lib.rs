//! Opens a network connection for each message. Built for `wasm32-wasip2` it imports `wasi:sockets`, which no site
//! grants by itself.

use std::net::TcpStream;

use tidegate_sdk::{Batch, Fault, Outcome, Processor, Start};

struct SocketOpener;

impl Processor for SocketOpener {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        for _ in &batch.messages {
            TcpStream::connect("192.0.2.1:80")
                .map_err(|error| Fault::transient(error.to_string()))?;
        }
        Ok(Outcome::default())
    }
}

tidegate_sdk::export!(SocketOpener);
