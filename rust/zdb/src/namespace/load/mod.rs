//! Taking in one data file: what its index file says (`bulk`), then what only the data says (`ahead`).

mod ahead;
mod bulk;

use std::io;
use std::sync::Arc;

use self::ahead::{NotGood, Stretch};
use self::bulk::Batch;
use super::{open_file, Namespace};
use crate::format::{RecordHeader, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::index::{self, write_all, Index, Totals};
use crate::manifest::{create, Manifest};
use crate::segment::{self, Met, Segment, Walk};
use crate::{Disk, DiskFile, Error, Mode, Place, Report, Result, Root};

pub(super) use ahead::Lengths;

/// The smallest record of sequential mode: how many ids a damaged stretch may have held.
const RECORD_BYTES_MIN: u64 = 40;
/// Index entries that are written together while data is read, so that few wait however much is read.
const INDEX_BATCH_ENTRIES: usize = 1 << 13;
/// What one void record covers at most.
const VOID_BYTES_MAX: u32 = 8 << 20;

/// How far reading a data file came, and what was not good in it.
struct Loading {
    file: u32,
    /// Where the bytes that are read end.
    to: u32,
    good_end: u32,
    ids_lost: u64,
    /// What was never acknowledged.
    torn: Vec<(u32, u32)>,
    /// Up to where everything was durable, if that was asked.
    durable_to: Option<u32>,
    /// Whether nothing was lost so far.
    whole: bool,
}

impl<D: Disk> Namespace<D> {
    /// Take one data file and its index file in; says whether it can be written on.
    pub(super) fn load_file(&mut self, file: u32, report: &mut Report) -> Result<bool> {
        let name = segment::name(file);
        let sound = self.load_header(file, report)?;
        if sound && file != self.manifest.last && self.segment(file).is_some_and(Segment::is_empty)
        {
            self.skip_empty(file);
            return Ok(true);
        }
        // Of a file whose header is damaged, no id that it may have made is left out.
        let first_id = self.first_ids.last().map_or(0, |first| first.id);
        let mut indexed = self.load_index(file, report)?;
        let covered = self.totals.end;
        let is_last = file == self.manifest.last;
        if is_last && self.segment(file).is_some() {
            self.settle_tail(covered)?;
        }
        let Some(segment) = self.segment(file) else {
            self.keep_index(file, indexed.take());
            self.totals.inexact = true;
            return Ok(false);
        };
        let end = segment.end();
        if covered > end {
            let what = format!("data up to {covered} was durable, the file ends before: lost");
            self.note(
                report,
                &name,
                (u64::from(end), u64::from(covered - end)),
                what,
                true,
            );
            self.keep_index(file, indexed);
            return Ok(false);
        }
        let mut good_end = covered;
        if end > covered {
            let anew = indexed.is_none();
            if anew {
                indexed = self.new_index(file, first_id);
            }
            good_end = self.load_data(file, (covered, end), &mut indexed, report)?;
        } else if indexed.is_none() {
            indexed = self.new_index(file, first_id);
        }
        self.finish_file(file, indexed, good_end, is_last)?;
        Ok(sound)
    }

    /// Open a data file and begin its totals; says whether it is there and its header is good.
    fn load_header(&mut self, file: u32, report: &mut Report) -> Result<bool> {
        let name = segment::name(file);
        let next_id = self.totals.next_id;
        let opened = open_file(&*self.disk, &self.name, &self.manifest, file, next_id)?;
        let (segment, damage) = opened.map_or((None, None), |(one, what)| (Some(one), what));
        let sound = segment.is_some() && damage.is_none();
        if let Some(what) = damage {
            let range = (0, u64::from(SEGMENT_HEADER_BYTES));
            self.note(report, &name, range, what.to_owned(), false);
        }
        if segment.is_none() {
            let what = "data file is missing: what was only in it is lost".to_owned();
            self.note(report, &name, (0, 0), what, true);
        }
        if let Some(found) = segment.as_ref().filter(|_| sound) {
            self.totals.next_id = found.header.first_id;
        }
        let segment = segment.and_then(|segment| self.admit(segment));
        self.add_segment(segment, self.totals.next_id, sound);
        self.totals = Totals {
            end: SEGMENT_HEADER_BYTES,
            last: 0,
            ..self.totals
        };
        Ok(sound)
    }

    /// Before the end of the log is believed: read it from the disk itself, and make it durable.
    ///
    /// After a failed fsync the system may show bytes that it will never write. Where replies do not
    /// wait for an fsync, neither does the start: the next one comes when it is due.
    fn settle_tail(&mut self, from: u32) -> Result<()> {
        let handle = Arc::clone(&self.active().handle);
        let waits = self.settings.sync.waits();
        if waits {
            if let Err(error) = handle.sync() {
                let file = self.manifest.last;
                self.read_only = Some(format!("fsync of data file {file} failed: {error}"));
            }
        } else {
            self.unsynced_since_ms = Some(0);
        }
        handle.drop_cache(u64::from(from));
        let bytes = handle
            .length()
            .map_err(|error| Error::read("data file", &error))?;
        self.active_mut().bytes = bytes;
        Ok(())
    }

    fn keep_index(&mut self, file: u32, indexed: Option<Index<D::File>>) {
        let keep = self.manifest.mode == Mode::Sequential || file == self.manifest.last;
        if !keep {
            self.index_bytes_closed += indexed.as_ref().map_or(0, Index::bytes);
        }
        self.indexes.push(indexed.filter(|_| keep));
    }

    fn finish_file(
        &mut self,
        file: u32,
        indexed: Option<Index<D::File>>,
        good_end: u32,
        is_last: bool,
    ) -> Result<()> {
        let indexed = indexed.ok_or_else(|| Error::Write("index file cannot be made".into()))?;
        self.keep_index(file, Some(indexed));
        if !is_last {
            return Ok(());
        }
        self.totals.end = good_end;
        if self.active().end() > good_end && self.read_only.is_none() {
            let handle = Arc::clone(&self.active().handle);
            let cut = handle
                .truncate(u64::from(good_end))
                .and_then(|()| handle.sync());
            if let Err(error) = cut {
                self.read_only = Some(format!("torn tail cannot be cut: {error}"));
            }
        }
        let aligned = good_end.max(SEGMENT_HEADER_BYTES);
        self.totals.end = aligned;
        // What the index covers need not be durable: with `SyncMode::None` it is written for what is written.
        let durable = match self.unsynced_since_ms {
            Some(_) => SEGMENT_HEADER_BYTES,
            None => aligned,
        };
        (self.written, self.synced) = (aligned, durable);
        self.active_mut().bytes = u64::from(aligned);
        Ok(())
    }

    fn new_index(&mut self, file: u32, first_id: u64) -> Option<Index<D::File>> {
        let path = self.path(&index::name(file));
        let handle = create(&*self.disk, Root::Index, &path).ok()?;
        self.dirty.insert(file);
        let Manifest { uid, mode, .. } = self.manifest;
        let indexed = Index::begin(handle, uid, file, mode, first_id).ok()?;
        self.disk.sync_folder(Root::Index, &self.name).ok()?;
        Some(indexed)
    }

    /// Take in what an index file says.
    fn load_index(&mut self, file: u32, report: &mut Report) -> Result<Option<Index<D::File>>> {
        let name = index::name(file);
        let handle = match self.disk.open(Root::Index, &self.path(&name), false) {
            Ok(handle) => handle,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = "index file is missing: rebuilt from data".to_owned();
                self.note(report, &name, (0, 0), what, false);
                return Ok(None);
            }
            Err(error) => return Err(Error::read(&name, &error)),
        };
        let length = handle.length();
        let length = length.map_err(|error| Error::read(&name, &error))?;
        let mut batch = Batch::new(file, index::entries_max(length), &self.table);
        let (mut failed, uid) = (None, self.manifest.uid);
        let opened = Index::open(handle, uid, file, &mut |entry| {
            if failed.is_none() {
                failed = self.replay_soon(entry, &mut batch).err();
            }
        });
        let opened = opened.map_err(|error| Error::read(&name, &error))?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.replay_batch(&mut batch)?;
        let Some((indexed, totals, clean)) = opened else {
            let what = "index file is damaged: rebuilt from data".to_owned();
            self.note(report, &name, (0, 0), what, false);
            return Ok(None);
        };
        if let Some(totals) = totals {
            self.totals = totals;
        }
        if !clean {
            let what = "the end of the index file is torn or damaged: rebuilt from data".to_owned();
            self.note(report, &name, (indexed.bytes(), 0), what, false);
            let _ = indexed.cut();
        }
        Ok(Some(indexed))
    }

    /// Read the records of `from..to`, which no index file knows, into the index.
    ///
    /// Says where the last good record ends.
    fn load_data(
        &mut self,
        file: u32,
        (from, to): (u32, u32),
        indexed: &mut Option<Index<D::File>>,
        report: &mut Report,
    ) -> Result<u32> {
        let segment = self.segment(file).expect("opened before").clone();
        self.totals.inexact |= segment.runs.is_some();
        let mut loading = Loading {
            file,
            to,
            good_end: from,
            ids_lost: 0,
            torn: Vec::new(),
            durable_to: None,
            whole: true,
        };
        for range in segment.stretches(from, to) {
            let uid = self.manifest.uid;
            let stretch = Stretch { uid, file, range };
            self.walk_ahead(&segment, stretch, &mut |namespace, found| {
                namespace.take_in_found(&found, indexed)?;
                if let Some(last) = found.last() {
                    loading.good_end = last.meta.place.offset + last.total() as u32;
                }
                // What was lost is told and counted first, or a crash would forget it.
                if loading.whole {
                    namespace.index_so_far(file, indexed);
                }
                match found.then {
                    Some(bad) => namespace.take_in_bad(bad, &mut loading, indexed, report),
                    None => Ok(()),
                }
            })?;
        }
        let Loading {
            good_end,
            ids_lost,
            mut torn,
            ..
        } = loading;
        // Ids that may have been in a hole are not given out again.
        self.totals.next_id += ids_lost;
        if segment.is_unreadable() {
            self.close_to_writes(format!("data file {file} cannot be read everywhere"));
        }
        torn.retain(|&(_, end)| end <= good_end);
        self.make_void(&torn);
        let is_last = file == self.manifest.last;
        let end = if is_last { good_end } else { to };
        self.totals.end = end;
        if let Some(indexed) = indexed {
            indexed.amend(self.totals);
            // A failure is mended at the next start.
            if self.may_index(file) {
                let _ = indexed.write(end).and_then(|()| indexed.sync());
                self.dirty.insert(file);
            }
        }
        Ok(good_end)
    }

    /// Tell what is not good, and do with it what is left to do.
    fn take_in_bad(
        &mut self,
        bad: NotGood,
        loading: &mut Loading,
        indexed: &mut Option<Index<D::File>>,
        report: &mut Report,
    ) -> Result<()> {
        loading.whole = false;
        let (from, end) = match &bad {
            NotGood::Hole(from, to) => (*from, *to),
            NotGood::Payload(header, _) => {
                let from = header.meta.place.offset;
                (from, from + header.total() as u32)
            }
        };
        // Where a file cannot be read, nothing is taken for torn that may only be unreadable.
        let unreadable = |segment: &Segment<_>| segment.is_unreadable();
        let unreadable = self.segment(loading.file).is_some_and(unreadable);
        let durable = from < self.durable_end(from, loading)? || unreadable;
        if !durable {
            loading.torn.push((from, end));
        }
        match bad {
            NotGood::Hole(..) => {
                if durable {
                    self.totals.inexact |= self.manifest.mode == Mode::Sequential;
                    loading.ids_lost += u64::from(end - from) / RECORD_BYTES_MIN + 1;
                }
                let tail = end == loading.to;
                self.note_hole(report, loading.file, (from, end), durable, tail);
            }
            NotGood::Payload(header, key) => {
                self.note_bad(report, &header, &key, durable);
                if durable {
                    // It stays known, so that reading it is an error, not an old value.
                    let hash = self.manifest.uid.hash(&key);
                    self.take_in(&header, &key, hash, indexed)?;
                    loading.good_end = end;
                } else {
                    // Later versions name it as their parent, but it was never counted.
                    self.totals.inexact |= self.manifest.mode == Mode::Sequential;
                }
            }
        }
        Ok(())
    }

    /// Whether entries of a file may be written: never of what may not be durable.
    fn may_index(&self, file: u32) -> bool {
        let durable = file != self.manifest.last || self.unsynced_since_ms.is_none();
        // What cannot be read may be readable later: an index without it would hide it then.
        let whole = !self.segment(file).is_some_and(Segment::is_unreadable);
        durable && whole && self.read_only.is_none()
    }

    /// Name what could not be read of data files, and take no writes while it cannot.
    pub(super) fn end_salvage(&mut self, report: &mut Report) {
        let first = self.manifest.first;
        for index in 0..self.segments.len() {
            let name = segment::name(first + index as u32);
            let segment = self.segments[index].as_mut();
            for range in segment.map(Segment::end_salvage).unwrap_or_default() {
                let (at, count) = range;
                let reason = format!("{count} bytes at {at} of {name} cannot be read");
                self.close_to_writes(reason);
                let what =
                    "cannot be read: what is only here is lost, unless the disk reads it again";
                self.note(report, &name, range, what.to_owned(), true);
            }
        }
    }

    /// Write the entries that wait when they are many.
    fn index_so_far(&mut self, file: u32, indexed: &mut Option<Index<D::File>>) {
        let Some(indexed) = indexed else {
            return;
        };
        let waiting = indexed.waiting();
        if waiting < INDEX_BATCH_ENTRIES.max(self.index_patience) {
            return;
        }
        self.index_patience = waiting + INDEX_BATCH_ENTRIES;
        if file == self.manifest.last && self.unsynced_since_ms.take().is_some() {
            if let Err(error) = self.active().handle.sync() {
                self.read_only = Some(format!("fsync of data file {file} failed: {error}"));
            }
        }
        if self.may_index(file) {
            if indexed.write(self.totals.end).is_ok() {
                self.index_patience = 0;
            }
            self.dirty.insert(file);
        }
    }

    /// Cover what was torn before good records, so that it does not look like damage later.
    fn make_void(&mut self, torn: &[(u32, u32)]) {
        let file = self.manifest.last;
        if self.read_only.is_some() {
            return;
        }
        for &(from, to) in torn {
            let mut place = Place { file, offset: from };
            while place.offset + RECORD_HEADER_BYTES as u32 <= to {
                let length = (to - place.offset).min(VOID_BYTES_MAX);
                let mut bytes = Vec::new();
                RecordHeader::void(place, length).encode(self.active().seed, &[], &[], &mut bytes);
                // The torn bytes themselves stay, for whoever wants to look at them.
                let written = write_all(&*self.active().handle, &bytes, u64::from(place.offset));
                if let Err(error) = written {
                    self.read_only = Some(format!("torn record cannot be covered: {error}"));
                    return;
                }
                place.offset += length;
            }
        }
        if torn.is_empty() || self.read_only.is_some() {
            return;
        }
        if let Err(error) = self.active().handle.sync() {
            self.read_only = Some(format!("fsync after recovery failed: {error}"));
        }
    }

    fn note_hole(
        &self,
        report: &mut Report,
        file: u32,
        (from, to): (u32, u32),
        durable: bool,
        tail: bool,
    ) {
        // Where replies do not wait for an fsync, it may have been acknowledged nevertheless.
        let waits = self.settings.sync.waits();
        let what = match (durable, tail) {
            (true, _) => "damaged: what was here is lost, the records around it are not",
            (false, true) => "torn tail, cut: never acknowledged, unless the disk lied",
            (false, false) => "torn write, covered: never acknowledged, unless the disk lied",
        };
        let range = (u64::from(from), u64::from(to - from));
        let lost = durable || !tail && !waits;
        self.note(report, &segment::name(file), range, what.to_owned(), lost);
    }

    fn note_bad(&self, report: &mut Report, header: &RecordHeader, key: &[u8], durable: bool) {
        let (place, key) = (header.meta.place, key.escape_ascii());
        let what = if durable {
            format!("payload of key \"{key}\" is damaged: that version is lost")
        } else {
            format!("torn record of key \"{key}\": never acknowledged, unless the disk lied")
        };
        let range = (u64::from(place.offset), header.total() as u64);
        self.note(report, &segment::name(place.file), range, what, durable);
    }

    /// Up to where records say that everything before them was durable; a closed file is, wholly.
    ///
    /// Asked about the first bytes that are not good; what is known then holds for all after them.
    fn durable_end(&self, from: u32, loading: &mut Loading) -> Result<u32> {
        let (file, to) = (loading.file, loading.to);
        if file != self.manifest.last {
            return Ok(to);
        }
        if let Some(known) = loading.durable_to {
            return Ok(known);
        }
        let segment = self.segment(file).expect("opened before");
        let read = |buffer: &mut [u8], offset| segment.read(buffer, offset);
        let mut durable = from;
        for stretch in segment.stretches(from, to) {
            let mut walk = Walk::new(&read, segment.seed, file, stretch, false);
            let step = |error| Error::read(&segment::name(file), &error);
            while let Some(met) = walk.step().map_err(step)? {
                if let Met::Record { header, .. } = met {
                    if header.barrier {
                        durable = header.meta.place.offset;
                    }
                }
            }
        }
        loading.durable_to = Some(durable);
        Ok(durable)
    }
}
