//! A disk in memory that fails as disks do, from a seed.
//!
//! What is written is visible at once and durable after a sync. A power cut keeps, loses or tears
//! every unsynced write, sector by sector and in no order; folder changes survive as a prefix. A failed
//! sync leaves bytes visible that will never be durable, and each open file hears of it once, as on Linux. Calls can be made to fail, and
//! bytes at rest can be damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile, Root};

const SECTOR_BYTES: usize = 512;

/// How often calls fail, each one time in so many; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A write fails with ENOSPC or EIO after some of its bytes.
    pub write: u32,
    /// A write is short.
    pub short: u32,
    /// A read fails.
    pub read: u32,
    /// A sync fails.
    pub sync: u32,
    /// Making, renaming or removing a file or syncing its folder fails.
    pub folder: u32,
}

/// A small generator of numbers: SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or(0)
    }

    /// True one time in `times`; never for 0.
    pub fn one_in(&mut self, times: u32) -> bool {
        times > 0 && self.below(u64::from(times)) == 0
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => file.resize(*length, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// Apply what a power cut leaves of it.
    fn tear(&self, file: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write { offset, bytes } = self else {
            if dice.one_in(2) {
                self.apply(file);
            }
            return;
        };
        let mut from = 0;
        while from < bytes.len() {
            let to = ((offset + from) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
            let to = to.min(bytes.len());
            if dice.one_in(2) {
                let part = bytes[from..to].to_vec();
                Self::Write {
                    offset: offset + from,
                    bytes: part,
                }
                .apply(file);
            }
            from = to;
        }
    }
}

#[derive(Debug, Default)]
struct Inode {
    visible: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Syncs that failed.
    failures: u64,
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
    dice: Dice,
    calls: u64,
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
            dice: Dice::new(seed),
            calls: 0,
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

    /// How many calls were made so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// The power goes: what is not durable survives by chance. Files open before must not be used.
    pub fn cut_power(&self) {
        let mut state = self.lock();
        let State {
            inodes,
            durable,
            pending,
            dice,
            visible,
            ..
        } = &mut *state;
        let survive = dice.below(pending.len() as u64 + 1) as usize;
        for entry in pending.drain(..).take(survive).flatten() {
            durable.apply(&entry);
        }
        // Files of a folder that never became durable are gone with it.
        let folders = &durable.folders;
        durable
            .files
            .retain(|name, _| folders.contains(&Name(name.0, name.folder().to_owned())));
        *visible = durable.clone();
        // Three kinds of cut: everything unsynced goes, everything stays, or chance decides.
        let kind = dice.below(4);
        for inode in inodes {
            for change in std::mem::take(&mut inode.pending) {
                match kind {
                    0 => {}
                    1 => change.apply(&mut inode.durable),
                    _ => change.tear(&mut inode.durable, dice),
                }
            }
            inode.visible = inode.durable.clone();
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
    fn call(&mut self, one_in: impl Fn(&Faults) -> u32) -> io::Result<()> {
        self.calls += 1;
        let times = one_in(&self.faults);
        if self.dice.one_in(times) {
            return Err(error("injected failure"));
        }
        Ok(())
    }

    fn change(&mut self, entries: Vec<Entry>) {
        for entry in &entries {
            self.visible.apply(entry);
        }
        self.pending.push(entries);
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

    fn open(&self, root: Root, path: &str, create: bool) -> io::Result<SimulatedFile> {
        let mut state = self.lock();
        let name = Name(root, path.to_owned());
        state.call(|faults| if create { faults.folder } else { 0 })?;
        state.folder_of(&name)?;
        let inode = match (state.visible.files.get(&name).copied(), create) {
            (Some(inode), false) => inode,
            (Some(_), true) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, false) => return Err(io::ErrorKind::NotFound.into()),
            (None, true) => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.change(vec![Entry::Bind(name, inode)]);
                inode
            }
        };
        Ok(SimulatedFile {
            state: Arc::clone(&self.state),
            inode,
            told: state.inodes[inode].failures.into(),
        })
    }

    fn rename(&self, root: Root, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.call(|faults| faults.folder)?;
        let (from, to) = (Name(root, from.to_owned()), Name(root, to.to_owned()));
        let inode = state
            .visible
            .files
            .get(&from)
            .copied()
            .ok_or(io::ErrorKind::NotFound)?;
        state.change(vec![Entry::Unbind(from), Entry::Bind(to, inode)]);
        Ok(())
    }

    fn remove(&self, root: Root, path: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.call(|faults| faults.folder)?;
        let name = Name(root, path.to_owned());
        if !state.visible.files.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(vec![Entry::Unbind(name)]);
        Ok(())
    }

    fn make_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.call(|faults| faults.folder)?;
        let name = Name(root, folder.to_owned());
        if !state.visible.folders.contains(&name) {
            state.change(vec![Entry::Folder(name)]);
        }
        Ok(())
    }

    fn remove_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.call(|faults| faults.folder)?;
        let name = Name(root, folder.to_owned());
        let inside = |other: &Name| other.0 == root && other.folder() == folder;
        if state.visible.files.keys().any(inside) {
            return Err(error("folder is not empty"));
        }
        state.change(vec![Entry::NoFolder(name)]);
        Ok(())
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
        let failed = state.call(|faults| faults.write);
        let short = state.faults.short;
        let mut count = bytes.len();
        if failed.is_err() || state.dice.one_in(short) {
            count = state.dice.below(bytes.len() as u64) as usize;
        }
        let offset = usize::try_from(offset).expect("small files");
        let change = Change::Write {
            offset,
            bytes: bytes[..count].to_vec(),
        };
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.visible);
        inode.pending.push(change);
        failed.map(|()| count)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.lock();
        let failed = state.call(|faults| faults.sync);
        let State { inodes, dice, .. } = &mut *state;
        let inode = &mut inodes[self.inode];
        for change in std::mem::take(&mut inode.pending) {
            match failed {
                Ok(()) => change.apply(&mut inode.durable),
                Err(_) => change.tear(&mut inode.durable, dice),
            }
        }
        inode.failures += u64::from(failed.is_err());
        match self.told.swap(inode.failures, Ordering::Relaxed) {
            told if told < inode.failures => Err(error("injected failure of a sync")),
            _ => Ok(()),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.call(|faults| faults.write)?;
        let change = Change::Truncate(usize::try_from(length).expect("small files"));
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
        let mut state = self.lock();
        let inode = &mut state.inodes[self.inode];
        inode.visible = inode.durable.clone();
        for change in &inode.pending {
            change.apply(&mut inode.visible);
        }
    }
}
