//! Files with any bytes in any place: opening, reading, listing, compacting and writing end, without a panic.
//!
//! In half of the runs checksums are not looked at, so that hostile fields are met and not only refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tfgrid_zdb::canary::{choose, Canary};
use tfgrid_zdb::{Direction, Engine, HistoryPolicy, Mode, Options, Scratch, SimulatedDisk};

const CALLS_MAX: u64 = 5_000_000;

fn options(mode: Mode) -> Options {
    Options {
        mode,
        segment_bytes: 1 << 19,
        ..Options::new([5; 16])
    }
}

/// A disk with all kinds of files: closed, compacted and open ones, with indexes of several pages.
fn prepared(mode: Mode) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (mut engine, _) = Engine::open(disk.clone(), options(mode), 0).expect("opens");
    let id = engine.find("default").expect("there");
    let namespace = engine.namespace_mut(id).expect("there");
    let mut properties = namespace.properties().clone();
    properties.history = HistoryPolicy::KeepLast(1);
    namespace.set_properties(properties).expect("set");
    for turn in 0..3u8 {
        for number in 0..40u8 {
            let key = match (mode, turn) {
                (Mode::User, _) => vec![b'k', number],
                (Mode::Sequential, 0) => Vec::new(),
                (Mode::Sequential, _) => u64::from(number / 2).to_le_bytes().to_vec(),
            };
            let _ = namespace.set(&key, &vec![number; usize::from(number) * 3], u32::from(turn));
        }
        let _ = namespace.delete(b"k\x07", 9);
        namespace.jump().expect("next file");
    }
    while engine.compact_step(id, 1 << 20).expect("compacted") {}
    engine.close().expect("closed");
    disk
}

fn damage(disk: &SimulatedDisk, mut data: &[u8]) {
    let files = disk.files();
    while let [which, high, low, kind, rest @ ..] = data {
        let (root, path) = &files[usize::from(*which) % files.len()];
        let count = usize::from(kind >> 2).min(rest.len());
        let (bytes, after) = rest.split_at(count);
        data = after;
        disk.edit(*root, path, &mut |file| {
            let at = (usize::from(*high) << 8 | usize::from(*low)) % (file.len() + 1);
            match kind & 3 {
                0 | 1 => {
                    let end = (at + count).min(file.len());
                    file[at..end].copy_from_slice(&bytes[..end - at]);
                }
                2 => file.truncate(at),
                _ => drop(file.splice(at..at, bytes.iter().copied())),
            }
        });
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&head, edits)) = data.split_first() else {
        return;
    };
    let mode = if head & 1 == 0 { Mode::User } else { Mode::Sequential };
    choose(None);
    let disk = prepared(mode);
    damage(&disk, edits);
    choose((head & 2 != 0).then_some(Canary::Unchecked));
    disk.set_calls_max(CALLS_MAX);
    let Ok((mut engine, _)) = Engine::open(disk.clone(), options(mode), 0) else {
        return;
    };
    let id = engine.find("default").expect("there");
    let namespace = engine.namespace_mut(id).expect("there");
    let mut scratch = Scratch::default();
    for number in 0..50u8 {
        let key = match mode {
            Mode::User => vec![b'k', number],
            Mode::Sequential => u64::from(number).to_le_bytes().to_vec(),
        };
        let _ = namespace.get(&key, &mut scratch).is_ok();
        let _ = namespace.check(&key, &mut scratch);
        let mut at = None;
        for _ in 0..5 {
            let Ok(found) = namespace.version(&key, at, &mut scratch) else {
                break;
            };
            at = Some(found.meta.parent);
        }
        if number % 5 == 0 {
            let _ = namespace.set(&key, b"new", 5);
        }
        if number % 7 == 0 {
            let _ = namespace.delete(&key, 5);
        }
    }
    for direction in [Direction::Forward, Direction::Backward] {
        // In short parts, so that a walk also stops and goes on where there is damage.
        let (mut from, mut looked) = (None, 0u32);
        while let Ok(Some(next)) = namespace.scan(from, direction, &mut |_| {
            looked += 1;
            looked % 7 != 0
        }) {
            from = Some(next);
        }
    }
    let _ = namespace.keys(b"k", 0, &mut |_| true);
    let _ = namespace.stats();
    let _ = engine.commit(0);
    for _ in 0..1000 {
        if !matches!(engine.compact_step(id, 1 << 20), Ok(true)) {
            break;
        }
    }
    let _ = engine.reload("default");
    let _ = engine.close();
});
