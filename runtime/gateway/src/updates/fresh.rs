//! What is told of how fresh the fleet's documents are here.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_bundle::{ClockQuality, Freshness};
use tidegate_update::Fresh;

use crate::lag::length;

/// For the operator.
pub(super) fn told(fresh: &Fresh, clock: ClockQuality) -> Value {
    let confirmed = match fresh.freshness {
        Freshness::Never => Value::Null,
        Freshness::Confirmed {
            seconds_ago,
            overdue,
        } => json!({"seconds_ago": seconds_ago, "exact": fresh.exact, "overdue": overdue}),
    };
    let kept_back = fresh.kept_back.map(|newest| newest.to_string());
    json!({"confirmed": confirmed, "kept_back": kept_back, "clock": clock})
}

/// The same in words, of the status of updates; none where there is no fleet, or nothing is taken.
pub(crate) fn text(updates: &Value) -> Option<String> {
    let fresh = updates.get("freshness")?;
    let confirmed = fresh.get("confirmed").and_then(|confirmed| {
        let seconds = confirmed.get("seconds_ago")?.as_u64()?;
        let is = |key: &str| confirmed.get(key) == Some(&Value::Bool(true));
        let at_least = if is("exact") { "" } else { "at least " };
        let overdue = if is("overdue") { ", overdue" } else { "" };
        let ago = length(Duration::from_secs(seconds));
        Some(format!(
            "confirmed by the centre {at_least}{ago} ago{overdue}"
        ))
    });
    let never = || "never confirmed by the centre".to_owned();
    let mut text = format!("nothing newer: {}", confirmed.unwrap_or_else(never));
    if let Some(newest) = fresh.get("kept_back").and_then(Value::as_str) {
        text.push_str(&format!("; newer documents are kept back: {newest}"));
    }
    if fresh.get("clock").and_then(Value::as_str) != Some("synced") {
        text.push_str("; no date counts, the clock is not synchronised");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_update::Newest;

    #[test]
    fn an_operator_reads_how_long_ago_and_what_is_kept_back() {
        let fresh = |seconds_ago, exact| Fresh {
            freshness: Freshness::Confirmed {
                seconds_ago,
                overdue: seconds_ago > 86_400,
            },
            exact,
            kept_back: None,
        };
        let words = |fresh: &Fresh, clock| {
            let updates = json!({"freshness": told(fresh, clock)});
            text(&updates).unwrap()
        };
        assert_eq!(
            words(&fresh(180, true), ClockQuality::Synced),
            "nothing newer: confirmed by the centre 3 min ago"
        );
        let alone = Fresh {
            kept_back: Some(Newest {
                root_version: 2,
                epoch: 1,
                seq: 7,
            }),
            ..fresh(8 * 86_400, false)
        };
        assert_eq!(
            words(&alone, ClockQuality::Unset),
            "nothing newer: confirmed by the centre at least 8 d ago, overdue; \
             newer documents are kept back: root 2, deployment 7 of epoch 1; \
             no date counts, the clock is not synchronised"
        );
        let never = Fresh {
            freshness: Freshness::Never,
            ..fresh(0, false)
        };
        assert_eq!(
            words(&never, ClockQuality::Synced),
            "nothing newer: never confirmed by the centre"
        );
        assert_eq!(text(&json!({"frozen": "why"})), None);
    }
}
