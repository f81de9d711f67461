//! The time that the tool stamps documents with.

/// Now in unix seconds, or what SOURCE_DATE_EPOCH says, so that a document can be made again to the byte.
#[allow(
    clippy::disallowed_methods,
    reason = "the tool stamps with the author's clock"
)]
pub(crate) fn now() -> u64 {
    let set = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    set.unwrap_or_else(|| now().map_or(0, |since| since.as_secs()))
}
