use proptest::prelude::*;

use super::*;
use crate::Fault;

#[test]
fn one_absurd_time_closes_no_window() -> Result<(), Fault> {
    let mut host = host::<moments>();
    host.send("press-7", 1.0)?;
    let absurd = device(&host, year("2099"));
    host.send_batch(vec![absurd])?;
    host.send("press-7", 1.0)?;
    assert_eq!(
        host.rejected()[0].1,
        "ahead: 639912.0 h ahead of the gateway's clock, the limit is 1.0 h"
    );
    host.settle()?;
    assert_eq!(counts(&host), [2]);
    Ok(())
}

#[test]
fn a_wrong_clock_poisons_nothing_for_longer_than_it_lasts() -> Result<(), Fault> {
    let mut host = host::<moments>();
    let device = device(&host, year("2099"));
    host.set_clock(WallTime(0), ClockQuality::Unset);
    host.send_batch(vec![device])?;
    host.set_clock(START, ClockQuality::Synced);
    host.send("press-7", 1.0)?;
    host.send("press-7", 1.0)?;
    host.settle()?;
    assert_eq!(host.rejected(), []);
    assert_eq!(counts(&host), [1, 2]);
    Ok(())
}

#[test]
fn messages_of_an_unset_clock_neither_close_windows_nor_are_late() -> Result<(), Fault> {
    let mut host = host::<moments>();
    host.send("press-7", 1.0)?;
    host.reboot();
    host.set_clock(WallTime(5_000_000_000), ClockQuality::Unset);
    host.send("press-7", 1.0)?;
    host.send("press-7", 1.0)?;
    host.reboot();
    host.set_clock(WallTime(2_000_000_000), ClockQuality::Unset);
    host.send("press-7", 1.0)?;
    host.set_clock(START, ClockQuality::Synced);
    host.send("press-7", 1.0)?;
    host.settle()?;
    assert_eq!(host.rejected(), []);
    assert_eq!(counts(&host), [2, 1, 2]);
    Ok(())
}

#[test]
fn without_a_clock_one_device_time_of_2099_closes_no_window() -> Result<(), Fault> {
    let mut host = host::<moments>();
    host.set_clock(WallTime(0), ClockQuality::Unset);
    for time in [
        START,
        START.plus(seconds(1)),
        year("2099"),
        START.plus(seconds(3)),
    ] {
        send_at(&mut host, time)?;
        host.restart();
    }
    host.settle()?;
    assert_eq!(counts(&host), [3]);
    assert!(
        reasons(&host)[0].ends_with("h ahead of the readings before it, the limit is 1.0 h"),
        "{:?}",
        reasons(&host)
    );
    assert_eq!(host.rejected().len(), 1);
    Ok(())
}

#[test]
fn without_a_clock_a_first_device_time_that_is_wrong_is_outvoted() -> Result<(), Fault> {
    let mut host = host::<moments>();
    host.set_clock(WallTime(0), ClockQuality::Unset);
    for time in [year("2099"), START, START.plus(seconds(1))] {
        send_at(&mut host, time)?;
    }
    host.settle()?;
    assert_eq!((counts(&host), reasons(&host).len()), (vec![1, 2], 0));

    let mut host = self::host::<moments>();
    host.set_clock(WallTime(0), ClockQuality::Unset);
    for time in [WallTime(0), START, START.plus(seconds(1)), START] {
        send_at(&mut host, time)?;
    }
    host.settle()?;
    assert_eq!((counts(&host), reasons(&host).len()), (vec![1, 2], 1));
    Ok(())
}

#[test]
fn a_device_clock_that_is_set_is_followed_even_without_a_clock_of_our_own() -> Result<(), Fault> {
    let mut host = host::<moments>();
    host.set_clock(WallTime(0), ClockQuality::Unset);
    for second in 0..10 {
        send_at(&mut host, WallTime(0).plus(seconds(second)))?;
        host.advance(seconds(1))?;
    }
    for second in 0..10 {
        send_at(&mut host, START.plus(seconds(second)))?;
        host.advance(seconds(1))?;
    }
    host.settle()?;
    // The first readings after the jump are in the minority of five.
    assert_eq!(counts(&host), [10, 8]);
    assert_eq!(host.rejected().len(), 2);
    Ok(())
}

#[test]
fn a_time_beyond_all_clocks_is_refused_even_without_one() -> Result<(), Fault> {
    let mut host = host::<hops::moments>();
    host.set_clock(WallTime(0), ClockQuality::Unset);
    send_at(&mut host, WallTime(u64::MAX))?;
    send_at(&mut host, WallTime(u64::MAX / 2))?;
    send_at(&mut host, WallTime(0))?;
    host.settle()?;
    assert_eq!(host.rejected().len(), 1);
    assert!(reasons(&host)[0].starts_with("ahead: "));
    Ok(())
}

#[test]
fn how_far_ahead_is_believed_is_configured() -> Result<(), Fault> {
    let mut host = host::<moments>().config("window.ahead", "5s");
    let limit = host.now().plus(seconds(5));
    send_at(&mut host, limit)?;
    send_at(&mut host, limit.plus(seconds(1)))?;
    let reason = "ahead: 6.0 s ahead of the gateway's clock, the limit is 5.0 s";
    assert_eq!(reasons(&host), [reason]);
    Ok(())
}

/// Messages of every clock that a gateway can have, one a second, three for each.
fn count_through_jumps<P: Processor>(clocks: &[(WallTime, ClockQuality)]) -> Host<P> {
    let mut host = host::<P>();
    for (now, quality) in clocks {
        host.set_clock(*now, *quality);
        for _ in 0..3 {
            host.send("press-7", 1.0).unwrap();
            host.advance(seconds(1)).unwrap();
        }
    }
    host.settle().unwrap();
    host
}

#[test]
fn a_gateway_clock_that_jumps_by_fifty_years_stalls_and_doubles_nothing() {
    use ClockQuality::{HeldOver, Synced, Unset};
    let clocks = [
        (START.plus(seconds(1)), Synced),
        (year("2076"), Synced),
        (START.plus(seconds(7)), Synced),
        (year("1976"), HeldOver),
        (START.plus(seconds(13)), Synced),
        (WallTime(0), Unset),
        (START.plus(seconds(19)), Synced),
    ];
    let host = count_through_jumps::<moments>(&clocks);
    assert_eq!(reasons(&host), [""; 0]);
    assert_eq!(counts(&host).iter().sum::<i64>(), 21);
    let mut identities: Vec<_> = host
        .kept()
        .iter()
        .map(|row| (row.time, row.duration))
        .collect();
    identities.sort_unstable();
    identities.dedup();
    assert_eq!(identities.len(), host.kept().len(), "{identities:?}");
}

#[test]
fn a_clock_that_is_set_back_between_receipt_and_call_makes_no_message_absurd() -> Result<(), Fault>
{
    let mut host = host::<moments>();
    let message = host.message("press-7", 1.0);
    host.set_clock(year("1976"), ClockQuality::Synced);
    host.send_batch(vec![message])?;
    host.send("press-7", 1.0)?;
    host.settle()?;
    assert_eq!((counts(&host), reasons(&host).len()), (vec![2], 0));
    Ok(())
}

#[test]
fn windows_that_hop_or_slide_go_on_through_a_jump_as_well() {
    use ClockQuality::Synced;
    let clocks = [
        (START, Synced),
        (year("2076"), Synced),
        (START.plus(seconds(6)), Synced),
        (year("1976"), Synced),
        (START.plus(seconds(12)), Synced),
    ];
    let host = count_through_jumps::<hops::moments>(&clocks);
    assert_eq!(reasons(&host), [""; 0]);
    assert_eq!(ends(&host).last(), Some(&(40, 3)));
    let host = count_through_jumps::<slides::moments>(&clocks);
    assert_eq!(reasons(&host), [""; 0]);
    assert_eq!(ends(&host).last(), Some(&(20, 3)));
}

#[test]
fn a_clock_that_is_set_back_a_little_makes_no_message_late() -> Result<(), Fault> {
    let mut host = host::<moments>();
    for _ in 0..60 {
        host.send("press-7", 1.0)?;
        host.advance(seconds(1))?;
    }
    // After weeks on its own the clock was two minutes fast.
    let right = host.now().minus(seconds(120));
    host.set_clock(right, ClockQuality::Synced);
    for _ in 0..60 {
        host.send("press-7", 1.0)?;
        host.advance(seconds(1))?;
    }
    host.settle()?;
    assert_eq!(reasons(&host), [""; 0]);
    assert_eq!(counts(&host).iter().sum::<i64>(), 120);
    assert!(counts(&host).iter().all(|count| *count <= 11));
    let starts: Vec<WallTime> = host.kept().iter().map(|row| row.time).collect();
    assert!(starts.is_sorted_by(|first, second| first < second));
    Ok(())
}

fn year(year: &str) -> WallTime {
    format!("{year}-01-01T00:00:00Z").parse().unwrap()
}

/// A clock that a gateway may find itself with, from one moment to the next.
fn clock() -> impl Strategy<Value = (WallTime, ClockQuality)> {
    let any_quality = prop_oneof![
        Just(ClockQuality::Unset),
        Just(ClockQuality::HeldOver),
        Just(ClockQuality::Synced)
    ];
    let now = prop_oneof![
        Just(WallTime(0)),
        Just(year("1976")),
        Just(year("2076")),
        Just(START.minus(seconds(7200))),
        (0..300_u64).prop_map(|at| START.plus(seconds(at))),
    ];
    (now, any_quality)
}

proptest! {
    #[test]
    fn whatever_the_gateway_clock_does_each_message_is_in_one_row(
        clocks in prop::collection::vec((clock(), 0..6_usize, 0..15_u64, any::<bool>()), 0..40),
    ) {
        let mut host = host::<moments>();
        let mut sent = 0;
        for ((now, quality), messages, pause, restart) in clocks {
            host.set_clock(now, quality);
            for _ in 0..messages {
                host.send("press-7", 1.0).unwrap();
                sent += 1;
            }
            host.advance(seconds(pause)).unwrap();
            if restart {
                host.restart();
            }
        }
        host.settle().unwrap();
        prop_assert_eq!(reasons(&host), [""; 0]);
        prop_assert_eq!(counts(&host).iter().sum::<i64>(), sent);
    }
}
