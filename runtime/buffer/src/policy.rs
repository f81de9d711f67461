//! What a stream does when the buffer is nearly full.

/// What becomes of a stream's rows near the quota, as the site's operator wants it.
///
/// Under each of them nothing is given up without an entry of the loss ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Raw rows become summaries of ever longer spans, and only then give way. Documents, which cannot be summarised, give
    /// way as they are.
    #[default]
    Degrade,
    /// The oldest rows give way as they are: for a stream whose summaries would be of no use.
    DropOldest,
    /// Nothing gives way: where there is no other room, nothing is acknowledged until the centre has taken some, and the
    /// brokers keep what comes.
    Block,
}

impl Policy {
    /// The word for it in gateway.toml.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Degrade => "degrade",
            Self::DropOldest => "drop-oldest",
            Self::Block => "block",
        }
    }
}
