//! Zero-DB's server: the Redis protocol over the engine of `tfgrid-zdb`.
//!
//! | module | what it is |
//! |---|---|
//! | `options`, `start` | the command line; start and end |
//! | `turn` | the event loop: a turn reads, executes, commits once, sends |
//! | `wire` | requests and replies |
//! | `commands` | the table of commands and their handlers |
//! | `client`, `shared` | what the protocol knows of a client; what all commands share |
//! | `entrances` | listening sockets that were handed over, each into one namespace |
//! | `tools` | what is done with files at rest |
//! | `auth`, `hooks`, `net`, `log` | passwords, programs to tell, sockets, log lines |
//!
//! One thread does all of it; hooks alone run beside it.

mod auth;
mod client;
mod commands;
mod entrances;
mod hooks;
mod log;
mod net;
mod options;
mod shared;
mod start;
mod tools;
mod turn;
mod wire;

pub use wire::resp;

/// What a command line says: `serve` with its options (the word may be left out), or a tool with the data and the
/// index directory; the exit code.
#[must_use]
pub fn main(arguments: &[String]) -> i32 {
    match arguments.split_first() {
        Some((word, rest)) if tools::WORDS.contains(&word.as_str()) => tools::run(word, rest),
        Some((word, rest)) if word == "serve" => start::serve(rest),
        _ => start::serve(arguments),
    }
}
