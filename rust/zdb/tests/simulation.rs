//! Random commands on a simulated disk that fails, crash, restart, and an oracle of what was promised.
//!
//! A failure prints its seed: `ZDB_SEED=n cargo test -p tfgrid-zdb --test simulation one_seed`, and with
//! `ZDB_TRACE=1` each step as it is made. The whole: `make soak`.
//!
//! The oracle knows for each key what may be read. While the disk keeps its promises that is what was
//! acknowledged, and no report may speak of a loss. Where bytes were damaged, or the disk lies, a value is
//! the right one, an error, or gone with a report that names the file; never one that was not written.

#[cfg(feature = "canaries")]
#[path = "simulation/canaries.rs"]
mod canaries;
#[path = "simulation/spaces.rs"]
mod spaces;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use spaces::Spaces;
use tfgrid_zdb::{
    BegunSync, Dice, Direction, Engine, Error, Faults, HistoryPolicy, Mode, Namespace, Omissions,
    Options, Place, Properties, Report, Root, Scratch, SimulatedDisk, SimulatedFile, SyncMode,
    Written,
};

/// Calls of the disk that one step may take: more is a step that does not end.
const CALLS_OF_A_STEP: u64 = 2_000_000;

type Value = Option<Vec<u8>>;

/// What may be read of a key: one value when it is certain, several after something failed.
#[derive(Debug, Clone)]
struct Known {
    may: BTreeSet<Value>,
    /// What the running engine shows.
    now: Value,
    ever: BTreeSet<Value>,
    /// Where the log ended after the last write of it.
    end: Place,
    /// The running engine cannot read it; nobody knows what it would be.
    unreadable: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            may: [None].into(),
            now: None,
            ever: [None].into(),
            end: Place { file: 0, offset: 0 },
            unreadable: false,
        }
    }
}

struct Beside {
    sync: BegunSync<SimulatedFile>,
    outcome: Option<io::Result<()>>,
    covers: BTreeMap<Vec<u8>, Value>,
    /// What was written to each key since it was begun.
    since: BTreeMap<Vec<u8>, BTreeSet<Value>>,
}

struct Run {
    dice: Dice,
    seed: u64,
    disk: SimulatedDisk,
    engine: Option<Engine<SimulatedDisk>>,
    options: Options,
    known: BTreeMap<Vec<u8>, Known>,
    /// Keys written since the last commit, with what they were before.
    open: Vec<(Vec<u8>, Value)>,
    /// A sync that runs beside the engine, what it came to once it ran, and what it makes durable.
    beside: Option<Beside>,
    faults: Faults,
    omissions: Omissions,
    damaging: bool,
    damaged: bool,
    spaces: Spaces,
    trace: Vec<String>,
}

impl Run {
    fn new(seed: u64, omissions: Omissions) -> Self {
        let mut dice = Dice::new(seed);
        let disk = SimulatedDisk::new(dice.roll());
        disk.set_omissions(omissions);
        disk.set_calls_max(CALLS_OF_A_STEP);
        let mode = if dice.one_in(3) {
            Mode::Sequential
        } else {
            Mode::User
        };
        let sync = match dice.below(7) {
            0 => SyncMode::Always,
            1 | 6 => SyncMode::Interval(3),
            2 => SyncMode::None,
            _ => SyncMode::Group,
        };
        let mut faults = Faults::default();
        match dice.below(12) {
            0 => faults.write = 15,
            1 => faults.short = 4,
            2 => faults.sync = 15,
            3 => faults.read = 60,
            4 => faults.folder = 10,
            5 => {
                faults = Faults {
                    write: 40,
                    short: 10,
                    read: 200,
                    sync: 60,
                    folder: 40,
                    ..Faults::default()
                }
            }
            6 => faults.lost = 20,
            7 => faults.misdirected = 20,
            8 => faults.flipped = 20,
            _ => {}
        }
        let damaging = dice.one_in(4);
        let options = Options {
            sync,
            sync_beside: dice.one_in(2),
            mode,
            segment_bytes: 1 << 19,
            // None, one that is always full, and one that keeps everything.
            cache_bytes: [0, 32 << 10, 64 << 20][seed as usize % 3],
            ..Options::new([3; 16])
        };
        let mut run = Self {
            dice,
            seed,
            disk,
            engine: None,
            options,
            known: BTreeMap::new(),
            open: Vec::new(),
            beside: None,
            faults,
            omissions,
            damaging,
            damaged: faults.lies(),
            spaces: Spaces::default(),
            trace: Vec::new(),
        };
        run.restart();
        run.reserve();
        run
    }

    /// Remember a step; with `ZDB_TRACE` tell it at once, for a run that does not end.
    fn say(&mut self, what: String) {
        if std::env::var_os("ZDB_TRACE").is_some() {
            eprintln!("{what}");
        }
        self.trace.push(what);
    }

    /// Give some of them quotas that they soon meet.
    fn reserve(&mut self) {
        if !self.dice.one_in(4) {
            return;
        }
        let mut properties = self.namespace().properties().clone();
        if self.dice.one_in(2) {
            properties.max_keys = 1 + self.dice.below(30);
        }
        properties.max_disk_bytes = (300 << 10) + self.dice.below(2 << 20);
        let done = self.namespace().set_properties(properties);
        self.say(format!("reserved {done:?}"));
        if done.is_err() {
            // It may be in force all the same; a start decides, before there is more than it allows.
            self.restart();
        }
    }

    fn engine(&mut self) -> &mut Engine<SimulatedDisk> {
        self.engine.as_mut().expect("running")
    }

    fn namespace(&mut self) -> &mut Namespace<SimulatedDisk> {
        let engine = self.engine();
        let id = engine.find("default").expect("always there");
        engine.namespace_mut(id).expect("there")
    }

    fn durable_commits(&self) -> bool {
        matches!(self.options.sync, SyncMode::Group | SyncMode::Always)
    }

    fn key(&mut self) -> Vec<u8> {
        match self.options.mode {
            Mode::User => {
                let number = self.dice.below(40);
                let mut key = number.to_le_bytes().to_vec();
                key.truncate(1);
                key.resize(1 + (number as usize * 7) % 200, b'k');
                key
            }
            Mode::Sequential => self.dice.below(40).to_le_bytes().to_vec(),
        }
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = match self.dice.below(10) {
            0 => 0,
            1..=6 => self.dice.below(60),
            7 | 8 => self.dice.below(3000),
            _ => self.dice.below(60_000),
        };
        let mut payload = self.dice.roll().to_le_bytes().to_vec();
        payload.resize(length as usize, b'p');
        payload
    }

    fn write(&mut self, key: Vec<u8>, value: Value) {
        let durable = self.durable_commits();
        let stats = self.namespace().stats();
        let (file, offset) = (stats.data_file, stats.data_offset);
        let known = self.known.entry(key.clone()).or_default();
        known.end = Place { file, offset };
        self.open.push((key.clone(), known.now.clone()));
        known.unreadable = false;
        known.now = value.clone();
        known.ever.insert(value.clone());
        known.may.insert(value.clone());
        self.later(&key, value);
        if self.options.sync == SyncMode::Always && durable {
            self.acknowledge();
        }
    }

    /// Note what is written to a key while a sync is under way.
    fn later(&mut self, key: &[u8], value: Value) {
        if let Some(beside) = &mut self.beside {
            beside.since.entry(key.to_vec()).or_default().insert(value);
        }
    }

    /// All is durable now: what runs beside the engine can make none of it older.
    fn outrun(&mut self) {
        if let Some(beside) = &mut self.beside {
            let now = self.known.iter();
            beside.covers = now.map(|(k, v)| (k.clone(), v.now.clone())).collect();
            beside.since.clear();
        }
    }

    /// Take the sync that a commit began.
    fn take_begun(&mut self) {
        for sync in self.engine().take_begun_syncs() {
            if self.engine().find("default") != Some(sync.namespace()) {
                let outcome = sync.run();
                let _ = self.engine().end_sync(&sync, outcome);
                continue;
            }
            assert!(self.beside.is_none(), "seed {}: two at once", self.seed);
            // One of a file that is closing leaves out what was written to the next one.
            let now = self.known.iter().filter(|(_, v)| v.end <= sync.covers());
            let covers = now.map(|(k, v)| (k.clone(), v.now.clone())).collect();
            let what = format!("sync begun, covers {:?}", sync.covers());
            self.beside = Some(Beside {
                sync,
                outcome: None,
                covers,
                since: BTreeMap::new(),
            });
            self.trace.push(what);
        }
    }

    /// The sync beside the engine happens, or the engine hears what came of it.
    fn go_on_beside(&mut self) {
        let Some(mut beside) = self.beside.take() else {
            return;
        };
        let Some(outcome) = beside.outcome.take() else {
            beside.outcome = Some(beside.sync.run());
            self.trace.push(format!("sync ran {:?}", beside.outcome));
            self.beside = Some(beside);
            return;
        };
        let failed = outcome.is_err();
        let ended = self.engine().end_sync(&beside.sync, outcome);
        self.trace.push(format!("sync ended {ended:?}"));
        if !failed {
            assert_eq!(ended, Ok(()), "seed {}", self.seed);
            if self.damaged {
                return;
            }
            for (key, known) in &mut self.known {
                if let Some(covered) = beside.covers.remove(key) {
                    known.may = beside.since.remove(key).unwrap_or_default();
                    known.may.insert(covered);
                }
            }
        } else if ended.is_err() {
            let refused = self.namespace().set(b"late", b"", 1);
            assert!(
                matches!(refused, Err(Error::ReadOnly(_))),
                "seed {}: {refused:?} after a failed sync",
                self.seed
            );
            // Only what waited for a commit is taken back, and that commit fails.
            if self.open.is_empty() {
                return;
            }
            assert_eq!(self.engine().commit(0).len(), 1, "seed {}", self.seed);
            self.refuse();
        }
    }

    /// The engine said that every write so far is done.
    fn acknowledge(&mut self) {
        let durable = self.durable_commits();
        for (key, _) in std::mem::take(&mut self.open) {
            let known = self.known.get_mut(&key).expect("written");
            if durable {
                known.may = [known.now.clone()].into();
            }
        }
    }

    /// The engine said that the writes since the last commit failed: it shows what was before.
    fn refuse(&mut self) {
        let open = std::mem::take(&mut self.open);
        let stay = self.namespace_values(&open);
        for ((key, before), shown) in open.into_iter().zip(stay).rev() {
            let known = self.known.get_mut(&key).expect("written");
            // Damaged: whatever it was, it is not shown.
            known.unreadable = shown.is_none();
            let shown = shown.flatten();
            // Before a change of data file they stay; both are allowed, and nothing else.
            let allowed = known.unreadable || shown == before || known.may.contains(&shown);
            assert!(allowed, "seed {}: {key:?} shows what never was", self.seed);
            known.now = shown;
        }
    }

    /// What the running engine shows of keys; `None` of what it cannot read.
    fn namespace_values(&mut self, keys: &[(Vec<u8>, Value)]) -> Vec<Option<Value>> {
        let may_be_damaged = self.may_be_damaged();
        self.disk.set_faults(Faults::default());
        let namespace = self.namespace();
        let mut scratch = Scratch::default();
        let mut values = Vec::new();
        for (key, _) in keys {
            match namespace.get(key, &mut scratch) {
                Ok(record) => values.push(Some(record.map(|record| record.payload.to_vec()))),
                Err(Error::Damaged { .. }) if may_be_damaged => values.push(None),
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
        }
        let faults = self.faults;
        self.disk.set_faults(faults);
        values
    }

    /// Whether a read may end in an error: without any sync the index may outlive data.
    fn may_be_damaged(&self) -> bool {
        self.damaged || self.options.sync == SyncMode::None
    }

    fn restart(&mut self) {
        self.engine = None;
        self.beside = None;
        self.open.clear();
        let faults = self.faults;
        // A start that fails has no report, and may have mended something before.
        let mut failed = false;
        loop {
            let with = if self.dice.one_in(2) {
                faults
            } else {
                Faults::default()
            };
            self.disk.set_faults(with);
            match Engine::open(self.disk.clone(), self.options.clone(), 0) {
                Ok((engine, report)) => {
                    self.engine = Some(engine);
                    let next = self.namespace().stats().next_id;
                    self.say(format!("opened, next id {next}: {report:?}"));
                    self.disk.set_faults(Faults::default());
                    if in_part(&report) {
                        self.verify_in_part(&report);
                        failed = true;
                        continue;
                    }
                    self.verify_after_restart(&report, failed);
                    let engine = self.engine.as_ref().expect("opened");
                    let kind = (self.damaged, self.durable_commits());
                    self.spaces.verify(engine, kind, self.seed, &self.trace);
                    self.disk.set_faults(faults);
                    return;
                }
                Err(error) => {
                    failed = true;
                    let refused = self.damaged && matches!(error, Error::Format(_));
                    let honest = with.read + with.write + with.sync + with.folder + with.short == 0;
                    assert!(
                        refused || !honest,
                        "seed {}: it does not start: {error}\n{}",
                        self.seed,
                        self.trace.join("\n")
                    );
                    self.say(format!("open failed: {error}"));
                    // A crash may come at any time, also while starting.
                    if self.dice.one_in(2) {
                        self.disk.cut_power();
                    }
                    if self.damaged && with.read == 0 && matches!(error, Error::Format(_)) {
                        // Refused by name: nothing that was there is believed. Begin again.
                        *self = Self {
                            faults,
                            damaged: faults.lies(),
                            ..Self::new(self.seed.wrapping_add(1 << 40), self.omissions)
                        };
                        return;
                    }
                }
            }
        }
    }

    /// A start that could not read everything: nothing wrong is told, nothing is written, and the next one goes on.
    fn verify_in_part(&mut self, report: &Report) {
        let mut losses = report.losses.iter();
        if losses.any(|loss| is_unread(loss) && loss.namespace == "default") {
            let key = self.key();
            let refused = self.namespace().set(&key, b"over it", 1).is_err();
            assert!(refused, "seed {}: written over", self.seed);
        }
        let engine = self.engine.take().expect("running");
        let id = engine.find("default").expect("always there");
        let namespace = engine.namespace(id).expect("there");
        let mut scratch = Scratch::default();
        for (key, known) in &self.known {
            if let Ok(Some(record)) = namespace.get(key, &mut scratch) {
                let value = Some(record.payload.to_vec());
                assert!(
                    known.ever.contains(&value),
                    "seed {}: what was never written is told\n{}",
                    self.seed,
                    self.trace.join("\n")
                );
            }
        }
    }

    /// Compare everything; `blind` when a start before this one failed, whose findings nobody saw.
    fn verify_after_restart(&mut self, report: &Report, blind: bool) {
        let (damaged, durable) = (self.damaged, self.durable_commits());
        let may_be_damaged = self.may_be_damaged();
        assert!(
            damaged || !durable || !report.is_lossy(),
            "seed {}: no loss, and {report:?}\n{}",
            self.seed,
            self.trace.join("\n")
        );
        // Of bytes that the disk said it had, and whose file now ends before, nothing is left to be found.
        let named = names_data(report) || blind || self.disk.take_shortened();
        let engine = self.engine.as_ref().expect("running");
        let id = engine.find("default").expect("always there");
        let namespace = engine.namespace(id).expect("there");
        let mut scratch = Scratch::default();
        for (key, known) in &mut self.known {
            known.unreadable = false;
            let value = match namespace.get(key, &mut scratch) {
                Ok(record) => record.map(|record| record.payload.to_vec()),
                Err(Error::Damaged { .. }) if may_be_damaged => {
                    known.may = known.ever.clone();
                    known.now = None;
                    known.unreadable = true;
                    continue;
                }
                Err(error) => panic!(
                    "seed {}: {:?}: {error}\n{}",
                    self.seed,
                    &key[..1],
                    self.trace.join("\n")
                ),
            };
            let fine =
                known.may.contains(&value) || (damaged && named && known.ever.contains(&value));
            assert!(
                fine,
                "seed {}: {:?} is {:?}, {:?} would be right\n{}",
                self.seed,
                &key[..1],
                brief(&value),
                known.may.iter().map(brief).collect::<Vec<_>>(),
                self.trace.join("\n")
            );
            if damaged {
                known.may = known.ever.clone();
            } else if durable {
                // Elsewhere what a kill left may still go with the power.
                known.may = [value.clone()].into();
            }
            known.now = value;
        }
        self.verify_totals();
    }

    /// The figures are those of what is live, and no quota is passed.
    fn verify_totals(&self) {
        if !self.damaged {
            let engine = self.engine.as_ref().expect("running");
            let id = engine.find("default").expect("always there");
            let namespace = engine.namespace(id).expect("there");
            let (stats, limits) = (namespace.stats(), namespace.properties());
            let disk = limits.max_disk_bytes == 0 || stats.disk_bytes <= limits.max_disk_bytes;
            // Where replies do not wait, a power cut may take a delete and leave the key that came after it.
            let keys =
                limits.max_keys == 0 || stats.entries <= limits.max_keys || !self.durable_commits();
            assert!(disk && keys, "seed {}: {stats:?}", self.seed);
        }
        if self.may_be_damaged() {
            return;
        }
        let engine = self.engine.as_ref().expect("running");
        let id = engine.find("default").expect("always there");
        let stats = engine.namespace(id).expect("there").stats();
        let live = self.known.values().filter_map(|known| known.now.as_ref());
        let bytes: usize = live.clone().map(Vec::len).sum();
        let trace = self.trace.join("\n");
        assert_eq!(
            stats.entries,
            live.count() as u64,
            "seed {}: entries\n{trace}",
            self.seed
        );
        assert_eq!(
            stats.payload_bytes, bytes as u64,
            "seed {}: bytes\n{trace}",
            self.seed
        );
    }

    fn step(&mut self) {
        self.disk.set_calls_max(self.disk.calls() + CALLS_OF_A_STEP);
        match self.dice.below(105) {
            0..=44 => self.set(),
            45..=54 => self.delete(),
            55..=69 => self.get(),
            70..=81 => self.commit(),
            82..=84 => self.go_on_beside(),
            85 => self.jump(),
            86 => self.scan(),
            87..=89 => self.compact(),
            90 if self.dice.one_in(3) => self.flush(),
            91 => self.fill(),
            92 => self.reload(),
            93 => self.history(),
            94 | 95 => self.close(),
            96..=98 => self.crash(),
            99 => self.evict(),
            100 => self.full(),
            101..=103 => self.other_spaces(),
            104 => self.pour(),
            _ => self.go_on_beside(),
        }
    }

    fn set(&mut self) {
        let payload = self.payload();
        self.put(payload);
    }

    /// So much that a data file becomes full, with the syncs that belong to it.
    fn pour(&mut self) {
        for _ in 0..self.dice.below(12) {
            let mut payload = self.payload();
            payload.resize(100_000, b'q');
            self.put(payload);
            match self.dice.below(4) {
                0 => self.commit(),
                1 => self.go_on_beside(),
                _ => {}
            }
        }
    }

    fn put(&mut self, payload: Vec<u8>) {
        let create = self.options.mode == Mode::Sequential && self.dice.one_in(2);
        let key = if create { Vec::new() } else { self.key() };
        let done = self.namespace().set(&key, &payload, 1);
        let shown = match create {
            true => self.namespace().last_id().to_vec(),
            false => key.clone(),
        };
        let (first, length) = (&shown[..shown.len().min(1)], payload.len());
        self.say(format!("set {first:?} {length} {done:?}"));
        match done {
            Ok(Written::Stored(_)) if create => {
                let id = self.namespace().last_id().to_vec();
                if let Some(known) = self.known.get(&id) {
                    let none = !known.unreadable && known.now.is_none();
                    let free = self.damaged || none && known.may.contains(&None);
                    assert!(free, "seed {}: id {id:?} given out twice", self.seed);
                }
                self.write(id, Some(payload));
            }
            Ok(Written::Stored(_)) => self.write(key, Some(payload)),
            Ok(Written::Identical) => {
                let known = self.known.get(&key).cloned().unwrap_or_default();
                assert!(
                    known.unreadable || known.now == Some(payload),
                    "seed {}: not identical",
                    self.seed
                );
            }
            // Refused before anything was touched.
            Err(Error::NoSpace) => {}
            Err(Error::UnknownId) => {
                let known = self.known.get(&key).cloned().unwrap_or_default();
                assert!(
                    known.now.is_none(),
                    "seed {}: {key:?} was there\n{}",
                    self.seed,
                    self.trace.join("\n")
                );
            }
            Err(_) => {
                self.attempted(key, Some(payload));
                self.hear_of_failure();
            }
        }
    }

    /// A write failed at once. With `Always` it may still be there after a crash.
    fn attempted(&mut self, key: Vec<u8>, value: Value) {
        let key = match (self.options.mode, key.is_empty()) {
            (Mode::Sequential, true) => self.namespace().stats().next_id.to_le_bytes().to_vec(),
            _ => key,
        };
        let known = self.known.entry(key.clone()).or_default();
        known.ever.insert(value.clone());
        known.may.insert(value.clone());
        self.later(&key, value);
    }

    /// A change of data file that failed took back what was written before it: have the commit say so.
    fn hear_of_failure(&mut self) {
        if !self.open.is_empty() {
            self.commit();
        }
    }

    fn delete(&mut self) {
        let key = self.key();
        let done = self.namespace().delete(&key, 1);
        self.say(format!("delete {:?} {done:?}", &key[..1]));
        match done {
            Ok(()) => self.write(key, None),
            Err(Error::NotFound) => {
                let known = self.known.get(&key).cloned().unwrap_or_default();
                assert!(
                    known.now.is_none(),
                    "seed {}: {key:?} was there\n{}",
                    self.seed,
                    self.trace.join("\n")
                );
            }
            Err(Error::NoSpace) => {}
            Err(_) => {
                self.attempted(key, None);
                self.hear_of_failure();
            }
        }
    }

    fn get(&mut self) {
        let key = self.key();
        let mut scratch = Scratch::default();
        let found = match self.namespace().get(&key, &mut scratch) {
            Ok(record) => record.map(|record| record.payload.to_vec()),
            Err(Error::Read(_)) => return,
            Err(Error::Damaged { .. }) if self.may_be_damaged() => return,
            Err(error) => panic!("seed {}: {error}\n{}", self.seed, self.trace.join("\n")),
        };
        let known = self.known.get(&key).cloned().unwrap_or_default();
        let right = match known.unreadable {
            true => known.ever.contains(&found),
            false => found == known.now,
        };
        assert!(
            right,
            "seed {}: {key:?} is {:?}, {:?} would be right\n{}",
            self.seed,
            brief(&found),
            brief(&known.now),
            self.trace.join("\n")
        );
    }

    fn commit(&mut self) {
        let now_ms = self.dice.below(100);
        let failed = self.engine().commit(now_ms);
        self.say(format!("commit {failed:?}"));
        if failed.is_empty() {
            self.acknowledge();
        } else {
            self.refuse();
        }
        self.take_begun();
        self.verify_totals();
    }

    fn jump(&mut self) {
        let jumped = self.namespace().jump();
        self.say(format!("jump {jumped:?}"));
        // Whatever was open is now for good, or the next commit says that it failed.
        if jumped.is_ok() && !self.damaged {
            for known in self.known.values_mut() {
                known.may = [known.now.clone()].into();
            }
            self.outrun();
        }
        self.commit();
    }

    fn compact(&mut self) {
        self.commit();
        if self.known.values().any(|known| known.now.is_some()) && self.dice.one_in(3) {
            let history = match self.dice.below(3) {
                0 => HistoryPolicy::KeepAll,
                1 => HistoryPolicy::KeepLast(1),
                _ => HistoryPolicy::KeepSince(2),
            };
            let mut properties: Properties = self.namespace().properties().clone();
            properties.history = history;
            let _ = self.namespace().set_properties(properties);
        }
        let budget = 1 + self.dice.below(40_000);
        for _ in 0..self.dice.below(200) {
            let engine = self.engine();
            let id = engine.find("default").expect("always there");
            match engine.compact_step(id, budget) {
                Ok(true) => {}
                Ok(false) | Err(_) => break,
            }
        }
        self.say("compacted".into());
    }

    fn flush(&mut self) {
        self.commit();
        let flushed = self.namespace().flush();
        self.say(format!("flush {flushed:?}"));
        for known in self.known.values_mut() {
            known.may.insert(None);
            known.ever.insert(None);
            if flushed.is_ok() {
                known.may = [None].into();
                known.now = None;
                known.unreadable = false;
            }
        }
        if flushed.is_ok() {
            self.outrun();
        } else {
            // The point of no return may have been passed; only a restart can tell.
            self.engine = None;
            self.restart();
        }
    }

    /// The system needs its cache for others. Where replies did not wait for a sync that failed, that alone
    /// still has what it was about, and only a restart may find it gone.
    fn evict(&mut self) {
        if self.durable_commits() || self.faults.sync == 0 {
            self.disk.evict();
        }
    }

    /// No room for a while: what was acknowledged stays, and writes go on as soon as there is room.
    fn full(&mut self) {
        self.disk.set_full(true);
        for _ in 0..self.dice.below(8) {
            match self.dice.below(3) {
                0 => self.set(),
                1 => self.get(),
                _ => self.commit(),
            }
        }
        self.commit();
        self.disk.set_full(false);
        if self.faults.write + self.faults.short + self.faults.sync + self.faults.folder > 0 {
            return;
        }
        let reason = self.namespace().read_only().map(str::to_owned);
        assert!(
            reason.is_none() || self.damaged,
            "seed {}: {reason:?} after a full disk",
            self.seed
        );
    }

    /// Make, change and remove other namespaces.
    fn other_spaces(&mut self) {
        self.commit();
        let durable = self.durable_commits();
        let engine = self.engine.as_mut().expect("running");
        let what = self.spaces.step(engine, &mut self.dice, durable);
        self.say(what);
    }

    /// Many small writes, so that index batches are written.
    fn fill(&mut self) {
        if self.options.mode == Mode::Sequential || !self.dice.one_in(4) {
            return;
        }
        self.commit();
        let count = 4200;
        let mut wrote = Vec::new();
        for number in 0..count {
            let key = format!("fill{}", number % 4000).into_bytes();
            let value = self.dice.roll().to_le_bytes().to_vec();
            let done = self.namespace().set(&key, &value, 1);
            wrote.push((key, value, done.is_ok()));
        }
        for (key, value, done) in wrote {
            if done {
                self.write(key, Some(value));
            } else {
                self.attempted(key, Some(value));
            }
        }
        self.commit();
        // The index was just written: what if that alone is left?
        if self.dice.one_in(3) {
            self.crash();
        }
    }

    fn scan(&mut self) {
        let mut scanned = Vec::new();
        let direction = if self.dice.one_in(2) {
            Direction::Forward
        } else {
            Direction::Backward
        };
        // In parts of any size: where a walk stops it goes on, whatever is damaged there.
        let part = 1 + self.dice.below(20);
        let mut from = None;
        loop {
            let mut looked = 0;
            let walked = self.namespace().scan(from, direction, &mut |live| {
                scanned.extend(live.map(|(key, _)| key.to_vec()));
                looked += 1;
                looked < part
            });
            match walked {
                Err(_) => return,
                Ok(None) => break,
                Ok(next) => from = next,
            }
        }
        let count = scanned.len();
        let scanned: BTreeSet<_> = scanned.into_iter().collect();
        assert_eq!(count, scanned.len(), "seed {}: scanned twice", self.seed);
        // A record is listed as long as its key is readable: damage may leave some out, and bring in none.
        let keys = |is: fn(&Known) -> bool| -> BTreeSet<_> {
            let kept = self.known.iter().filter(|(_, known)| is(known));
            kept.map(|(key, _)| key.clone()).collect()
        };
        let live = keys(|known| known.now.is_some() && !known.unreadable);
        let perhaps = keys(|known| known.now.is_some() || known.unreadable);
        let fine = scanned.is_subset(&perhaps) && (self.damaged || live.is_subset(&scanned));
        assert!(
            fine,
            "seed {}: scan {direction:?} gives {scanned:?}, {live:?} would be right\n{}",
            self.seed,
            self.trace.join("\n")
        );
    }

    fn history(&mut self) {
        let key = self.key();
        let (mut at, mut scratch) = (None, Scratch::default());
        for _ in 0..50 {
            let seed = self.seed;
            let ever = self
                .known
                .get(&key)
                .map(|known| known.ever.clone())
                .unwrap_or_default();
            let Ok(record) = self.namespace().version(&key, at, &mut scratch) else {
                return;
            };
            let value = Some(record.payload.to_vec());
            assert!(
                record.meta.deleted || ever.contains(&value),
                "seed {seed}: history of {key:?}"
            );
            if !record.meta.parent.is_some() {
                return;
            }
            at = Some(record.meta.parent);
        }
    }

    fn reload(&mut self) {
        self.commit();
        let reloaded = self.engine().reload("default");
        self.say(format!("reload {reloaded:?}"));
        match reloaded {
            Ok(report) if in_part(&report) => {
                self.disk.set_faults(Faults::default());
                self.verify_in_part(&report);
                self.restart();
            }
            Ok(report) => {
                // What was under way is of a namespace that is no more.
                if let Some(mut stale) = self.beside.take() {
                    let outcome = stale.outcome.take().unwrap_or_else(|| stale.sync.run());
                    assert_eq!(self.engine().end_sync(&stale.sync, outcome), Ok(()));
                }
                let faults = self.faults;
                self.disk.set_faults(Faults::default());
                self.verify_after_restart(&report, false);
                self.disk.set_faults(faults);
            }
            Err(_) => self.restart(),
        }
    }

    fn close(&mut self) {
        let closed = self.engine.take().expect("running").close();
        self.say(format!("close {closed:?}"));
        if closed.is_ok() {
            for known in self.known.values_mut() {
                known.may = [known.now.clone()].into();
            }
            if self.damaged {
                for known in self.known.values_mut() {
                    known.may = known.ever.clone();
                }
            }
        }
        self.maybe_damage();
        self.restart();
    }

    fn crash(&mut self) {
        self.engine = None;
        if self.dice.one_in(4) {
            self.say("kill".into());
        } else {
            self.say("power cut".into());
            self.disk.cut_power();
        }
        self.maybe_damage();
        self.restart();
    }

    /// Damage one file at rest, in one of the ways disks and people do.
    fn maybe_damage(&mut self) {
        if !self.damaging || !self.dice.one_in(2) {
            return;
        }
        let files = self.disk.files();
        let (root, path) = files[self.dice.below(files.len() as u64) as usize].clone();
        let dice = &mut self.dice;
        let kind = dice.below(9);
        let mut change = |bytes: &mut Vec<u8>| {
            let length = bytes.len() as u64;
            if length == 0 {
                return;
            }
            let at = dice.below(length) as usize;
            let block = at / 512 * 512;
            let end = (block + 512).min(bytes.len());
            match kind {
                0 | 1 => bytes[at] ^= 1 << dice.below(8),
                2 => bytes.truncate(at),
                3 => bytes[block..end].fill(0),
                4 => bytes.extend_from_within(at..),
                5 => bytes.resize(bytes.len() + at % 5000, (at % 256) as u8),
                6 => {
                    let other = dice.below(length) as usize / 512 * 512;
                    if other + 512 <= bytes.len() && block + 512 <= bytes.len() {
                        bytes.copy_within(block..block + 512, other);
                    }
                }
                7 => {
                    for one in &mut bytes[block..end] {
                        *one = dice.roll() as u8;
                    }
                }
                _ => {}
            }
        };
        if kind == 8 {
            self.disk.erase(root, &path);
        } else {
            self.disk.edit(root, &path, &mut change);
        }
        self.say(format!("damage {kind} {root:?} {path}"));
        if root == Root::Data {
            self.damaged = true;
        }
        for known in self.known.values_mut() {
            if self.damaged {
                known.ever.insert(None);
            }
        }
    }
}

/// Whether a report names a data file, or the properties, without which nothing can be read.
fn names_data(report: &Report) -> bool {
    let mut files = report.losses.iter().map(|loss| loss.file.as_str());
    files.any(|file| file.starts_with('d') || file == "namespace")
}

/// Whether something could not be read that may be readable another time.
fn in_part(report: &Report) -> bool {
    report.losses.iter().any(is_unread)
}

fn is_unread(loss: &tfgrid_zdb::Loss) -> bool {
    loss.lost && loss.what.starts_with("cannot be read")
}

fn brief(value: &Value) -> Option<(usize, Vec<u8>)> {
    value
        .as_ref()
        .map(|bytes| (bytes.len(), bytes.iter().take(8).copied().collect()))
}

fn play(seed: u64) {
    play_with(seed, Omissions::default());
}

fn play_with(seed: u64, omissions: Omissions) {
    let mut run = Run::new(seed, omissions);
    for _ in 0..120 {
        run.step();
    }
    run.crash();
}

fn play_all(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Err(cause) = std::panic::catch_unwind(|| play(seed)) {
            eprintln!("ZDB_SEED={seed} fails");
            std::panic::resume_unwind(cause);
        }
    }
}

/// A sample of seeds: nothing acknowledged is lost, nothing wrong is returned.
#[test]
fn sample() {
    play_all(0..200);
}

/// Ten thousand seeds, for `make soak`; `ZDB_SEEDS` says how many, `ZDB_FIRST` from where.
#[test]
#[ignore = "minutes long: run by the soak target"]
fn soak() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let first = number("ZDB_FIRST").unwrap_or(1_000_000);
    play_all(first..first + number("ZDB_SEEDS").unwrap_or(10_000));
}

/// The seed named by `ZDB_SEED`, to look into a failure.
#[test]
fn one_seed() {
    if let Some(seed) = std::env::var("ZDB_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        play(seed);
    }
}
