use super::*;
use crate::fixture::{deployed, fleet, release};
use tidegate_bundle::{ConfigValue, Publish, Residency, SecretRef};

const EXAMPLE: &str = include_str!("../../policy.toml");

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

fn module(name: &str) -> (DeployedModule, Release) {
    let module = deployed(&fleet().module(name, 1));
    (module, release(name, 1, b"code"))
}

/// The reasons for which a module is not permitted that has this before.
fn reasons(
    text: &str,
    module: &DeployedModule,
    before: Option<&DeployedModule>,
) -> Vec<&'static str> {
    let release = release("pump-alarm", 1, b"code");
    let denials = policy(text).permits(module, &release, before);
    denials.iter().map(Denial::reason).collect()
}

fn entry(name: &str, more: &str) -> String {
    format!(
        "[[module]]\nname = \"{name}\"\npublish = [{{ to = \"plant\", topic = \"alarms/#\" }}]\n{more}\n"
    )
}

#[test]
fn the_example_is_a_policy_with_its_comments_taken_out_as_well() {
    policy(EXAMPLE);
    let settings = EXAMPLE.lines().map(|line| {
        let setting = line.strip_prefix("# ").unwrap_or(line);
        match setting.contains(" = ") || setting.starts_with("[[") {
            true => setting,
            false => "",
        }
    });
    let all: Vec<_> = settings.collect();
    let all = policy(&all.join("\n"));
    assert_eq!(all.entries.len(), 2);
}

#[test]
fn all_problems_of_a_policy_are_told_at_once_with_their_lines() {
    let text = r##"new-permissions = "always"
[[module]]
name = "vibration-*"
publish = [{ to = "plant", topic = "alarms/#/x" }, { to = "Plant", topic = "a" }]
memory = "32"
[[module]]
name = "vibration-fft"
[[module]]
name = "A"
actuate = ["valve-1", 3]
[[module]]
name = "pump"
may-leave-site = false
regions = ["eu"]
memmory = "1MiB"
[[modul]]
"##;
    let problems = Policy::parse(text).unwrap_err();
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    let told: Vec<_> = problems.iter().map(Problem::to_string).collect();
    let told = told.join("\n");
    assert_eq!(lines, [1, 4, 4, 5, 7, 9, 10, 14, 15, 16], "{told}");
    for part in [
        "neither \"named\" nor \"covered\"",
        "is no topic filter",
        "\"vibration-fft\" is never looked at: \"vibration-*\" stands before it",
        "did you mean memory?",
        "did you mean module?",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn an_empty_policy_permits_nothing() {
    let (module, _) = module("pump-alarm");
    assert_eq!(reasons("", &module, None), ["module-not-permitted"]);
}

#[test]
fn what_an_entry_does_not_name_is_not_granted_and_all_of_it_is_told() {
    let (mut module, _) = module("pump-alarm");
    let named = entry("pump-alarm", "");
    assert_eq!(reasons(&named, &module, None), [""; 0]);
    module.grants.publish.push(Publish {
        to: "office".to_owned(),
        topic: "alarms/pump".to_owned(),
    });
    module.grants.actuate.push("valve-1".to_owned());
    module.grants.wasi.push("wasi:sockets/tcp@0.2.0".to_owned());
    let secret = ConfigValue::Secret(SecretRef::File("token".to_owned()));
    module.config.insert("token".to_owned(), secret);
    assert_eq!(reasons(&named, &module, None), ["not-permitted"; 4]);
    let wide = entry(
        "pump-alarm",
        "actuate = [\"valve-1\"]\nwasi = [\"wasi:sockets/tcp@0.2.0\"]\nsecrets = [\"token\"]",
    );
    // Another broker is another permission.
    assert_eq!(reasons(&wide, &module, None), ["not-permitted"]);
}

#[test]
fn another_name_on_the_gateway_is_still_the_same_module() {
    let (mut module, _) = module("pump-alarm");
    module.name = "valve-control".to_owned();
    let text = entry("valve-control", "");
    assert_eq!(reasons(&text, &module, None), ["module-not-permitted"]);
}

#[test]
fn entries_never_add_up() {
    let (module, _) = module("pump-alarm");
    let text = format!("[[module]]\nname = \"pump-alarm\"\n{}", entry("*", ""));
    assert_eq!(reasons(&text, &module, None), ["not-permitted"]);
}

#[test]
fn a_new_permission_needs_an_entry_of_the_modules_own_name() {
    let (before, _) = module("pump-alarm");
    let mut after = before.clone();
    after.grants.publish.push(Publish {
        to: "plant".to_owned(),
        topic: "alarms/valve".to_owned(),
    });
    let pattern = entry("pump-*", "");
    assert_eq!(reasons(&pattern, &before, Some(&before)), [""; 0]);
    assert_eq!(reasons(&pattern, &after, Some(&before)), ["new-permission"]);
    assert_eq!(reasons(&pattern, &before, None), ["new-permission"]);
    // What is narrower than what it has is not new.
    assert_eq!(reasons(&pattern, &before, Some(&after)), [""; 0]);
    let named = entry("pump-alarm", "") + &pattern.replace("pump-*", "pump-b*");
    assert_eq!(reasons(&named, &after, Some(&before)), [""; 0]);
    // The negative control: a site that lets any entry grant is not asked.
    let covered = format!("new-permissions = \"covered\"\n{pattern}");
    assert_eq!(reasons(&covered, &after, Some(&before)), [""; 0]);
}

#[test]
fn limits_and_residency_are_the_sites_to_say() {
    let (mut module, _) = module("pump-alarm");
    let small = entry("pump-alarm", "memory = \"1MiB\"\nstate = \"1KiB\"");
    assert_eq!(reasons(&small, &module, None), ["limit-not-permitted"; 2]);
    let stays = entry("pump-alarm", "may-leave-site = false");
    assert_eq!(reasons(&stays, &module, None), ["leaves-site"]);
    let region = entry("pump-alarm", "regions = [\"eu\"]");
    assert_eq!(reasons(&region, &module, None), ["region-not-permitted"]);
    let residency = |region: Option<&str>, may_leave_site| Residency {
        name: "alarms".to_owned(),
        region: region.map(str::to_owned),
        may_leave_site,
    };
    module.streams = vec![residency(None, false)];
    assert_eq!(reasons(&stays, &module, None), [""; 0]);
    assert_eq!(reasons(&region, &module, None), [""; 0]);
    module.streams = vec![residency(Some("us"), true)];
    assert_eq!(reasons(&region, &module, None), ["region-not-permitted"]);
    module.streams = vec![residency(Some("eu"), true)];
    assert_eq!(reasons(&region, &module, None), [""; 0]);
}

#[test]
fn what_a_component_needs_and_is_not_granted_is_told_before_it_is_linked() {
    let (module, mut release) = module("pump-alarm");
    release
        .capabilities
        .wasi
        .push("wasi:sockets/tcp@0.2.0".to_owned());
    let denials = policy(&entry("pump-alarm", "")).permits(&module, &release, None);
    let reasons: Vec<_> = denials.iter().map(Denial::reason).collect();
    assert_eq!(reasons, ["not-granted"]);
}

fn words(older: Option<&DeployedModule>, newer: Option<&DeployedModule>) -> Vec<String> {
    changes(older, newer)
        .iter()
        .map(Change::to_string)
        .collect()
}

#[test]
fn a_difference_of_permissions_is_told_in_words() {
    let (older, _) = module("pump-alarm");
    let mut newer = older.clone();
    newer.grants.publish[0].topic = "status/pump".to_owned();
    newer.grants.actuate.push("valve-1".to_owned());
    let secret = ConfigValue::Secret(SecretRef::Credential("token".to_owned()));
    newer.config.insert("token".to_owned(), secret);
    assert_eq!(
        words(Some(&older), Some(&newer)),
        [
            "may now publish status/pump on plant",
            "may now write valve-1",
            "may now be given secret token",
            "may no longer publish alarms/pump on plant",
        ]
    );
    assert_eq!(
        words(None, Some(&older)),
        ["may now publish alarms/pump on plant"]
    );
    assert_eq!(
        words(Some(&older), None),
        ["may no longer publish alarms/pump on plant"]
    );
    assert!(changes(Some(&older), Some(&older)).is_empty());
    // A filter that covers the one before takes nothing away.
    newer = older.clone();
    newer.grants.publish[0].topic = "alarms/#".to_owned();
    assert_eq!(
        words(Some(&older), Some(&newer)),
        ["may now publish alarms/# on plant"]
    );
}
