//! Appending, committing, taking back, and moving on to the next data file.

use super::{bump, Current, Mark, Namespace, Undo};
use crate::canary::{sings, Canary};
use crate::format::{payload_crc, record_bytes, RecordHeader};
use crate::index::{is_some, write_all, NOWHERE};
use crate::table::{Class, Location};
use crate::{
    Disk, DiskFile, Error, Meta, Mode, Place, Result, SyncMode, Written, KEY_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
};

/// Index entries that are written together.
const INDEX_BATCH_ENTRIES: usize = 4096;
/// Index entries that may wait for an fsync: so many records are synced early.
pub(super) const INDEX_WAITING_MAX: usize = 16 * INDEX_BATCH_ENTRIES;
/// Data bytes after which index entries are written although they are few: what a start must read.
const INDEX_BATCH_DATA_BYTES: u32 = 16 << 20;
/// Records that are not longer, on average, are remembered as they are written.
const REMEMBERED_BYTES_MAX: usize = 2304;
/// A buffer that grew beyond this is given back after its commit,
const BUFFER_BYTES_KEPT: usize = 256 << 10;
/// and kept for the next big commit, whosever that is, if it is not beyond this.
const SPARE_BYTES_MAX: usize = 8 << 20;

impl<D: Disk> Namespace<D> {
    /// SET. Sequential mode: an empty key makes the next id, which `last_id` returns.
    ///
    /// # Errors
    /// `KeyTooLong`, `PayloadTooLong`, `KeyNeeded`, `UnknownId`, `NoSpace`, `Worm`, `Locked`, `Frozen`,
    /// `ReadOnly`, `Write`, `Read`.
    pub fn set(&mut self, key: &[u8], payload: &[u8], timestamp: u32) -> Result<Written> {
        self.may_write()?;
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::KeyTooLong);
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::PayloadTooLong);
        }
        let crc = payload_crc(payload);
        let id = self.totals.next_id.to_le_bytes();
        let (key, old) = match (self.manifest.mode, key.len()) {
            (Mode::User, 0) => return Err(Error::KeyNeeded),
            (Mode::User, _) => (key, self.current_to_write(key)?),
            (Mode::Sequential, 0) => (&id[..], None),
            (Mode::Sequential, 8) => match self.current_to_write(key)? {
                Some(old) if !old.location.is_tombstone() => (key, Some(old)),
                _ => return Err(Error::UnknownId),
            },
            (Mode::Sequential, _) => return Err(Error::UnknownId),
        };
        if let Some(old) = &old {
            if self.manifest.properties.worm {
                return Err(Error::Worm);
            }
            if self.is_identical(old, payload, crc)? {
                return Ok(Written::Identical);
            }
        }
        let freed = old
            .and_then(|old| old.header)
            .map_or(0, |header| u64::from(header.meta.length));
        let used = self.totals.payload_bytes.saturating_sub(freed) + payload.len() as u64;
        let limit = self.manifest.properties.max_bytes;
        if limit > 0 && used > limit {
            return Err(Error::NoSpace);
        }
        self.may_store(key.len(), payload.len(), old.is_none())?;
        let total = record_bytes(key.len(), payload.len());
        let location = self.append(key, payload, crc, timestamp, old, Class::of(total))?;
        self.totals.payload_bytes = used;
        self.totals.entries += u64::from(old.is_none());
        if self.manifest.mode == Mode::Sequential {
            if old.is_none() {
                self.last_id = id;
            }
            self.totals.next_id += 1;
        }
        self.push_totals();
        self.commit_if_always()?;
        Ok(Written::Stored(location.place()))
    }

    /// Sequential mode: the id that the last `set` with an empty key made.
    #[must_use]
    pub fn last_id(&self) -> [u8; 8] {
        self.last_id
    }

    /// DEL.
    ///
    /// # Errors
    /// `NotFound`, `NoSpace`, `Worm`, `Locked`, `Frozen`, `ReadOnly`, `Write`, `Read`.
    pub fn delete(&mut self, key: &[u8], timestamp: u32) -> Result<()> {
        self.may_write()?;
        let old = match self.current_to_write(key)? {
            Some(old) if !old.location.is_tombstone() => old,
            _ => return Err(Error::NotFound),
        };
        if self.manifest.properties.worm {
            return Err(Error::Worm);
        }
        self.may_bury(key.len())?;
        self.append(key, &[], 0, timestamp, Some(old), Class::TOMBSTONE)?;
        let freed = old.header.map_or(0, |header| u64::from(header.meta.length));
        self.totals.payload_bytes = self.totals.payload_bytes.saturating_sub(freed);
        // Damage may have hidden keys from the count.
        self.totals.entries = self.totals.entries.saturating_sub(1);
        self.push_totals();
        self.commit_if_always()
    }

    pub(super) fn may_write(&self) -> Result<()> {
        if self.manifest.properties.freeze {
            return Err(Error::Frozen);
        }
        if self.manifest.properties.lock {
            return Err(Error::Locked);
        }
        if let Some(reason) = &self.read_only {
            return Err(Error::ReadOnly(reason.clone()));
        }
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn current_to_write(&mut self, key: &[u8]) -> Result<Option<Current>> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let found = self.current(key, 0, true, &mut scratch);
        self.scratch = scratch;
        found
    }

    /// Whether the current version holds the same payload; its record is read only if all else agrees.
    fn is_identical(&mut self, old: &Current, payload: &[u8], crc: u32) -> Result<bool> {
        let Some(header) = old.header else {
            return Ok(false);
        };
        if header.meta.length as usize != payload.len() || header.meta.crc != crc {
            return Ok(false);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let same = match self.glance(old.location, header.total(), false, &mut scratch) {
            Ok(Some(header)) => match self.complete(&header, &mut scratch) {
                Ok(()) => Ok(scratch.record(&header).payload == payload),
                // What is damaged is not the same: the new version is written.
                Err(Error::Damaged { .. }) => Ok(false),
                Err(error) => Err(error),
            },
            Ok(None) | Err(Error::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        };
        self.scratch = scratch;
        same
    }

    /// Put a record into the buffer and the index; the totals are still to be told by `push_totals`.
    fn append(
        &mut self,
        key: &[u8],
        payload: &[u8],
        crc: u32,
        timestamp: u32,
        old: Option<Current>,
        class: Class,
    ) -> Result<Location> {
        let total = record_bytes(key.len(), payload.len());
        if self.is_full_with(total) {
            self.rotate()?;
        }
        if self.mark.is_none() {
            self.mark = Some(Mark {
                totals: self.totals,
                entries: 0,
            });
            self.take_spare();
        }
        let place = Place {
            file: self.manifest.last,
            offset: self.totals.end,
        };
        let parent = old.map_or(NOWHERE, |old| old.location);
        let meta = Meta {
            place,
            previous_offset: self.totals.last,
            parent: parent.place(),
            length: payload.len() as u32,
            crc,
            timestamp,
            deleted: class == Class::TOMBSTONE,
        };
        let durable =
            self.buffer.is_empty() && self.synced == self.totals.end && self.closing.is_none();
        let barrier = durable || sings(Canary::BarrierAlways);
        let header = RecordHeader {
            meta,
            key_bytes: key.len(),
            barrier,
            void: false,
        };
        let seed = self.active().seed;
        header.encode(seed, key, payload, &mut self.buffer);
        let hash = self.manifest.uid.hash(key);
        let location = Location::new(place, class);
        self.change(hash, location, parent);
        let entry = self.index_entry(location, parent, hash);
        self.totals.last = place.offset;
        self.totals.end += total as u32;
        let totals = self.totals;
        self.active_index().push(entry, totals);
        if let Some(mark) = &mut self.mark {
            mark.entries += 1;
        }
        Ok(location)
    }

    /// Make the index in memory say that a key's newest record is at `location`.
    fn change(&mut self, hash: u32, location: Location, parent: Location) {
        let mut undo = Undo {
            hash,
            new: Some(location),
            old: Some(parent).filter(|&p| is_some(p)),
        };
        match self.manifest.mode {
            Mode::User if location.is_tombstone() => {
                self.table.remove(hash, parent.place());
                undo.new = None;
            }
            Mode::User if undo.old.is_some() => {
                self.table.replace(hash, parent.place(), location);
            }
            Mode::User => self.table.insert(hash, location),
            // What was written once is found by arithmetic.
            Mode::Sequential if undo.old.is_none() => return,
            Mode::Sequential => {
                if !self.table.replace(hash, parent.place(), location) {
                    self.table.insert(hash, location);
                    undo.old = None;
                }
            }
        }
        self.undo.push(undo);
    }

    fn push_totals(&mut self) {
        let totals = self.totals;
        self.active_index().amend(totals);
    }

    fn commit_if_always(&mut self) -> Result<()> {
        match self.settings.sync {
            SyncMode::Always => self.commit(0),
            _ => Ok(()),
        }
    }

    /// Write what waits, and make it durable as the settings say.
    ///
    /// # Errors
    /// `Write`, `ReadOnly`: the writes since the last commit are undone.
    pub(crate) fn commit(&mut self, now_ms: u64) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if !self.buffer.is_empty() {
            self.write_buffer()?;
            self.unsynced_since_ms.get_or_insert(now_ms);
        }
        if self.unsynced_since_ms.is_none() && self.unsynced().is_none() {
            return Ok(());
        }
        let since = self.unsynced_since_ms.unwrap_or(now_ms);
        let due = match self.settings.sync {
            SyncMode::Always | SyncMode::Group => true,
            SyncMode::Interval(period) if self.settings.sync_beside => {
                !self.begin_sync(now_ms, period)
            }
            SyncMode::Interval(period) => {
                let many = self.active_index().waiting() >= INDEX_WAITING_MAX;
                many || now_ms.saturating_sub(since) >= period
            }
            SyncMode::None => false,
        };
        if due {
            self.sync_data()?;
        }
        self.accept();
        self.write_index_batch();
        Ok(())
    }

    /// When a commit is due although nothing is written.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        match self.settings.sync {
            // The end of a sync that is under way is another occasion.
            SyncMode::Interval(_) if self.beside.under_way.is_some() => None,
            SyncMode::Interval(period) if self.settings.sync_beside => match self.unsynced() {
                Some(closing) => Some(closing.since_ms.unwrap_or(0)),
                None => Some(self.unsynced_since_ms? + period.div_ceil(2)),
            },
            SyncMode::Interval(period) => Some(self.unsynced_since_ms? + period),
            _ => None,
        }
    }

    /// From here on nothing is taken back.
    pub(super) fn accept(&mut self) {
        self.undo.clear();
        self.mark = None;
        if self.settings.sync == SyncMode::None {
            self.unsynced_since_ms = None;
        }
    }

    pub(super) fn write_buffer(&mut self) -> Result<()> {
        let written = write_all(
            &*self.active().handle,
            &self.buffer,
            u64::from(self.written),
        );
        if let Err(error) = written {
            bump(&self.counters.data_errors);
            let error = Error::write("data file", &error);
            self.take_back();
            self.cut(&error);
            return Err(error);
        }
        let entries = self.mark.map_or(0, |mark| mark.entries);
        if let Some(cached) = &self.active().cached {
            if self.buffer.len() <= entries * REMEMBERED_BYTES_MAX {
                cached.append(self.written, &self.buffer);
            }
        }
        self.written = self.totals.end;
        let end = u64::from(self.written);
        self.active_mut().bytes = end;
        self.buffer.clear();
        self.give_spare();
        Ok(())
    }

    /// Write into the room that the last big commit left.
    fn take_spare(&mut self) {
        let spare = &mut *self.settings.spare.borrow_mut();
        if self.buffer.is_empty() && spare.capacity() > self.buffer.capacity() {
            std::mem::swap(spare, &mut self.buffer);
        }
    }

    fn give_spare(&mut self) {
        if self.buffer.capacity() <= BUFFER_BYTES_KEPT {
            return;
        }
        let buffer = std::mem::take(&mut self.buffer);
        let spare = &mut *self.settings.spare.borrow_mut();
        if (spare.capacity()..=SPARE_BYTES_MAX).contains(&buffer.capacity()) {
            self.buffer = std::mem::replace(spare, buffer);
        }
    }

    /// Remove what a failed write left, durably: it would look like records after shorter ones.
    fn cut(&mut self, cause: &Error) {
        let end = u64::from(self.written);
        let cut = self
            .active()
            .handle
            .truncate(end)
            .and_then(|()| self.active().handle.sync());
        match cut {
            Ok(()) => {
                self.synced = self.written;
                self.active_index().keep();
            }
            Err(error) => self.read_only = Some(format!("{cause}; then cutting failed: {error}")),
        }
    }

    fn sync_data(&mut self) -> Result<()> {
        self.sync_closing()?;
        if let Err(error) = self.active().handle.sync() {
            return Err(self.distrust(self.manifest.last, &error));
        }
        self.synced = self.written;
        self.unsynced_since_ms = None;
        self.active_index().keep();
        Ok(())
    }

    /// Undo in memory every write since the last commit.
    pub(super) fn take_back(&mut self) {
        if sings(Canary::FailureShown) {
            self.undo.clear();
        }
        while let Some(undo) = self.undo.pop() {
            match (undo.new, undo.old) {
                (Some(new), Some(old)) => {
                    self.table.replace(undo.hash, new.place(), old);
                }
                (Some(new), None) => {
                    self.table.remove(undo.hash, new.place());
                }
                (None, Some(old)) => self.table.insert(undo.hash, old),
                (None, None) => {}
            }
        }
        if let Some(mark) = self.mark.take() {
            self.totals = mark.totals;
            self.active_index().pop(mark.entries, mark.totals);
        }
        self.buffer.clear();
        self.written = self.written.min(self.totals.end);
        let end = u64::from(self.written);
        self.active_mut().bytes = end;
        if let Some(cached) = &self.active().cached {
            cached.cut(self.written);
        }
    }

    /// Write index entries when enough of them wait. They are a shadow: a failure is counted, no more.
    pub(super) fn write_index_batch(&mut self) {
        let durable = match self.settings.sync {
            SyncMode::None => self.written,
            _ if sings(Canary::IndexEarly) => self.written,
            _ => self.synced,
        };
        let waiting = self.active_index().waiting();
        let behind = self
            .totals
            .end
            .saturating_sub(self.active_index().covered());
        let enough = waiting >= INDEX_BATCH_ENTRIES || behind >= INDEX_BATCH_DATA_BYTES;
        if !enough || waiting < self.index_patience || self.read_only.is_some() {
            return;
        }
        self.index_patience = 1;
        if self.active_index().write(durable).is_err() {
            bump(&self.counters.index_errors);
            self.index_patience = self.active_index().waiting() + INDEX_BATCH_ENTRIES;
        }
        self.dirty.insert(self.manifest.last);
    }

    /// Write the data that waits and make it durable.
    pub(super) fn settle_data(&mut self) -> Result<()> {
        if let Some(reason) = &self.read_only {
            return Err(Error::ReadOnly(reason.clone()));
        }
        if let Err(error) = self.write_and_sync() {
            // Replies of this turn wait for the commit: it must know.
            self.failed = Some(error.clone());
            return Err(error);
        }
        self.accept();
        self.name_next()
    }

    fn write_and_sync(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.write_buffer()?;
        }
        if self.synced < self.written {
            self.sync_data()?;
        }
        self.sync_closing()?;
        self.unsynced_since_ms = None;
        Ok(())
    }

    /// Write everything and make it durable, index included.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.settle_data()?;
        let end = self.totals.end;
        if self.active_index().waiting() > 0 {
            let index = self.active_index();
            let written = index.write(end).and_then(|()| index.sync());
            self.dirty.insert(self.manifest.last);
            if let Err(error) = written {
                bump(&self.counters.index_errors);
                return Err(Error::write("index file", &error));
            }
        }
        Ok(())
    }

    /// The same at the end, when no commit will tell of a failure that was not told yet.
    pub(crate) fn close(&mut self) -> Result<()> {
        let failed = self.failed.take().map_or(Ok(()), Err);
        let settled = self.settle();
        failed.and(settled)
    }
}
