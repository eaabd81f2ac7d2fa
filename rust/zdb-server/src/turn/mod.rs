//! The event loop: a turn reads, executes, commits once, and only then sends.
//!
//! `server` is the loop and its connections, `execute` what a turn does for one of them, `ahead` what it may know
//! before, `settle` the commit and what it decides, `gather` who joins it, `syncer` the fsyncs beside the loop,
//! `walkers` who lists, `tenants` who comes through entrances, `carry` descriptors beside requests, `chores` what is done
//! from time to time.

mod ahead;
pub mod carry;
pub mod chores;
pub mod connection;
mod execute;
mod gather;
mod http;
pub mod server;
mod settle;
pub mod syncer;
mod tenants;
pub mod walkers;
