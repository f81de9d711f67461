//! `tidegate enrol` and `tidegate device-key rotate`: this machine becomes a gateway of a centre, and changes its key.
//!
//! Both can be asked for again at any point: a key is on disk before a centre hears of it, and takes the place of the one
//! before only after each centre has answered.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use thiserror::Error as ThisError;
use tidegate_bundle::{Digest, KeyChange, SigningKey, VerifiedRoot};
use tidegate_record::Limits;
use tidegate_uplink::{CentreConfig, Config, post_json};

use crate::cli::{Common, print};
use crate::config::Settings;
use crate::error::Error;
use crate::identity::{Enrolment, enrolments, note};
use crate::{device, install};

/// Longest file of a token: it is one line.
const TOKEN_BYTES_MAX: u64 = 256;

/// Digits of a centre's id.
const CENTRE_ID_LENGTH: usize = 32;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("shown").required(true).args(["token", "token_file"]))]
pub(crate) struct EnrolArguments {
    /// Which centre, if gateway.toml has two: its address as it stands there.
    #[arg(long, value_name = "URL")]
    centre: Option<String>,
    /// The token that the centre gave. Others on this machine can read it while the command runs: rather use a file.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// A file with the token; - for standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Make a new device key first: this disk is a copy of another gateway's, or the key was revoked.
    #[arg(long)]
    new_key: bool,
    #[command(flatten)]
    common: Common,
}

/// Why a machine is not enrolled, or its key is not changed.
#[derive(Debug, ThisError)]
pub(crate) enum Problem {
    #[error("gateway.toml has no centre in [uplink]")]
    NoCentre,
    #[error("gateway.toml has two centres: say which with --centre")]
    WhichCentre,
    #[error("gateway.toml has no centre {0}")]
    OtherCentre(String),
    #[error("cannot read the token")]
    ReadToken(#[source] io::Error),
    #[error("this is no token of a gateway: it begins with tge_ and ends with the id of a centre")]
    Token,
    #[error("this machine is not enrolled at a centre of gateway.toml: use tidegate enrol")]
    NotEnrolled,
    #[error("the centre's answer cannot be read")]
    Answer,
    #[error("the root document that the centre gave cannot be used")]
    Root(#[source] tidegate_bundle::Error),
    #[error("the centre is of fleet {theirs}, and the root document {} is of {ours}", path.display())]
    Fleet {
        path: PathBuf,
        ours: String,
        theirs: String,
    },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot sign")]
    Sign(#[source] tidegate_bundle::Error),
}

/// `tidegate enrol`.
pub(crate) async fn enrol(arguments: &EnrolArguments) -> Result<(), Error> {
    let settings = Settings::read(&arguments.common.config)?;
    let centre = choose(&settings, arguments.centre.as_deref())?;
    let token = token(arguments)?;
    let id = centre_id(&token)?;
    let state = &settings.state;
    let key = match arguments.new_key {
        true => device::load_or_make_next(state)?,
        false => device::load_or_make(state)?,
    };
    let asked = tidegate_bundle::Enrolment {
        centre: id,
        token: Digest::of(token.as_bytes()),
        gateway: settings.name.as_str(),
    };
    let public = key.public_key();
    let application = json!({
        "token": token, "gateway": asked.gateway, "device_key": public.to_text(),
        "signature": BASE64.encode(asked.sign(&key).map_err(Problem::Sign)?),
    });
    let timeout = Limits::DEFAULT.sync_timeout;
    let answer = post_json(centre, timeout, "/v1/enrol", &application).await?;
    let answer: Value = serde_json::from_slice(&answer).map_err(|_| Problem::Answer)?;
    let pinned = pin(&settings.root, &answer)?;
    if arguments.new_key {
        device::follow(state)?;
    }
    let enrolment = Enrolment {
        url: centre.url(),
        centre: id.to_owned(),
        gateway: asked.gateway.to_owned(),
    };
    note(state, enrolment).map_err(|source| Problem::Write {
        path: state.join("enrolment.json"),
        source,
    })?;
    let report = json!({
        "gateway": asked.gateway, "centre": centre.url(), "key_id": public.id().to_string(), "root_written": pinned,
    });
    print(arguments.common.output, &report, || {
        let root = match pinned {
            true => format!("its root document is now {}\n", settings.root.display()),
            false => String::new(),
        };
        format!("{} is enrolled at {}\n{root}", settings.name, centre.url())
    });
    Ok(())
}

/// `tidegate device-key rotate`.
pub(crate) async fn rotate(common: &Common) -> Result<(), Error> {
    let settings = Settings::read(&common.config)?;
    let state = &settings.state;
    let known = enrolments(state).map_err(|source| Error::ReadFile {
        what: "enrolment",
        path: state.join("enrolment.json"),
        source,
    })?;
    let configured = centres(&settings);
    let here: Vec<_> = known
        .iter()
        .filter_map(|known| {
            let centre = configured.iter().find(|centre| centre.url() == known.url);
            Some((*centre?, known))
        })
        .collect();
    if here.is_empty() {
        return Err(Problem::NotEnrolled.into());
    }
    let (old, new) = (device::load(state)?, device::load_or_make_next(state)?);
    for (centre, known) in here {
        let change = change(&old, &new, known).map_err(Problem::Sign)?;
        let timeout = Limits::DEFAULT.sync_timeout;
        post_json(centre, timeout, "/v1/device-keys", &change).await?;
    }
    device::follow(state)?;
    let key = new.public_key();
    let report = json!({
        "gateway": settings.name.as_str(), "device_key": key.to_text(), "key_id": key.id().to_string(),
    });
    print(common.output, &report, || format!("{}\n", key.to_text()));
    Ok(())
}

fn change(
    old: &SigningKey,
    new: &SigningKey,
    known: &Enrolment,
) -> Result<Value, tidegate_bundle::Error> {
    let (from, to) = (old.public_key().id(), new.public_key());
    let change = KeyChange {
        centre: &known.centre,
        gateway: &known.gateway,
        old: from,
        new: &to,
    };
    let signatures = [change.sign(old)?, change.sign(new)?].map(|bytes| BASE64.encode(bytes));
    Ok(json!({
        "gateway": known.gateway, "old": from.to_string(), "new": to.to_text(), "signatures": signatures,
    }))
}

/// The centres of gateway.toml.
fn centres(settings: &Settings) -> Vec<&CentreConfig> {
    let uplink = settings.uplink.iter();
    let configured = uplink.flat_map(|uplink| {
        let second = uplink.second.as_ref().map(|second| &second.config);
        [Some(&uplink.first), second]
    });
    configured
        .flatten()
        .filter_map(|config| match config {
            Config::Centre(centre) => Some(centre),
            Config::Broker(_) => None,
        })
        .collect()
}

fn choose<'s>(settings: &'s Settings, wanted: Option<&str>) -> Result<&'s CentreConfig, Problem> {
    let all = centres(settings);
    let Some(wanted) = wanted else {
        return match all[..] {
            [] => Err(Problem::NoCentre),
            [centre] => Ok(centre),
            _ => Err(Problem::WhichCentre),
        };
    };
    let other = || Problem::OtherCentre(wanted.to_owned());
    let named = CentreConfig::new(wanted, None).map_err(|_| other())?;
    let mut all = all.into_iter();
    all.find(|centre| centre.url() == named.url())
        .ok_or_else(other)
}

fn token(arguments: &EnrolArguments) -> Result<String, Problem> {
    let mut text = arguments.token.clone().unwrap_or_default();
    if let Some(file) = &arguments.token_file {
        let read = match file == Path::new("-") {
            true => io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text),
            false => File::open(file)
                .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)),
        };
        read.map_err(Problem::ReadToken)?;
    }
    Ok(text.trim().to_owned())
}

/// The id of the centre that gave a token.
fn centre_id(token: &str) -> Result<&str, Problem> {
    let id = token
        .strip_prefix("tge_")
        .and_then(|rest| rest.split_once('.'));
    let id = id.map(|(_, id)| id).filter(|id| {
        id.len() == CENTRE_ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    id.ok_or(Problem::Token)
}

/// Puts the centre's root document where gateway.toml wants one, if none is there. One that is there stays, and must be of the
/// same fleet. Gives whether it was written.
fn pin(path: &Path, answer: &Value) -> Result<bool, Error> {
    let given = match answer.get("root") {
        None | Some(Value::Null) => return Ok(false),
        Some(root) => root.as_str().and_then(|root| BASE64.decode(root).ok()),
    };
    let document = given.ok_or(Problem::Answer)?;
    let theirs = VerifiedRoot::open(&document).map_err(Problem::Root)?;
    if path.exists() {
        let ours = install::read_root(path)?;
        let (ours, theirs) = (&ours.root().fleet_id, &theirs.root().fleet_id);
        return match ours == theirs {
            true => Ok(false),
            false => Err(Problem::Fleet {
                path: path.to_owned(),
                ours: ours.clone(),
                theirs: theirs.clone(),
            }
            .into()),
        };
    }
    write(path, &document).map_err(|source| Problem::Write {
        path: path.to_owned(),
        source,
    })?;
    Ok(true)
}

fn write(path: &Path, document: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(document)?;
    file.sync_all()?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_which_centre_gave_it() {
        let id = "00112233445566778899aabbccddeeff";
        assert_eq!(centre_id(&format!("tge_secret.{id}")).unwrap(), id);
        for bad in [
            "",
            "tgt_secret.00112233445566778899aabbccddeeff",
            "tge_secret",
            "tge_a.0011",
        ] {
            assert!(centre_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_without_a_root_document_writes_none_and_one_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.json");
        assert!(!pin(&path, &json!({"root": null})).unwrap());
        for bad in [
            json!({"root": 7}),
            json!({"root": "!"}),
            json!({"root": "e30="}),
        ] {
            assert!(pin(&path, &bad).is_err(), "{bad}");
        }
        assert!(!path.exists());
    }
}
