//! Syncing beside the engine: the caller runs the fsync, and the namespace goes on meanwhile.
//!
//! `commit` begins a sync of all that is written by then; `end_sync` learns what became of it. The handle is an
//! open file of its own: the system tells each open file of a failed write-back once, so that a sync of the
//! namespace's own that overlaps (before a change of data file, say) can neither take that word away nor miss it.

use std::io;
use std::sync::Arc;

use super::write::INDEX_WAITING_MAX;
use super::{bump, Namespace};
use crate::segment;
use crate::{Disk, DiskFile, Error, NamespaceId, Place, Result, Root, SyncMode};

/// Bytes after which a sync begins before its time, so that the disk does not rest while much waits.
const SYNC_BYTES: u32 = 32 << 20;
/// Index entries that may wait for a sync that is under way, some 8 MiB: beyond it writes wait too.
const ENTRIES_MAX: usize = 8 * INDEX_WAITING_MAX;

/// An fsync that was begun: run it anywhere, then hand it back with what came of it to `Engine::end_sync`.
#[derive(Debug)]
pub struct BegunSync<F> {
    pub(crate) namespace: NamespaceId,
    pub(crate) span: Span,
    handle: Arc<F>,
}

impl<F: DiskFile> BegunSync<F> {
    /// The fsync itself: blocks until the disk has it.
    ///
    /// # Errors
    /// What the system says.
    pub fn run(&self) -> io::Result<()> {
        self.handle.sync()
    }

    /// Which namespace it is of.
    #[must_use]
    pub fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// What it makes durable: all that was written before this place.
    #[must_use]
    pub fn covers(&self) -> Place {
        let Span { file, end, .. } = self.span;
        Place { file, offset: end }
    }
}

/// What a sync covers: a data file up to a byte, and since when the oldest of it waited.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub file: u32,
    pub end: u32,
    pub since_ms: u64,
}

/// Syncs of one namespace that run beside it.
#[derive(Debug)]
pub(super) struct Beside<F> {
    handle: Option<(u32, Arc<F>)>,
    pub under_way: Option<Span>,
    begun: Option<Span>,
}

impl<F> Default for Beside<F> {
    fn default() -> Self {
        Self {
            handle: None,
            under_way: None,
            begun: None,
        }
    }
}

impl<D: Disk> Namespace<D> {
    /// Begin a sync if one is due; false when it must be run inside the commit.
    pub(super) fn begin_sync(&mut self, now_ms: u64, period_ms: u64) -> bool {
        if let Some(mut closing) = self.unsynced() {
            let since_ms = *closing.since_ms.get_or_insert(now_ms);
            let (file, end) = (closing.file, closing.end);
            self.closing = Some(closing);
            let span = Span {
                file,
                end,
                since_ms,
            };
            let overdue = now_ms.saturating_sub(since_ms) >= period_ms;
            return self.beside.under_way.is_some() || !overdue && self.begin_span(span);
        }
        let Some(since_ms) = self.unsynced_since_ms else {
            return true;
        };
        let many = self.written - self.synced >= SYNC_BYTES
            || self.active_index().waiting() >= INDEX_WAITING_MAX;
        let waited_ms = now_ms.saturating_sub(since_ms);
        if self.beside.under_way.is_some() || !(many || waited_ms >= period_ms.div_ceil(2)) {
            return true;
        }
        let span = Span {
            file: self.manifest.last,
            end: self.written,
            since_ms,
        };
        if waited_ms >= period_ms || !self.begin_span(span) {
            return false;
        }
        self.active_index().keep();
        self.unsynced_since_ms = None;
        true
    }

    /// Begin a sync; false when there is no handle for it.
    fn begin_span(&mut self, span: Span) -> bool {
        if self.beside.handle.as_ref().map(|(file, _)| *file) != Some(span.file) {
            let path = self.path(&segment::name(span.file));
            let Ok(handle) = self.disk.open(Root::Data, &path, false) else {
                return false;
            };
            self.beside.handle = Some((span.file, Arc::new(handle)));
        }
        (self.beside.under_way, self.beside.begun) = (Some(span), Some(span));
        true
    }

    /// The sync that the last commit began.
    pub(crate) fn take_begun(&mut self, namespace: NamespaceId) -> Option<BegunSync<D::File>> {
        let span = self.beside.begun.take()?;
        let (_, handle) = self.beside.handle.clone()?;
        Some(BegunSync {
            namespace,
            span,
            handle,
        })
    }

    /// Whether a sync of it is under way.
    pub(crate) fn is_synced_beside(&self) -> bool {
        self.beside.under_way.is_some()
    }

    /// Whether no more may be acknowledged before the sync that is under way has ended.
    pub(crate) fn is_overdue(&self, now_ms: u64) -> bool {
        let (Some(span), SyncMode::Interval(period)) = (self.beside.under_way, self.settings.sync)
        else {
            return false;
        };
        let waiting = self.indexes.last().and_then(Option::as_ref);
        let closing = self.unsynced().and_then(|closing| closing.since_ms);
        let since_ms = closing.map_or(span.since_ms, |since_ms| since_ms.min(span.since_ms));
        now_ms.saturating_sub(since_ms) >= period
            || waiting.is_some_and(|index| index.waiting() >= ENTRIES_MAX)
    }

    /// Learn what became of a sync.
    pub(crate) fn end_sync(&mut self, span: Span, outcome: io::Result<()>) -> Result<()> {
        self.beside.under_way = None;
        if span.file < self.manifest.first {
            // FLUSH was faster.
            return Ok(());
        }
        let Err(error) = outcome else {
            if span.file == self.manifest.last {
                self.synced = self.synced.max(span.end);
                self.write_index_batch();
            }
            self.closing_synced(span.file, span.end);
            return Ok(());
        };
        let open = self.mark.is_some();
        let error = self.distrust(span.file, &error);
        // Replies of this turn wait for the commit: it must know.
        self.failed = open.then(|| error.clone());
        Err(error)
    }

    /// Build on nothing more after a failed fsync, and take back what was not committed.
    ///
    /// The system may have dropped what it could not write and report success next time: nothing since the last
    /// success is known to be there.
    pub(super) fn distrust(&mut self, file: u32, error: &io::Error) -> Error {
        bump(&self.counters.data_errors);
        let reason = format!("fsync of data file {file} failed: {error}");
        self.take_back();
        self.unsynced_since_ms = None;
        self.read_only = Some(reason.clone());
        Error::ReadOnly(reason)
    }
}
