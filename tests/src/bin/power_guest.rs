//! What runs in the guest of the power cuts: see `faults::power` and `faults::update_power` of the rig.

#![allow(clippy::print_stderr, reason = "a program for a console")]

use std::path::PathBuf;
use std::process::ExitCode;

use tidegate_tests::faults::{power, update_power};

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let console = &mut std::io::stdout();
    let number = |first: &PathBuf| first.to_str().and_then(|first| first.parse().ok());
    let result = match arguments.as_slice() {
        [program, first, root, bundle] => {
            power::in_guest(program, number(first).unwrap_or(0), root, bundle, console)
        }
        [program, first, root, policy, stick] => {
            let trust = update_power::Trust { root, policy };
            update_power::in_guest(program, number(first).unwrap_or(0), &trust, stick, console)
        }
        _ => {
            eprintln!("usage: power_guest PROGRAM FIRST ROOT (BUNDLE | POLICY STICK)");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = result {
        eprintln!("{error:#}");
    }
    ExitCode::FAILURE
}
