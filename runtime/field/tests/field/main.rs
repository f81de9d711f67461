//! The field against a real broker, and against a scripted one where a real one cannot show the fault.
//!
//! Without mosquitto its tests are skipped, loudly, unless `CI` is set: there a missing mosquitto is a failure.

#[cfg(test)]
mod against_mosquitto;
#[cfg(test)]
mod mosquitto;
#[cfg(test)]
mod on_the_wire;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod sensors;
#[cfg(test)]
mod stub;
