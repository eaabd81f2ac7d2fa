//! Walking over keys and versions: SCAN, RSCAN, KSCAN, KEYCUR, HISTORY.
//!
//! A cursor is 17 bytes as in the original: key length (1), data file (4), payload length (4), offset (4) and
//! payload CRC (4), little-endian. A position in a history is file and offset (4 each); all zero is its end.

use tfgrid_zdb::{Direction, Error, Meta, Place, Record};

use super::keys::{refusal, thawed};
use super::{exactly, Call, Handled, Outcome, Refusal};
use crate::shared::Shared;
use crate::wire::reply;

const CURSOR_BYTES: usize = 17;
const POSITION_BYTES: usize = 8;
/// Entries of one reply: by count, so that a reply depends on the data and not on the machine.
const SCAN_ENTRIES: usize = 1024;
const KSCAN_LOOKED_AT: usize = 65_536;
const KSCAN_REPLY_BYTES: usize = 4 * 1024 * 1024;

fn cursor(key_length: usize, meta: &Meta) -> [u8; CURSOR_BYTES] {
    let mut cursor = [0; CURSOR_BYTES];
    cursor[0] = key_length as u8;
    for (at, field) in [meta.place.file, meta.length, meta.place.offset, meta.crc]
        .iter()
        .enumerate()
    {
        cursor[1 + at * 4..5 + at * 4].copy_from_slice(&field.to_le_bytes());
    }
    cursor
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn place_of(cursor: &[u8]) -> Option<Place> {
    let whole = cursor.len() == CURSOR_BYTES && cursor[0] > 0;
    whole.then(|| Place {
        file: word(cursor, 1),
        offset: word(cursor, 9),
    })
}

/// `KEYCUR key`
pub(super) fn keycur(call: &mut Call<'_>) -> Handled {
    exactly(&call.args, 2)?;
    thawed(call)?;
    let key = call.args.get(1);
    let space = call
        .shared
        .engine
        .namespace(call.client.namespace)
        .map_err(refusal)?;
    let meta = space.meta(key).map_err(refusal)?.ok_or("Key not found")?;
    reply::bulk(call.out, &cursor(key.len(), &meta));
    Ok(Outcome::Done)
}

/// `SCAN [cursor]`
pub(super) fn scan(call: &mut Call<'_>) -> Handled {
    walk(call, Direction::Forward)
}

/// `RSCAN [cursor]`
pub(super) fn rscan(call: &mut Call<'_>) -> Handled {
    walk(call, Direction::Backward)
}

fn walk(call: &mut Call<'_>, direction: Direction) -> Handled {
    thawed(call)?;
    let from = match call.args.len() {
        1 => None,
        2 => Some(place_of(call.args.get(1)).ok_or("Invalid key format")?),
        _ => return Err("Unexpected arguments".into()),
    };
    let space = call
        .shared
        .engine
        .namespace(call.client.namespace)
        .map_err(refusal)?;
    let mut entries = Vec::new();
    let (mut count, mut last) = (0, [0; CURSOR_BYTES]);
    let mut visit = |key: &[u8], meta: &Meta| {
        reply::array(&mut entries, 3);
        reply::bulk(&mut entries, key);
        reply::integer(&mut entries, meta.length.into());
        reply::integer(&mut entries, meta.timestamp.into());
        last = cursor(key.len(), meta);
        count += 1;
    };
    space
        .scan(from, direction, SCAN_ENTRIES, &mut visit)
        .map_err(|error| match error {
            Error::NoRecord | Error::EndOfFile => Refusal::from("Invalid key format"),
            other => refusal(other),
        })?;
    if count == 0 {
        return Err("No more data".into());
    }
    reply::array(call.out, 2);
    reply::bulk(call.out, &last);
    reply::array(call.out, count);
    call.out.extend_from_slice(&entries);
    Ok(Outcome::Done)
}

/// `KSCAN prefix [cursor]`: the cursor of the next part, `0` at the end.
pub(super) fn kscan(call: &mut Call<'_>) -> Handled {
    let first = call.args.len() == 2;
    let mut cursor = match call.args.len() {
        2 => 0,
        3 => super::digits(call.args.get(2)).ok_or("Invalid key format")?,
        _ => return Err("Unexpected arguments".into()),
    };
    thawed(call)?;
    let space = call
        .shared
        .engine
        .namespace(call.client.namespace)
        .map_err(refusal)?;
    let (mut keys, mut count) = (Vec::new(), 0);
    loop {
        let mut visit = |key: &[u8]| {
            reply::bulk(&mut keys, key);
            count += 1;
        };
        let page = space
            .keys(call.args.get(1), cursor, KSCAN_LOOKED_AT, &mut visit)
            .map_err(refusal)?;
        cursor = page.next.unwrap_or(0);
        // Others wait while this goes on: who shares the server with strangers asks again.
        let shared = call.client.entrance.is_some();
        if cursor == 0 || keys.len() >= KSCAN_REPLY_BYTES || shared {
            break;
        }
    }
    if count == 0 && cursor == 0 && first {
        return Err("No keys match".into());
    }
    reply::array(call.out, 2);
    reply::bulk(call.out, cursor.to_string().as_bytes());
    reply::array(call.out, count);
    call.out.extend_from_slice(&keys);
    Ok(Outcome::Done)
}

/// `HISTORY key [position]`
pub(super) fn history(call: &mut Call<'_>) -> Handled {
    if !(2..=3).contains(&call.args.len()) {
        return Err("Invalid arguments".into());
    }
    thawed(call)?;
    let at = if call.args.len() == 3 {
        Some(position(call.args.get(2))?)
    } else {
        None
    };
    let Shared {
        engine, scratch, ..
    } = &mut *call.shared;
    let space = engine.namespace(call.client.namespace).map_err(refusal)?;
    let record = space
        .version(call.args.get(1), at, scratch)
        .map_err(|error| match error {
            Error::NoRecord | Error::EndOfFile => "Invalid arguments (index query)".into(),
            Error::OtherKey => "Invalid arguments (invalid key)".into(),
            other => refusal(other),
        })?;
    tell_version(call.out, &record, call.client.resp3);
    Ok(Outcome::Done)
}

fn position(bytes: &[u8]) -> Result<Place, Refusal> {
    if bytes.len() != POSITION_BYTES {
        return Err("Invalid arguments".into());
    }
    let place = Place {
        file: word(bytes, 0),
        offset: word(bytes, 4),
    };
    if place.is_some() {
        Ok(place)
    } else {
        Err("No more history".into())
    }
}

fn tell_version(out: &mut Vec<u8>, record: &Record<'_>, resp3: bool) {
    reply::array(out, 3);
    let older = record.meta.parent;
    if older.is_some() {
        let mut position = [0; POSITION_BYTES];
        position[..4].copy_from_slice(&older.file.to_le_bytes());
        position[4..].copy_from_slice(&older.offset.to_le_bytes());
        reply::bulk(out, &position);
    } else {
        reply::nil(out, resp3);
    }
    reply::bulk(out, record.meta.timestamp.to_string().as_bytes());
    if record.meta.deleted {
        reply::nil(out, resp3);
    } else {
        reply::bulk(out, record.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_keeps_its_place() {
        let place = Place {
            file: 3,
            offset: 0x0102_0304,
        };
        let meta = Meta {
            place,
            previous_offset: 0,
            parent: Place::NONE,
            length: 7,
            crc: 9,
            timestamp: 1,
            deleted: false,
        };
        let bytes = cursor(255, &meta);
        assert_eq!(bytes, [255, 3, 0, 0, 0, 7, 0, 0, 0, 4, 3, 2, 1, 9, 0, 0, 0]);
        assert_eq!(place_of(&bytes), Some(place));
        assert_eq!(place_of(&bytes[..16]), None);
        assert_eq!(place_of(&[0; 17]), None);
    }
}
