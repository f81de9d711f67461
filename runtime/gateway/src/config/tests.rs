use std::path::Path;

use tidegate_buffer::Policy;
use tidegate_field::{MessageIdFrom, Protocol};

use super::*;

fn problems(text: &str) -> Vec<String> {
    let problems = Settings::parse(text, Path::new("/etc/tidegate")).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

const MINIMAL: &str =
    "[gateway]\nname = \"gw\"\nstate = \"state\"\n[trust]\nroot = \"root.json\"\n";

#[test]
fn the_commented_example_is_valid() {
    let settings = Settings::parse(
        include_str!("../../gateway.toml"),
        Path::new("/etc/tidegate"),
    )
    .unwrap();
    assert_eq!(settings.name.as_str(), "gateway-1");
    assert_eq!(settings.root, Path::new("/etc/tidegate/root.json"));
    assert_eq!(settings.state, Path::new("/var/lib/tidegate"));
    assert_eq!(
        (
            settings.brokers.len(),
            settings.sensors.len(),
            settings.modules.len()
        ),
        (1, 1, 2)
    );
    assert_eq!(settings.modules[0].wanted.config["limit"], "80");
}

#[test]
fn all_problems_are_told_at_once_with_their_lines() {
    let text = "[gateway]\nname = \"Gate Way\"\n[trust]\nroot = 5\n[uplink]\nurl = \"http://centre.example\"\n\
                [[broker]]\nname = \"plant\"\nurl = \"tcp://x\"\n[[module]]\nbundle = \"m\"\n\
                inputs = [{ from = \"plnt\", topic = \"a#\" }]\n";
    let found = problems(text);
    for expected in [
        "line 1: state is missing in [gateway]",
        "line 2: name: a name has only",
        "line 4: root: integer where a text",
        "line 6: url: \"http://centre.example\" is not encrypted",
        "line 9: url: the url of a broker begins with mqtt://",
        "line 12: from: there is no broker or sensor named plnt",
        "line 12: topic: in topic filter \"a#\"",
    ] {
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{expected}\n{found:#?}"
        );
    }
    assert_eq!(found.len(), 7, "{found:#?}");
}

#[test]
fn unknown_keys_are_refused_with_a_hint() {
    let found = problems(&format!(
        "{MINIMAL}[bufer]\n[[broker]]\nname = \"p\"\nulr = \"mqtt://x\"\nurl = \"mqtt://x\"\n"
    ));
    assert_eq!(
        found,
        [
            "line 6: unknown key bufer in [the file], did you mean buffer?",
            "line 9: unknown key ulr in [broker], did you mean url?",
        ]
    );
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let found = problems(&format!("{MINIMAL}[uplink\n"));
    assert!(found[0].starts_with("line 6: "), "{found:?}");
}

#[test]
fn a_sensor_cannot_be_published_to_and_names_are_used_once() {
    let text = format!(
        "{MINIMAL}[[sensor]]\nname = \"a\"\ndriver = \"host\"\n[[broker]]\nname = \"a\"\nurl = \"mqtt://x\"\n\
         [[sensor]]\nname = \"b\"\ndriver = \"host\"\n[[module]]\nbundle = \"m\"\npublish = [{{ to = \"b\", topic = \"x\" }}]\n"
    );
    let found = problems(&text);
    assert!(
        found
            .iter()
            .any(|problem| problem.contains("another broker or sensor named a")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|problem| problem.contains("b is a sensor")),
        "{found:?}"
    );
}

#[test]
fn a_filter_inside_another_is_not_subscribed_twice() {
    let text = format!(
        "{MINIMAL}[[broker]]\nname = \"p\"\nurl = \"mqtt://x\"\n[[module]]\nbundle = \"m\"\n\
         inputs = [{{ from = \"p\", topic = \"a/#\" }}, {{ from = \"p\", topic = \"a/b\" }}, {{ from = \"p\", topic = \"c\" }}]\n"
    );
    let settings = Settings::parse(&text, Path::new("/")).unwrap();
    let filters = subscriptions(
        settings
            .modules
            .iter()
            .flat_map(|module| &module.wanted.inputs),
        &Name::new("p").unwrap(),
    );
    assert_eq!(
        filters.iter().map(TopicFilter::as_str).collect::<Vec<_>>(),
        ["a/#", "c"]
    );
}

#[test]
fn a_broker_is_read_with_all_that_it_can_have() {
    let text = format!(
        "{MINIMAL}[[broker]]\nname = \"p\"\nurl = \"mqtts://x\"\nca = \"ca.pem\"\ncertificate = \"gw.pem\"\n\
         key = \"/secret/gw.key\"\nsession-expiry = \"2d\"\nmessage-id = {{ property = \"id\", remember = 1000000 }}\n\
         [[broker]]\nname = \"q\"\nurl = \"mqtt://y\"\nprotocol = \"3.1.1\"\nmessage-id = {{ field = \"seq\" }}\n"
    );
    let settings = Settings::parse(&text, Path::new("/etc/tidegate")).unwrap();
    let [p, q] = &settings.brokers[..] else {
        panic!("two brokers");
    };
    let identity = p.identity.as_ref().unwrap();
    assert_eq!(identity.certificate_file, Path::new("/etc/tidegate/gw.pem"));
    assert_eq!(identity.key_file, Path::new("/secret/gw.key"));
    assert_eq!(
        p.ca_file.as_deref(),
        Some(Path::new("/etc/tidegate/ca.pem"))
    );
    assert_eq!(
        (p.protocol, q.protocol),
        (Protocol::Mqtt5, Protocol::Mqtt311)
    );
    assert_eq!(p.session_expiry.as_secs(), 2 * 86_400);
    assert_eq!(p.message_id, Some(MessageIdFrom::Property("id".into())));
    assert_eq!(q.message_id, Some(MessageIdFrom::Field("seq".into())));
    assert_eq!((p.message_ids_max, q.message_ids_max), (1_000_000, 100_000));
    assert_eq!(q.identity, None);
}

/// A setting that would have no effect is a mistake of somebody who expects one.
#[test]
fn what_a_broker_cannot_have_is_refused_with_the_reason() {
    for (url, setting, expected) in [
        (
            "mqtt://x",
            "protocol = \"4\"",
            "protocol: \"4\" is no version of MQTT that is spoken here",
        ),
        (
            "mqtt://x",
            "protocol = 5",
            "protocol: integer where a text in quotes is expected",
        ),
        (
            "mqtt://x",
            "ca = \"ca.pem\"",
            "ca: is for a broker whose url begins with mqtts://",
        ),
        (
            "mqtts://x",
            "certificate = \"a\"",
            "certificate: there is no key with it",
        ),
        (
            "mqtts://x",
            "key = \"a\"",
            "key: there is no certificate with it",
        ),
        (
            "mqtt://x",
            "password-file = \"a\"",
            "password-file: there is no username with it",
        ),
        (
            "mqtt://x",
            "session-expiry = \"500ms\"",
            "session-expiry: a session of less than 1 s",
        ),
        (
            "mqtt://x",
            "session-expiry = \"1d\"\nprotocol = \"3.1.1\"",
            "session-expiry: MQTT 3.1.1 has no word for it",
        ),
        (
            "mqtt://x",
            "message-id = { property = \"id\" }\nprotocol = \"3.1.1\"",
            "property: MQTT 3.1.1 has no user properties",
        ),
        (
            "mqtt://x",
            "message-id = {}",
            "message-id has either a property or a field",
        ),
        (
            "mqtt://x",
            "message-id = { field = \"a\", property = \"b\" }",
            "message-id has either a property or a field",
        ),
        (
            "mqtt://x",
            "message-id = { field = \"a\", remember = 1000001 }",
            "remember: a whole number from 1 to 1000000 is expected",
        ),
        (
            "mqtt://x",
            "message-id = { field = \"a\", remember = \"many\" }",
            "remember: a whole number from 1 to 1000000 is expected",
        ),
    ] {
        let text = format!("{MINIMAL}[[broker]]\nname = \"p\"\nurl = \"{url}\"\n{setting}\n");
        let found = problems(&text);
        assert!(
            found.len() == 1 && found[0].starts_with("line 9: "),
            "{found:#?}"
        );
        assert!(found[0].contains(expected), "{expected}\n{found:#?}");
    }
}

#[test]
fn a_stream_has_an_objective_and_a_policy_or_neither() {
    let text = format!(
        "{MINIMAL}[uplink]\nurl = \"https://x\"\n[[stream]]\nname = \"readings\"\nlag = \"10m\"\nwhen-full = \"drop-oldest\"\n[[stream]]\nname = \"alarms\"\n"
    );
    let settings = Settings::parse(&text, Path::new("/")).unwrap();
    let [readings, alarms] = &settings.streams[..] else {
        panic!("two streams");
    };
    assert_eq!(readings.name.as_str(), "readings");
    assert_eq!(readings.lag.map(|lag| lag.as_secs()), Some(600));
    assert_eq!(readings.when_full, Policy::DropOldest);
    assert_eq!((alarms.lag, alarms.when_full), (None, Policy::Degrade));
}

#[test]
fn what_a_stream_cannot_have_is_refused_with_the_reason() {
    for (settings, line, expected) in [
        ("name = \"a\"\nlag = \"4s\"", 10, "lag: 4s is less than 5 s"),
        (
            "name = \"a\"\nlag = \"10\"",
            10,
            "lag: \"10\" is not a time",
        ),
        ("name = \"a\"\nlag = 10", 10, "lag: integer where a text"),
        (
            "name = \"a\"\nwhen-full = \"drop\"",
            10,
            "when-full: \"drop\" is none of \"degrade\", \"drop-oldest\", \"block\"",
        ),
        ("lag = \"10s\"", 8, "name is missing in [stream]"),
        ("name = \"A\"", 9, "name: a name has only"),
        (
            "name = \"a\"\nlags = \"10s\"",
            10,
            "unknown key lags in [stream], did you mean lag?",
        ),
        (
            "name = \"a\"\n[[stream]]\nname = \"a\"",
            11,
            "name: there is another stream named a",
        ),
    ] {
        let found = problems(&format!(
            "{MINIMAL}[uplink]\nurl = \"https://x\"\n[[stream]]\n{settings}\n"
        ));
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("line {line}: {expected}")),
            "{settings}: {found:#?}"
        );
    }
    let alone = problems(&format!(
        "{MINIMAL}[[stream]]\nname = \"a\"\nlag = \"10s\"\n"
    ));
    assert_eq!(
        alone,
        ["line 8: lag: there is no [uplink], and so no centre to be behind"]
    );
}

#[test]
fn the_centre_is_asked_every_minute_unless_said_otherwise_and_never_all_the_time() {
    let read = |text: &str| Settings::parse(&format!("{MINIMAL}{text}"), Path::new("/"));
    let interval = |text: &str| read(text).unwrap().updates_interval;
    assert_eq!(interval(""), Duration::from_secs(60));
    assert_eq!(
        interval("[updates]\ninterval = \"12h\""),
        Duration::from_secs(43_200)
    );
    for bad in ["0s", "999ms", "25h", "5"] {
        let found = problems(&format!("{MINIMAL}[updates]\ninterval = \"{bad}\"\n"));
        assert!(
            found[0].starts_with("line 7: interval: "),
            "{bad}: {found:?}"
        );
    }
}
