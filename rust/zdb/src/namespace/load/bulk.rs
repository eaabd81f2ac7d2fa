//! Taking in the entries of an index file many at a time.
//!
//! A table of many keys is larger than the caches of a processor, and entries of the log hit it in no
//! order: one at a time each waits for memory. So entries are collected by the part of the table that they
//! concern, which is small, and each part is brought near once for all of its entries. Entries of one hash stay
//! in the order of the log, and only those depend on one another.

use crate::index::{self, is_some, Entry, Index, NOWHERE};
use crate::namespace::Namespace;
use crate::table::{Location, Table};
use crate::{Disk, Mode, Result, Root};

/// Entries that are taken in together: sixteen megabytes while a start of so many keys runs.
const ENTRIES_MAX: usize = 1 << 20;
/// At most so many bits of a hash say which part of the table it concerns.
const PART_BITS_MAX: u8 = 10;

/// Entries of one part of the table, in the order of the log.
#[derive(Default)]
struct Part {
    /// Hash and packed location.
    entries: Vec<(u32, u32)>,
    /// Which of them have a version before them, and where that is.
    parents: Vec<(u32, Location)>,
}

/// Entries of one index file that wait to be taken in, by part of the table.
pub(super) struct Batch {
    file: u32,
    bits: u8,
    parts: Vec<Part>,
    count: usize,
}

impl Batch {
    /// For the entries of a file, of which there are at most so many.
    pub(super) fn new(file: u32, entries: u64, table: &Table) -> Self {
        let bits = table.depth().min(PART_BITS_MAX);
        let together = usize::try_from(entries).map_or(ENTRIES_MAX, |all| all.min(ENTRIES_MAX));
        let each = together >> bits;
        // Hashes do not spread evenly: a part with a little more does not have to be moved.
        let part = || Part {
            entries: Vec::with_capacity(each + each / 16),
            parents: Vec::new(),
        };
        Self {
            file,
            bits,
            parts: (0..1 << bits).map(|_| part()).collect(),
            count: 0,
        }
    }

    #[inline]
    fn push(&mut self, entry: &Entry) {
        let part = (u64::from(entry.mark) >> (32 - self.bits)) as usize;
        let part = &mut self.parts[part];
        if is_some(entry.parent) {
            part.parents.push((part.entries.len() as u32, entry.parent));
        }
        part.entries.push((entry.mark, entry.location.packed()));
        self.count += 1;
    }
}

impl<D: Disk> Namespace<D> {
    /// Make room for the keys that the last index file speaks of, so that no part of the table is moved.
    pub(in crate::namespace) fn expect_keys(&mut self) {
        if self.manifest.mode == Mode::Sequential {
            return;
        }
        let file = self.manifest.last;
        let path = self.path(&index::name(file));
        let uid = self.manifest.uid;
        let known = self.disk.open(Root::Index, &path, false);
        let known = known.and_then(|handle| Index::last_totals(&handle, uid, file));
        // Without it the table grows by itself.
        if let Ok(Some(totals)) = known {
            self.table = Table::with_room(totals.entries);
        }
    }

    /// Take an entry in, now or with others.
    #[inline]
    pub(super) fn replay_soon(&mut self, entry: &Entry, batch: &mut Batch) -> Result<()> {
        if self.manifest.mode == Mode::Sequential {
            return self.replay(entry, None).map(drop);
        }
        batch.push(entry);
        if batch.count < ENTRIES_MAX {
            return Ok(());
        }
        self.replay_batch(batch)
    }

    /// Take in what waits.
    pub(super) fn replay_batch(&mut self, batch: &mut Batch) -> Result<()> {
        batch.count = 0;
        for part in &mut batch.parts {
            // Its memory goes back at once: the table takes its own from there.
            let Part { entries, parents } = std::mem::take(part);
            let mut parents = parents.into_iter().peekable();
            for ((mark, packed), nth) in entries.into_iter().zip(0..) {
                let location = Location::unpack(batch.file, packed);
                let parent = parents.next_if(|&(child, _)| child == nth);
                let fresh = parent.is_none() && !location.is_tombstone();
                if fresh && self.table.insert_new(mark, location) {
                    continue;
                }
                let parent = parent.map_or(NOWHERE, |(_, parent)| parent);
                let entry = Entry {
                    mark,
                    location,
                    parent,
                };
                self.replay(&entry, None)?;
            }
        }
        Ok(())
    }
}
