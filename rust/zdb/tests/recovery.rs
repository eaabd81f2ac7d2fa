//! What the simulation found once, each with a test of its own.

use tfgrid_zdb::{
    Disk, DiskFile, Engine, Faults, HistoryPolicy, Mode, Options, Properties, Root, Scratch,
    SimulatedDisk, SyncMode, DEFAULT_NAMESPACE,
};

fn open(disk: &SimulatedDisk, mode: Mode) -> (Engine<SimulatedDisk>, tfgrid_zdb::Report) {
    let options = Options {
        mode,
        segment_bytes: 1 << 19,
        ..Options::new([9; 16])
    };
    Engine::open(disk.clone(), options, 0).expect("opens")
}

/// A namespace whose removal was acknowledged stays away, whichever of the unlinks a power cut left.
#[test]
fn a_removed_namespace_stays_removed() {
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let (mut engine, _) = open(&disk, Mode::User);
        let id = engine.create("gone").expect("made");
        let namespace = engine.namespace_mut(id).expect("there");
        namespace.set(b"key", b"value", 1).expect("written");
        assert!(engine.commit(0).is_empty());
        engine.remove("gone").expect("removed");
        drop(engine);
        disk.cut_power();
        let (mut engine, report) = open(&disk, Mode::User);
        assert_eq!(engine.find("gone"), None, "seed {seed}");
        let named = report.losses.iter().any(|loss| loss.namespace == "gone");
        assert!(!named && !report.is_lossy(), "seed {seed}: {report:?}");
        let id = engine.create("gone").expect("made again");
        let empty = engine.namespace(id).expect("there").stats();
        assert_eq!(empty.entries, 0);
    }
}

/// Making a namespace that fails or is cut off leaves nothing that sounds like a loss.
#[test]
fn an_unfinished_creation_is_no_loss() {
    for seed in 0..300 {
        let disk = SimulatedDisk::new(seed);
        let (mut engine, _) = open(&disk, Mode::User);
        let often = Faults {
            folder: 8,
            write: 8,
            sync: 8,
            ..Faults::default()
        };
        disk.set_faults(often);
        let made = (0..3).any(|_| engine.create("new").is_ok());
        disk.set_faults(Faults::default());
        drop(engine);
        if seed % 2 == 0 {
            disk.cut_power();
        }
        let (engine, report) = open(&disk, Mode::User);
        assert!(!report.is_lossy(), "seed {seed}: {report:?}");
        assert!(!made || engine.find("new").is_some(), "seed {seed}");
    }
}

/// Properties that cannot be read just now are not replaced: a start without them says so, and the next one has them.
#[test]
fn properties_survive_a_failed_read() {
    let disk = SimulatedDisk::new(1);
    let (mut engine, _) = open(&disk, Mode::User);
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    let namespace = engine.namespace_mut(id).expect("there");
    let mut properties = namespace.properties().clone();
    properties.max_bytes = 4711;
    namespace.set_properties(properties).expect("set");
    drop(engine);
    let mut failures = 0;
    for _ in 0..200 {
        let often = Faults {
            read: 4,
            ..Faults::default()
        };
        disk.set_faults(often);
        let opened = Engine::open(disk.clone(), Options::new([9; 16]), 0);
        disk.set_faults(Faults::default());
        let Ok((engine, report)) = opened else {
            failures += 1;
            continue;
        };
        let unread = report.losses.iter().any(|loss| loss.file == "namespace");
        assert!(unread || !report.is_lossy(), "{report:?}");
        let id = engine.find(DEFAULT_NAMESPACE).expect("there");
        let properties = engine.namespace(id).expect("there").properties().clone();
        assert_eq!(properties.max_bytes, 4711);
        assert!(unread || !properties.freeze);
    }
    assert!(failures > 0);
    let (engine, report) = open(&disk, Mode::User);
    assert!(!report.is_lossy(), "{report:?}");
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    let properties = engine.namespace(id).expect("there").properties();
    assert!(properties.max_bytes == 4711 && !properties.freeze);
}

/// Damage in one file and a lost header in the next hide no id of either.
#[test]
fn ids_are_found_after_damage_before_a_lost_header() {
    let disk = SimulatedDisk::new(1);
    let (mut engine, _) = open(&disk, Mode::Sequential);
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    for number in 0..30u64 {
        let namespace = engine.namespace_mut(id).expect("there");
        namespace.set(b"", &number.to_le_bytes(), 1).expect("made");
        if number % 10 == 9 {
            namespace.jump().expect("next file");
        }
    }
    engine.close().expect("closed");
    // Garbage where ids may have been, then a file that does not say where its ids begin.
    disk.edit(Root::Data, "default/d0", &mut |bytes| {
        bytes.extend([0x5a; 4000])
    });
    for file in ["default/d1", "default/d2"] {
        disk.edit(Root::Data, file, &mut |bytes| bytes[..64].fill(0));
    }
    for file in ["default/i0", "default/i1", "default/i2"] {
        disk.erase(Root::Index, file);
    }
    let (engine, report) = open(&disk, Mode::Sequential);
    assert!(report.is_lossy());
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    let namespace = engine.namespace(id).expect("there");
    let mut scratch = Scratch::default();
    for number in 0..30u64 {
        let found = namespace.get(&number.to_le_bytes(), &mut scratch);
        let found = found
            .expect("readable")
            .map(|record| record.payload.to_vec());
        assert_eq!(found, Some(number.to_le_bytes().to_vec()), "id {number}");
    }
}

/// A reload that the disk fails leaves what was there, to be read and not written, until one succeeds.
#[test]
fn a_failed_reload_keeps_the_namespace() {
    let disk = SimulatedDisk::new(1);
    let (mut engine, _) = open(&disk, Mode::User);
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    let namespace = engine.namespace_mut(id).expect("there");
    namespace.set(b"key", b"value", 1).expect("written");
    assert!(engine.commit(0).is_empty());
    let always = Faults {
        read: 1,
        ..Faults::default()
    };
    disk.set_faults(always);
    engine.reload(DEFAULT_NAMESPACE).expect_err("a failed read");
    disk.set_faults(Faults::default());
    let id = engine.find(DEFAULT_NAMESPACE).expect("still there");
    let namespace = engine.namespace_mut(id).expect("there");
    let mut scratch = Scratch::default();
    let found = namespace.get(b"key", &mut scratch).expect("readable");
    assert_eq!(found.expect("there").payload, b"value");
    namespace.set(b"key", b"later", 1).expect_err("read-only");
    engine.reload(DEFAULT_NAMESPACE).expect("reloaded");
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    let namespace = engine.namespace_mut(id).expect("there");
    namespace.set(b"key", b"later", 1).expect("writable again");
}

/// Sequential mode finds ids through index pages: one that is damaged while the engine runs is an error,
/// not a missing id, and a reload makes it anew.
#[test]
fn a_damaged_index_page_hides_no_id() {
    let disk = SimulatedDisk::new(1);
    let (mut engine, _) = open(&disk, Mode::Sequential);
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    for number in 0..600u64 {
        let namespace = engine.namespace_mut(id).expect("there");
        namespace.set(b"", &number.to_le_bytes(), 1).expect("made");
    }
    let namespace = engine.namespace_mut(id).expect("there");
    namespace.jump().expect("index written");
    disk.edit(Root::Index, "default/i0", &mut |bytes| {
        bytes[4096 + 48 + 100 * 16..4096 + 48 + 110 * 16].fill(0);
    });
    let mut scratch = Scratch::default();
    let mut errors = 0;
    for number in 0..600u64 {
        match namespace.get(&number.to_le_bytes(), &mut scratch) {
            Ok(record) => assert_eq!(record.expect("there").payload, number.to_le_bytes()),
            Err(_) => errors += 1,
        }
    }
    assert!(errors > 0);
    engine.reload(DEFAULT_NAMESPACE).expect("reloaded");
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    let namespace = engine.namespace(id).expect("there");
    for number in 0..600u64 {
        let found = namespace.get(&number.to_le_bytes(), &mut scratch);
        assert!(found.expect("readable").is_some(), "id {number}");
    }
}

/// What a start builds on is on the disk: a folder entry that a failed call left is synced before.
#[test]
fn nothing_is_built_on_unsynced_entries() {
    for seed in 0..100 {
        let disk = SimulatedDisk::new(seed);
        drop(open(&disk, Mode::User));
        // A rename that nobody synced, as after a failed one.
        disk.rename(Root::Data, "default/namespace", "default/namespace.new")
            .expect("renamed");
        disk.sync_folder(Root::Data, "default").expect("synced");
        disk.rename(Root::Data, "default/namespace.new", "default/namespace")
            .expect("renamed");
        let (mut engine, _) = open(&disk, Mode::User);
        let id = engine.find(DEFAULT_NAMESPACE).expect("there");
        let namespace = engine.namespace_mut(id).expect("there");
        namespace.set(b"key", b"value", 1).expect("written");
        assert!(engine.commit(0).is_empty());
        drop(engine);
        disk.cut_power();
        let file = disk.open(Root::Data, "default/namespace", false);
        assert!(file.expect("still there").length().expect("a length") > 0);
    }
}

/// Sequential mode: a damaged delete whose id nobody can tell any more, since compaction dropped the version before
/// it, is a named loss: the id may show its first version again.
#[test]
fn a_damaged_delete_without_its_parent_is_named() {
    let disk = SimulatedDisk::new(1);
    let (mut engine, _) = open(&disk, Mode::Sequential);
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    let namespace = engine.namespace_mut(id).expect("there");
    // The first file keeps so much that it is not compacted, the second one loses everything.
    namespace.set(b"", b"first", 1).expect("made");
    namespace.set(b"", &[7; 5000], 1).expect("made");
    namespace.jump().expect("next file");
    namespace.set(&[0; 8], b"second", 1).expect("updated");
    namespace.set(&[0; 8], b"third", 1).expect("updated");
    namespace.jump().expect("next file");
    namespace.delete(&[0; 8], 1).expect("deleted");
    let properties = Properties {
        history: HistoryPolicy::KeepLast(1),
        ..Properties::default()
    };
    namespace.set_properties(properties).expect("set");
    assert!(engine.commit(0).is_empty());
    while engine.compact_step(id, 1 << 20).expect("compacts") {}
    engine.close().expect("closed");
    disk.edit(Root::Data, "default/d2", &mut |bytes| bytes[64 + 9] ^= 1);
    let (engine, report) = open(&disk, Mode::Sequential);
    let named = report.losses.iter().any(|loss| {
        loss.lost && loss.file == "d2" && loss.offset == 64 && loss.what.contains("of which id")
    });
    let mut scratch = Scratch::default();
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    let shown = engine
        .namespace(id)
        .expect("there")
        .get(&[0; 8], &mut scratch);
    assert!(named, "{shown:?} {report:?}");
}

/// Compaction may drop a version and not the one before it, which it passed when that was the current one. A
/// record that replaces the dropped version, read from the data alone, is not taken for a replacement of the
/// older one: bytes are counted anew.
#[test]
fn a_version_found_instead_of_the_dropped_one_does_not_count() {
    for (steps, more) in (0..12).flat_map(|steps| (0..24).map(move |more| (steps, more))) {
        let disk = SimulatedDisk::new(steps);
        let (mut engine, _) = open(&disk, Mode::User);
        let id = engine.find(DEFAULT_NAMESPACE).expect("there");
        let namespace = engine.namespace_mut(id).expect("there");
        let mut properties = namespace.properties().clone();
        properties.history = HistoryPolicy::KeepLast(1);
        namespace.set_properties(properties).expect("set");
        for (number, value) in [54, 1906].into_iter().enumerate() {
            let namespace = engine.namespace_mut(id).expect("there");
            for other in 0..3 {
                let key = [number as u8, other];
                namespace.set(&key, &[1; 3000], 1).expect("written");
                namespace.set(&key, &[2; 3000], 1).expect("written");
            }
            namespace.set(b"key", &vec![3; value], 1).expect("written");
            namespace.jump().expect("next file");
            if number == 0 {
                for _ in 0..steps {
                    engine.compact_step(id, 2_000).expect("compacts");
                }
            }
        }
        let namespace = engine.namespace_mut(id).expect("there");
        namespace.set(b"key", &[3; 14], 1).expect("written");
        assert!(engine.commit(0).is_empty());
        let expected = engine.namespace(id).expect("there").stats().payload_bytes;
        for _ in 0..more {
            engine.compact_step(id, 2_000).expect("compacts");
        }
        drop(engine);
        let (engine, _) = open(&disk, Mode::User);
        let id = engine.find(DEFAULT_NAMESPACE).expect("there");
        let found = engine.namespace(id).expect("there").stats().payload_bytes;
        assert_eq!(found, expected, "{steps} steps, then {more}");
    }
}

/// An orderly end makes durable what was written before a kill too, although the index file knows it already.
#[test]
fn what_was_written_before_a_kill_is_durable_after_an_orderly_end() {
    const KEYS: u32 = 5_000;
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let open = || {
            let options = Options {
                sync: SyncMode::None,
                ..Options::new([9; 16])
            };
            Engine::open(disk.clone(), options, 0).expect("opens").0
        };
        let mut engine = open();
        let id = engine.find(DEFAULT_NAMESPACE).expect("there");
        for number in 0..KEYS {
            let namespace = engine.namespace_mut(id).expect("there");
            namespace
                .set(&number.to_be_bytes(), b"value", 1)
                .expect("written");
        }
        assert!(engine.commit(0).is_empty());
        let index = engine.namespace(id).expect("there").stats().index_bytes;
        assert!(index > u64::from(KEYS) * 16, "the index file covers it");
        drop(engine);
        open().close().expect("closed");
        disk.cut_power();
        let engine = open();
        let id = engine.find(DEFAULT_NAMESPACE).expect("there");
        let found = engine.namespace(id).expect("there").stats().entries;
        assert_eq!(found, u64::from(KEYS), "seed {seed}");
    }
}
