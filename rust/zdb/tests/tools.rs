//! Tools for files at rest, and compaction, on a real disk.

mod support;

use support::{edit, get, of, Folder};
use tfgrid_zdb::{tools, Error, HistoryPolicy, Mode, Options, Place, Properties, Scratch};

/// A check of whole files finds nothing and writes nothing; of damaged ones it names each place.
#[test]
fn check_names_damage() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    for number in 0..100u32 {
        of(&mut engine)
            .set(&number.to_le_bytes(), b"payload", 1)
            .unwrap();
    }
    engine.close().unwrap();
    assert!(tools::check(&folder.disk()).unwrap().is_clean());
    edit(&folder.file("data", "d0"), |bytes| {
        bytes[64 + 36] ^= 1;
        bytes[64 + 48] ^= 1;
    });
    edit(&folder.file("index", "i0"), |bytes| bytes[4096] ^= 1);
    let before = std::fs::read(folder.file("data", "d0")).unwrap();
    let report = tools::check(&folder.disk()).unwrap();
    let found: Vec<_> = report
        .losses
        .iter()
        .map(|one| (&one.file[..], one.offset))
        .collect();
    assert_eq!(found, [("i0", 0), ("d0", 64), ("d0", 112)]);
    assert_eq!(std::fs::read(folder.file("data", "d0")).unwrap(), before);
}

/// A rebuild leaves whole files, after which a check is clean and every key is there.
#[test]
fn rebuild_makes_the_index_anew() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    for number in 0..100u32 {
        of(&mut engine)
            .set(&number.to_le_bytes(), b"payload", 1)
            .unwrap();
    }
    of(&mut engine).jump().unwrap();
    engine.close().unwrap();
    edit(&folder.file("index", "i0"), |bytes| bytes.fill(0));
    let report = tools::rebuild(folder.disk(), Options::new([7; 16])).unwrap();
    assert!(!report.is_lossy());
    assert!(tools::check(&folder.disk()).unwrap().is_clean());
    let (mut engine, report) = folder.user();
    assert!(report.is_clean());
    assert_eq!(of(&mut engine).stats().entries, 100);
}

/// A dump hands over every version and delete in log order, and info says what is there.
#[test]
fn dump_and_info_tell_all() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    of(&mut engine).set(b"key", b"1", 1).unwrap();
    of(&mut engine).jump().unwrap();
    of(&mut engine).set(b"key", b"2", 2).unwrap();
    of(&mut engine).delete(b"key", 3).unwrap();
    engine.close().unwrap();
    let mut seen = Vec::new();
    tools::dump(&folder.disk(), "default", &mut |record| {
        seen.push((
            record.payload.to_vec(),
            record.meta.timestamp,
            record.meta.deleted,
        ));
        Ok(())
    })
    .unwrap();
    assert_eq!(
        seen,
        [
            (b"1".to_vec(), 1, false),
            (b"2".to_vec(), 2, false),
            (vec![], 3, true)
        ]
    );
    let none = tools::dump(&folder.disk(), "none", &mut |_| Ok(()));
    assert_eq!(none, Err(Error::NoNamespace));
    let info = tools::info(&folder.disk()).unwrap();
    assert_eq!(
        (&info[0].name[..], info[0].mode, info[0].files.len()),
        ("default", Mode::User, 2)
    );
}

/// Compaction gives space back, keeps places and what the policy keeps, and survives a rebuild.
#[test]
fn compaction_gives_space_back() {
    for (policy, versions) in [
        (HistoryPolicy::KeepLast(1), 1),
        (HistoryPolicy::KeepLast(3), 3),
    ] {
        let folder = Folder::new();
        let (mut engine, _) = folder.user();
        let namespace = of(&mut engine);
        for version in 0..10u32 {
            for number in 0..50u32 {
                let payload = format!("{version}").repeat(2000);
                namespace
                    .set(&number.to_le_bytes(), payload.as_bytes(), version)
                    .unwrap();
            }
        }
        namespace.set(b"gone", &[1; 5000], 1).unwrap();
        namespace.delete(b"gone", 2).unwrap();
        namespace.jump().unwrap();
        let history = policy;
        namespace
            .set_properties(Properties {
                history,
                ..Properties::default()
            })
            .unwrap();
        let place = namespace.meta(&7u32.to_le_bytes()).unwrap().unwrap().place;
        let before = namespace.stats();
        let id = support::id(&engine);
        while engine.compact_step(id, 20_000).unwrap() {}
        let after = of(&mut engine).stats();
        assert!(
            after.data_bytes < before.data_bytes * (versions + 1) / 10,
            "{after:?}"
        );
        let file = std::fs::metadata(folder.file("data", "d0")).unwrap().len();
        assert!(file < before.data_bytes * (versions + 1) / 10);
        engine.close().unwrap();
        for rebuilt in [false, true] {
            if rebuilt {
                tools::rebuild(folder.disk(), Options::new([7; 16])).unwrap();
            }
            let (mut engine, _) = folder.user();
            let namespace = of(&mut engine);
            assert_eq!(
                namespace.meta(&7u32.to_le_bytes()).unwrap().unwrap().place,
                place
            );
            assert_eq!(get(namespace, b"gone"), None);
            assert_eq!(get(namespace, &7u32.to_le_bytes()), Some(b"9".repeat(2000)));
            assert_eq!(namespace.stats().entries, 50);
            let (mut at, mut count, mut scratch) = (Some(place), 0, Scratch::default());
            while let Some(place) = at.filter(|&place| place != Place::NONE) {
                match namespace.version(&7u32.to_le_bytes(), Some(place), &mut scratch) {
                    Ok(record) => at = Some(record.meta.parent),
                    Err(Error::NoRecord) => break,
                    Err(error) => panic!("{error}"),
                }
                count += 1;
            }
            assert_eq!(count, versions);
        }
    }
}

/// By default every version stays, and compaction has nothing to do.
#[test]
fn history_stays_by_default() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    for version in 0..10u32 {
        of(&mut engine)
            .set(b"key", &version.to_le_bytes(), version)
            .unwrap();
    }
    of(&mut engine).jump().unwrap();
    let id = support::id(&engine);
    assert!(!engine.compact_step(id, 1 << 20).unwrap());
}
