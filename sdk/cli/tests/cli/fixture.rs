//! A workshop with keys and a root, and modules that look like built ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// What a run of `tide` gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Asserts the exit code, and that these words were said.
    #[track_caller]
    pub(crate) fn check(self, code: i32, words: &[&str]) -> Self {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert_eq!(self.code, code, "{said}");
        for words in words {
            assert!(said.contains(words), "{words:?} is not in:\n{said}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

pub(crate) fn tide(folder: &Path, arguments: &[&str]) -> Ran {
    ran(command(folder, arguments).output().unwrap())
}

pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tide"));
    command.args(arguments).current_dir(folder);
    command
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder with a module that is built already, `publisher.key` and `deploy.key`, and `root.json` which trusts them.
pub(crate) struct Workshop {
    folder: TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let workshop = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        workshop.tide(&["keygen", "root.key"]).check(0, &[]);
        workshop.tide(&["keygen", "publisher.key"]).check(0, &[]);
        workshop.tide(&["keygen", "deploy.key"]).check(0, &[]);
        let init = ["root", "init", "root.json", "--fleet", "plant"];
        let keys = [
            "--root-key",
            "root.key",
            "--release-key",
            "publisher.key.pub",
            "--deploy-key",
            "deploy.key.pub",
        ];
        workshop
            .tide(&[&init[..], &keys[..]].concat())
            .check(0, &[]);
        workshop.write("Cargo.toml", "[package]\nname = \"pump\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n");
        workshop.write("src/lib.rs", "");
        workshop.write(
            "tide.toml",
            "[module]\nname = \"pump\"\nversion = \"1.2.0\"\ncounter = 7\n",
        );
        workshop.build(&[]);
        workshop
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Puts a component with these imports where cargo would.
    pub(crate) fn build(&self, imports: &[&str]) {
        let path = self.path("target/wasm32-wasip2/release/pump.wasm");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, component(imports, "tidegate:module/entry@0.1.0")).unwrap();
    }

    /// Runs `tide` here. A target folder that the environment names would hide the module's own.
    pub(crate) fn tide(&self, arguments: &[&str]) -> Ran {
        let mut command = command(self.folder.path(), arguments);
        command
            .env_remove("CARGO_TARGET_DIR")
            .env("SOURCE_DATE_EPOCH", "1800000000");
        ran(command.output().unwrap())
    }

    pub(crate) fn sign(&self) -> Ran {
        self.tide(&["sign", "--key", "publisher.key"])
    }
}

/// The smallest component that imports and exports these instances, all of them empty.
pub(crate) fn component(imports: &[&str], export: &str) -> Vec<u8> {
    let name = |name: &str| [&[0, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    let section = |id: u8, body: Vec<u8>| {
        let length = u16::try_from(body.len()).unwrap();
        // LEB128 in two bytes.
        let [low, high] = [length & 0x7f | 0x80, length >> 7].map(|byte| byte.to_le_bytes()[0]);
        let length = [low, high];
        [&[id], &length[..], &body].concat()
    };
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    // One type: an instance without exports.
    bytes.extend(section(7, vec![1, 0x42, 0]));
    let all = imports
        .iter()
        .flat_map(|import| [name(import), vec![5, 0]].concat());
    bytes.extend(section(
        10,
        [u8::try_from(imports.len()).unwrap()]
            .into_iter()
            .chain(all)
            .collect(),
    ));
    // One instance, made of no exports; its index follows those of the imports.
    bytes.extend(section(5, vec![1, 1, 0]));
    let index = u8::try_from(imports.len()).unwrap();
    bytes.extend(section(
        11,
        [vec![1], name(export), vec![5, index, 0]].concat(),
    ));
    bytes
}
