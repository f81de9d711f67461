//! A deployment as `tide` reads it from a file. The reader is the tool's own, so its source is compiled in here.

#![no_main]

use std::path::Path;

use tidegate_bundle::{Deployment, Digest, SecretRef};
use tidegate_fuzz::Subject;
use tidegate_fuzz::fleet::{KEY, OWN_ROOT};

#[path = "../../../sdk/cli/src"]
mod tool {
    pub(crate) mod deployment_file;
}

use tool::deployment_file::DeploymentFile;

/// As in the tool: no more than the reader needs.
mod error {
    /// Why there is no deployment.
    #[derive(Debug)]
    pub(crate) struct Error;

    impl From<crate::tool::deployment_file::Error> for Error {
        fn from(_: crate::tool::deployment_file::Error) -> Self {
            Self
        }
    }
}

/// As in the tool, but that a path is the text itself.
mod files {
    use std::path::Path;

    pub(crate) fn read_text(path: &Path, _limit: u64) -> Result<String, crate::error::Error> {
        Ok(path.to_string_lossy().into_owned())
    }
}

/// The file.
struct File;

impl Subject for File {
    fn seeds() -> Vec<Vec<u8>> {
        let guide = include_str!("../../../docs/guides/cli.md");
        let begin = "```toml\n# deployments/pumps.toml";
        let (_, rest) = guide.split_once(begin).expect("the guide has an example");
        let (example, _) = rest.split_once("```").expect("which ends");
        vec![example.as_bytes().to_vec()]
    }

    /// Of a file that is taken, a document can be made that every gateway can read, and that names no path to a secret.
    fn check(input: &[u8]) {
        let Ok(text) = std::str::from_utf8(input) else {
            return;
        };
        let Ok(file) = DeploymentFile::read(Path::new(text)) else {
            return;
        };
        let release = |path: &Path| Ok(Digest::of(path.as_os_str().as_encoded_bytes()));
        let document = file
            .document(&OWN_ROOT, 1_800_000_000, release)
            .expect("a document");
        let signed = match document.sign(&[&KEY]) {
            Err(error) if error.reason() == "too-large" => return,
            signed => signed.expect("a file that is taken can be signed"),
        };
        let (read, _) = Deployment::verify(&signed, &OWN_ROOT).expect("and read");
        assert_eq!(read, document);
        let config = document
            .modules
            .iter()
            .flat_map(|module| module.config.values());
        for value in config {
            if let tidegate_bundle::ConfigValue::Secret(
                SecretRef::File(name) | SecretRef::Credential(name) | SecretRef::Environment(name),
            ) = value
            {
                assert!(!name.contains(['/', '.']));
            }
        }
    }
}

tidegate_fuzz::target!(File);
