//! Why a module cannot be loaded, and why a call of one failed.

use thiserror::Error;
use tidegate_record::Name;

/// Why a module cannot be loaded. None of them harms the other modules.
#[derive(Debug, Error)]
pub enum Error {
    /// The engine cannot be made on this machine.
    #[error("cannot start the WebAssembly engine")]
    Engine(#[source] anyhow::Error),
    /// Not a component, or one that this engine does not take.
    #[error("module {module} is not a component that can be compiled")]
    Compile {
        /// The module.
        module: Name,
        /// The compiler's reason.
        #[source]
        source: anyhow::Error,
    },
    /// Asks for something that is not there.
    #[error("module {module} imports {import}, which is not granted")]
    Import {
        /// The module.
        module: Name,
        /// The import's full name.
        import: String,
    },
    /// Does not fit the world `tidegate:module/processor`.
    #[error("module {module} does not fit the contract tidegate:module/processor@0.1.0")]
    Contract {
        /// The module.
        module: Name,
        /// What does not fit.
        #[source]
        source: anyhow::Error,
    },
    /// A worker cannot be started, or ended while it was filled.
    #[error("cannot make a worker for modules ready")]
    Worker {
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The cache of compiled code cannot be used.
    #[error("cannot use the cache of compiled modules in {path}")]
    Cache {
        /// Its folder.
        path: std::path::PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether this machine is to blame, and not the module.
    #[must_use]
    pub const fn is_of_the_machine(&self) -> bool {
        match self {
            Self::Engine(_) | Self::Worker { .. } | Self::Cache { .. } => true,
            Self::Compile { .. } | Self::Import { .. } | Self::Contract { .. } => false,
        }
    }
}

/// Why one call of a module failed. Nothing of it is applied, and its instance is gone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// The guest trapped, or answered what cannot be taken.
    #[error("{0}")]
    Trap(String),
    /// The guest ran longer than the deadline.
    #[error("ran longer than {0} ms")]
    Deadline(u128),
    /// The guest wanted more memory than it may have.
    #[error("wanted {wanted_mib} MiB of memory, limit is {limit_mib} MiB")]
    Memory {
        /// What it would have used, rounded up.
        wanted_mib: usize,
        /// What it may use.
        limit_mib: usize,
    },
    /// The guest asked for an effect that is refused; nothing of the call is applied.
    #[error("{0}")]
    Refused(String),
    /// The process that it ran in ended, or had to be ended; it had no other guest.
    #[error("{0}")]
    Ended(String),
    /// The guest says that granted I/O failed: the same batch again.
    #[error("transient fault: {0}")]
    Transient(String),
    /// The guest says that its configuration or state is unusable: parked.
    #[error("permanent fault: {0}")]
    Permanent(String),
}
