//! Puts the module SDK into `tide`, so that `tide new` needs neither a registry nor this repository.
//!
//! Writes `sdk.rs` to the output folder: one table of (path, contents) for each of the folders below.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Folder from here, and the table that holds it.
const FOLDERS: [(&str, &str); 3] = [
    ("../guest", "GUEST"),
    ("../../wit", "WIT"),
    ("../templates", "TEMPLATES"),
];

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut code = String::new();
    for (folder, table) in FOLDERS {
        let root = here.join(folder);
        let mut files = Vec::new();
        collect(&root, &mut files)?;
        files.sort();
        writeln!(code, "pub(crate) const {table}: &[(&str, &[u8])] = &[")
            .map_err(io::Error::other)?;
        for file in files {
            let name = file.strip_prefix(&root).map_err(io::Error::other)?;
            writeln!(code, "    ({name:?}, include_bytes!({file:?})),")
                .map_err(io::Error::other)?;
        }
        code.push_str("];\n");
    }
    fs::write(
        PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("sdk.rs"),
        code,
    )
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        } else if !path.ends_with("target") {
            collect(&path, files)?;
        }
    }
    Ok(())
}
