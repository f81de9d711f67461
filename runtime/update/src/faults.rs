//! A promise that is broken on purpose when `TIDEGATE_FAULT` says so: the negative control of the drill of updates that are
//! killed at every step. No program that is shipped has it.

use std::io::{self, Write};

use crate::folder::Folder;

/// `overwrite-state`: what is to be replaced is written over where it stands.
pub(crate) fn overwrites() -> bool {
    std::env::var_os("TIDEGATE_FAULT").is_some_and(|fault| fault == "overwrite-state")
}

/// Puts these bytes in the place of whatever is there, with a time in which there is neither.
pub(crate) fn overwrite(folder: &Folder, name: &str, bytes: &[u8]) -> io::Result<()> {
    folder.remove(name)?;
    let mut file = folder.append(name)?;
    file.write_all(bytes)?;
    file.sync_all()
}
