//! Zero-DB's server: the Redis protocol over the engine of `tfgrid-zdb`.
//!
//! | module | what it is |
//! |---|---|
//! | `options`, `start` | the command line; start and end |
//! | `turn` | the event loop: a turn reads, executes, commits once, sends |
//! | `wire` | requests and replies |
//! | `commands` | the table of commands and their handlers |
//! | `client`, `shared` | what the protocol knows of a client; what all commands share |
//! | `auth`, `hooks`, `net`, `log` | passwords, programs to tell, sockets, log lines |
//!
//! One thread does all of it; hooks alone run beside it.

mod auth;
mod client;
mod commands;
mod hooks;
mod log;
mod net;
mod options;
mod shared;
mod start;
mod turn;
mod wire;

pub use start::serve;
pub use wire::resp;
