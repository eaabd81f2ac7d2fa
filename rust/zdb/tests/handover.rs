//! Going on in the next data file while the one before is synced beside the engine.

use tfgrid_zdb::{
    tools, BegunSync, Disk, DiskFile, Engine, Faults, Mode, Namespace, Options, Report, Root,
    Scratch, SimulatedDisk, SimulatedFile, SyncMode, DEFAULT_NAMESPACE,
};

const PERIOD_MS: u64 = 1000;
const VALUE: [u8; 1000] = [b'v'; 1000];

fn options(mode: Mode) -> Options {
    Options {
        mode,
        sync: SyncMode::Interval(PERIOD_MS),
        sync_beside: true,
        segment_bytes: 1 << 19,
        ..Options::new([9; 16])
    }
}

fn of(engine: &mut Engine<SimulatedDisk>) -> &mut Namespace<SimulatedDisk> {
    let id = engine.find(DEFAULT_NAMESPACE).expect("always there");
    engine.namespace_mut(id).expect("there")
}

fn open(disk: &SimulatedDisk, mode: Mode) -> (Engine<SimulatedDisk>, Report) {
    Engine::open(disk.clone(), options(mode), 0).expect("opens")
}

/// Write keys `from` to `to` in one turn at a time; says which data file is written to then.
fn write(engine: &mut Engine<SimulatedDisk>, (from, to): (u32, u32), now_ms: u64) -> u32 {
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    for number in from..to {
        let namespace = engine.namespace_mut(id).expect("there");
        let sequential = namespace.mode() == Mode::Sequential;
        let key = if sequential {
            Vec::new()
        } else {
            number.to_le_bytes().to_vec()
        };
        namespace.set(&key, &VALUE, 1).expect("written");
    }
    assert!(engine.commit(now_ms).is_empty());
    engine.namespace(id).expect("there").stats().data_file
}

/// How many of the first keys are there without a gap, and how many of all.
fn present(engine: &Engine<SimulatedDisk>, keys: u32) -> (u32, u32) {
    let id = engine.find(DEFAULT_NAMESPACE).expect("there");
    let namespace = engine.namespace(id).expect("there");
    let sequential = namespace.mode() == Mode::Sequential;
    let mut scratch = Scratch::default();
    let mut there = |number: u32| {
        let id = u64::from(number).to_le_bytes();
        let key = if sequential { &id[..] } else { &id[..4] };
        namespace
            .get(key, &mut scratch)
            .expect("readable")
            .is_some()
    };
    let gapless = (0..keys).take_while(|&key| there(key)).count();
    (
        gapless as u32,
        (0..keys).filter(|&key| there(key)).count() as u32,
    )
}

fn begun(engine: &mut Engine<SimulatedDisk>) -> BegunSync<SimulatedFile> {
    let mut begun = engine.take_begun_syncs();
    assert_eq!(begun.len(), 1);
    begun.remove(0)
}

/// The last data file that the properties name.
fn named(disk: &SimulatedDisk) -> u32 {
    let file = disk
        .open(Root::Data, "default/namespace", false)
        .expect("there");
    let mut bytes = [0; 60];
    assert_eq!(file.read_at(&mut bytes, 0).expect("read"), 60);
    u32::from_le_bytes(bytes[56..].try_into().expect("four bytes"))
}

/// Nobody waits for the sync of a full file: it runs beside, and only then is the next file named.
#[test]
fn a_full_file_is_synced_beside_the_next_one() {
    let disk = SimulatedDisk::new(1);
    let (mut engine, _) = open(&disk, Mode::User);
    assert_eq!(write(&mut engine, (0, 600), 0), 1);
    let sync = begun(&mut engine);
    assert_eq!((sync.covers().file, named(&disk)), (0, 0));
    assert!(!engine.is_overdue(PERIOD_MS - 1) && engine.is_overdue(PERIOD_MS));
    let outcome = sync.run();
    engine.end_sync(&sync, outcome).expect("synced");
    assert_eq!(named(&disk), 1);
    assert!(!engine.is_overdue(PERIOD_MS));
    engine.close().expect("closed");
    let (engine, report) = open(&disk, Mode::User);
    assert!(report.losses.is_empty(), "{report:?}");
    assert_eq!(present(&engine, 600), (600, 600));
}

/// Where a sync of the same file is under way, that of its end begins when it has ended.
#[test]
fn the_end_of_a_file_waits_for_the_sync_before() {
    let disk = SimulatedDisk::new(2);
    let (mut engine, _) = open(&disk, Mode::User);
    write(&mut engine, (0, 10), 0);
    write(&mut engine, (10, 20), PERIOD_MS / 2);
    let first = begun(&mut engine);
    assert_eq!(write(&mut engine, (20, 600), PERIOD_MS / 2), 1);
    assert!(engine.take_begun_syncs().is_empty());
    let outcome = first.run();
    engine.end_sync(&first, outcome).expect("synced");
    assert_eq!(engine.next_due_ms(), Some(PERIOD_MS / 2));
    assert!(engine.commit(PERIOD_MS / 2).is_empty());
    let second = begun(&mut engine);
    assert!(first.covers() < second.covers());
    assert_eq!((second.covers().file, named(&disk)), (0, 0));
}

/// A file that is full before the one before it is durable waits for that one; so does whoever needs all durable.
#[test]
fn at_most_one_file_is_unnamed() {
    let disk = SimulatedDisk::new(3);
    let (mut engine, _) = open(&disk, Mode::User);
    assert_eq!(write(&mut engine, (0, 1200), 0), 2);
    assert_eq!(named(&disk), 1);
    let sync = begun(&mut engine);
    assert_eq!(sync.covers().file, 1);
    of(&mut engine).flush().expect("flushed");
    assert_eq!(named(&disk), 3);
    let outcome = sync.run();
    engine
        .end_sync(&sync, outcome)
        .expect("of no interest any more");
    assert_eq!(present(&engine, 1200), (0, 0));
}

/// Properties that are written meanwhile do not name the file.
#[test]
fn other_properties_do_not_name_it() {
    let disk = SimulatedDisk::new(4);
    let (mut engine, _) = open(&disk, Mode::User);
    write(&mut engine, (0, 600), 0);
    let namespace = of(&mut engine);
    let properties = namespace.properties().clone();
    namespace.set_properties(properties).expect("written");
    assert_eq!(named(&disk), 0);
}

/// A process that is killed meanwhile loses nothing, and tools see all of it.
#[test]
fn a_kill_meanwhile_loses_nothing() {
    for mode in [Mode::User, Mode::Sequential] {
        let disk = SimulatedDisk::new(5);
        let (mut engine, _) = open(&disk, mode);
        assert_eq!(write(&mut engine, (0, 600), 0), 1);
        drop(engine);
        let mut dumped = 0;
        tools::dump(&disk, DEFAULT_NAMESPACE, &mut |_| {
            dumped += 1;
            Ok(())
        })
        .expect("dumped");
        assert_eq!((named(&disk), dumped), (0, 600));
        let (mut engine, report) = open(&disk, mode);
        assert!(!report.is_lossy(), "{report:?}");
        assert_eq!((named(&disk), present(&engine, 600)), (1, (600, 600)));
        assert_eq!(write(&mut engine, (600, 1200), 0), 2);
        drop(engine);
        let (engine, report) = open(&disk, mode);
        assert!(!report.is_lossy(), "{report:?}");
        assert_eq!(present(&engine, 1200), (1200, 1200));
    }
}

/// A power cut meanwhile may take what was not synced of both files: nothing of it is told as damage.
#[test]
fn a_power_cut_meanwhile_tears_and_damages_nothing() {
    let mut torn = 0;
    for seed in 0..300 {
        let disk = SimulatedDisk::new(seed);
        let mode = [Mode::User, Mode::Sequential][seed as usize % 2];
        let (mut engine, _) = open(&disk, mode);
        write(&mut engine, (0, 300), 0);
        assert!(engine.commit(PERIOD_MS / 2).is_empty());
        let sync = begun(&mut engine);
        let outcome = sync.run();
        engine.end_sync(&sync, outcome).expect("synced");
        assert_eq!(write(&mut engine, (300, 600), PERIOD_MS / 2), 1);
        drop(engine);
        disk.cut_power();
        let (mut engine, report) = open(&disk, mode);
        let fine = ["torn", "begun before", "index file", "the end of the index"];
        let damage = report.losses.iter();
        let mut damage = damage.filter(|loss| !fine.iter().any(|fine| loss.what.starts_with(fine)));
        assert_eq!(damage.next(), None, "seed {seed}");
        let (gapless, all) = present(&engine, 600);
        assert!(gapless >= 300, "seed {seed}: {gapless}");
        torn += u32::from(gapless < all);
        write(&mut engine, (600, 1300), 0);
        engine.close().expect("closed");
        let (_, report) = open(&disk, mode);
        assert!(!report.is_lossy(), "seed {seed}: {report:?}");
    }
    assert!(
        torn > 0,
        "no power cut left later writes without earlier ones"
    );
}

/// A sync that fails beside the next file takes no more writes, as any other.
#[test]
fn a_failed_sync_is_final() {
    let disk = SimulatedDisk::new(6);
    let (mut engine, _) = open(&disk, Mode::User);
    write(&mut engine, (0, 600), 0);
    let sync = begun(&mut engine);
    disk.set_faults(Faults {
        sync: 1,
        ..Faults::default()
    });
    let outcome = sync.run();
    disk.set_faults(Faults::default());
    assert!(engine.end_sync(&sync, outcome).is_err());
    let namespace = of(&mut engine);
    assert!(namespace
        .read_only()
        .is_some_and(|why| why.contains("data file 0")));
    assert!(namespace.set(b"key", b"value", 1).is_err());
    // The next sync would report success of what the system has dropped.
    assert!(engine.commit(2 * PERIOD_MS).is_empty());
    assert_eq!((named(&disk), engine.next_due_ms()), (0, None));
}
