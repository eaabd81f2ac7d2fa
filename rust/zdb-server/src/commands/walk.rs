//! Walking over keys and versions: SCAN, RSCAN, KSCAN, KEYCUR, HISTORY.
//!
//! A cursor is 17 bytes as in the original: key length (1), data file (4), payload length (4), offset (4) and
//! payload CRC (4), little-endian. A position in a history is file and offset (4 each); all zero is its end.
//!
//! A listing may have to pass any number of dead records before its reply is full. It takes turns: what it has
//! so far waits with the client, and the same request goes on in another turn (`walkers` says when).

use std::time::Instant;

use tfgrid_zdb::{Direction, Error, Meta, Place, Position, Record};

use super::keys::{refusal, thawed};
use super::pattern;
use super::{exactly, Call, Handled, Outcome, Refusal};
use crate::shared::{Shared, Space};
use crate::wire::reply;

const CURSOR_BYTES: usize = 17;
const POSITION_BYTES: usize = 8;
/// Entries of one reply: by count, so that a reply depends on the data and not on the machine.
const SCAN_ENTRIES: usize = 1024;
/// Keys that SCAN as Redis has it looks at for one reply: what `COUNT` asks for is a hint.
const REDIS_SCAN_KEYS: usize = 1024;
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

/// `SCAN [cursor]`, and `SCAN number [MATCH pattern] [COUNT number] [TYPE string]`, which 0-db refuses.
pub(super) fn scan(call: &mut Call<'_>) -> Handled {
    if call.args.len() > 1 && call.args.get(1).len() != CURSOR_BYTES {
        if let Some(cursor) = super::digits(call.args.get(1)) {
            return redis_scan(call, cursor);
        }
    }
    walk(call, Direction::Forward)
}

/// `SCANX [cursor]`
pub(super) fn scanx(call: &mut Call<'_>) -> Handled {
    walk(call, Direction::Forward)
}

/// `RSCAN [cursor]`
pub(super) fn rscan(call: &mut Call<'_>) -> Handled {
    walk(call, Direction::Backward)
}

/// A listing under way: the reply so far, and where it goes on.
#[derive(Debug, Default)]
pub struct Listing {
    position: Option<Position>,
    cursor: u64,
    items: Vec<u8>,
    count: usize,
    last: [u8; CURSOR_BYTES],
}

impl Listing {
    /// Bytes of memory that it takes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.items.capacity()
    }

    fn take(&mut self, key: &[u8], meta: &Meta) {
        reply::array(&mut self.items, 3);
        reply::bulk(&mut self.items, key);
        reply::integer(&mut self.items, meta.length.into());
        reply::integer(&mut self.items, meta.timestamp.into());
        self.last = cursor(key.len(), meta);
        self.count += 1;
    }

    fn scan(&mut self, space: &Space, direction: Direction, until: Instant) -> Listed {
        let next = space.scan(self.position, direction, &mut |live| {
            if let Some((key, meta)) = live {
                self.take(key, meta);
            }
            self.count < SCAN_ENTRIES && Instant::now() < until
        });
        self.position = next?;
        Ok(self.position.is_none() || self.count >= SCAN_ENTRIES)
    }

    fn kscan(&mut self, space: &Space, prefix: &[u8], until: Instant) -> Listed {
        let next = space.keys(prefix, self.cursor, &mut |key| {
            if let Some(key) = key {
                reply::bulk(&mut self.items, key);
                self.count += 1;
            }
            self.items.len() < KSCAN_REPLY_BYTES && Instant::now() < until
        })?;
        self.cursor = next.unwrap_or(0);
        Ok(self.cursor == 0 || self.items.len() >= KSCAN_REPLY_BYTES)
    }
}

/// Whether the reply is whole.
type Listed = Result<bool, Error>;

/// Go on with a client's listing as long as this turn allows; the whole one, once it is.
fn list(
    call: &mut Call<'_>,
    begin: impl FnOnce(&Call<'_>) -> Result<Listing, Refusal>,
    go_on: impl FnOnce(&mut Listing, &Space, Instant) -> Listed,
) -> Result<Option<Listing>, Refusal> {
    let Some(until) = call.shared.walkers.enter(call.client.id) else {
        return Ok(None);
    };
    let done = listed(call, until, begin, go_on);
    let goes_on = matches!(done, Ok(None));
    call.shared.walkers.leave(call.client.id, goes_on);
    done
}

fn listed(
    call: &mut Call<'_>,
    until: Instant,
    begin: impl FnOnce(&Call<'_>) -> Result<Listing, Refusal>,
    go_on: impl FnOnce(&mut Listing, &Space, Instant) -> Listed,
) -> Result<Option<Listing>, Refusal> {
    let under_way = call.client.listing.take();
    thawed(call)?;
    let mut listing = match under_way {
        Some(listing) => listing,
        None => Box::new(begin(call)?),
    };
    let space = call
        .shared
        .engine
        .namespace(call.client.namespace)
        .map_err(refusal)?;
    let whole = go_on(&mut listing, space, until).map_err(|error| match error {
        Error::NoRecord | Error::EndOfFile => Refusal::from("Invalid key format"),
        other => refusal(other),
    })?;
    if whole {
        return Ok(Some(*listing));
    }
    call.client.listing = Some(listing);
    Ok(None)
}

fn walk(call: &mut Call<'_>, direction: Direction) -> Handled {
    let begin = |call: &Call<'_>| {
        let position = match call.args.len() {
            1 => None,
            2 => Some(place_of(call.args.get(1)).ok_or("Invalid key format")?),
            _ => return Err("Unexpected arguments".into()),
        };
        Ok(Listing {
            position: position.map(Position::beside),
            ..Listing::default()
        })
    };
    let go_on = |listing: &mut Listing, space: &Space, until| listing.scan(space, direction, until);
    let Some(listing) = list(call, begin, go_on)? else {
        return Ok(Outcome::Again(None));
    };
    if listing.count == 0 {
        return Err("No more data".into());
    }
    reply::array(call.out, 2);
    reply::bulk(call.out, &listing.last);
    reply::array(call.out, listing.count);
    call.out.extend_from_slice(&listing.items);
    Ok(Outcome::Done)
}

/// `KSCAN prefix [cursor]`: the cursor of the next part, `0` at the end.
pub(super) fn kscan(call: &mut Call<'_>) -> Handled {
    if !(2..=3).contains(&call.args.len()) {
        return Err("Unexpected arguments".into());
    }
    let first = call.args.len() == 2;
    let begin = |call: &Call<'_>| {
        let cursor = match call.args.len() {
            2 => 0,
            _ => super::digits(call.args.get(2)).ok_or("Invalid key format")?,
        };
        Ok(Listing {
            cursor,
            ..Listing::default()
        })
    };
    let prefix = call.args.get(1);
    let go_on = |listing: &mut Listing, space: &Space, until| listing.kscan(space, prefix, until);
    let Some(listing) = list(call, begin, go_on)? else {
        return Ok(Outcome::Again(None));
    };
    if listing.count == 0 && listing.cursor == 0 && first {
        return Err("No keys match".into());
    }
    reply::array(call.out, 2);
    reply::bulk(call.out, listing.cursor.to_string().as_bytes());
    reply::array(call.out, listing.count);
    call.out.extend_from_slice(&listing.items);
    Ok(Outcome::Done)
}

/// SCAN as clients of Redis know it: keys by a pattern, from cursor 0 to cursor 0.
fn redis_scan(call: &mut Call<'_>, cursor: u64) -> Handled {
    let (mut wanted, mut strings) = (&b"*"[..], true);
    if call.args.len() % 2 != 0 {
        return Err("Unexpected arguments".into());
    }
    for index in (2..call.args.len()).step_by(2) {
        let value = call.args.get(index + 1);
        match call.args.get(index).to_ascii_uppercase().as_slice() {
            b"MATCH" => wanted = value,
            b"COUNT" if super::digits::<u64>(value).is_some_and(|count| count > 0) => {}
            b"TYPE" => strings = value.eq_ignore_ascii_case(b"string"),
            _ => return Err("Invalid argument".into()),
        }
    }
    let begin = |_: &Call<'_>| {
        Ok(Listing {
            cursor,
            ..Listing::default()
        })
    };
    let go_on = |listing: &mut Listing, space: &Space, until| {
        let mut looked = 0;
        let next = space.keys(pattern::prefix(wanted), listing.cursor, &mut |key| {
            if let Some(key) = key.filter(|key| strings && pattern::matches(wanted, key)) {
                reply::bulk(&mut listing.items, key);
                listing.count += 1;
            }
            looked += 1;
            looked < REDIS_SCAN_KEYS && Instant::now() < until
        })?;
        listing.cursor = next.unwrap_or(0);
        // A reply may have few keys or none: whoever asks goes on until the cursor is 0.
        Ok(true)
    };
    let Some(listing) = list(call, begin, go_on)? else {
        return Ok(Outcome::Again(None));
    };
    reply::array(call.out, 2);
    reply::bulk(call.out, listing.cursor.to_string().as_bytes());
    reply::array(call.out, listing.count);
    call.out.extend_from_slice(&listing.items);
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
