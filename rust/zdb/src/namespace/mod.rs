//! One namespace: its properties, its log, its index.
//!
//! `write` appends and commits, `beside` syncs while it goes on, `rotate` moves on to another file, `read`
//! answers (`fetch` reads one record), `walk` lists, `recover` opens (`load` a file, `replay` a record),
//! `compact` gives space back, `quota` bounds what is used. Invariants: a place in the table or an index file
//! is where a record was appended; the table's versions are the newest ones; index entries on disk are of
//! durable records; what the cache holds of the last file ends at `written`.

mod beside;
mod compact;
mod fetch;
mod handover;
mod load;
mod quota;
mod read;
mod recover;
mod replay;
mod rotate;
mod trim;
mod walk;
mod write;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crate::cache::Cache;
use crate::canary::{sings, Canary};
use crate::format::RecordHeader;
use crate::index::{Entry, Index, Totals};
use crate::manifest::{Manifest, NotSaved};
use crate::segment::Segment;
use crate::table::{Location, Table};
use crate::{
    Disk, Error, HistoryPolicy, Mode, Place, Properties, Result, Scratch, Stats, SyncMode,
};

pub use beside::BegunSync;
pub(crate) use handover::begun_ahead;
pub(crate) use recover::open_file;
pub use walk::{Position, Step};

/// How an engine runs its namespaces.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub sync: SyncMode,
    pub sync_beside: bool,
    pub segment_bytes: u32,
    pub cache: Option<Rc<Cache>>,
    /// Room for the writes of a big commit, which whoever needs it takes in turn.
    pub spare: Rc<RefCell<Vec<u8>>>,
}

/// The current version of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current {
    location: Location,
    /// `None` when the record is damaged: it may be this key's.
    header: Option<RecordHeader>,
}

/// Sequential mode: the least id that may have been made in a data file.
#[derive(Debug, Clone, Copy)]
struct FirstId {
    id: u64,
    /// Whether no id from here on was made in a file before; not so where the header was not readable.
    certain: bool,
}

/// A change of the index that can be taken back.
#[derive(Debug, Clone, Copy)]
struct Undo {
    hash: u32,
    new: Option<Location>,
    old: Option<Location>,
}

/// Where the writes since the last commit began.
#[derive(Debug, Clone, Copy)]
struct Mark {
    totals: Totals,
    entries: usize,
}

#[derive(Debug, Default)]
struct Counters {
    data_errors: Cell<u64>,
    index_errors: Cell<u64>,
    damaged: Cell<u64>,
}

fn bump(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// One namespace. Reads take `&self`; what `set` and `delete` did is visible at once.
#[derive(Debug)]
pub struct Namespace<D: Disk> {
    disk: Arc<D>,
    name: String,
    settings: Settings,
    manifest: Manifest,
    /// Data files from `manifest.first` on; `None` where one is missing.
    segments: Vec<Option<Segment<D::File>>>,
    /// One for each of them, never falling.
    first_ids: Vec<FirstId>,
    /// Sequential mode: all index files from `manifest.first` on. User mode: the last one only.
    indexes: Vec<Option<Index<D::File>>>,
    /// Bytes of index files that are closed.
    index_bytes_closed: u64,
    /// Bytes of all files but the two that are written to.
    closed_bytes: u64,
    /// What was used when the quota was set below it, 0 if it never was.
    shrunk_from: u64,
    table: Table,
    totals: Totals,
    /// While opening: of records that were read.
    lengths: load::Lengths,
    /// Records that are not written yet, from `written` on.
    buffer: Vec<u8>,
    /// End of what is written to the last data file.
    written: u32,
    /// End of what is durable in it.
    synced: u32,
    mark: Option<Mark>,
    undo: Vec<Undo>,
    /// A failure since the last commit, which the next one reports.
    failed: Option<Error>,
    read_only: Option<String>,
    /// Since when the oldest write waits that no sync covers.
    unsynced_since_ms: Option<u64>,
    beside: beside::Beside<D::File>,
    closing: Option<handover::Closing>,
    /// Below how many waiting index entries writing them is not tried (again).
    index_patience: usize,
    last_id: [u8; 8],
    dirty: BTreeSet<u32>,
    compaction: compact::Progress<D::File>,
    counters: Counters,
    /// While it is opened, sequential mode: damaged versions of which nobody knows the id.
    unclaimed: Vec<Place>,
    scratch: Scratch,
}

impl<D: Disk> Namespace<D> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its keys come to be.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.manifest.mode
    }

    /// Its properties.
    #[must_use]
    pub fn properties(&self) -> &Properties {
        &self.manifest.properties
    }

    /// Replace its properties, durable on return (write new, fsync, rename, fsync the directory).
    ///
    /// # Errors
    /// `Write`: the old ones stay.
    pub fn set_properties(&mut self, properties: Properties) -> Result<()> {
        if properties.history != self.manifest.properties.history {
            self.compaction = compact::Progress::default();
        }
        let mut manifest = self.manifest.clone();
        manifest.properties = properties;
        self.save(manifest)?;
        self.begin_quota();
        Ok(())
    }

    /// Change the mode of a namespace that was never written to, durable on return.
    ///
    /// # Errors
    /// `ModeInUse`, `Write`.
    pub fn set_mode(&mut self, mode: Mode) -> Result<()> {
        if mode == self.manifest.mode {
            return Ok(());
        }
        if self.totals.last != 0 || self.manifest.first != self.manifest.last {
            return Err(Error::ModeInUse);
        }
        self.begin_anew(mode)
    }

    fn save(&mut self, mut manifest: Manifest) -> Result<()> {
        let mut written = manifest.clone();
        if let Some(closing) = self.closing.filter(|_| !sings(Canary::NamedAhead)) {
            written.last = closing.file;
        }
        let saved = written.save(&*self.disk, &self.name);
        manifest.serial = written.serial;
        self.manifest.serial = written.serial;
        match saved {
            Ok(copied) => {
                if !copied {
                    bump(&self.counters.index_errors);
                }
                self.manifest = manifest;
                Ok(())
            }
            Err(NotSaved { error, certain }) => {
                bump(&self.counters.data_errors);
                let files = |one: &Manifest| (one.first, one.last);
                if !certain && files(&manifest) != files(&self.manifest) {
                    // Which file is the last one, only the next start can tell.
                    self.read_only = Some(format!("change of data file left half done: {error}"));
                }
                Err(Error::write("properties", &error))
            }
        }
    }

    /// Why it takes no writes, if a disk failure made it so.
    #[must_use]
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// Take no more writes, for this reason.
    pub(crate) fn close_to_writes(&mut self, reason: String) {
        self.read_only = Some(reason);
    }

    /// Whether there are writes that no commit wrote yet, or a failure that none reported.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.buffer.is_empty() || self.failed.is_some()
    }

    /// Figures; makes no system call.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let open: u64 = self.indexes.iter().flatten().map(Index::bytes).sum();
        let waiting: usize = self.indexes.iter().flatten().map(Index::memory_bytes).sum();
        Stats {
            entries: self.totals.entries,
            payload_bytes: self.totals.payload_bytes,
            data_bytes: self
                .segments
                .iter()
                .flatten()
                .map(|segment| segment.bytes)
                .sum(),
            index_bytes: self.index_bytes_closed + open,
            disk_bytes: self.disk_bytes(),
            index_memory_bytes: (self.table.memory_bytes() + waiting) as u64,
            next_id: self.totals.next_id,
            data_file: self.manifest.last,
            data_offset: self.totals.end,
            data_errors: self.counters.data_errors.get(),
            index_errors: self.counters.index_errors.get(),
            damaged: self.counters.damaged.get(),
        }
    }

    /// INDEX DIRTY: numbers of index files written since the last reset.
    #[must_use]
    pub fn dirty(&self) -> Vec<u32> {
        self.dirty.iter().copied().collect()
    }

    /// INDEX DIRTY RESET.
    pub fn reset_dirty(&mut self) {
        self.dirty.clear();
    }

    /// Whether compaction may drop anything here.
    #[must_use]
    pub fn is_compactable(&self) -> bool {
        self.manifest.properties.history != HistoryPolicy::KeepAll && self.segments.len() > 1
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    fn segment(&self, file: u32) -> Option<&Segment<D::File>> {
        let index = file.checked_sub(self.manifest.first)?;
        self.segments.get(index as usize)?.as_ref()
    }

    /// A data file that was just opened, read through the cache from now on.
    fn admit(&self, mut segment: Segment<D::File>) -> Option<Segment<D::File>> {
        segment.cached = self.settings.cache.as_ref().map(Cache::file);
        Some(segment)
    }

    fn active(&self) -> &Segment<D::File> {
        self.segments
            .last()
            .and_then(Option::as_ref)
            .expect("the last data file is always open")
    }

    fn active_mut(&mut self) -> &mut Segment<D::File> {
        self.segments
            .last_mut()
            .and_then(Option::as_mut)
            .expect("the last data file is always open")
    }

    fn active_index(&mut self) -> &mut Index<D::File> {
        self.indexes
            .last_mut()
            .and_then(Option::as_mut)
            .expect("the last index file is always open")
    }

    /// Read what was appended at a place, wherever it is by now.
    fn read_bytes(&self, buffer: &mut [u8], place: Place) -> io::Result<usize> {
        let Some(segment) = self.segment(place.file) else {
            return Ok(0);
        };
        if place.file != self.manifest.last
            || place.offset as usize + buffer.len() <= self.written as usize
        {
            return segment.read(buffer, place.offset);
        }
        // The end of the log: partly written, partly not.
        let on_disk = (self.written.saturating_sub(place.offset) as usize).min(buffer.len());
        let mut got = 0;
        if on_disk > 0 {
            got = segment.read(&mut buffer[..on_disk], place.offset)?;
        }
        if got == on_disk {
            let from = (place.offset.max(self.written) - self.written) as usize;
            let rest = self.buffer.get(from..).unwrap_or_default();
            let count = rest.len().min(buffer.len() - got);
            buffer[got..got + count].copy_from_slice(&rest[..count]);
            got += count;
        }
        Ok(got)
    }

    fn index_entry(&self, location: Location, parent: Location, hash: u32) -> Entry {
        let mark = match self.manifest.mode {
            Mode::User => hash,
            Mode::Sequential => self.totals.next_id as u32,
        };
        Entry {
            mark,
            location,
            parent,
        }
    }
}
