//! Quotas of an administrator: what the files may take together, and how many keys may live.
//!
//! `max_disk_bytes` is never passed: what a write will take is known before it is made, down to the
//! page of the index. The last part of it is for deletes, so that a full namespace can be emptied.
//! Only while a data file is compacted, its new version is beside it for a moment; so the files of a
//! namespace with a quota are small against it.

use super::Namespace;
use crate::format::{record_bytes, SEGMENT_HEADER_BYTES};
use crate::index::PAGE_BYTES;
use crate::{Disk, Error, HistoryPolicy, Result, SEGMENT_BYTES_MIN};

/// One part in so many of a quota is the size of its data files, and at most its reserve for deletes.
const PARTS: u64 = 16;
/// Most bytes of the reserve.
const RESERVE_BYTES_MAX: u64 = 4 << 20;
/// What an empty data file and its index file take.
const EMPTY_BYTES: u64 = SEGMENT_HEADER_BYTES as u64 + PAGE_BYTES as u64;

fn reserve(max: u64) -> u64 {
    (max / PARTS).min(RESERVE_BYTES_MAX)
}

impl<D: Disk> Namespace<D> {
    /// Bytes of all files once everything that waits is written.
    pub(super) fn disk_bytes(&self) -> u64 {
        let index = self.indexes.last().and_then(Option::as_ref);
        let ahead = index.map_or(0, |index| index.bytes_with(0));
        self.closed_bytes + u64::from(self.totals.end) + ahead
    }

    /// The same after one more record.
    fn disk_bytes_with(&self, record: usize) -> u64 {
        let record_bytes = record as u64;
        if self.is_full_with(record) {
            return self.disk_bytes() + EMPTY_BYTES + record_bytes + PAGE_BYTES as u64;
        }
        let index = self.indexes.last().and_then(Option::as_ref);
        let ahead = index.map_or(0, |index| index.bytes_with(1));
        self.closed_bytes + u64::from(self.totals.end) + record_bytes + ahead
    }

    /// Whether a record of this size goes into another data file.
    pub(super) fn is_full_with(&self, record: usize) -> bool {
        let end = self.totals.end;
        end as usize + record > self.segment_bytes() as usize && end > SEGMENT_HEADER_BYTES
    }

    /// Size at which a data file is closed.
    fn segment_bytes(&self) -> u32 {
        let (most, quota) = (
            self.settings.segment_bytes,
            self.manifest.properties.max_disk_bytes,
        );
        if quota == 0 {
            return most;
        }
        let part = u32::try_from(quota / PARTS).unwrap_or(u32::MAX);
        most.min(part.max(SEGMENT_BYTES_MIN))
    }

    /// Count anew what the files take that are closed: after one was closed, compacted or removed.
    pub(super) fn count_closed(&mut self) {
        let data = self.segments.iter().rev().skip(1).flatten();
        let data: u64 = data.map(|segment| segment.bytes).sum();
        let index = self.indexes.iter().rev().skip(1).flatten();
        let index: u64 = index.map(|index| index.bytes_with(0)).sum();
        self.closed_bytes = data + self.index_bytes_closed + index;
    }

    /// A quota below what is used stops writing; deletes go on from what is used now.
    pub(super) fn begin_quota(&mut self) {
        let (used, max) = (self.disk_bytes(), self.manifest.properties.max_disk_bytes);
        self.shrunk_from = if max > 0 && used > max { used } else { 0 };
    }

    /// Whether a value of this size may be written, and with it another key.
    ///
    /// # Errors
    /// `NoSpace`; what compaction may drop is then made ready for it.
    pub(super) fn may_store(&mut self, key: usize, payload: usize, new: bool) -> Result<()> {
        let (max, keys) = (
            self.manifest.properties.max_disk_bytes,
            self.manifest.properties.max_keys,
        );
        if new && keys > 0 && self.totals.entries >= keys {
            return Err(Error::NoSpace);
        }
        let wanted = record_bytes(key, payload);
        if max > 0 && self.disk_bytes_with(wanted) > max - reserve(max) {
            self.make_compactable();
            return Err(Error::NoSpace);
        }
        Ok(())
    }

    /// Whether a delete may be written.
    ///
    /// # Errors
    /// As of `may_store`.
    pub(super) fn may_bury(&mut self, key: usize) -> Result<()> {
        let max = self.manifest.properties.max_disk_bytes;
        let most = match self.shrunk_from {
            0 => max,
            from => max.max(from + reserve(max)),
        };
        // There is always room left to go on to another file, so that this one can be compacted.
        if max > 0 && self.disk_bytes_with(record_bytes(key, 0)) + EMPTY_BYTES > most {
            self.make_compactable();
            return Err(Error::NoSpace);
        }
        Ok(())
    }

    /// Whether the quota is used but for the reserve: then compaction takes whatever it may.
    pub(super) fn is_tight(&self) -> bool {
        let max = self.manifest.properties.max_disk_bytes;
        max > 0 && self.disk_bytes() > max - 2 * reserve(max)
    }

    /// Compaction works on closed files: close the one that is written to, if there is much in it.
    fn make_compactable(&mut self) {
        let max = self.manifest.properties.max_disk_bytes;
        let much = u64::from(self.totals.end - SEGMENT_HEADER_BYTES) >= reserve(max) / 2;
        let fits = self.disk_bytes() + EMPTY_BYTES <= max.max(self.shrunk_from + reserve(max));
        if much && fits && self.manifest.properties.history != HistoryPolicy::KeepAll {
            // A failure is reported by the next commit; the write was refused anyway.
            let _ = self.rotate();
        }
    }
}
