//! The cache: what it may show, and what it may hold. Each test tries to get an old value out of it.

mod support;

use support::{edit, get, id, of, Folder};
use tfgrid_zdb::{
    tools, Engine, Error, Faults, HistoryPolicy, Options, RealDisk, Scratch, SimulatedDisk,
    SyncMode, SEGMENT_BYTES_MIN,
};

const BLOCK_BYTES: usize = 16 << 10;

fn options(cache_bytes: usize) -> Options {
    Options {
        cache_bytes,
        sync: SyncMode::None,
        segment_bytes: SEGMENT_BYTES_MIN,
        ..Options::new([7; 16])
    }
}

fn key(number: usize) -> Vec<u8> {
    format!("key{number:06}").into_bytes()
}

/// Of a length of its own, up to what bypasses the cache, and unlike any other.
fn value(number: usize, version: usize) -> Vec<u8> {
    let length = match number % 10 {
        0..=6 => number * 31 % 400,
        7 | 8 => number * 131 % 9000,
        _ => number * 977 % 70_000,
    };
    let mut value = format!("{number} {version} ").into_bytes();
    value.resize(value.len() + length, (number + version) as u8);
    value
}

fn fill(engine: &mut Engine<RealDisk>, keys: usize, version: usize) {
    for number in 0..keys {
        let done = of(engine).set(&key(number), &value(number, version), 1);
        done.expect("stored");
        if number % 16 == 15 {
            assert!(engine.commit(0).is_empty());
        }
    }
    assert!(engine.commit(0).is_empty());
}

/// Every value is the one of `version`, also when it is read for the second time.
fn verify(engine: &mut Engine<RealDisk>, keys: usize, version: usize) {
    for _ in 0..2 {
        for number in 0..keys {
            let found = get(of(engine), &key(number));
            assert!(found == Some(value(number, version)), "key {number}");
        }
    }
}

/// Wherever records lie in blocks, and however little fits, what is read is what was written.
#[test]
fn shows_what_was_written() {
    for cache_bytes in [0, BLOCK_BYTES, 5 * BLOCK_BYTES, 64 << 20] {
        let folder = Folder::new();
        let (mut engine, _) = folder.open(options(cache_bytes));
        for version in 0..3 {
            fill(&mut engine, 400, version);
            verify(&mut engine, 400, version);
        }
        assert!(engine.cached_bytes() <= cache_bytes);
        assert_eq!(engine.cached_bytes() > 0, cache_bytes > 0);
    }
}

/// Values of what is written right now are new at each look, before the commit and after it.
#[test]
fn follows_the_end_of_the_log() {
    let folder = Folder::new();
    let (mut engine, _) = folder.open(options(64 << 20));
    for version in 0..500 {
        for number in 0..3 {
            let done = of(&mut engine).set(&key(number), &value(number, version), 1);
            done.expect("stored");
            assert_eq!(
                get(of(&mut engine), &key(number)),
                Some(value(number, version))
            );
        }
        assert!(engine.commit(0).is_empty());
        for number in 0..3 {
            assert_eq!(
                get(of(&mut engine), &key(number)),
                Some(value(number, version))
            );
        }
    }
}

/// FLUSH, RELOAD, compaction and the end of a namespace leave nothing of what they replace.
#[test]
fn forgets_what_is_replaced() {
    let folder = Folder::new();
    let (mut engine, _) = folder.open(options(64 << 20));
    let mut properties = of(&mut engine).properties().clone();
    properties.history = HistoryPolicy::KeepLast(1);
    of(&mut engine).set_properties(properties).expect("saved");
    for version in 0..3 {
        fill(&mut engine, 400, version);
        verify(&mut engine, 400, version);
    }
    let space = id(&engine);
    while engine.compact_step(space, 100_000).expect("compacts") {
        let found = get(of(&mut engine), &key(7));
        assert_eq!(found, Some(value(7, 2)), "while it compacts");
    }
    verify(&mut engine, 400, 2);
    engine.reload("default").expect("reloads");
    assert_eq!(engine.cached_bytes(), 0, "nothing of before");
    verify(&mut engine, 400, 2);
    of(&mut engine).flush().expect("flushes");
    assert_eq!(engine.cached_bytes(), 0, "nothing of before");
    for number in 0..400 {
        assert_eq!(get(of(&mut engine), &key(number)), None);
    }
    fill(&mut engine, 400, 9);
    verify(&mut engine, 400, 9);
    let held = engine.cached_bytes();
    let other = engine.create("other").expect("made");
    let namespace = engine.namespace_mut(other).expect("there");
    namespace.set(b"key", b"of another", 1).expect("stored");
    assert!(engine.commit(0).is_empty());
    let namespace = engine.namespace(other).expect("there");
    assert_eq!(get(namespace, b"key"), Some(b"of another".to_vec()));
    assert_eq!(engine.cached_bytes(), held + BLOCK_BYTES);
    engine.remove("other").expect("removed");
    assert_eq!(engine.cached_bytes(), held, "given back");
}

/// A commit that fails takes its bytes back, and other bytes come to the same place.
#[test]
fn forgets_what_a_failed_commit_left() {
    let mut taken_back = 0;
    for seed in 0..100 {
        let disk = SimulatedDisk::new(seed);
        let (mut engine, _) =
            Engine::open(disk.clone(), options(4 * BLOCK_BYTES), 0).expect("opens");
        let space = engine.find("default").expect("always there");
        let mut now = None;
        for round in 0..40u8 {
            let namespace = engine.namespace_mut(space).expect("there");
            let value = vec![round; 100];
            if namespace.set(b"key", &value, 1).is_err() {
                break; // Nothing could be cut either: it takes no writes any more.
            }
            disk.set_faults(Faults {
                write: 3,
                ..Faults::default()
            });
            let failed = engine.commit(0);
            disk.set_faults(Faults::default());
            if failed.is_empty() {
                now = Some(value);
            } else {
                taken_back += 1;
            }
            let mut scratch = Scratch::default();
            let namespace = engine.namespace(space).expect("there");
            let found = namespace.get(b"key", &mut scratch).expect("readable");
            assert_eq!(found.map(|found| found.payload), now.as_deref());
        }
    }
    assert!(taken_back > 100, "{taken_back}");
}

/// A bit that flips on the disk under a block: GET still knows, CHECK and `check` see the disk.
#[test]
fn checks_look_at_the_disk() {
    let folder = Folder::new();
    let (mut engine, _) = folder.open(options(64 << 20));
    fill(&mut engine, 5, 0);
    verify(&mut engine, 5, 0);
    let mut scratch = Scratch::default();
    let check = |engine: &mut Engine<RealDisk>, scratch: &mut Scratch| {
        of(engine).check(&key(3), scratch).expect("readable")
    };
    assert_eq!(check(&mut engine, &mut scratch), Some(true));
    let flip = |folder: &Folder| {
        edit(&folder.file("data", "d0"), |bytes| {
            let text = value(3, 0);
            let at = bytes.windows(text.len()).position(|one| one == text);
            bytes[at.expect("there") + 2] ^= 1;
        });
    };
    flip(&folder);
    assert_eq!(get(of(&mut engine), &key(3)), Some(value(3, 0)));
    assert_eq!(check(&mut engine, &mut scratch), Some(false));
    let report = tools::check(engine.disk()).expect("readable");
    assert!(report.is_lossy(), "{report:?}");
    engine.reload("default").expect("reloads");
    let found = of(&mut engine).get(&key(3), &mut scratch).map(|_| ());
    assert!(matches!(found, Err(Error::Damaged { .. })), "{found:?}");
}

/// What was read while it was wrong is not kept: once the disk is right, so is the answer.
#[test]
fn keeps_nothing_that_is_wrong() {
    let folder = Folder::new();
    let (mut engine, _) = folder.open(options(64 << 20));
    fill(&mut engine, 60, 0);
    let file = folder.file("data", "d0");
    let right = std::fs::read(&file).expect("there");
    let mut scratch = Scratch::default();
    for at in (64..right.len()).step_by(right.len() / 50) {
        edit(&file, |bytes| bytes[at] ^= 0x10);
        let mut wrong = 0;
        for number in 0..60 {
            match of(&mut engine).get(&key(number), &mut scratch) {
                Ok(found) => assert_eq!(
                    found.map(|found| found.payload),
                    Some(&value(number, 0)[..])
                ),
                Err(Error::Damaged { .. }) => wrong += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(wrong <= 1, "one byte is of one record");
        std::fs::write(&file, &right).expect("writable");
        verify(&mut engine, 60, 0);
        engine.reload("default").expect("reloads");
    }
}

/// Reading everything there is, in any order, holds no more than the budget.
#[test]
fn is_bounded_when_everything_is_read() {
    let budget = 7 * BLOCK_BYTES + 1;
    let folder = Folder::new();
    let (mut engine, _) = folder.open(options(budget));
    fill(&mut engine, 600, 0);
    for number in (0..600).chain((0..600).map(|number| number * 7919 % 600)) {
        assert_eq!(get(of(&mut engine), &key(number)), Some(value(number, 0)));
        assert!(engine.cached_bytes() <= budget);
    }
}

/// Looking ahead shows nothing and changes nothing, whatever the keys.
#[test]
fn looking_ahead_changes_nothing() {
    let folder = Folder::new();
    let (mut engine, _) = folder.open(options(64 << 20));
    fill(&mut engine, 200, 0);
    verify(&mut engine, 200, 0);
    let stats = of(&mut engine).stats();
    let held = engine.cached_bytes();
    let keys: Vec<_> = (0..400)
        .map(key)
        .chain([Vec::new(), vec![0; 300]])
        .collect();
    let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
    of(&mut engine).warm(&keys);
    of(&mut engine).warm(&[]);
    assert_eq!(
        (of(&mut engine).stats(), engine.cached_bytes()),
        (stats, held)
    );
    verify(&mut engine, 200, 0);
}

/// Where values are replaced, what is written enters, and the next write of a key reads nothing.
#[test]
fn remembers_what_is_written_where_it_is_replaced() {
    let disk = SimulatedDisk::new(1);
    let options = Options {
        cache_bytes: 4 << 20,
        ..options(0)
    };
    let (mut engine, _) = Engine::open(disk.clone(), options, 0).expect("opens");
    let id = engine.find("default").expect("always there");
    let mut calls = Vec::new();
    for version in 0..4_u8 {
        let before = disk.calls();
        for number in 0..200 {
            let namespace = engine.namespace_mut(id).expect("there");
            namespace
                .set(&key(number), &[version; 500], 1)
                .expect("stored");
        }
        calls.push(disk.calls() - before);
        assert!(engine.commit(0).is_empty());
        if version == 0 {
            assert_eq!(engine.cached_bytes(), 0);
        }
    }
    assert_eq!(calls[0], 0);
    assert_eq!(calls[1], 200);
    assert!(calls[2] < 40 && calls[3] < 40, "{calls:?}");
}
