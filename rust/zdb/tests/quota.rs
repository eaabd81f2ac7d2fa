//! Quotas of disk and keys: never passed, whatever is written, and a full namespace can be emptied.

mod support;

use support::{get, id, of, Folder};
use tfgrid_zdb::{
    Dice, Engine, Error, HistoryPolicy, Mode, Namespace, Options, Properties, RealDisk, SyncMode,
};

const MIB: u64 = 1 << 20;

fn open(folder: &Folder, mode: Mode) -> Engine<RealDisk> {
    // What is measured are sizes: nothing here waits for a disk.
    let options = Options {
        mode,
        sync: SyncMode::None,
        ..Options::new([7; 16])
    };
    folder.open(options).0
}

fn set_quota(namespace: &mut Namespace<RealDisk>, change: impl FnOnce(&mut Properties)) {
    let mut properties = namespace.properties().clone();
    change(&mut properties);
    namespace.set_properties(properties).expect("saved");
}

/// What the data and index files of the default namespace take, but for one being compacted.
fn on_disk(folder: &Folder) -> u64 {
    let mut sum = 0;
    for root in ["data", "index"] {
        for entry in std::fs::read_dir(folder.0.join(root).join("default")).expect("there") {
            let entry = entry.expect("readable");
            let name = entry.file_name().into_string().expect("text");
            if !name.ends_with(".new") && !name.starts_with("namespace") {
                sum += entry.metadata().expect("there").len();
            }
        }
    }
    sum
}

/// Write until the quota refuses; how many were stored.
fn fill(engine: &mut Engine<RealDisk>, mode: Mode, payload: usize) -> u64 {
    let mut stored = 0u64;
    loop {
        let key = match mode {
            Mode::User => format!("key{stored}").into_bytes(),
            Mode::Sequential => Vec::new(),
        };
        let mut bytes = stored.to_le_bytes().to_vec();
        bytes.resize(payload, b'p');
        match of(engine).set(&key, &bytes, 1) {
            Ok(_) => stored += 1,
            Err(Error::NoSpace) => return stored,
            Err(error) => panic!("{error}"),
        }
        if stored % 64 == 0 {
            assert!(engine.commit(0).is_empty());
        }
    }
}

/// Whatever is written, and however files change, they stay below the quota, to the byte known.
#[test]
fn files_never_pass_the_quota() {
    for (seed, mode) in [
        (1, Mode::User),
        (2, Mode::Sequential),
        (3, Mode::User),
        (4, Mode::Sequential),
    ] {
        let (folder, mut dice) = (Folder::new(), Dice::new(seed));
        let max = MIB + dice.below(3 * MIB);
        let mut engine = open(&folder, mode);
        set_quota(of(&mut engine), |set| {
            set.max_disk_bytes = max;
            set.history = HistoryPolicy::KeepLast(1 + seed as u32 % 2);
        });
        let mut refused = 0;
        for step in 0..2400 {
            let number = dice.below(400);
            let mut payload = vec![b'p'; dice.below(20_000) as usize];
            payload.extend_from_slice(&dice.roll().to_le_bytes());
            let space = of(&mut engine);
            let done = match (mode, dice.below(4)) {
                (Mode::User, 0) => space.delete(&number.to_le_bytes(), 1),
                (Mode::User, _) => space.set(&number.to_le_bytes(), &payload, 1).map(|_| ()),
                (_, 0) => space.delete(&number.to_le_bytes(), 1),
                (_, 1) => space.set(&[], &payload, 1).map(|_| ()),
                _ => space.set(&number.to_le_bytes(), &payload, 1).map(|_| ()),
            };
            refused += u32::from(done == Err(Error::NoSpace));
            if step % 7 == 0 {
                assert!(engine.commit(0).is_empty());
                let _ = engine.compact_step(id(&engine), 100_000).expect("compacts");
                let known = of(&mut engine).stats().disk_bytes;
                assert!(known <= max, "{known} of {max}");
                assert!(on_disk(&folder) <= max, "{} of {max}", on_disk(&folder));
            }
            if step % 600 == 0 {
                let known = of(&mut engine).stats().disk_bytes;
                engine.close().expect("closes");
                assert_eq!(on_disk(&folder), known, "seed {seed}");
                engine = open(&folder, mode);
                assert_eq!(of(&mut engine).stats().disk_bytes, known, "seed {seed}");
            }
        }
        assert!(refused > 100, "seed {seed}: only {refused}");
    }
}

/// A full namespace refuses values and takes deletes; that survives a restart, and a larger quota helps.
#[test]
fn a_full_namespace_takes_deletes() {
    let folder = Folder::new();
    let mut engine = open(&folder, Mode::User);
    set_quota(of(&mut engine), |set| set.max_disk_bytes = 2 * MIB);
    let stored = fill(&mut engine, Mode::User, 1000);
    assert!((1500..2000).contains(&stored), "{stored}");
    engine.close().expect("closes");
    let mut engine = open(&folder, Mode::User);
    let space = of(&mut engine);
    assert_eq!(space.set(b"another", &[0; 1000], 1), Err(Error::NoSpace));
    assert_eq!(space.set(b"key0", &[0; 1000], 1), Err(Error::NoSpace));
    for number in 0..200 {
        space.delete(format!("key{number}").as_bytes(), 1).unwrap();
    }
    // Everything is kept: what was deleted takes its space still.
    assert_eq!(space.set(b"another", &[0; 1000], 1), Err(Error::NoSpace));
    set_quota(space, |set| set.max_disk_bytes = 3 * MIB);
    assert!(space.set(b"another", &[0; 1000], 1).is_ok());
    space.flush().expect("flushes");
    set_quota(space, |set| set.max_disk_bytes = 2 * MIB);
    assert_eq!(fill(&mut engine, Mode::User, 1000), stored);
}

/// A quota below what is used removes nothing and stops writing, and everything can be deleted.
#[test]
fn a_smaller_quota_stops_writing_only() {
    let folder = Folder::new();
    let mut engine = open(&folder, Mode::User);
    set_quota(of(&mut engine), |set| set.max_disk_bytes = 4 * MIB);
    let stored = fill(&mut engine, Mode::User, 10_000);
    set_quota(of(&mut engine), |set| set.max_disk_bytes = MIB);
    for _ in 0..2 {
        let space = of(&mut engine);
        assert_eq!(space.stats().entries, stored);
        assert_eq!(space.set(b"one", b"more", 1), Err(Error::NoSpace));
        assert_eq!(
            get(space, b"key7").map(|payload| payload.len()),
            Some(10_000)
        );
        engine.close().expect("closes");
        engine = open(&folder, Mode::User);
    }
    for number in 0..stored {
        let key = format!("key{number}");
        of(&mut engine).delete(key.as_bytes(), 1).expect("deletes");
    }
    assert_eq!(of(&mut engine).stats().entries, 0);
}

/// The number of live keys is bounded, exactly, over deletes, overwrites and restarts.
#[test]
fn keys_are_counted() {
    for mode in [Mode::User, Mode::Sequential] {
        let folder = Folder::new();
        let mut engine = open(&folder, mode);
        set_quota(of(&mut engine), |set| set.max_keys = 10);
        assert_eq!(fill(&mut engine, mode, 8), 10);
        engine.close().expect("closes");
        let mut engine = open(&folder, mode);
        assert_eq!(fill_one(&mut engine, mode), Err(Error::NoSpace));
        let first = match mode {
            Mode::User => b"key0".to_vec(),
            Mode::Sequential => 0u64.to_le_bytes().to_vec(),
        };
        let space = of(&mut engine);
        assert!(space.set(&first, b"another version", 1).is_ok());
        space.delete(&first, 1).expect("deletes");
        assert!(fill_one(&mut engine, mode).is_ok());
        assert_eq!(fill_one(&mut engine, mode), Err(Error::NoSpace));
        assert_eq!(of(&mut engine).stats().entries, 10);
    }
}

fn fill_one(engine: &mut Engine<RealDisk>, mode: Mode) -> Result<(), Error> {
    let key = match mode {
        Mode::User => format!("new{}", of(engine).stats().data_offset).into_bytes(),
        Mode::Sequential => Vec::new(),
    };
    of(engine).set(&key, b"12345678", 1).map(|_| ())
}

/// Writes that a failed turn takes back do not count.
#[test]
fn what_is_taken_back_is_not_charged() {
    use tfgrid_zdb::{Faults, SimulatedDisk};
    let disk = SimulatedDisk::new(5);
    let (mut engine, _) = Engine::open(disk.clone(), Options::new([7; 16]), 0).expect("opens");
    let id = engine.find("default").expect("there");
    let space = engine.namespace_mut(id).expect("there");
    let before = space.stats().disk_bytes;
    disk.set_faults(Faults {
        write: 1,
        ..Faults::default()
    });
    space.set(b"key", &[0; 5000], 1).expect("waits");
    assert!(space.stats().disk_bytes > before);
    assert_eq!(engine.commit(0).len(), 1);
    let space = engine.namespace(id).expect("there");
    assert_eq!(space.stats().disk_bytes, before);
}

fn compact(engine: &mut Engine<RealDisk>) {
    while engine.compact_step(id(engine), MIB).expect("compacts") {}
}

/// Write until the quota refuses and compaction finds nothing more to drop; the keys.
fn fill_and_compact(engine: &mut Engine<RealDisk>, round: u32, payload: usize) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut refused = 0;
    while refused < 3 {
        let new = match of(engine).mode() {
            Mode::User => format!("round {round} key {}", keys.len()).into_bytes(),
            Mode::Sequential => Vec::new(),
        };
        match of(engine).set(&new, &vec![b'p'; payload], 1) {
            Ok(_) if new.is_empty() => keys.push(of(engine).last_id().to_vec()),
            Ok(_) => keys.push(new),
            Err(Error::NoSpace) => {
                refused += 1;
                compact(engine);
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        refused = 0;
        if keys.len() % 512 == 0 {
            assert!(engine.commit(0).is_empty());
        }
    }
    keys
}

fn delete(engine: &mut Engine<RealDisk>, key: &[u8]) {
    for _ in 0..3 {
        match of(engine).delete(key, 2) {
            Ok(()) => return,
            Err(Error::NoSpace) => compact(engine),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a full namespace cannot be emptied");
}

/// Where history may go, a full namespace is emptied by deletes again and again, and holds as much as at first;
/// nothing that was deleted comes back after a restart.
#[test]
fn a_full_namespace_can_be_emptied_for_ever() {
    for (mode, payload, worst) in [
        (Mode::User, 3, 97),
        (Mode::User, 3000, 97),
        // Ids that were deleted stay known as deleted: each takes its tombstone for ever.
        (Mode::Sequential, 3000, 85),
    ] {
        let folder = Folder::new();
        let mut engine = open(&folder, mode);
        set_quota(of(&mut engine), |set| {
            set.max_disk_bytes = 2 * MIB;
            set.history = HistoryPolicy::KeepLast(1);
        });
        let first = fill_and_compact(&mut engine, 0, payload);
        let mut keys = first.clone();
        for round in 1..3 {
            // One stays, and pins the oldest file.
            for key in keys.iter().filter(|key| **key != first[0]) {
                delete(&mut engine, key);
            }
            assert_eq!(of(&mut engine).stats().entries, 1, "{mode:?} {payload}");
            engine.close().expect("closes");
            assert!(on_disk(&folder) <= 2 * MIB);
            let (reopened, report) = folder.open(Options {
                mode,
                sync: SyncMode::None,
                ..Options::new([7; 16])
            });
            engine = reopened;
            assert!(report.is_clean(), "{report:?}");
            assert_eq!(of(&mut engine).stats().entries, 1, "{mode:?} {payload}");
            assert_eq!(of(&mut engine).stats().disk_bytes, on_disk(&folder));
            assert_eq!(get(of(&mut engine), &keys[1]), None);
            keys = fill_and_compact(&mut engine, round, payload);
            assert!(
                keys.len() * 100 >= first.len() * worst,
                "{mode:?} {payload}: {} after {} at first",
                keys.len(),
                first.len()
            );
        }
        engine.close().expect("closes");
        let mut engine = open(&folder, mode);
        let space = of(&mut engine);
        assert_eq!(space.stats().entries, keys.len() as u64 + 1);
        for key in keys.iter().chain([&first[0]]) {
            assert_eq!(get(space, key).map(|found| found.len()), Some(payload));
        }
        engine.close().expect("closes");
        let report = tfgrid_zdb::tools::check(&folder.disk()).expect("readable");
        assert!(report.is_clean(), "{report:?}");
    }
}

/// Files of which nothing is left are removed, so that their number does not grow with what was written.
#[test]
fn files_of_which_nothing_is_left_go() {
    for mode in [Mode::User, Mode::Sequential] {
        let folder = Folder::new();
        let mut engine = open(&folder, mode);
        set_quota(of(&mut engine), |set| {
            set.max_disk_bytes = 4 * MIB;
            set.history = HistoryPolicy::KeepLast(1);
        });
        let key = match mode {
            Mode::User => b"one".to_vec(),
            Mode::Sequential => {
                of(&mut engine).set(&[], &[], 1).expect("stored");
                of(&mut engine).last_id().to_vec()
            }
        };
        for round in 0..3000u32 {
            let mut payload = vec![0; 20_000];
            payload[..4].copy_from_slice(&round.to_le_bytes());
            if of(&mut engine).set(&key, &payload, 1) == Err(Error::NoSpace) {
                compact(&mut engine);
                of(&mut engine).set(&key, &payload, 1).expect("has room");
            }
            assert!(engine.commit(0).is_empty());
        }
        compact(&mut engine);
        let files = std::fs::read_dir(folder.0.join("data/default")).expect("there");
        assert!(files.count() < 12);
        engine.close().expect("closes");
        let mut engine = open(&folder, mode);
        let found = get(of(&mut engine), &key).expect("there");
        assert_eq!(found[..4], 2999u32.to_le_bytes());
    }
}
