//! The index file of a compacted data file: without the entries of what went, or it would only grow.
//!
//! It takes the old one's place before the data file does: an entry that is missing for a record which is
//! about to go hides nothing, while one that stays for a record whose tombstone went later would bring its
//! key back at the next start.

use super::compact::Copy;
use super::Namespace;
use crate::index::{self, Entry, Index, Page, Totals, PAGE_BYTES};
use crate::manifest::create;
use crate::segment::Segment;
use crate::{Disk, DiskFile, Error, Mode, Result, Root};

/// Entries that are written together.
const BATCH_ENTRIES: usize = 4096;

/// An index file being written anew.
#[derive(Debug)]
pub(super) struct Trim<F> {
    /// The data file that waits for it.
    pub copy: Copy,
    path: String,
    old: F,
    old_bytes: u64,
    new: Index<F>,
    mode: Mode,
    /// The page of the old one to read next.
    page: u64,
    /// The entry before, which ends where the next one begins, and the totals of its page.
    before: Option<(Entry, Totals)>,
    /// The last one that stays, which may get the totals of the whole file.
    last: Option<(Entry, Totals)>,
}

impl<F: DiskFile> Trim<F> {
    /// Take the next entry; the one before it is written if its record stays.
    fn take(&mut self, entry: Entry, after: Totals) {
        let end = entry.location.place().offset;
        if let Some((before, totals)) = self.before.replace((entry, after)) {
            // Right in what says where reading goes on; the figures count until the last page only.
            self.put(
                before,
                Totals {
                    end,
                    inexact: true,
                    ..totals
                },
            );
        }
    }

    fn put(&mut self, entry: Entry, page: Totals) {
        let last = entry.location.place().offset;
        if !self.copy.keeps(last) {
            return;
        }
        let used = !entry.location.is_tombstone();
        let next_id = match self.mode {
            Mode::User => 0,
            Mode::Sequential => id_of(entry.mark, page.next_id) + u64::from(used),
        };
        let totals = Totals {
            last,
            next_id,
            ..page
        };
        if let Some((entry, totals)) = self.last.replace((entry, totals)) {
            self.new.push(entry, totals);
        }
    }

    /// Write what is left, with what was true at the end of the file.
    fn finish(&mut self) -> std::io::Result<()> {
        let Some((entry, totals)) = self.before.take() else {
            return Ok(());
        };
        self.put(entry, totals);
        if let Some((entry, _)) = self.last.take() {
            self.new.push(entry, totals);
        }
        self.new.write(u32::MAX)?;
        self.new.sync()
    }
}

/// The id whose lower half is known, at or before `next`.
fn id_of(lower: u32, next: u64) -> u64 {
    let id = (next & !u64::from(u32::MAX)) | u64::from(lower);
    if id > next {
        // Of an entry that was written by hand there may be none.
        id.saturating_sub(1 << 32)
    } else {
        id
    }
}

impl<D: Disk> Namespace<D> {
    /// Begin the index file that goes with a data file which was written anew.
    pub(super) fn begin_trim(&self, copy: Copy) -> Result<Trim<D::File>> {
        let failed = |error| Error::write("compacted index file", &error);
        let (uid, mode) = (self.manifest.uid, self.manifest.mode);
        let name = self.path(&index::name(copy.file));
        let old = self.disk.open(Root::Index, &name, false).map_err(failed)?;
        let old_bytes = old.length().map_err(failed)?;
        let path = format!("{name}.new");
        let new = create(&*self.disk, Root::Index, &path).map_err(failed)?;
        let first_id = index::first_id(&old).map_err(failed)?;
        let new = Index::begin(new, uid, copy.file, mode, first_id).map_err(failed)?;
        Ok(Trim {
            copy,
            path,
            old,
            old_bytes,
            new,
            mode,
            page: 1,
            before: None,
            last: None,
        })
    }

    /// One step; true when the new file is in the old one's place, or the old one has to stay.
    ///
    /// One that is damaged stays: the next start makes another from the data.
    pub(super) fn trim_some(
        &mut self,
        trim: &mut Trim<D::File>,
        budget_bytes: u64,
    ) -> Result<bool> {
        let failed = |error| Error::write("compacted index file", &error);
        let (file, seed) = (trim.copy.file, self.manifest.uid.file_seed(trim.copy.file));
        for _ in 0..=budget_bytes / PAGE_BYTES as u64 {
            match index::read_page(&trim.old, seed, trim.page, file).map_err(failed)? {
                Page::Good(entries, after) => {
                    entries
                        .into_iter()
                        .for_each(|entry| trim.take(entry, after));
                    trim.page += 1;
                }
                Page::End => {
                    self.finish_trim(trim)?;
                    return Ok(true);
                }
                Page::Bad => return Ok(true),
            }
            if trim.new.waiting() >= BATCH_ENTRIES {
                trim.new.write(u32::MAX).map_err(failed)?;
            }
        }
        Ok(false)
    }

    fn finish_trim(&mut self, trim: &mut Trim<D::File>) -> Result<()> {
        let failed = |error| Error::write("compacted index file", &error);
        if trim.before.is_none() {
            return Ok(());
        }
        trim.finish().map_err(failed)?;
        let path = self.path(&index::name(trim.copy.file));
        self.disk
            .rename(Root::Index, &trim.path, &path)
            .map_err(failed)?;
        self.dirty.insert(trim.copy.file);
        let new_bytes = trim.new.bytes();
        if self.manifest.mode == Mode::User {
            let others = self.index_bytes_closed.saturating_sub(trim.old_bytes);
            self.index_bytes_closed = others + new_bytes;
        } else {
            let new = self.disk.open(Root::Index, &path, false).map_err(failed)?;
            let uid = self.manifest.uid;
            let new = Index::open(new, uid, trim.copy.file, &mut |_| {}).map_err(failed)?;
            let at = (trim.copy.file - self.manifest.first) as usize;
            // What cannot be read back now is an error until the next start, and no wrong answer.
            self.indexes[at] = new.map(|(index, _, _)| index);
        }
        self.count_closed();
        self.disk
            .sync_folder(Root::Index, &self.name)
            .map_err(failed)
    }

    /// A data file of which nothing is left needs no index file.
    ///
    /// If it is not removed now it is at the next start; until then it is not read.
    pub(super) fn forget_index(&mut self, file: u32) {
        let path = self.path(&index::name(file));
        let old = self.disk.open(Root::Index, &path, false);
        let old_bytes = old.and_then(|old| old.length()).unwrap_or(0);
        if self.manifest.mode == Mode::User {
            self.index_bytes_closed = self.index_bytes_closed.saturating_sub(old_bytes);
        }
        self.indexes[(file - self.manifest.first) as usize] = None;
        let _ = self.disk.remove(Root::Index, &path);
        let _ = self.disk.sync_folder(Root::Index, &self.name);
        self.dirty.remove(&file);
        self.count_closed();
    }

    /// Opening: go past a file of which nothing is left.
    pub(super) fn skip_empty(&mut self, file: u32) {
        self.indexes.push(None);
        // What was counted at its end, a later file says, or else it is counted.
        self.totals.inexact = true;
        let _ = self
            .disk
            .remove(Root::Index, &self.path(&index::name(file)));
    }

    /// Let go of the oldest data files once nothing is left in them.
    pub(super) fn drop_empty(&mut self) -> Result<()> {
        let empty = |one: &Option<Segment<D::File>>| one.as_ref().is_some_and(Segment::is_empty);
        let count = self.segments.iter().take_while(|one| empty(one)).count();
        if count == 0 {
            return Ok(());
        }
        let gone = self.manifest.first..self.manifest.first + count as u32;
        let mut manifest = self.manifest.clone();
        manifest.first = gone.end;
        self.save(manifest)?;
        self.segments.drain(..count);
        self.first_ids.drain(..count);
        self.indexes.drain(..count);
        self.compaction.shift(count as u32);
        self.remove_files(gone);
        self.count_closed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::id_of;

    #[test]
    fn an_id_is_at_or_before_the_next_one() {
        assert_eq!(id_of(5, 7), 5);
        assert_eq!(id_of(7, 7), 7);
        assert_eq!(id_of(9, (3 << 32) | 8), (2 << 32) | 9);
        assert_eq!(id_of(9, 8), 0, "there is none, and nothing breaks");
    }
}
