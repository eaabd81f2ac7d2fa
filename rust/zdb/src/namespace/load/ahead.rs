//! Records of a data file on their way into the index: one walks ahead, another takes in.
//!
//! Reading and verifying needs no memory but its own, taking in waits for memory: each key falls into another
//! part of a table that is larger than the caches of a processor. So where there is a second processor the walk
//! has a thread of its own, which hands over what it found, many records at a time. The table is looked at for
//! some of them at once, so that the waits overlap, and then they are taken in one after the other, in the order
//! of the log. How long a version is that another one replaces was seen when it was walked over itself, and is
//! remembered (`Lengths`): a read for each would cost more than everything else.

use std::io;
use std::sync::{mpsc, Arc};
use std::thread;

use crate::format::{RecordHeader, Uid, RECORD_HEADER_BYTES};
use crate::index::Index;
use crate::namespace::Namespace;
use crate::segment::{self, Met, Segment, Walk};
use crate::{Disk, DiskFile, Error, Mode, Place, Result};

/// Records that are handed over together.
const FOUND_RECORDS: usize = 512;
/// How often they are while nobody takes them in.
const FOUND_WAITING: usize = 8;
/// A stretch of so many bytes is worth a thread.
const BESIDE_BYTES_MIN: u32 = 8 << 20;
/// Records for which the table is looked at together: what they need fits the nearest cache of a processor.
const NEAR_RECORDS: usize = 64;
/// Records whose length is remembered at most, four bytes each.
const LENGTHS_MAX: usize = 16 << 20;

/// What a walk came across: good records, and then what is none.
#[derive(Default)]
pub(super) struct Found {
    /// Each with the hash of its key.
    records: Vec<(RecordHeader, u32)>,
    keys: Vec<u8>,
    pub(super) then: Option<NotGood>,
}

/// What is no good record.
pub(super) enum NotGood {
    /// Header and key are, the payload is not.
    Payload(RecordHeader, Vec<u8>),
    /// Neither is.
    Hole(u32, u32),
}

impl Found {
    fn push(&mut self, header: &RecordHeader, key: &[u8], hash: u32) {
        self.records.push((*header, hash));
        self.keys.extend_from_slice(key);
    }

    /// Where what follows begins.
    fn end(&self) -> Option<u32> {
        let after = |header: &RecordHeader| header.meta.place.offset + header.total() as u32;
        match &self.then {
            Some(NotGood::Hole(_, to)) => Some(*to),
            Some(NotGood::Payload(header, _)) => Some(after(header)),
            None => self.last().map(after),
        }
    }

    /// The last one of the good records.
    pub(super) fn last(&self) -> Option<&RecordHeader> {
        self.records.last().map(|(header, _)| header)
    }
}

/// A stretch of a data file that is to be walked over.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    pub(super) uid: Uid,
    pub(super) file: u32,
    pub(super) range: (u32, u32),
}

impl Stretch {
    /// Walk, as long as what was found is taken.
    fn walk(
        &self,
        read: &dyn Fn(&mut [u8], u32) -> io::Result<usize>,
        take: &mut dyn FnMut(Found) -> bool,
    ) -> io::Result<()> {
        let seed = self.uid.file_seed(self.file);
        let mut walk = Walk::new(read, seed, self.file, self.range, true);
        let mut found = Found::default();
        while let Some(met) = walk.step()? {
            match met {
                Met::Record { header, key, good } if good => {
                    found.push(&header, key, self.uid.hash(key));
                }
                Met::Record { header, key, .. } => {
                    found.then = Some(NotGood::Payload(header, key.to_vec()));
                }
                Met::Hole { from, to } => found.then = Some(NotGood::Hole(from, to)),
            }
            let full = found.records.len() >= FOUND_RECORDS || found.then.is_some();
            if full && !take(std::mem::take(&mut found)) {
                return Ok(());
            }
        }
        take(found);
        Ok(())
    }
}

impl<D: Disk> Namespace<D> {
    /// Walk over a stretch of a data file and take what is found, beside one another if that is worth it.
    pub(super) fn walk_ahead(
        &mut self,
        segment: &Segment<D::File>,
        mut stretch: Stretch,
        take: &mut dyn FnMut(&mut Self, Found) -> Result<()>,
    ) -> Result<()> {
        let failed = |error| Error::read(&segment::name(stretch.file), &error);
        let (from, to) = stretch.range;
        let beside = D::READS_BESIDE && segment.runs.is_none() && to - from >= BESIDE_BYTES_MIN;
        if beside && thread::available_parallelism().map_or(1, usize::from) > 1 {
            let handle = Arc::clone(&segment.handle);
            let mut at = from;
            let walked = self.walk_beside(&handle, stretch, &mut |namespace, found| {
                at = found.end().unwrap_or(at);
                take(namespace, found)
            })?;
            if walked.is_ok() {
                return Ok(());
            }
            // What cannot be read is read around, from where the other one stopped.
            stretch.range.0 = at;
        }
        let read = |buffer: &mut [u8], offset| segment.read(buffer, offset);
        let mut taken = Ok(());
        let walked = stretch.walk(&read, &mut |found| {
            taken = take(self, found);
            taken.is_ok()
        });
        taken?;
        walked.map_err(failed)
    }

    fn walk_beside(
        &mut self,
        handle: &D::File,
        stretch: Stretch,
        take: &mut dyn FnMut(&mut Self, Found) -> Result<()>,
    ) -> Result<io::Result<()>> {
        let (sender, receiver) = mpsc::sync_channel(FOUND_WAITING);
        thread::scope(|scope| {
            let walker = thread::Builder::new().name("walk".to_owned());
            let walker = walker.spawn_scoped(scope, move || {
                let read = |buffer: &mut [u8], offset| handle.read_at(buffer, u64::from(offset));
                stretch.walk(&read, &mut |found| sender.send(found).is_ok())
            });
            let walker = walker.map_err(|error| Error::read("a thread", &error))?;
            // When one is not taken the receiver goes, and the walk ends.
            receiver
                .into_iter()
                .try_for_each(|found| take(self, found))?;
            let walked = walker.join();
            Ok(walked.unwrap_or_else(|fault| std::panic::resume_unwind(fault)))
        })
    }

    /// Take in good records, in order.
    pub(super) fn take_in_found(
        &mut self,
        found: &Found,
        indexed: &mut Option<Index<D::File>>,
    ) -> Result<()> {
        let mut begin = 0;
        for records in found.records.chunks(NEAR_RECORDS) {
            if self.manifest.mode == Mode::User {
                let near = records.iter().map(|(_, hash)| self.table.glimpse(*hash));
                let near = near.map(|found| found.map_or(0, |location| location.packed()));
                std::hint::black_box(near.fold(0, |all, one| all ^ one));
            }
            for (header, hash) in records {
                let end = begin + header.key_bytes;
                self.take_in(header, &found.keys[begin..end], *hash, indexed)?;
                begin = end;
            }
        }
        Ok(())
    }
}

/// How long the payloads are of the records that were walked over, of the newest files that were.
///
/// A record ends where the next one begins, and its key is as long as that of the version which replaces it:
/// what is left to remember beside its offset are the bytes of padding, for which an offset has room.
#[derive(Debug, Default)]
pub(in crate::namespace) struct Lengths {
    /// Ascending by file.
    files: Vec<FileLengths>,
    count: usize,
}

#[derive(Debug)]
struct FileLengths {
    file: u32,
    /// Offsets with bytes of padding in the lower three bits, ascending; where something else begins too.
    records: Vec<u32>,
    /// Offsets of what is no record, ascending.
    others: Vec<u32>,
    end: u32,
}

impl Lengths {
    /// The next record of the log.
    pub(in crate::namespace) fn push(&mut self, header: &RecordHeader) {
        let Place { file, offset } = header.meta.place;
        if self.files.last().map(|one| one.file) != Some(file) {
            self.files.push(FileLengths {
                file,
                records: Vec::new(),
                others: Vec::new(),
                end: offset,
            });
        }
        if self.count >= LENGTHS_MAX {
            self.count -= self.files.remove(0).records.len();
        }
        let Some(known) = self.files.last_mut() else {
            return;
        };
        let before = known.records.len();
        if known.end != offset {
            // What is between ends the record before, and may be named as a version that was lost.
            known.records.push(known.end);
            known.others.push(known.end);
        }
        let length = RECORD_HEADER_BYTES + header.key_bytes + header.meta.length as usize;
        let padding = header.total() - length;
        known.records.push(offset | padding as u32);
        known.end = offset + header.total() as u32;
        self.count += known.records.len() - before;
    }

    /// The bytes of payload of the record at a place, whose key has so many bytes.
    pub(in crate::namespace) fn of(&self, place: Place, key_bytes: usize) -> Option<u32> {
        let index = self
            .files
            .binary_search_by_key(&place.file, |one| one.file)
            .ok()?;
        let FileLengths {
            records,
            others,
            end,
            ..
        } = &self.files[index];
        let at = find(records, place.offset, *end)?;
        if others.binary_search(&place.offset).is_ok() {
            return None;
        }
        let next = records.get(at + 1).map_or(*end, |next| next & !7);
        let padding = records[at] & 7;
        let head = RECORD_HEADER_BYTES as u32 + key_bytes as u32;
        (next - place.offset).checked_sub(head + padding)
    }
}

/// Where an offset stands: near where it would if records were equally long.
fn find(records: &[u32], offset: u32, end: u32) -> Option<usize> {
    let first = records.first()? & !7;
    let inside = u64::from(offset.checked_sub(first)?);
    let guess = inside * records.len() as u64 / u64::from(end - first).max(1);
    let guess = (guess as usize).min(records.len() - 1);
    let (mut low, mut high, mut step) = (guess, guess + 1, 8);
    while low > 0 && records[low] > offset | 7 {
        low = low.saturating_sub(step);
        step *= 2;
    }
    while high < records.len() && records[high] < offset {
        high = (high + step).min(records.len());
        step *= 2;
    }
    let at = low + records[low..high].partition_point(|record| record & !7 < offset);
    (records.get(at)? & !7 == offset).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dice, Meta};

    fn header(file: u32, offset: u32, key_bytes: usize, length: u32) -> RecordHeader {
        let place = Place { file, offset };
        let (previous_offset, parent, crc, timestamp, deleted) = (0, Place::NONE, 0, 0, false);
        let meta = Meta {
            place,
            previous_offset,
            parent,
            length,
            crc,
            timestamp,
            deleted,
        };
        RecordHeader {
            meta,
            key_bytes,
            barrier: false,
            void: false,
        }
    }

    /// Every record's length is told, with holes between them and in several files; nothing else's is.
    #[test]
    fn lengths_are_remembered() {
        let (mut dice, mut lengths, mut records) = (Dice::new(3), Lengths::default(), Vec::new());
        for file in 2..5 {
            let mut offset = 64;
            for _ in 0..3_000 {
                let key_bytes = 1 + dice.below(40) as usize;
                let record = header(file, offset, key_bytes, dice.below(3_000) as u32);
                lengths.push(&record);
                offset += record.total() as u32 + 8 * dice.below(3) as u32;
                records.push(record);
            }
        }
        for record in &records {
            let Place { file, offset } = record.meta.place;
            let known = lengths.of(record.meta.place, record.key_bytes);
            assert_eq!(known, Some(record.meta.length), "{record:?}");
            let offset = offset + 8; // still inside the record
            assert_eq!(lengths.of(Place { file, offset }, 1), None);
            let offset = record.meta.place.offset + record.total() as u32; // a hole, or the next
            let next = records
                .iter()
                .any(|r| r.meta.place == Place { file, offset });
            let known = lengths.of(Place { file, offset }, 1);
            assert!(next || known.is_none(), "{record:?}");
        }
        assert_eq!(
            lengths.of(
                Place {
                    file: 9,
                    offset: 64
                },
                1
            ),
            None
        );
    }
}
