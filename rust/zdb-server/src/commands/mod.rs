//! The commands: one table, matched by the whole name in any case.
//!
//! A handler checks, acts and appends its reply. What it refuses it gives back as the text of an error. A write
//! is answered at once into the client's output, which leaves only after the commit at the end of the turn.

mod access;
mod admin;
mod entrance;
mod feed;
mod greeting;
mod info;
mod keys;
mod pattern;
mod spaces;
mod transaction;
mod walk;
mod walkers;

use std::borrow::Cow;
use std::time::Instant;

use crate::client::Client;
use crate::shared::{Notice, Shared};
use crate::wire::reply;
use crate::wire::resp::Arguments;

pub use info::metrics;
pub use transaction::Transaction;
pub use walk::Listing;
pub use walkers::Walkers;

/// A key or a value beyond this many bytes in the output makes a client read before it is served on.
pub const OUTPUT_PAUSE_BYTES: usize = 1024 * 1024;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered.
    Done,
    /// Nothing else of this client is executed until it is told what it waits for.
    Waits,
    /// The same request again: after the output was read, or at this time.
    Again(Option<Instant>),
    /// The connection ends once its output is read.
    Close,
}

/// The text of an error.
pub type Refusal = Cow<'static, str>;
/// What a handler gives back.
pub type Handled = Result<Outcome, Refusal>;

/// One request under way.
pub struct Call<'a> {
    /// Its arguments, the name first.
    pub args: Arguments<'a>,
    /// Who sent it.
    pub client: &'a mut Client,
    /// What it acts on.
    pub shared: &'a mut Shared,
    /// Where its reply goes.
    pub out: &'a mut Vec<u8>,
}

struct Command {
    name: &'static str,
    run: fn(&mut Call<'_>) -> Handled,
    /// As COMMAND tells it: with the name, negative if at least.
    arity: i8,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Reads, or touches nothing but the connection.
    Read,
    /// Changes what is stored: the feed tells it.
    Change,
    /// For admins.
    Admin,
    /// For admins, and the feed tells it.
    AdminChange,
    /// A line of the table that is no command by itself.
    Mark,
}

const fn command(
    name: &'static str,
    arity: i8,
    kind: Kind,
    run: fn(&mut Call<'_>) -> Handled,
) -> Command {
    Command {
        name,
        run,
        arity,
        kind,
    }
}

/// How many commands there are.
pub const COMMANDS: usize = 47;

/// The first are those that are asked most.
static TABLE: [Command; COMMANDS] = [
    command("SET", -3, Kind::Change, keys::set),
    command("GET", 2, Kind::Read, keys::get),
    command("MGET", -2, Kind::Read, keys::mget),
    command("DEL", -2, Kind::Change, keys::del),
    command("EXISTS", 2, Kind::Read, keys::exists),
    command("SETX", -3, Kind::Change, keys::set),
    command("CHECK", 2, Kind::Read, keys::check),
    command("LENGTH", 2, Kind::Read, keys::length),
    command("KEYTIME", 2, Kind::Read, keys::keytime),
    command("KEYCUR", 2, Kind::Read, walk::keycur),
    command("SCAN", -1, Kind::Read, walk::scan),
    command("SCANX", -1, Kind::Read, walk::scanx),
    command("RSCAN", -1, Kind::Read, walk::rscan),
    command("KSCAN", -2, Kind::Read, walk::kscan),
    command("HISTORY", -2, Kind::Read, walk::history),
    command("DBSIZE", 1, Kind::Read, spaces::dbsize),
    command("PING", -1, Kind::Read, greeting::ping),
    command("TIME", -1, Kind::Read, greeting::time),
    command("INFO", -1, Kind::Read, info::info),
    command("SELECT", -2, Kind::Read, access::select),
    command("AUTH", -2, Kind::Read, access::auth),
    command("WAIT", -2, Kind::Read, feed::wait),
    command("MIRROR", 1, Kind::Admin, feed::mirror),
    command("MASTER", 1, Kind::Admin, feed::master),
    command("NSNEW", 2, Kind::AdminChange, spaces::nsnew),
    command("NSDEL", 2, Kind::AdminChange, spaces::nsdel),
    command("NSLIST", -1, Kind::Read, spaces::nslist),
    command("NSINFO", 2, Kind::Read, info::nsinfo),
    command("NSSET", 4, Kind::AdminChange, spaces::nsset),
    command("NSJUMP", -1, Kind::AdminChange, spaces::nsjump),
    command("RELOAD", 2, Kind::Admin, spaces::reload),
    command("FLUSH", -1, Kind::Change, spaces::flush),
    command("INDEX", -2, Kind::Admin, admin::index),
    command("DATA", -2, Kind::Admin, admin::data),
    command("HOOKS", -1, Kind::Admin, admin::hooks),
    command("ENTRANCE", -2, Kind::Admin, entrance::entrance),
    command("STOP", -1, Kind::Read, admin::stop),
    command("MULTI", 1, Kind::Read, transaction::multi),
    command("EXEC", 1, Kind::Read, transaction::exec),
    command("DISCARD", 1, Kind::Read, transaction::discard),
    command("HELLO", -1, Kind::Read, greeting::hello),
    command("COMMAND", -1, Kind::Read, greeting::command),
    command("CLIENT", -2, Kind::Read, greeting::client),
    command("CONFIG", -2, Kind::Read, greeting::config),
    command("ECHO", 2, Kind::Read, greeting::echo),
    command("QUIT", -1, Kind::Read, greeting::quit),
    command("*", 1, Kind::Mark, feed::any),
];

const WORDS: [u64; COMMANDS] = {
    let mut words = [0; COMMANDS];
    let mut index = 0;
    while index < COMMANDS {
        words[index] = word(TABLE[index].name.as_bytes());
        index += 1;
    }
    words
};

/// A name of one to eight bytes as a number, the same in either case; 0 for a longer one.
#[inline]
const fn word(name: &[u8]) -> u64 {
    if name.len() > 8 {
        return 0;
    }
    let mut word = 0;
    let mut index = 0;
    while index < name.len() {
        word = word << 8 | name[index].to_ascii_uppercase() as u64;
        index += 1;
    }
    word
}

/// The index of a command by its whole name.
#[inline]
#[must_use]
pub fn find(name: &[u8]) -> Option<usize> {
    let wanted = word(name);
    // A name with a leading NUL would be the same number as the name without it.
    if wanted == 0 || name[0] == 0 {
        return None;
    }
    WORDS.iter().position(|known| *known == wanted)
}

/// The name of a command.
#[must_use]
pub fn name_of(index: usize) -> &'static str {
    TABLE[index].name
}

const GONE: &str = "Your active namespace is not available anymore (probably removed).";

/// Execute one request.
#[inline]
pub fn run(call: &mut Call<'_>) -> Outcome {
    if !call.shared.moved.is_empty() {
        call.client.namespace = call.shared.current(call.client.namespace);
    }
    if call.shared.engine.namespace(call.client.namespace).is_err() {
        reply::error(call.out, GONE);
        return Outcome::Close;
    }
    let owner = if call.client.master {
        feed::take_owner(call)
    } else {
        Ok(Some(call.shared.instance))
    };
    let owner = match owner {
        Ok(Some(owner)) => owner,
        Ok(None) => {
            reply::nil(call.out, call.client.resp3);
            return Outcome::Done;
        }
        Err(text) => {
            reply::error(call.out, text);
            return Outcome::Done;
        }
    };
    let found = find(call.args.get(0));
    if call.client.transaction.is_some() && !transaction::is_mark(found) {
        transaction::queue(call, found);
        return Outcome::Done;
    }
    let Some(index) = found else {
        call.shared.figures.unknown += 1;
        reply::error(call.out, "Command not supported");
        return Outcome::Done;
    };
    execute(call, index, owner)
}

#[inline]
fn execute(call: &mut Call<'_>, index: usize, owner: u32) -> Outcome {
    let command = &TABLE[index];
    let (began, namespace) = (call.out.len(), call.client.namespace);
    let outcome = match (command.run)(call) {
        Ok(outcome) => outcome,
        Err(text) => {
            reply::error(call.out, &text);
            Outcome::Done
        }
    };
    if matches!(outcome, Outcome::Again(_)) {
        return outcome;
    }
    let shared = &mut *call.shared;
    shared.figures.by_command[index] += 1;
    if shared.watchers > 0 && command.kind != Kind::Mark {
        shared.notices.push(Notice {
            namespace,
            command: index,
            client: call.client.id,
        });
    }
    let changes = matches!(command.kind, Kind::Change | Kind::AdminChange);
    if changes
        && shared.listeners > 0
        && matches!(
            call.out.get(began..),
            Some([b'+', ..] | [b'$', b'0'..=b'9', ..])
        )
    {
        let frame = feed::frame(call, namespace, owner);
        call.shared.frames.push(frame);
    }
    outcome
}

/// Refuse any other number of arguments, and empty ones.
#[inline]
fn exactly(args: &Arguments<'_>, count: usize) -> Result<(), Refusal> {
    if args.len() != count {
        return Err("Unexpected arguments".into());
    }
    if args.iter(1).any(<[u8]>::is_empty) {
        return Err("Invalid argument".into());
    }
    Ok(())
}

/// Refuse fewer arguments, and empty ones.
fn at_least(args: &Arguments<'_>, count: usize) -> Result<(), Refusal> {
    if args.len() < count {
        return Err("Missing arguments".into());
    }
    if args.iter(1).any(<[u8]>::is_empty) {
        return Err("Invalid argument".into());
    }
    Ok(())
}

/// Refuse who is no admin.
fn admin(call: &mut Call<'_>) -> Result<(), Refusal> {
    if call.client.admin {
        return Ok(());
    }
    call.shared.figures.unauthorized += 1;
    Err("Permission denied".into())
}

/// An argument as a decimal number without sign.
fn digits<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// An argument as the name of a namespace, too long ones refused.
fn namespace_name<'a>(args: &Arguments<'a>, index: usize) -> Result<Option<&'a str>, Refusal> {
    let name = args.get(index);
    if name.len() > tfgrid_zdb::NAME_BYTES_MAX {
        return Err("Namespace too long".into());
    }
    Ok(std::str::from_utf8(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_whole_and_in_any_case() {
        assert_eq!(find(b"get").map(name_of), Some("GET"));
        assert_eq!(find(b"HiStOrY").map(name_of), Some("HISTORY"));
        for name in [
            &b"G"[..],
            b"",
            b"GETX",
            b"\0GET",
            b"HISTORYHISTORY",
            b"NSINFOXX",
            b"get\0",
        ] {
            assert_eq!(find(name), None, "{name:?}");
        }
    }

    #[test]
    fn no_two_commands_have_one_name() {
        for (index, word) in WORDS.iter().enumerate() {
            assert_ne!(*word, 0);
            assert_eq!(WORDS.iter().position(|other| other == word), Some(index));
        }
    }

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        assert_eq!(digits::<u32>(b"42"), Some(42));
        for text in [&b""[..], b"+1", b"-1", b"1x", b" 1", b"99999999999"] {
            assert_eq!(digits::<u32>(text), None, "{text:?}");
        }
    }
}
