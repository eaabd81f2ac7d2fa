//! Reading one record: from the cache, from what is not written yet, or from the disk; always verified.
//!
//! `glance` asks the cache, `fetch` the disk. What the cache says is believed as little as what the disk
//! says: a record whose checksums are wrong there is read again from the disk before anything is called
//! damaged.

use super::{bump, Namespace};
use crate::cache::{Block, Spot, Wanted};
use crate::canary::{sings, Canary};
use crate::format::{payload_crc, RecordHeader, RECORD_HEADER_BYTES};
use crate::table::Location;
use crate::{Disk, DiskFile, Error, Mode, Place, Record, Result, Scratch, KEY_BYTES_MAX};

/// Keys whose memory is asked for together: what they need fits the nearest cache of a processor.
const WARM_KEYS: usize = 64;
/// A block that a write misses is read in if its records are not longer, for then it holds many: each is looked
/// at by one write, the next.
const WRITE_READS_IN_BYTES_MAX: usize = 128;
/// So much of a record is asked for at most: of a long one the rest follows by itself.
const TOUCH_BYTES_MAX: usize = 768;

impl<D: Disk> Namespace<D> {
    /// Header and key of the record at a location, verified, and `want` bytes or more if they are cheap.
    ///
    /// `None` when compaction dropped it. `to_write`: the record is about to be replaced.
    #[inline]
    pub(super) fn glance(
        &self,
        location: Location,
        want: usize,
        to_write: bool,
        scratch: &mut Scratch,
    ) -> Result<Option<RecordHeader>> {
        match self.remembered(location, want, to_write, scratch) {
            Some(header) => Ok(Some(header)),
            None => self.fetch(location.place(), want, scratch),
        }
    }

    /// The same from the cache alone; big records are not in there.
    #[inline]
    fn remembered(
        &self,
        location: Location,
        want: usize,
        to_write: bool,
        scratch: &mut Scratch,
    ) -> Option<RecordHeader> {
        if !location.class().is_small() {
            return None;
        }
        let place = location.place();
        let segment = self.segment(place.file)?;
        let bytes = location.class().bytes();
        let cached = segment.cached.as_ref()?;
        let wanted = self.wanted(place, if to_write { want } else { bytes })?;
        let block = if to_write && bytes > WRITE_READS_IN_BYTES_MAX {
            cached.held(&wanted)?
        } else {
            cached.block(&wanted, |bytes, at| segment.handle.read_at(bytes, at))?
        };
        scratch.lend(block, wanted.inside());
        let held = scratch.held();
        let found = RecordHeader::verify(held, segment.seed, place);
        // At the end of a block header or key may be cut, and nothing is wrong.
        if found.is_none() && held.len() >= RECORD_HEADER_BYTES + KEY_BYTES_MAX {
            cached.distrust(wanted.at);
        }
        found.map(|(header, _)| header)
    }

    /// Bring near what reading these keys will need, so that the waits for memory overlap.
    ///
    /// It changes nothing and reads no file. Looking up one key waits for memory three times, one wait
    /// after the other; those of different keys do not depend on one another.
    pub fn warm(&self, keys: &[&[u8]]) {
        if self.manifest.mode == Mode::Sequential {
            return;
        }
        for keys in keys.chunks(WARM_KEYS) {
            let (mut hashes, mut locations) = ([0; WARM_KEYS], [None; WARM_KEYS]);
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = self.manifest.uid.hash(key);
            }
            for (location, hash) in locations.iter_mut().zip(&hashes[..keys.len()]) {
                *location = self.table.glimpse(*hash);
            }
            std::hint::black_box(&locations);
            if let Some(cache) = &self.settings.cache {
                let mut spots = [Spot::default(); WARM_KEYS];
                for (spot, location) in spots.iter_mut().zip(locations) {
                    *spot = self.spot(location).unwrap_or_default();
                }
                std::hint::black_box(cache.touch(&spots[..keys.len()]));
            }
        }
    }

    #[inline]
    fn spot(&self, location: Option<Location>) -> Option<Spot> {
        let (place, bytes) = (location?.place(), location?.class().bytes());
        let cached = self.segment(place.file)?.cached.as_ref()?;
        let wanted = self.wanted(place, bytes.min(TOUCH_BYTES_MAX))?;
        Some(cached.spot(&wanted))
    }

    /// Where a place is in its file, if what is there is written and stays.
    #[inline]
    fn wanted(&self, place: Place, count: usize) -> Option<Wanted> {
        let (at, end) = self.segment(place.file)?.locate(place.offset)?;
        let end = match place.file == self.manifest.last {
            true => end.min(self.written),
            false => end,
        };
        (at < end).then_some(Wanted { at, count, end })
    }

    /// Read at least header and key of the record at a place from the disk, and verify them.
    ///
    /// `None` when compaction dropped it.
    pub(super) fn fetch(
        &self,
        place: Place,
        want: usize,
        scratch: &mut Scratch,
    ) -> Result<Option<RecordHeader>> {
        if place.file < self.manifest.first {
            return Ok(None);
        }
        let Some(segment) = self.segment(place.file) else {
            return self.damaged(place, "its data file is missing");
        };
        if !segment.holds(place.offset) {
            return Ok(None);
        }
        let seed = segment.seed;
        let mut want = want.max(RECORD_HEADER_BYTES);
        loop {
            scratch
                .fill(want, |bytes| self.read_bytes(bytes, place))
                .map_err(|error| {
                    bump(&self.counters.data_errors);
                    Error::read("data file", &error)
                })?;
            let bytes = scratch.held();
            if let Some((header, _)) = RecordHeader::verify(bytes, seed, place) {
                return Ok(Some(header));
            }
            let longer = RECORD_HEADER_BYTES + KEY_BYTES_MAX;
            let cut_key = RecordHeader::parse(bytes, place)
                .is_some_and(|header| RECORD_HEADER_BYTES + header.key_bytes > want);
            if !cut_key || want >= longer {
                return self.damaged(place, "header or key do not have their checksum");
            }
            want = longer;
        }
    }

    /// Read the rest of a fetched record and verify its payload.
    #[inline]
    pub(super) fn complete(&self, header: &RecordHeader, scratch: &mut Scratch) -> Result<()> {
        let place = header.meta.place;
        let end = RECORD_HEADER_BYTES + header.key_bytes + header.meta.length as usize;
        if scratch.held().len() < end {
            self.read_on(place, end, scratch)?;
        }
        let payload = scratch.held().get(end - header.meta.length as usize..end);
        let unchecked = sings(Canary::PayloadUnchecked) || sings(Canary::Unchecked);
        if payload.map(payload_crc) == Some(header.meta.crc) || unchecked && payload.is_some() {
            return Ok(());
        }
        if std::mem::take(&mut scratch.remembered) {
            return self.complete_anew(header, scratch);
        }
        self.damaged(place, "payload does not have its checksum")
    }

    /// What the cache said is not right: forget it and read the record from the disk.
    #[cold]
    fn complete_anew(&self, header: &RecordHeader, scratch: &mut Scratch) -> Result<()> {
        let place = header.meta.place;
        let cached = self.segment(place.file).and_then(|one| one.cached.as_ref());
        if let (Some(cached), Some(wanted)) = (cached, self.wanted(place, 0)) {
            cached.distrust(wanted.at);
            cached.distrust(wanted.at + header.total() as u32 - 1);
        }
        match self.fetch(place, header.total(), scratch)? {
            Some(again) if again == *header => self.complete(&again, scratch),
            _ => self.damaged(place, "header or key changed while they were read"),
        }
    }

    /// Have `count` bytes of the record at a place, of which some were read.
    fn read_on(&self, place: Place, count: usize, scratch: &mut Scratch) -> Result<()> {
        let remembered = scratch.own();
        let rest = Place {
            offset: place.offset + scratch.got as u32,
            ..place
        };
        scratch
            .extend(count, |bytes| {
                if remembered && self.copy_remembered(bytes, rest) {
                    return Ok(bytes.len());
                }
                self.read_bytes(bytes, rest)
            })
            .map_err(|error| {
                bump(&self.counters.data_errors);
                Error::read("data file", &error)
            })
    }

    /// Copy bytes of the cache; says whether all of them were there.
    fn copy_remembered(&self, bytes: &mut [u8], place: Place) -> bool {
        let block = self.segment(place.file).and_then(|segment| {
            let wanted = self.wanted(place, bytes.len())?;
            let cached = segment.cached.as_ref()?;
            let block = cached.block(&wanted, |bytes, at| segment.handle.read_at(bytes, at))?;
            Some((block, wanted.inside()))
        });
        let Some((block, at)) = block else {
            return false;
        };
        let found = block.get(at..at + bytes.len());
        if let Some(found) = found {
            bytes.copy_from_slice(found);
        }
        found.is_some()
    }

    #[cold]
    fn damaged<T>(&self, place: Place, what: &'static str) -> Result<T> {
        bump(&self.counters.damaged);
        Err(Error::Damaged {
            file: place.file,
            offset: place.offset,
            what,
        })
    }
}

impl Scratch {
    /// What was read so far, from the first byte of the record on.
    #[inline]
    pub(crate) fn held(&self) -> &[u8] {
        match &self.block {
            Some((block, at)) => &block[*at..],
            None => &self.bytes[..self.got],
        }
    }

    /// The record whose header was verified and whose bytes are complete.
    #[inline]
    pub(crate) fn record(&self, header: &RecordHeader) -> Record<'_> {
        let (key, rest) = self.held()[RECORD_HEADER_BYTES..].split_at(header.key_bytes);
        Record {
            key,
            payload: &rest[..header.meta.length as usize],
            meta: header.meta,
        }
    }

    /// The key of the record whose header was verified.
    #[inline]
    pub(crate) fn record_key(&self, header: &RecordHeader) -> &[u8] {
        &self.held()[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + header.key_bytes]
    }

    /// Hold a block of the cache instead of bytes of its own.
    #[inline]
    fn lend(&mut self, block: Block, at: usize) {
        self.block = Some((block, at));
        self.remembered = true;
    }

    /// Copy what is held into its own bytes; says whether it comes from the cache.
    fn own(&mut self) -> bool {
        if let Some((block, at)) = self.block.take() {
            self.bytes.clear();
            self.bytes.extend_from_slice(&block[at..]);
            self.got = self.bytes.len();
        }
        self.remembered
    }

    fn fill(
        &mut self,
        want: usize,
        read: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        (self.block, self.remembered, self.got) = (None, false, 0);
        self.extend(want, read)
    }

    /// Read more, up to `want` bytes in all.
    fn extend(
        &mut self,
        want: usize,
        read: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        if self.bytes.len() < want {
            self.bytes.resize(want, 0);
        }
        let got = self.got;
        self.got += read(&mut self.bytes[got..want])?;
        Ok(())
    }
}
