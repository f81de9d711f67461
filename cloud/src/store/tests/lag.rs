//! The history of lags.

use std::time::Duration;

use super::*;
use crate::lag::{Sample, Step};
use crate::samples::lag;

const SECOND: u64 = 1_000_000_000;

/// At this second the gateway says that its streams lag by so many seconds.
async fn told(store: &impl Store, seconds: u64, lags: &[(&str, u64)]) {
    let mut sent = request("gw-1", vec![]);
    let streams = lags.iter();
    sent.status.streams = streams
        .map(|(stream, seconds)| lag(stream, 1, *seconds, None))
        .collect();
    let received = WallTime(START_NS + seconds * SECOND);
    let checked = Checked::new(sent).unwrap();
    store.commit(&id("gw-1"), &checked, received).await.unwrap();
}

async fn kept(store: &impl Store, step: Step) -> Vec<(String, u64, u64)> {
    let samples = store.lags(&id("gw-1"), step, WallTime(START_NS)).await;
    let told = |sample: Sample| {
        let at = (sample.at.0 - START_NS) / SECOND;
        (sample.stream.to_string(), at, sample.lag.as_secs())
    };
    samples.unwrap().into_iter().map(told).collect()
}

fn sample(stream: &str, at: u64, lag: u64) -> (String, u64, u64) {
    (stream.to_owned(), at, lag)
}

pub(super) async fn the_largest_lag_of_each_minute_and_hour_is_kept(place: &impl Place) {
    let store = place.open().await;
    told(&store, 0, &[("a", 30), ("b", 0)]).await;
    told(&store, 5, &[("a", 20), ("b", 9)]).await;
    told(&store, 59, &[("a", 31), ("b", 12)]).await;
    told(&store, 60, &[("a", 15)]).await;
    let minutes = kept(&store, Step::Minute).await;
    let expected = [
        sample("a", 59, 31),
        sample("b", 59, 12),
        sample("a", 60, 15),
    ];
    assert_eq!(minutes, expected);
    let hours = kept(&store, Step::Hour).await;
    assert_eq!(hours, [sample("a", 59, 31), sample("b", 59, 12)]);
    let other = store.lags(&id("gw-2"), Step::Minute, WallTime(0)).await;
    assert_eq!(other.unwrap(), []);
}

pub(super) async fn lags_are_forgotten_when_newer_ones_come(place: &impl Place) {
    let store = place.open().await;
    let day = 24 * 3600;
    told(&store, 0, &[("a", 30)]).await;
    told(&store, 60, &[("a", 40)]).await;
    told(&store, day, &[("a", 50)]).await;
    let minutes = kept(&store, Step::Minute).await;
    assert_eq!(minutes, [sample("a", 60, 40), sample("a", day, 50)]);
    assert_eq!(kept(&store, Step::Hour).await.len(), 2);
    told(&store, 32 * day, &[("a", 60)]).await;
    assert_eq!(kept(&store, Step::Hour).await, [sample("a", 32 * day, 60)]);
    assert_eq!(kept(&store, Step::Minute).await.len(), 1);
}

pub(super) async fn absurd_lags_are_held_and_answered(place: &impl Place) {
    let store = place.open().await;
    told(&store, 0, &[("a", u64::MAX)]).await;
    let kept = kept(&store, Step::Hour).await;
    assert_eq!(kept.len(), 1);
    let century = Duration::from_secs(100 * 365 * 86_400);
    assert_eq!(kept[0].2, century.as_secs());
}
