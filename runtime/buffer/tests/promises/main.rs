//! What the buffer promises.

#![cfg(test)]

mod bounds;
mod clocks;
mod commits;
mod damage;
mod destinations;
mod export;
mod generations;
mod inbox;
mod model;
mod residency;
mod rig;
mod room;
