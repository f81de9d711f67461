//! Promises that are broken on purpose when `TIDEGATE_FAULT` says so: the negative controls of the product's tests. No program
//! that is shipped has them.

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};

use crate::commit::Group;

/// Whether this one is on.
pub(crate) fn is_on(name: &str) -> bool {
    std::env::var_os("TIDEGATE_FAULT").is_some_and(|fault| fault == name)
}

/// `ack-before-commit`: says that it is on disk before it is.
pub(crate) fn acknowledge_too_early(group: &mut Group) {
    if is_on("ack-before-commit") {
        for ack in group
            .applied
            .iter_mut()
            .flat_map(|applied| applied.acks.drain(..))
        {
            ack.committed();
        }
    }
}

/// `synchronous-normal`: a commit without an fsync, which SQLite's own documentation calls safe.
pub(crate) fn synchronous(options: SqliteConnectOptions) -> SqliteConnectOptions {
    if is_on("synchronous-normal") {
        options.synchronous(SqliteSynchronous::Normal)
    } else {
        options
    }
}
