//! Walks that stop after any record, over what is dead, dropped or damaged, find what one that goes on finds.

mod support;

use support::{edit, id, of, walk, Folder};
use tfgrid_zdb::{Direction, Engine, HistoryPolicy, Mode, Options, Properties, RealDisk, Written};

const FILES: u32 = 4;
const KEYS: u32 = 300;

/// Files of records of which most are dead, one of them compacted; bytes of another are damaged.
fn prepare(folder: &Folder, mode: Mode) -> Engine<RealDisk> {
    let options = || Options {
        mode,
        ..Options::new([7; 16])
    };
    let (mut engine, _) = folder.open(options());
    for file in 0..FILES {
        let namespace = of(&mut engine);
        for number in 0..KEYS {
            let key = u64::from(number).to_le_bytes();
            let fresh = mode == Mode::Sequential && file == 0;
            let key = if fresh { &[][..] } else { &key };
            namespace.set(key, &[file as u8; 100], file).unwrap();
            // Some are only in this file.
            if file > 0 && mode == Mode::Sequential && number % 7 == 0 {
                namespace.set(b"", b"only here", file).unwrap();
            }
        }
        assert!(engine.commit(0).is_empty());
        if file + 1 < FILES {
            of(&mut engine).jump().unwrap();
        }
        if file == 1 {
            let namespace = of(&mut engine);
            let history = HistoryPolicy::KeepLast(1);
            let keep = |history| Properties {
                history,
                ..Properties::default()
            };
            namespace.set_properties(keep(history)).unwrap();
            let id = id(&engine);
            while engine.compact_step(id, 1 << 20).unwrap() {}
            of(&mut engine)
                .set_properties(keep(HistoryPolicy::KeepAll))
                .unwrap();
        }
    }
    engine.close().unwrap();
    edit(&folder.file("data", "d2"), |bytes| {
        bytes[9_000..25_000].fill(0x5a);
    });
    folder.open(options()).0
}

#[test]
fn a_walk_in_parts_finds_what_a_whole_one_finds() {
    for mode in [Mode::User, Mode::Sequential] {
        let folder = Folder::new();
        let mut engine = prepare(&folder, mode);
        let namespace = of(&mut engine);
        for direction in [Direction::Forward, Direction::Backward] {
            let all = |limit| {
                let mut found = Vec::new();
                walk(namespace, direction, limit, &mut |key, meta| {
                    found.push((key.to_vec(), meta.place));
                });
                found
            };
            let whole = all(usize::MAX);
            assert!(whole.len() >= KEYS as usize, "{mode:?} {}", whole.len());
            for limit in [1, 2, 3, 17, 1000] {
                assert_eq!(all(limit), whole, "{mode:?} {direction:?} {limit}");
            }
        }
    }
}

/// A page of damage, or of records that are all dead, is not passed over in one step.
#[test]
fn each_step_is_short() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    for number in 0..1000u32 {
        of(&mut engine)
            .set(b"one", &number.to_le_bytes(), 1)
            .unwrap();
    }
    of(&mut engine).set(b"hidden", &[0; 1 << 20], 1).unwrap();
    of(&mut engine).set(b"last", b"", 1).unwrap();
    engine.close().unwrap();
    edit(&folder.file("data", "d0"), |bytes| {
        let from = bytes.len() - (1 << 20) - 80;
        bytes[from..][..1 << 20].fill(0x5a);
    });
    let (mut engine, _) = folder.user();
    for direction in [Direction::Forward, Direction::Backward] {
        let (mut steps, mut found) = (0, Vec::new());
        let namespace = of(&mut engine);
        let next = namespace.scan(None, direction, &mut |live| {
            steps += 1;
            found.extend(live.map(|(key, _)| key.to_vec()));
            true
        });
        assert_eq!(next, Ok(None));
        found.sort();
        assert_eq!(found, [&b"last"[..], b"one"]);
        assert!(steps >= 1000 + 256, "{direction:?}: {steps} steps");
    }
}

/// Whoever writes files by hand, with good checksums, makes no walk that goes round for ever.
#[test]
fn a_walk_backward_ends_whatever_records_say_of_the_one_before() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    let mut places = Vec::new();
    for number in 0..20u32 {
        match of(&mut engine).set(&number.to_le_bytes(), b"payload", 1) {
            Ok(Written::Stored(place)) => places.push(place.offset as usize),
            other => panic!("{other:?}"),
        }
    }
    engine.close().unwrap();
    edit(&folder.file("data", "d0"), |bytes| {
        let uid: [u8; 16] = bytes[16..32].try_into().unwrap();
        for (at, previous) in [(places[10], places[15]), (places[5], places[5])] {
            bytes[at + 16..at + 20].copy_from_slice(&(previous as u32).to_le_bytes());
            sign(bytes, at, uid);
        }
    });
    let (mut engine, report) = folder.user();
    assert_eq!(report.losses, []);
    let mut found = Vec::new();
    let namespace = of(&mut engine);
    let next = namespace.scan(None, Direction::Backward, &mut |live| {
        found.extend(live.map(|(_, meta)| meta.place.offset as usize));
        found.len() <= places.len()
    });
    assert_eq!(next, Ok(None));
    places.reverse();
    assert_eq!(found, places);
    assert_eq!(namespace.stats().damaged, 0);
}

/// Give a record with a key of four bytes the checksum that its header asks for.
fn sign(bytes: &mut [u8], at: usize, uid: [u8; 16]) {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&uid), &0u32.to_le_bytes());
    let mut covered = (at as u32).to_le_bytes().to_vec();
    covered.extend_from_slice(&bytes[at..at + 28]);
    covered.extend_from_slice(&bytes[at + 32..at + 36]);
    let crc = crc32c::crc32c_append(seed, &covered);
    bytes[at + 28..at + 32].copy_from_slice(&crc.to_le_bytes());
}
