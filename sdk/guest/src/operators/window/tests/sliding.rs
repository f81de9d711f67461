use super::*;
use crate::Fault;

fn send(host: &mut Host<slides::moments>, at: u64) -> Result<(), Fault> {
    host.advance(START.plus(seconds(at)).since(host.now()))?;
    host.send("press-7", 1.0)
}

#[test]
fn each_message_brings_the_window_that_ends_with_its_step() -> Result<(), Fault> {
    let mut host = host::<slides::moments>();
    for at in [0, 4, 12, 25, 36, 200] {
        send(&mut host, at)?;
    }
    host.settle()?;
    let expected = [(10, 1), (10, 2), (20, 3), (30, 4), (40, 3), (210, 1)];
    assert_eq!(ends(&host), expected);
    assert!(host.kept().iter().all(|row| row.duration == seconds(30)));
    assert!(host.outputs().iter().all(|sent| sent.cause == Some(0)));
    Ok(())
}

#[test]
fn it_outlives_its_instance_and_the_boot_and_wakes_nobody() -> Result<(), Fault> {
    let mut host = host::<slides::moments>();
    send(&mut host, 0)?;
    host.restart();
    send(&mut host, 12)?;
    host.reboot();
    send(&mut host, 25)?;
    assert_eq!(ends(&host), [(10, 1), (20, 2), (30, 3)]);
    host.advance(seconds(3600))?;
    assert_eq!(host.kept().len(), 3);
    Ok(())
}

#[test]
fn a_late_message_counts_while_the_window_reaches_back_to_it() -> Result<(), Fault> {
    let mut host = host::<slides::moments>();
    host.advance(seconds(100))?;
    send_at(&mut host, START.plus(seconds(95)))?;
    send_at(&mut host, START.plus(seconds(70)))?;
    send_at(&mut host, START.plus(seconds(69)))?;
    assert_eq!(ends(&host), [(100, 1), (100, 2)]);
    let reason = "late: by 1.0 s, windows before 2026-01-01T00:01:10Z are closed";
    assert_eq!(reasons(&host), [reason]);
    Ok(())
}

#[test]
fn what_means_nothing_for_it_refuses_the_start() {
    for key in ["window.lateness", "window.corrections"] {
        let fault = host::<slides::moments>()
            .config(key, "5s")
            .start()
            .unwrap_err();
        let expected = format!("configuration key {key} means nothing for a sliding window");
        assert_eq!(fault, Fault::permanent(expected));
    }
}
