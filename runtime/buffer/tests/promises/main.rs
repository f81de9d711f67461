//! What the buffer promises.

#![cfg(test)]

mod commits;
mod damage;
mod destinations;
mod model;
mod rig;
mod room;
