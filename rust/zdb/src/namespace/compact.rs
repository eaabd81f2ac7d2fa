//! Giving space back: a closed data file is written anew without the versions that the policy drops.
//!
//! Places stay: what is kept is copied byte for byte into runs that say where they were. The new file
//! takes the old one's name by one rename, so that a crash leaves the one or the other. What could not
//! be read is kept too, for it must go on being an error. A tombstone goes only when every file before
//! it holds nothing more to drop, or an older version could come back to life. The index file goes with
//! the data file (`trim`), and so do files of which nothing is left.

use std::collections::HashSet;

use super::trim::Trim;
use super::Namespace;
use crate::canary::{sings, Canary};
use crate::format::{
    RecordHeader, RunHeader, SegmentHeader, RUN_HEADER_BYTES, SEGMENT_HEADER_BYTES,
};
use crate::index::write_all;
use crate::manifest::create;
use crate::segment::{self, encode_runs, Met, Run, Segment, Walk};
use crate::{Disk, DiskFile, Error, HistoryPolicy, Mode, Place, Result, Root, Scratch};

/// A file is written anew when at least one part in so many of it can go.
const WORTHWHILE_PART: u32 = 8;
/// Versions of deleted keys that are remembered for the next pass.
const REMEMBERED_MAX: usize = 1 << 20;
/// How far a chain of versions is followed to decide about one record.
const CHAIN_STEPS_MAX: usize = 10_000;

/// Where compaction is.
#[derive(Debug)]
pub(super) struct Progress<F> {
    /// The file to look at next, as an offset from the first.
    next: u32,
    /// Whether no file before `next` holds anything more to drop.
    dirty_before: bool,
    /// The last file when the last pass ended: another one begins when the log has moved on.
    done_at: Option<u32>,
    /// Old versions of keys that were deleted before the time of `KeepSince`.
    forgotten: HashSet<Place>,
    plan: Option<Plan>,
    copy: Option<Copy>,
    trim: Option<Trim<F>>,
}

impl<F> Default for Progress<F> {
    fn default() -> Self {
        Self {
            next: 0,
            dirty_before: false,
            done_at: None,
            forgotten: HashSet::new(),
            plan: None,
            copy: None,
            trim: None,
        }
    }
}

impl<F> Progress<F> {
    /// Files were removed from the beginning.
    pub(super) fn shift(&mut self, count: u32) {
        self.next = self.next.saturating_sub(count);
    }
}

/// Deciding: which stretches of a file stay.
#[derive(Debug)]
struct Plan {
    file: u32,
    position: u32,
    keep: Vec<(u32, u32)>,
    dropped_bytes: u32,
}

/// Copying them.
#[derive(Debug)]
pub(super) struct Copy {
    /// Of this data file.
    pub file: u32,
    path: String,
    keep: Vec<(u32, u32)>,
    next: usize,
    inside: u32,
    at: u32,
    runs: Vec<Run>,
}

impl Copy {
    /// Whether what is at an offset stays.
    pub(super) fn keeps(&self, offset: u32) -> bool {
        let after = self.keep.partition_point(|&(from, _)| from <= offset);
        after > 0 && offset < self.keep[after - 1].1
    }
}

impl<D: Disk> Namespace<D> {
    /// One step; false when nothing is to be done.
    pub(crate) fn compact_step(&mut self, budget_bytes: u64) -> Result<bool> {
        let nothing = !self.is_compactable()
            || self.compaction.done_at == Some(self.manifest.last)
            || self.read_only.is_some();
        if nothing {
            return Ok(false);
        }
        // What replaced an old version must be there for good before the old one goes.
        self.settle_data()?;
        let stepped = self.compact_some(budget_bytes);
        if stepped.is_err() {
            self.compaction = Progress::default();
        }
        stepped
    }

    fn compact_some(&mut self, budget_bytes: u64) -> Result<bool> {
        if let Some(mut copy) = self.compaction.copy.take() {
            if self.copy_some(&mut copy, budget_bytes)? {
                if copy.keep.is_empty() {
                    self.swap_in_empty(copy)?;
                } else {
                    self.compaction.trim = Some(self.begin_trim(copy)?);
                }
            } else {
                self.compaction.copy = Some(copy);
            }
            return Ok(true);
        }
        if let Some(mut trim) = self.compaction.trim.take() {
            if self.trim_some(&mut trim, budget_bytes)? {
                self.swap_in(trim.copy)?;
            } else {
                self.compaction.trim = Some(trim);
            }
            return Ok(true);
        }
        let file = self.manifest.first + self.compaction.next;
        if file >= self.manifest.last {
            self.compaction.done_at = Some(self.manifest.last);
            (self.compaction.next, self.compaction.dirty_before) = (0, false);
            return Ok(false);
        }
        let start = Plan {
            file,
            position: 0,
            keep: Vec::new(),
            dropped_bytes: 0,
        };
        let mut plan = self.compaction.plan.take().unwrap_or(start);
        if !self.plan_some(&mut plan, budget_bytes)? {
            self.compaction.plan = Some(plan);
            return Ok(true);
        }
        self.compaction.next += 1;
        let held: u32 = plan.keep.iter().map(|(from, to)| to - from).sum();
        let least = match self.is_tight() {
            true => 0,
            false => (held + plan.dropped_bytes) / WORTHWHILE_PART,
        };
        let worthwhile = plan.dropped_bytes > least;
        if worthwhile {
            self.compaction.copy = Some(self.begin_copy(plan)?);
        } else {
            self.compaction.dirty_before |= plan.dropped_bytes > 0;
        }
        Ok(true)
    }

    /// A file of which nothing is left.
    fn swap_in_empty(&mut self, copy: Copy) -> Result<()> {
        let file = copy.file;
        self.swap_in(copy)?;
        self.forget_index(file);
        self.drop_empty()
    }

    /// Decide about some records of a file; true when all are decided.
    fn plan_some(&mut self, plan: &mut Plan, budget_bytes: u64) -> Result<bool> {
        let Some(segment) = self.segment(plan.file).cloned() else {
            // It may come back from a backup, with versions that only a tombstone hides.
            self.compaction.dirty_before = true;
            return Ok(true);
        };
        let read = |buffer: &mut [u8], offset| segment.read(buffer, offset);
        let mut left = budget_bytes;
        for (from, to) in segment.stretches(plan.position, segment.end()) {
            let mut walk = Walk::new(&read, segment.seed, plan.file, (from, to), false);
            let failed = |error| Error::read("data file", &error);
            while let Some(met) = walk.step().map_err(failed)? {
                let (from, to, keep) = match met {
                    Met::Record { header, key, .. } => {
                        let from = header.meta.place.offset;
                        (
                            from,
                            from + header.total() as u32,
                            self.keeps(&header, key)?,
                        )
                    }
                    Met::Hole { from, to } => (from, to, true),
                };
                plan.position = to;
                match plan.keep.last_mut() {
                    _ if !keep => plan.dropped_bytes += to - from,
                    Some(last) if last.1 == from => last.1 = to,
                    _ => plan.keep.push((from, to)),
                }
                left = left.saturating_sub(u64::from(to - from));
                if left == 0 {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether the policy keeps a record.
    fn keeps(&mut self, header: &RecordHeader, key: &[u8]) -> Result<bool> {
        let policy = self.manifest.properties.history;
        let (meta, sequential) = (&header.meta, self.manifest.mode == Mode::Sequential);
        if meta.deleted {
            if let HistoryPolicy::KeepSince(since) = policy {
                // Who remembers these after a restart? Nobody: so the tombstone itself stays.
                if meta.timestamp < since {
                    self.forget(meta.parent)?;
                }
            }
            let Place { file, offset } = meta.parent;
            let parent_goes = !meta.parent.is_some()
                || file < self.manifest.first
                || file == meta.place.file
                || self
                    .segment(file)
                    .is_some_and(|segment| !segment.holds(offset));
            let last = matches!(policy, HistoryPolicy::KeepLast(_));
            if sings(Canary::TombstoneDropped) {
                return Ok(!last);
            }
            // A deleted id stays known as deleted.
            return Ok(sequential || !last || self.compaction.dirty_before || !parent_goes);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let newest = self.current(key, 0, true, &mut scratch);
        let kept = newest.and_then(|newest| match newest {
            Some(newest) if newest.location.place() == meta.place => {
                Ok(!sings(Canary::CurrentDropped))
            }
            Some(newest) => {
                self.is_recent(policy, newest.location.place(), meta.place, &mut scratch)
            }
            None => Ok(self.keeps_deleted(policy, meta.place)),
        });
        self.scratch = scratch;
        kept
    }

    /// Whether a version of a key that was deleted (perhaps made again since) stays.
    fn keeps_deleted(&self, policy: HistoryPolicy, place: Place) -> bool {
        match policy {
            HistoryPolicy::KeepAll => true,
            HistoryPolicy::KeepLast(_) => false,
            HistoryPolicy::KeepSince(_) => !self.compaction.forgotten.contains(&place),
        }
    }

    /// Follow the versions of a key from the newest one: whether the one at `place` is recent enough.
    fn is_recent(
        &self,
        policy: HistoryPolicy,
        newest: Place,
        place: Place,
        scratch: &mut Scratch,
    ) -> Result<bool> {
        let mut at = newest;
        for step in 1..=CHAIN_STEPS_MAX {
            match policy {
                HistoryPolicy::KeepLast(count) if step >= CHAIN_STEPS_MAX.min(count as usize) => {
                    return Ok(false);
                }
                _ => {}
            }
            let meta = match self.fetch(at, 0, scratch) {
                Ok(Some(header)) => header.meta,
                Ok(None) => return Ok(self.keeps_deleted(policy, place)),
                // What cannot be read cannot decide.
                Err(Error::Damaged { .. }) => return Ok(true),
                Err(error) => return Err(error),
            };
            match policy {
                HistoryPolicy::KeepSince(since) if meta.timestamp < since => return Ok(false),
                _ if meta.parent == place => return Ok(true),
                _ if !meta.parent.is_some() => return Ok(self.keeps_deleted(policy, place)),
                _ => at = meta.parent,
            }
        }
        Ok(true)
    }

    /// Remember the versions before a delete that lies before the time of `KeepSince`.
    fn forget(&mut self, mut place: Place) -> Result<()> {
        let keep_since = matches!(
            self.manifest.properties.history,
            HistoryPolicy::KeepSince(_)
        );
        let mut scratch = Scratch::default();
        while keep_since && place.is_some() && self.compaction.forgotten.len() < REMEMBERED_MAX {
            if !self.compaction.forgotten.insert(place) {
                break;
            }
            place = match self.fetch(place, 0, &mut scratch) {
                Ok(Some(header)) => header.meta.parent,
                Ok(None) | Err(Error::Damaged { .. }) => break,
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    fn begin_copy(&self, plan: Plan) -> Result<Copy> {
        let path = self.path(&format!("{}.new", segment::name(plan.file)));
        create(&*self.disk, Root::Data, &path).map_err(|error| Error::write(&path, &error))?;
        Ok(Copy {
            file: plan.file,
            path,
            keep: plan.keep,
            next: 0,
            inside: 0,
            at: SEGMENT_HEADER_BYTES,
            runs: Vec::new(),
        })
    }

    /// Copy some of what stays; true when all is copied and durable.
    fn copy_some(&self, copy: &mut Copy, budget_bytes: u64) -> Result<bool> {
        let failed = |error| Error::write("compacted data file", &error);
        let segment = self.segment(copy.file).ok_or(Error::NoRecord)?;
        let out = self
            .disk
            .open(Root::Data, &copy.path, false)
            .map_err(failed)?;
        let (begin, mut bytes) = (copy.at, Vec::new());
        while let Some(&(from, to)) = copy.keep.get(copy.next) {
            if bytes.len() as u64 >= budget_bytes.max(1) {
                break;
            }
            if copy.inside == 0 {
                let header = RunHeader {
                    offset: from,
                    length: to - from,
                };
                bytes.extend_from_slice(&header.encode(segment.seed));
                let at = begin + bytes.len() as u32;
                copy.runs.push(Run { offset: from, at });
            }
            let count = u64::from(to - from - copy.inside).min(budget_bytes.max(1 << 16)) as usize;
            let start = bytes.len();
            bytes.resize(start + count, 0);
            let got = segment.read(&mut bytes[start..], from + copy.inside);
            if got.map_err(|error| Error::read("data file", &error))? < count {
                return Err(Error::Read("data file is shorter than it was".into()));
            }
            copy.inside += count as u32;
            if from + copy.inside == to {
                (copy.next, copy.inside) = (copy.next + 1, 0);
            }
        }
        write_all(&out, &bytes, u64::from(begin)).map_err(failed)?;
        copy.at += bytes.len() as u32;
        if copy.next < copy.keep.len() {
            return Ok(false);
        }
        let header = SegmentHeader {
            generation: segment.header.generation + 1,
            logical_end: segment.end(),
            ..segment.header
        };
        let end = encode_runs(self.manifest.uid, copy.file, &copy.runs, copy.at);
        write_all(&out, &end, u64::from(copy.at)).map_err(failed)?;
        write_all(&out, &header.encode(), 0).map_err(failed)?;
        out.sync().map_err(failed)?;
        Ok(true)
    }

    /// Put the new file in the old one's place.
    fn swap_in(&mut self, copy: Copy) -> Result<()> {
        let failed = |error| Error::write("compacted data file", &error);
        let segment = self.segment(copy.file).ok_or(Error::NoRecord)?;
        let new = self
            .disk
            .open(Root::Data, &copy.path, false)
            .map_err(failed)?;
        let (new, damage) = Segment::open(new, segment.header).map_err(failed)?;
        if let Some(what) = damage {
            return Err(Error::Write(format!("compacted data file: {what}")));
        }
        let path = self.path(&segment::name(copy.file));
        self.disk
            .rename(Root::Data, &copy.path, &path)
            .map_err(failed)?;
        let index = (copy.file - self.manifest.first) as usize;
        self.segments[index] = self.admit(new);
        self.count_closed();
        self.disk
            .sync_folder(Root::Data, &self.name)
            .map_err(failed)
    }
}

const _: () = assert!(RUN_HEADER_BYTES % 8 == 0);
