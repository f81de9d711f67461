//! What can happen to an exchange between gateway and centre on its way, done on purpose: requests and replies that are
//! lost, cut, repeated, late or not what they should be.
//!
//! Both sides speak HTTP/1.1 with a content length, which is all that is read here.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for the centre's answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Largest message that is passed on: more than either side takes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What happens to one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    /// Nothing: it passes.
    None,
    /// The request never arrives.
    RequestLost,
    /// The first half of the request arrives, and the connection ends.
    RequestCut,
    /// The centre takes it, and the reply never arrives.
    ReplyLost,
    /// The first half of the reply arrives, and the connection ends.
    ReplyCut,
    /// The request arrives twice.
    Doubled,
    /// An earlier request arrives once more, after this one.
    Repeated,
    /// The centre takes it, and the gateway gets the reply to an earlier request.
    StaleReply,
    /// The reply comes late.
    Late(Duration),
    /// Nothing comes back for so long, and the connection stays open.
    Silent(Duration),
    /// The request does not arrive; something between answers with this status, and asks for patience of so many seconds.
    Status(u16, u32),
    /// The request does not arrive; something between answers 200 with what is no reply.
    Garbage(u64),
    /// The request arrives at another centre, which takes it: the negative control, for that loses rows.
    Astray(SocketAddr),
    /// What the gateway is to run is kept from it, and this becomes of the answers to what is the newest. All else passes.
    KeptBack(Answers),
}

/// What becomes of the answers to what is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// They arrive.
    Genuine,
    /// The first one arrives again and again.
    Replayed,
    /// Those to another gateway arrive.
    OfAnother,
}

/// What happens to the next exchange, and so on.
pub type Script = Box<dyn FnMut() -> Mischief + Send>;

/// What has passed before, for what comes again.
#[derive(Debug, Default)]
pub struct Memory {
    request: Vec<u8>,
    reply: Vec<u8>,
    first: Option<Vec<u8>>,
}

/// One request: what happens to it. Gives what the gateway gets, or nothing where the connection ends instead.
///
/// # Errors
/// When the centre does not answer.
pub fn answer(
    mischief: Mischief,
    request: &[u8],
    centre: SocketAddr,
    memory: &mut Memory,
) -> io::Result<Vec<u8>> {
    let earlier = (memory.request.clone(), memory.reply.clone());
    let mut reply = match mischief {
        Mischief::RequestLost | Mischief::Silent(_) => return Ok(Vec::new()),
        Mischief::Status(code, seconds) => return Ok(refusal(code, seconds)),
        Mischief::Garbage(seed) => return Ok(garbage(seed)),
        Mischief::RequestCut => {
            let half = request.get(..request.len() / 2).unwrap_or_default();
            TcpStream::connect(centre)?.write_all(half)?;
            return Ok(Vec::new());
        }
        Mischief::Astray(other) => return exchange(other, request),
        Mischief::KeptBack(_) if asks(request, "/v1/desired") => {
            return Ok(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
        }
        Mischief::KeptBack(Answers::Replayed) if asks(request, "/v1/time") => {
            let reply = match memory.first.take() {
                Some(first) => first,
                None => exchange(centre, request)?,
            };
            memory.first = Some(reply.clone());
            return Ok(reply);
        }
        Mischief::KeptBack(Answers::OfAnother) if asks(request, "/v1/time") => {
            let text = String::from_utf8_lossy(request);
            let renamed = text.replacen("gateway=", "gateway=other-", 1);
            return exchange(centre, renamed.as_bytes());
        }
        _ => exchange(centre, request)?,
    };
    memory.request = request.to_vec();
    memory.reply.clone_from(&reply);
    match mischief {
        Mischief::ReplyLost => reply.clear(),
        Mischief::ReplyCut => reply.truncate(reply.len() / 2),
        Mischief::Doubled => reply = exchange(centre, request)?,
        Mischief::Repeated if !earlier.0.is_empty() => drop(exchange(centre, &earlier.0)?),
        Mischief::StaleReply if !earlier.1.is_empty() => reply = earlier.1,
        _ => {}
    }
    Ok(reply)
}

fn asks(request: &[u8], path: &str) -> bool {
    request.starts_with(format!("GET {path}").as_bytes())
}

/// Asks a centre on a connection of its own.
fn exchange(centre: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(centre)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    message(&mut stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Reads one message with its head; none at the end of the stream.
///
/// # Errors
/// When it is cut off or too large.
pub fn message(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some(length) = length(&bytes)
            && bytes.len() >= length
        {
            return Ok(Some(bytes));
        }
        match stream.read(&mut chunk)? {
            0 if bytes.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Bytes of the message that begins here, once its head is whole.
fn length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(bytes.get(..end)?).to_ascii_lowercase();
    let value = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    Some(
        end + value
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0),
    )
}

fn refusal(code: u16, seconds: u32) -> Vec<u8> {
    let text = "not now";
    format!(
        "HTTP/1.1 {code} No\r\nretry-after: {seconds}\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

/// Several kinds of what is no reply.
fn garbage(seed: u64) -> Vec<u8> {
    let body: Vec<u8> = match seed % 4 {
        0 => Vec::new(),
        1 => b"<html>the hotel's network wants your room number</html>".to_vec(),
        // The magic of zstd, and then nothing of the kind.
        2 => [b"\x28\xb5\x2f\xfd".as_slice(), &seed.to_le_bytes()].concat(),
        _ => (0..seed % 5000)
            .flat_map(|number| (seed ^ number.wrapping_mul(0x9e37_79b9)).to_le_bytes())
            .collect(),
    };
    let mut reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    if seed % 8 == 7 {
        reply = "garbage\r\n\r\n".to_owned();
    }
    [reply.into_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_to_its_length_and_no_further() {
        let mut bytes =
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n".as_slice();
        // A reader that gives one byte at a time shows that nothing is taken in advance.
        let mut slow = OneByOne(&mut bytes);
        assert!(message(&mut slow).unwrap().unwrap().ends_with(b"abc"));
        assert!(message(&mut slow).unwrap().unwrap().starts_with(b"GET"));
        assert_eq!(message(&mut slow).unwrap(), None);
        assert!(message(&mut b"HTTP/1.1 200".as_slice()).is_err());
    }

    struct OneByOne<'a>(&'a mut &'static [u8]);

    impl Read for OneByOne<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let one = buffer.len().min(1);
            self.0.read(&mut buffer[..one])
        }
    }
}
