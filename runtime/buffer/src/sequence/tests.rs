use super::Destination::{First, Second as Other};
use super::*;

fn epoch(ordinal: u64) -> Epoch {
    Epoch { ordinal, random: 7 }
}

fn of(ordinal: u64) -> StreamEpoch {
    StreamEpoch {
        stream: Name::new("alarms").unwrap(),
        epoch: epoch(ordinal),
    }
}

fn mark(seq: u64) -> [Mark; 1] {
    [Mark { of: of(1), seq }]
}

/// In the second epoch; of the first, five rows were kept, two are held by the centre and one of those is deleted.
fn sequence() -> Sequence {
    let earlier = Extent {
        mark: 2,
        sent: 2,
        last: 5,
        trimmed: 1,
        ..Extent::new(of(1))
    };
    Sequence::new(
        epoch(2),
        BTreeMap::from([((1, 1), earlier)]),
        None,
        Boots::new(),
    )
}

#[test]
fn numbers_start_at_one_in_each_epoch_and_have_no_gaps() {
    let mut sequence = sequence();
    let name = of(1).stream;
    assert_eq!(sequence.next(1, &name), (1, true));
    assert_eq!(sequence.next(1, &name), (2, false));
    assert_eq!(sequence.rows_waiting(First), 5);
    sequence.begin(epoch(3));
    assert_eq!(sequence.next(1, &name), (1, true));
    assert_eq!(
        (
            sequence.rows_waiting(First),
            sequence.rows_waiting_now(First)
        ),
        (6, 1)
    );
}

#[test]
fn a_mark_beyond_what_was_written_is_refused() {
    let mut sequence = sequence();
    assert!(sequence.acknowledge(First, &mark(2)).is_empty());
    let moved = sequence.acknowledge(First, &mark(4));
    assert_eq!((moved[0].before, moved[0].mark), (2, 4));
    assert_eq!(sequence.rows_waiting(First), 1);
    let name = of(2).stream;
    sequence.next(1, &name);
    let now = |seq| [Mark { of: of(2), seq }];
    assert!(sequence.acknowledge(First, &now(2)).is_empty());
    assert_eq!(sequence.acknowledge(First, &now(1))[0].mark, 1);
}

#[test]
fn a_centre_that_holds_more_of_an_earlier_epoch_than_is_known_here_is_believed() {
    for claim in [6, 60, u64::MAX] {
        let mut sequence = sequence();
        assert_eq!(sequence.rows_waiting(First), 3);
        // As far as there are rows: a number of its own making is not written down.
        assert_eq!(sequence.acknowledge(First, &mark(claim))[0].mark, 5);
        assert_eq!(sequence.rows_waiting(First), 0);
        assert!(sequence.acknowledge(First, &mark(claim)).is_empty());
    }
}

#[test]
fn a_mark_that_goes_back_brings_rows_back_and_names_those_that_cannot_come() {
    let mut sequence = sequence();
    sequence.acknowledge(First, &mark(5));
    let moved = sequence.acknowledge(First, &mark(1));
    assert_eq!((moved[0].before, moved[0].mark), (5, 1));
    assert_eq!(sequence.rows_waiting(First), 4);
    let skipped = |sequence: &Sequence| sequence.extents[&(1, 1)].skipped(First, None);
    assert_eq!(skipped(&sequence), None);
    sequence.acknowledge(First, &mark(0));
    assert_eq!(skipped(&sequence), Some((1, Reason::Forgotten)));
    assert_eq!(sequence.rows_waiting(First), 5);
}

#[test]
fn a_stand_in_gets_what_the_first_lacks_and_a_mirror_everything() {
    let mut sequence = sequence();
    assert_eq!(sequence.rows_waiting(Other), 5);
    let skipped = |sequence: &Sequence, at, rule| sequence.extents[&(1, 1)].skipped(at, rule);
    let (failover, mirror) = (Some(Second::Failover), Some(Second::Mirror));
    let elsewhere = |to| Some((to, Reason::Elsewhere));
    assert_eq!(skipped(&sequence, Other, failover), elsewhere(2));
    assert_eq!(skipped(&sequence, Other, mirror), elsewhere(1));
    sequence.acknowledge(Other, &mark(4));
    let extent = sequence.extents.get_mut(&(1, 1)).unwrap();
    let held = [None, failover, mirror].map(|rule| extent.held(rule));
    assert_eq!(held, [2, 4, 2]);
    // What is deleted here because the second holds it comes to the first as an entry.
    extent.trimmed = 4;
    assert_eq!(skipped(&sequence, First, failover), elsewhere(4));
    assert_eq!(sequence.rows_waiting(First), 3);
}

#[test]
fn alarms_come_out_first_and_what_the_present_brings_before_the_backlog() {
    let mut sequence = sequence();
    let name = of(1).stream;
    for _ in 0..9 {
        sequence.next(1, &name);
    }
    let order = |sequence: &Sequence, least| -> Vec<_> {
        let waiting = sequence.waiting(First, least).into_iter();
        waiting.map(|(place, _)| place.1).collect()
    };
    assert_eq!(order(&sequence, Class::Raw), [2, 1]);
    assert!(order(&sequence, Class::Alarm).is_empty());
    let backlog = sequence.extents.get_mut(&(1, 1)).unwrap();
    backlog.usage.add(Class::Alarm, 100);
    assert_eq!(order(&sequence, Class::Raw), [1, 2]);
    assert_eq!(order(&sequence, Class::Alarm), [1]);
    assert_eq!(sequence.known(false), [of(2), of(1)]);
    assert_eq!(sequence.known(true), [of(2)]);
}

#[test]
fn places_of_which_nothing_is_left_are_remembered_up_to_a_bound_and_the_oldest_forgotten() {
    let mut sequence = sequence();
    for ordinal in 10..10 + PLACES_MAX as u64 {
        sequence
            .extents
            .insert((1, ordinal), Extent::new(of(ordinal)));
    }
    assert_eq!(sequence.forget(), [(1, 10)]);
    assert!(sequence.forget().is_empty());
    sequence.extents.insert((1, 9), Extent::new(of(9)));
    assert_eq!(sequence.forget(), [(1, 9)]);
}
