//! `[[stream]]`: how far behind the centre may be with a stream, and what becomes of it near the quota.

use std::time::Duration;

use tidegate_buffer::Policy;
use tidegate_record::Name;
use tidegate_settings::{Section, duration};

/// Rows trickle for a second or two before they leave: a shorter objective would be missed while all is well.
const LAG_MIN: Duration = Duration::from_secs(5);
/// Streams of one file: bounds what the status and the metrics tell of them.
const STREAMS_MAX: usize = 256;

/// A stream, as its operator wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamSettings {
    /// Which stream.
    pub(crate) name: Name,
    /// How long a row may wait for the centre before that is an alarm.
    pub(crate) lag: Option<Duration>,
    /// What becomes of its rows near the quota.
    pub(crate) when_full: Policy,
}

/// Reads all of them. Without an uplink there is no centre that could be behind.
pub(super) fn read(sections: Vec<Section<'_>>, uplink: bool) -> Vec<StreamSettings> {
    let mut streams: Vec<StreamSettings> = Vec::new();
    for mut section in sections {
        let name: Option<Name> = section.required("name");
        let lag = section.optional_as("lag", objective);
        if !uplink {
            section.refuse("lag", "there is no [uplink], and so no centre to be behind");
        }
        let when_full = section.optional_as("when-full", policy);
        if streams.len() >= STREAMS_MAX {
            let text = format!("there are more than {STREAMS_MAX} streams");
            section.problem(section.offset(""), text);
            break;
        }
        match name {
            Some(name) if streams.iter().any(|other| other.name == name) => {
                let text = format!("name: there is another stream named {name}");
                section.problem(section.offset("name"), text);
            }
            Some(name) => streams.push(StreamSettings {
                name,
                lag,
                when_full: when_full.unwrap_or_default(),
            }),
            None => {}
        }
        section.end();
    }
    streams
}

fn objective(text: &str) -> Result<Duration, String> {
    let lag = duration(text)?;
    if lag < LAG_MIN {
        return Err(format!(
            "{text} is less than {} s: rows wait that long while all is well",
            LAG_MIN.as_secs()
        ));
    }
    Ok(lag)
}

fn policy(text: &str) -> Result<Policy, String> {
    let known = [Policy::Degrade, Policy::DropOldest, Policy::Block];
    let found = known.into_iter().find(|policy| policy.as_str() == text);
    found.ok_or_else(|| {
        let known = known.map(Policy::as_str).join("\", \"");
        format!("{text:?} is none of \"{known}\"")
    })
}
