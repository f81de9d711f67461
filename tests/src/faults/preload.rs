//! Faults of the machine under an unchanged gateway: a small library in C (`tests/preload/faults.c`) between it and the
//! system, compiled here.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};

use crate::binaries::{repository, target_folder};
use crate::gateway::Gateway;
use crate::process::run_well;

/// `errno` of a failing device, and of a full one.
pub const EIO: i32 = 5;
/// See [`EIO`].
pub const ENOSPC: i32 = 28;
/// Instead of an `errno`: the process is killed.
pub const KILL: i32 = 0;
/// Instead of an `errno`: the call hangs until the process is killed.
pub const HANG: i32 = -1;

/// One call that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `write`, `sync`, `rename`, `send` or `recv`; `disk` for any of the first three.
    pub call: &'static str,
    /// End of a path, `in:` and a part of one, or `port:` and the peer's port.
    pub target: String,
    /// Before the call or after it.
    pub before: bool,
    /// Which matching call, from 1.
    pub nth: u64,
    /// What it fails with.
    pub error: i32,
    /// How many calls from then on; 0 for all.
    pub times: u32,
}

/// The variables that carry it.
const VARIABLES: [&str; 8] = [
    "LD_PRELOAD",
    "RIG_FAULT",
    "RIG_GATE",
    "RIG_FROM",
    "RIG_CALLS",
    "RIG_FIRED",
    "RIG_CLOCK",
    "RIG_SYNCED",
];

impl Fault {
    /// As the library reads it.
    pub fn text(&self) -> String {
        let Self {
            call,
            target,
            nth,
            error,
            times,
            ..
        } = self;
        let when = if self.before { "before" } else { "after" };
        format!("{call} {target} {when} {nth} {error} {times}")
    }

    /// Lets it happen in every further start of `gateway`; gives the file that is there once it has happened.
    ///
    /// # Errors
    /// When the library cannot be compiled.
    pub fn put_under(&self, gateway: &mut Gateway) -> Result<PathBuf> {
        let fired = gateway.directory().join("fired");
        if fired.exists() {
            std::fs::remove_file(&fired)?;
        }
        gateway.set_variable("LD_PRELOAD", text(&library()?)?);
        gateway.set_variable("RIG_FAULT", &self.text());
        gateway.set_variable("RIG_FIRED", text(&fired)?);
        Ok(fired)
    }
}

/// Further starts of `gateway` are on a sound machine.
pub fn heal(gateway: &mut Gateway) {
    gateway.unset_variables(&VARIABLES);
}

/// A wall clock that can be turned while the gateway runs.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    /// There while the clock is one to be believed.
    synced: PathBuf,
}

impl Clock {
    /// A clock that is right, and that nobody vouches for, put under every further start of `gateway`.
    ///
    /// # Errors
    /// When the library cannot be compiled.
    pub fn put_under(gateway: &mut Gateway) -> Result<Self> {
        let clock = Self {
            file: gateway.directory().join("clock"),
            synced: gateway.directory().join("clock-synced"),
        };
        clock.turn(0, -1)?;
        gateway.set_variable("LD_PRELOAD", text(&library()?)?);
        gateway.set_variable("RIG_CLOCK", text(&clock.file)?);
        gateway.set_variable("RIG_SYNCED", text(&clock.synced)?);
        Ok(clock)
    }

    /// Says that a time server has set it, as systemd-timesyncd would.
    ///
    /// # Errors
    /// When the file for it cannot be written.
    pub fn vouch(&self) -> Result<()> {
        std::fs::write(&self.synced, "").context("cannot vouch for the clock")
    }

    /// Adds so many seconds to it, for so many readings; below 0 for all.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn turn(&self, seconds: i64, readings: i64) -> Result<()> {
        let nanoseconds = seconds.saturating_mul(1_000_000_000);
        let bytes = [nanoseconds.to_ne_bytes(), readings.to_ne_bytes()].concat();
        // In place: the gateway has the file mapped.
        let file = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.file)?;
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0)
            .with_context(|| format!("cannot write {}", self.file.display()))
    }
}

/// Seconds by which a clock is turned to ten seconds after the beginning of 1970.
///
/// # Errors
/// When it is before that already.
pub fn to_1970() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(10 - i64::try_from(now.as_secs())?)
}

/// The library, compiled once in this process.
///
/// # Errors
/// When there is no C compiler, which Rust's linker needs as well.
pub fn library() -> Result<PathBuf> {
    static LIBRARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| compile().map_err(|error| format!("{error:#}")));
    library.clone().map_err(|error| anyhow!("{error}"))
}

fn compile() -> Result<PathBuf> {
    let source = repository().join("tests/preload/faults.c");
    let library = target_folder()?.join("rig-faults.so");
    // Several tests may do this at once: each makes its own file, and moves it to its place as a whole.
    let mine = library.with_extension(format!("{}.so", std::process::id()));
    let arguments = [
        "-O1".as_ref(),
        "-Wall".as_ref(),
        "-Wextra".as_ref(),
        "-Werror".as_ref(),
        "-shared".as_ref(),
        "-fPIC".as_ref(),
        "-o".as_ref(),
        mine.as_os_str(),
        source.as_os_str(),
        "-ldl".as_ref(),
    ];
    run_well(Path::new("cc"), arguments)?;
    std::fs::rename(&mine, &library)?;
    Ok(library)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::wait_until;
    use std::process::Command;
    use std::time::Duration;

    /// What a shell does under a fault: writes three bytes into a file, each by its own call.
    fn shell(directory: &Path, variables: &[(&str, &str)]) -> std::process::Output {
        let script = "exec 3>a-wal; for n in 1 2 3; do printf $n >&3; done";
        Command::new("sh")
            .args(["-c", script])
            .current_dir(directory)
            .env("LD_PRELOAD", library().unwrap())
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    #[test]
    fn the_nth_call_fails_and_no_other() {
        for (error, times, content) in [
            (EIO, 1, "13"),
            (EIO, 0, "1"),
            (ENOSPC, 0, "1"),
            (KILL, 1, "1"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let fault = Fault {
                call: "write",
                target: "-wal".to_owned(),
                before: true,
                nth: 2,
                error,
                times,
            };
            let fired = directory.path().join("fired");
            let output = shell(
                directory.path(),
                &[
                    ("RIG_FAULT", &fault.text()),
                    ("RIG_FIRED", fired.to_str().unwrap()),
                ],
            );
            let written = std::fs::read_to_string(directory.path().join("a-wal")).unwrap();
            assert_eq!(written, content, "{fault:?} {output:?}");
            assert!(fired.exists());
        }
    }

    #[test]
    fn renames_and_syncs_are_found_whoever_makes_them_and_the_calls_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        let run = |script: &str, variables: &[(&str, &str)]| {
            let status = Command::new("sh")
                .args(["-c", script])
                .current_dir(directory.path())
                .env("LD_PRELOAD", library().unwrap())
                .envs(variables.iter().copied())
                .status();
            status.unwrap().success()
        };
        let list = directory.path().join("list");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let part = format!("in:{}", path(""));
        let (never, list_path) = (format!("disk {part} before 99 0 1"), path("list"));
        let watched = [("RIG_FAULT", &*never), ("RIG_CALLS", &*list_path)];
        assert!(run("printf 1 >a; sync a; mv a b", &watched));
        let wanted = [("write", "a"), ("sync", "a"), ("rename", "b")];
        let wanted = wanted.map(|(call, name)| format!("{call} {}\n", path(name)));
        assert_eq!(std::fs::read_to_string(&list).unwrap(), wanted.concat());
        let fails = format!("rename {part} before 1 {EIO} 1");
        assert!(!run("mv b c", &[("RIG_FAULT", &fails)]) && !directory.path().join("c").exists());
        // Not before the write that it is to come after.
        let later = [("RIG_FAULT", &*fails), ("RIG_FROM", "write /a 1")];
        assert!(run("mv b c", &later));
        let dies = format!("rename {part} after 1 {KILL} 1");
        assert!(!run("mv c d", &[("RIG_FAULT", &dies)]) && directory.path().join("d").exists());
    }

    #[test]
    fn a_call_that_hangs_keeps_what_comes_after_it_from_happening() {
        let directory = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh")
            .args(["-c", "printf 1 >a-wal; printf 2 >b"])
            .current_dir(directory.path())
            .env("LD_PRELOAD", library().unwrap())
            .env("RIG_FAULT", "write -wal before 1 -1 1")
            .env("RIG_FIRED", directory.path().join("fired"))
            .spawn()
            .unwrap();
        let fired = directory.path().join("fired");
        let hangs = wait_until("the call", Duration::from_secs(60), || Ok(fired.exists()));
        let ended = shell.try_wait().unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
        hangs.unwrap();
        assert!(ended.is_none() && !directory.path().join("b").exists());
    }

    #[test]
    fn a_turned_clock_is_wrong_for_as_many_readings() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock {
            file: directory.path().join("clock"),
            synced: directory.path().join("clock-synced"),
        };
        clock.turn(73 * 365 * 86_400, 1).unwrap();
        let year = || {
            let output = Command::new("date")
                .arg("+%Y")
                .env("LD_PRELOAD", library().unwrap())
                .env("RIG_CLOCK", &clock.file)
                .output();
            let text = String::from_utf8(output.unwrap().stdout).unwrap();
            text.trim().parse::<u32>().unwrap()
        };
        let (wrong, right) = (year(), year());
        assert!(wrong > right + 70, "{wrong} {right}");
    }
}
