//! `tide test`: the component in the gateway's engine, on recorded input.

use std::io;
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
        let Some(test) = &project.manifest.test else {
            let problem = format!("its {FILE_NAME} has no [test] with input and expected");
            return Err(Error::Project {
                path: self.folder.clone(),
                problem,
            });
        };
        let (input_path, expected_path) = (
            self.folder.join(&test.input),
            self.folder.join(&test.expected),
        );
        let recording = read(&input_path, Recording::read)?;
        if recording.is_empty() {
            return Err(Error::Project {
                path: self.folder.clone(),
                problem: "its recorded input is empty".to_owned(),
            });
        }
        let (component, _) = build(&project, &self.folder, self.target)?;
        let subject = subject(&project.manifest, files::read_bundle(&component)?);
        let module = || subject.name.clone();
        let rig = Rig::new().map_err(|source| Error::Test {
            module: module(),
            source,
        })?;
        let run = |cut| {
            rig.run(&subject, &recording, cut)
                .map_err(|source| Error::Test {
                    module: module(),
                    source,
                })
        };

        let [reference, others @ ..] = CUTS;
        // Once is enough to read what the module logs.
        let outputs = tracing::subscriber::with_default(module_log(), || run(reference))?;
        let expectation = match self.update {
            true => outputs.expectation(),
            false => read(&expected_path, Expectation::read)?,
        };
        compare(&module(), reference, &expectation, &outputs)?;
        // Against the first run and not the file: the numbers in a file may be rounded.
        let expectation = outputs.expectation();
        for cut in others {
            compare(&module(), cut, &expectation, &run(cut)?)?;
        }
        if self.update {
            files::write(&expected_path, outputs.to_text().as_bytes())?;
        }
        Ok(self.report(
            &subject.name,
            recording.len(),
            outputs.len(),
            &expected_path,
        ))
    }

    fn report(&self, module: &str, messages: usize, outputs: usize, expected: &Path) -> Report {
        let cuts: Vec<&str> = CUTS.iter().map(|cut| cut.name).collect();
        let facts = json!({
            "module": module, "messages": messages, "outputs": outputs, "cuts": cuts, "updated": self.update,
        });
        let found = match self.update {
            true => format!("wrote {}", expected.display()),
            false => format!("as in {}", expected.display()),
        };
        let report = Report::new(facts).line(format!(
            "{module}: {messages} messages, {outputs} outputs, {found}"
        ));
        cuts.iter()
            .fold(report, |report, cut| report.fact("same with", cut))
    }
}

/// Shows the module's own log lines on stderr.
fn module_log() -> impl tracing::Subscriber {
    let level = tracing::Level::INFO;
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(level)
        .without_time()
        .with_target(false)
        .finish()
}

fn compare(
    module: &str,
    cut: Cut,
    expectation: &Expectation,
    outputs: &Outputs,
) -> Result<(), Error> {
    match expectation.difference(outputs) {
        None => Ok(()),
        Some(difference) => Err(Error::TestDiffers {
            module: module.to_owned(),
            cut: cut.name,
            difference: difference.to_string(),
        }),
    }
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
