//! Permissions: what a release asks for, what a deployment grants, what a site permits, and how they differ.
//!
//! All three are [`Capabilities`]. One is within another when each of its topic filters is covered by a single filter of
//! the other, and each of its points and imports stands there as it is. So nothing is ever granted by adding up.

use serde::Serialize;

use crate::{Capabilities, text};

impl Capabilities {
    /// What of these is not within `bounds`: what was granted and not asked for, or asked for and not permitted.
    ///
    /// ```
    /// use tidegate_bundle::Capabilities;
    ///
    /// let publish = |filters: &[&str]| Capabilities {
    ///     publish: filters.iter().map(|filter| (*filter).to_owned()).collect(),
    ///     ..Capabilities::default()
    /// };
    /// let asked = publish(&["alarms/#"]);
    /// let granted = publish(&["alarms/pump", "valves/pump"]);
    /// assert_eq!(granted.beyond(&asked), publish(&["valves/pump"]));
    /// ```
    #[must_use]
    pub fn beyond(&self, bounds: &Self) -> Self {
        let covered = |filter: &str| {
            let covers = |wide: &String| text::filter_covers(wide, filter);
            bounds.publish.iter().any(covers)
        };
        Self {
            publish: all_but(&self.publish, covered),
            actuate: all_but(&self.actuate, |point| named(&bounds.actuate, point)),
            wasi: all_but(&self.wasi, |import| named(&bounds.wasi, import)),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.actuate.is_empty() && self.wasi.is_empty()
    }
}

/// How what one release asks for differs from what another does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PermissionDiff {
    /// What only the newer asks for. A gateway grants none of it before its site does.
    pub added: Capabilities,
    /// What only the older asks for.
    pub removed: Capabilities,
}

impl PermissionDiff {
    /// From what the older asks for to what the newer does.
    #[must_use]
    pub fn between(older: &Capabilities, newer: &Capabilities) -> Self {
        Self {
            added: newer.beyond(older),
            removed: older.beyond(newer),
        }
    }
}

fn all_but(texts: &[String], leave_out: impl Fn(&str) -> bool) -> Vec<String> {
    let kept = texts.iter().filter(|text| !leave_out(text));
    kept.cloned().collect()
}

fn named(texts: &[String], text: &str) -> bool {
    texts.iter().any(|other| other == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(publish: &[&str], actuate: &[&str], wasi: &[&str]) -> Capabilities {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Capabilities {
            publish: texts(publish),
            actuate: texts(actuate),
            wasi: texts(wasi),
        }
    }

    #[test]
    fn whatever_is_within_its_bounds_is_not_beyond_them() {
        let bounds = capabilities(&["alarms/#", "a/+"], &["valve-1", "valve-2"], &["wasi:x"]);
        assert!(bounds.beyond(&bounds).is_empty());
        assert!(Capabilities::default().beyond(&bounds).is_empty());
        let within = capabilities(&["alarms/pump/+", "a/b"], &["valve-1"], &[]);
        assert!(within.beyond(&bounds).is_empty());
        assert_eq!(within.beyond(&Capabilities::default()), within);
    }

    #[test]
    fn nothing_is_within_bounds_by_adding_up() {
        let halves = capabilities(&["a/+", "a/+/#"], &[], &[]);
        let whole = capabilities(&["a/#"], &[], &[]);
        assert_eq!(whole.beyond(&halves), whole);
        assert!(halves.beyond(&whole).is_empty());
    }

    #[test]
    fn a_point_is_not_within_another_that_it_begins_with() {
        let bounds = capabilities(&[], &["valve"], &["wasi:sockets"]);
        let other = capabilities(&[], &["valve-1", "#"], &["wasi:sockets/tcp"]);
        assert_eq!(other.beyond(&bounds), other);
    }

    #[test]
    fn a_diff_tells_what_came_and_what_went() {
        let older = capabilities(&["alarms/#"], &["valve-1"], &[]);
        let newer = capabilities(&["alarms/pump", "status/pump"], &["valve-1"], &["wasi:x"]);
        let diff = PermissionDiff::between(&older, &newer);
        assert_eq!(diff.added, capabilities(&["status/pump"], &[], &["wasi:x"]));
        assert_eq!(diff.removed, capabilities(&["alarms/#"], &[], &[]));
        assert_eq!(
            PermissionDiff::between(&older, &older),
            PermissionDiff::default()
        );
    }
}
