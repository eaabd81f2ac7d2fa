//! Frozen examples of every file: what is written today, and what must be readable for ever.
//!
//! `ZDB_FREEZE=1 cargo test -p tfgrid-zdb --test vectors` writes the examples of a new version.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use support::{get, of, Folder};
use tfgrid_zdb::{HistoryPolicy, Mode, Options, Password, Properties, SyncMode};

const FILES: [(&str, &str); 6] = [
    ("data", "d0"),
    ("data", "d1"),
    ("data", "namespace"),
    ("index", "i0"),
    ("index", "i1"),
    ("index", "namespace-copy"),
];

fn vectors(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/vectors/zdb_v{version}.txt"))
}

/// One of each structure: values, a delete, a chain, a compacted file, properties.
fn write(folder: &Folder, mode: Mode) {
    let (mut engine, _) = folder.open(Options {
        mode,
        ..Options::new([7; 16])
    });
    let namespace = of(&mut engine);
    let key = |number: u64| match mode {
        Mode::User => format!("key{number}").into_bytes(),
        Mode::Sequential => number.to_le_bytes().to_vec(),
    };
    for number in 0..3 {
        let new = if mode == Mode::User {
            key(number)
        } else {
            Vec::new()
        };
        namespace.set(&new, b"1", 1_700_000_000).unwrap();
    }
    namespace
        .set(&key(1), b"second version", 1_700_000_001)
        .unwrap();
    namespace.delete(&key(2), 1_700_000_002).unwrap();
    namespace.jump().unwrap();
    namespace
        .set(&key(0), b"in the next file", 1_700_000_003)
        .unwrap();
    let properties = Properties {
        max_bytes: 1 << 20,
        password: Password::new(b"secret"),
        public: false,
        history: HistoryPolicy::KeepLast(1),
        ..Properties::default()
    };
    namespace.set_properties(properties).unwrap();
    assert!(engine.commit(0).is_empty());
    let id = support::id(&engine);
    while engine.compact_step(id, 1 << 20).unwrap() {}
    engine.close().unwrap();
}

fn hex(bytes: &[u8]) -> String {
    // Pages of an index are mostly zeros at their end.
    let used = bytes.len() - bytes.iter().rev().take_while(|&&byte| byte == 0).count();
    let mut text = format!("{} ", bytes.len());
    for byte in &bytes[..used] {
        write!(text, "{byte:02x}").expect("a string");
    }
    text
}

fn unhex(length: &str, text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    let mut bytes: Vec<u8> = digits
        .map(|two| u8::from_str_radix(two, 16).expect("hexadecimal"))
        .collect();
    bytes.resize(length.parse().expect("a length"), 0);
    bytes
}

fn frozen(version: u32) -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(vectors(version)).expect("frozen examples");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let file = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().expect("a name").to_owned();
        let length = words.next().expect("a length");
        (name, unhex(length, words.next().unwrap_or("")))
    };
    lines.map(file).collect()
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::User => "user",
        Mode::Sequential => "sequential",
    }
}

/// All files of the first version, or with those in place that came later.
fn all(version: u32) -> BTreeMap<String, Vec<u8>> {
    (1..=version).flat_map(frozen).collect()
}

/// The same commands write the same bytes as when each format was frozen.
#[test]
fn writes_the_frozen_bytes() {
    let (mut later, mut written) = (String::new(), BTreeMap::new());
    let mut add = |name: String, bytes: Vec<u8>| {
        if frozen(1).get(&name) != Some(&bytes) {
            writeln!(later, "{name} {}", hex(&bytes)).expect("a string");
        }
        written.insert(name, bytes);
    };
    for mode in [Mode::User, Mode::Sequential] {
        let folder = Folder::new();
        write(&folder, mode);
        for (root, name) in FILES {
            let bytes = std::fs::read(folder.file(root, name)).expect("written");
            add(format!("{}/{root}/{name}", mode_name(mode)), bytes);
        }
    }
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    of(&mut engine).set_properties(quotas()).unwrap();
    let bytes = std::fs::read(folder.file("data", "namespace")).expect("written");
    add("quotas".to_owned(), bytes);
    let other = Folder::new();
    go_on_ahead(&other);
    add(
        "ahead".to_owned(),
        std::fs::read(other.file("data", "d1")).expect("written"),
    );
    if std::env::var_os("ZDB_FREEZE").is_some() {
        let head = "# Files of Zero-DB that came after format 1: properties with quotas, the index of a\n\
                    # compacted file, and a data file begun ahead; name, length, hexadecimal without the zeros at the end.\n";
        std::fs::write(vectors(2), format!("{head}{later}")).expect("writable");
    }
    assert!(
        all(2) == written,
        "the format changed without a new version"
    );
    of(&mut engine)
        .set_properties(Properties::default())
        .unwrap();
    let bytes = std::fs::read(folder.file("data", "namespace")).expect("written");
    assert_eq!(
        (bytes[8], bytes.len()),
        (1, 76),
        "without quotas it is version 1"
    );
}

/// Files of the frozen format are read without a complaint.
#[test]
fn reads_the_frozen_files() {
    let both = [Mode::User, Mode::Sequential];
    for (mode, version) in both.iter().flat_map(|&mode| [(mode, 1), (mode, 2)]) {
        let folder = Folder::new();
        for (root, name) in FILES {
            let path = folder.file(root, name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            let frozen = &all(version)[&format!("{}/{root}/{name}", mode_name(mode))];
            std::fs::write(path, frozen).expect("writable");
        }
        let (mut engine, report) = folder.open(Options::new([1; 16]));
        assert!(report.is_clean(), "{report:?}");
        let namespace = of(&mut engine);
        assert_eq!((namespace.mode(), namespace.stats().entries), (mode, 2));
        let key = |number: u64| match mode {
            Mode::User => format!("key{number}").into_bytes(),
            Mode::Sequential => number.to_le_bytes().to_vec(),
        };
        assert_eq!(get(namespace, &key(0)), Some(b"in the next file".to_vec()));
        assert_eq!(get(namespace, &key(1)), Some(b"second version".to_vec()));
        assert_eq!(get(namespace, &key(2)), None);
        assert_eq!(namespace.properties().password, Password::new(b"secret"));
    }
}

/// What version 2 is for: the quotas of disk and keys.
fn quotas() -> Properties {
    Properties {
        max_bytes: 1 << 20,
        max_disk_bytes: 5_000_000_000,
        max_keys: 6_000_000_000,
        password: Password::new(b"secret"),
        ..Properties::default()
    }
}

/// The frozen properties are read, by whoever draws another identity for a new namespace.
#[test]
fn reads_quotas_of_version_2() {
    let folder = Folder::new();
    drop(folder.user());
    for root in ["data", "index"] {
        let name = if root == "data" {
            "namespace"
        } else {
            "namespace-copy"
        };
        std::fs::write(folder.file(root, name), &frozen(2)["quotas"]).expect("writable");
    }
    let (mut engine, report) = folder.open(Options::new([1; 16]));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(of(&mut engine).properties(), &quotas());
}

/// Write to a second data file before the first one is durable, and be killed.
fn go_on_ahead(folder: &Folder) {
    let (mut engine, _) = folder.open(Options {
        sync: SyncMode::Interval(1000),
        sync_beside: true,
        segment_bytes: 1 << 19,
        ..Options::new([7; 16])
    });
    let namespace = of(&mut engine);
    namespace
        .set(b"full", &[b'1'; 600_000], 1_700_000_000)
        .unwrap();
    namespace.set(b"next", b"1", 1_700_000_001).unwrap();
    assert!(engine.commit(0).is_empty());
}

/// A data file that says it was begun ahead is taken in, although the properties do not name it.
#[test]
fn reads_a_file_begun_ahead() {
    let folder = Folder::new();
    go_on_ahead(&folder);
    std::fs::write(folder.file("data", "d1"), &frozen(2)["ahead"]).expect("writable");
    let (mut engine, report) = folder.user();
    assert!(!report.is_lossy(), "{report:?}");
    assert_eq!(get(of(&mut engine), b"next"), Some(b"1".to_vec()));
}

/// Properties of a version that is not known are refused by name, and nothing is written over them.
#[test]
fn a_later_version_is_refused() {
    let folder = Folder::new();
    drop(folder.user());
    let mut bytes = frozen(2)["quotas"].clone();
    bytes[8] = 3;
    let body = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..body]).to_le_bytes();
    bytes[body..].copy_from_slice(&crc);
    for name in ["data/default/namespace", "index/default/namespace-copy"] {
        std::fs::write(folder.0.join(name), &bytes).expect("writable");
    }
    let refused = tfgrid_zdb::Engine::open(folder.disk(), Options::new([1; 16]), 0);
    let text = refused.expect_err("refused").to_string();
    assert!(text.contains("later version"), "{text}");
    let after = std::fs::read(folder.file("data", "namespace")).expect("there");
    assert_eq!(after, bytes);
}
