//! What a module is, may do and may use: its verified release, narrowed by the site's grants.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidegate_record::{Class, Name, Seen, TopicFilter};

/// One module as it is to run.
#[derive(Debug)]
pub struct ModuleSpec {
    /// Its name on this gateway.
    pub name: Name,
    /// Version of its release, as text.
    pub version: String,
    /// Which activation of the module on this gateway.
    pub generation: u64,
    /// The component, verified.
    pub component: Bytes,
    /// Configuration, as the module reads it.
    pub config: BTreeMap<String, String>,
    /// What it may do here.
    pub grants: Grants,
    /// Streams that it may keep rows in.
    pub streams: Vec<StreamSpec>,
    /// Most linear memory, in bytes.
    pub memory_bytes_max: usize,
    /// Most state, keys and values, in bytes.
    pub state_bytes_max: usize,
    /// Its committed state.
    pub state: BTreeMap<String, Bytes>,
    /// Version of the release that wrote the state last.
    pub state_written_by: Option<String>,
    /// Ids of messages that it has taken already.
    pub seen: Seen,
}

/// What a module may do on this gateway.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Broker and topics it may publish to; the first that matches says the broker.
    pub publish: Vec<(Name, TopicFilter)>,
    /// What it is fed. A publication back into it is refused, because it would run in circles.
    pub inputs: Vec<(Name, TopicFilter)>,
    /// Device points it may write.
    pub actuate: Vec<String>,
}

/// A stream that a release declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: Name,
    /// The most valuable class that a row in it may claim.
    pub class: Class,
}
