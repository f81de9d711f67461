//! Gateways that a centre never heard of. One may join later, or its name is mistyped: that is a note, and no error.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rollout::list;
use crate::centre::Centre;
use crate::error::Error;

/// Most notes of one command.
const NOTES_MAX: usize = 10;

/// Names of the gateways that a centre has heard of.
pub(super) struct Heard(BTreeSet<String>);

impl Heard {
    /// Notes about those of these gateways that the centre never heard of. It is not asked about nobody.
    pub(super) fn notes(centre: &Centre, named: &BTreeSet<String>) -> Result<Vec<String>, Error> {
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let fleet = centre.list("/v1/fleet", "gateways")?;
        Ok(Self::of(&fleet).about(named))
    }

    /// The same about the gateways of a group.
    pub(super) fn notes_of_group(centre: &Centre, group: &Value) -> Result<Vec<String>, Error> {
        let fleet = centre.list("/v1/fleet", "gateways")?;
        let members = fleet
            .iter()
            .filter(|gateway| list(gateway, "groups").contains(group));
        let named = members.filter_map(name).map(str::to_owned).collect();
        Ok(Self::of(&fleet).about(&named))
    }

    fn of(fleet: &[Value]) -> Self {
        let heard = fleet
            .iter()
            .filter(|gateway| gateway.get("seen").is_some_and(Value::is_string));
        Self(heard.filter_map(name).map(str::to_owned).collect())
    }

    fn about(&self, named: &BTreeSet<String>) -> Vec<String> {
        let missing: Vec<_> = named.difference(&self.0).collect();
        let shown = missing.iter().take(NOTES_MAX).map(|name| {
            let mut known = self.0.iter();
            let near = known.find(|known| tidegate_settings::is_near(known, name));
            let near = near.map(|near| format!(", did you mean {near}?"));
            let near = near.unwrap_or_default();
            format!(
                "gateway {} was never heard of here{near}",
                name.escape_debug()
            )
        });
        let beyond = missing.len().saturating_sub(NOTES_MAX);
        let rest = (beyond > 0).then(|| format!("nor were {beyond} more gateways"));
        shown.chain(rest).collect()
    }
}

fn name(gateway: &Value) -> Option<&str> {
    gateway.get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gateway_that_was_never_heard_of_is_noted_with_the_name_that_is_near() {
        let fleet = [
            json!({"name": "pump-1", "seen": "2026-11-21T07:30:00Z"}),
            json!({"name": "press-line", "seen": "2026-11-21T07:30:00Z"}),
            // It has a label, and nothing else is known of it.
            json!({"name": "pres-line", "seen": null}),
        ];
        let heard = Heard::of(&fleet);
        let about = |names: &[&str]| heard.about(&names.iter().map(ToString::to_string).collect());
        assert_eq!(about(&["pump-1", "press-line"]), [""; 0]);
        assert_eq!(
            about(&["pres-line", "north"]),
            [
                "gateway north was never heard of here",
                "gateway pres-line was never heard of here, did you mean press-line?",
            ]
        );
        let many: Vec<_> = (0..12).map(|number| format!("north-{number}")).collect();
        let notes = about(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(notes.len(), NOTES_MAX + 1);
        assert_eq!(notes[NOTES_MAX], "nor were 2 more gateways");
    }
}
