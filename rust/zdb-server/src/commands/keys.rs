//! Commands on single keys: SET, GET, DEL and what is known of a key.

use tfgrid_zdb::{Error, Meta, Mode, NamespaceId, Written, KEY_BYTES_MAX};

use super::{admin, digits, exactly, Call, Handled, Outcome, Refusal, OUTPUT_PAUSE_BYTES};
use crate::log::{self, Field, Level};
use crate::shared::Shared;
use crate::wire::reply;

const FROZEN: &str = "Namespace is temporarily frozen (read-write disabled)";

/// The text of what the engine refused, for a client.
pub(super) fn refusal(error: Error) -> Refusal {
    match error {
        Error::KeyTooLong => "Key too large".into(),
        Error::PayloadTooLong => "Payload too big".into(),
        Error::KeyNeeded => "Invalid argument, key needed".into(),
        Error::UnknownId => "Invalid key, only update authorized".into(),
        Error::NotFound => "Key not found".into(),
        Error::NoSpace => "No space left on this namespace".into(),
        Error::Worm => "Namespace is protected by worm mode".into(),
        Error::Locked => "Namespace is temporarily locked (read-only)".into(),
        Error::Frozen => FROZEN.into(),
        Error::ReadOnly(reason) => format!("Namespace is in read-only mode ({reason})").into(),
        Error::Write(_) => "Cannot write data right now".into(),
        _ => "Internal Error".into(),
    }
}

/// Write what a read met into the log; the client gets the text of the original.
fn unreadable(shared: &Shared, namespace: NamespaceId, error: &Error) -> Refusal {
    let (name, reason) = (shared.name(namespace), error.to_string());
    let fields = [
        ("namespace", Field::Text(&name)),
        ("reason", Field::Text(&reason)),
    ];
    log::write(Level::Error, "a record could not be read", &fields);
    "Internal Error".into()
}

/// Refuse to read what is frozen.
pub(super) fn thawed(call: &Call<'_>) -> Result<(), Refusal> {
    let space = call
        .shared
        .engine
        .namespace(call.client.namespace)
        .map_err(refusal)?;
    if space.properties().freeze {
        Err(FROZEN.into())
    } else {
        Ok(())
    }
}

#[inline]
fn timestamp(call: &Call<'_>, index: usize) -> Result<u32, Refusal> {
    if call.args.len() <= index {
        return Ok(call.shared.seconds);
    }
    digits(call.args.get(index)).ok_or_else(|| "Invalid argument".into())
}

/// The text of a refused write; where the quota is used up, compaction is looked at soon.
fn refused(call: &mut Call<'_>, namespace: NamespaceId, error: Error) -> Refusal {
    if error == Error::NoSpace {
        call.shared.due(namespace);
    }
    refusal(error)
}

/// `SET key value [timestamp]`
pub(super) fn set(call: &mut Call<'_>) -> Handled {
    if call.args.len() == 4 {
        admin(call)?;
    } else if call.args.len() != 3 {
        return Err("Unexpected arguments".into());
    }
    let (key, value) = (call.args.get(1), call.args.get(2));
    if key.len() > KEY_BYTES_MAX {
        return Err("Key too large".into());
    }
    if !call.client.writable {
        return Err("Namespace is in read-only mode".into());
    }
    let timestamp = timestamp(call, 3)?;
    let id = call.client.namespace;
    let space = call.shared.engine.namespace_mut(id).map_err(refusal)?;
    match space.set(key, value, timestamp) {
        Err(error) => return Err(refused(call, id, error)),
        Ok(Written::Identical) => reply::nil(call.out, call.client.resp3),
        Ok(Written::Stored(_)) if key.is_empty() => {
            debug_assert_eq!(space.mode(), Mode::Sequential);
            reply::bulk(call.out, &space.last_id());
        }
        Ok(Written::Stored(_)) => reply::bulk(call.out, key),
    }
    call.shared.unsettle(id);
    Ok(Outcome::Done)
}

/// `DEL key [timestamp]`
pub(super) fn del(call: &mut Call<'_>) -> Handled {
    if call.args.len() == 3 {
        admin(call)?;
    } else {
        exactly(&call.args, 2)?;
    }
    let key = short_key(call)?;
    if !call.client.writable {
        return Err("Namespace is in read-only mode".into());
    }
    let timestamp = timestamp(call, 2)?;
    let id = call.client.namespace;
    let space = call.shared.engine.namespace_mut(id).map_err(refusal)?;
    match space.delete(key, timestamp) {
        Ok(()) => {}
        Err(Error::Worm) => {
            return Err("Cannot delete a key when namespace is in worm mode".into());
        }
        Err(error) => return Err(refused(call, id, error)),
    }
    reply::status(call.out, "OK");
    call.shared.unsettle(id);
    Ok(Outcome::Done)
}

fn short_key<'a>(call: &Call<'a>) -> Result<&'a [u8], Refusal> {
    let key = call.args.get(1);
    if key.len() > KEY_BYTES_MAX {
        Err("Invalid key".into())
    } else {
        Ok(key)
    }
}

#[inline]
fn read_key<'a>(call: &Call<'a>) -> Result<&'a [u8], Refusal> {
    exactly(&call.args, 2)?;
    let key = short_key(call)?;
    thawed(call)?;
    Ok(key)
}

#[inline]
fn get_one(call: &mut Call<'_>, key: &[u8]) -> Result<(), Refusal> {
    let Shared {
        engine, scratch, ..
    } = &mut *call.shared;
    let space = engine.namespace(call.client.namespace).map_err(refusal)?;
    match space.get(key, scratch) {
        Ok(Some(record)) => reply::bulk(call.out, record.payload),
        Ok(None) => reply::nil(call.out, call.client.resp3),
        Err(error) => return Err(unreadable(call.shared, call.client.namespace, &error)),
    }
    Ok(())
}

/// `GET key`
pub(super) fn get(call: &mut Call<'_>) -> Handled {
    let key = read_key(call)?;
    get_one(call, key)?;
    Ok(Outcome::Done)
}

/// `MGET key...`: answered in parts, so that many big values are never in memory together.
pub(super) fn mget(call: &mut Call<'_>) -> Handled {
    if call.client.progress == 0 {
        if call.args.len() < 2 {
            return Err("Invalid arguments".into());
        }
        if call.args.iter(1).any(|key| key.len() > KEY_BYTES_MAX) {
            return Err("Invalid key".into());
        }
        thawed(call)?;
        reply::array(call.out, call.args.len() - 1);
        call.client.progress = 1;
    }
    while call.client.progress < call.args.len() {
        if call.out.len() >= OUTPUT_PAUSE_BYTES {
            return Ok(Outcome::Again(None));
        }
        let key = call.args.get(call.client.progress);
        call.client.progress += 1;
        if let Err(text) = get_one(call, key) {
            reply::error(call.out, &text);
        }
    }
    call.client.progress = 0;
    Ok(Outcome::Done)
}

fn meta(call: &mut Call<'_>) -> Result<Option<Meta>, Refusal> {
    let key = read_key(call)?;
    let space = call
        .shared
        .engine
        .namespace(call.client.namespace)
        .map_err(refusal)?;
    space
        .meta(key)
        .map_err(|error| unreadable(call.shared, call.client.namespace, &error))
}

fn integer_or_nil(call: &mut Call<'_>, value: Option<i64>) -> Handled {
    match value {
        Some(value) => reply::integer(call.out, value),
        None => reply::nil(call.out, call.client.resp3),
    }
    Ok(Outcome::Done)
}

/// `EXISTS key`
pub(super) fn exists(call: &mut Call<'_>) -> Handled {
    let found = meta(call)?.is_some();
    integer_or_nil(call, Some(found.into()))
}

/// `LENGTH key`
pub(super) fn length(call: &mut Call<'_>) -> Handled {
    let found = meta(call)?;
    integer_or_nil(call, found.map(|meta| meta.length.into()))
}

/// `KEYTIME key`
pub(super) fn keytime(call: &mut Call<'_>) -> Handled {
    let found = meta(call)?;
    integer_or_nil(call, found.map(|meta| meta.timestamp.into()))
}

/// `CHECK key`: 1 good, 0 bad, -1 unreadable.
pub(super) fn check(call: &mut Call<'_>) -> Handled {
    let key = read_key(call)?;
    let Shared {
        engine, scratch, ..
    } = &mut *call.shared;
    let space = engine.namespace(call.client.namespace).map_err(refusal)?;
    let verdict = match space.check(key, scratch) {
        Ok(found) => found.map(i64::from),
        Err(Error::Damaged { .. }) => Some(0),
        Err(_) => Some(-1),
    };
    integer_or_nil(call, verdict)
}
