//! What runs in the guest of the power cuts: see `faults::power` of the rig.

#![allow(clippy::print_stderr, reason = "a program for a console")]

use std::path::Path;
use std::process::ExitCode;

use tidegate_tests::faults::power::in_guest;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, root, bundle, first] = arguments.as_slice() else {
        eprintln!("usage: power_guest PROGRAM ROOT BUNDLE FIRST");
        return ExitCode::FAILURE;
    };
    let result = in_guest(
        Path::new(program),
        Path::new(root),
        Path::new(bundle),
        first.parse().unwrap_or(0),
        &mut std::io::stdout(),
    );
    if let Err(error) = result {
        eprintln!("{error:#}");
    }
    ExitCode::FAILURE
}
