//! What ordinary Redis clients ask when they connect, and small talk: HELLO, COMMAND, CLIENT, CONFIG, PING, TIME.
//!
//! The protocol is RESP2, and RESP3 for who asks for it with HELLO 3.

use super::{access, find, Call, Handled, Kind, Outcome, TABLE};
use crate::shared::unix;
use crate::wire::reply;

const NAME_BYTES_MAX: usize = 64;

/// `PING [text]`
pub(super) fn ping(call: &mut Call<'_>) -> Handled {
    match call.args.len() {
        1 => reply::status(call.out, "PONG"),
        2 => reply::bulk(call.out, call.args.get(1)),
        _ => return Err("Unexpected arguments".into()),
    }
    Ok(Outcome::Done)
}

/// `ECHO text`
pub(super) fn echo(call: &mut Call<'_>) -> Handled {
    if call.args.len() != 2 {
        return Err("Unexpected arguments".into());
    }
    reply::bulk(call.out, call.args.get(1));
    Ok(Outcome::Done)
}

/// `QUIT`
pub(super) fn quit(call: &mut Call<'_>) -> Handled {
    reply::status(call.out, "OK");
    Ok(Outcome::Close)
}

/// `TIME`: seconds and microseconds.
pub(super) fn time(call: &mut Call<'_>) -> Handled {
    let now = unix();
    reply::array(call.out, 2);
    reply::bulk(call.out, now.as_secs().to_string().as_bytes());
    reply::bulk(call.out, now.subsec_micros().to_string().as_bytes());
    Ok(Outcome::Done)
}

/// `HELLO [2|3 [AUTH default password] [SETNAME name]]`
pub(super) fn hello(call: &mut Call<'_>) -> Handled {
    let resp3 = match call.args.len() {
        1 => call.client.resp3,
        _ => match call.args.get(1) {
            b"2" => false,
            b"3" => true,
            _ => return Err("NOPROTO unsupported protocol version".into()),
        },
    };
    let mut index = 2;
    while index < call.args.len() {
        let option = call.args.get(index);
        if option.eq_ignore_ascii_case(b"AUTH") && index + 2 < call.args.len() {
            if call.args.get(index + 1) != b"default" {
                return Err("Access denied".into());
            }
            let began = call.out.len();
            let outcome = access::plain(call, index + 2)?;
            if outcome != Outcome::Done {
                return Ok(outcome);
            }
            // The reply is that of HELLO, not that of AUTH.
            call.out.truncate(began);
            index += 3;
        } else if option.eq_ignore_ascii_case(b"SETNAME") && index + 1 < call.args.len() {
            set_name(call, index + 1)?;
            index += 2;
        } else {
            return Err("Invalid argument".into());
        }
    }
    call.client.resp3 = resp3;
    reply::map(call.out, 7, resp3);
    for (name, value) in [("server", "zdb"), ("version", env!("CARGO_PKG_VERSION"))] {
        reply::bulk(call.out, name.as_bytes());
        reply::bulk(call.out, value.as_bytes());
    }
    reply::bulk(call.out, b"proto");
    reply::integer(call.out, if resp3 { 3 } else { 2 });
    reply::bulk(call.out, b"id");
    reply::integer(
        call.out,
        i64::try_from(call.client.number).unwrap_or(i64::MAX),
    );
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        reply::bulk(call.out, name.as_bytes());
        reply::bulk(call.out, value.as_bytes());
    }
    reply::bulk(call.out, b"modules");
    reply::array(call.out, 0);
    Ok(Outcome::Done)
}

fn set_name(call: &mut Call<'_>, index: usize) -> Result<(), super::Refusal> {
    let name = call.args.get(index);
    if name.len() > NAME_BYTES_MAX || !name.iter().all(u8::is_ascii_graphic) {
        return Err("Invalid argument".into());
    }
    call.client.name = name.to_vec();
    Ok(())
}

/// `CLIENT SETNAME|GETNAME|SETINFO|ID|NO-EVICT|NO-TOUCH`
pub(super) fn client(call: &mut Call<'_>) -> Handled {
    if call.args.len() < 2 {
        return Err("Missing arguments".into());
    }
    let word = call.args.get(1).to_ascii_uppercase();
    match (word.as_slice(), call.args.len()) {
        (b"ID", 2) => reply::integer(
            call.out,
            i64::try_from(call.client.number).unwrap_or(i64::MAX),
        ),
        (b"GETNAME", 2) if call.client.name.is_empty() => reply::nil(call.out, call.client.resp3),
        (b"GETNAME", 2) => reply::bulk(call.out, &call.client.name),
        (b"SETNAME", 3) => {
            set_name(call, 2)?;
            reply::status(call.out, "OK");
        }
        // Nothing here evicts, touches or shows a library's name.
        (b"SETINFO", 4) | (b"NO-EVICT" | b"NO-TOUCH", 3) => reply::status(call.out, "OK"),
        _ => return Err("Unknown CLIENT subcommand".into()),
    }
    Ok(Outcome::Done)
}

/// `COMMAND [COUNT|LIST|DOCS|INFO name...]`
pub(super) fn command(call: &mut Call<'_>) -> Handled {
    let word = if call.args.len() > 1 {
        call.args.get(1).to_ascii_uppercase()
    } else {
        Vec::new()
    };
    let known = || {
        TABLE
            .iter()
            .enumerate()
            .filter(|(_, command)| command.kind != Kind::Mark)
    };
    match word.as_slice() {
        b"" => {
            reply::array(call.out, known().count());
            for (index, _) in known() {
                describe(call.out, Some(index), call.client.resp3);
            }
        }
        b"INFO" => {
            reply::array(call.out, call.args.len() - 2);
            for name in call.args.iter(2) {
                describe(call.out, find(name), call.client.resp3);
            }
        }
        b"COUNT" => reply::integer(call.out, known().count() as i64),
        b"LIST" => {
            reply::array(call.out, known().count());
            for (_, command) in known() {
                reply::bulk(call.out, command.name.to_ascii_lowercase().as_bytes());
            }
        }
        b"DOCS" => reply::array(call.out, 0),
        _ => return Err("Unknown COMMAND subcommand".into()),
    }
    Ok(Outcome::Done)
}

fn describe(out: &mut Vec<u8>, index: Option<usize>, resp3: bool) {
    let Some(index) = index else {
        return reply::nil(out, resp3);
    };
    let command = &TABLE[index];
    reply::array(out, 6);
    reply::bulk(out, command.name.to_ascii_lowercase().as_bytes());
    reply::integer(out, command.arity.into());
    let flag = match command.kind {
        Kind::Change => "write",
        Kind::Admin | Kind::AdminChange => "admin",
        Kind::Read | Kind::Mark => "readonly",
    };
    reply::array(out, 1);
    reply::status(out, flag);
    let keyed = matches!(
        command.name,
        "SET"
            | "SETX"
            | "GET"
            | "MGET"
            | "DEL"
            | "EXISTS"
            | "CHECK"
            | "LENGTH"
            | "KEYTIME"
            | "KEYCUR"
            | "HISTORY"
    );
    let last = if command.name == "MGET" {
        -1
    } else {
        i64::from(keyed)
    };
    for place in [i64::from(keyed), last, i64::from(keyed)] {
        reply::integer(out, place);
    }
}

/// `CONFIG GET pattern...`: the few names that clients and benchmarks read.
pub(super) fn config(call: &mut Call<'_>) -> Handled {
    if call.args.len() < 3 || !call.args.get(1).eq_ignore_ascii_case(b"GET") {
        return Err("Unknown CONFIG subcommand".into());
    }
    let sync = match call.shared.options.sync {
        crate::options::Sync::Always | crate::options::Sync::Group => "always",
        crate::options::Sync::Interval(_) => "everysec",
        crate::options::Sync::Never => "no",
    };
    let clients = match call.client.entrance {
        None => call.shared.options.clients_max,
        Some(_) => call.shared.options.entrance_clients_max,
    };
    let clients = clients.to_string();
    let all = [
        ("appendfsync", sync),
        ("appendonly", "yes"),
        ("databases", "1"),
        ("maxclients", clients.as_str()),
        ("maxmemory", "0"),
        ("save", ""),
    ];
    let wanted = |name: &str| {
        call.args
            .iter(2)
            .any(|pattern| matches_pattern(pattern, name.as_bytes()))
    };
    let found: Vec<_> = all.iter().filter(|(name, _)| wanted(name)).collect();
    reply::map(call.out, found.len(), call.client.resp3);
    for (name, value) in found {
        reply::bulk(call.out, name.as_bytes());
        reply::bulk(call.out, value.as_bytes());
    }
    Ok(Outcome::Done)
}

/// A pattern with at most one `*`, in any case.
fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.iter().position(|byte| *byte == b'*') {
        None => pattern.eq_ignore_ascii_case(name),
        Some(star) => {
            let (head, tail) = (&pattern[..star], &pattern[star + 1..]);
            name.len() >= head.len() + tail.len()
                && name[..head.len()].eq_ignore_ascii_case(head)
                && name[name.len() - tail.len()..].eq_ignore_ascii_case(tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn patterns_have_a_star() {
        assert!(matches_pattern(b"*", b"save") && matches_pattern(b"APPEND*", b"appendonly"));
        assert!(matches_pattern(b"a*only", b"appendonly") && !matches_pattern(b"save*e", b"save"));
        assert!(!matches_pattern(b"sav", b"save"));
    }
}
