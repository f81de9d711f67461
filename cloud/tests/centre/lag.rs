//! How far the centre is behind: its API, its page and its metrics, by a clock that only the test turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tidegate_record::{BootId, BootTime, Clock, ClockQuality, WallTime};
use tidegate_wire::StreamLag;

use crate::client::Centre;
use crate::samples::{START_NS, lag, request};

/// Seconds since the start of the samples.
#[derive(Debug, Default)]
pub(crate) struct Turned(pub(crate) AtomicU64);

impl Clock for Turned {
    fn wall_time(&self) -> WallTime {
        WallTime(START_NS + self.0.load(Ordering::Relaxed) * 1_000_000_000)
    }
    fn quality(&self) -> ClockQuality {
        ClockQuality::Synced
    }
    fn boot_time(&self) -> BootTime {
        BootTime(self.0.load(Ordering::Relaxed) * 1_000_000_000)
    }
    fn boot(&self) -> BootId {
        BootId(7)
    }
}

struct Watched {
    centre: Centre,
    clock: Arc<Turned>,
}

impl Watched {
    async fn start() -> Self {
        let clock = Arc::<Turned>::default();
        let centre = Centre::with_clock(clock.clone()).await;
        Self { centre, clock }
    }

    /// At this second the gateway says so.
    async fn told(&self, seconds: u64, streams: Vec<StreamLag>) {
        self.clock.0.store(seconds, Ordering::Relaxed);
        let mut sent = request("gw-1", vec![]);
        sent.status.streams = streams;
        self.centre.client.sync(&sent).await;
    }

    /// What the centre says at this second.
    async fn get(&self, seconds: u64, path: &str) -> String {
        self.clock.0.store(seconds, Ordering::Relaxed);
        self.centre.client.get(path).await.text()
    }

    async fn stream(&self, seconds: u64, index: usize) -> Value {
        let answer = self.get(seconds, "/v1/gateways/gw-1/lag").await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["streams"][index].clone()
    }
}

#[tokio::test]
async fn a_silent_gateway_misses_its_objective_by_the_centres_own_clock() {
    let watched = Watched::start().await;
    let streams = vec![lag("calm", 0, 0, None), lag("readings", 0, 0, Some(60))];
    watched.told(0, streams).await;
    let met = watched.stream(60, 1).await;
    assert_eq!(
        (&met["lag_s"], &met["missed_since"]),
        (&json!(60.0), &Value::Null)
    );
    assert!(!watched.get(60, "/").await.contains("data-behind"));
    let missed = watched.stream(90, 1).await;
    assert_eq!(missed["lag_s"], 90.0);
    assert_eq!(missed["missed_since"], "2026-11-21T07:31:00.000000000Z");
    assert!(watched.get(90, "/").await.contains(r#"data-behind="1""#));
    let page = watched.get(90, "/gateways/gw-1").await;
    for part in [
        r#"<tr data-lag="90" data-stream="readings" data-missed="yes">"#,
        r#"<tr data-lag="90" data-stream="calm" data-missed="no">"#,
        "counted on from here",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let metrics = watched.get(90, "/metrics").await;
    for line in [
        r#"tidegate_stream_lag_seconds{gateway="gw-1",stream="readings"} 90"#,
        r#"tidegate_stream_lag_objective_seconds{gateway="gw-1",stream="readings"} 60"#,
        r#"tidegate_stream_lag_objective_missed{gateway="gw-1",stream="readings"} 1"#,
        r#"tidegate_gateway_silence_seconds{gateway="gw-1"} 90"#,
        "tidegate_centre_syncs_total 1",
    ] {
        assert!(
            metrics.contains(&format!("{line}\n")),
            "{line} is not in {metrics}"
        );
    }
    assert!(metrics.ends_with("# EOF\n"));
    // It is heard of, and nothing waited.
    watched
        .told(100, vec![lag("readings", 0, 0, Some(60))])
        .await;
    let met = watched.stream(100, 0).await;
    assert_eq!(
        (&met["lag_s"], &met["missed_since"]),
        (&json!(0.0), &Value::Null)
    );
}

#[tokio::test]
async fn the_history_knows_the_silence_from_what_is_told_after_it() {
    let watched = Watched::start().await;
    watched
        .told(0, vec![lag("a", 0, 0, None), lag("b", 0, 0, None)])
        .await;
    // After ten minutes: rows of one stream wait since the third, of the other none came.
    watched
        .told(600, vec![lag("a", 70, 420, None), lag("b", 0, 0, None)])
        .await;
    watched
        .told(605, vec![lag("a", 0, 0, None), lag("b", 0, 0, None)])
        .await;
    let newest = |stream: &Value| -> Vec<u64> {
        let worst = stream["worst_s"].as_array().unwrap().iter().rev();
        worst
            .take(11)
            .map(|worst| worst.as_u64().unwrap())
            .collect()
    };
    let a = watched.stream(620, 0).await;
    assert_eq!(a["worst_s"].as_array().unwrap().len(), 24 * 60);
    assert_eq!(newest(&a), [420, 420, 360, 300, 240, 180, 120, 60, 0, 0, 0]);
    assert_eq!(newest(&watched.stream(620, 1).await), [0; 11]);
    let hours = watched.get(660, "/v1/gateways/gw-1/lag?step=hour").await;
    let hours: Value = serde_json::from_str(&hours).unwrap();
    assert_eq!(
        hours["streams"][0]["worst_s"].as_array().unwrap().len(),
        31 * 24
    );
    assert_eq!(hours["streams"][0]["worst_s"][31 * 24 - 1], 420);
    // The chart of the page has a bar for this hour.
    let page = watched.get(660, "/gateways/gw-1").await;
    assert!(page.contains(r#"d="M71 20v-20h1V20z""#), "{page}");

    let beyond = watched.get(660 + 24 * 3600, "/v1/gateways/gw-1/lag").await;
    let beyond: Value = serde_json::from_str(&beyond).unwrap();
    assert_eq!(beyond["silent"], true);
    let bad = watched.get(660, "/v1/gateways/gw-1/lag?step=day").await;
    assert!(bad.contains("step is minute or hour"), "{bad}");
}

#[tokio::test]
async fn a_gateway_that_tells_of_no_stream_is_shown_without_them() {
    let watched = Watched::start().await;
    watched.told(0, Vec::new()).await;
    assert!(
        !watched
            .get(1000, "/gateways/gw-1")
            .await
            .contains("data-lag")
    );
    let none = watched.get(1000, "/v1/gateways/gw-1/lag").await;
    assert!(none.contains(r#""streams":[]"#), "{none}");
}
