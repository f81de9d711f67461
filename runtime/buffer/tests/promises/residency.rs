//! Rows that may not leave stay, whatever asks for them.

use std::collections::{BTreeSet, HashMap};

use tidegate_buffer::{Destination, Export, Residency};
use tidegate_record::{Applied, Class, Outbox};

use crate::rig::{Rig, name, nothing, row};

fn residency(decided: &[&str], withheld: &[(&str, Destination)]) -> Residency {
    Residency {
        decided: decided.iter().map(|stream| name(stream)).collect(),
        withheld: withheld
            .iter()
            .map(|(stream, at)| (name(stream), *at))
            .collect(),
    }
}

/// Streams of which a destination is offered rows, after a restart with these words.
async fn offered(rig: &Rig, said: Option<Residency>, at: Destination) -> BTreeSet<String> {
    let mut buffer = rig.buffer().await.unwrap();
    if let Some(said) = said {
        buffer.reside(&said).await.unwrap();
    }
    let open = crate::rig::run(buffer);
    let outbox = open.handle.outbox(at);
    let next = outbox.next(100, Class::Raw).await.unwrap();
    assert_eq!(next.is_empty(), outbox.rows_waiting() == 0);
    let offered = next.iter().map(|(of, _)| of.stream.to_string()).collect();
    drop(outbox);
    open.close().await;
    offered
}

fn streams(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn rows_that_may_not_leave_are_offered_to_nobody_and_are_in_no_export_until_somebody_decides_otherwise()
 {
    let rig = Rig::new();
    let open = rig.open().await;
    for stream in ["alarms", "secrets"] {
        open.commit(Applied {
            rows: vec![(row(stream, 1), None)],
            ..nothing()
        })
        .await;
    }
    open.close().await;
    let both = streams(&["alarms", "secrets"]);
    assert_eq!(offered(&rig, None, Destination::First).await, both);
    let stays = residency(&["secrets"], &[("secrets", Destination::First)]);
    let alone = streams(&["alarms"]);
    assert_eq!(offered(&rig, Some(stays), Destination::First).await, alone);
    assert_eq!(offered(&rig, None, Destination::Second).await, both);
    // The module is gone, and nobody says anything of its stream any more.
    let silent = residency(&["alarms"], &[]);
    assert_eq!(offered(&rig, Some(silent), Destination::First).await, alone);

    let open = rig.open().await;
    open.handle.export().await.unwrap();
    let mut export = Export::open(&rig.config().path).await.unwrap();
    export.begin(&HashMap::new()).await.unwrap();
    let rows = export
        .next(100, tidegate_record::WallTime(0))
        .await
        .unwrap();
    let exported = rows.iter().map(|(of, _)| of.stream.to_string());
    assert_eq!(exported.collect::<BTreeSet<_>>(), alone);
    open.close().await;

    let free = residency(&["secrets"], &[]);
    assert_eq!(offered(&rig, Some(free), Destination::First).await, both);
}
