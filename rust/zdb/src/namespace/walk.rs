//! Listing: in log order (SCAN, RSCAN) and by prefix (KSCAN).

use std::io;

use super::{bump, Namespace};
use crate::format::{RecordHeader, SEGMENT_HEADER_BYTES};
use crate::segment::{Met, Walk};
use crate::{Direction, Disk, Error, Meta, Mode, Place, Result, Scratch};

/// Part of a listing, and where the next part begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<C> {
    /// Records visited.
    pub count: usize,
    /// Hand this in to go on; `None` at the end.
    pub next: Option<C>,
}

/// Dead records that a scan passes over before it hands back a page without any live one.
const DEAD_RECORDS_MAX: usize = 100_000;

impl<D: Disk> Namespace<D> {
    /// SCAN, RSCAN: current versions of live keys in log order, strictly after (before) a place.
    ///
    /// Visits until `limit` records were visited, many dead ones were passed, or the end;
    /// `Page::next` is where to go on, while there may be more. Damage is passed over and counted in
    /// `Stats::damaged`. A place in a file that FLUSH removed is before everything.
    ///
    /// # Errors
    /// `NoRecord` when `from` is beyond the log; `Read`.
    pub fn scan(
        &self,
        from: Option<Place>,
        direction: Direction,
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &Meta),
    ) -> Result<Page<Place>> {
        if from.is_some_and(|from| from >= self.end_place()) {
            return Err(Error::NoRecord);
        }
        let mut scan = Scan {
            limit,
            count: 0,
            dead: 0,
            last: None,
            visit,
        };
        let finished = match direction {
            Direction::Forward => self.scan_forward(from, &mut scan)?,
            Direction::Backward => self.scan_backward(from, &mut scan)?,
        };
        Ok(Page {
            count: scan.count,
            next: if finished { None } else { scan.last },
        })
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

    /// Every stretch of a file, from an offset on, walked without payloads until `step` says stop.
    fn walk_heads(
        &self,
        file: u32,
        (from, end): (u32, u32),
        step: &mut dyn FnMut(&RecordHeader, &[u8]) -> Result<bool>,
    ) -> Result<bool> {
        let Some(segment) = self.segment(file) else {
            return Ok(true);
        };
        let read = |buffer: &mut [u8], offset| self.read_bytes(buffer, Place { file, offset });
        for stretch in segment.stretches(from, end) {
            let mut walk = Walk::new(&read, segment.seed, file, stretch, false);
            while let Some(met) = walk.step().map_err(|error| self.unreadable(&error))? {
                match met {
                    Met::Record { header, key, .. } => {
                        if !step(&header, key)? {
                            return Ok(false);
                        }
                    }
                    Met::Hole { .. } => bump(&self.counters.damaged),
                }
            }
        }
        Ok(true)
    }

    fn unreadable(&self, error: &io::Error) -> Error {
        bump(&self.counters.data_errors);
        Error::read("data file", error)
    }

    fn scan_forward(&self, from: Option<Place>, scan: &mut Scan<'_>) -> Result<bool> {
        let from = from.unwrap_or_default();
        for file in from.file.max(self.manifest.first)..=self.manifest.last {
            let start = if file == from.file { from.offset } else { 0 };
            let whole = self.walk_heads(file, (start, self.end_of(file)), &mut |header, key| {
                // The record at `from` was visited before.
                if header.meta.place == from && from.is_some() {
                    return Ok(true);
                }
                self.offer(header, key, scan)
            })?;
            if !whole {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Hand a record to a scan if it is current; false when the scan has enough.
    fn offer(&self, header: &RecordHeader, key: &[u8], scan: &mut Scan<'_>) -> Result<bool> {
        scan.last = Some(header.meta.place);
        if self.is_live(header, key)? {
            (scan.visit)(key, &header.meta);
            scan.count += 1;
        } else {
            scan.dead += 1;
        }
        Ok(scan.count < scan.limit && scan.dead < DEAD_RECORDS_MAX)
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

    fn scan_backward(&self, from: Option<Place>, scan: &mut Scan<'_>) -> Result<bool> {
        let mut before = from.unwrap_or_else(|| self.end_place());
        let mut scratch = Scratch::default();
        loop {
            if before.file < self.manifest.first {
                return Ok(true);
            }
            match self.place_before(before, &mut scratch)? {
                Some(place) => {
                    if let Some(header) = self.readable(place, &mut scratch)? {
                        let key = scratch.record_key(&header).to_vec();
                        if !self.offer(&header, &key, scan)? {
                            return Ok(false);
                        }
                    }
                    before = place;
                }
                None if before.file == self.manifest.first => return Ok(true),
                None => {
                    let file = before.file - 1;
                    before = Place {
                        file,
                        offset: self.end_of(file),
                    };
                }
            }
        }
    }

    /// The record before a place in the same file, damaged ones left out.
    fn place_before(&self, place: Place, scratch: &mut Scratch) -> Result<Option<Place>> {
        let file = place.file;
        if file == self.manifest.last && place.offset == self.totals.end && self.totals.last > 0 {
            let last = Place {
                file,
                offset: self.totals.last,
            };
            if self.readable(last, scratch)?.is_some() {
                return Ok(Some(last));
            }
        }
        if let Some(header) = self.readable(place, scratch)?.filter(|header| !header.void) {
            let previous = Place {
                file,
                offset: header.meta.previous_offset,
            };
            if previous.offset == 0 {
                return Ok(None);
            }
            if self.readable(previous, scratch)?.is_some() {
                return Ok(Some(previous));
            }
        }
        // Damage, a dropped record or the end of a file: look from the front.
        let mut last = None;
        self.walk_heads(file, (0, place.offset), &mut |header, _| {
            last = Some(header.meta.place);
            Ok(true)
        })?;
        Ok(last)
    }

    fn readable(&self, place: Place, scratch: &mut Scratch) -> Result<Option<RecordHeader>> {
        if place.offset >= self.end_of(place.file) {
            return Ok(None);
        }
        match self.fetch(place, 0, scratch) {
            Err(Error::Damaged { .. }) => Ok(None),
            other => other,
        }
    }

    /// KSCAN: live keys that begin with a prefix, in no order; about `budget` keys are looked at.
    ///
    /// Begin with cursor 0. Keys that stay throughout are visited exactly once. Damaged records are
    /// passed over.
    ///
    /// # Errors
    /// `Read`.
    pub fn keys(
        &self,
        prefix: &[u8],
        cursor: u64,
        budget: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Page<u64>> {
        match self.manifest.mode {
            Mode::User => self.keys_by_hash(prefix, cursor, budget, visit),
            Mode::Sequential => self.keys_by_place(prefix, cursor, budget, visit),
        }
    }

    fn keys_by_hash(
        &self,
        prefix: &[u8],
        mut cursor: u64,
        budget: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Page<u64>> {
        let (mut looked, mut count) = (0, 0);
        let mut scratch = Scratch::default();
        while let Ok(hash) = u32::try_from(cursor) {
            let (stretch, after) = self.table.stretch(hash);
            let first = stretch.partition_point(|&(other, _)| other < hash);
            for (position, &(hash, location)) in stretch.iter().enumerate().skip(first) {
                // Keys of one hash stay together: the cursor cannot tell them apart.
                if looked >= budget && stretch[position - 1].0 != hash {
                    return Ok(Page {
                        count,
                        next: Some(u64::from(hash)),
                    });
                }
                looked += 1;
                if let Some(header) = self.readable(location.place(), &mut scratch)? {
                    let key = scratch.record_key(&header);
                    if key.starts_with(prefix) {
                        visit(key);
                        count += 1;
                    }
                }
            }
            cursor = after;
            if looked >= budget {
                break;
            }
        }
        let next = (cursor <= u64::from(u32::MAX)).then_some(cursor);
        Ok(Page { count, next })
    }

    fn keys_by_place(
        &self,
        prefix: &[u8],
        cursor: u64,
        budget: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Page<u64>> {
        let from = Place {
            file: (cursor >> 32) as u32,
            offset: cursor as u32,
        };
        let mut count = 0;
        let page = self.scan(
            Some(from).filter(|from| from.is_some()),
            Direction::Forward,
            budget,
            &mut |key, _| {
                if key.starts_with(prefix) {
                    visit(key);
                    count += 1;
                }
            },
        )?;
        let pack = |next: Place| u64::from(next.file) << 32 | u64::from(next.offset);
        Ok(Page {
            count,
            next: page.next.map(pack),
        })
    }
}

/// A scan under way.
struct Scan<'v> {
    limit: usize,
    count: usize,
    dead: usize,
    last: Option<Place>,
    visit: &'v mut dyn FnMut(&[u8], &Meta),
}
