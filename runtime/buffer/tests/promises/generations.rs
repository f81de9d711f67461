//! One generation of a module after the other: each finds its own state.

use bytes::Bytes;
use tidegate_buffer::{Generations, ModuleState};
use tidegate_record::{Applied, StandBy, StateChange, Switch};

use crate::rig::{Rig, name, nothing};

fn put(key: &str, value: &'static str) -> StateChange {
    StateChange {
        key: key.into(),
        value: Some(Bytes::from(value)),
    }
}

fn by(generation: u64, version: &str) -> Applied {
    Applied {
        generation,
        version: version.into(),
        ..nothing()
    }
}

/// A switch to generation 2 with a state of its own.
fn forward(entries: Vec<StateChange>) -> Applied {
    Applied {
        switch: Some(Switch::Forward {
            state: Some(entries),
            written_by: Some("2.0.0".into()),
        }),
        ..by(2, "2.0.0")
    }
}

/// What is found of the module after a restart: generations, state of the active one, of the one that stands by.
async fn found(rig: &Rig) -> (Generations, String, String) {
    let mut buffer = rig.buffer().await.unwrap();
    let restored = buffer.restore(&name("module")).await.unwrap();
    let text = |state: ModuleState| {
        let entries = state.entries.iter();
        let entries = entries.map(|(key, value)| format!("{key}={}", value.escape_ascii()));
        let entries: Vec<_> = entries.collect();
        format!(
            "{} by {}",
            entries.join(" "),
            state.written_by.unwrap_or_default()
        )
    };
    (
        restored.generations,
        text(restored.active),
        text(restored.standby),
    )
}

async fn commit(rig: &Rig, all: Vec<Applied>) {
    let open = rig.open().await;
    for applied in all {
        open.commit(applied).await;
    }
    open.close().await;
}

fn old() -> Applied {
    Applied {
        state: vec![put("count", "7"), put("only-old", "x")],
        ..by(1, "1.0.0")
    }
}

fn standing_by(value: &'static str) -> Option<StandBy> {
    Some(StandBy {
        version: "1.0.0".into(),
        state: vec![put("count", value)],
    })
}

#[tokio::test]
async fn after_a_switch_each_generation_goes_on_with_its_own_state() {
    let rig = Rig::new();
    let follow = Applied {
        state: vec![put("total", "8")],
        standby: standing_by("8"),
        ..by(2, "2.0.0")
    };
    commit(&rig, vec![old(), forward(vec![put("total", "7")]), follow]).await;
    let (generations, active, standby) = found(&rig).await;
    assert_eq!((generations.active, generations.standby), (2, Some(0)));
    assert_eq!(active, "total=8 by 2.0.0");
    assert_eq!(standby, "count=8 only-old=x by 1.0.0");
}

#[tokio::test]
async fn going_back_gives_back_the_state_with_what_was_taken_in_the_meantime() {
    let rig = Rig::new();
    let follow = Applied {
        state: vec![put("total", "8")],
        standby: standing_by("8"),
        ..by(2, "2.0.0")
    };
    // The message in hand is done by the one that takes over again, in the same commit.
    let back = Applied {
        switch: Some(Switch::Back),
        state: vec![put("count", "9")],
        ..by(0, "1.0.0")
    };
    commit(
        &rig,
        vec![old(), forward(vec![put("total", "7")]), follow, back],
    )
    .await;
    let (generations, active, standby) = found(&rig).await;
    assert_eq!((generations.active, generations.standby), (0, None));
    assert_eq!(active, "count=9 only-old=x by 1.0.0");
    assert_eq!(standby, " by ");
}

#[tokio::test]
async fn when_nothing_stands_by_any_more_its_state_is_gone_and_there_is_no_way_back() {
    let rig = Rig::new();
    let settle = Applied {
        switch: Some(Switch::Settle),
        ..by(2, "2.0.0")
    };
    let back = Applied {
        switch: Some(Switch::Back),
        ..by(2, "2.0.0")
    };
    commit(
        &rig,
        vec![old(), forward(vec![put("total", "7")]), settle, back],
    )
    .await;
    let (generations, active, standby) = found(&rig).await;
    assert_eq!((generations.active, generations.standby), (2, None));
    assert_eq!(
        (active.as_str(), standby.as_str()),
        ("total=7 by 2.0.0", " by ")
    );
}

#[tokio::test]
async fn a_module_that_does_not_run_is_switched_with_a_copy_of_its_state() {
    let rig = Rig::new();
    commit(&rig, vec![old()]).await;
    let copy = Switch::Forward {
        state: None,
        written_by: None,
    };
    let mut buffer = rig.buffer().await.unwrap();
    buffer.switch(&name("module"), 3, &copy).await.unwrap();
    drop(buffer);
    let (generations, active, standby) = found(&rig).await;
    assert_eq!((generations.active, generations.standby), (3, Some(0)));
    assert_eq!(active, "count=7 only-old=x by 1.0.0");
    assert_eq!(standby, active);
}

#[tokio::test]
async fn switches_that_share_a_commit_take_effect_in_their_order() {
    let rig = Rig::new();
    let open = rig.open().await;
    let back = Applied {
        switch: Some(Switch::Back),
        ..by(0, "1.0.0")
    };
    let late = Applied {
        state: vec![put("count", "8")],
        ..by(0, "1.0.0")
    };
    // Sent at once: they are committed together.
    for applied in [old(), forward(vec![put("total", "7")]), back, late] {
        open.applied.send(applied).await.unwrap();
    }
    open.close().await;
    let (generations, active, _) = found(&rig).await;
    assert_eq!((generations.active, generations.standby), (0, None));
    assert_eq!(active, "count=8 only-old=x by 1.0.0");
}

#[tokio::test]
async fn a_damaged_state_that_stands_by_is_given_up_and_the_active_one_is_kept() {
    let rig = Rig::new();
    commit(&rig, vec![old(), forward(vec![put("total", "7")])]).await;
    let mut database = rig.database().await;
    sqlx::query("UPDATE standby SET value = x'00' WHERE key = 'count'")
        .execute(&mut database)
        .await
        .unwrap();
    drop(database);
    let (generations, active, standby) = found(&rig).await;
    assert_eq!((generations.active, generations.standby), (2, None));
    assert_eq!(
        (active.as_str(), standby.as_str()),
        ("total=7 by 2.0.0", " by ")
    );
}
