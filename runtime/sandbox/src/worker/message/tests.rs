use super::*;
use crate::bindings::tidegate::module::types as wit;

/// A reply with something of everything.
fn reply() -> Reply {
    let value = |value| wit::NamedValue {
        name: "v".to_owned(),
        value,
    };
    let row = wit::Row {
        stream: "s".to_owned(),
        class: wit::Class::Summary,
        key: "k".to_owned(),
        time: 7,
        duration: u64::MAX,
        content: wit::Content::Values(vec![
            value(wit::Scalar::Boolean(true)),
            value(wit::Scalar::Integer(i64::MIN)),
            value(wit::Scalar::Number(f64::NEG_INFINITY)),
            value(wit::Scalar::Text("é".to_owned())),
        ]),
    };
    let document = wit::Row {
        content: wit::Content::Document(wit::Document {
            content_type: "image/png".to_owned(),
            bytes: vec![0, 255],
        }),
        ..row.clone()
    };
    let publication = wit::Publication {
        topic: "t".to_owned(),
        payload: vec![1],
        content_type: None,
        retain: true,
        delivery: wit::Delivery::Durable,
    };
    let command = wit::Command {
        point: "valve".to_owned(),
        value: wit::Scalar::Boolean(false),
        valid_for_ns: 5,
    };
    let effects = [
        wit::Effect::Keep(row),
        wit::Effect::Keep(document),
        wit::Effect::Publish(publication),
        wit::Effect::Actuate(command),
    ];
    let output = |effect| wit::Output {
        cause: Some(3),
        effect,
    };
    let change = |key: &str, value| StateChange {
        key: key.to_owned(),
        value,
    };
    Reply {
        result: Ok(Answer {
            outcome: Some(wit::Outcome {
                outputs: effects.map(output).into(),
                rejected: vec![wit::Rejection {
                    message: 1,
                    reason: "no number".to_owned(),
                }],
                wake_at: Some(9),
            }),
            wake_at: Some(BootTime(9)),
            state: vec![
                change("a", Some(Bytes::from_static(b"1"))),
                change("b", None),
            ],
            cost: Cost {
                cpu: Duration::from_nanos(1),
                wall: Duration::from_nanos(2),
            },
        }),
        said: Said {
            lines: vec![(Level::WARN, "careful".to_owned())],
            dropped: 2,
        },
    }
}

fn written(reply: &Reply) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_reply(&mut bytes, reply);
    bytes
}

#[test]
fn a_reply_is_read_as_it_was_written() {
    let failures = [
        Failure::Trap("unreachable".to_owned()),
        Failure::Deadline(50),
        Failure::Memory {
            wanted_mib: 40,
            limit_mib: 32,
        },
        Failure::Refused("r".to_owned()),
        Failure::Transient("t".to_owned()),
        Failure::Permanent("p".to_owned()),
    ];
    let failed = failures.map(|failure| Reply {
        result: Err(failure),
        said: Said::default(),
    });
    for reply in failed.into_iter().chain([reply()]) {
        let read = read_reply(&written(&reply)).unwrap();
        assert_eq!(format!("{read:?}"), format!("{reply:?}"));
    }
}

#[test]
fn what_is_no_reply_is_an_error_wherever_it_is_cut_or_changed() {
    let good = written(&reply());
    for cut in 0..good.len() {
        assert!(read_reply(&good[..cut]).is_err(), "cut at {cut}");
    }
    // Some changes leave a reply, which the gateway holds against the grants; none may do harm here.
    let mut refused = 0;
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[position] ^= 1 << bit;
            refused += usize::from(read_reply(&bad).is_err());
        }
    }
    assert!(refused > good.len(), "{refused} of {}", good.len() * 8);
}

#[test]
fn a_worker_cannot_claim_a_list_without_end_or_its_own_end() {
    // Lines of a log: 2^60 of them.
    let mut endless = vec![0x83, 0x9b];
    endless.extend((1_u64 << 60).to_be_bytes());
    let error = read_reply(&endless).unwrap_err();
    assert!(error.to_string().contains("limit is 131072"), "{error}");
    let ended = Reply {
        result: Err(Failure::Ended("it says so itself".to_owned())),
        said: Said::default(),
    };
    assert!(read_reply(&written(&ended)).is_err());
}

#[test]
fn a_call_is_read_as_it_was_written_with_the_state_or_without() {
    let state = [("k".to_owned(), Bytes::from_static(b"v"))].into();
    let parts = BatchParts::default();
    let call = Call {
        now: (WallTime(1), BootTime(2)),
        clock: ClockQuality::Synced,
        boot: BootId(3),
        state: &state,
        state_written_by: Some("1.0.0"),
        renew: false,
        batch: Some(&parts),
    };
    for with_state in [true, false] {
        let mut bytes = Vec::new();
        write_call(&mut bytes, &call, with_state);
        let asked = read_call(&bytes).unwrap();
        assert_eq!((asked.now, asked.boot), (call.now, call.boot));
        assert!(asked.batch.is_some_and(|parts| parts.is_empty()));
        let wanted = with_state.then(|| (state.clone(), Some("1.0.0")));
        assert_eq!(asked.state, wanted);
    }
}
