//! WAIT, MIRROR and MASTER: what clients learn of each other.
//!
//! Notices and frames are collected while a turn executes and leave after its commit: nobody hears of a change
//! that was not made. A frame is `[unix seconds, namespace, owner, original arguments...]`; the owner is the
//! instance where the change was made first, so that two servers which follow each other can stop it.

use std::time::Duration;

use tfgrid_zdb::NamespaceId;

use super::{admin, digits, find, Call, Handled, Outcome};
use crate::client::Watch;
use crate::wire::reply;

const WAIT_DEFAULT_MS: u64 = 5000;
const WAIT_MS: std::ops::RangeInclusive<u64> = 100..=1_800_000;

/// `WAIT command|* [milliseconds]`
pub(super) fn wait(call: &mut Call<'_>) -> Handled {
    if !(2..=3).contains(&call.args.len()) {
        return Err("Invalid arguments".into());
    }
    let name = call.args.get(1);
    let command = if name == b"*" {
        None
    } else {
        Some(find(name).ok_or("Unknown command to watch")?)
    };
    let milliseconds = match call.args.len() {
        2 => Some(WAIT_DEFAULT_MS),
        _ => digits(call.args.get(2)).filter(|wait| WAIT_MS.contains(wait)),
    };
    let milliseconds = milliseconds.ok_or("Invalid timeout")?;
    let until = call.shared.now + Duration::from_millis(milliseconds);
    call.client.watch = Some(Watch { command, until });
    call.shared.watchers += 1;
    Ok(Outcome::Waits)
}

/// `*` stands for any command in WAIT and is none.
pub(super) fn any(_call: &mut Call<'_>) -> Handled {
    Err("This is not a valid command".into())
}

/// `MIRROR`: from now on this client gets the feed.
pub(super) fn mirror(call: &mut Call<'_>) -> Handled {
    admin(call)?;
    if !call.client.mirror {
        call.client.mirror = true;
        call.shared.listeners += 1;
    }
    reply::status(call.out, "Starting mirroring");
    Ok(Outcome::Done)
}

/// `MASTER`: from now on the last argument of this client's requests is the owner of the change.
pub(super) fn master(call: &mut Call<'_>) -> Handled {
    admin(call)?;
    call.client.master = true;
    reply::status(call.out, "Hello, master");
    Ok(Outcome::Done)
}

/// Take the owner off a master's request; None if the change began here and came back.
pub(super) fn take_owner(call: &mut Call<'_>) -> Result<Option<u32>, &'static str> {
    if call.args.len() < 2 {
        return Err("Missing arguments");
    }
    let owner = digits(call.args.get(call.args.len() - 1)).ok_or("Invalid argument")?;
    call.args = call.args.without_last();
    Ok(Some(owner).filter(|owner| *owner != call.shared.instance))
}

/// The frame of the request that was just executed.
pub(super) fn frame(call: &Call<'_>, namespace: NamespaceId, owner: u32) -> crate::shared::Frame {
    let name = call.shared.name(namespace);
    let mut bytes = Vec::with_capacity(64 + call.args.iter(0).map(|a| a.len() + 16).sum::<usize>());
    reply::array(&mut bytes, call.args.len() + 3);
    reply::integer(&mut bytes, call.shared.seconds.into());
    reply::bulk(&mut bytes, name.as_bytes());
    reply::integer(&mut bytes, owner.into());
    for argument in call.args.iter(0) {
        reply::bulk(&mut bytes, argument);
    }
    crate::shared::Frame {
        namespace,
        client: call.client.id,
        bytes,
    }
}
