//! What a browser shows of a page: the document after it was loaded, and a picture.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

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

/// A picture of the page, kept as a PNG file.
///
/// # Errors
/// When Chromium is not installed, does not end or takes no picture.
pub fn picture(url: &str, file: &Path) -> Result<Picture> {
    if file.exists() {
        std::fs::remove_file(file)?;
    }
    let to = format!("--screenshot={}", file.display());
    chromium(&[&to, "--window-size=1280,960", "--hide-scrollbars"], url)?;
    Picture::read(file)
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

/// Pixels.
#[derive(Debug)]
pub struct Picture {
    colours: HashMap<[u8; 3], u64>,
    pixels: u64,
}

impl Picture {
    fn read(file: &Path) -> Result<Self> {
        let input = File::open(file)
            .with_context(|| format!("chromium took no picture {}", file.display()))?;
        let mut decoder = png::Decoder::new(BufReader::new(input));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info()?;
        let mut bytes = vec![0; reader.output_buffer_size().context("a picture too large")?];
        let info = reader.next_frame(&mut bytes)?;
        let mut picture = Self {
            colours: HashMap::new(),
            pixels: 0,
        };
        for pixel in bytes.chunks_exact(info.color_type.samples()) {
            if let Some(colour) = pixel.first_chunk::<3>() {
                *picture.colours.entry(*colour).or_default() += 1;
                picture.pixels += 1;
            }
        }
        Ok(picture)
    }

    /// Number of different colours.
    pub fn colours(&self) -> usize {
        self.colours.len()
    }

    /// Share of the pixels that are not of the commonest colour, from 0 to 1: an empty page has none.
    pub fn drawn(&self) -> f64 {
        let commonest = self.colours.values().copied().max().unwrap_or_default();
        #[allow(
            clippy::cast_precision_loss,
            reason = "a picture has far fewer than 2^52 pixels"
        )]
        let share = (self.pixels - commonest) as f64 / self.pixels.max(1) as f64;
        share
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
        let drawn = picture(
            "data:text/html,<h1 style='background:navy'>Words</h1>",
            &file,
        )
        .unwrap();
        assert!(
            drawn.drawn() > 0.005 && drawn.colours() > 2,
            "{} {}",
            drawn.drawn(),
            drawn.colours()
        );
        let empty = picture("data:text/html,", &file).unwrap();
        assert!(empty.drawn() == 0.0 && empty.colours() == 1);
    }
}
