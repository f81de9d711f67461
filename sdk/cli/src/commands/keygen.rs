//! `tide keygen`: a pair of key files.

use std::path::PathBuf;

use serde_json::json;
use tidegate_bundle::SigningKey;

use crate::error::Error;
use crate::files;
use crate::report::Report;

/// Make a key pair: FILE holds the secret key, FILE.pub the public one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write the secret key; never overwritten.
    file: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let key = SigningKey::generate().map_err(Error::Keygen)?;
        let (public, public_file) = (key.public_key(), files::with_suffix(&self.file, ".pub"));
        files::write_new(
            &self.file,
            format!("{}\n", key.to_secret_text()).as_bytes(),
            0o600,
        )?;
        files::write_new(
            &public_file,
            format!("{}\n", public.to_text()).as_bytes(),
            0o644,
        )?;
        let facts =
            json!({"secret_key": self.file, "public_key": public_file, "key_id": public.id()});
        Ok(Report::new(facts)
            .fact(
                "secret key",
                format!(
                    "{}  (keep it offline; whoever has it can sign)",
                    self.file.display()
                ),
            )
            .fact("public key", public_file.display())
            .fact("key id", public.id()))
    }
}
