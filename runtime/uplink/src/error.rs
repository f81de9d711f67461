//! Why an exchange with the centre failed. None of them loses a row.

use thiserror::Error;

/// Why an exchange with the centre failed.
#[derive(Debug, Error)]
pub enum Error {
    /// A file that the configuration names cannot be used.
    #[error("cannot use the {what} in {path}")]
    File {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: String,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The request cannot be made.
    #[error("cannot make the request")]
    Request(#[source] http::Error),
    /// The centre cannot be reached.
    #[error("cannot reach the centre")]
    Connect(#[source] std::io::Error),
    /// A broker does not take rows.
    #[error("the broker did not take the rows")]
    Broker(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke.
    #[error("the connection to the centre broke")]
    Exchange(#[source] hyper::Error),
    /// The centre did not answer in time.
    #[error("the centre did not answer within {0} s")]
    Timeout(u64),
    /// The centre refused.
    #[error("the centre answered {status}: {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its code, if it says one, such as `revoked`.
        code: Option<String>,
        /// Its code and sentence, or else the start of its answer.
        text: String,
        /// How long it wants the gateway to wait, in seconds.
        retry_after: Option<u64>,
    },
    /// The device key cannot be used.
    #[error("cannot sign the request")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request was not packed.
    #[error("cannot pack the request")]
    Task(#[source] tokio::task::JoinError),
    /// The buffer cannot be read or marked.
    #[error("cannot take rows from the buffer")]
    Outbox(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The reply cannot be read.
    #[error("cannot read the centre's reply")]
    Reply(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A message is too large or malformed.
    #[error("message to or from the centre")]
    Message(#[from] tidegate_wire::codec::Error),
    /// The centre speaks another version.
    #[error("the centre speaks version {0} of the exchange, this gateway speaks {ours}", ours = tidegate_wire::VERSION)]
    Version(u32),
    /// The centre took nothing of what it was sent.
    #[error("the centre took none of {0} rows")]
    NoProgress(usize),
}
