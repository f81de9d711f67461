//! Attacks on the signed documents, the bundle file and the memory of what was accepted: `attacks MUTATIONS SEED`.
//!
//! Every attack begins with a gateway that has taken genuine documents, and gives it others: forged, changed, old, of another
//! fleet. Each of these is a *variant*. It must be refused, for the reason that follows from what was done to it, with the
//! memory the same to the byte and the same modules running. What is counted is printed as one line of JSON for each attack;
//! `cargo xtask attacks` makes the table of it. The same numbers give the same run.
//!
//! Built with the feature `faults`, checks can be left out by `TIDEGATE_FAULT`: then something must get through, or these
//! attacks prove nothing. An attack that cannot be made ends the program with an error.
//!
//! # Layout
//! - [`fleet`]: genuine documents. [`subject`]: what is to be forged. [`scene`]: the gateway that is attacked, and what is counted. [`random`]: chance, by a seed.
//! - [`signatures`], [`points`], [`thresholds`]: who signed. [`rollback`], [`memory`], [`freeze`], [`forward`]: when.
//!   [`mixed`], [`targets`], [`roots`]: what for. [`archives`], [`names`], [`versions`]: forms.
//! - [`fuzz`]: random changes, made by [`mutate`], judged by [`oracle`] and [`regions`]. [`nonsense`]: the same, signed.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod archives;
mod fleet;
mod forward;
mod freeze;
mod fuzz;
mod memory;
mod mixed;
mod mutate;
mod names;
mod nonsense;
mod oracle;
mod points;
mod random;
mod regions;
mod rollback;
mod roots;
mod scene;
mod signatures;
mod subject;
mod targets;
mod thresholds;
mod versions;

use std::error::Error;

use scene::Scene;

/// What goes wrong in an attack itself.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// An attack: its number in the table, its name, and how it is made.
type Attack = (&'static str, &'static str, fn(&mut Scene) -> Outcome);

/// All of them. A new one is a line here.
const ATTACKS: &[Attack] = &[
    ("T1", "signature tricks", signatures::run),
    ("T2", "duplicate-key thresholds", thresholds::run),
    ("T3", "rollback", rollback::run),
    ("T4", "damaged memory", memory::run),
    ("T5", "freeze", freeze::run),
    ("T6", "fast-forward", forward::run),
    ("T7", "mix-and-match", mixed::run),
    ("T8", "wrong target", targets::run),
    ("T9", "root skips", roots::run),
    ("T10", "sizes and trailing data", archives::run),
    ("T11", "path tricks", names::run),
    ("T18", "random changes", fuzz::run),
    ("T18", "signed nonsense", nonsense::run),
    ("T25", "downgrades", versions::run),
];

fn main() -> Outcome {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse())
        .collect::<Result<_, _>>()?;
    let [mutations, seed] = *numbers.as_slice() else {
        return Err("usage: attacks MUTATIONS SEED".into());
    };
    if std::env::var_os("TIDEGATE_FAULT").is_some() && !cfg!(feature = "faults") {
        return Err("TIDEGATE_FAULT is set, and this program is built without faults".into());
    }
    for (attack, name, run) in ATTACKS {
        let mut scene = Scene::new(mutations, seed)?;
        run(&mut scene)?;
        println!("{}", scene.end(attack, name)?);
    }
    Ok(())
}
