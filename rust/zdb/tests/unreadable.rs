//! Sectors that the disk does not give back when the store is opened: everything else is served, what is
//! missing is named, nothing is written over it, and once it can be read all of it is there.

use std::collections::BTreeMap;

use tfgrid_zdb::{
    Engine, Error, HistoryPolicy, Mode, Options, Properties, Report, Root, Scratch, SimulatedDisk,
    DEFAULT_NAMESPACE,
};

const SECTOR: u64 = 4096;
const KEYS: u64 = 60;

type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

fn open(disk: &SimulatedDisk, mode: Mode) -> (Engine<SimulatedDisk>, Report) {
    let options = Options {
        mode,
        segment_bytes: 1 << 19,
        ..Options::new([9; 16])
    };
    Engine::open(disk.clone(), options, 0).expect("opens, whatever cannot be read")
}

/// Three files, the first of them compacted, and what is in them.
fn prepare(mode: Mode) -> (SimulatedDisk, Keys) {
    let disk = SimulatedDisk::new(1);
    let (mut engine, _) = open(&disk, mode);
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    let mut keys = Keys::new();
    for round in 0..4u64 {
        let namespace = engine.namespace_mut(id).expect("there");
        for number in (0..KEYS).filter(|number| round == 0 || (number + round) % 5 > 1) {
            let key = number.to_le_bytes().to_vec();
            let payload = vec![(number + round) as u8; 100 + 10 * number as usize];
            let fresh = mode == Mode::Sequential && round == 0;
            let asked = if fresh { &[][..] } else { &key };
            namespace.set(asked, &payload, 1).expect("written");
            keys.insert(key, payload);
        }
        assert!(engine.commit(0).is_empty());
        if round == 0 || round == 2 {
            let namespace = engine.namespace_mut(id).expect("there");
            namespace.jump().expect("next file");
        }
        if round == 2 {
            let namespace = engine.namespace_mut(id).expect("there");
            let history = HistoryPolicy::KeepLast(1);
            let properties = Properties {
                history,
                max_bytes: 1 << 30,
                ..Properties::default()
            };
            namespace.set_properties(properties).expect("set");
            while engine.compact_step(id, 1 << 20).expect("compacts") {}
        }
    }
    (disk, keys)
}

/// How many keys have their value, and how many are an error.
///
/// Where the newest version is lost with its key, and no index knows of it, the one before it may be shown, as
/// after any other damage; what was never written may not.
fn read(engine: &Engine<SimulatedDisk>, keys: &Keys) -> (usize, usize) {
    let id = engine.find(DEFAULT_NAMESPACE).expect("served");
    let namespace = engine.namespace(id).expect("there");
    let (mut good, mut errors, mut scratch) = (0, 0, Scratch::default());
    for (key, payload) in keys {
        match namespace.get(key, &mut scratch) {
            Ok(Some(found)) => {
                let round = payload[0].wrapping_sub(found.payload[0]);
                let older = vec![found.payload[0]; payload.len()];
                assert!(round < 4 && found.payload == older, "a wrong value");
                good += usize::from(round == 0);
            }
            Ok(None) => {}
            Err(_) => errors += 1,
        }
    }
    (good, errors)
}

/// Each sector of each file, with and without index files: the rest is read, and then all of it again.
#[test]
fn a_sector_that_cannot_be_read_costs_what_is_in_it() {
    for mode in [Mode::User, Mode::Sequential] {
        for indexed in [true, false] {
            let (disk, keys) = prepare(mode);
            let mut lossy = 0;
            for file in ["default/d0", "default/d1", "default/d2"] {
                let mut length = 0;
                disk.edit(Root::Data, file, &mut |bytes| length = bytes.len() as u64);
                for at in (0..length).step_by(SECTOR as usize) {
                    lossy += usize::from(one_sector(&disk, &keys, mode, indexed, (file, at)));
                }
            }
            assert!(lossy >= 5, "{mode:?} {lossy}");
        }
    }
}

fn one_sector(
    disk: &SimulatedDisk,
    keys: &Keys,
    mode: Mode,
    indexed: bool,
    (file, at): (&str, u64),
) -> bool {
    let context = format!("{mode:?} indexed {indexed} {file} {at}");
    if !indexed {
        for index in ["default/i0", "default/i1", "default/i2"] {
            disk.erase(Root::Index, index);
        }
    }
    let mut before = Vec::new();
    disk.edit(Root::Data, file, &mut |bytes| before.clone_from(bytes));
    disk.break_bytes(Root::Data, file, Some((at + 100, 1)));
    let (mut engine, report) = open(disk, mode);
    let (good, errors) = read(&engine, keys);
    // A sector holds no more than a few dozen records, and its neighbours are not hidden.
    assert!(good + 45 >= keys.len(), "{context}: {good} {report:?}");
    let id = engine.find(DEFAULT_NAMESPACE).expect("served");
    let namespace = engine.namespace_mut(id).expect("there");
    if good + errors < keys.len() || !indexed {
        assert!(report.is_lossy(), "{context}: {good} {errors} {report:?}");
    }
    let named = report.losses.iter().any(|loss| {
        let sector = loss.offset <= at && at < loss.offset + loss.length;
        loss.lost && file.ends_with(&loss.file) && sector
    });
    assert_eq!(named, report.is_lossy(), "{context}: {report:?}");
    if named {
        let refused = namespace.set(&[0; 8], b"over it", 1);
        assert!(matches!(refused, Err(Error::ReadOnly(_))), "{context}");
        assert!(namespace
            .read_only()
            .expect("says why")
            .contains("cannot be read"));
        engine.commit(0);
        engine.close().expect_err("nothing may be written");
    } else {
        drop(engine);
    }
    disk.edit(Root::Data, file, &mut |bytes| {
        assert!(*bytes == before, "{context}: written over");
    });
    disk.break_bytes(Root::Data, file, None);
    let (mut engine, report) = open(disk, mode);
    assert!(!report.is_lossy(), "{context}: {report:?}");
    assert_eq!(read(&engine, keys), (keys.len(), 0), "{context}");
    let id = engine.find(DEFAULT_NAMESPACE).expect("served");
    let namespace = engine.namespace_mut(id).expect("there");
    let stats = namespace.stats();
    let payloads: usize = keys.values().map(Vec::len).sum();
    let counted = (stats.entries as usize, stats.payload_bytes as usize);
    assert_eq!(counted, (keys.len(), payloads), "{context}");
    let first = namespace.set(&[0; 8], &keys[&vec![0; 8]], 1);
    assert!(first.is_ok(), "{context}: writable again");
    named
}

/// Index files are a shadow: one that cannot be read is made anew, and nothing is lost.
#[test]
fn an_index_that_cannot_be_read_costs_nothing() {
    for mode in [Mode::User, Mode::Sequential] {
        for file in ["default/i0", "default/i1", "default/i2"] {
            for at in [0, SECTOR] {
                let (disk, keys) = prepare(mode);
                drop(open(&disk, mode));
                disk.break_bytes(Root::Index, file, Some((at, 1)));
                let (engine, report) = open(&disk, mode);
                assert!(!report.is_lossy(), "{mode:?} {file} {at}: {report:?}");
                assert_eq!(
                    read(&engine, &keys),
                    (keys.len(), 0),
                    "{mode:?} {file} {at}"
                );
            }
        }
    }
}

/// Properties that cannot be read are not replaced by older ones, and not ignored: frozen, and named.
#[test]
fn properties_that_cannot_be_read_freeze() {
    let (disk, keys) = prepare(Mode::User);
    disk.break_bytes(Root::Index, "default/namespace-copy", Some((0, 1)));
    let (engine, report) = open(&disk, Mode::User);
    assert!(!report.is_lossy(), "{report:?}");
    drop(engine);
    disk.break_bytes(Root::Data, "default/namespace", Some((0, 1)));
    let (mut engine, report) = open(&disk, Mode::User);
    assert!(report.is_lossy());
    assert_eq!(read(&engine, &keys), (keys.len(), 0));
    let id = engine.find(DEFAULT_NAMESPACE).expect("served");
    let namespace = engine.namespace_mut(id).expect("there");
    assert!(namespace.properties().freeze && !namespace.properties().public);
    assert!(matches!(
        namespace.set(b"k", b"v", 1),
        Err(Error::Frozen | Error::ReadOnly(_))
    ));
    drop(engine);
    disk.break_bytes(Root::Data, "default/namespace", None);
    let (engine, report) = open(&disk, Mode::User);
    assert!(report.is_clean(), "{report:?}");
    let id = engine.find(DEFAULT_NAMESPACE).expect("served");
    let properties = engine.namespace(id).expect("there").properties();
    assert!(properties.max_bytes == 1 << 30 && !properties.freeze);
}
