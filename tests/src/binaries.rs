//! Our own programs: built once and started as a user would, or those of a folder that `TIDEGATE_BINARIES` names, such as
//! an installed package.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build: tests and the demo.
    Dev,
    /// What is shipped: benches.
    Release,
}

impl Profile {
    /// Name of its folder in the target folder.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Where the product's programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Builds them once in this process, unless they are given; later calls give the same.
    ///
    /// # Errors
    /// When the build fails.
    pub fn built() -> Result<&'static Self> {
        static BUILT: OnceLock<Result<Binaries, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| match std::env::var_os("TIDEGATE_BINARIES") {
            Some(folder) => Ok(Self {
                folder: folder.into(),
            }),
            None => Self::build(Profile::Dev).map_err(|error| format!("{error:#}")),
        });
        built.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Builds them.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build(profile: Profile) -> Result<Self> {
        cargo_build(profile, &["--bins"])?;
        Ok(Self {
            folder: target_folder()?.join(profile.folder()),
        })
    }

    /// The gateway.
    pub fn tidegate(&self) -> PathBuf {
        self.folder.join("tidegate")
    }

    /// The gateway in which faults can be switched on, for negative controls.
    ///
    /// # Errors
    /// When its build fails.
    pub fn tidegate_faulty(&self) -> Result<PathBuf> {
        let given = self.folder.join("tidegate-faulty");
        if std::env::var_os("TIDEGATE_BINARIES").is_some() && given.is_file() {
            return Ok(given);
        }
        cargo_build(
            Profile::Dev,
            &["--features", "tidegate/faults", "--bin", "tidegate-faulty"],
        )?;
        Ok(target_folder()?
            .join(Profile::Dev.folder())
            .join("tidegate-faulty"))
    }

    /// The developer's tool.
    pub fn tide(&self) -> PathBuf {
        self.folder.join("tide")
    }

    /// The centre.
    pub fn tidegate_cloud(&self) -> PathBuf {
        self.folder.join("tidegate-cloud")
    }
}

/// The packages with our programs. Always built together, faulty or not, so that cargo gives what they share the same
/// features and builds it once.
const PACKAGES: [&str; 6] = ["-p", "tidegate", "-p", "tide", "-p", "tidegate-cloud"];

/// Runs `cargo build` in the host workspace, for our programs and what `arguments` add. What it says goes to the terminal:
/// it can take minutes.
///
/// # Errors
/// When it fails.
pub fn cargo_build(profile: Profile, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(repository())
        .arg("build")
        .args(PACKAGES)
        .args(arguments);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let status = command
        .stdin(Stdio::null())
        .status()
        .context("cannot start cargo")?;
    ensure!(
        status.success(),
        "cargo build {} failed",
        arguments.join(" ")
    );
    Ok(())
}

/// A program of the rig itself.
///
/// # Errors
/// When its build fails.
pub fn rig_program(name: &str) -> Result<PathBuf> {
    let target = target_folder()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(repository())
        .args(["build", "--quiet", "-p", "tidegate-tests", "--bin", name])
        .arg("--target-dir")
        .arg(&target)
        .stdin(Stdio::null())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "cargo build --bin {name} failed");
    Ok(target.join(Profile::Dev.folder()).join(name))
}

/// The top folder of the repository.
pub fn repository() -> &'static Path {
    static REPOSITORY: OnceLock<PathBuf> = OnceLock::new();
    REPOSITORY.get_or_init(|| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .canonicalize()
            .unwrap_or_default()
    })
}

/// The target folder in which this program itself was built, whichever the user has chosen.
///
/// # Errors
/// When this program is not in one.
pub fn target_folder() -> Result<PathBuf> {
    let me = std::env::current_exe().context("where am I?")?;
    let profile = me
        .ancestors()
        .find(|folder| folder.ends_with("debug") || folder.ends_with("release"));
    let target = profile.and_then(Path::parent);
    target
        .map(Path::to_owned)
        .with_context(|| format!("{} is not in a target folder", me.display()))
}
