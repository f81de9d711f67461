//! The gateway as a service: what its unit allows, what the service manager hears of it, and what happens when a stage is stuck.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_tests::binaries::{Binaries, repository};
use tidegate_tests::bundles::Workshop;
use tidegate_tests::faults::scene::MESSAGE_ID;
use tidegate_tests::manager::Manager;
use tidegate_tests::plant::{JOURNAL, guest, signed};
use tidegate_tests::process::run;
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::{GATEWAY, Plan, Site};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const BROKER: [Tool; 2] = [Tool::Mosquitto, Tool::MosquittoPub];
const SYSTEMD: [Tool; 1] = [Tool::SystemdAnalyze];
/// Compiling and a busy machine included.
const SOON: Duration = Duration::from_secs(60);
/// Shorter than that of the unit, so that a test need not wait for long.
const WATCHDOG: Duration = Duration::from_secs(4);
const SENSOR: &str = "[[sensor]]\nname = \"machine\"\ndriver = \"host\"\ninterval = \"1s\"\n";
/// How far `systemd-analyze security` may call a unit exposed, of 10.
const EXPOSURE_MAX: f64 = 1.5;

/// A plant with the journal and a sensor, whose gateway is not started.
fn plant(directory: &TempDir, program: Option<PathBuf>) -> Site {
    let binaries = Binaries::built().unwrap();
    let workshop = Workshop::open(binaries, directory.path()).unwrap();
    let plan = Plan {
        directory: directory.path(),
        binaries,
        program,
        modules: vec![signed(&workshop, &guest("journal"), JOURNAL).unwrap()],
        broker: MESSAGE_ID,
        sections: SENSOR,
        tapped: false,
    };
    Site::start(&plan, &workshop).unwrap()
}

fn publish(site: &Site, number: u64) {
    let mut publisher = Publisher::connect(site.broker.port(), "numbers", 10).unwrap();
    let payload = format!("{{\"seq\":{number}}}");
    publisher.publish("m/1", payload.as_bytes()).unwrap();
    publisher.finish().unwrap();
}

/// Waits until the centre has so many rows of the journal, and not more.
fn await_rows(site: &Site, rows: u64) {
    let held = || Ok(site.cloud.count(GATEWAY, "journal")? >= rows);
    wait_until("the rows at the centre", 2 * SOON, held).unwrap();
    assert_eq!(site.cloud.count(GATEWAY, "journal").unwrap(), rows);
}

#[test]
fn a_service_is_ready_when_every_stage_runs_and_says_that_it_stops() {
    if !available("a_service_is_ready_when_every_stage_runs", &BROKER).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut site = plant(&directory, None);
    // As in a container: a name without a file.
    let name = format!("tidegate-test-{}", std::process::id());
    let manager = Manager::listen_without_file(&name).unwrap();
    manager.watch(&mut site.gateway, WATCHDOG);
    site.gateway.launch().unwrap();
    let ready = manager.wait_for("READY=1", SOON).unwrap();
    assert!(
        ready
            .iter()
            .any(|line| line.starts_with("STATUS=1 of 1 modules run")),
        "{ready:?}"
    );
    assert!(site.gateway.is_ready());
    site.broker.wait_for_subscriber(GATEWAY).unwrap();
    publish(&site, 0);
    await_rows(&site, 1);
    manager.wait_for("WATCHDOG=1", WATCHDOG).unwrap();

    let process = site.gateway.process().unwrap();
    process.stop(Duration::from_secs(10)).unwrap();
    manager.wait_for("STOPPING=1", Duration::ZERO).unwrap();
}

#[test]
fn the_watchdog_is_fed_while_the_broker_and_the_centre_are_away_and_nothing_is_to_be_done() {
    if !available("the_watchdog_is_fed_while_nothing_is_to_be_done", &BROKER).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut site = plant(&directory, None);
    let manager = Manager::listen(directory.path()).unwrap();
    manager.watch(&mut site.gateway, WATCHDOG);
    site.gateway.start().unwrap();
    site.broker.wait_for_subscriber(GATEWAY).unwrap();
    site.link.cut();
    publish(&site, 0);
    wait_until("a row that waits", SOON, || {
        Ok(site.gateway.status()?["buffer"]["rows_waiting"].as_u64() >= Some(1))
    })
    .unwrap();
    let Site {
        broker,
        mut gateway,
        ..
    } = site;
    drop(broker);
    manager.wait_for("WATCHDOG=1", WATCHDOG).unwrap();
    let (fed, longest) = manager.feedings(3 * WATCHDOG).unwrap();
    assert!(
        fed >= 6 && longest < WATCHDOG,
        "{fed} times, {longest:?} without"
    );

    // Nor need they be there when it begins.
    gateway.stop().unwrap();
    gateway.start().unwrap();
    manager.wait_for("READY=1", SOON).unwrap();
}

#[test]
fn a_stage_that_is_stuck_is_named_and_the_watchdog_starves_and_the_restart_loses_nothing() {
    if !available("a_stage_that_is_stuck_is_named", &BROKER).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let faulty = Binaries::built().unwrap().tidegate_faulty().unwrap();
    let mut site = plant(&directory, Some(faulty));
    let manager = Manager::listen(directory.path()).unwrap();
    manager.watch(&mut site.gateway, WATCHDOG);
    // From now on the broker keeps what comes: a stage may be stuck before the gateway is connected.
    site.gateway.start().unwrap();
    site.broker.wait_for_subscriber(GATEWAY).unwrap();
    site.gateway.stop().unwrap();
    while manager.next(Duration::ZERO).unwrap().is_some() {}
    let stages = [
        "broker plant",
        "sensor machine",
        "router",
        "module journal",
        "buffer",
        "uplink",
    ];
    for (number, stage) in (0..).zip(stages) {
        let fault = format!("wedge-{stage}");
        site.gateway.set_variable("TIDEGATE_FAULT", &fault);
        site.gateway.start().unwrap();
        manager.wait_for("READY=1", SOON).unwrap();
        publish(&site, number);
        let named = format!("STATUS=no answer from {stage}");
        let told = manager
            .wait_for("STATUS=no answer from", 5 * WATCHDOG)
            .unwrap();
        assert_eq!(told, [named]);
        let (fed, _) = manager.feedings(WATCHDOG).unwrap();
        assert_eq!(fed, 0, "{stage}");
        assert!(
            site.gateway
                .log()
                .unwrap()
                .contains(&format!("no answer from {stage}"))
        );

        // What the manager does now.
        site.gateway.kill9().unwrap();
        site.gateway.unset_variables(&["TIDEGATE_FAULT"]);
        site.gateway.start().unwrap();
        await_rows(&site, number + 1);
        manager.wait_for("READY=1", SOON).unwrap();
        manager.wait_for("WATCHDOG=1", WATCHDOG).unwrap();
        site.gateway.stop().unwrap();
        while manager.next(Duration::ZERO).unwrap().is_some() {}
    }
}

#[test]
fn a_reload_takes_what_the_configuration_says_now_and_refuses_what_cannot_be_used_and_loses_nothing()
 {
    if !available("a_reload_takes_what_the_configuration_says_now", &BROKER).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut site = plant(&directory, None);
    let manager = Manager::listen(directory.path()).unwrap();
    manager.watch(&mut site.gateway, 10 * WATCHDOG);
    site.gateway.start().unwrap();
    manager.wait_for("READY=1", SOON).unwrap();
    site.broker.wait_for_subscriber(GATEWAY).unwrap();
    publish(&site, 0);
    await_rows(&site, 1);
    let text = fs::read_to_string(site.gateway.configuration()).unwrap();
    let id = site.gateway.id().unwrap();
    let epoch = |site: &Site| site.gateway.status().unwrap()["epoch"]["ordinal"].as_u64();
    let begun = epoch(&site);

    // A mistake: what ran runs on, with its line in the log.
    site.gateway
        .configure(&format!("{text}\n[buffer]\nquta = \"1GiB\"\n"))
        .unwrap();
    site.gateway.process().unwrap().hang_up().unwrap();
    let reloading = manager.wait_for("RELOADING=1", SOON).unwrap();
    assert!(
        reloading
            .iter()
            .any(|line| line.starts_with("MONOTONIC_USEC="))
    );
    let refused = manager.wait_for("READY=1", SOON).unwrap();
    assert!(
        refused.iter().any(|line| line.contains("not taken")),
        "{refused:?}"
    );
    assert!(site.gateway.log().unwrap().contains("unknown key quta"));
    assert_eq!(epoch(&site), begun);

    // A sensor less and another quota.
    let other = text.replace(SENSOR, "[buffer]\nquota = \"64MiB\"\n");
    site.gateway.configure(&other).unwrap();
    publish(&site, 1);
    site.gateway.process().unwrap().hang_up().unwrap();
    publish(&site, 2);
    manager.wait_for("RELOADING=1", SOON).unwrap();
    manager.wait_for("READY=1", SOON).unwrap();
    site.broker.wait_for_subscriber(GATEWAY).unwrap();
    publish(&site, 3);
    await_rows(&site, 4);
    let status = site.gateway.status().unwrap();
    assert_eq!(status["buffer"]["bytes_max"], 64 << 20);
    assert_eq!(status["field"].as_array().unwrap().len(), 1, "{status:#}");
    assert_eq!(
        (site.gateway.id().unwrap(), epoch(&site) > begun),
        (id, true)
    );
    site.gateway.stop().unwrap();
}

/// A unit of the repository.
fn unit(name: &str) -> String {
    fs::read_to_string(repository().join("hardware/systemd").join(name)).unwrap()
}

/// Values of a setting, one a line.
fn values<'a>(unit: &'a str, setting: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(setting)?.strip_prefix('='))
        .collect()
}

/// What systemd says against a unit with this drop-in, and how exposed it calls it.
fn judge(name: &str, unit: &str, drop_in: Option<&str>) -> (String, f64) {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    // It wants the program to be there.
    let installed = unit.replace("ExecStart=/usr/bin/", "ExecStart=/bin/true ");
    let file = folder.join(name);
    fs::write(&file, installed).unwrap();
    if let Some(drop_in) = drop_in {
        let beside = folder.join(format!("{name}.d"));
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("further.conf"), drop_in).unwrap();
    }
    let (_, said) = analyze(folder, &["verify", "--man=no"], &file);
    let (told, _) = analyze(folder, &["security", "--offline=true", "--no-pager"], &file);
    let last = told.lines().last().unwrap_or_default();
    let exposure = last
        .split(": ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let exposure = exposure.and_then(|number| number.parse().ok());
    (
        said,
        exposure.unwrap_or_else(|| panic!("no number: {told}")),
    )
}

/// What `systemd-analyze` prints, and what it complains of.
fn analyze(folder: &Path, arguments: &[&str], file: &Path) -> (String, String) {
    let program = Tool::SystemdAnalyze.path().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .arg(file)
        // Before the system's own units, which are looked for as well.
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.display()))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_units_have_no_mistake_and_are_hardly_exposed() {
    if !available("the_units_have_no_mistake_and_are_hardly_exposed", &SYSTEMD).unwrap() {
        return;
    }
    let further = [
        "devices.conf",
        "network.conf",
        "no-compiler.conf",
        "secrets.conf",
    ];
    let gateway = further.map(|drop_in| ("tidegate.service", Some(unit(drop_in))));
    let plain = [("tidegate.service", None), ("tidegate-cloud.service", None)];
    for (name, drop_in) in plain.into_iter().chain(gateway) {
        let (said, exposure) = judge(name, &unit(name), drop_in.as_deref());
        assert_eq!(said, "", "{name} with {drop_in:?}");
        assert!(
            exposure <= EXPOSURE_MAX,
            "{name} with {drop_in:?}: {exposure}"
        );
    }
    // The control: a mistake and a missing wall show.
    let name = "tidegate.service";
    let (said, _) = judge(name, &unit(name), Some("[Service]\nProtectSysten=strict\n"));
    assert!(said.contains("ProtectSysten"), "{said}");
    let (_, exposure) = judge(name, &unit(name), Some("[Service]\nSystemCallFilter=\n"));
    assert!(exposure > EXPOSURE_MAX, "{exposure}");
}

#[test]
fn the_units_filter_lets_the_process_of_the_modules_seal_itself_and_forbids_what_nobody_needs() {
    if !available(
        "the_units_filter_lets_the_modules_seal_themselves",
        &SYSTEMD,
    )
    .unwrap()
    {
        return;
    }
    let unit = unit("tidegate.service");
    let mut allowed = Vec::new();
    for value in values(&unit, "SystemCallFilter") {
        let (forbids, names) = match value.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, value),
        };
        for call in names.split(' ').flat_map(calls) {
            allowed.retain(|known| *known != call);
            if !forbids {
                allowed.push(call);
            }
        }
    }
    let is_allowed = |name: &&str| allowed.iter().any(|call| call == name);
    let needed = [
        "seccomp",
        "prctl",
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
        "unshare",
        "prlimit64",
        "capget",
        "close_range",
        "memfd_create",
        "sendmsg",
        "recvmsg",
        "socketpair",
        "mprotect",
    ];
    for name in needed {
        assert!(is_allowed(&name), "{name} is not allowed");
    }
    let forbidden = [
        "ptrace",
        "mount",
        "bpf",
        "init_module",
        "reboot",
        "setuid",
        "clock_settime",
    ];
    for name in forbidden {
        assert!(!is_allowed(&name), "{name} is allowed");
    }
}

/// The calls of a group, whose groups stand in it as well.
fn calls(name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let program = Tool::SystemdAnalyze.path().unwrap();
    let listed = run(&program, ["syscall-filter", "--no-pager", name]).unwrap();
    let inside = listed.stdout.lines().skip(1).map(str::trim);
    let inside = inside.filter(|line| !line.is_empty() && !line.starts_with('#'));
    inside.flat_map(calls).collect()
}

#[test]
fn what_does_not_get_better_by_starting_again_is_not_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("gateway.toml");
    fs::write(&configuration, "[gateway]\nnam = \"gateway-1\"\n").unwrap();
    let program = Binaries::built().unwrap().tidegate();
    let arguments = [Path::new("run"), Path::new("--config"), &configuration];
    let code = run(&program, arguments).unwrap().code.unwrap();
    let unit = unit("tidegate.service");
    assert_eq!(values(&unit, "Restart"), ["on-failure"]);
    assert_eq!(
        values(&unit, "RestartPreventExitStatus"),
        [code.to_string()]
    );
}
