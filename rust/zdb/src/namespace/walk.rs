//! Listing: in log order (SCAN, RSCAN) and by prefix (KSCAN).
//!
//! A stretch of dead records may be as long as the log. So whoever walks is asked after each record, and after
//! each piece of damage, whether to go on; where a walk ended it can begin again, and has lost nothing but time.

use std::io;

use super::{bump, Namespace};
use crate::format::{RecordHeader, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::segment::{Met, Walk};
use crate::{Direction, Disk, Error, Meta, Mode, Place, Result, Scratch, KEY_BYTES_MAX};

/// Read with the header of a record, so that its key comes along.
const HEAD_BYTES: usize = RECORD_HEADER_BYTES + KEY_BYTES_MAX;

/// Where a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    place: Place,
    /// Whether what is there was looked at.
    seen: bool,
    /// Backwards, what is before the place is looked for from the front of the file.
    search: Option<Search>,
}

/// Looking for the last record before a place, from the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Search {
    /// Up to here it was looked for.
    done: u32,
    /// The last one so far.
    last: Option<u32>,
}

impl Position {
    /// After (before) the record at a place.
    #[must_use]
    pub fn beside(place: Place) -> Self {
        Self {
            place,
            seen: true,
            search: None,
        }
    }

    fn at(file: u32, offset: u32) -> Self {
        Self {
            place: Place { file, offset },
            seen: false,
            search: None,
        }
    }
}

/// Told of each record that is looked at, live ones with key and all the rest; says whether to go on.
pub type Step<'s> = &'s mut dyn FnMut(Option<(&[u8], &Meta)>) -> bool;

/// The same of one file: header and key of each record, `None` for a piece of damage.
type Look<'l> = &'l mut dyn FnMut(Option<(&RecordHeader, &[u8])>) -> Result<bool>;

impl<D: Disk> Namespace<D> {
    /// SCAN, RSCAN: current versions of live keys in log order, from a position on or from the beginning (end).
    ///
    /// Returns where to go on when `step` said stop; `None` at the end. Damage is passed over and counted in
    /// `Stats::damaged`. A place in a file that FLUSH removed is before everything.
    ///
    /// # Errors
    /// `NoRecord` when `from` is beyond the log; `Read`.
    pub fn scan(
        &self,
        from: Option<Position>,
        direction: Direction,
        step: Step<'_>,
    ) -> Result<Option<Position>> {
        let end = self.end_place();
        // Only a walk that stopped stands at the end itself.
        let asked = |from: Position| from.seen && from.search.is_none();
        if from.is_some_and(|from| from.place > end || asked(from) && from.place == end) {
            return Err(Error::NoRecord);
        }
        match direction {
            Direction::Forward => self.scan_forward(from.unwrap_or(Position::at(0, 0)), step),
            Direction::Backward => self.scan_backward(from.unwrap_or(Position::beside(end)), step),
        }
    }

    fn end_place(&self) -> Place {
        Place {
            file: self.manifest.last,
            offset: self.totals.end,
        }
    }

    fn end_of(&self, file: u32) -> u32 {
        match self.segment(file) {
            Some(_) if file == self.manifest.last => self.totals.end,
            Some(segment) => segment.end(),
            None => SEGMENT_HEADER_BYTES,
        }
    }

    fn unreadable(&self, error: &io::Error) -> Error {
        bump(&self.counters.data_errors);
        Error::read("data file", error)
    }

    fn scan_forward(&self, from: Position, step: Step<'_>) -> Result<Option<Position>> {
        for file in from.place.file.max(self.manifest.first)..=self.manifest.last {
            let start = match file == from.place.file {
                true => from.place.offset,
                false => 0,
            };
            let stopped = self.walk_heads(file, (start, self.end_of(file)), &mut |head| {
                let Some((header, key)) = head else {
                    return Ok(step(None));
                };
                // The record at `from` was visited before.
                if from.seen && header.meta.place == from.place {
                    return Ok(true);
                }
                let live = self.is_live(header, key)?;
                Ok(step(live.then_some((key, &header.meta))))
            })?;
            if let Some(offset) = stopped {
                return Ok(Some(Position::at(file, offset)));
            }
        }
        Ok(None)
    }

    /// Walk the records of a file without their payloads, and what is damaged piece by piece, which is `None`.
    ///
    /// Returns where to go on when `look` said stop; `None` at the end.
    fn walk_heads(
        &self,
        file: u32,
        (from, end): (u32, u32),
        look: Look<'_>,
    ) -> Result<Option<u32>> {
        let Some(segment) = self.segment(file) else {
            return Ok(None);
        };
        let read = |buffer: &mut [u8], offset| self.read_bytes(buffer, Place { file, offset });
        for stretch in segment.stretches(from, end) {
            let mut walk = Walk::in_pieces(&read, segment.seed, file, stretch);
            let mut damage_ended_at = None;
            while let Some(met) = walk.step().map_err(|error| self.unreadable(&error))? {
                let (goes_on, next) = match met {
                    Met::Record { header, key, .. } => {
                        let next = header.meta.place.offset + header.total() as u32;
                        (look(Some((&header, key)))?, next)
                    }
                    Met::Hole { from, to } => {
                        if damage_ended_at != Some(from) {
                            bump(&self.counters.damaged);
                        }
                        damage_ended_at = Some(to);
                        (look(None)?, to)
                    }
                };
                if !goes_on {
                    return Ok(Some(next));
                }
            }
        }
        Ok(None)
    }

    /// Whether a record is the current version of a live key.
    fn is_live(&self, header: &RecordHeader, key: &[u8]) -> Result<bool> {
        if header.meta.deleted {
            return Ok(false);
        }
        let (hash, place) = (self.manifest.uid.hash(key), header.meta.place);
        if self.manifest.mode == Mode::User || header.meta.parent.is_some() {
            return Ok(self.table.is_current(hash, place));
        }
        let mut scratch = Scratch::default();
        let newest = self.current(key, 0, true, &mut scratch)?;
        Ok(newest.is_some_and(|newest| newest.location.place() == place))
    }

    fn scan_backward(&self, from: Position, step: Step<'_>) -> Result<Option<Position>> {
        let mut scratch = Scratch::default();
        let mut at = from;
        let mut here = match at.search {
            None => self.readable(at.place, &mut scratch)?,
            Some(_) => None,
        };
        while at.place.file >= self.manifest.first {
            let file = at.place.file;
            // One that does not lead backward is no better than none: a walk has to end.
            let chained = match at.search {
                None => self.previous_offset(at.place, here.as_ref()),
                Some(_) => None,
            }
            .filter(|offset| *offset < at.place.offset);
            let mut before = chained.map(|offset| Place { file, offset });
            here = match before.filter(|place| place.offset > 0) {
                Some(place) => self.readable(place, &mut scratch)?,
                None => None,
            };
            if chained != Some(0) && here.is_none() {
                before = match self.search(at, step)? {
                    Searched::Whole(found) => found,
                    Searched::Stopped(here) => return Ok(Some(here)),
                };
                here = match before {
                    Some(place) => self.readable(place, &mut scratch)?,
                    None => None,
                };
            }
            let Some(place) = before.filter(|place| place.offset > 0) else {
                let Some(file) = file.checked_sub(1) else {
                    return Ok(None);
                };
                let offset = self.end_of(file);
                at = Position::beside(Place { file, offset });
                continue;
            };
            at = Position::beside(place);
            let mut goes_on = true;
            if let Some(header) = &here {
                let key = scratch.record_key(header).to_vec();
                let live = self.is_live(header, &key)?;
                goes_on = step(live.then_some((&key, &header.meta)));
            }
            if !goes_on {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Where the record before a place is in its file, if the record there says so; 0 if there is none.
    fn previous_offset(&self, place: Place, here: Option<&RecordHeader>) -> Option<u32> {
        if place.file == self.manifest.last && place.offset == self.totals.end {
            return Some(self.totals.last).filter(|last| *last > 0);
        }
        let header = here.filter(|header| !header.void)?;
        Some(header.meta.previous_offset)
    }

    /// Damage, a dropped record or the end of a file: the last record before a position, looked for from the
    /// front; where to go on if `step` said stop.
    fn search(&self, at: Position, step: Step<'_>) -> Result<Searched> {
        let file = at.place.file;
        let begun = at.search.unwrap_or(Search {
            done: 0,
            last: None,
        });
        let mut last = begun.last;
        let stopped = self.walk_heads(file, (begun.done, at.place.offset), &mut |head| {
            if let Some((header, _)) = head {
                last = Some(header.meta.place.offset);
            }
            Ok(step(None))
        })?;
        if let Some(done) = stopped {
            let search = Some(Search { done, last });
            return Ok(Searched::Stopped(Position { search, ..at }));
        }
        Ok(Searched::Whole(last.map(|offset| Place { file, offset })))
    }

    fn readable(&self, place: Place, scratch: &mut Scratch) -> Result<Option<RecordHeader>> {
        if place.offset >= self.end_of(place.file) {
            return Ok(None);
        }
        match self.fetch(place, HEAD_BYTES, scratch) {
            Err(Error::Damaged { .. }) => Ok(None),
            other => other,
        }
    }

    /// KSCAN: live keys that begin with a prefix, in no order, from a cursor on; the first one is 0.
    ///
    /// `step` is told of each key that is looked at, `None` where it does not begin so, and says whether to go
    /// on. Returns the cursor to go on with, `None` at the end. Keys that stay throughout are visited exactly
    /// once. Damaged records are passed over.
    ///
    /// # Errors
    /// `Read`.
    pub fn keys(
        &self,
        prefix: &[u8],
        cursor: u64,
        step: &mut dyn FnMut(Option<&[u8]>) -> bool,
    ) -> Result<Option<u64>> {
        match self.manifest.mode {
            Mode::User => self.keys_by_hash(prefix, cursor, step),
            Mode::Sequential => self.keys_by_place(prefix, cursor, step),
        }
    }

    fn keys_by_hash(
        &self,
        prefix: &[u8],
        mut cursor: u64,
        step: &mut dyn FnMut(Option<&[u8]>) -> bool,
    ) -> Result<Option<u64>> {
        let mut scratch = Scratch::default();
        let mut goes_on = true;
        while let Ok(hash) = u32::try_from(cursor) {
            let (stretch, after) = self.table.stretch(hash);
            let first = stretch.partition_point(|&(other, _)| other < hash);
            for (position, &(hash, location)) in stretch.iter().enumerate().skip(first) {
                // Keys of one hash stay together: the cursor cannot tell them apart.
                if !goes_on && stretch[position - 1].0 != hash {
                    return Ok(Some(u64::from(hash)));
                }
                let header = self.readable(location.place(), &mut scratch)?;
                let key = header.map(|header| scratch.record_key(&header));
                goes_on &= step(key.filter(|key| key.starts_with(prefix)));
            }
            cursor = after;
            if !goes_on {
                break;
            }
        }
        Ok((cursor <= u64::from(u32::MAX)).then_some(cursor))
    }

    fn keys_by_place(
        &self,
        prefix: &[u8],
        cursor: u64,
        step: &mut dyn FnMut(Option<&[u8]>) -> bool,
    ) -> Result<Option<u64>> {
        let from = Position::at((cursor >> 32) as u32, cursor as u32);
        let next = self.scan(Some(from), Direction::Forward, &mut |live| {
            step(
                live.map(|(key, _)| key)
                    .filter(|key| key.starts_with(prefix)),
            )
        })?;
        let pack = |next: Position| u64::from(next.place.file) << 32 | u64::from(next.place.offset);
        Ok(next.map(pack))
    }
}

/// What looking from the front came to.
enum Searched {
    /// The last record before, if there is one.
    Whole(Option<Place>),
    /// `step` said stop here.
    Stopped(Position),
}
