//! An error with its causes, as one line for a log or a status page.

use std::error::Error;

/// `error: its cause: the cause's cause`.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
