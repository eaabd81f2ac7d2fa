//! A disk in memory that fails as disks do, from a seed.
//!
//! What is written is visible at once and durable after a sync. A power cut keeps, loses or tears
//! every unsynced write, sector by sector and in no order. Changes of folders that were not synced survive
//! as a prefix, as with a journal, of each root by itself, or by chance. A failed sync leaves bytes visible
//! that will never be durable, and each open file hears of it once, as on Linux; they stay visible until the
//! cache is dropped or the power goes. Calls can be made to fail or to lie (`Faults`), the disk can be full, and bytes at rest can be
//! damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::faults::{omitted, Change, Dice, Faults, Omissions};
use super::{Disk, DiskFile, Root};

#[derive(Debug, Default)]
struct Inode {
    visible: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// How long syncs said that the file is.
    promised: usize,
    /// Whether it was found to be shorter.
    shortened: bool,
    /// Syncs that failed.
    failures: u64,
    /// Bytes that the medium does not give back: where they begin, how many there are.
    broken: Option<(u64, u64)>,
}

impl Inode {
    /// Forget what is cached: what is not on its way to the medium is no longer seen.
    fn evict(&mut self) {
        self.visible.clone_from(&self.durable);
        for change in &self.pending {
            change.apply(&mut self.visible);
        }
        self.shortened |= self.visible.len() < self.promised;
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name(Root, String);

impl Name {
    fn folder(&self) -> &str {
        self.1.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

#[derive(Debug, Clone)]
enum Entry {
    Bind(Name, usize),
    Unbind(Name),
    Folder(Name),
    NoFolder(Name),
}

impl Entry {
    fn name(&self) -> &Name {
        match self {
            Self::Bind(name, _)
            | Self::Unbind(name)
            | Self::Folder(name)
            | Self::NoFolder(name) => name,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Tree {
    files: BTreeMap<Name, usize>,
    folders: BTreeSet<Name>,
}

impl Tree {
    fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Bind(name, inode) => drop(self.files.insert(name.clone(), *inode)),
            Entry::Unbind(name) => drop(self.files.remove(name)),
            Entry::Folder(name) => drop(self.folders.insert(name.clone())),
            Entry::NoFolder(name) => drop(self.folders.remove(name)),
        }
    }
}

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    visible: Tree,
    durable: Tree,
    /// Changes of folders that are not durable, each a group that happens wholly or not at all.
    pending: Vec<Vec<Entry>>,
    faults: Faults,
    omissions: Omissions,
    full: bool,
    dice: Dice,
    calls: u64,
    calls_max: u64,
}

/// The disk; clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of it.
#[derive(Debug)]
pub struct SimulatedFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    path: String,
    /// Failed syncs of the file that this handle was told of.
    told: AtomicU64,
}

fn error(what: &str) -> io::Error {
    io::Error::other(what)
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            inodes: Vec::new(),
            visible: Tree::default(),
            durable: Tree::default(),
            pending: Vec::new(),
            faults: Faults::default(),
            omissions: Omissions::default(),
            full: false,
            dice: Dice::new(seed),
            calls: 0,
            calls_max: u64::MAX,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    /// From now on calls fail so often.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// From now on these lies are told.
    pub fn set_omissions(&self, omissions: Omissions) {
        self.lock().omissions = omissions;
    }

    /// Whether there is no room: a file cannot become longer, and none can be made.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Panic at this call and every later one: somebody goes round in circles.
    pub fn set_calls_max(&self, calls_max: u64) {
        self.lock().calls_max = calls_max;
    }

    /// Forget everything cached, as a system does that needs the memory.
    pub fn evict(&self) {
        self.lock().inodes.iter_mut().for_each(Inode::evict);
    }

    /// Whether a file was found shorter than a sync had said, since last asked: a loss without a trace.
    #[must_use]
    pub fn take_shortened(&self) -> bool {
        let mut state = self.lock();
        let flags = state.inodes.iter_mut().map(|inode| &mut inode.shortened);
        flags.fold(false, |found, flag| found | std::mem::take(flag))
    }

    /// How many calls were made so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// The power goes: what is not durable survives by chance. Files open before must not be used.
    pub fn cut_power(&self) {
        let mut state = self.lock();
        state.cut_folders();
        let State { inodes, dice, .. } = &mut *state;
        // Everything unsynced goes, everything stays, or chance decides: for all files alike, or for each.
        let (together, of_all) = (dice.one_in(2), dice.below(4));
        for inode in inodes {
            let kind = if together { of_all } else { dice.below(4) };
            for change in std::mem::take(&mut inode.pending) {
                match kind {
                    0 => {}
                    1 => change.apply(&mut inode.durable),
                    _ => change.tear(&mut inode.durable, dice),
                }
            }
            inode.evict();
        }
    }

    /// The process is killed: everything written is still there.
    pub fn kill(&self) {}

    /// Names of all files, sorted, each as `data/NAMESPACE/FILE` or `index/NAMESPACE/FILE`.
    #[must_use]
    pub fn files(&self) -> Vec<(Root, String)> {
        self.lock()
            .visible
            .files
            .keys()
            .map(|name| (name.0, name.1.clone()))
            .collect()
    }

    /// Change the bytes of a file at rest.
    pub fn edit(&self, root: Root, path: &str, change: &mut dyn FnMut(&mut Vec<u8>)) {
        let mut state = self.lock();
        let name = Name(root, path.to_owned());
        let Some(&inode) = state.visible.files.get(&name) else {
            return;
        };
        let inode = &mut state.inodes[inode];
        change(&mut inode.visible);
        inode.durable.clone_from(&inode.visible);
        inode.pending.clear();
        inode.promised = 0;
    }

    /// Let the medium not give these bytes back from now on, or do so again (`None`).
    pub fn break_bytes(&self, root: Root, path: &str, broken: Option<(u64, u64)>) {
        let mut state = self.lock();
        let name = Name(root, path.to_owned());
        if let Some(&inode) = state.visible.files.get(&name) {
            state.inodes[inode].broken = broken;
        }
    }

    /// Remove a file at rest.
    pub fn erase(&self, root: Root, path: &str) {
        let mut state = self.lock();
        let name = Name(root, path.to_owned());
        state.visible.files.remove(&name);
        state.durable.files.remove(&name);
    }
}

impl State {
    /// What of the unsynced changes of folders is there after a power cut.
    fn cut_folders(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let kind = self.dice.below(3);
        let all = self.dice.below(pending.len() as u64 + 1) as usize;
        let of_data = self.dice.below(pending.len() as u64 + 1) as usize;
        for (number, group) in pending.iter().enumerate() {
            let survives = match (kind, group[0].name().0) {
                (0, Root::Data) => number < of_data,
                (0 | 1, _) => number < all,
                _ => self.dice.one_in(2),
            };
            if survives {
                group.iter().for_each(|entry| self.durable.apply(entry));
            }
        }
        // Files of a folder that never became durable are gone with it.
        let folders = &self.durable.folders;
        self.durable
            .files
            .retain(|name, _| folders.contains(&Name(name.0, name.folder().to_owned())));
        self.visible = self.durable.clone();
    }

    fn call(&mut self, one_in: impl Fn(&Faults) -> u32) -> io::Result<()> {
        self.calls += 1;
        assert!(self.calls < self.calls_max, "it does not come to an end");
        let times = one_in(&self.faults);
        if self.dice.one_in(times) {
            return Err(error("injected failure"));
        }
        Ok(())
    }

    /// Change a folder; a change that fails may have happened all the same.
    fn change(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        let failed = self.call(|faults| faults.folder);
        if failed.is_err() && self.dice.one_in(2) {
            return failed;
        }
        for entry in &entries {
            self.visible.apply(entry);
        }
        self.pending.push(entries);
        failed
    }

    fn folder_of(&self, name: &Name) -> io::Result<()> {
        let folder = Name(name.0, name.folder().to_owned());
        match folder.1.is_empty() || self.visible.folders.contains(&folder) {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;
    const READS_BESIDE: bool = false;

    fn open(&self, root: Root, path: &str, create: bool) -> io::Result<SimulatedFile> {
        let mut state = self.lock();
        let name = Name(root, path.to_owned());
        state.call(|_| 0)?;
        state.folder_of(&name)?;
        let inode = match (state.visible.files.get(&name).copied(), create) {
            (Some(inode), false) => inode,
            (Some(_), true) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, false) => return Err(io::ErrorKind::NotFound.into()),
            (None, true) if state.full => return Err(error("no storage space")),
            (None, true) => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.change(vec![Entry::Bind(name, inode)])?;
                inode
            }
        };
        Ok(SimulatedFile {
            state: Arc::clone(&self.state),
            inode,
            path: path.to_owned(),
            told: state.inodes[inode].failures.into(),
        })
    }

    fn rename(&self, root: Root, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        let (from, to) = (Name(root, from.to_owned()), Name(root, to.to_owned()));
        let inode = state
            .visible
            .files
            .get(&from)
            .copied()
            .ok_or(io::ErrorKind::NotFound)?;
        state.change(vec![Entry::Unbind(from), Entry::Bind(to, inode)])
    }

    fn remove(&self, root: Root, path: &str) -> io::Result<()> {
        let mut state = self.lock();
        let name = Name(root, path.to_owned());
        if !state.visible.files.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(vec![Entry::Unbind(name)])
    }

    fn make_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        let mut state = self.lock();
        let name = Name(root, folder.to_owned());
        match state.visible.folders.contains(&name) {
            true => state.call(|faults| faults.folder),
            false => state.change(vec![Entry::Folder(name)]),
        }
    }

    fn remove_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        let mut state = self.lock();
        let name = Name(root, folder.to_owned());
        let inside = |other: &Name| other.0 == root && other.folder() == folder;
        if state.visible.files.keys().any(inside) {
            return Err(error("folder is not empty"));
        }
        state.change(vec![Entry::NoFolder(name)])
    }

    fn list(&self, root: Root, folder: &str) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.call(|faults| faults.read)?;
        if folder.is_empty() {
            let folders = state.visible.folders.iter().filter(|name| name.0 == root);
            return Ok(folders.map(|name| name.1.clone()).collect());
        }
        if !state
            .visible
            .folders
            .contains(&Name(root, folder.to_owned()))
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.visible.files.keys();
        let inside = inside.filter(|name| name.0 == root && name.folder() == folder);
        Ok(inside
            .map(|name| name.1[folder.len() + 1..].to_owned())
            .collect())
    }

    fn sync_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.call(|faults| faults.folder)?;
        if omitted(state.omissions.folder, folder) {
            return Ok(());
        }
        let state = &mut *state;
        let here = |entries: &Vec<Entry>| {
            entries
                .iter()
                .any(|entry| entry.name().0 == root && entry.name().folder() == folder)
        };
        for entries in state.pending.iter().filter(|entries| here(entries)) {
            for entry in entries {
                state.durable.apply(entry);
            }
        }
        state.pending.retain(|entries| !here(entries));
        Ok(())
    }

    fn free_bytes(&self, _root: Root) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

impl SimulatedFile {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.lock();
        state.call(|faults| faults.read)?;
        let broken = state.inodes[self.inode].broken;
        if broken.is_some_and(|(at, count)| {
            at < offset.saturating_add(buffer.len() as u64) && offset < at.saturating_add(count)
        }) {
            return Err(error("unreadable sector"));
        }
        let file = &state.inodes[self.inode].visible;
        let from = usize::try_from(offset)
            .expect("small files")
            .min(file.len());
        let count = buffer.len().min(file.len() - from);
        buffer[..count].copy_from_slice(&file[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.lock();
        let offset = usize::try_from(offset).expect("small files");
        let mut failed = state.call(|faults| faults.write);
        let mut count = bytes.len();
        if state.full {
            count = count.min(
                state.inodes[self.inode]
                    .visible
                    .len()
                    .saturating_sub(offset),
            );
            if count < bytes.len() && (count == 0 || state.dice.one_in(2)) {
                failed = Err(error("no storage space"));
            }
        }
        let short = state.faults.short;
        if failed.is_err() || state.dice.one_in(short) {
            count = state.dice.below(count as u64) as usize;
        }
        let change = Change::Write {
            offset,
            bytes: bytes[..count].to_vec(),
        };
        let omitted = omitted(state.omissions.short, &self.path);
        let State {
            inodes,
            dice,
            faults,
            ..
        } = &mut *state;
        let inode = &mut inodes[self.inode];
        change.apply(&mut inode.visible);
        let length = inode.visible.len();
        inode.pending.extend(change.betrayed(faults, length, dice));
        failed.map(|()| if omitted { bytes.len() } else { count })
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.lock();
        let failed = state.call(|faults| faults.sync);
        let omissions = state.omissions;
        if omitted(omissions.sync, &self.path) {
            return failed;
        }
        let State { inodes, dice, .. } = &mut *state;
        let inode = &mut inodes[self.inode];
        for change in std::mem::take(&mut inode.pending) {
            match failed {
                Ok(()) => change.apply(&mut inode.durable),
                Err(_) => change.tear(&mut inode.durable, dice),
            }
        }
        inode.failures += u64::from(failed.is_err());
        let told = self.told.swap(inode.failures, Ordering::Relaxed);
        if omitted(omissions.sync_error, &self.path) {
            return Ok(());
        }
        if told < inode.failures {
            return Err(error("injected failure of a sync"));
        }
        inode.promised = inode.visible.len();
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.call(|faults| faults.write)?;
        if omitted(state.omissions.truncate, &self.path) {
            return Ok(());
        }
        let length = usize::try_from(length).expect("small files");
        let change = Change::Truncate(length);
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.visible);
        inode.pending.push(change);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.lock();
        state.call(|faults| faults.read)?;
        Ok(state.inodes[self.inode].visible.len() as u64)
    }

    fn drop_cache(&self, _offset: u64) {
        self.lock().inodes[self.inode].evict();
    }
}
