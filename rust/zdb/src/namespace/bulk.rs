//! Taking in the entries of an index file many at a time.
//!
//! A table of many keys is larger than the caches of a processor, and entries of the log hit it in no
//! order: one at a time each waits for memory. So entries are collected and sorted by the part of the
//! table that they concern, which is small. Entries of one hash stay in the order of the log, and only
//! those depend on one another.

use super::Namespace;
use crate::index::{self, Entry, Index};
use crate::table::Table;
use crate::{Disk, Mode, Result, Root};

/// Entries that are sorted together: five megabytes while a start runs, sorted copy included.
const ENTRIES: usize = 1 << 17;
/// At most so many bits of a hash say which part of the table it concerns.
const PART_BITS_MAX: u8 = 12;

/// Entries that wait to be taken in.
#[derive(Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    sorted: Vec<Entry>,
    begins: Vec<u32>,
}

impl Batch {
    /// Sort by the upper `bits` of the hashes, stably.
    fn sort(&mut self, bits: u8) {
        let part = |entry: &Entry| (u64::from(entry.mark) >> (32 - bits)) as usize;
        self.begins.clear();
        self.begins.resize((1 << bits) + 1, 0);
        for entry in &self.entries {
            self.begins[part(entry) + 1] += 1;
        }
        for index in 1..self.begins.len() {
            self.begins[index] += self.begins[index - 1];
        }
        self.sorted.clone_from(&self.entries);
        for entry in &self.entries {
            let place = &mut self.begins[part(entry)];
            self.sorted[*place as usize] = *entry;
            *place += 1;
        }
        self.entries.clear();
    }
}

impl<D: Disk> Namespace<D> {
    /// Make room for the keys that the last index file speaks of, so that no part of the table is moved.
    pub(super) fn expect_keys(&mut self) {
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
    pub(super) fn replay_soon(&mut self, entry: &Entry, batch: &mut Batch) -> Result<()> {
        if self.manifest.mode == Mode::Sequential {
            return self.replay(entry, None).map(drop);
        }
        batch.entries.push(*entry);
        if batch.entries.len() < ENTRIES {
            return Ok(());
        }
        self.replay_batch(batch)
    }

    /// Take in what waits.
    pub(super) fn replay_batch(&mut self, batch: &mut Batch) -> Result<()> {
        batch.sort(self.table.depth().min(PART_BITS_MAX));
        for entry in &batch.sorted {
            self.replay(entry, None)?;
        }
        batch.sorted.clear();
        Ok(())
    }
}
