//! Frozen examples of every file: what is written today, and what must be readable for ever.
//!
//! `ZDB_FREEZE=1 cargo test -p tfgrid-zdb --test vectors` writes the examples of a new version.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use support::{get, of, Folder};
use tfgrid_zdb::{HistoryPolicy, Mode, Options, Password, Properties};

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

/// The same commands write the same bytes as when the format was frozen.
#[test]
fn writes_the_frozen_bytes() {
    let mut text = String::from(
        "# Files of Zero-DB, format 1: name, length, hexadecimal without the zeros at the end.\n",
    );
    let mut written = BTreeMap::new();
    for mode in [Mode::User, Mode::Sequential] {
        let folder = Folder::new();
        write(&folder, mode);
        for (root, name) in FILES {
            let bytes = std::fs::read(folder.file(root, name)).expect("written");
            let name = format!("{}/{root}/{name}", mode_name(mode));
            writeln!(text, "{name} {}", hex(&bytes)).expect("a string");
            written.insert(name, bytes);
        }
    }
    if std::env::var_os("ZDB_FREEZE").is_some() {
        std::fs::write(vectors(1), text).expect("writable");
    }
    assert!(
        frozen(1) == written,
        "the format changed without a new version"
    );
}

/// Files of the frozen format are read without a complaint.
#[test]
fn reads_the_frozen_files() {
    for mode in [Mode::User, Mode::Sequential] {
        let folder = Folder::new();
        for (root, name) in FILES {
            let path = folder.file(root, name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            let frozen = &frozen(1)[&format!("{}/{root}/{name}", mode_name(mode))];
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

/// Properties with quotas are version 2 and its frozen bytes; without them version 1 is written again.
#[test]
fn writes_quotas_as_version_2() {
    let folder = Folder::new();
    let (mut engine, _) = folder.user();
    let namespace = of(&mut engine);
    namespace.set_properties(quotas()).unwrap();
    let bytes = std::fs::read(folder.file("data", "namespace")).expect("written");
    if std::env::var_os("ZDB_FREEZE").is_some() {
        let text = format!(
            "# Properties of Zero-DB, format 2: name, length, hexadecimal.\nnamespace {}\n",
            hex(&bytes)
        );
        std::fs::write(vectors(2), text).expect("writable");
    }
    assert_eq!(
        frozen(2)["namespace"],
        bytes,
        "the format changed without a new version"
    );
    namespace.set_properties(Properties::default()).unwrap();
    let bytes = std::fs::read(folder.file("data", "namespace")).expect("written");
    assert_eq!((bytes[8], bytes.len()), (1, 76));
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
        std::fs::write(folder.file(root, name), &frozen(2)["namespace"]).expect("writable");
    }
    let (mut engine, report) = folder.open(Options::new([1; 16]));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(of(&mut engine).properties(), &quotas());
}
