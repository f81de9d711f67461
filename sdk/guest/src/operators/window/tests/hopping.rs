use super::*;
use crate::Fault;

/// A message `at` so many seconds after the start, received then.
fn send(host: &mut Host<hops::moments>, at: u64) -> Result<(), Fault> {
    host.advance(START.plus(seconds(at)).since(host.now()))?;
    host.send("press-7", 1.0)
}

#[test]
fn a_message_counts_in_every_window_of_its_time() -> Result<(), Fault> {
    let mut host = host::<hops::moments>();
    for at in [0, 12, 25] {
        send(&mut host, at)?;
    }
    host.settle()?;
    assert_eq!(ends(&host), [(10, 1), (20, 2), (30, 3), (40, 2), (50, 1)]);
    assert!(host.kept().iter().all(|row| row.duration == seconds(30)));
    Ok(())
}

#[test]
fn a_window_is_sent_as_soon_as_a_message_lies_beyond_it() -> Result<(), Fault> {
    let mut host = host::<hops::moments>();
    send(&mut host, 0)?;
    send(&mut host, 9)?;
    assert_eq!(ends(&host), []);
    send(&mut host, 10)?;
    assert_eq!(ends(&host), [(10, 2)]);
    // A gap is no reason to send windows in which nothing was counted.
    send(&mut host, 3600)?;
    assert_eq!(ends(&host), [(10, 2), (20, 3), (30, 3), (40, 1)]);
    Ok(())
}

#[test]
fn it_outlives_its_instance_and_the_boot() -> Result<(), Fault> {
    let mut host = host::<hops::moments>();
    for at in [0, 12, 25] {
        send(&mut host, at)?;
        host.restart();
    }
    host.reboot();
    host.settle()?;
    assert_eq!(ends(&host), [(10, 1), (20, 2), (30, 3), (40, 2), (50, 1)]);
    Ok(())
}

#[test]
fn the_state_of_a_series_is_bounded_and_a_call_writes_what_it_counted() -> Result<(), Fault> {
    let mut host = host::<hops::moments>()
        .config("window", "2m")
        .config("window.every", "1s");
    for at in 0..600 {
        send(&mut host, at)?;
    }
    assert!(host.state().len() <= 121, "{} entries", host.state().len());
    // The series with its newest step; the step before, once; the one that is forgotten, once.
    assert!(host.state_writes() <= 2 * 600, "{}", host.state_writes());
    host.settle()?;
    assert_eq!(host.state().len(), 1);
    assert_eq!(counts(&host).iter().sum::<i64>(), 600 * 120);
    Ok(())
}

#[test]
fn a_step_for_which_the_state_has_no_room_is_refused_and_nothing_faults() -> Result<(), Fault> {
    let mut host = host::<hops::moments>()
        .config("window", "2m")
        .config("window.every", "1s");
    let topic = |series: usize| format!("{}/{series}", "long".repeat(50));
    for _ in 0..60 {
        for series in 0..20 {
            host.send(&topic(series), 1.0)?;
        }
        host.advance(seconds(1))?;
    }
    let refused = host.rejected().len();
    assert!(refused > 0);
    assert!(reasons(&host)[0].starts_with("no room for more of key"));
    host.settle()?;
    let counted = usize::try_from(counts(&host).iter().sum::<i64>()).unwrap();
    assert_eq!(counted, (60 * 20 - refused) * 120);
    host.send(&topic(0), 1.0)?;
    assert_eq!(host.rejected().len(), refused);
    Ok(())
}

#[test]
fn a_length_that_is_no_multiple_of_the_step_refuses_the_start() {
    let fault = host::<hops::moments>()
        .config("window.every", "7s")
        .start()
        .unwrap_err();
    let expected = "configuration keys window (30s) and window.every (7s): \
                    the length of a window is a multiple of its step";
    assert_eq!(fault, Fault::permanent(expected));
    let fault = host::<moments>()
        .config("window.every", "1s")
        .start()
        .unwrap_err();
    let expected = "configuration key window.every means nothing for a tumbling window";
    assert_eq!(fault, Fault::permanent(expected));
}
