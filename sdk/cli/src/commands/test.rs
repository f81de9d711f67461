//! `tide test`: the component in the gateway's engine, on recorded input.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate_testkit::{
    CUTS, Class, Cut, Expectation, LineError, Outputs, Recording, Rig, Subject,
};

use crate::commands::build::build;
use crate::error::Error;
use crate::files;
use crate::manifest::{FILE_NAME, Manifest};
use crate::project::Project;
use crate::report::Report;
use crate::toolchain::Target;

/// Largest recording or expectation; a recording is an example, not an archive.
const RECORDING_BYTES_MAX: u64 = 64 << 20;

/// Build a module and run its recorded input in the gateway's engine: the outputs must be the expected ones,
/// however the messages are cut into batches.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// What to compile for.
    #[arg(long, value_enum, default_value = "wasm32-wasip2")]
    target: Target,
    /// Write what the module sends as the new expectation; look at the difference before you commit it.
    #[arg(long)]
    update: bool,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let project = Project::open(&self.folder)?;
        let no_module = |problem: String| Error::Project {
            path: self.folder.clone(),
            problem,
        };
        let Some(test) = &project.manifest.test else {
            return Err(no_module(format!(
                "its {FILE_NAME} has no [test] with input and expected"
            )));
        };
        let expected = self.folder.join(&test.expected);
        let recording = read(&self.folder.join(&test.input), Recording::read)?;
        if recording.is_empty() {
            return Err(no_module("its recorded input is empty".to_owned()));
        }
        let (component, _) = build(&project, &self.folder, self.target)?;
        let bench = Bench::new(
            subject(&project.manifest, files::read_bundle(&component)?),
            recording,
        )?;

        let [reference, others @ ..] = CUTS;
        // Once is enough to read what the module logs.
        let outputs = tracing::subscriber::with_default(module_log(), || bench.run(reference))?;
        if !self.update {
            bench.compare(reference, &read(&expected, Expectation::read)?, &outputs)?;
        }
        for cut in others {
            bench.compare_cuts(cut, &outputs)?;
        }
        if self.update {
            files::write(&expected, outputs.to_text().as_bytes())?;
        }
        Ok(self.report(&bench, &outputs, &expected))
    }

    fn report(&self, bench: &Bench, outputs: &Outputs, expected: &Path) -> Report {
        let cuts: Vec<&str> = CUTS.iter().map(|cut| cut.name).collect();
        let (module, messages) = (&bench.subject.name, bench.recording.len());
        let facts = json!({
            "module": module, "messages": messages, "outputs": outputs.len(), "cuts": cuts, "updated": self.update,
        });
        let did = if self.update { "wrote" } else { "as in" };
        let summary = format!(
            "{messages} messages, {} outputs, {did} {}",
            outputs.len(),
            expected.display()
        );
        let report = Report::new(facts).line(format!("{module}: {summary}"));
        cuts.iter()
            .fold(report, |report, cut| report.fact("same with", cut))
    }
}

/// A module and its recording, in the engine.
struct Bench {
    rig: Rig,
    subject: Subject,
    recording: Recording,
}

impl Bench {
    fn new(subject: Subject, recording: Recording) -> Result<Self, Error> {
        let rig = Rig::new().map_err(|source| Error::Test {
            module: subject.name.clone(),
            source,
        })?;
        Ok(Self {
            rig,
            subject,
            recording,
        })
    }

    fn run(&self, cut: Cut) -> Result<Outputs, Error> {
        let outputs = self.rig.run(&self.subject, &self.recording, cut);
        outputs.map_err(|source| Error::Test {
            module: self.subject.name.clone(),
            source,
        })
    }

    fn compare(&self, cut: Cut, expectation: &Expectation, outputs: &Outputs) -> Result<(), Error> {
        let Some(difference) = expectation.difference(outputs) else {
            return Ok(());
        };
        let (module, difference) = (self.subject.name.clone(), difference.to_string());
        Err(Error::TestDiffers {
            module,
            cut: cut.name,
            difference,
        })
    }

    /// Against the first run and not the file: the numbers in a file may be rounded.
    fn compare_cuts(&self, cut: Cut, reference: &Outputs) -> Result<(), Error> {
        let Some(difference) = reference.expectation().difference(&self.run(cut)?) else {
            return Ok(());
        };
        let (module, difference) = (self.subject.name.clone(), difference.to_string());
        Err(Error::TestDepends {
            module,
            cut: cut.name,
            difference,
        })
    }
}

/// Shows the module's own log lines on stderr.
fn module_log() -> impl tracing::Subscriber {
    let log = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    log.with_max_level(tracing::Level::INFO)
        .without_time()
        .with_target(false)
        .finish()
}

fn read<T>(path: &Path, parse: fn(&str) -> Result<T, LineError>) -> Result<T, Error> {
    let text = files::read_text(path, RECORDING_BYTES_MAX)?;
    parse(&text).map_err(|source| Error::Recording {
        path: path.to_owned(),
        source,
    })
}

fn subject(manifest: &Manifest, component: Vec<u8>) -> Subject {
    let class = |class| match class {
        tidegate_bundle::Class::Alarm => Class::Alarm,
        tidegate_bundle::Class::Summary => Class::Summary,
        tidegate_bundle::Class::Raw => Class::Raw,
    };
    Subject {
        name: manifest.module.name.clone(),
        version: manifest.module.version.to_string(),
        component,
        config: manifest.config.clone(),
        publish: manifest.capabilities.publish.clone(),
        actuate: manifest.capabilities.actuate.clone(),
        streams: manifest
            .streams
            .iter()
            .map(|stream| (stream.name.clone(), class(stream.class)))
            .collect(),
        memory_bytes_max: usize::try_from(manifest.limits.memory_bytes).unwrap_or(usize::MAX),
        state_bytes_max: usize::try_from(manifest.limits.state_bytes).unwrap_or(usize::MAX),
    }
}
