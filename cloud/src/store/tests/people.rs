//! Tokens, sessions and the audit log.

use tidegate_bundle::Digest;

use super::*;
use crate::access::{Person, Role, Token};
use crate::audit::verify;
use crate::store::audit::Event;
use crate::store::credentials::{Added, SESSIONS_MAX};

fn token(called: &str, expires: Option<u64>) -> Token {
    Token {
        person: Person {
            tenant: Tenant::default(),
            name: name(called),
            role: Role::Operator,
        },
        created: WallTime(1),
        expires: expires.map(WallTime),
        used: None,
    }
}

fn secret(number: u64) -> Digest {
    Digest::of(&number.to_be_bytes())
}

pub(super) async fn a_token_is_known_by_its_digest_until_it_expires(place: &impl Place) {
    let store = place.open().await;
    let anna = token("anna", Some(100));
    assert_eq!(
        store.add_token(&anna, secret(1)).await.unwrap(),
        Added::Kept
    );
    let again = store.add_token(&token("anna", None), secret(2)).await;
    assert_eq!(again.unwrap(), Added::NameTaken);
    store.close().await;

    let store = place.open().await;
    let known = async |number, now| store.by_token(secret(number), WallTime(now)).await.unwrap();
    assert_eq!(known(1, 99).await, Some(anna.person.clone()));
    assert_eq!(known(1, 100).await, None);
    assert_eq!(known(2, 99).await, None);
    let used = store.tokens(&Tenant::default()).await.unwrap();
    assert_eq!(used[0].used, Some(WallTime(99)));
    // A session does not outlive its token.
    let open = store.open_session(secret(7), secret(1), WallTime(5), WallTime(1000));
    open.await.unwrap();
    for (now, expected) in [(99, Some(anna.person)), (100, None)] {
        let found = store.by_session(secret(7), WallTime(now)).await.unwrap();
        assert_eq!(found, expected, "at {now}");
    }
}

pub(super) async fn a_session_ends_in_time_and_a_further_one_ends_the_oldest(place: &impl Place) {
    let store = place.open().await;
    store
        .add_token(&token("anna", None), secret(0))
        .await
        .unwrap();
    let most = u64::from(SESSIONS_MAX);
    for number in 1..=most + 1 {
        let (now, end) = (WallTime(number), WallTime(1000));
        let open = store.open_session(secret(number), secret(0), now, end);
        open.await.unwrap();
    }
    let known = async |number, now| {
        let found = store.by_session(secret(number), WallTime(now)).await;
        found.unwrap().is_some()
    };
    assert!(!known(1, 500).await && known(2, 500).await && known(most + 1, 999).await);
    assert!(!known(2, 1000).await);
    store.close_session(secret(2)).await.unwrap();
    assert!(!known(2, 500).await && known(3, 500).await);
}

pub(super) async fn several_processes_write_one_chain(place: &impl Place) {
    let (one, other) = (place.open().await, place.open().await);
    let tenant = Tenant::default();
    let event = Event::of_nobody("GET /", "", "bad-token");
    let write = async |first: bool| {
        let store = if first { &one } else { &other };
        for time in 1..=10 {
            let noted = store.note(&tenant, &event, WallTime(time)).await;
            noted.unwrap();
        }
    };
    futures_util::future::join(write(true), write(false)).await;
    assert_eq!(verify(&one, &tenant, None).await.unwrap().rows, 20);
    let newest = other.entries_before(&tenant, u64::MAX, 3).await.unwrap();
    let numbers: Vec<_> = newest.items.iter().map(|entry| entry.number).collect();
    assert_eq!((numbers, newest.more), (vec![20, 19, 18], true));
}
