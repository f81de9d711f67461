//! Attacks on who a gateway is at the centre: `attacks-centre MUTATIONS SEED`.
//!
//! Every attack begins with a centre that knows some gateways and holds their rows, and sends it requests: of keys that
//! ended, captured ones again and in any order, with one part exchanged, as another gateway or tenant. Each is a *variant*. It
//! must be refused with the code that follows from what was done, with what the centre holds and says of its gateways the same
//! as before, and the honest gateway's next request must be taken. A clone is not refused, since nobody can know which of two
//! machines is the right one: it must be *noticed*, and an honest restart must not be.
//!
//! What is counted is printed as one line of JSON for each attack; `cargo xtask attacks` makes the table of it. The same numbers
//! give the same run. Built with the feature `faults`, checks can be left out by `TIDEGATE_FAULT`: then something must get
//! through, or these attacks prove nothing.
//!
//! # Layout
//! - [`centre`]: the centre that is attacked, and what is counted. [`device`]: machines that sign.
//! - [`stolen`], [`cloned`], [`requests`]: the attacks.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod centre;
mod cloned;
mod device;
mod requests;
mod stolen;

use std::error::Error;

use centre::Scene;

/// What goes wrong in an attack itself.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse())
        .collect::<Result<_, _>>()?;
    let [mutations, seed] = *numbers.as_slice() else {
        return Err("usage: attacks-centre MUTATIONS SEED".into());
    };
    if std::env::var_os("TIDEGATE_FAULT").is_some() && !cfg!(feature = "faults") {
        return Err("TIDEGATE_FAULT is set, and this program is built without faults".into());
    }
    let mut scene = Scene::new().await?;
    stolen::run(&mut scene).await?;
    println!("{}", scene.end("T20", "stolen gateway"));
    let mut scene = Scene::new().await?;
    cloned::run(&mut scene, mutations, seed).await?;
    println!("{}", scene.end("T21", "cloned gateway, noticed"));
    let mut scene = Scene::new().await?;
    requests::exchanged(&mut scene).await?;
    println!("{}", scene.end("T22", "forged and cross-tenant requests"));
    let mut scene = Scene::new().await?;
    requests::replayed(&mut scene, mutations, seed).await?;
    println!("{}", scene.end("T22", "replayed requests"));
    Ok(())
}
