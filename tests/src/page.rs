//! What a browser shows of a page: the document after it was loaded, and a picture.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use serde_json::Value;

use crate::tools::Tool;
use crate::wait::wait_for;

/// How long a browser may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The document as the browser holds it after loading and running scripts.
///
/// # Errors
/// When Chromium is not installed or does not end.
pub fn document(url: &str) -> Result<String> {
    chromium(&["--dump-dom"], url)
}

/// Takes a picture of the page and keeps it as a PNG file.
///
/// # Errors
/// When Chromium is not installed, does not end or takes no picture.
pub fn picture(url: &str, file: &Path) -> Result<Picture> {
    if file.exists() {
        std::fs::remove_file(file)?;
    }
    let to = format!("--screenshot={}", file.display());
    chromium(&[&to, "--window-size=1280,960", "--hide-scrollbars"], url)?;
    Picture::measure(file)
}

fn chromium(arguments: &[&str], url: &str) -> Result<String> {
    let profile = tempfile::tempdir()?;
    let output = profile.path().join("output");
    let mut command = Command::new(Tool::Chromium.path()?);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        // A page with a live connection never comes to rest: take it as it is after this long.
        "--timeout=3000",
    ]);
    command
        .arg(format!(
            "--user-data-dir={}",
            profile.path().join("profile").display()
        ))
        .args(arguments)
        .arg(url);
    command
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .stderr(Stdio::null());
    let mut child = command.spawn().context("cannot start chromium")?;
    let ended = wait_for("chromium to end", PATIENCE, || Ok(child.try_wait()?));
    let status = match ended {
        Ok(status) => status,
        Err(error) => {
            child.kill()?;
            child.wait()?;
            bail!(error);
        }
    };
    ensure!(status.success(), "chromium ended with {status} on {url}");
    Ok(String::from_utf8_lossy(&std::fs::read(&output)?).into_owned())
}

/// A door for a browser that cannot be given a cookie on its command line: whoever comes gets one, and is sent on. A
/// cookie is for a host at all of its ports.
#[derive(Debug)]
pub struct Entrance {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
}

impl Entrance {
    /// Opens one to `url`, on the same host, with this cookie. It is closed when it is dropped.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn open(url: &str, cookie: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let closed = Arc::new(AtomicBool::new(false));
        let answer = format!(
            "HTTP/1.1 302 Found\r\nlocation: {url}\r\nset-cookie: {cookie}\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
        let until = closed.clone();
        let keeper = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                // A browser also opens connections that it does not use.
                show_in(stream, &answer).ok();
            }
        });
        Ok(Self {
            address,
            closed,
            keeper: Some(keeper),
        })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

fn show_in(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    if stream.read(&mut [0; 4096])? > 0 {
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // It waits for a visitor: the last one is we. Without it the keeper ends with the process.
        if TcpStream::connect(self.address).is_ok()
            && let Some(keeper) = self.keeper.take()
        {
            keeper.join().ok();
        }
    }
}

/// What can be seen in a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture {
    /// Number of different colours.
    pub colours: u64,
    /// Share of the pixels that are not of the commonest colour, from 0 to 1: an empty page has none.
    pub drawn: f64,
}

/// Lets the browser count the pixels of a picture: it has the decoder.
const MEASURE: &str = r#"<!doctype html><pre id="out"></pre><img src="PICTURE" onload="
  const canvas = new OffscreenCanvas(this.width, this.height).getContext('2d');
  canvas.drawImage(this, 0, 0);
  const counts = new Map();
  const pixels = new Uint32Array(canvas.getImageData(0, 0, this.width, this.height).data.buffer);
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
  const drawn = 1 - Math.max(...counts.values()) / pixels.length;
  out.textContent = JSON.stringify({colours: counts.size, drawn});
">"#;

impl Picture {
    fn measure(file: &Path) -> Result<Self> {
        ensure!(
            file.is_file(),
            "chromium took no picture {}",
            file.display()
        );
        let folder = tempfile::tempdir()?;
        let page = folder.path().join("measure.html");
        std::fs::write(
            &page,
            MEASURE.replace("PICTURE", &format!("file://{}", file.display())),
        )?;
        let document = chromium(
            &["--allow-file-access-from-files", "--dump-dom"],
            &format!("file://{}", page.display()),
        )?;
        let json = document
            .split_once("<pre id=\"out\">")
            .and_then(|(_, rest)| rest.split_once("</pre>"));
        let (json, _) =
            json.with_context(|| format!("the picture was not measured: {document}"))?;
        let measured: Value = serde_json::from_str(json).context("the picture was not measured")?;
        let colours = measured.pointer("/colours").and_then(Value::as_u64);
        let drawn = measured.pointer("/drawn").and_then(Value::as_f64);
        Ok(Self {
            colours: colours.context("no colours")?,
            drawn: drawn.context("nothing drawn")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::available;

    #[test]
    fn a_page_is_read_and_an_empty_one_is_told_from_a_drawn_one() {
        if !available("page", &[Tool::Chromium]).unwrap() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("page.png");
        let script = "data:text/html,<p id=x></p><script>x.textContent=6*7</script>";
        assert!(document(script).unwrap().contains("<p id=\"x\">42</p>"));
        // Without quotation marks: the launcher of some packages is a shell script that trips over them.
        let drawn = picture("data:text/html,<h1 style=background:navy>Words</h1>", &file).unwrap();
        assert!(drawn.drawn > 0.005 && drawn.colours > 2, "{drawn:?}");
        let empty = picture("data:text/html,", &file).unwrap();
        assert_eq!(
            empty,
            Picture {
                colours: 1,
                drawn: 0.0
            }
        );
    }
}
