//! The engine: all namespaces of a pair of directories, opened, committed and closed together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crate::cache::Cache;
use crate::format::Uid;
use crate::namespace::{BegunSync, Namespace, Settings};
use crate::{
    Disk, Error, Mode, NamespaceId, Result, Root, SyncMode, CACHE_BYTES, DEFAULT_NAMESPACE,
    NAME_BYTES_MAX, SEGMENT_BYTES, SEGMENT_BYTES_MIN,
};

/// How an engine runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// When writes reach the disk for good.
    pub sync: SyncMode,
    /// With `SyncMode::Interval`: commits begin syncs (`Engine::take_begun_syncs`) instead of running them.
    pub sync_beside: bool,
    /// Size at which a data file is closed, in bytes; at least `SEGMENT_BYTES_MIN`, below 4 GiB - 16 MiB.
    pub segment_bytes: u32,
    /// Mode of new namespaces, the default one included.
    pub mode: Mode,
    /// Bytes of data files that may be kept in memory for reading, for all namespaces together; 0 for none.
    pub cache_bytes: usize,
    /// Bytes nobody can guess, from the system: identities and hash keys of new namespaces.
    pub entropy: [u8; 16],
}

impl Options {
    /// Group commit, 256 MiB files, user mode, 64 MiB of cache.
    #[must_use]
    pub fn new(entropy: [u8; 16]) -> Self {
        let segment_bytes = SEGMENT_BYTES;
        Self {
            sync: SyncMode::Group,
            sync_beside: false,
            segment_bytes,
            mode: Mode::User,
            cache_bytes: CACHE_BYTES,
            entropy,
        }
    }
}

/// Largest size of a data file: the longest record still fits below 4 GiB.
const SEGMENT_BYTES_MAX: u32 = u32::MAX - (16 << 20);

/// Something that was found wrong at start, or by a check, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Namespace.
    pub namespace: String,
    /// File, as it is called in its directory.
    pub file: String,
    /// First byte concerned.
    pub offset: u64,
    /// Bytes concerned.
    pub length: u64,
    /// What it is and what was done.
    pub what: String,
    /// Whether an acknowledged write may be gone; false for what was mended without loss.
    pub lost: bool,
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Everything that was not as it should be.
    pub losses: Vec<Loss>,
}

impl Report {
    /// Whether everything was as it should be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.losses.is_empty()
    }

    /// Whether an acknowledged write may be gone.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.losses.iter().any(|loss| loss.lost)
    }
}

#[derive(Debug)]
struct Slot<D: Disk> {
    generation: u32,
    namespace: Option<Namespace<D>>,
    /// Whether it is in the engine's list of those that commits look at.
    busy: bool,
}

/// All namespaces below a data and an index directory.
#[derive(Debug)]
pub struct Engine<D: Disk> {
    disk: Arc<D>,
    options: Options,
    slots: Vec<Slot<D>>,
    names: BTreeMap<String, usize>,
    begun: Vec<BegunSync<D::File>>,
    /// Slots that somebody may have written to, or where something is due: a thousand others cost nothing.
    busy: Vec<usize>,
    uids_drawn: u64,
    cache: Option<Rc<Cache>>,
    spare: Rc<RefCell<Vec<u8>>>,
}

impl<D: Disk> Engine<D> {
    /// Open what is there, repair what can be, create `default` if it is not there.
    ///
    /// # Errors
    /// `Read`, `Write` when the disk fails; `Format` when records are there that nobody can verify.
    pub fn open(disk: D, mut options: Options, _now_ms: u64) -> Result<(Self, Report)> {
        options.segment_bytes = options
            .segment_bytes
            .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let (disk, slots, names) = (Arc::new(disk), Vec::new(), BTreeMap::new());
        let cache = Cache::new(options.cache_bytes);
        let mut engine = Self {
            disk,
            options,
            slots,
            names,
            begun: Vec::new(),
            busy: Vec::new(),
            uids_drawn: 0,
            cache,
            spare: Rc::default(),
        };
        let mut report = Report::default();
        let mut found = std::collections::BTreeSet::new();
        for root in [Root::Data, Root::Index] {
            let listed = engine
                .disk
                .list(root, "")
                .map_err(|error| Error::read("root", &error))?;
            found.extend(listed.into_iter().filter(|name| is_name(name)));
            if engine.options.sync.waits() {
                let synced = engine.disk.sync_folder(root, "");
                synced.map_err(|error| Error::write("root", &error))?;
            }
        }
        for name in found {
            engine.load(&name, &mut report)?;
        }
        if engine.find(DEFAULT_NAMESPACE).is_none() {
            engine.create(DEFAULT_NAMESPACE)?;
        }
        Ok((engine, report))
    }

    fn settings(&self) -> Settings {
        Settings {
            sync: self.options.sync,
            sync_beside: self.options.sync_beside,
            segment_bytes: self.options.segment_bytes,
            cache: self.cache.clone(),
            spare: Rc::clone(&self.spare),
        }
    }

    /// Another identity that nobody can guess.
    fn draw_uid(&mut self, name: &str) -> Uid {
        self.uids_drawn += 1;
        let hasher = siphasher::sip128::SipHasher24::new_with_key(&self.options.entropy);
        let mut seed = self.uids_drawn.to_le_bytes().to_vec();
        seed.extend_from_slice(name.as_bytes());
        Uid(hasher.hash(&seed).as_bytes())
    }

    fn load(&mut self, name: &str, report: &mut Report) -> Result<Option<NamespaceId>> {
        let (uid, settings) = (self.draw_uid(name), self.settings());
        let opened = Namespace::open(&self.disk, name, self.options.mode, uid, settings, report)?;
        Ok(opened.map(|namespace| self.admit(name, namespace)))
    }

    fn admit(&mut self, name: &str, namespace: Namespace<D>) -> NamespaceId {
        let free = self.slots.iter().position(|slot| slot.namespace.is_none());
        let index = free.unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                namespace: None,
                busy: false,
            });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        slot.generation += 1;
        slot.namespace = Some(namespace);
        self.names.insert(name.to_owned(), index);
        NamespaceId {
            slot: index as u32,
            generation: slot.generation,
        }
    }

    fn take_out(&mut self, name: &str) -> Result<Namespace<D>> {
        let index = self.names.remove(name).ok_or(Error::NoNamespace)?;
        self.slots[index].namespace.take().ok_or(Error::NoNamespace)
    }

    /// The namespace of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NamespaceId> {
        let index = *self.names.get(name)?;
        Some(NamespaceId {
            slot: index as u32,
            generation: self.slots[index].generation,
        })
    }

    /// Names of all namespaces, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// A namespace to read from.
    ///
    /// # Errors
    /// `NoNamespace` when it was removed or reloaded since the id was given out.
    pub fn namespace(&self, id: NamespaceId) -> Result<&Namespace<D>> {
        let slot = self.slots.get(id.slot as usize);
        let slot = slot.filter(|slot| slot.generation == id.generation);
        slot.and_then(|slot| slot.namespace.as_ref())
            .ok_or(Error::NoNamespace)
    }

    /// A namespace to write to.
    ///
    /// # Errors
    /// `NoNamespace` when it was removed or reloaded since the id was given out.
    pub fn namespace_mut(&mut self, id: NamespaceId) -> Result<&mut Namespace<D>> {
        let slot = self.slots.get_mut(id.slot as usize);
        let slot = slot.filter(|slot| slot.generation == id.generation);
        let slot = slot.ok_or(Error::NoNamespace)?;
        if !slot.busy {
            slot.busy = true;
            self.busy.push(id.slot as usize);
        }
        slot.namespace.as_mut().ok_or(Error::NoNamespace)
    }

    /// NSNEW: make a namespace, durable on return.
    ///
    /// # Errors
    /// `BadName`, `Exists`, `Write`.
    pub fn create(&mut self, name: &str) -> Result<NamespaceId> {
        if !is_name(name) {
            return Err(Error::BadName);
        }
        if self.names.contains_key(name) {
            return Err(Error::Exists);
        }
        let (uid, settings) = (self.draw_uid(name), self.settings());
        let namespace = Namespace::create(&self.disk, name, self.options.mode, uid, settings)?;
        Ok(self.admit(name, namespace))
    }

    /// NSDEL: remove a namespace and its files; ids of it become stale.
    ///
    /// # Errors
    /// `NoNamespace`, `DefaultNamespace`; `Write` when that could not be made durable: it is gone from
    /// memory, and may be back after a restart.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        if name == DEFAULT_NAMESPACE {
            return Err(Error::DefaultNamespace);
        }
        self.take_out(name)?.remove()
    }

    /// RELOAD: drop the memory of a namespace and read it again from disk; ids of it become stale.
    ///
    /// # Errors
    /// `NoNamespace`, `Read`, `Write`: what was there stays, is read-only, and its ids stay good.
    pub fn reload(&mut self, name: &str) -> Result<Report> {
        let index = *self.names.get(name).ok_or(Error::NoNamespace)?;
        if let Some(namespace) = &mut self.slots[index].namespace {
            // What cannot be written is not acknowledged either; the disk says what is there.
            let _ = namespace.settle();
        }
        let (uid, settings, mut report) = (self.draw_uid(name), self.settings(), Report::default());
        let mode = self.options.mode;
        match Namespace::open(&self.disk, name, mode, uid, settings, &mut report) {
            Ok(opened) => {
                drop(self.take_out(name)?);
                opened.map(|namespace| self.admit(name, namespace));
                Ok(report)
            }
            Err(error) => {
                if let Some(namespace) = &mut self.slots[index].namespace {
                    namespace.close_to_writes(format!("reload failed: {error}"));
                }
                Err(error)
            }
        }
    }

    /// Write what waits in every namespace, and make it durable as `Options::sync` says.
    ///
    /// Returns the namespaces where that failed, with the reason: their writes since the last commit
    /// are undone (but for those before a change of data file, which stay), and each of them must be
    /// answered as failed. After a failed fsync the namespace is also read-only until reloaded.
    pub fn commit(&mut self, now_ms: u64) -> Vec<(NamespaceId, Error)> {
        let mut failed = Vec::new();
        let (slots, begun) = (&mut self.slots, &mut self.begun);
        self.busy.retain(|&index| {
            let slot = &mut slots[index];
            let id = NamespaceId {
                slot: index as u32,
                generation: slot.generation,
            };
            slot.busy = false;
            let Some(namespace) = slot.namespace.as_mut() else {
                return false;
            };
            if let Err(error) = namespace.commit(now_ms) {
                failed.push((id, error));
            }
            begun.extend(namespace.take_begun(id));
            slot.busy = namespace.due_ms().is_some() || namespace.is_synced_beside();
            slot.busy
        });
        failed
    }

    /// The syncs that commits began (`Options::sync_beside`): run each, and hand it to `end_sync`.
    pub fn take_begun_syncs(&mut self) -> Vec<BegunSync<D::File>> {
        std::mem::take(&mut self.begun)
    }

    /// Learn what became of a sync that a commit began; one of a namespace that is gone changes nothing.
    ///
    /// # Errors
    /// `ReadOnly` when it failed, which is as final as a failure inside a commit. Writes that wait for a commit
    /// are undone, and that commit names the namespace.
    pub fn end_sync(&mut self, sync: &BegunSync<D::File>, outcome: io::Result<()>) -> Result<()> {
        match self.namespace_mut(sync.namespace) {
            Ok(namespace) => namespace.end_sync(sync.span, outcome),
            Err(_) => Ok(()),
        }
    }

    /// Whether a begun sync must end before anything more is acknowledged: writes wait for it as long as
    /// `SyncMode::Interval` allows, or too many of them do.
    #[must_use]
    pub fn is_overdue(&self, now_ms: u64) -> bool {
        self.busy().any(|namespace| namespace.is_overdue(now_ms))
    }

    /// When `commit` wants to be called although nothing was written, or nothing: at rest.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.busy().filter_map(Namespace::due_ms).min()
    }

    fn busy(&self) -> impl Iterator<Item = &Namespace<D>> {
        let slots = self.busy.iter().map(|&index| &self.slots[index]);
        slots.filter_map(|slot| slot.namespace.as_ref())
    }

    /// Compact one step, reading and writing about `budget_bytes`; false when nothing is to be done.
    ///
    /// # Errors
    /// `NoNamespace`, `Read`, `Write`: the old files stay in use, and the next step begins anew.
    pub fn compact_step(&mut self, id: NamespaceId, budget_bytes: u64) -> Result<bool> {
        self.namespace_mut(id)?.compact_step(budget_bytes)
    }

    /// Commit, write the indexes, release the directories. Dropping without it is a crash, and safe.
    ///
    /// # Errors
    /// The first failure; everything else is still tried.
    pub fn close(mut self) -> Result<()> {
        let namespaces = self
            .slots
            .iter_mut()
            .filter_map(|slot| slot.namespace.as_mut());
        namespaces.map(Namespace::close).fold(Ok(()), Result::and)
    }

    /// Bytes of data files that are kept in memory for reading.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.cache.as_ref().map_or(0, |cache| cache.bytes())
    }

    /// The disk below.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }
}

/// Whether a namespace can be called this. A dot in front is kept for files of our own.
fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && !name.chars().any(|one| one == '/' || one.is_control())
}
