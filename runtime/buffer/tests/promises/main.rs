//! What the buffer promises.

#![cfg(test)]

mod commits;
mod damage;
mod rig;
mod room;
