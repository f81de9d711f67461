//! What a long run promises, line by line, and what was measured of it.

/// A promise, and what was measured of it.
#[derive(Debug, Clone)]
pub struct Line {
    /// What.
    pub what: &'static str,
    /// What was measured.
    pub measured: String,
    /// What is promised; empty where it is only told.
    pub promised: String,
    /// Whether it was kept.
    pub kept: bool,
}

/// Something that must be as it is promised.
pub fn same(what: &'static str, found: impl ToString, promised: impl ToString) -> Line {
    let (found, promised) = (found.to_string(), promised.to_string());
    Line {
        what,
        kept: found == promised,
        measured: found,
        promised,
    }
}

/// Something that is only told.
pub fn told(what: &'static str, measured: impl ToString) -> Line {
    Line {
        what,
        measured: measured.to_string(),
        promised: String::new(),
        kept: true,
    }
}
