//! Starting with many keys: whatever the way, the same is there afterwards.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use support::{of, Folder};
use tfgrid_zdb::{Dice, Engine, Error, Options, RealDisk, Scratch, Stats, SyncMode, Written};

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

/// A file that is long enough to be walked over by a thread, damaged in two places: both are told, and every
/// other record is there.
#[test]
fn damage_in_a_long_file_is_told_and_hides_nothing() {
    const RECORDS: u32 = 20_000;
    const DAMAGED: [(u32, u64); 2] = [(7_000, 5), (15_000, 100)];
    let folder = Folder::new();
    let value = |number: u32| number.to_le_bytes().repeat(150);
    let mut places = Vec::new();
    {
        let (mut engine, _) = folder.open(options(SyncMode::Group));
        for number in 0..RECORDS {
            let done = of(&mut engine).set(&number.to_be_bytes(), &value(number), 1);
            let Ok(Written::Stored(place)) = done else {
                panic!("{done:?}");
            };
            places.push(place);
            if number % 100 == 0 {
                assert!(engine.commit(0).is_empty());
            }
        }
        assert!(engine.commit(0).is_empty());
    }
    std::fs::remove_file(folder.file("index", "i0")).expect("removed");
    let data = std::fs::OpenOptions::new()
        .write(true)
        .open(folder.file("data", "d0"));
    let data = data.expect("there");
    for (number, inside) in DAMAGED {
        let at = u64::from(places[number as usize].offset) + inside;
        data.write_all_at(b"\xa5\x5a", at).expect("damaged");
    }
    let (mut engine, report) = folder.open(options(SyncMode::Group));
    let lost: Vec<_> = report.losses.iter().filter(|loss| loss.lost).collect();
    let offsets: Vec<_> = lost.iter().map(|loss| loss.offset).collect();
    let expected = DAMAGED.map(|(number, _)| u64::from(places[number as usize].offset));
    assert_eq!(offsets, expected, "{report:?}");
    let mut scratch = Scratch::default();
    for number in 0..RECORDS {
        let found = of(&mut engine).get(&number.to_be_bytes(), &mut scratch);
        let found = found.map(|record| record.map(|record| record.payload.to_vec()));
        match DAMAGED.map(|(damaged, _)| damaged).contains(&number) {
            true => assert!(matches!(found, Ok(None) | Err(Error::Damaged { .. }))),
            false => assert_eq!(found, Ok(Some(value(number)))),
        }
    }
}
