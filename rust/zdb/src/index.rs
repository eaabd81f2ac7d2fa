//! Index files: what a start needs to know of a data file's records, sixteen bytes each.
//!
//! Entries are in log order, in pages that each carry a checksum and the totals so far. Pages are
//! written in batches, and only for records that are durable; the last page is written again until it
//! is full. In sequential mode the entry of an id is found by arithmetic.

use std::io;

use crate::canary::{sings, Canary};
use crate::format::{mode_byte, u32_at, u64_at, Uid, COUNT_END, VERSION};
use crate::table::Location;
use crate::{DiskFile, Mode, Place};

/// Bytes of a page; the first one is the file's header.
pub const PAGE_BYTES: usize = 4096;
/// Entries of a full page.
pub const PAGE_ENTRIES: usize = (PAGE_BYTES - PAGE_HEADER_BYTES) / ENTRY_BYTES;
const PAGE_HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 16;
const MAGIC: &[u8; 8] = b"TFZDBidx";
/// Pages that are written together: what a batch comes to, and no more memory than that.
const WRITTEN_PAGES: usize = 17;
/// Room for entries that is kept after a batch was written, sixteen bytes each.
const ROOM_ENTRIES: usize = 8192;
/// How often to guess where an entry is before halving.
const GUESSES_MAX: usize = 4;

/// The name of an index file in its folder.
pub fn name(file: u32) -> String {
    format!("i{file}")
}

/// One record, as the index sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// User mode: hash of the key. Sequential mode: lower half of the id that was next before it.
    pub mark: u32,
    /// Where it is.
    pub location: Location,
    /// Where the version before it is, `Place::NONE` if there is none.
    pub parent: Location,
}

/// What is true of the namespace after a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Live keys.
    pub entries: u64,
    /// Payload bytes of live keys.
    pub payload_bytes: u64,
    /// Next id.
    pub next_id: u64,
    /// Where the next record goes.
    pub end: u32,
    /// Where the last record is.
    pub last: u32,
    /// Whether the payload bytes must be counted anew, because a version before could not be read.
    pub inexact: bool,
}

/// An entry that waits to be written, or is on a page that is not full.
#[derive(Debug, Clone, Copy)]
struct Recent {
    mark: u32,
    packed: u32,
    parent: Location,
}

impl Recent {
    fn new(entry: &Entry) -> Self {
        let (mark, packed, parent) = (entry.mark, entry.location.packed(), entry.parent);
        Self {
            mark,
            packed,
            parent,
        }
    }
}

/// What was true after so many of the recent entries.
#[derive(Debug, Clone, Copy)]
struct Kept {
    count: usize,
    totals: Totals,
}

/// Writes the index file of one data file; keeps what is not written yet.
///
/// Totals are three times as long as an entry, so they are kept only where a page may end: where one is full,
/// where a sync will have made everything before durable (`keep`), and after the last entry.
#[derive(Debug)]
pub struct Index<F> {
    handle: F,
    seed: u32,
    first_id: u64,
    /// Pages that are full and on disk, after the header page.
    full_pages: u64,
    /// Entries after those.
    recent: Vec<Recent>,
    /// Ascending; of entries that are not on disk.
    kept: Vec<Kept>,
    /// What was true after the last of them.
    last: Totals,
    /// How many of them are on disk too.
    written: usize,
    /// Where the data that the file covers ends; 0 while it covers nothing.
    covered: u32,
}

impl<F: DiskFile> Index<F> {
    /// Begin an index file in an empty file.
    pub fn begin(handle: F, uid: Uid, file: u32, mode: Mode, first_id: u64) -> io::Result<Self> {
        let mut page = [0; PAGE_BYTES];
        page[4..12].copy_from_slice(MAGIC);
        page[12..16].copy_from_slice(&VERSION.to_le_bytes());
        page[16..24].copy_from_slice(&first_id.to_le_bytes());
        page[24] = mode_byte(mode);
        let seed = uid.file_seed(file);
        seal(&mut page, seed, 0);
        write_all(&handle, &page, 0)?;
        Ok(Self {
            handle,
            seed,
            first_id,
            full_pages: 0,
            recent: Vec::new(),
            kept: Vec::new(),
            last: Totals::default(),
            written: 0,
            covered: 0,
        })
    }

    /// Open an index file and hand over its good entries; `None` when its first page is not good.
    ///
    /// Reading ends before the first page that is not good; the file goes on from there.
    pub fn open(
        handle: F,
        uid: Uid,
        file: u32,
        visit: &mut impl FnMut(&Entry),
    ) -> io::Result<Option<(Self, Option<Totals>, bool)>> {
        let seed = uid.file_seed(file);
        let length = handle.length()?;
        let mut buffer = vec![0; 64 * PAGE_BYTES];
        // What cannot be read is as bad as what is not right: all of it is in the data too.
        let head = handle.read_at(&mut buffer[..PAGE_BYTES], 0).unwrap_or(0);
        if head < PAGE_BYTES || !is_good(&buffer[..PAGE_BYTES], seed, 0) || buffer[4..12] != *MAGIC
        {
            return Ok(None);
        }
        let first_id = u64_at(&buffer, 16);
        if first_id >= COUNT_END {
            return Ok(None);
        }
        let (mut number, mut totals, mut clean) = (1u64, None, true);
        let mut index = Self {
            handle,
            seed,
            first_id,
            full_pages: 0,
            recent: Vec::new(),
            kept: Vec::new(),
            last: Totals::default(),
            written: 0,
            covered: 0,
        };
        'file: while number * (PAGE_BYTES as u64) < length {
            let at = number * PAGE_BYTES as u64;
            let Ok(got) = index.handle.read_at(&mut buffer, at) else {
                clean = false;
                break;
            };
            for page in buffer[..got].chunks(PAGE_BYTES) {
                if page.len() < PAGE_BYTES || !is_good(page, seed, number) {
                    clean = false;
                    break 'file;
                }
                let (count, after) = page_totals(page);
                for entry in page[PAGE_HEADER_BYTES..].chunks(ENTRY_BYTES).take(count) {
                    let entry = decode_entry(entry, file);
                    visit(&entry);
                    if count < PAGE_ENTRIES {
                        index.recent.push(Recent::new(&entry));
                    }
                }
                totals = Some(after);
                index.last = after;
                index.covered = after.end;
                if count < PAGE_ENTRIES {
                    clean &= (number + 1) * PAGE_BYTES as u64 >= length;
                    break 'file;
                }
                index.full_pages = number;
                number += 1;
            }
        }
        index.written = index.recent.len();
        Ok(Some((index, totals, clean)))
    }

    /// What was true after the last page, if that is good; the rest is not looked at.
    pub fn last_totals(handle: &F, uid: Uid, file: u32) -> io::Result<Option<Totals>> {
        let number = (handle.length()? / PAGE_BYTES as u64).saturating_sub(1);
        match read_page(handle, uid.file_seed(file), number, file)? {
            Page::Good(_, totals) if number > 0 => Ok(Some(totals)),
            _ => Ok(None),
        }
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        let partial = u64::from(self.written > 0);
        (1 + self.full_pages + partial) * PAGE_BYTES as u64
    }

    /// Bytes of the file once all entries, and so many more, are written.
    pub fn bytes_with(&self, more: usize) -> u64 {
        let pages = (self.recent.len() + more).div_ceil(PAGE_ENTRIES) as u64;
        (1 + self.full_pages + pages) * PAGE_BYTES as u64
    }

    /// Bytes of memory in use.
    pub fn memory_bytes(&self) -> usize {
        self.recent.capacity() * std::mem::size_of::<Recent>()
            + self.kept.capacity() * std::mem::size_of::<Kept>()
    }

    /// How many entries wait to be written.
    pub fn waiting(&self) -> usize {
        self.recent.len() - self.written
    }

    /// Where the data that the file covers ends; 0 while it covers nothing.
    pub fn covered(&self) -> u32 {
        self.covered
    }

    /// The next entry.
    #[inline]
    pub fn push(&mut self, entry: Entry, totals: Totals) {
        if self.recent.len() % PAGE_ENTRIES == 0 {
            self.keep();
        }
        self.recent.push(Recent::new(&entry));
        self.last = totals;
    }

    /// Correct the totals after the last entry.
    #[inline]
    pub fn amend(&mut self, totals: Totals) {
        self.last = totals;
    }

    /// Remember what is true now: up to here entries may be written before later ones.
    pub fn keep(&mut self) {
        let (count, totals) = (self.recent.len(), self.last);
        if count <= self.written {
            return;
        }
        if self.kept.last().map(|kept| kept.count) == Some(count) {
            self.kept.pop();
        }
        self.kept.push(Kept { count, totals });
    }

    /// Forget the last entries, which were never written; what was true before them is true again.
    pub fn pop(&mut self, count: usize, totals: Totals) {
        let left = (self.recent.len() - count).max(self.written);
        self.recent.truncate(left);
        self.kept.retain(|kept| kept.count <= left);
        self.last = totals;
    }

    /// How many entries are of records that end at or before `end`, as far as that is known, and what was
    /// true after them.
    fn ready(&self, end: u32) -> Kept {
        let (count, totals) = (self.recent.len(), self.last);
        let all = Some(Kept { count, totals }).filter(|all| all.totals.end <= end);
        let kept = || self.kept.iter().rev().find(|kept| kept.totals.end <= end);
        all.or_else(|| kept().copied()).unwrap_or(Kept {
            count: self.written,
            totals,
        })
    }

    /// Write the entries of records that end at or before `end`, a few pages with a call.
    pub fn write(&mut self, end: u32) -> io::Result<()> {
        let Kept {
            count: ready,
            totals: after,
        } = self.ready(end);
        if ready <= self.written {
            return Ok(());
        }
        let pages = self.recent[..ready].chunks(PAGE_ENTRIES);
        let mut ends = self
            .kept
            .iter()
            .filter(|kept| kept.count % PAGE_ENTRIES == 0);
        let mut bytes = Vec::with_capacity(pages.len().min(WRITTEN_PAGES) * PAGE_BYTES);
        let (mut number, mut left) = (self.full_pages + 1, pages.len());
        for entries in pages {
            let full = ends.next().map_or(after, |kept| kept.totals);
            left -= 1;
            let totals = if left == 0 { after } else { full };
            bytes.extend_from_slice(&encode_page(entries, totals, self.seed, number));
            number += 1;
            if left == 0 || bytes.len() >= WRITTEN_PAGES * PAGE_BYTES {
                let at = number * PAGE_BYTES as u64 - bytes.len() as u64;
                write_all(&self.handle, &bytes, at)?;
                bytes.clear();
            }
        }
        self.covered = after.end;
        let full = ready - ready % PAGE_ENTRIES;
        self.full_pages += (full / PAGE_ENTRIES) as u64;
        self.recent.drain(..full);
        self.written = ready - full;
        self.recent.shrink_to(ROOM_ENTRIES);
        self.kept.retain(|kept| kept.count > ready);
        for kept in &mut self.kept {
            kept.count -= full;
        }
        Ok(())
    }

    /// Make what was written durable.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync()
    }

    /// Drop pages after the last good one, so that they never come back.
    pub fn cut(&self) -> io::Result<()> {
        self.handle.truncate(self.bytes())
    }

    /// Sequential mode: where the record is that took an id, if it is in this file.
    ///
    /// Deletes take no id and lost records leave gaps; without either the first look hits.
    pub fn find(&self, id: u64, file: u32) -> io::Result<Option<Location>> {
        let Some(mut guess) = id.checked_sub(self.first_id) else {
            return Ok(None);
        };
        let (mark, count) = (id as u32, self.count());
        let (mut low, mut high) = (0, count);
        for _ in 0..GUESSES_MAX {
            if guess < low || guess >= high {
                break;
            }
            let entry = self.entry(guess, file)?;
            let ahead = mark.wrapping_sub(entry.mark) as i32;
            match ahead {
                0 if !entry.location.is_tombstone() => return Ok(Some(entry.location)),
                0.. => low = guess + 1,
                _ => high = guess,
            }
            guess =
                guess.saturating_add_signed(i64::from(ahead.max(-1)).max(i64::from(ahead == 0)));
        }
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle, file)?;
            match mark.wrapping_sub(entry.mark) as i32 {
                0 if !entry.location.is_tombstone() => return Ok(Some(entry.location)),
                0.. => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(None)
    }

    /// Number of entries.
    pub fn count(&self) -> u64 {
        self.full_pages * PAGE_ENTRIES as u64 + self.recent.len() as u64
    }

    fn entry(&self, number: u64, file: u32) -> io::Result<Entry> {
        let on_disk = self.full_pages * PAGE_ENTRIES as u64;
        if let Some(recent) = number.checked_sub(on_disk) {
            let recent = self.recent[recent as usize];
            return Ok(Entry {
                mark: recent.mark,
                location: Location::unpack(file, recent.packed),
                parent: recent.parent,
            });
        }
        let (page, slot) = (
            1 + number / PAGE_ENTRIES as u64,
            (number % PAGE_ENTRIES as u64) as usize,
        );
        // The whole page, for its checksum: a wrong entry would look like an id that was never made.
        let mut bytes = [0; PAGE_BYTES];
        let got = self.handle.read_at(&mut bytes, page * PAGE_BYTES as u64)?;
        let whole = got == PAGE_BYTES && is_good(&bytes, self.seed, page);
        if !whole || u32_at(&bytes, 4) as usize <= slot {
            let what = "a page does not have its checksum; RELOAD makes it anew";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let at = PAGE_HEADER_BYTES + slot * ENTRY_BYTES;
        Ok(decode_entry(&bytes[at..at + ENTRY_BYTES], file))
    }
}

/// What reading a page of an index file at rest came to.
#[derive(Debug)]
pub enum Page {
    /// Its entries, and the totals after the last of them.
    Good(Vec<Entry>, Totals),
    /// There are no more.
    End,
    /// It is not good.
    Bad,
}

/// Read one page of an index file that is not written to.
pub fn read_page(handle: &impl DiskFile, seed: u32, number: u64, file: u32) -> io::Result<Page> {
    let mut page = [0; PAGE_BYTES];
    let got = handle.read_at(&mut page, number * PAGE_BYTES as u64)?;
    if got == 0 {
        return Ok(Page::End);
    }
    if got < PAGE_BYTES || !is_good(&page, seed, number) {
        return Ok(Page::Bad);
    }
    let (count, totals) = page_totals(&page);
    let entries = page[PAGE_HEADER_BYTES..].chunks(ENTRY_BYTES).take(count);
    let entries = entries.map(|bytes| decode_entry(bytes, file)).collect();
    Ok(Page::Good(entries, totals))
}

/// How many entries an index file of so many bytes may have.
pub fn entries_max(bytes: u64) -> u64 {
    (bytes / PAGE_BYTES as u64).saturating_sub(1) * PAGE_ENTRIES as u64
}

/// The id that was next when an index file began.
pub fn first_id(handle: &impl DiskFile) -> io::Result<u64> {
    let mut head = [0; 24];
    handle.read_at(&mut head, 0)?;
    Ok(u64_at(&head, 16))
}

fn encode_page(entries: &[Recent], totals: Totals, seed: u32, number: u64) -> [u8; PAGE_BYTES] {
    let mut page = [0; PAGE_BYTES];
    page[4..8].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    page[8..16].copy_from_slice(&totals.entries.to_le_bytes());
    page[16..24].copy_from_slice(&totals.payload_bytes.to_le_bytes());
    page[24..32].copy_from_slice(&totals.next_id.to_le_bytes());
    page[32..36].copy_from_slice(&totals.end.to_le_bytes());
    page[36..40].copy_from_slice(&totals.last.to_le_bytes());
    page[40] = u8::from(totals.inexact);
    for (bytes, entry) in page[PAGE_HEADER_BYTES..]
        .chunks_mut(ENTRY_BYTES)
        .zip(entries)
    {
        bytes[..4].copy_from_slice(&entry.mark.to_le_bytes());
        bytes[4..8].copy_from_slice(&entry.packed.to_le_bytes());
        bytes[8..12].copy_from_slice(&entry.parent.place().file.to_le_bytes());
        bytes[12..].copy_from_slice(&entry.parent.packed().to_le_bytes());
    }
    seal(&mut page, seed, number);
    page
}

fn page_totals(page: &[u8]) -> (usize, Totals) {
    let totals = Totals {
        entries: u64_at(page, 8),
        payload_bytes: u64_at(page, 16),
        next_id: u64_at(page, 24),
        end: u32_at(page, 32),
        last: u32_at(page, 36),
        inexact: page[40] != 0,
    };
    ((u32_at(page, 4) as usize).min(PAGE_ENTRIES), totals)
}

fn decode_entry(bytes: &[u8], file: u32) -> Entry {
    Entry {
        mark: u32_at(bytes, 0),
        location: Location::unpack(file, u32_at(bytes, 4)),
        parent: Location::unpack(u32_at(bytes, 8), u32_at(bytes, 12)),
    }
}

fn page_crc(page: &[u8], seed: u32, number: u64) -> u32 {
    let seed = crc32c::crc32c_append(seed, &number.to_le_bytes());
    crc32c::crc32c_append(seed, &page[4..])
}

fn seal(page: &mut [u8; PAGE_BYTES], seed: u32, number: u64) {
    let crc = page_crc(page, seed, number);
    page[..4].copy_from_slice(&crc.to_le_bytes());
}

fn is_good(page: &[u8], seed: u32, number: u64) -> bool {
    // The first page has no totals.
    let plausible = number == 0 || [8, 16, 24].iter().all(|&at| u64_at(page, at) < COUNT_END);
    plausible && (page_crc(page, seed, number) == u32_at(page, 0) || sings(Canary::Unchecked))
}

/// Write everything, going on after a short write as long as something is written.
pub fn write_all(file: &impl DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(&bytes[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// No location: what an entry without a parent has.
pub const NOWHERE: Location = Location::nowhere();

/// Whether a location is one.
pub fn is_some(location: Location) -> bool {
    location.place() != Place::NONE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Disk, Root, SimulatedDisk};

    const UID: Uid = Uid([7; 16]);

    /// What is true after so many entries: any figures, but those of no other count.
    fn totals(count: u32) -> Totals {
        Totals {
            entries: u64::from(count),
            payload_bytes: u64::from(count) * 3,
            next_id: u64::from(count) + 1,
            end: 64 + count * 48,
            last: 64 + count * 48 - 48,
            inexact: false,
        }
    }

    fn entry(count: u32) -> Entry {
        Entry {
            mark: count,
            location: Location::unpack(0, totals(count).last),
            parent: NOWHERE,
        }
    }

    fn opened(disk: &SimulatedDisk) -> (u32, Option<Totals>) {
        let (mut count, handle) = (0, disk.open(Root::Index, "i0", false));
        let opened = Index::open(handle.expect("there"), UID, 0, &mut |found| {
            count += 1;
            assert_eq!(*found, entry(count));
        });
        let (_, totals, clean) = opened.expect("readable").expect("good");
        assert!(clean);
        (count, totals)
    }

    /// Wherever what may be written ends, the entries up to there are, and every page has its own totals.
    #[test]
    fn pages_have_the_totals_after_their_last_entry() {
        let disk = SimulatedDisk::new(1);
        let handle = disk.open(Root::Index, "i0", true).expect("made");
        let mut index = Index::begin(handle, UID, 0, Mode::User, 0).expect("begun");
        let (mut durable, mut pushed) = (0, 0);
        for step in [1, 252, 1, 253, 700, 3, 0, 9000, 44] {
            for _ in 0..step {
                pushed += 1;
                index.push(entry(pushed), totals(pushed - 1));
                index.amend(totals(pushed));
            }
            index.keep();
            // One that is taken back.
            index.push(entry(pushed + 1), totals(pushed + 1));
            index.pop(1, totals(pushed));
            index.push(entry(pushed + 1), totals(pushed + 1));
            index.write(totals(durable).end).expect("written");
            assert!(index.covered() <= totals(durable).end, "{pushed}");
            index.write(totals(pushed).end).expect("written");
            durable = pushed;
            pushed += 1;
            assert_eq!(opened(&disk), (durable, Some(totals(durable))));
            assert_eq!(index.waiting(), 1);
        }
        let handle = disk.open(Root::Index, "i0", false).expect("there");
        for number in 1..=durable as usize / PAGE_ENTRIES {
            let page = read_page(&handle, UID.file_seed(0), number as u64, 0).expect("readable");
            let Page::Good(entries, found) = page else {
                panic!("{page:?}");
            };
            assert_eq!(entries.len(), PAGE_ENTRIES);
            assert_eq!(found, totals((number * PAGE_ENTRIES) as u32));
        }
    }

    /// Entries that wait take twenty bytes each, and none once they are written.
    #[test]
    fn waiting_takes_little_memory() {
        let disk = SimulatedDisk::new(1);
        let handle = disk.open(Root::Index, "i0", true).expect("made");
        let mut index = Index::begin(handle, UID, 0, Mode::User, 0).expect("begun");
        for count in 1..=1 << 16 {
            index.push(entry(count), totals(count));
        }
        assert!(index.memory_bytes() < 20 << 16, "{}", index.memory_bytes());
        index.write(u32::MAX).expect("written");
        let kept = index.memory_bytes();
        assert!(kept < 160 << 10, "{kept}");
    }
}
