//! Opening: the index from index files, what they do not cover from the data, and what was lost.

use std::io;
use std::sync::Arc;

use super::rotate::begin_files;
use super::{begun_ahead, beside, compact, load, Counters, Namespace, Settings};
use crate::canary::{sings, Canary};
use crate::format::{SegmentHeader, Uid, SEGMENT_HEADER_BYTES};
use crate::index::Totals;
use crate::manifest::{self, Manifest};
use crate::segment::{self, Segment};
use crate::table::Table;
use crate::{Disk, DiskFile, Error, Loss, Mode, Report, Result, Root, Scratch, DEFAULT_NAMESPACE};

impl<D: Disk> Namespace<D> {
    /// Make a namespace that is not there, durably; what attempts to make or remove it left goes before.
    pub(crate) fn create(
        disk: &Arc<D>,
        name: &str,
        mode: Mode,
        uid: Uid,
        settings: Settings,
    ) -> Result<Self> {
        let failed = |error: io::Error| Error::write(name, &error);
        if let (Some(mut left), _) = Manifest::load(&**disk, name)? {
            left.removed = true;
            left.save(&**disk, name).map_err(|not| failed(not.error))?;
        }
        remove_folder(&**disk, name).map_err(failed)?;
        for root in [Root::Data, Root::Index] {
            disk.make_folder(root, name).map_err(failed)?;
            disk.sync_folder(root, "").map_err(failed)?;
        }
        let mut namespace = Self::empty(disk, name, Manifest::new(uid, mode), settings);
        let header = SegmentHeader::new(uid, 0, mode, 0);
        let (data, index) = begin_files(&**disk, name, &header).map_err(failed)?;
        // The manifest comes last: without it the files are an attempt, and hold nothing.
        let manifest = namespace.manifest.clone();
        namespace.save(manifest)?;
        let data = namespace.admit(data);
        namespace.add_segment(data, header.first_id, true);
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
            first_ids: Vec::new(),
            indexes: Vec::new(),
            index_bytes_closed: 0,
            closed_bytes: 0,
            shrunk_from: 0,
            table: Table::new(),
            totals: Totals::default(),
            lengths: load::Lengths::default(),
            buffer: Vec::new(),
            // While loading everything is on disk.
            written: u32::MAX,
            synced: 0,
            mark: None,
            undo: Vec::new(),
            failed: None,
            read_only: None,
            unsynced_since_ms: None,
            beside: beside::Beside::default(),
            closing: None,
            index_patience: 0,
            last_id: [0; 8],
            dirty: std::collections::BTreeSet::new(),
            compaction: compact::Progress::default(),
            counters: Counters::default(),
            unclaimed: Vec::new(),
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
        if settings.sync.waits() {
            // What is seen here may be what a failed or killed change left: nothing is built on it before.
            for root in [Root::Data, Root::Index] {
                let synced = disk.sync_folder(root, name);
                synced.map_err(|error| Error::write(name, &error))?;
            }
        }
        let (loaded, both) = match (
            Manifest::load(&**disk, name),
            Manifest::load_copy(&**disk, name),
        ) {
            (Err(error), Some(copy)) if !copy.removed => {
                let opened =
                    Self::open_with_copy(disk, name, copy, settings, report, &files, &error);
                return opened.map(Some);
            }
            (loaded, _) => loaded?,
        };
        if Manifest::is_of_later_version(&**disk, name) {
            let what = "its properties are of a later version than this program knows";
            return Err(Error::Format(format!("{name}: {what}")));
        }
        if let Some(removed) = loaded.as_ref().filter(|manifest| manifest.removed) {
            debug_assert!(removed.removed && name != DEFAULT_NAMESPACE);
            let _ = remove_folder(&**disk, name);
            return Ok(None);
        }
        let Some(manifest) = loaded else {
            return Self::open_without_properties(disk, name, mode, uid, settings, report, &files);
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

    /// Open what has properties that cannot be read, with those that were in force, or were before them.
    ///
    /// Nothing is written: what cannot be read now may be readable later, and is the truth then.
    fn open_with_copy(
        disk: &Arc<D>,
        name: &str,
        mut manifest: Manifest,
        settings: Settings,
        report: &mut Report,
        files: &[u32],
        error: &Error,
    ) -> Result<Self> {
        manifest.properties.freeze = true;
        manifest.properties.public = false;
        manifest.last = files.last().copied().unwrap_or(0).max(manifest.last);
        let mut namespace = Self::empty(disk, name, manifest, settings);
        let reason = format!("its properties cannot be read: {error}");
        namespace.close_to_writes(reason);
        let what = "cannot be read; the copy may be older: frozen, and nothing is written";
        namespace.note(report, "namespace", (0, 0), what.to_owned(), true);
        namespace.load(files, report)?;
        Ok(namespace)
    }

    /// Open what has no good properties: the beginning of making it, the end of removing it, or damage.
    fn open_without_properties(
        disk: &Arc<D>,
        name: &str,
        mode: Mode,
        uid: Uid,
        settings: Settings,
        report: &mut Report,
        files: &[u32],
    ) -> Result<Option<Self>> {
        let empty = !holds_records(&**disk, name, files)?;
        let mut namespace = match first_header(&**disk, name, files)? {
            // Properties are the last thing that is made, and the last but the folder that is removed.
            _ if empty && !manifest::is_there(&**disk, name)? => {
                if name == DEFAULT_NAMESPACE || sings(Canary::RemovedRevived) {
                    return Self::create(disk, name, mode, uid, settings).map(Some);
                }
                let _ = remove_folder(&**disk, name);
                return Ok(None);
            }
            Some(found) => {
                let manifest = without_properties(&found, files);
                let mut namespace = Self::empty(disk, name, manifest, settings);
                namespace.load(files, report)?;
                namespace
            }
            None if empty => Self::create(disk, name, mode, uid, settings)?,
            None => {
                let what = "no properties and no good header: its records cannot be verified";
                return Err(Error::Format(format!("{name}: {what}")));
            }
        };
        let what = "properties lost: password, limits and rights are unknown; frozen";
        namespace.note(report, "namespace", (0, 0), what.to_owned(), true);
        let mut manifest = namespace.manifest.clone();
        manifest.properties.freeze = true;
        manifest.properties.public = false;
        namespace.save(manifest)?;
        Ok(Some(namespace))
    }

    pub(super) fn note(
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
        let mut ahead = None;
        if self.read_only.is_none() {
            if !old.is_empty() {
                self.remove_files(old.into_iter());
            }
            let newest = files.iter().copied().max().unwrap_or(0);
            if newest == self.manifest.last + 1 {
                ahead = begun_ahead(&*self.disk, &self.name, &self.manifest)?;
            }
            if ahead.is_none() {
                self.drop_unfinished(newest, report)?;
            }
        }
        self.expect_keys();
        let mut sound = true;
        for file in self.manifest.first..=self.manifest.last {
            sound = self.load_file(file, report)?;
        }
        if let Some(file) = ahead {
            sound = self.load_ahead(file, report)?;
        }
        self.lengths = load::Lengths::default();
        if self.totals.inexact {
            self.measure()?;
        }
        self.totals.entries = match self.manifest.mode {
            Mode::User => self.table.len() as u64,
            Mode::Sequential => self.totals.entries,
        };
        self.end_salvage(report);
        for place in std::mem::take(&mut self.unclaimed) {
            let range = (u64::from(place.offset), 0);
            let what = "damaged, and nobody knows of which id: an older version of it may be shown";
            let name = segment::name(place.file);
            self.note(report, &name, range, what.to_owned(), true);
        }
        if !sound && self.read_only.is_none() {
            // Nothing is written over what was there, so that what is lost stays known as lost.
            let mut manifest = self.manifest.clone();
            manifest.last += 1;
            self.begin_file(manifest, self.totals.next_id)?;
        }
        self.count_closed();
        self.begin_quota();
        Ok(())
    }

    /// A file after the last one that the manifest names: a rotation that did not finish, or news.
    fn drop_unfinished(&mut self, newest: u32, report: &mut Report) -> Result<()> {
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

    /// Remove the namespace and its files; after a crash the next start goes on.
    pub(crate) fn remove(mut self) -> Result<()> {
        let mut manifest = self.manifest.clone();
        manifest.removed = true;
        self.save(manifest)?;
        let disk = Arc::clone(&self.disk);
        let _ = remove_folder(&*disk, &self.name);
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
        // One that cannot be read says as little as one that is damaged.
        let got = handle.read_at(&mut head, 0).unwrap_or(0);
        if let Some(header) = SegmentHeader::decode(&head[..got]) {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

/// A data file, and what is wrong with it; `None` when it is missing.
type Found<F> = Option<(Segment<F>, Option<&'static str>)>;

/// Open a data file, which may be missing, damaged, or not readable everywhere.
///
/// # Errors
/// `Read`.
pub(crate) fn open_file<D: Disk>(
    disk: &D,
    folder: &str,
    manifest: &Manifest,
    file: u32,
    first_id: u64,
) -> Result<Found<D::File>> {
    let path = format!("{folder}/{}", segment::name(file));
    let expected = SegmentHeader::new(manifest.uid, file, manifest.mode, first_id);
    let found = match disk.open(Root::Data, &path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.and_then(|handle| Segment::salvage(handle, expected)),
    };
    found.map(Some).map_err(|error| Error::read(&path, &error))
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

/// What is to be believed of a namespace whose properties are lost: who it is, and which files it has.
fn without_properties(found: &SegmentHeader, files: &[u32]) -> Manifest {
    let mut manifest = Manifest::new(found.uid, found.mode);
    manifest.first = files.first().copied().unwrap_or(0);
    manifest.last = files.last().copied().unwrap_or(0);
    manifest
}

/// Remove a namespace's files, durably; what a failure or a crash leaves, the next start removes.
fn remove_folder<D: Disk>(disk: &D, folder: &str) -> io::Result<()> {
    for root in [Root::Index, Root::Data] {
        let names = match disk.list(root, folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            listed => listed?,
        };
        let is_last = |name: &String| name == manifest::name(Root::Data);
        let (last, others): (Vec<_>, Vec<_>) = names.into_iter().partition(is_last);
        // The file that says "removed" goes when everything else is gone for good, or it would be missed.
        for names in [others, last] {
            for name in names {
                disk.remove(root, &format!("{folder}/{name}"))?;
            }
            disk.sync_folder(root, folder)?;
        }
        disk.remove_folder(root, folder)?;
        disk.sync_folder(root, "")?;
    }
    Ok(())
}
