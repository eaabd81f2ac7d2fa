//! The thirteen damage experiments that 0-db was put through, and what only a real disk shows.
//!
//! A thousand keys, a kill, one mutation, a restart, everything read. Each ends in full data or in a
//! loss that the report names; none in a wrong value.

mod support;

use support::{edit, of, Folder};
use tfgrid_zdb::{Error, Loss, Options, Place, Scratch, SyncMode, Written};

const KEYS: u32 = 1000;

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    good: u32,
    missing: u32,
    refused: u32,
}

/// All there.
const FULL: Outcome = Outcome {
    good: KEYS,
    missing: 0,
    refused: 0,
};

fn value(number: u32) -> Vec<u8> {
    format!("value of {number:05}").into_bytes()
}

/// Write a thousand keys and kill; with `closed` the index files are complete.
fn prepare(closed: bool) -> (Folder, Vec<Place>) {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    let mut places = Vec::new();
    for number in 0..KEYS {
        let key = format!("key{number:05}");
        match of(&mut engine).set(key.as_bytes(), &value(number), number) {
            Ok(Written::Stored(place)) => places.push(place),
            other => panic!("{other:?}"),
        }
        if number % 10 == 9 {
            assert!(engine.commit(0).is_empty());
        }
    }
    if closed {
        engine.close().unwrap();
    }
    (folder, places)
}

/// Restart and read everything: nothing wrong may come back.
fn restart(folder: &Folder) -> (Outcome, Vec<Loss>) {
    let (mut engine, report) = folder.user();
    let (mut outcome, mut scratch) = (Outcome::default(), Scratch::default());
    for number in 0..KEYS {
        let key = format!("key{number:05}");
        match of(&mut engine).get(key.as_bytes(), &mut scratch) {
            Ok(Some(record)) => {
                assert_eq!(record.payload, value(number), "a wrong value");
                outcome.good += 1;
            }
            Ok(None) => outcome.missing += 1,
            Err(Error::Damaged { .. }) => outcome.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(
        of(&mut engine).stats().entries,
        u64::from(outcome.good + outcome.refused)
    );
    // Whatever happened, it can be written to, and that is there after another restart.
    of(&mut engine).set(b"after", b"1", 1).unwrap();
    assert!(engine.commit(0).is_empty());
    drop(engine);
    let (mut engine, _) = folder.user();
    assert_eq!(support::get(of(&mut engine), b"after"), Some(b"1".to_vec()));
    (outcome, report.losses)
}

/// A kill alone loses nothing, and there is nothing to report.
#[test]
fn a_kill_loses_nothing() {
    let (folder, _) = prepare(false);
    assert_eq!(restart(&folder), (FULL, Vec::new()));
}

/// Nothing done to an index file costs a key: cut, lengthened, flipped anywhere, or gone.
#[test]
fn index_damage_costs_nothing() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 9] = [
        ("tail cut by 5", |bytes| bytes.truncate(bytes.len() - 5)),
        ("tail cut by 20", |bytes| bytes.truncate(bytes.len() - 20)),
        ("seven bytes 0xff", |bytes| bytes.extend([0xff; 7])),
        ("64 zeros", |bytes| bytes.extend([0; 64])),
        ("magic flipped", |bytes| bytes[4] ^= 1),
        ("entry's hash flipped", |bytes| bytes[4096 + 48] ^= 4),
        ("entry's offset flipped", |bytes| bytes[4096 + 48 + 5] ^= 1),
        ("a page of zeros", |bytes| bytes[4096..8192].fill(0)),
        ("pages swapped", |bytes| {
            let (one, two) = bytes[4096..12288].split_at_mut(4096);
            one.swap_with_slice(two);
        }),
    ];
    for (what, change) in changes {
        let (folder, _) = prepare(true);
        edit(&folder.file("index", "i0"), change);
        let (outcome, losses) = restart(&folder);
        assert_eq!(outcome, FULL, "{what}");
        assert!(
            losses.iter().all(|loss| !loss.lost && loss.file == "i0"),
            "{what}: {losses:?}"
        );
    }
    let (folder, _) = prepare(true);
    std::fs::remove_dir_all(folder.0.join("index")).unwrap();
    let (outcome, losses) = restart(&folder);
    assert_eq!(outcome, FULL);
    assert!(losses.iter().any(|loss| loss.file == "i0"));
}

/// A data tail that is cut costs the last key, and the report says so.
#[test]
fn a_cut_data_tail_is_named() {
    let (folder, _) = prepare(false);
    edit(&folder.file("data", "d0"), |bytes| {
        bytes.truncate(bytes.len() - 10)
    });
    let (outcome, losses) = restart(&folder);
    assert_eq!(
        outcome,
        Outcome {
            good: KEYS - 1,
            missing: 1,
            refused: 0
        }
    );
    assert!(
        losses
            .iter()
            .any(|loss| loss.file == "d0" && loss.length > 0),
        "{losses:?}"
    );

    // Where the index knows that it was durable, reading it is an error from then on.
    let (folder, _) = prepare(true);
    edit(&folder.file("data", "d0"), |bytes| {
        bytes.truncate(bytes.len() - 10)
    });
    let (outcome, losses) = restart(&folder);
    assert_eq!(
        outcome,
        Outcome {
            good: KEYS - 1,
            missing: 0,
            refused: 1
        }
    );
    assert!(
        losses.iter().any(|loss| loss.file == "d0" && loss.lost),
        "{losses:?}"
    );
}

/// Garbage after the data is cut, said, and does not hide what is written later.
#[test]
fn a_garbage_data_tail_is_cut() {
    for tail in [vec![0x5a; 11], vec![0; 4096], b"ZR\x01\x08".repeat(100)] {
        for closed in [false, true] {
            let (folder, _) = prepare(closed);
            edit(&folder.file("data", "d0"), |bytes| bytes.extend(&tail));
            let (outcome, losses) = restart(&folder);
            assert_eq!(outcome, FULL);
            let named = losses
                .iter()
                .any(|loss| loss.file == "d0" && loss.what.contains("tail"));
            assert!(named, "{losses:?}");
        }
    }
}

/// One flipped bit anywhere in a record costs that record only, and never gives a wrong value.
#[test]
fn a_flipped_bit_costs_one_record() {
    for closed in [false, true] {
        for at in [0, 2, 3, 4, 7, 9, 13, 17, 21, 25, 29, 33, 42, 53] {
            let (folder, places) = prepare(closed);
            let record = places[500].offset as usize;
            edit(&folder.file("data", "d0"), |bytes| {
                bytes[record + at] ^= 0x10
            });
            let (outcome, losses) = restart(&folder);
            assert_eq!(outcome.good, KEYS - 1, "byte {at}");
            // After a complete index nobody reads the data at start: the read itself is the report.
            let named = losses.iter().any(|loss| loss.file == "d0" && loss.lost);
            assert!(
                named || outcome.refused == 1,
                "byte {at}: {outcome:?} {losses:?}"
            );
        }
    }
}

/// A damaged data header costs nothing: records say themselves where they belong.
#[test]
fn a_damaged_header_costs_nothing() {
    let (folder, _) = prepare(false);
    edit(&folder.file("data", "d0"), |bytes| bytes[..64].fill(0xaa));
    let (outcome, losses) = restart(&folder);
    assert_eq!(outcome, FULL);
    assert!(losses.iter().any(|loss| loss.file == "d0"), "{losses:?}");
}

/// A data file that is gone is a named loss, and reading a key of it is an error, not "missing".
#[test]
fn a_missing_data_file_is_named() {
    let (folder, _) = prepare(true);
    std::fs::remove_file(folder.file("data", "d0")).unwrap();
    let (outcome, losses) = restart(&folder);
    assert_eq!(
        outcome,
        Outcome {
            good: 0,
            missing: 0,
            refused: KEYS
        }
    );
    assert!(
        losses.iter().any(|loss| loss.file == "d0" && loss.lost),
        "{losses:?}"
    );
}

/// With its properties lost a namespace keeps its data and admits nobody until it is told whom.
#[test]
fn lost_properties_close_the_door() {
    let (folder, _) = prepare(true);
    std::fs::remove_file(folder.file("data", "namespace")).unwrap();
    std::fs::remove_file(folder.file("index", "namespace-copy")).unwrap();
    let (mut engine, report) = folder.user();
    assert!(report.is_lossy());
    let namespace = of(&mut engine);
    assert!(namespace.properties().freeze && !namespace.properties().public);
    assert_eq!(namespace.set(b"key", b"1", 1), Err(Error::Frozen));
    assert_eq!(namespace.stats().entries, u64::from(KEYS));
}

/// A block of another place of the same file does not pass for what should be there.
#[test]
fn a_misdirected_block_is_noticed() {
    let (folder, _) = prepare(false);
    edit(&folder.file("data", "d0"), |bytes| {
        bytes.copy_within(8192..16384, 24576)
    });
    let (outcome, losses) = restart(&folder);
    assert!(outcome.good > KEYS - 200 && outcome.good < KEYS);
    assert!(losses.iter().any(|loss| loss.lost), "{losses:?}");
}

/// At rest, and with commits that have nothing to do, no system call is made.
#[test]
fn rest_is_silent() {
    use tfgrid_zdb::{Engine, SimulatedDisk};

    for sync in [SyncMode::Group, SyncMode::Interval(1000), SyncMode::None] {
        let disk = SimulatedDisk::new(1);
        let options = Options {
            sync,
            ..Options::new([1; 16])
        };
        let (mut engine, _) = Engine::open(disk.clone(), options, 0).unwrap();
        let id = engine.find("default").unwrap();
        engine
            .namespace_mut(id)
            .unwrap()
            .set(b"key", b"1", 1)
            .unwrap();
        engine.commit(0);
        engine.commit(2000);
        let calls = disk.calls();
        for now_ms in 2000..3000 {
            engine.commit(now_ms);
            assert_eq!(engine.next_due_ms(), None);
            assert!(!engine.compact_step(id, 1000).unwrap());
            let _ = engine.namespace(id).unwrap().stats();
        }
        assert_eq!(disk.calls(), calls);
    }
}

/// A commit costs one write and one fsync, however many writes it holds.
#[test]
fn a_commit_is_two_calls() {
    use tfgrid_zdb::{Engine, SimulatedDisk};

    let disk = SimulatedDisk::new(1);
    let (mut engine, _) = Engine::open(disk.clone(), Options::new([1; 16]), 0).unwrap();
    let id = engine.find("default").unwrap();
    let calls = disk.calls();
    for number in 0..1000u32 {
        engine
            .namespace_mut(id)
            .unwrap()
            .set(&number.to_le_bytes(), b"value", 1)
            .unwrap();
    }
    assert!(engine.commit(0).is_empty());
    assert_eq!(disk.calls() - calls, 2);
}

/// With good checksums too: an index that counts more than there can be is made anew.
#[test]
fn totals_that_cannot_be_are_damage() {
    for field in [8, 16, 24] {
        let (folder, _) = prepare(true);
        let data = std::fs::read(folder.file("data", "d0")).unwrap();
        let seed = crc32c::crc32c_append(crc32c::crc32c(&data[16..32]), &0u32.to_le_bytes());
        edit(&folder.file("index", "i0"), |bytes| {
            let pages = bytes.chunks_mut(4096).enumerate().skip(1);
            for (number, page) in pages.filter(|(_, page)| page.len() == 4096) {
                page[field..field + 8].fill(0xff);
                let seed = crc32c::crc32c_append(seed, &(number as u64).to_le_bytes());
                let crc = crc32c::crc32c_append(seed, &page[4..]);
                page[..4].copy_from_slice(&crc.to_le_bytes());
            }
        });
        let (outcome, losses) = restart(&folder);
        assert_eq!(outcome, FULL);
        assert!(losses.iter().all(|loss| !loss.lost) && !losses.is_empty());
        let (mut engine, _) = folder.user();
        let payloads = u64::from(KEYS) * value(0).len() as u64 + 1;
        assert_eq!(of(&mut engine).stats().payload_bytes, payloads);
    }
}
