//! One data file: where its bytes are, and walking over its records.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crate::cache::CachedFile;
use crate::canary::{sings, Canary};
use crate::format::{
    payload_crc, u32_at, RecordHeader, RunHeader, SegmentHeader, Uid, ALIGN, RECORD_HEADER_BYTES,
    RUN_HEADER_BYTES, SEGMENT_HEADER_BYTES,
};
use crate::{DiskFile, Place, KEY_BYTES_MAX};

/// What is read at once where a file cannot be read: what a disk loses together.
pub const SECTOR_BYTES: u64 = 4096;
/// Bytes of the last structure of a compacted file.
pub const TRAILER_BYTES: usize = 16;
const TRAILER_MAGIC: &[u8; 4] = b"ZRNT";

/// The name of a data file in its folder.
pub fn name(file: u32) -> String {
    format!("d{file}")
}

/// A stretch of a data file where places and offsets in the file run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Place of its first record.
    pub offset: u32,
    /// Where that record is in the file.
    pub at: u32,
}

/// A data file.
#[derive(Debug)]
pub struct Segment<F> {
    /// The open file.
    pub handle: Arc<F>,
    /// What is kept of it in memory; `None` without a cache.
    pub cached: Option<Rc<CachedFile>>,
    /// What its first bytes say, or should say.
    pub header: SegmentHeader,
    /// Checksum state of its records.
    pub seed: u32,
    /// Length of the file.
    pub bytes: u64,
    /// Compacted: its runs by place, each `RUN_HEADER_BYTES` after the end of the one before.
    pub runs: Option<Vec<Run>>,
    /// Compacted: where the runs end in the file.
    pub runs_end: u32,
    /// While a start reads what it can: the sectors that could not be read, which are zeros instead.
    unreadable: Option<Rc<RefCell<BTreeSet<u64>>>>,
}

impl<F> Clone for Segment<F> {
    fn clone(&self) -> Self {
        let (handle, runs) = (Arc::clone(&self.handle), self.runs.clone());
        let (cached, unreadable) = (self.cached.clone(), self.unreadable.clone());
        Self {
            handle,
            cached,
            runs,
            unreadable,
            ..*self
        }
    }
}

impl<F: DiskFile> Segment<F> {
    /// A file as first written: its offsets are its places.
    pub fn plain(handle: Arc<F>, header: SegmentHeader, bytes: u64) -> Self {
        let seed = header.uid.file_seed(header.file);
        Self {
            handle,
            cached: None,
            header,
            seed,
            bytes,
            runs: None,
            runs_end: 0,
            unreadable: None,
        }
    }

    /// Open what is in a file that should be `file` of namespace `uid`; says what was wrong, if anything.
    pub fn open(handle: F, expected: SegmentHeader) -> io::Result<(Self, Option<&'static str>)> {
        let bytes = handle.length()?;
        Self::plain(Arc::new(handle), expected, bytes).identify()
    }

    /// The same of a file that may not be readable everywhere: sectors that are not are zeros, which are no
    /// record, until `end_salvage`.
    pub fn salvage(handle: F, expected: SegmentHeader) -> io::Result<(Self, Option<&'static str>)> {
        let bytes = handle.length()?;
        let mut segment = Self::plain(Arc::new(handle), expected, bytes);
        segment.unreadable = Some(Rc::default());
        segment.identify()
    }

    /// Whether something could not be read.
    pub fn is_unreadable(&self) -> bool {
        let sectors = self.unreadable.as_ref();
        sectors.is_some_and(|sectors| !sectors.borrow().is_empty())
    }

    /// The stretches of the file that could not be read, (first byte, bytes): reading there is an error from now on.
    pub fn end_salvage(&mut self) -> Vec<(u64, u64)> {
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        let sectors = self.unreadable.take().map(|sectors| sectors.take());
        for at in sectors.unwrap_or_default() {
            match stretches.last_mut() {
                Some((first, count)) if *first + *count == at => *count += SECTOR_BYTES,
                _ => stretches.push((at, SECTOR_BYTES)),
            }
        }
        stretches
    }

    /// Read the file itself; a sector that could not be read once stays unread, so that all of a start sees the same.
    fn read_file(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let Some(unreadable) = &self.unreadable else {
            return self.handle.read_at(buffer, at);
        };
        let unreadable = &mut *unreadable.borrow_mut();
        let sectors = at / SECTOR_BYTES * SECTOR_BYTES..at + buffer.len() as u64;
        if unreadable.range(sectors).next().is_none() {
            if let Ok(got) = self.handle.read_at(buffer, at) {
                return Ok(got);
            }
        }
        Ok(self.read_around(buffer, at, unreadable))
    }

    fn read_around(&self, buffer: &mut [u8], at: u64, unreadable: &mut BTreeSet<u64>) -> usize {
        let end = self.bytes.min(at + buffer.len() as u64);
        let mut from = at;
        while from < end {
            let sector = from / SECTOR_BYTES * SECTOR_BYTES;
            let to = end.min(sector + SECTOR_BYTES);
            let part = &mut buffer[(from - at) as usize..(to - at) as usize];
            let known = unreadable.contains(&sector);
            if known || self.handle.read_at(part, from).ok() != Some(part.len()) {
                part.fill(0);
                unreadable.insert(sector);
            }
            from = to;
        }
        from.saturating_sub(at) as usize
    }

    /// Learn from its first bytes what it is.
    fn identify(mut self) -> io::Result<(Self, Option<&'static str>)> {
        let mut head = [0; SEGMENT_HEADER_BYTES as usize];
        let got = self.read_file(&mut head, 0)?;
        let (uid, file) = (self.header.uid, self.header.file);
        match SegmentHeader::decode(&head[..got]) {
            Some(found) if found.uid != uid || found.file != file => {
                Ok((self, Some("the header is of another file")))
            }
            Some(found) => {
                self.header = found;
                let compacted = found.generation > 0;
                let damage = if compacted { self.load_runs()? } else { None };
                Ok((self, damage))
            }
            None => {
                // Without a header it may still be either kind: a compacted one begins with a run.
                let mut first = [0; RUN_HEADER_BYTES];
                let got = self.read_file(&mut first, u64::from(SEGMENT_HEADER_BYTES))?;
                if RunHeader::decode(&first[..got], self.seed).is_some() {
                    self.header.generation = 1;
                    self.load_runs()?;
                }
                Ok((self, Some("the header is damaged")))
            }
        }
    }

    /// Whether compaction left nothing in it.
    pub fn is_empty(&self) -> bool {
        self.runs.as_ref().is_some_and(Vec::is_empty)
    }

    /// The end of what can hold records, as a place's offset.
    pub fn end(&self) -> u32 {
        match &self.runs {
            None => u32::try_from(self.bytes).unwrap_or(u32::MAX),
            Some(_) => self.header.logical_end,
        }
    }

    /// The run that holds an offset, and how far into it; `None` when compaction dropped what was there.
    fn run(&self, offset: u32) -> Option<(usize, Run, u32)> {
        let runs = self.runs.as_ref()?;
        let index = runs
            .partition_point(|run| run.offset <= offset)
            .checked_sub(1)?;
        let run = runs[index];
        let length = self.run_length(index);
        (offset - run.offset < length).then_some((index, run, length))
    }

    fn run_length(&self, index: usize) -> u32 {
        let runs = self.runs.as_deref().unwrap_or_default();
        match runs.get(index + 1) {
            Some(next) => next.at - RUN_HEADER_BYTES as u32 - runs[index].at,
            None => self.runs_end - runs[index].at,
        }
    }

    /// Whether there can be a record at an offset: compaction may have dropped it.
    pub fn holds(&self, offset: u32) -> bool {
        self.runs.is_none() || self.run(offset).is_some()
    }

    /// Where what was first written at an offset is in the file, and where in it the bytes after it end.
    ///
    /// `None` when compaction dropped what was there.
    pub fn locate(&self, offset: u32) -> Option<(u32, u32)> {
        if self.runs.is_none() {
            return Some((offset, self.end()));
        }
        let (_, run, length) = self.run(offset)?;
        Some((run.at + (offset - run.offset), run.at + length))
    }

    /// Read at an offset as first written; fewer bytes at the end of a run or of the file.
    pub fn read(&self, buffer: &mut [u8], offset: u32) -> io::Result<usize> {
        if self.runs.is_none() {
            return self.read_file(buffer, u64::from(offset));
        }
        let Some((_, run, length)) = self.run(offset) else {
            return Ok(0);
        };
        let inside = offset - run.offset;
        let count = buffer.len().min((length - inside) as usize);
        self.read_file(&mut buffer[..count], u64::from(run.at + inside))
    }

    /// The stretches that hold records, each `(first offset, end)`, from an offset on.
    pub fn stretches(&self, from: u32, end: u32) -> Vec<(u32, u32)> {
        let from = from.max(SEGMENT_HEADER_BYTES);
        let all = match &self.runs {
            None => vec![(from, end)],
            Some(runs) => {
                let stretch = |index| {
                    let run: &Run = &runs[index];
                    let last = run.offset.saturating_add(self.run_length(index));
                    (run.offset.max(from), last.min(end))
                };
                (0..runs.len()).map(stretch).collect()
            }
        };
        all.into_iter().filter(|(start, end)| start < end).collect()
    }

    /// Learn the runs from the table at the end, or, if that is damaged, from the runs themselves.
    fn load_runs(&mut self) -> io::Result<Option<&'static str>> {
        if self.load_run_table()? {
            return Ok(None);
        }
        let (mut runs, mut at) = (Vec::new(), u64::from(SEGMENT_HEADER_BYTES));
        let (mut end, mut places_end) = (at, 0);
        while at + RUN_HEADER_BYTES as u64 <= self.bytes {
            let mut bytes = [0; RUN_HEADER_BYTES];
            let got = self.read_file(&mut bytes, at)?;
            match RunHeader::decode(&bytes[..got], self.seed) {
                // One that lies before the one before it was written elsewhere and does not belong here.
                Some(run)
                    if run.offset >= places_end && run.offset.checked_add(run.length).is_some() =>
                {
                    let first = at + RUN_HEADER_BYTES as u64;
                    places_end = run.offset + run.length;
                    runs.push(Run {
                        offset: run.offset,
                        at: first as u32,
                    });
                    self.header.logical_end = self.header.logical_end.max(places_end);
                    at = (first + u64::from(run.length)).min(self.bytes);
                    end = at;
                }
                _ => at += u64::from(ALIGN),
            }
        }
        (self.runs, self.runs_end) = (Some(runs), end as u32);
        Ok(Some("the table of runs is damaged"))
    }

    fn load_run_table(&mut self) -> io::Result<bool> {
        let mut trailer = [0; TRAILER_BYTES];
        let Some(at) = self.bytes.checked_sub(TRAILER_BYTES as u64) else {
            return Ok(false);
        };
        self.read_file(&mut trailer, at)?;
        let (table_at, count) = (u32_at(&trailer, 4), u32_at(&trailer, 8));
        if trailer[..4] != *TRAILER_MAGIC || u64::from(table_at) + u64::from(count) * 8 != at {
            return Ok(false);
        }
        let mut table = vec![0; count as usize * 8];
        self.read_file(&mut table, u64::from(table_at))?;
        let good = table_crc(self.seed, &table, &trailer) == u32_at(&trailer, 12);
        if !good && !sings(Canary::Unchecked) {
            return Ok(false);
        }
        let run = |bytes: &[u8]| Run {
            offset: u32_at(bytes, 0),
            at: u32_at(bytes, 4),
        };
        let runs: Vec<Run> = table.chunks(8).map(run).collect();
        if !is_ordered(&runs, table_at) {
            return Ok(false);
        }
        (self.runs, self.runs_end) = (Some(runs), table_at);
        Ok(true)
    }
}

/// Whether runs follow one another, in the file and as places.
fn is_ordered(runs: &[Run], end: u32) -> bool {
    let follows = |pair: &[Run]| {
        let next = u64::from(pair[0].at) + RUN_HEADER_BYTES as u64;
        let length = u64::from(pair[1].at).checked_sub(next);
        length.is_some_and(|length| u64::from(pair[0].offset) + length <= u64::from(pair[1].offset))
    };
    let first = u64::from(SEGMENT_HEADER_BYTES) + RUN_HEADER_BYTES as u64;
    runs.first().map_or(true, |run| u64::from(run.at) >= first)
        && runs.last().map_or(true, |run| {
            let length = end.checked_sub(run.at);
            length.is_some_and(|length| run.offset.checked_add(length).is_some())
        })
        && runs.windows(2).all(follows)
}

fn table_crc(seed: u32, table: &[u8], trailer: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, table), &trailer[..12])
}

/// The table of runs and the trailer, as they end a compacted file.
pub fn encode_runs(uid: Uid, file: u32, runs: &[Run], runs_end: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(runs.len() * 8 + TRAILER_BYTES);
    for run in runs {
        bytes.extend_from_slice(&run.offset.to_le_bytes());
        bytes.extend_from_slice(&run.at.to_le_bytes());
    }
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..4].copy_from_slice(TRAILER_MAGIC);
    trailer[4..8].copy_from_slice(&runs_end.to_le_bytes());
    trailer[8..12].copy_from_slice(&(runs.len() as u32).to_le_bytes());
    let crc = table_crc(uid.file_seed(file), &bytes, &trailer);
    trailer[12..].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&trailer);
    bytes
}

/// What a walk meets.
#[derive(Debug)]
pub enum Met<'a> {
    /// A record with a good header and key.
    Record {
        /// Its header.
        header: RecordHeader,
        /// Its key.
        key: &'a [u8],
        /// Whether the payload has its checksum; true when payloads are skipped.
        good: bool,
    },
    /// Bytes that are no record.
    Hole {
        /// First byte.
        from: u32,
        /// The next record, or the end.
        to: u32,
    },
}

/// Walks the records of a stretch of a data file, and finds the next one after damage.
pub struct Walk<'r> {
    read: &'r dyn Fn(&mut [u8], u32) -> io::Result<usize>,
    seed: u32,
    file: u32,
    position: u32,
    end: u32,
    payloads: bool,
    /// A hole that is longer is met in pieces.
    hole_bytes_max: u32,
    window: Vec<u8>,
    window_at: u32,
    window_bytes: usize,
}

const HEAD_BYTES: usize = RECORD_HEADER_BYTES + KEY_BYTES_MAX;
/// A piece of damage that is passed over at once.
const HOLE_PIECE_BYTES: u32 = 4 << 10;

impl<'r> Walk<'r> {
    /// From an offset that begins a record, up to `end`; with `payloads` they are read and verified.
    pub fn new(
        read: &'r dyn Fn(&mut [u8], u32) -> io::Result<usize>,
        seed: u32,
        file: u32,
        (position, end): (u32, u32),
        payloads: bool,
    ) -> Self {
        let window_bytes = if payloads { 256 << 10 } else { 16 << 10 };
        let window = Vec::new();
        Self {
            read,
            seed,
            file,
            position,
            end,
            payloads,
            hole_bytes_max: u32::MAX,
            window,
            window_at: 0,
            window_bytes,
        }
    }

    /// Without payloads, and holes in pieces, so that no step is long.
    pub fn in_pieces(
        read: &'r dyn Fn(&mut [u8], u32) -> io::Result<usize>,
        seed: u32,
        file: u32,
        stretch: (u32, u32),
    ) -> Self {
        Self {
            hole_bytes_max: HOLE_PIECE_BYTES,
            ..Self::new(read, seed, file, stretch, false)
        }
    }

    /// The bytes at an offset: `count` of them, or what there is before the end.
    fn bytes(&mut self, at: u32, count: usize) -> io::Result<&[u8]> {
        let count = count.min((self.end - at) as usize);
        let have = (self.window_at as usize + self.window.len()).saturating_sub(at as usize);
        if at < self.window_at || have < count {
            let want = count.max(self.window_bytes).min((self.end - at) as usize);
            self.window.resize(want, 0);
            let got = (self.read)(&mut self.window, at)?;
            self.window.truncate(got);
            self.window_at = at;
        }
        let start = (at - self.window_at) as usize;
        Ok(&self.window[start..self.window.len().min(start + count)])
    }

    fn header(&mut self, at: u32) -> io::Result<Option<RecordHeader>> {
        let (seed, file, end) = (self.seed, self.file, self.end);
        let bytes = self.bytes(at, HEAD_BYTES)?;
        let found = RecordHeader::verify(bytes, seed, Place { file, offset: at });
        let fits = |header: &RecordHeader| u64::from(at) + header.total() as u64 <= u64::from(end);
        Ok(found.map(|(header, _)| header).filter(fits))
    }

    /// The next record or hole; `None` at the end.
    ///
    /// # Errors
    /// What the disk says.
    pub fn step(&mut self) -> io::Result<Option<Met<'_>>> {
        let (at, header) = loop {
            let at = self.position;
            if at >= self.end {
                return Ok(None);
            }
            match self.header(at)? {
                None => return self.hole(at).map(Some),
                Some(void) if void.void => self.position += void.total() as u32,
                Some(header) => break (at, header),
            }
        };
        let total = header.total();
        self.position = at + total as u32;
        let payloads = self.payloads;
        let key_end = RECORD_HEADER_BYTES + header.key_bytes;
        let payload_end = key_end + header.meta.length as usize;
        let bytes = self.bytes(at, if payloads { total } else { key_end })?;
        let payload = bytes.get(key_end..payload_end);
        let unchecked = !payloads || payload.is_some() && sings(Canary::PayloadUnchecked);
        let good = unchecked || payload.map(payload_crc) == Some(header.meta.crc);
        let key = &bytes[RECORD_HEADER_BYTES..key_end];
        Ok(Some(Met::Record { header, key, good }))
    }

    fn hole(&mut self, from: u32) -> io::Result<Met<'_>> {
        let mut at = from + ALIGN;
        while at < self.end {
            if self.bytes(at, 2)?.is_empty() {
                break;
            }
            if self.header(at)?.is_some() {
                self.position = at;
                return Ok(Met::Hole { from, to: at });
            }
            at += ALIGN;
            if at - from >= self.hole_bytes_max && at < self.end {
                self.position = at;
                return Ok(Met::Hole { from, to: at });
            }
        }
        self.position = self.end;
        Ok(Met::Hole { from, to: self.end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(pairs: &[(u32, u32)]) -> Vec<Run> {
        let run = |&(offset, at)| Run { offset, at };
        pairs.iter().map(run).collect()
    }

    /// A table whose checksum is right may still say what cannot be: such runs are looked for anew.
    #[test]
    fn runs_that_overlap_are_refused() {
        let first = SEGMENT_HEADER_BYTES + RUN_HEADER_BYTES as u32;
        let next = first + 80 + RUN_HEADER_BYTES as u32;
        let end = next + 40;
        assert!(is_ordered(&[], first));
        assert!(is_ordered(&runs(&[(64, first), (144, next)]), end));
        for wrong in [
            &[(64, first), (143, next)][..],  // as places
            &[(64, first), (144, first + 8)], // in the file
            &[(64, next), (144, first)],
            &[(64, first - 1)],
            &[(64, end + 1)],
            &[(u32::MAX, first)],
        ] {
            assert!(!is_ordered(&runs(wrong), end), "{wrong:?}");
        }
    }
}
