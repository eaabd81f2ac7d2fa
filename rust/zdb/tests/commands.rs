//! What clients rely on, through the front door, on a real disk.

mod support;

use support::{get, id, of, walk, Folder};
use tfgrid_zdb::{
    Direction, Error, HistoryPolicy, Mode, Options, Password, Place, Position, Properties,
    RealDisk, Scratch, SyncMode, Written,
};

/// A value is there at once, after a commit, after a restart, and after a crash without a close.
#[test]
fn stores_and_finds() {
    let folder = Folder::new();
    let (mut engine, report) = folder.user();
    assert!(report.is_clean());
    assert!(matches!(
        of(&mut engine).set(b"key", b"one", 5),
        Ok(Written::Stored(_))
    ));
    assert_eq!(get(of(&mut engine), b"key"), Some(b"one".to_vec()));
    assert!(engine.commit(0).is_empty());
    drop(engine);

    let (mut engine, _) = folder.user();
    assert_eq!(get(of(&mut engine), b"key"), Some(b"one".to_vec()));
    assert_eq!(
        of(&mut engine).set(b"key", b"one", 6),
        Ok(Written::Identical)
    );
    of(&mut engine).set(b"key", b"two", 7).unwrap();
    engine.close().unwrap();

    let (mut engine, report) = folder.user();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(get(of(&mut engine), b"key"), Some(b"two".to_vec()));
    let stats = of(&mut engine).stats();
    assert_eq!((stats.entries, stats.payload_bytes), (1, 3));
}

/// Every size of key and payload at its limits survives; beyond them there is an error.
#[test]
fn respects_limits() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    let namespace = of(&mut engine);
    let payload: Vec<u8> = (0..8 << 20)
        .map(|number: u32| (number % 251) as u8)
        .collect();
    namespace.set(&[b'k'; 255], &payload, 1).unwrap();
    namespace.set(b"empty", b"", 1).unwrap();
    assert_eq!(namespace.set(&[b'k'; 256], b"", 1), Err(Error::KeyTooLong));
    assert_eq!(namespace.set(b"", b"", 1), Err(Error::KeyNeeded));
    assert_eq!(
        namespace.set(b"k", &vec![0; (8 << 20) + 1], 1),
        Err(Error::PayloadTooLong)
    );
    engine.commit(0);
    drop(engine);
    let (mut engine, _) = folder.user();
    assert_eq!(get(of(&mut engine), &[b'k'; 255]), Some(payload));
    assert_eq!(get(of(&mut engine), b"empty"), Some(Vec::new()));
}

/// A deleted key is gone, also after a restart; deleting it again is an error.
#[test]
fn deletes() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    let namespace = of(&mut engine);
    namespace.set(b"key", b"one", 5).unwrap();
    namespace.delete(b"key", 6).unwrap();
    assert_eq!(namespace.delete(b"key", 6), Err(Error::NotFound));
    engine.commit(0);
    drop(engine);
    let (mut engine, _) = folder.user();
    assert_eq!(get(of(&mut engine), b"key"), None);
    assert_eq!(of(&mut engine).stats().entries, 0);
}

/// Ids have the gaps of the original, survive restarts, and a deleted one is never set again.
#[test]
fn hands_out_ids() {
    let folder = Folder::new();
    let (mut engine, _) = folder.sequential();
    let namespace = of(&mut engine);
    let number = |id: [u8; 8]| u64::from_le_bytes(id);
    for expected in [0, 1] {
        namespace.set(b"", b"new", 1).unwrap();
        assert_eq!(number(namespace.last_id()), expected);
    }
    namespace.set(&0u64.to_le_bytes(), b"again", 1).unwrap();
    namespace.set(b"", b"third", 1).unwrap();
    assert_eq!(number(namespace.last_id()), 3);
    assert_eq!(
        namespace.set(&2u64.to_le_bytes(), b"x", 1),
        Err(Error::UnknownId)
    );
    assert_eq!(
        namespace.set(&9u64.to_le_bytes(), b"x", 1),
        Err(Error::UnknownId)
    );
    assert_eq!(namespace.set(b"odd", b"x", 1), Err(Error::UnknownId));
    namespace.delete(&1u64.to_le_bytes(), 2).unwrap();
    assert_eq!(
        namespace.set(&1u64.to_le_bytes(), b"x", 1),
        Err(Error::UnknownId)
    );
    assert_eq!(
        namespace.delete(&1u64.to_le_bytes(), 2),
        Err(Error::NotFound)
    );
    engine.close().unwrap();

    for index_lost in [false, true] {
        if index_lost {
            std::fs::remove_file(folder.file("index", "i0")).unwrap();
        }
        let (mut engine, _) = folder.sequential();
        let namespace = of(&mut engine);
        let found: Vec<_> = (0u64..5)
            .map(|id| get(namespace, &id.to_le_bytes()))
            .collect();
        let expected = [Some(&b"again"[..]), None, None, Some(b"third"), None];
        assert_eq!(found, expected.map(|one| one.map(<[u8]>::to_vec)));
        assert_eq!(
            (namespace.stats().entries, namespace.stats().next_id),
            (2, 4)
        );
        assert_eq!(namespace.stats().payload_bytes, 10);
    }
}

/// A chain of versions can be followed to its beginning, and places of others are refused.
#[test]
fn keeps_history() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    let namespace = of(&mut engine);
    for version in 0..5u32 {
        namespace
            .set(b"key", version.to_string().as_bytes(), version)
            .unwrap();
    }
    namespace.set(b"other", b"x", 9).unwrap();
    engine.commit(0);
    let (mut at, mut seen, mut scratch) = (None, Vec::new(), Scratch::default());
    loop {
        let record = of(&mut engine).version(b"key", at, &mut scratch).unwrap();
        seen.push((record.meta.timestamp, record.payload.to_vec()));
        if !record.meta.parent.is_some() {
            break;
        }
        at = Some(record.meta.parent);
    }
    let expected: Vec<_> = (0..5)
        .rev()
        .map(|v: u32| (v, v.to_string().into_bytes()))
        .collect();
    assert_eq!(seen, expected);
    assert_eq!(
        of(&mut engine).version(b"other", at, &mut scratch),
        Err(Error::OtherKey)
    );
    let odd = Some(Place {
        file: 0,
        offset: 72,
    });
    assert_eq!(
        of(&mut engine).version(b"key", odd, &mut scratch),
        Err(Error::NoRecord)
    );
    assert_eq!(
        of(&mut engine).version(b"none", None, &mut scratch),
        Err(Error::NotFound)
    );
}

/// Scans list live keys in log order, both ways, in parts of any size, across data files.
#[test]
fn scans_both_ways() {
    for mode in [Mode::User, Mode::Sequential] {
        let folder = Folder::new();
        let (mut engine, _) = folder.open(Options {
            mode,
            ..Options::new([7; 16])
        });
        let namespace = of(&mut engine);
        for number in 0..60u32 {
            match mode {
                Mode::User => namespace.set(&number.to_le_bytes(), b"value", number),
                Mode::Sequential => namespace.set(b"", b"value", number),
            }
            .unwrap();
            if number % 25 == 24 {
                namespace.jump().unwrap();
            }
        }
        let key = |number: u32| match mode {
            Mode::User => number.to_le_bytes().to_vec(),
            Mode::Sequential => u64::from(number).to_le_bytes().to_vec(),
        };
        namespace.delete(&key(0), 1).unwrap();
        namespace.delete(&key(24), 1).unwrap();
        namespace.set(&key(30), b"newer", 100).unwrap();
        let mut expected: Vec<u32> = (1..60).filter(|&n| n != 24 && n != 30).collect();
        expected.push(100);
        for direction in [Direction::Forward, Direction::Backward] {
            for limit in [1, 7, 1000] {
                let mut seen = Vec::new();
                walk(namespace, direction, limit, &mut |_, meta| {
                    seen.push(meta.timestamp);
                });
                if direction == Direction::Backward {
                    seen.reverse();
                }
                assert_eq!(seen, expected, "{mode:?} {direction:?} {limit}");
            }
        }
        for offset in [0, namespace.stats().data_offset] {
            let file = if offset == 0 { 9 } else { 2 };
            let beyond = Some(Position::beside(Place { file, offset }));
            for direction in [Direction::Forward, Direction::Backward] {
                let refused = namespace.scan(beyond, direction, &mut |_| true);
                assert_eq!(refused, Err(Error::NoRecord));
            }
        }
    }
}

/// A listing by prefix finds every key exactly once, whatever the size of its parts.
#[test]
fn lists_by_prefix() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    let namespace = of(&mut engine);
    for number in 0..9000 {
        namespace
            .set(format!("{}:{number}", number % 3).as_bytes(), b"v", 1)
            .unwrap();
    }
    for budget in [70, 1000, 100_000] {
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            let mut looked = 0;
            let next = namespace.keys(b"1:", cursor, &mut |key| {
                seen.extend(key.map(<[u8]>::to_vec));
                looked += 1;
                looked < budget
            });
            assert!(looked <= budget + 4, "keys of one hash stay together");
            match next.unwrap() {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(seen.len(), 3000);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 3000);
    }
}

/// The rights of a namespace hold, and what its administrator set survives a restart.
#[test]
fn keeps_properties() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    let namespace = of(&mut engine);
    namespace.set(b"key", b"12345", 1).unwrap();
    let with = |change: fn(&mut Properties)| {
        let mut properties = Properties::default();
        change(&mut properties);
        properties
    };
    namespace
        .set_properties(with(|set| set.worm = true))
        .unwrap();
    assert_eq!(namespace.set(b"key", b"2", 1), Err(Error::Worm));
    assert_eq!(namespace.delete(b"key", 1), Err(Error::Worm));
    assert_eq!(namespace.flush(), Err(Error::Worm));
    assert!(namespace.set(b"new", b"1", 1).is_ok());
    namespace
        .set_properties(with(|set| set.lock = true))
        .unwrap();
    assert_eq!(namespace.set(b"key", b"2", 1), Err(Error::Locked));
    namespace
        .set_properties(with(|set| set.max_bytes = 8))
        .unwrap();
    assert_eq!(namespace.set(b"more", b"123", 1), Err(Error::NoSpace));
    assert!(namespace.set(b"key", b"1234567", 1).is_ok());
    let full = Properties {
        max_bytes: 1 << 40,
        max_disk_bytes: 1 << 41,
        max_keys: 1 << 42,
        password: Password::new(b"secret"),
        public: false,
        worm: true,
        lock: true,
        freeze: true,
        history: HistoryPolicy::KeepLast(3),
    };
    namespace.set_properties(full.clone()).unwrap();
    assert!(!format!("{:?}", namespace.properties()).contains("secret"));
    assert_eq!(namespace.set_mode(Mode::Sequential), Err(Error::ModeInUse));
    engine.commit(0);
    drop(engine);
    let (mut engine, _) = folder.user();
    assert_eq!(of(&mut engine).properties(), &full);
    let mode = std::os::unix::fs::MetadataExt::mode(
        &std::fs::metadata(folder.file("data", "namespace")).unwrap(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

/// Namespaces are apart, come back after a restart, and a removed one leaves nothing.
#[test]
fn makes_and_removes_namespaces() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    let one = engine.create("one").unwrap();
    engine
        .namespace_mut(one)
        .unwrap()
        .set(b"key", b"one", 1)
        .unwrap();
    engine
        .namespace_mut(one)
        .unwrap()
        .set_mode(Mode::User)
        .unwrap();
    let two = engine.create("two").unwrap();
    engine
        .namespace_mut(two)
        .unwrap()
        .set_mode(Mode::Sequential)
        .unwrap();
    assert_eq!(engine.create("one"), Err(Error::Exists));
    for bad in ["", ".", "..", "a/b", ".hidden", "nul\0", &"x".repeat(129)] {
        assert_eq!(engine.create(bad), Err(Error::BadName), "{bad:?}");
    }
    assert_eq!(engine.remove("default"), Err(Error::DefaultNamespace));
    engine.commit(0);
    drop(engine);
    let (mut engine, report) = folder.user();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(engine.names(), ["default", "one", "two"]);
    let one = engine.find("one").unwrap();
    let two = engine.find("two").unwrap();
    assert_eq!(engine.namespace(two).unwrap().mode(), Mode::Sequential);
    assert_eq!(
        get(engine.namespace(one).unwrap(), b"key"),
        Some(b"one".to_vec())
    );
    engine.remove("one").unwrap();
    assert_eq!(engine.namespace(one).err(), Some(Error::NoNamespace));
    assert!(!folder.0.join("data/one").exists() && !folder.0.join("index/one").exists());
    let anew = engine.create("one").unwrap();
    assert_eq!(get(engine.namespace(anew).unwrap(), b"key"), None);
}

/// A second process cannot take the same directories.
#[test]
fn refuses_a_second_owner() {
    let folder = Folder::new();
    let (_engine, _) = folder.user();
    let second = RealDisk::new(&folder.0.join("data"), &folder.0.join("index"));
    assert!(matches!(second, Err(Error::Busy(_))));
}

/// FLUSH removes everything, gives the space back, and nothing returns after a restart.
#[test]
fn flush_frees() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    for number in 0..100u32 {
        of(&mut engine)
            .set(&number.to_le_bytes(), &[1; 10_000], 1)
            .unwrap();
    }
    engine.commit(0);
    of(&mut engine).jump().unwrap();
    of(&mut engine).flush().unwrap();
    assert_eq!(get(of(&mut engine), &1u32.to_le_bytes()), None);
    assert!(of(&mut engine).stats().data_bytes < 1000);
    let left = std::fs::read_dir(folder.0.join("data/default"))
        .unwrap()
        .count();
    assert_eq!(left, 2, "one data file and the properties");
    of(&mut engine).set(b"after", b"1", 1).unwrap();
    engine.commit(0);
    drop(engine);
    let (mut engine, report) = folder.user();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(of(&mut engine).stats().entries, 1);
}

/// The payload checksum is the original's, and DATA RAW shows tombstones and refuses odd places.
#[test]
fn shows_raw_records() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    let namespace = of(&mut engine);
    let Ok(Written::Stored(first)) = namespace.set(b"key", b"1", 7) else {
        panic!()
    };
    namespace.delete(b"key", 8).unwrap();
    let end = namespace.stats().data_offset;
    let mut scratch = Scratch::default();
    let record = namespace.raw(first, &mut scratch).unwrap();
    assert_eq!((record.payload, record.meta.crc), (&b"1"[..], 0xc288_cab2));
    let second = Place {
        file: 0,
        offset: first.offset + 40,
    };
    let record = namespace.raw(second, &mut scratch).unwrap();
    assert!(record.meta.deleted && record.payload.is_empty());
    assert_eq!(
        (record.meta.previous_offset, record.meta.parent),
        (first.offset, first)
    );
    let at = |offset| Place { file: 0, offset };
    assert_eq!(
        namespace.raw(at(first.offset + 8), &mut scratch),
        Err(Error::NoRecord)
    );
    assert_eq!(namespace.raw(at(3), &mut scratch), Err(Error::NoRecord));
    assert_eq!(namespace.raw(at(end), &mut scratch), Err(Error::EndOfFile));
    let nowhere = Place {
        file: 4,
        offset: 64,
    };
    assert_eq!(namespace.raw(nowhere, &mut scratch), Err(Error::NoRecord));
}

/// With an interval the fsync comes when it is due, and at rest nothing is due.
#[test]
fn syncs_in_intervals() {
    let folder = Folder::new();
    let (mut engine, _) = folder.open(Options {
        sync: SyncMode::Interval(1000),
        ..Options::new([7; 16])
    });
    assert_eq!(engine.next_due_ms(), None);
    of(&mut engine).set(b"key", b"1", 1).unwrap();
    engine.commit(5000);
    assert_eq!(engine.next_due_ms(), Some(6000));
    engine.commit(5999);
    assert_eq!(engine.next_due_ms(), Some(6000));
    engine.commit(6000);
    assert_eq!(engine.next_due_ms(), None);
    let stale = id(&engine);
    engine.reload("default").unwrap();
    assert!(engine.namespace(stale).is_err());
    assert_eq!(get(of(&mut engine), b"key"), Some(b"1".to_vec()));
}
