//! Power cuts: the gateway works in a User-Mode Linux guest, on an ext4 disk of its own, and the guest is killed. What it
//! had not synced is gone, as with a real machine.
//!
//! The guest has everything: broker, tap, load and gateway ([`in_guest`]), and says on its console what was acknowledged.
//! In the end the disk is repaired and read, and a gateway on this machine sends what is on it to a centre. The control
//! commits with `synchronous=NORMAL`, as SQLite recommends for a write-ahead log and as a power cut does not forgive.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use super::account::Account;
use super::scene::{MESSAGE_ID, recover, rows_leave};
use super::source::{Source, TOPIC};
use super::{Report, Run};
use crate::binaries::{repository, rig_program};
use crate::broker::Broker;
use crate::bundles::Workshop;
use crate::gateway::Gateway;
use crate::process::{run as run_program, run_well};
use crate::random::Random;
use crate::site::{GATEWAY, Module, Plan, Site};
use crate::tap::Tap;
use crate::tools::Tool;
use crate::wait::{pace, wait_for};

/// Size of the guest's disk.
const DISK: &str = "512M";

/// How long a guest may take to boot and to acknowledge messages: the first one compiles the module, and a guest's system
/// calls are slow.
const BOOT: Duration = Duration::from_secs(180);

/// The last rows leave after this long without progress, or not at all.
const STUCK: Duration = Duration::from_secs(75);

/// The drill: `count` power cuts on one disk, then the count.
///
/// # Errors
/// When the drill itself fails.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let workshop = Workshop::open(run.binaries, run.directory)?;
    let module = Module {
        bundle: workshop.bundle(&repository().join("tests/guests/journal"))?,
        settings: format!("inputs = [{{ from = \"plant\", topic = \"{TOPIC}\" }}]"),
    };
    let root = workshop.root();
    let machine = Machine::new(run, None)?;
    let mut random = Random::new(run.seed);
    let (mut first, mut recovery) = (0, Duration::ZERO);
    for cut in 1..=run.count {
        let mut guest = machine.boot(first, &[&root, &module.bundle])?;
        let enough = first + 50 + random.below(500);
        guest.wait_for("messages to be acknowledged", |guest| {
            Ok((guest.acknowledged()? >= enough).then_some(()))
        })?;
        pace(Instant::now() + Duration::from_millis(random.below(400)));
        guest.cut()?;
        recovery = recovery.max(guest.recovery()?);
        first = guest.acknowledged()?;
        (run.say)(&format!(
            "power cut {cut} of {}: {first} acknowledged",
            run.count
        ));
    }
    let plan = Plan {
        directory: run.directory,
        binaries: run.binaries,
        program: None,
        modules: vec![module],
        broker: MESSAGE_ID,
        sections: "",
        tapped: true,
    };
    let mut site = Site::start(&plan, &workshop)?;
    machine.read_disk(site.gateway.directory())?;
    let mut problems = Vec::new();
    if let Err(status) = recover(&mut site)? {
        problems.push(format!("on the disk after the cuts it ended with {status}"));
    } else {
        problems.extend(rows_leave(&mut site, STUCK)?);
        site.gateway.stop()?;
    }
    let acknowledged: BTreeSet<u64> = (0..first).collect();
    // What was committed and not acknowledged may be there as well.
    let account = Account::of(&acknowledged, u64::MAX, &site.cloud)?;
    Ok(Report {
        tried: run.count,
        account,
        early: 0,
        stranded: 0,
        recovery,
        problems,
        notes: Vec::new(),
    })
}

/// The guest's hardware and what it boots.
#[derive(Debug)]
pub(super) struct Machine {
    directory: PathBuf,
    disk: PathBuf,
    kernel: PathBuf,
    /// What the guest runs, without what differs from boot to boot.
    command: String,
}

impl Machine {
    /// Makes the disk, with what is in the folder of a gateway.
    pub(super) fn new(run: &Run<'_>, gateway: Option<&Path>) -> Result<Self> {
        let directory = run.directory.join("machine");
        fs::create_dir_all(&directory)?;
        let disk = directory.join("disk.img");
        let mut arguments = vec!["-q", "-t", "ext4"];
        if let Some(gateway) = gateway {
            arguments.extend(["-d", text(gateway)?]);
        }
        arguments.extend([text(&disk)?, DISK]);
        run_well(&Tool::MakeExt4.path()?, arguments)?;
        let (fault, program) = if run.control {
            let fault = "TIDEGATE_FAULT=synchronous-normal ";
            (fault, run.binaries.tidegate_faulty()?)
        } else {
            ("", run.binaries.tidegate())
        };
        let guest = rig_program("power_guest")?;
        let command = format!("{fault}{} {}", text(&guest)?, text(&program)?);
        Ok(Self {
            directory,
            disk,
            kernel: Tool::UserModeLinux.path()?,
            command,
        })
    }

    /// Boots; the load begins with message `first`, and what else the guest's program is given depends on the drill.
    pub(super) fn boot(&self, first: u64, files: &[&Path]) -> Result<Guest> {
        let mut command = format!("{} {first}", self.command);
        for file in files {
            command.push_str(&format!(" {}", text(file)?));
        }
        let init = self.directory.join("init.sh");
        let script = format!(
            "#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\n\
             mount -t proc proc /proc\nmount -t tmpfs none /mnt\nmkdir /mnt/disk /mnt/work\n\
             mount -t ext4 /dev/ubda /mnt/disk\nip link set lo up\n{command} 2>&1\nexec sleep 1000\n",
        );
        fs::write(&init, script)?;
        fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let console = self.directory.join("console");
        let output = File::create(&console)?;
        let child = Command::new(&self.kernel)
            .args(["mem=384M", "root=/dev/root", "rootfstype=hostfs"])
            .args(["rootflags=/", "ro", "quiet", "con=null", "con0=null,fd:1"])
            .arg(format!("ubda={}", self.disk.display()))
            .arg(format!("init={}", init.display()))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .context("cannot start the guest")?;
        Ok(Guest {
            child,
            console,
            first,
        })
    }

    /// Repairs the disk, as the next boot would, and copies the gateway's state from it.
    pub(super) fn read_disk(&self, gateway: &Path) -> Result<()> {
        // It says with 1 that it has repaired something, which is right after a power cut.
        let checked = run_program(&Tool::CheckExt4.path()?, ["-fy", text(&self.disk)?])?;
        ensure!(
            checked.code.is_some_and(|code| code <= 1),
            "the disk is beyond repair: {}{}",
            checked.stdout,
            checked.stderr
        );
        if gateway.join("state").exists() {
            fs::remove_dir_all(gateway.join("state"))?;
        }
        let dump = format!("rdump /state {}", text(gateway)?);
        run_well(&Tool::ReadExt4.path()?, ["-R", &dump, text(&self.disk)?])?;
        let socket = gateway.join("state/control.sock");
        if socket.exists() {
            fs::remove_file(socket)?;
        }
        ensure!(
            gateway.join("state/buffer.db").exists(),
            "the disk has no database"
        );
        Ok(())
    }
}

/// A running guest. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    child: Child,
    console: PathBuf,
    first: u64,
}

impl Guest {
    /// Waits until `probe` gives a value.
    pub(super) fn wait_for<T>(
        &mut self,
        what: &str,
        mut probe: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let found = wait_for(what, BOOT, || {
            let found = probe(self)?;
            ensure!(
                self.child.try_wait()?.is_none(),
                "the guest ended by itself"
            );
            Ok(found)
        });
        found.with_context(|| {
            let console = fs::read_to_string(&self.console).unwrap_or_default();
            format!("its console says:\n{console}")
        })
    }

    /// What follows `word` in the last line that begins with it. A line that was cut off does not count.
    pub(super) fn said(&self, word: &str) -> Result<Option<String>> {
        let text = fs::read(&self.console)?;
        let text = String::from_utf8_lossy(&text);
        let lines = text.split_inclusive('\n');
        let mut whole = lines.rev().filter(|line| line.ends_with('\n'));
        Ok(whole.find_map(|line| {
            let (first, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            (first == word).then(|| rest.to_owned())
        }))
    }

    fn number(&self, word: &str) -> Result<Option<u64>> {
        let said = self.said(word)?;
        Ok(said.and_then(|number| number.parse().ok()))
    }

    /// All messages below this one are acknowledged.
    pub(super) fn acknowledged(&self) -> Result<u64> {
        Ok(self.number("acknowledged")?.unwrap_or(self.first))
    }

    /// From the gateway's start to its first acknowledgement or to being ready.
    pub(super) fn recovery(&self) -> Result<Duration> {
        let micros = self.number("recovered")?;
        Ok(Duration::from_micros(micros.unwrap_or(0)))
    }

    /// Cuts the power.
    pub(super) fn cut(&mut self) -> Result<()> {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let group = group.context("not a process id")?;
        kill_process_group(group, Signal::KILL).context("cannot kill the guest")?;
        self.child.wait().context("cannot wait for the guest")?;
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _already_cut = self.cut();
    }
}

/// What runs in the guest, as its only program: broker, tap, load and gateway, until the power is cut. Its lines on
/// `console` are what [`Guest::said`] reads.
///
/// # Errors
/// When something does not start.
pub fn in_guest(
    program: &Path,
    first: u64,
    root: &Path,
    bundle: &Path,
    console: &mut dyn Write,
) -> Result<()> {
    let inside = Inside::start(
        program,
        &format!(
            "[trust]\nroot = \"{}\"\n\n\
             [[module]]\nbundle = \"{}\"\ninputs = [{{ from = \"plant\", topic = \"{TOPIC}\" }}]\n",
            root.display(),
            bundle.display(),
        ),
        console,
    )?;
    inside.run(first, console, |_, _| Ok(()))
}

/// The plant in the guest.
#[derive(Debug)]
pub(super) struct Inside {
    broker: Broker,
    tap: Tap,
    gateway: Gateway,
}

impl Inside {
    /// Starts everything but the load, with these sections of gateway.toml.
    pub(super) fn start(program: &Path, sections: &str, console: &mut dyn Write) -> Result<Self> {
        let (work, state) = (Path::new("/mnt/work"), Path::new("/mnt/disk/state"));
        fs::create_dir_all(state)?;
        std::os::unix::fs::symlink(state, work.join("state"))?;
        let broker = Broker::start(work)?;
        let tap = Tap::on(broker.port())?;
        let mut gateway = Gateway::new(program.to_owned(), work);
        gateway.configure(&format!(
            "[gateway]\nname = \"{GATEWAY}\"\nstate = \"state\"\n\n\
             [[broker]]\nname = \"plant\"\nurl = \"mqtt://127.0.0.1:{}\"\n{MESSAGE_ID}\n\n{sections}",
            tap.port(),
        ))?;
        let recovery = gateway.start()?;
        writeln!(console, "recovered {}", recovery.as_micros())?;
        Ok(Self {
            broker,
            tap,
            gateway,
        })
    }

    /// Lets the load run from message `first` on, says what is acknowledged, and takes a further step each time.
    pub(super) fn run(
        mut self,
        first: u64,
        console: &mut dyn Write,
        mut step: impl FnMut(&Gateway, &mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        self.broker.wait_for_subscriber(GATEWAY)?;
        let mut source = Source::from(self.broker.port(), super::scene::PER_SECOND, first)?;
        source.resume();
        let mut next = first;
        loop {
            self.gateway.process()?.exited()?.map_or(Ok(()), |status| {
                Err(anyhow::anyhow!("the gateway ended with {status}"))
            })?;
            let numbers = self.tap.numbers();
            let before = next;
            while numbers.contains(&next) {
                next += 1;
            }
            if next > before {
                writeln!(console, "acknowledged {next}")?;
                console.flush()?;
            }
            step(&self.gateway, console)?;
            pace(Instant::now() + Duration::from_millis(5));
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not text")
}
