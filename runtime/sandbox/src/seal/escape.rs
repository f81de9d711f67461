//! The escape drill: what native code in a sealed process tries, and whether it got through. Only in test builds.
//!
//! `TIDEGATE_FAULT=escape` lets a worker try all of it once it is sealed; `TIDEGATE_FAULT=escape-open`, the negative
//! control, before it is. The outcomes come with the layers of the wall: one that got through counts as missing.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use rustix::process::{Pid, getppid, test_kill_process};

use super::Layer;

/// What an escape would go for, looked up while that is possible.
#[derive(Debug)]
pub(crate) struct Drill {
    parent: Option<Pid>,
    /// Something that listens, and would answer.
    port: Option<TcpListener>,
    /// A program.
    program: Option<File>,
    pub(crate) before_seal: bool,
}

impl Drill {
    /// None unless it was asked for.
    pub(crate) fn asked() -> Option<Self> {
        let fault = std::env::var("TIDEGATE_FAULT").ok()?;
        let before_seal = match fault.as_str() {
            "escape" => false,
            "escape-open" => true,
            _ => return None,
        };
        Some(Self {
            parent: getppid(),
            port: TcpListener::bind("127.0.0.1:0").ok(),
            program: File::open("/proc/self/exe").ok(),
            before_seal,
        })
    }

    /// Tries everything.
    pub(crate) fn run(&self) -> Vec<Layer> {
        let own = |name: &str| PathBuf::from("/proc/self").join(name);
        let of_parent = |name: &str| {
            let pid = self.parent.map_or(1, |pid| pid.as_raw_pid());
            Path::new("/proc").join(pid.to_string()).join(name)
        };
        let address = self.port.as_ref().and_then(|port| port.local_addr().ok());
        let connect = || address.is_some_and(|address| TcpStream::connect(address).is_ok());
        let signal = || {
            self.parent
                .is_some_and(|pid| test_kill_process(pid).is_ok())
        };
        let run = || {
            let mut command = Command::new("/proc/self/exe");
            command.arg("--version").stdout(Stdio::null());
            command.status().is_ok()
        };
        let (files, socket) = (std::env::temp_dir(), UnixStream::pair());
        [
            ("opening a file", File::open("/etc/passwd").is_ok()),
            ("listing a folder", std::fs::read_dir("/").is_ok()),
            (
                "writing a file",
                File::create(files.join(format!("escaped-{}", std::process::id()))).is_ok(),
            ),
            (
                "reading its own memory as a file",
                File::open(own("mem")).is_ok(),
            ),
            (
                "reading the gateway's memory",
                File::open(of_parent("mem")).is_ok(),
            ),
            (
                "reading the gateway's environment",
                File::open(of_parent("environ")).is_ok(),
            ),
            ("connecting to a port", connect()),
            (
                "listening on a port",
                TcpListener::bind("127.0.0.1:0").is_ok(),
            ),
            ("sending a datagram", UdpSocket::bind("127.0.0.1:0").is_ok()),
            ("making a local socket", socket.is_ok()),
            ("starting a program", run()),
            ("sending the gateway a signal", signal()),
            ("mapping new code", new_code()),
            ("mapping a file as code", self.file_as_code()),
        ]
        .map(|(what, got_through)| Layer {
            name: format!("refused: {what}"),
            missing: got_through.then(|| "it got through".to_owned()),
        })
        .into()
    }

    #[allow(unsafe_code, reason = "a drill of what native code would do")]
    fn file_as_code(&self) -> bool {
        let Some(program) = &self.program else {
            return false;
        };
        let protection = ProtFlags::READ | ProtFlags::EXEC;
        // SAFETY: a new mapping of a page where the kernel likes; nothing looks at it, or runs it.
        unsafe {
            mmap(
                std::ptr::null_mut(),
                4096,
                protection,
                MapFlags::PRIVATE,
                program,
                0,
            )
        }
        .is_ok()
    }
}

#[allow(unsafe_code, reason = "a drill of what native code would do")]
fn new_code() -> bool {
    let protection = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
    // SAFETY: a new mapping of a page where the kernel likes; nothing looks at it, or runs it.
    unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) }.is_ok()
}
