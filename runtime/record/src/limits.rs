//! The bound of every queue, payload, retry and timeout, in one place.
//!
//! Each says which attack or accident it prevents. A stage takes the limits it needs from here and has none of its own.

use std::time::Duration;

/// Bounds of the data path. The defaults suit a gateway with 512 MiB of memory.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest message taken from a broker. A larger one is refused and counted, so that one sender cannot fill memory.
    pub payload_bytes_max: usize,
    /// Records waiting between the field and a module. Beyond it the field reads no further, and the broker waits.
    pub inbox_records_max: usize,
    /// Records in one call of a module: bounds the work that a failed call repeats.
    pub batch_records_max: usize,
    /// Bytes in one call of a module: bounds the copy made for the guest.
    pub batch_bytes_max: usize,
    /// Outcomes waiting for the buffer. Beyond it modules wait, and so does the field.
    pub applied_queue_max: usize,
    /// Outcomes in one commit: bounds the time of a commit and so the wait of the next.
    pub commit_applied_max: usize,
    /// Publications waiting for a broker. Beyond it an `at-once` publication is dropped and counted: a late actuation is
    /// worse than none.
    pub publish_queue_max: usize,
    /// Durable publications in flight to one broker.
    pub publish_window: u16,
    /// Topics of a source that are remembered, so that random topics cannot fill memory.
    pub channels_max: usize,
    /// Wall time of one call of a module before it is stopped.
    pub call_deadline: Duration,
    /// Time that a module's calls may take of each [`Limits::busy_window`]. Beyond it the module is detached: its messages go
    /// to disk, so that neither the broker's window nor a neighbour waits for it.
    pub busy_max: Duration,
    /// See [`Limits::busy_max`].
    pub busy_window: Duration,
    /// Shortest time between two calls without messages, so that a module which always wants to be woken at once does not
    /// keep the thread busy.
    pub wake_interval_min: Duration,
    /// Linear memory of a module, in bytes, unless its release asks for less.
    pub memory_bytes_max: usize,
    /// State of a module, keys and values, in bytes, unless its release asks for less.
    pub state_bytes_max: usize,
    /// Outputs and rejections of one call.
    pub outputs_per_call_max: usize,
    /// Bytes of outputs of one call.
    pub output_bytes_per_call_max: usize,
    /// Bytes of one output. A row that is larger than a request to the centre would hold up all that come after it.
    pub output_bytes_max: usize,
    /// Log lines a second of one module; further ones are counted and dropped.
    pub log_lines_per_second: u32,
    /// Bytes of one log line; the rest is cut.
    pub log_line_bytes_max: usize,
    /// Names of metrics of one module; further ones are dropped.
    pub metrics_max: usize,
    /// Times that a transient fault of a module is tried again before it counts as a fault.
    pub transient_retries_max: u32,
    /// Faults within [`Limits::fault_window`] after which a module is parked.
    pub faults_before_parking: u32,
    /// See [`Limits::faults_before_parking`].
    pub fault_window: Duration,
    /// Dead letters kept for the operator; the oldest make room, and the count says how many there were.
    pub dead_letters_max: u32,
    /// Message ids remembered per module.
    pub seen_ids_max: usize,
    /// Rows in one request to the centre.
    pub sync_rows_max: usize,
    /// Shortest time between two requests while no backlog waits: rows that trickle share a request, because its headers
    /// and status weigh more than a row.
    pub sync_interval_min: Duration,
    /// Longest time for which a centre can keep a gateway silent, so that a wrong word of it does not silence one for ever.
    pub sync_poll_max: Duration,
    /// Rows a second to which a centre can slow down a backlog.
    pub sync_pace_min: u32,
    /// One request to the centre, from connecting to the last byte of the reply.
    pub sync_timeout: Duration,
    /// Longest wait for the next bytes of a blob. A link that has died without a word is given up then.
    pub fetch_silence_max: Duration,
    /// Bytes a second that a blob must come at, over [`Limits::fetch_rate_window`]: a sender that trickles does not hold a
    /// gateway up. What has come is kept, so that a link that is slower than this still brings a blob in several goes.
    pub fetch_rate_min: u64,
    /// See [`Limits::fetch_rate_min`].
    pub fetch_rate_window: Duration,
    /// First wait after a failed connection; doubled, with full jitter, up to [`Limits::backoff_max`].
    pub backoff_min: Duration,
    /// Longest wait after a failed connection.
    pub backoff_max: Duration,
    /// From the stop signal to the exit.
    pub shutdown_grace: Duration,
}

impl Limits {
    /// The defaults, as a constant, so that relations between them can be checked when compiling.
    pub const DEFAULT: Self = Self {
        payload_bytes_max: 256 << 10,
        inbox_records_max: 4096,
        batch_records_max: 1024,
        batch_bytes_max: 4 << 20,
        applied_queue_max: 64,
        commit_applied_max: 256,
        publish_queue_max: 4096,
        publish_window: 100,
        channels_max: 4096,
        call_deadline: Duration::from_millis(50),
        busy_max: Duration::from_millis(250),
        busy_window: Duration::from_millis(500),
        wake_interval_min: Duration::from_millis(10),
        memory_bytes_max: 32 << 20,
        state_bytes_max: 256 << 10,
        outputs_per_call_max: 16_384,
        output_bytes_per_call_max: 8 << 20,
        output_bytes_max: 512 << 10,
        log_lines_per_second: 10,
        log_line_bytes_max: 4096,
        metrics_max: 64,
        transient_retries_max: 3,
        faults_before_parking: 5,
        fault_window: Duration::from_secs(60),
        dead_letters_max: 1000,
        seen_ids_max: 100_000,
        sync_rows_max: 5000,
        sync_interval_min: Duration::from_secs(1),
        sync_poll_max: Duration::from_secs(3600),
        sync_pace_min: 100,
        sync_timeout: Duration::from_secs(30),
        fetch_silence_max: Duration::from_secs(20),
        fetch_rate_min: 1000,
        fetch_rate_window: Duration::from_secs(60),
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(60),
        shutdown_grace: Duration::from_secs(10),
    };
}

// A full batch must fit into the inbox, and one payload into a batch.
const _: () = assert!(Limits::DEFAULT.batch_records_max <= Limits::DEFAULT.inbox_records_max);
const _: () = assert!(Limits::DEFAULT.payload_bytes_max <= Limits::DEFAULT.batch_bytes_max);
const _: () = assert!(Limits::DEFAULT.batch_records_max <= Limits::DEFAULT.outputs_per_call_max);

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
