//! What this site or one configuration is the reason for: refused, told, and taken as soon as it is mended.

use super::*;
use crate::{Denial, Rules};
use tidegate_bundle::{ConfigValue, DeployedModule, Release, SecretRef};

/// A site that lacks a secret, or has it.
struct Secrets {
    readable: bool,
}

impl Rules for Secrets {
    fn denials(
        &self,
        module: &DeployedModule,
        release: &Release,
        _before: Option<&DeployedModule>,
    ) -> Vec<Denial> {
        let configuration = module.configuration(release).into_values();
        let secrets = configuration.filter_map(|value| match value {
            ConfigValue::Secret(secret) if !self.readable => Some(secret),
            _ => None,
        });
        let denial = |secret: SecretRef| Denial::Secret {
            module: module.name.clone(),
            secret: secret.to_string(),
            reason: "no such file".to_owned(),
        };
        secrets.map(denial).collect()
    }
}

/// A deployment of a module with this value of a key.
fn configured(seq: u64, module: &Module, value: ConfigValue) -> Vec<u8> {
    let document = fleet().deployment_of(seq, std::slice::from_ref(module), |deployment| {
        let config = &mut deployment.modules[0].config;
        config.insert("token".to_owned(), value);
    });
    let stick = Stick {
        roots: &[],
        deployment: &document,
        releases: &[&module.release],
        blobs: &[&module.component],
    };
    stick.write().unwrap()
}

fn text(value: &str) -> ConfigValue {
    ConfigValue::Text(value.to_owned())
}

fn with_secret(seq: u64, module: &Module) -> Vec<u8> {
    let secret = SecretRef::File("pump-token".to_owned());
    configured(seq, module, ConfigValue::Secret(secret))
}

fn give(client: &mut Client, stick: &[u8], rules: &dyn Rules) -> Result<Vec<Command>, Error> {
    let taken = client.take_stick(Cursor::new(stick.to_vec()), rules);
    taken.map(|taken| taken.commands)
}

#[test]
fn a_secret_that_cannot_be_read_is_refused_before_anything_is_accepted_and_denies_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let stick = with_secret(1, &fleet().module("pump", 1));
    let before = client.trust().to_bytes().unwrap();
    for _ in 0..5 {
        let lacking = Secrets { readable: false };
        let error = give(&mut client, &stick, &lacking).unwrap_err();
        assert_eq!(error.reason(), "secret-unreadable");
        let sentence = client.sentence(&error);
        assert!(
            sentence.contains("secret file pump-token of module pump cannot be read: no such file"),
            "{sentence}"
        );
    }
    assert_eq!(client.trust().to_bytes().unwrap(), before);
    assert!(client.machine().candidate().is_none());
    let commands = give(&mut client, &stick, &Secrets { readable: true }).unwrap();
    assert_eq!(commands, [Command::Try(trial("pump", 1))]);
}

#[test]
fn a_secret_that_goes_away_during_a_trial_denies_nothing_and_the_same_deployment_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    let good = fleet().module("pump", 1);
    confirm(&mut client, 1, std::slice::from_ref(&good));
    let stick = with_secret(2, &fleet().module("pump", 2));
    let there = Secrets { readable: true };
    give(&mut client, &stick, &there).unwrap();
    let hindered = Event::Hindered(trial("pump", 2), WHY.to_owned());
    assert_eq!(client.on(hindered).unwrap(), [Command::EndTrials]);
    assert_eq!(running(&client), [("pump".to_owned(), 1, good.component)]);
    assert_eq!(client.wants().unwrap().known, None, "it is asked for again");
    let mut client = restarted(client, folder.path());
    let error = give(&mut client, &stick, &Secrets { readable: false }).unwrap_err();
    assert_eq!(error.reason(), "secret-unreadable");
    let commands = give(&mut client, &stick, &there).unwrap();
    assert_eq!(commands, [Command::Try(trial("pump", 3))]);
}

#[test]
fn a_release_that_fails_with_one_configuration_is_denied_with_that_one_and_tried_with_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = enrolled(folder.path());
    confirm(&mut client, 1, &[fleet().module("pump", 1)]);
    let newer = fleet().module("pump", 2);
    let wrong = configured(2, &newer, text("wrong"));
    give(&mut client, &wrong, &policy()).unwrap();
    let rejected = Event::Rejected(trial("pump", 2), WHY.to_owned());
    client.on(rejected).unwrap();
    let mut client = restarted(client, folder.path());
    // The same deployment, and its module in another: each says why.
    let error = give(&mut client, &wrong, &policy()).unwrap_err();
    assert_eq!(error.reason(), "denied");
    let sentence = client.sentence(&error);
    assert!(
        sentence.contains(&format!("module pump: {WHY}")),
        "{sentence}"
    );
    let error = give(
        &mut client,
        &configured(3, &newer, text("wrong")),
        &policy(),
    )
    .unwrap_err();
    assert_eq!(error.reason(), "denied");
    let sentence = client.sentence(&error);
    assert!(
        sentence.contains("module pump with this release and configuration"),
        "{sentence}"
    );
    let right = configured(3, &newer, text("right"));
    let commands = give(&mut client, &right, &policy()).unwrap();
    assert_eq!(commands, [Command::Try(trial("pump", 3))]);
}
