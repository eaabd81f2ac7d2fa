//! Moving on to another data file, and beginning anew in an empty one.

use std::sync::Arc;

use super::{bump, compact, FirstId, Namespace};
use crate::format::{SegmentHeader, SEGMENT_HEADER_BYTES};
use crate::index::{self, write_all, Index, Totals};
use crate::manifest::{create, Manifest};
use crate::segment::{self, Segment};
use crate::table::Table;
use crate::{Disk, DiskFile, Error, Mode, Result, Root};

impl<D: Disk> Namespace<D> {
    /// NSJUMP: close the current data file and begin another; returns the new file's number.
    ///
    /// What was written before is durable on return.
    ///
    /// # Errors
    /// `ReadOnly`, `Write`.
    pub fn jump(&mut self) -> Result<u32> {
        self.settle()?;
        self.rotate()?;
        Ok(self.manifest.last)
    }

    pub(super) fn rotate(&mut self) -> Result<()> {
        let ahead = self.leave_behind()?;
        if !ahead {
            self.settle()?;
        }
        let mut manifest = self.manifest.clone();
        manifest.last += 1;
        self.go_on(manifest, self.totals.next_id, ahead)
    }

    /// Make the last file of `manifest` and go on in it; on failure all stays as it was.
    pub(super) fn begin_file(&mut self, manifest: Manifest, first_id: u64) -> Result<()> {
        self.go_on(manifest, first_id, false)
    }

    /// The same; `ahead` of the sync of the file before.
    fn go_on(&mut self, manifest: Manifest, first_id: u64, ahead: bool) -> Result<()> {
        let (file, uid, mode) = (manifest.last, manifest.uid, manifest.mode);
        let header = SegmentHeader {
            ahead,
            ..SegmentHeader::new(uid, file, mode, first_id)
        };
        let (data, index) = match begin_files(&*self.disk, &self.name, &header) {
            Ok(files) => files,
            Err(error) => {
                bump(&self.counters.data_errors);
                return Err(Error::write("new data file", &error));
            }
        };
        let anew = manifest.first == file;
        if ahead {
            self.manifest = manifest;
            self.begin_closing(file - 1, self.written);
        } else {
            self.save(manifest)?;
        }
        if anew {
            (self.segments, self.indexes) = (Vec::new(), Vec::new());
            self.first_ids = Vec::new();
            self.index_bytes_closed = 0;
        } else if mode == Mode::User && !ahead {
            if let Some(closed) = self.indexes.last_mut().and_then(Option::take) {
                self.index_bytes_closed += closed.bytes();
            }
        }
        let data = self.admit(data);
        self.add_segment(data, first_id, true);
        self.indexes.push(Some(index));
        let end = SEGMENT_HEADER_BYTES;
        self.totals = Totals {
            end,
            last: 0,
            ..self.totals
        };
        (self.written, self.synced) = (end, end);
        self.dirty.insert(file);
        self.index_patience = 0;
        self.count_closed();
        Ok(())
    }

    /// Note the next data file, and the first id that was made in it if that is `certain`.
    pub(super) fn add_segment(
        &mut self,
        segment: Option<Segment<D::File>>,
        id: u64,
        certain: bool,
    ) {
        let before = self.first_ids.last().map_or(0, |first| first.id);
        let id = if certain { id.max(before) } else { before };
        self.first_ids.push(FirstId { id, certain });
        self.segments.push(segment);
    }

    /// FLUSH: remove every record and give the space back, durable on return. Ids begin at 0 again.
    ///
    /// # Errors
    /// `Worm`, `Locked`, `Frozen`, `ReadOnly`, `Write`.
    pub fn flush(&mut self) -> Result<()> {
        if self.manifest.properties.worm {
            return Err(Error::Worm);
        }
        self.may_write()?;
        self.begin_anew(self.manifest.mode)
    }

    /// Go on in a new first file, and remove all others.
    pub(super) fn begin_anew(&mut self, mode: Mode) -> Result<()> {
        // What waits was not acknowledged; it goes with the rest, but if this fails it stays.
        self.settle()?;
        let gone = self.manifest.first..=self.manifest.last;
        let mut manifest = self.manifest.clone();
        manifest.last += 1;
        manifest.first = manifest.last;
        manifest.mode = mode;
        self.begin_file(manifest, 0)?;
        self.table = Table::new();
        self.totals = Totals {
            end: self.totals.end,
            ..Totals::default()
        };
        self.compaction = compact::Progress::default();
        self.remove_files(gone);
        Ok(())
    }

    /// Remove data and index files that the manifest no longer names; the next start retries.
    pub(super) fn remove_files(&self, files: impl Iterator<Item = u32>) {
        for file in files {
            let _ = self
                .disk
                .remove(Root::Data, &self.path(&segment::name(file)));
            let _ = self
                .disk
                .remove(Root::Index, &self.path(&index::name(file)));
        }
        for root in [Root::Data, Root::Index] {
            let _ = self.disk.sync_folder(root, &self.name);
        }
    }
}

/// A data file and its index file.
type NewFiles<F> = (Segment<F>, Index<F>);

/// Make an empty data file and its index file, durably.
///
/// # Errors
/// What the disk says.
pub(super) fn begin_files<D: Disk>(
    disk: &D,
    folder: &str,
    header: &SegmentHeader,
) -> std::io::Result<NewFiles<D::File>> {
    let path = |name: String| format!("{folder}/{name}");
    let data = create(disk, Root::Data, &path(segment::name(header.file)))?;
    write_all(&data, &header.encode(), 0)?;
    data.sync()?;
    disk.sync_folder(Root::Data, folder)?;
    let index = create(disk, Root::Index, &path(index::name(header.file)))?;
    let index = Index::begin(index, header.uid, header.file, header.mode, header.first_id)?;
    disk.sync_folder(Root::Index, folder)?;
    let bytes = u64::from(SEGMENT_HEADER_BYTES);
    Ok((Segment::plain(Arc::new(data), *header, bytes), index))
}
