//! Debian's Rust compiler with its WebAssembly standard libraries, unpacked beside the system's.
//!
//! Works on any x86-64 system whose apt knows a Debian mirror and Debian's keys, also an older release: the packages
//! bring their own C library and loader, and are started through a wrapper script. apt checks their signatures.
//! The folder appears under its name only when it is complete.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::say;

/// Debian 13's rustc 1.85.1, its WebAssembly libraries, and what it is linked to.
const PACKAGES: [&str; 19] = [
    "rustc",
    "libstd-rust-1.85",
    "libstd-rust-dev",
    "libstd-rust-dev-wasm32",
    "libllvm19",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
    "libzstd1",
    "libxml2",
    "libicu76",
    "liblzma5",
    "libffi8",
    "libedit2",
    "libtinfo6",
    "libbsd0",
    "libmd0",
    "libz3-4",
];
const SUITE: &str = "trixie";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SOURCE_FILES: [&str; 2] = [
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/apt/sources.list",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("this is no x86-64 Linux, so Debian's packages cannot stand in")]
    OtherMachine,
    #[error("this system has no {0}, so Debian's packages cannot stand in")]
    NotDebian(&'static str),
    #[error(
        "the apt sources of this system name no mirror, so Debian's packages cannot be fetched"
    )]
    NoMirror,
    #[error("cannot prepare {}", path.display())]
    Prepare { path: PathBuf, source: io::Error },
    #[error("cannot run {program}")]
    Start {
        program: &'static str,
        source: io::Error,
    },
    #[error("{program} failed: {last_line}")]
    Failed {
        program: &'static str,
        last_line: String,
    },
}

/// The compiler of an unpacked toolchain, if it is there.
pub(super) fn unpacked(folder: &Path) -> Option<PathBuf> {
    let rustc = folder.join("rustc");
    rustc.is_file().then_some(rustc)
}

/// Fetches and unpacks the toolchain; its compiler.
pub(super) fn unpack(folder: &Path) -> Result<PathBuf, Error> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Err(Error::OtherMachine);
    }
    if !Path::new(KEYRING).is_file() {
        return Err(Error::NotDebian(KEYRING));
    }
    let texts = SOURCE_FILES
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    let mirror = texts
        .filter_map(|text| mirror(&text))
        .next()
        .ok_or(Error::NoMirror)?;

    let mut part = folder.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let result = unpack_into(&part, folder, &mirror);
    // Packages and lists, and on failure everything else; what stays of it does no harm.
    fs::remove_dir_all(&part).ok();
    result?;
    Ok(folder.join("rustc"))
}

fn unpack_into(part: &Path, folder: &Path, mirror: &str) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Prepare { path, source }
    };
    let (apt, debs, toolchain) = (part.join("apt"), part.join("debs"), part.join("toolchain"));
    for path in [&apt.join("lists/partial"), &debs, &toolchain.join("root")] {
        fs::create_dir_all(path).map_err(failed(path))?;
    }
    let sources = apt.join("sources.list");
    let line = format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n");
    fs::write(&sources, line).map_err(failed(&sources))?;

    say(format!(
        "reading the package list of Debian {SUITE} at {mirror}"
    ));
    run("apt-get", apt_get(&apt).arg("update"))?;
    say("downloading Debian's Rust compiler with its WebAssembly libraries, about 190 MB");
    run(
        "apt-get",
        apt_get(&apt)
            .arg("download")
            .args(PACKAGES)
            .current_dir(&debs),
    )?;
    say(format!(
        "unpacking it into {}, about 800 MB, nothing is installed",
        folder.display()
    ));
    for entry in debs.read_dir().map_err(failed(&debs))? {
        let deb = entry.map_err(failed(&debs))?.path();
        run(
            "dpkg",
            Command::new("dpkg")
                .arg("-x")
                .arg(deb)
                .arg(toolchain.join("root")),
        )?;
    }
    let wrapper = toolchain.join("rustc");
    fs::write(&wrapper, wrapper_script(folder)).map_err(failed(&wrapper))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).map_err(failed(&wrapper))?;
    match fs::rename(&toolchain, folder) {
        // Somebody else has just put the same there.
        Err(_) if unpacked(folder).is_some() => Ok(()),
        result => result.map_err(failed(folder)),
    }
}

/// An apt-get with lists and settings of its own, so that those of the system stay as they are.
fn apt_get(apt: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-qq");
    for (name, path) in [
        ("Dir::Etc::sourcelist", apt.join("sources.list")),
        ("Dir::Etc::sourceparts", PathBuf::from("/dev/null")),
        ("Dir::State::lists", apt.join("lists")),
        ("Dir::Cache", apt.to_owned()),
    ] {
        command.arg("-o").arg(format!("{name}={}", path.display()));
    }
    command.args(["-o", "APT::Sandbox::User=root"]);
    command
}

/// Starts the compiler through its own loader, in the folder where it will be.
fn wrapper_script(folder: &Path) -> String {
    let root = folder.join("root/usr");
    let root = root.display();
    format!(
        "#!/bin/sh\n\
         lib='{root}/lib/x86_64-linux-gnu'\n\
         exec \"$lib/ld-linux-x86-64.so.2\" --library-path \"$lib:{root}/lib\" '{root}/bin/rustc' --sysroot '{root}' \"$@\"\n"
    )
}

fn run(program: &'static str, command: &mut Command) -> Result<(), Error> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Start { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last_line = text
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it does not say why")
        .to_owned();
    Err(Error::Failed { program, last_line })
}

/// The first mirror in a file of apt sources, of either format.
fn mirror(sources: &str) -> Option<String> {
    sources.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        match words.next()? {
            "URIs:" => words.next().map(str::to_owned),
            // Options in brackets may stand before the address.
            "deb" => words.find(|word| word.contains("://")).map(str::to_owned),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_found_in_both_formats_of_apt() {
        let found = |text| mirror(text);
        assert_eq!(
            found("Types: deb\nURIs: http://a/debian\nSuites: x\n").as_deref(),
            Some("http://a/debian")
        );
        assert_eq!(
            found("# deb http://no/\ndeb http://b/debian bookworm main\n").as_deref(),
            Some("http://b/debian")
        );
        let options = "deb [arch=amd64 signed-by=/k.gpg] https://c/debian x main";
        assert_eq!(found(options).as_deref(), Some("https://c/debian"));
        assert_eq!(found("Types: deb\n"), None);
    }
}
