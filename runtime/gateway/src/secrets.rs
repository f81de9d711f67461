//! Secrets that a deployment names: from where the site keeps them, and from nowhere else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidegate_bundle::{ConfigValue, SecretRef};

use crate::install::Refusal;

/// Stands where a secret's value would.
const HIDDEN: &str = "***";
/// Shortest value that is looked for in a text: a shorter one is in every second word.
const VALUE_BYTES_MIN: usize = 4;

/// Largest secret, in bytes: a key or certificate.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// The configuration with its secrets in place. What is wrong with one is said without its value.
pub(crate) fn resolve(
    config: &BTreeMap<String, ConfigValue>,
    folder: &Path,
) -> Result<BTreeMap<String, String>, Refusal> {
    let value = |value: &ConfigValue| match value {
        ConfigValue::Text(text) => Ok(text.clone()),
        ConfigValue::Secret(secret) => read(secret, folder).map_err(|reason| Refusal::Secret {
            name: secret.to_string(),
            reason,
        }),
    };
    let resolved = config.iter().map(|(key, of)| Ok((key.clone(), value(of)?)));
    resolved.collect()
}

/// A text of a module, without the values of secrets that it was given.
pub(crate) fn hide(text: String, config: &BTreeMap<String, ConfigValue>, folder: &Path) -> String {
    let values = config.values().filter_map(|value| match value {
        ConfigValue::Secret(secret) => read(secret, folder).ok(),
        ConfigValue::Text(_) => None,
    });
    let values = values.filter(|value| value.len() >= VALUE_BYTES_MIN);
    values.fold(text, |text, value| text.replace(&value, HIDDEN))
}

/// The folders in which secrets are.
pub(crate) fn folders(own: &Path) -> Vec<PathBuf> {
    let credentials = credentials().into_iter();
    credentials.chain([own.to_owned()]).collect()
}

fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The value of a secret, or why it cannot be read.
pub(crate) fn read(secret: &SecretRef, folder: &Path) -> Result<String, String> {
    let text = match secret {
        SecretRef::Environment(name) => {
            std::env::var(variable(name)).map_err(|error| error.to_string())?
        }
        SecretRef::File(name) => read_file(&folder.join(name))?,
        SecretRef::Credential(name) => {
            let folder = credentials().ok_or("CREDENTIALS_DIRECTORY is not set")?;
            read_file(&folder.join(name))?
        }
    };
    match text.len() {
        0..=SECRET_BYTES_MAX => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        bytes => Err(format!("it has {bytes} bytes, limit is {SECRET_BYTES_MAX}")),
    }
}

/// A name has no separators: the document was refused otherwise.
fn read_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

fn variable(name: &str) -> String {
    let upper = name.to_uppercase().replace('-', "_");
    format!("TIDEGATE_SECRET_{upper}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_the_folder_of_secrets_and_its_last_line_end_is_not_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pump-token"), "s3cret\n").unwrap();
        let secret = |name: &str| ConfigValue::Secret(SecretRef::File(name.to_owned()));
        let config = BTreeMap::from([
            ("limit".to_owned(), ConfigValue::Text("80".to_owned())),
            ("token".to_owned(), secret("pump-token")),
        ]);
        let resolved = resolve(&config, folder.path()).unwrap();
        assert_eq!(resolved["token"], "s3cret");
        assert_eq!(resolved["limit"], "80");
        let missing = BTreeMap::from([("token".to_owned(), secret("other"))]);
        let refused = resolve(&missing, folder.path()).unwrap_err().to_string();
        assert!(
            refused.starts_with("secret file other cannot be read"),
            "{refused}"
        );
    }

    #[test]
    fn what_a_module_says_of_its_secrets_is_told_without_their_values() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pump-token"), "s3cret\n").unwrap();
        let secret = ConfigValue::Secret(SecretRef::File("pump-token".to_owned()));
        let config = BTreeMap::from([("token".to_owned(), secret)]);
        let said = "bad token s3cret, want 8 characters".to_owned();
        let told = hide(said, &config, folder.path());
        assert_eq!(told, "bad token ***, want 8 characters");
    }

    #[test]
    fn a_variable_is_named_after_its_secret() {
        assert_eq!(variable("pump-token"), "TIDEGATE_SECRET_PUMP_TOKEN");
    }
}
