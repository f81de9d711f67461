//! The rig: what a test of the whole product stands on. It starts the product's binaries and real peers as processes,
//! feeds them, cuts and kills them, and counts from outside.
//!
//! Nothing here links the product: what it says about Tidegate, it says as a stranger would, over MQTT, HTTP, the
//! control socket and `/proc`. Every process and thread ends with the value that stands for it.
//!
//! # Layout
//! Peers and processes:
//! - [`tools`]: programs of other makes, found or installed.
//! - [`binaries`]: our own programs, built once.
//! - [`process`]: a child process that never outlives its owner.
//! - [`broker`]: mosquitto on a free port.
//! - [`cloud`], [`gateway`]: our two servers. [`manager`]: what a service manager hears of one.
//! - [`bundles`]: keys, the root document, signed modules.
//! - [`fleet`]: deployments, signed and on sticks.
//! - [`site`]: all of them together, as a plant would have them. [`plant`]: one that runs, for a test.
//!
//! Feeding and counting:
//! - [`mqtt`]: the few packets of MQTT that the rig speaks itself.
//! - [`publisher`]: numbered messages, and which of them the broker acknowledged.
//! - [`listener`]: what a local subscriber sees, and when.
//! - [`counter`]: an independent subscriber process whose lines are counted.
//! - [`page`]: what a browser shows of a page.
//! - [`http`]: one GET. [`openmetrics`]: metrics, strictly.
//! - [`meter`]: memory and processor time of a process.
//!
//! Faults and proofs:
//! - [`link`]: a network link that can be cut, and on which things go wrong. [`mischief`]: what can.
//! - [`tap`]: a wiretap between broker and gateway, which notes when a message went in and its PUBACK came out.
//! - [`offline`]: a week without a link, and how the backlog leaves after it.
//! - [`rollout`]: a fleet at one centre, whose gateways are killed while releases reach them. [`lines`]: what such runs tell.
//! - [`trace`]: the gateway's fsyncs, as the kernel saw them, and the proof that acks wait for them.
//! - [`faults`]: the drills that hurt the product and count what was lost. [`random`]: when and how, from a seed.
//! - [`tally`]: a gateway whose fleet updates a module on a live stream, and what its rows say of each message.
//! - [`attacks`]: programs that attack a part of the product, and what they counted.
//! - [`workers`]: the processes in which a gateway's modules run.
//! - [`wait`]: waiting for something with a deadline.

#![allow(
    clippy::disallowed_methods,
    reason = "the rig waits for and times real processes, by the real clock"
)]

pub mod attacks;
pub mod binaries;
pub mod broker;
pub mod bundles;
pub mod cloud;
pub mod counter;
pub mod faults;
pub mod fleet;
pub mod gateway;
pub mod http;
pub mod lines;
pub mod link;
pub mod listener;
pub mod manager;
pub mod meter;
pub mod mischief;
pub mod mqtt;
pub mod offline;
pub mod openmetrics;
pub mod page;
pub mod plant;
pub mod process;
pub mod publisher;
pub mod random;
pub mod rollout;
pub mod site;
pub mod tally;
pub mod tap;
pub mod tools;
pub mod trace;
pub mod wait;
pub mod workers;
