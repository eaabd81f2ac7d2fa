//! Going on in the next data file while a sync beside the engine makes the one before durable.
//!
//! The header of the next file says that it was begun `ahead`, and the properties name it only once the file
//! before is whole. So a start that finds it unnamed knows that the end of the file before may be torn, as of
//! any last file: it cuts what is torn, makes the rest durable, names the next file and goes on in it. At
//! most one file is unnamed: whoever needs another, or everything durable, waits for the sync.

use super::{bump, open_file, Namespace};
use crate::canary::{sings, Canary};
use crate::format::SEGMENT_HEADER_BYTES;
use crate::index::Index;
use crate::manifest::Manifest;
use crate::segment;
use crate::{Disk, DiskFile, Mode, Report, Result, SyncMode};

/// A data file that is written to no more, and not known to be durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    pub file: u32,
    pub end: u32,
    /// Since when the oldest write in it waits; `None` until the next commit tells the time.
    pub since_ms: Option<u64>,
    /// Whether it is durable: then only the properties are to be written.
    pub synced: bool,
}

impl<D: Disk> Namespace<D> {
    /// Write what waits to the last file, and leave its sync to run beside; false when nothing waits for one.
    ///
    /// # Errors
    /// `Write`, `ReadOnly`; `failed` tells the commit.
    pub(super) fn leave_behind(&mut self) -> Result<bool> {
        let beside =
            matches!(self.settings.sync, SyncMode::Interval(_)) && self.settings.sync_beside;
        if !beside || self.read_only.is_some() {
            return Ok(false);
        }
        if let Err(error) = self.write_and_sync_closing() {
            self.failed = Some(error.clone());
            return Err(error);
        }
        self.accept();
        self.name_next()?;
        Ok(self.synced < self.written)
    }

    fn write_and_sync_closing(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.write_buffer()?;
        }
        self.sync_closing()
    }

    /// The next file was begun: the one before is closing.
    pub(super) fn begin_closing(&mut self, file: u32, end: u32) {
        self.closing = Some(Closing {
            file,
            end,
            since_ms: self.unsynced_since_ms.take(),
            synced: false,
        });
        if sings(Canary::NamedAhead) {
            let _ = self.save(self.manifest.clone());
        }
    }

    /// The file that still needs a sync; none after a failed one, for the next may report success of nothing.
    pub(super) fn unsynced(&self) -> Option<Closing> {
        let waits = |closing: &Closing| !closing.synced && self.read_only.is_none();
        self.closing.filter(waits)
    }

    /// Learn that a file is durable up to `end`.
    pub(super) fn closing_synced(&mut self, file: u32, end: u32) {
        let closing = self.unsynced();
        let Some(closing) = closing.filter(|one| one.file == file && one.end <= end) else {
            return;
        };
        self.closing = Some(Closing {
            synced: true,
            ..closing
        });
        // What cannot be written now is written when somebody must wait for it.
        let _ = self.name_next();
    }

    /// Wait until the file before is durable.
    ///
    /// # Errors
    /// `ReadOnly`: the sync failed.
    pub(super) fn sync_closing(&mut self) -> Result<()> {
        let Some(closing) = self.unsynced() else {
            return Ok(());
        };
        let left = self.segment(closing.file).expect("it was written to");
        if let Err(error) = left.handle.sync() {
            return Err(self.distrust(closing.file, &error));
        }
        self.closing_synced(closing.file, closing.end);
        Ok(())
    }

    /// Complete the index file of a file that is durable, and name the next one in the properties.
    ///
    /// # Errors
    /// `Write`: nothing is lost by it, for a start takes an unnamed file in; but no other file may be begun.
    pub(super) fn name_next(&mut self) -> Result<()> {
        let Some(closing) = self.closing.take() else {
            return Ok(());
        };
        self.close_index((closing.file - self.manifest.first) as usize, closing.end);
        self.dirty.insert(closing.file);
        let named = self.save(self.manifest.clone());
        match named {
            Ok(()) => self.count_closed(),
            Err(_) => self.closing = Some(closing),
        }
        named
    }

    /// Write what waits for an index file whose data is durable up to `end`, and keep what must be kept of it.
    fn close_index(&mut self, index: usize, end: u32) {
        let Some(indexed) = self.indexes[index].as_mut() else {
            return;
        };
        if indexed.waiting() > 0 {
            let written = indexed.write(end).and_then(|()| indexed.sync());
            if written.is_err() {
                // A start reads the rest from the data.
                bump(&self.counters.index_errors);
            }
        }
        if self.manifest.mode == Mode::User {
            self.index_bytes_closed += self.indexes[index].take().as_ref().map_or(0, Index::bytes);
        }
    }

    /// While opening, with everything before loaded: go on in a file that was begun ahead.
    pub(super) fn load_ahead(&mut self, file: u32, report: &mut Report) -> Result<bool> {
        let last = self.manifest.last;
        if self.read_only.is_none() && self.segment(last).is_some() {
            self.unsynced_since_ms = None;
            if let Err(error) = self.active().handle.sync() {
                self.read_only = Some(format!("fsync of data file {last} failed: {error}"));
            }
        }
        let mut manifest = self.manifest.clone();
        manifest.last = file;
        if self.read_only.is_none() {
            let index = (last - self.manifest.first) as usize;
            self.close_index(index, self.totals.end);
            self.save(manifest)?;
            let what = "begun before the file before it was durable: taken in".to_owned();
            self.note(report, &segment::name(file), (0, 0), what, false);
        } else {
            // Nobody makes it durable any more, so that no properties name the next one.
            self.manifest = manifest;
            self.closing = Some(Closing {
                file: last,
                end: self.totals.end,
                since_ms: None,
                synced: false,
            });
        }
        // While loading everything is on disk.
        (self.written, self.synced) = (u32::MAX, 0);
        self.load_file(file, report)
    }
}

/// The file after the last one that the properties name, if it was begun ahead and holds anything.
///
/// # Errors
/// `Read`.
pub(crate) fn begun_ahead<D: Disk>(
    disk: &D,
    folder: &str,
    manifest: &Manifest,
) -> Result<Option<u32>> {
    let file = manifest.last + 1;
    let Some((found, damage)) = open_file(disk, folder, manifest, file, 0)? else {
        return Ok(None);
    };
    let holds = found.bytes > u64::from(SEGMENT_HEADER_BYTES);
    Ok((damage.is_none() && found.header.ahead && holds).then_some(file))
}
