//! `tide keygen`: a pair of key files.

use std::path::PathBuf;

use serde_json::json;
use tidegate_bundle::{KeyId, OpeningKey, SigningKey};

use crate::error::Error;
use crate::files;
use crate::report::Report;

/// Make a key pair: FILE holds the secret key, FILE.pub the public one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write the secret key; never overwritten.
    file: PathBuf,
    /// Make a pair that does not sign: exports of gateways are sealed to the public key, and opened by the secret one.
    #[arg(long)]
    sealing: bool,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let (secret, public, id) = self.pair().map_err(Error::Keygen)?;
        let public_file = files::with_suffix(&self.file, ".pub");
        files::write_new(&self.file, format!("{secret}\n").as_bytes(), 0o600)?;
        files::write_new(&public_file, format!("{public}\n").as_bytes(), 0o644)?;
        let can = if self.sealing {
            "read what is sealed to it"
        } else {
            "sign"
        };
        let facts = json!({"secret_key": self.file, "public_key": public_file, "key_id": id});
        Ok(Report::new(facts)
            .fact(
                "secret key",
                format!(
                    "{}  (keep it to yourself; whoever has it can {can})",
                    self.file.display()
                ),
            )
            .fact("public key", public_file.display())
            .fact("key id", id))
    }

    /// The texts of both halves, and the key's id.
    fn pair(&self) -> Result<(String, String, KeyId), tidegate_bundle::Error> {
        if self.sealing {
            let key = OpeningKey::generate()?;
            let public = key.sealing_key();
            Ok((key.to_secret_text(), public.to_text(), public.id()))
        } else {
            let key = SigningKey::generate()?;
            let public = key.public_key();
            Ok((key.to_secret_text(), public.to_text(), public.id()))
        }
    }
}
