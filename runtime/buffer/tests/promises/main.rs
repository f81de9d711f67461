//! What the buffer promises.

#![cfg(test)]

mod commits;
mod damage;
mod model;
mod rig;
mod room;
