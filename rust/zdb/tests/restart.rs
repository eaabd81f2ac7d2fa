//! Starting with many keys: whatever the way, the same is there afterwards.

mod support;

use std::collections::BTreeMap;

use support::{of, Folder};
use tfgrid_zdb::{Dice, Engine, Options, RealDisk, Scratch, Stats, SyncMode};

const KEYS: u64 = 20_000;
/// More than are taken in together.
const WRITES: u64 = 150_000;

type Known = BTreeMap<u64, Option<u64>>;

fn options(sync: SyncMode) -> Options {
    Options {
        sync,
        ..Options::new([7; 16])
    }
}

/// New keys, updates, deletes and keys made again, in no order; then a crash.
fn prepare(folder: &Folder) -> Known {
    let (mut engine, _) = folder.open(options(SyncMode::Interval(u64::MAX)));
    let (mut dice, mut known) = (Dice::new(5), Known::new());
    for number in 0..WRITES {
        let key = dice.below(KEYS);
        let namespace = of(&mut engine);
        if dice.one_in(5) && known.get(&key).copied().flatten().is_some() {
            namespace.delete(&key.to_le_bytes(), 1).expect("deleted");
            known.insert(key, None);
        } else {
            let value = dice.roll();
            let done = namespace.set(&key.to_le_bytes(), &value.to_le_bytes(), 1);
            done.expect("stored");
            known.insert(key, Some(value));
        }
        if number % 64 == 0 {
            assert!(engine.commit(0).is_empty());
        }
    }
    assert!(engine.commit(0).is_empty());
    known
}

fn verify(engine: &mut Engine<RealDisk>, known: &Known) -> Stats {
    let mut scratch = Scratch::default();
    for (key, value) in known {
        let found = of(engine).get(&key.to_le_bytes(), &mut scratch);
        let found = found
            .expect("readable")
            .map(|record| record.payload.to_vec());
        assert_eq!(found, value.map(|value| value.to_le_bytes().to_vec()));
    }
    let stats = of(engine).stats();
    let live = known.values().flatten().count() as u64;
    assert_eq!((stats.entries, stats.payload_bytes), (live, live * 8));
    let waiting = 65_536 * 64;
    assert!(stats.index_memory_bytes < 40 * live + waiting, "{stats:?}");
    stats
}

/// From the index, from the data alone, and from an index that ends anywhere.
#[test]
fn every_way_ends_the_same() {
    let folder = Folder::new();
    let known = prepare(&folder);
    for sync in [SyncMode::Interval(1000), SyncMode::Group] {
        let (mut engine, report) = folder.open(options(sync));
        assert!(!report.is_lossy(), "{report:?}");
        verify(&mut engine, &known);
    }
    let index = folder.file("index", "i0");
    let whole = std::fs::metadata(&index).expect("there").len();
    assert!(
        whole > WRITES * 16,
        "a start in group mode completes the index"
    );
    for length in [0, 4096 * 100, 4096 * 300 + 5] {
        let file = std::fs::OpenOptions::new().write(true).open(&index);
        file.and_then(|file| file.set_len(length)).expect("cut");
        let (mut engine, report) = folder.open(options(SyncMode::Interval(1000)));
        assert!(!report.is_lossy(), "{report:?}");
        let stats = verify(&mut engine, &known);
        assert!(
            stats.index_bytes >= whole,
            "what was read is written: {stats:?}"
        );
    }
}
