//! `[sandbox]`: in which processes modules run.

use tidegate_sandbox::Guests;
use tidegate_settings::Section;

/// Modules that start together share a worker.
pub(super) const DEFAULT: Guests = Guests::InWorkers;

pub(super) fn read(mut section: Section<'_>) -> Guests {
    let workers = section.optional_as("workers", |text| match text {
        "shared" => Ok(Guests::InWorkers),
        "own" => Ok(Guests::InOwnWorkers),
        other => Err(format!("{other:?} is neither \"shared\" nor \"own\"")),
    });
    section.end();
    workers.unwrap_or(DEFAULT)
}
