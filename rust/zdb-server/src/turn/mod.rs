//! The event loop: a turn reads, executes, commits once, and only then sends.
//!
//! `server` is the loop and its connections, `arrivals` what they sent, `execute` what a turn does for one of them,
//! `ahead` what it may know before, `outputs` room for replies, `settle` the commit and what it decides, `gather` who joins it, `syncer` the fsyncs beside the loop,
//! `tenants` who comes through entrances, `carry` descriptors beside requests, `chores` what is done from time to time.

mod ahead;
mod arrivals;
pub mod carry;
pub mod chores;
pub mod connection;
mod execute;
mod gather;
mod http;
mod outputs;
pub mod server;
mod settle;
pub mod syncer;
mod tenants;
