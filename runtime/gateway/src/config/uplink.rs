//! `[uplink]`: where the centre is, what stands in for it, and what the way to it may cost.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_buffer::Second;
use tidegate_record::Topic;
use tidegate_settings::{Section, duration};
use tidegate_uplink::budget::{BUDGET_BYTES_MIN, Bounds, BudgetConfig};
use tidegate_uplink::{BrokerConfig, CentreConfig, Config, Credentials, Identity};

use super::File;

/// How long the first centre fails before the second stands in, unless said otherwise.
const AFTER: Duration = Duration::from_secs(60);

/// The way to the centre, as its operator wants it.
#[derive(Debug, Clone)]
pub(crate) struct UplinkSettings {
    /// Where the centre is.
    pub(crate) first: Config,
    /// The region in which it keeps rows.
    pub(crate) region: Option<String>,
    /// A second one.
    pub(crate) second: Option<SecondSettings>,
    /// What a metered link may cost.
    pub(crate) budget: Option<BudgetConfig>,
}

/// A second centre, as its operator wants it.
#[derive(Debug, Clone)]
pub(crate) struct SecondSettings {
    /// Where it is.
    pub(crate) config: Config,
    /// The region in which it keeps rows.
    pub(crate) region: Option<String>,
    /// What it is for.
    pub(crate) when: Second,
    /// How long the first has failed when it stands in.
    pub(crate) after: Duration,
}

impl File<'_> {
    pub(super) fn uplink(&self, mut section: Section<'_>) -> Option<UplinkSettings> {
        let first = self.endpoint(&mut section);
        let region = section.optional("region");
        let second = section
            .section("second")
            .and_then(|section| self.second(section));
        let budget = section.section("budget").map(budget);
        section.end();
        Some(UplinkSettings {
            first: first?,
            region,
            second,
            budget,
        })
    }

    fn second(&self, mut section: Section<'_>) -> Option<SecondSettings> {
        let config = self.endpoint(&mut section);
        let region = section.optional("region");
        let when = section.optional_as("when", |text| match text {
            "failover" => Ok(Second::Failover),
            "mirror" => Ok(Second::Mirror),
            other => Err(format!("{other:?} is neither \"failover\" nor \"mirror\"")),
        });
        let when = when.unwrap_or(Second::Failover);
        let after = section.optional_as("after", duration);
        if when == Second::Mirror {
            section.refuse("after", "a mirror gets every row at once");
        }
        section.end();
        Some(SecondSettings {
            config: config?,
            region,
            when,
            after: after.unwrap_or(AFTER),
        })
    }

    /// A centre or, by its url, a broker.
    fn endpoint(&self, section: &mut Section<'_>) -> Option<Config> {
        let ca = section.optional_as("ca", |text| Ok(self.base.join(text)));
        let config = section.required_as("url", |text| match text.starts_with("mqtt") {
            true => broker(text).map(Config::Broker),
            false => centre(text, ca.clone()).map(Config::Centre),
        });
        let credentials = self.credentials(section);
        let identity = self.identity(section);
        let prefix = section.optional_as("topic-prefix", |text| {
            Topic::new(text).map_err(|error| error.to_string())
        });
        Some(match config? {
            Config::Broker(mut broker) => {
                broker.ca = ca;
                broker.identity = identity.map(|identity| Identity {
                    certificate: identity.certificate_file,
                    key: identity.key_file,
                });
                broker.credentials = credentials.map(|given| Credentials {
                    username: given.username,
                    password_file: given.password_file,
                });
                broker.prefix = prefix.unwrap_or(broker.prefix);
                Config::Broker(broker)
            }
            centre @ Config::Centre(_) => {
                for key in BROKER_KEYS {
                    section.refuse(key, "is for a broker, whose url begins with mqtts://");
                }
                centre
            }
        })
    }
}

/// What only a broker has.
const BROKER_KEYS: [&str; 5] = [
    "username",
    "password-file",
    "certificate",
    "key",
    "topic-prefix",
];

fn broker(text: &str) -> Result<BrokerConfig, String> {
    BrokerConfig::new(text).map_err(|error| error.to_string())
}

fn centre(text: &str, ca: Option<PathBuf>) -> Result<CentreConfig, String> {
    CentreConfig::new(text, ca).map_err(|error| error.to_string())
}

fn budget(mut section: Section<'_>) -> BudgetConfig {
    let bounds = Bounds {
        hour: section.optional_as("hour", bytes),
        day: section.optional_as("day", bytes),
        month: section.optional_as("month", bytes),
    };
    let interface = section.optional_as("interface", interface);
    if bounds == Bounds::default() {
        let reason = "nothing bounds what it counts: say hour, day or month";
        section.refuse("interface", reason);
    }
    section.end();
    BudgetConfig { bounds, interface }
}

/// A name that the kernel may give an interface: no path.
fn interface(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_graphic() && c != '/';
    match (1..=15).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.') {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not the name of a network interface")),
    }
}

/// `500KiB`, `5MiB` or `2GiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let number = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let bytes = number.and_then(|(number, shift)| {
        let number: u64 = number.trim().parse().ok()?;
        number.checked_mul(1 << shift)
    });
    match bytes {
        Some(bytes) if bytes >= BUDGET_BYTES_MIN => Ok(bytes),
        Some(_) => Err(format!(
            "{text} is less than {} KiB, which one request may take",
            BUDGET_BYTES_MIN >> 10
        )),
        None => Err(format!(
            "{text:?} is not a size such as \"500KiB\", \"5MiB\" or \"2GiB\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;
    use std::path::Path;

    const MINIMAL: &str = "[gateway]\nname = \"gw\"\nstate = \"state\"\n[trust]\nroot = \"root.json\"\n\
        [uplink]\nurl = \"https://centre.example\"\n";

    fn read(more: &str) -> Result<UplinkSettings, Vec<String>> {
        let settings = Settings::parse(&format!("{MINIMAL}{more}"), Path::new("/etc/tidegate"));
        match settings {
            Ok(settings) => Ok(settings.uplink.unwrap()),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn budgets_are_read_and_all_of_them_may_be_left_out() {
        assert_eq!(read("").unwrap().budget, None);
        let text = "[uplink.budget]\nhour = \"500KiB\"\nmonth = \"2GiB\"\ninterface = \"wwan0\"\n";
        let expected = BudgetConfig {
            bounds: Bounds {
                hour: Some(500 << 10),
                day: None,
                month: Some(2 << 30),
            },
            interface: Some("wwan0".into()),
        };
        assert_eq!(read(text).unwrap().budget, Some(expected));
    }

    #[test]
    fn a_second_centre_stands_in_after_a_minute_unless_said_otherwise() {
        let second = |lines: &str| {
            let text = format!("[uplink.second]\nurl = \"https://other.example\"\n{lines}\n");
            read(&text).map(|uplink| uplink.second.unwrap())
        };
        let plain = second("").unwrap();
        assert_eq!((plain.when, plain.after), (Second::Failover, AFTER));
        assert_eq!(
            second("after = \"5s\"").unwrap().after,
            Duration::from_secs(5)
        );
        assert_eq!(second("when = \"mirror\"").unwrap().when, Second::Mirror);
        for (lines, expected) in [
            ("when = \"both\"", "line 10: when: \"both\" is neither"),
            (
                "when = \"mirror\"\nafter = \"5s\"",
                "line 11: after: a mirror gets",
            ),
        ] {
            let problems = second(lines).unwrap_err();
            assert!(problems[0].starts_with(expected), "{problems:?}");
        }
        let none = read("[uplink.second]\n").unwrap_err();
        assert!(none[0].contains("url is missing in [second]"), "{none:?}");
    }

    #[test]
    fn a_broker_in_place_of_a_centre_is_read_and_a_centre_has_nothing_of_one() {
        let second = |lines: &str| {
            let text = format!("[uplink.second]\n{lines}\n");
            read(&text).map(|uplink| uplink.second.unwrap().config)
        };
        let lines = "url = \"mqtts://broker.example\"\nca = \"ca.pem\"\ncertificate = \"gw.pem\"\n\
            key = \"gw.key\"\nusername = \"gw\"\ntopic-prefix = \"plant/rows\"";
        let Config::Broker(broker) = second(lines).unwrap() else {
            panic!("a broker");
        };
        assert!(broker.is_tls());
        assert_eq!(broker.prefix.as_str(), "plant/rows");
        let identity = broker.identity.unwrap();
        assert_eq!(identity.key, Path::new("/etc/tidegate/gw.key"));
        assert_eq!(broker.credentials.unwrap().username, "gw");
        for (lines, expected) in [
            ("url = \"mqtt://broker.example\"", "is not encrypted"),
            ("url = \"mqtts://b/topic\"", "is not an mqtts:// address"),
            (
                "url = \"https://c\"\ntopic-prefix = \"a\"",
                "topic-prefix: is for a broker",
            ),
            (
                "url = \"mqtts://b\"\ntopic-prefix = \"a/#\"",
                "topic-prefix: ",
            ),
            (
                "url = \"mqtts://b\"\nkey = \"a\"",
                "key: there is no certificate with it",
            ),
        ] {
            let problems = second(lines).unwrap_err();
            assert!(problems[0].contains(expected), "{problems:?}");
        }
    }

    #[test]
    fn a_budget_that_means_nothing_is_refused_with_the_reason() {
        for (line, expected) in [
            ("hour = \"5MB\"", "hour: \"5MB\" is not a size"),
            ("day = \"1KiB\"", "day: 1KiB is less than 64 KiB"),
            (
                "interface = \"wwan0\"",
                "interface: nothing bounds what it counts",
            ),
            (
                "month = \"1GiB\"\ninterface = \"../eth0\"",
                "interface: \"../eth0\" is not the name",
            ),
            ("week = \"1GiB\"", "unknown key week in [budget]"),
        ] {
            let problems = read(&format!("[uplink.budget]\n{line}\n")).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(expected), "{problems:?}");
            assert!(problems[0].starts_with("line 9: ") || problems[0].starts_with("line 10: "));
        }
    }
}
