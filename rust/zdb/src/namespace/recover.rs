//! Opening: the index from index files, what they do not cover from the data, and what was lost.

use std::io;
use std::sync::Arc;

use super::write::begin_files;
use super::{compact, Counters, Namespace, Settings};
use crate::format::{RecordHeader, SegmentHeader, Uid, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::index::{self, is_some, write_all, Entry, Index, Totals, NOWHERE};
use crate::manifest::{self, create, Manifest};
use crate::segment::{self, Met, Segment, Walk};
use crate::table::{Class, Location, Table};
use crate::{
    Disk, DiskFile, Error, Loss, Mode, Place, Report, Result, Root, Scratch, SyncMode,
    DEFAULT_NAMESPACE,
};

/// The smallest record of sequential mode: how many ids a damaged stretch may have held.
const RECORD_BYTES_MIN: u64 = 40;
/// What one void record covers at most.
const VOID_BYTES_MAX: u32 = 8 << 20;

impl<D: Disk> Namespace<D> {
    /// Make a namespace that is not there, durably.
    pub(crate) fn create(
        disk: &Arc<D>,
        name: &str,
        mode: Mode,
        uid: Uid,
        settings: Settings,
    ) -> Result<Self> {
        let failed = |error: io::Error| Error::write(name, &error);
        for root in [Root::Data, Root::Index] {
            disk.make_folder(root, name).map_err(failed)?;
            disk.sync_folder(root, "").map_err(failed)?;
        }
        let mut namespace = Self::empty(disk, name, Manifest::new(uid, mode), settings);
        let (file, generation, first_id) = (0, 0, 0);
        let header = SegmentHeader {
            uid,
            file,
            mode,
            generation,
            first_id,
            logical_end: 0,
        };
        let (data, index) = begin_files(&**disk, name, &header).map_err(failed)?;
        // The manifest comes last: without it the files are an attempt, and hold nothing.
        let manifest = namespace.manifest.clone();
        namespace.save(manifest)?;
        namespace.segments.push(Some(data));
        namespace.indexes.push(Some(index));
        namespace.totals.end = SEGMENT_HEADER_BYTES;
        (namespace.written, namespace.synced) = (SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES);
        Ok(namespace)
    }

    fn empty(disk: &Arc<D>, name: &str, manifest: Manifest, settings: Settings) -> Self {
        Self {
            disk: Arc::clone(disk),
            name: name.to_owned(),
            settings,
            manifest,
            segments: Vec::new(),
            indexes: Vec::new(),
            index_bytes_closed: 0,
            table: Table::new(),
            totals: Totals::default(),
            buffer: Vec::new(),
            // While loading everything is on disk.
            written: u32::MAX,
            synced: 0,
            mark: None,
            undo: Vec::new(),
            failed: None,
            read_only: None,
            unsynced_since_ms: None,
            index_patience: 0,
            last_id: [0; 8],
            dirty: std::collections::BTreeSet::new(),
            compaction: compact::Progress::default(),
            counters: Counters::default(),
            scratch: Scratch::default(),
        }
    }

    /// Open what is in a folder; `None` when it was being removed, and now is.
    ///
    /// # Errors
    /// `Read` when the disk cannot be read, `Write` when repairs cannot be written.
    pub(crate) fn open(
        disk: &Arc<D>,
        name: &str,
        mode: Mode,
        uid: Uid,
        settings: Settings,
        report: &mut Report,
    ) -> Result<Option<Self>> {
        let files = numbers(&**disk, Root::Data, name, 'd')?;
        let (loaded, both) = Manifest::load(&**disk, name);
        if let Some(removed) = loaded.as_ref().filter(|manifest| manifest.removed) {
            remove_folder(&**disk, name, removed);
            return Ok(None);
        }
        let Some(manifest) = loaded else {
            let found = first_header(&**disk, name, &files)?;
            let Some(found) = found else {
                // Nothing was ever acknowledged here: an attempt to create it.
                let clean = files.is_empty() || !holds_records(&**disk, name, &files)?;
                if clean {
                    return Self::create(disk, name, mode, uid, settings).map(Some);
                }
                let what = "no properties and no good header: its records cannot be verified";
                return Err(Error::Format(format!("{name}: {what}")));
            };
            let manifest = without_properties(&found, &files);
            let mut namespace = Self::empty(disk, name, manifest, settings);
            namespace.load(&files, report)?;
            let only = files.len() <= 1 && namespace.totals.last == 0;
            if only {
                // Created, but the properties were not written before the end.
                namespace.manifest.properties = crate::Properties::default();
            } else {
                let what = "properties lost: password, limits and rights are unknown; frozen";
                namespace.note(report, "namespace", (0, 0), what.to_owned(), true);
            }
            let manifest = namespace.manifest.clone();
            namespace.save(manifest)?;
            return Ok(Some(namespace));
        };
        let mut namespace = Self::empty(disk, name, manifest, settings);
        if !both {
            let what = "one of its two copies was missing, old or damaged; written anew";
            namespace.note(report, "namespace", (0, 0), what.to_owned(), false);
            let manifest = namespace.manifest.clone();
            // What cannot be mended now is mended later.
            let _ = namespace.save(manifest);
        }
        namespace.load(&files, report)?;
        Ok(Some(namespace))
    }

    fn note(
        &self,
        report: &mut Report,
        file: &str,
        (offset, length): (u64, u64),
        what: String,
        lost: bool,
    ) {
        let (namespace, file) = (self.name.clone(), file.to_owned());
        report.losses.push(Loss {
            namespace,
            file,
            offset,
            length,
            what,
            lost,
        });
    }

    fn load(&mut self, files: &[u32], report: &mut Report) -> Result<()> {
        let old: Vec<u32> = files
            .iter()
            .copied()
            .filter(|&file| file < self.manifest.first)
            .collect();
        if !old.is_empty() {
            self.remove_files(old.into_iter());
        }
        self.drop_unfinished(files, report)?;
        let mut sound = true;
        for file in self.manifest.first..=self.manifest.last {
            sound = self.load_file(file, report)?;
        }
        if self.totals.inexact {
            self.measure()?;
        }
        self.totals.entries = match self.manifest.mode {
            Mode::User => self.table.len() as u64,
            Mode::Sequential => self.totals.entries,
        };
        if !sound && self.read_only.is_none() {
            // Nothing is written over what was there, so that what is lost stays known as lost.
            let mut manifest = self.manifest.clone();
            manifest.last += 1;
            self.begin_file(manifest, self.totals.next_id)?;
        }
        Ok(())
    }

    /// A file after the last one that the manifest names: a rotation that did not finish, or news.
    fn drop_unfinished(&mut self, files: &[u32], report: &mut Report) -> Result<()> {
        let newest = files.iter().copied().max().unwrap_or(0);
        if newest == self.manifest.last + 1 && !holds_records(&*self.disk, &self.name, &[newest])? {
            self.remove_files(std::iter::once(newest));
        } else if newest > self.manifest.last {
            let what = format!(
                "data files up to {newest} are there, {} was the last known",
                self.manifest.last
            );
            self.note(report, "namespace", (0, 0), what, false);
            let mut manifest = self.manifest.clone();
            manifest.last = newest;
            self.save(manifest)?;
        }
        Ok(())
    }

    /// Take one data file and its index file in; says whether it can be written on.
    fn load_file(&mut self, file: u32, report: &mut Report) -> Result<bool> {
        let name = segment::name(file);
        let before = self.totals;
        let expected = SegmentHeader {
            uid: self.manifest.uid,
            file,
            mode: self.manifest.mode,
            generation: 0,
            first_id: before.next_id,
            logical_end: 0,
        };
        let opened = self.disk.open(Root::Data, &self.path(&name), false);
        let opened = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::read(&name, &error)),
            Ok(handle) => {
                Some(Segment::open(handle, expected).map_err(|error| Error::read(&name, &error))?)
            }
        };
        let (segment, damage) =
            opened.map_or((None, None), |(found, damage)| (Some(found), damage));
        let sound = segment.is_some() && damage.is_none();
        if let Some(what) = damage {
            self.note(
                report,
                &name,
                (0, u64::from(SEGMENT_HEADER_BYTES)),
                what.to_owned(),
                false,
            );
        }
        if segment.is_none() {
            let what = "data file is missing: what was only in it is lost".to_owned();
            self.note(report, &name, (0, 0), what, true);
        }
        let next_id = match &segment {
            Some(segment) if damage.is_none() => segment.header.first_id,
            _ => before.next_id,
        };
        self.segments.push(segment);
        self.totals = Totals {
            end: SEGMENT_HEADER_BYTES,
            last: 0,
            next_id,
            ..self.totals
        };
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
                indexed = self.new_index(file, next_id);
            }
            good_end = self.load_data(file, (covered, end), &mut indexed, report)?;
        } else if indexed.is_none() {
            indexed = self.new_index(file, next_id);
        }
        self.finish_file(file, indexed, good_end, is_last)?;
        Ok(sound)
    }

    /// Before the end of the log is believed: read it from the disk itself, and make it durable.
    ///
    /// After a failed fsync the system may show bytes that it will never write. Where replies do not
    /// wait for an fsync, neither does the start: the next one comes when it is due.
    fn settle_tail(&mut self, from: u32) -> Result<()> {
        let handle = Arc::clone(&self.active().handle);
        let waits = matches!(self.settings.sync, SyncMode::Group | SyncMode::Always);
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
        let covered = self
            .indexes
            .last()
            .and_then(Option::as_ref)
            .map_or(0, Index::covered);
        let durable = if self.unsynced_since_ms.is_some() {
            covered
        } else {
            aligned
        };
        (self.written, self.synced) = (aligned, durable.min(aligned));
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
        let mut failed = None;
        let uid = self.manifest.uid;
        let opened = Index::open(handle, uid, file, &mut |entry| {
            if failed.is_none() {
                failed = self.replay(entry, None).err();
            }
        });
        let opened = opened.map_err(|error| Error::read(&name, &error))?;
        if let Some(error) = failed {
            return Err(error);
        }
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
        let durable_to = self.durable_end(file, (from, to))?;
        let segment = self.segment(file).expect("opened before").clone();
        let read = |buffer: &mut [u8], offset| segment.read(buffer, offset);
        let (mut good_end, mut ids_lost, mut torn) = (from, 0, Vec::new());
        self.totals.inexact |= segment.runs.is_some();
        let failed = |error| Error::read(&segment::name(file), &error);
        for stretch in segment.stretches(from, to) {
            let mut walk = Walk::new(&read, segment.seed, file, stretch, true);
            while let Some(met) = walk.step().map_err(failed)? {
                match met {
                    Met::Record {
                        header, key, good, ..
                    } => {
                        let place = header.meta.place;
                        let durable = place.offset < durable_to;
                        if !good {
                            self.note_bad(report, &header, key, durable);
                        }
                        // A damaged one stays known, so that reading it is an error, not an old value.
                        if !good && !durable {
                            // Later versions name it as their parent, but it was never counted.
                            torn.push((place.offset, place.offset + header.total() as u32));
                            self.totals.inexact |= self.manifest.mode == Mode::Sequential;
                        } else {
                            self.take_in(&header, key, indexed)?;
                            good_end = place.offset + header.total() as u32;
                        }
                    }
                    Met::Hole { from, to: end } => {
                        let durable = from < durable_to;
                        if !durable {
                            torn.push((from, end));
                        }
                        let what = if durable {
                            self.totals.inexact |= self.manifest.mode == Mode::Sequential;
                            ids_lost += u64::from(end - from) / RECORD_BYTES_MIN + 1;
                            "damaged: what was here is lost, the records around it are not"
                        } else {
                            "torn tail, cut: never acknowledged, unless the disk lied"
                        };
                        let range = (u64::from(from), u64::from(end - from));
                        self.note(
                            report,
                            &segment::name(file),
                            range,
                            what.to_owned(),
                            durable,
                        );
                    }
                }
            }
        }
        // Ids that may have been in a hole are not given out again.
        self.totals.next_id += ids_lost;
        torn.retain(|&(_, end)| end <= good_end);
        self.make_void(&torn);
        let is_last = file == self.manifest.last;
        let end = if is_last { good_end } else { to };
        self.totals.end = end;
        if let Some(indexed) = indexed {
            indexed.amend(self.totals);
            // Never of what may not be durable. A failure is mended at the next start.
            if self.read_only.is_none() && !(is_last && self.unsynced_since_ms.is_some()) {
                let _ = indexed.write(end).and_then(|()| indexed.sync());
                self.dirty.insert(file);
            }
        }
        Ok(good_end)
    }

    /// Cover what was torn before good records, so that it does not look like damage later.
    fn make_void(&mut self, torn: &[(u32, u32)]) {
        let file = self.manifest.last;
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
    fn durable_end(&self, file: u32, (from, to): (u32, u32)) -> Result<u32> {
        if file != self.manifest.last {
            return Ok(to);
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
        Ok(durable)
    }

    /// Put a record into the index.
    fn take_in(
        &mut self,
        header: &RecordHeader,
        key: &[u8],
        indexed: &mut Option<Index<D::File>>,
    ) -> Result<()> {
        let meta = header.meta;
        let hash = self.manifest.uid.hash(key);
        let class = if meta.deleted {
            Class::TOMBSTONE
        } else {
            Class::of(header.total())
        };
        let location = Location::new(meta.place, class);
        let parent = match meta.parent.is_some() {
            true => Location::new(meta.parent, Class::of(0)),
            false => NOWHERE,
        };
        let id = <[u8; 8]>::try_from(key).map(u64::from_le_bytes);
        if let (Mode::Sequential, Ok(id)) = (self.manifest.mode, id) {
            // Also of ids that are only updated or deleted here: their making may have been torn.
            let made = !meta.parent.is_some() && !meta.deleted;
            let least = if made { id } else { id + 1 };
            self.totals.next_id = self.totals.next_id.max(least);
        }
        let mut entry = self.index_entry(location, parent, hash);
        if let (Ok(id), false, false) = (id, meta.parent.is_some(), meta.deleted) {
            if self.manifest.mode == Mode::Sequential {
                entry.mark = id as u32;
            }
        }
        let old = self.replay(&entry, Some(key))?;
        let mut freed = 0;
        // A version before that is gone may still be in the totals.
        self.totals.inexact |= old.is_none() && meta.parent.is_some();
        if let Some(old) = old {
            match self.fetch(old.place(), 0, &mut Scratch::default()) {
                Ok(Some(header)) if !header.void => freed = u64::from(header.meta.length),
                _ => self.totals.inexact = true,
            }
        }
        let was_live = old.is_some_and(|old| !old.is_tombstone());
        let totals = &mut self.totals;
        totals.entries -= u64::from(was_live).min(totals.entries);
        totals.entries += u64::from(!meta.deleted);
        totals.payload_bytes = totals.payload_bytes.saturating_sub(freed) + u64::from(meta.length);
        if self.manifest.mode == Mode::Sequential {
            totals.next_id += u64::from(!meta.deleted);
        }
        totals.last = meta.place.offset;
        totals.end = meta.place.offset + header.total() as u32;
        if let Some(indexed) = indexed {
            indexed.push(entry, *totals);
        }
        Ok(())
    }

    /// Apply one record to the table; returns where the version before it was.
    ///
    /// The parent says which slot is meant. Where it does not (a version between was lost or
    /// dropped), the keys of the hash are read and compared.
    fn replay(&mut self, entry: &Entry, key: Option<&[u8]>) -> Result<Option<Location>> {
        let (location, parent) = (entry.location, entry.parent);
        let sequential = self.manifest.mode == Mode::Sequential;
        if sequential && !is_some(parent) && !location.is_tombstone() {
            return Ok(None);
        }
        let fresh = !sequential && !is_some(parent) && !location.is_tombstone();
        if fresh && self.table.insert_new(entry.mark, location) {
            return Ok(None);
        }
        let mut scratch = Scratch::default();
        let mut own = None;
        if sequential && key.is_none() {
            own = self.key_at(location.place(), &mut scratch)?;
            if own.is_none() {
                return self.replay_unreadable(location, parent);
            }
        }
        let hash = match (sequential, key.or(own.as_deref())) {
            (true, Some(key)) => self.manifest.uid.hash(key),
            _ => entry.mark,
        };
        let remove = location.is_tombstone() && !sequential;
        let known = is_some(parent) && self.table.is_current(hash, parent.place());
        let old = if known {
            Some(parent)
        } else if self.table.find(hash, |_| Ok::<_, Error>(true))?.is_some() {
            let own = match key.map(<[u8]>::to_vec).or(own) {
                Some(own) => Some(own),
                None => self.key_at(location.place(), &mut scratch)?,
            };
            // A slot whose record was dropped or cannot be read has nobody else to claim it.
            self.table.find(hash, |other| {
                let other = self.key_at(other.place(), &mut scratch)?;
                Ok::<_, Error>(other.is_none() || own.is_none() || other == own)
            })?
        } else {
            None
        };
        match (old, remove) {
            (Some(old), true) => {
                self.table.remove(hash, old.place());
            }
            (Some(old), false) => {
                self.table.replace(hash, old.place(), location);
            }
            (None, true) => {}
            (None, false) => self.table.insert(hash, location),
        }
        Ok(old.or(Some(parent).filter(|&parent| sequential && is_some(parent))))
    }

    /// Sequential mode: the newest version is unreadable, and only its parent says whose it is.
    ///
    /// It still takes the parent's place, so that reading the id is an error, not an old value.
    fn replay_unreadable(
        &mut self,
        location: Location,
        parent: Location,
    ) -> Result<Option<Location>> {
        let known = self
            .table
            .iter()
            .find(|(_, other)| other.place() == parent.place());
        if let Some((hash, old)) = known {
            self.table.replace(hash, old.place(), location);
        } else if let Some(key) = self.key_at(parent.place(), &mut Scratch::default())? {
            self.table.insert(self.manifest.uid.hash(&key), location);
        }
        // Otherwise the id's first version is unreadable too, and says so itself.
        Ok(Some(parent))
    }

    fn key_at(&self, place: Place, scratch: &mut Scratch) -> Result<Option<Vec<u8>>> {
        match self.fetch(place, 0, scratch) {
            Ok(header) => Ok(header.map(|header| scratch.record_key(&header).to_vec())),
            Err(Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Count payload bytes anew from the live records: what the index knew was not enough.
    fn measure(&mut self) -> Result<()> {
        self.totals.inexact = false;
        if self.manifest.mode == Mode::Sequential {
            let (mut entries, mut bytes, mut from) = (0, 0, None);
            loop {
                let page = self.scan(
                    from,
                    crate::Direction::Forward,
                    usize::MAX,
                    &mut |_, meta| {
                        entries += 1;
                        bytes += u64::from(meta.length);
                    },
                )?;
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
            (self.totals.entries, self.totals.payload_bytes) = (entries, bytes);
            return Ok(());
        }
        let mut scratch = Scratch::default();
        let (mut bytes, mut dropped) = (0, Vec::new());
        for (hash, location) in self.table.iter() {
            match self.fetch(location.place(), 0, &mut scratch) {
                Ok(Some(header)) => bytes += u64::from(header.meta.length),
                // A key whose delete was dropped together with it.
                Ok(None) => dropped.push((hash, location)),
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for (hash, location) in dropped {
            self.table.remove(hash, location.place());
        }
        self.totals.payload_bytes = bytes;
        Ok(())
    }

    /// Remove the namespace and its files; after a crash the next start goes on.
    pub(crate) fn remove(mut self) -> Result<()> {
        let mut manifest = self.manifest.clone();
        manifest.removed = true;
        self.save(manifest)?;
        let disk = Arc::clone(&self.disk);
        remove_folder(&*disk, &self.name, &self.manifest);
        Ok(())
    }
}

/// Numbers of the files whose names are a letter and a number.
fn numbers<D: Disk>(disk: &D, root: Root, folder: &str, letter: char) -> Result<Vec<u32>> {
    let names = match disk.list(root, folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.make_folder(root, folder)
                .map_err(|error| Error::write(folder, &error))?;
            Vec::new()
        }
        other => other.map_err(|error| Error::read(folder, &error))?,
    };
    if root == Root::Data {
        disk.make_folder(Root::Index, folder)
            .map_err(|error| Error::write(folder, &error))?;
    }
    let number = |name: &String| name.strip_prefix(letter)?.parse().ok();
    let mut found: Vec<u32> = names.iter().filter_map(number).collect();
    found.sort_unstable();
    Ok(found)
}

fn first_header<D: Disk>(disk: &D, folder: &str, files: &[u32]) -> Result<Option<SegmentHeader>> {
    for &file in files {
        let handle = open_data(disk, folder, file)?;
        let mut head = [0; SEGMENT_HEADER_BYTES as usize];
        let got = handle
            .read_at(&mut head, 0)
            .map_err(|error| Error::read(folder, &error))?;
        if let Some(header) = SegmentHeader::decode(&head[..got]) {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

fn open_data<D: Disk>(disk: &D, folder: &str, file: u32) -> Result<D::File> {
    let path = format!("{folder}/{}", segment::name(file));
    disk.open(Root::Data, &path, false)
        .map_err(|error| Error::read(&path, &error))
}

/// Whether there is anything after the headers of these files.
fn holds_records<D: Disk>(disk: &D, folder: &str, files: &[u32]) -> Result<bool> {
    for &file in files {
        let length = open_data(disk, folder, file)?.length();
        let length = length.map_err(|error| Error::read(folder, &error))?;
        if length > u64::from(SEGMENT_HEADER_BYTES) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is safe to believe of a namespace whose properties are lost: who it is, and nobody's rights.
fn without_properties(found: &SegmentHeader, files: &[u32]) -> Manifest {
    let mut manifest = Manifest::new(found.uid, found.mode);
    manifest.first = files.first().copied().unwrap_or(0);
    manifest.last = files.last().copied().unwrap_or(0);
    manifest.properties.freeze = true;
    manifest.properties.public = false;
    manifest
}

fn remove_folder<D: Disk>(disk: &D, folder: &str, manifest: &Manifest) {
    debug_assert!(manifest.removed && folder != DEFAULT_NAMESPACE);
    for root in [Root::Index, Root::Data] {
        let mut names = disk.list(root, folder).unwrap_or_default();
        // The file that says "removed" goes last.
        names.sort_by_key(|name| name == manifest::name(root));
        for name in names {
            let _ = disk.remove(root, &format!("{folder}/{name}"));
        }
        let _ = disk.sync_folder(root, folder);
        let _ = disk.remove_folder(root, folder);
        let _ = disk.sync_folder(root, "");
    }
}
