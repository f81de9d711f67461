//! What the buffer promises.

#![cfg(test)]

mod bounds;
mod clocks;
mod commits;
mod damage;
mod destinations;
mod export;
mod inbox;
mod model;
mod rig;
mod room;
