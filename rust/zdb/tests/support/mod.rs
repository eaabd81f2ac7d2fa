//! What the tests share: a folder that goes away, and an engine on it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tfgrid_zdb::{
    Direction, Engine, Meta, Mode, Namespace, NamespaceId, Options, RealDisk, Report, Scratch,
};

/// A folder that is removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A new one.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("zdb-test-{}-{number}", std::process::id())))
    }

    /// A file of the default namespace.
    pub fn file(&self, root: &str, name: &str) -> PathBuf {
        self.0.join(root).join("default").join(name)
    }

    /// Open an engine on it.
    pub fn open(&self, options: Options) -> (Engine<RealDisk>, Report) {
        Engine::open(self.disk(), options, 0).expect("opens")
    }

    /// The disk.
    pub fn disk(&self) -> RealDisk {
        RealDisk::new(&self.0.join("data"), &self.0.join("index")).expect("directories")
    }

    /// Open an engine with usual options.
    pub fn user(&self) -> (Engine<RealDisk>, Report) {
        self.open(Options::new([7; 16]))
    }

    /// Open an engine in sequential mode.
    pub fn sequential(&self) -> (Engine<RealDisk>, Report) {
        self.open(Options {
            mode: Mode::Sequential,
            ..Options::new([7; 16])
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The default namespace.
pub fn id(engine: &Engine<RealDisk>) -> NamespaceId {
    engine.find("default").expect("always there")
}

/// The default namespace, to write to.
pub fn of(engine: &mut Engine<RealDisk>) -> &mut Namespace<RealDisk> {
    let id = id(engine);
    engine.namespace_mut(id).expect("there")
}

/// A payload, as owned bytes.
pub fn get(namespace: &Namespace<RealDisk>, key: &[u8]) -> Option<Vec<u8>> {
    let mut scratch = Scratch::default();
    namespace
        .get(key, &mut scratch)
        .expect("readable")
        .map(|record| record.payload.to_vec())
}

/// Change the bytes of a file.
pub fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("there");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("writable");
}

/// Walk over live keys in parts: after so many records that were looked at it stops and goes on.
pub fn walk(
    namespace: &Namespace<RealDisk>,
    direction: Direction,
    limit: usize,
    visit: &mut dyn FnMut(&[u8], &Meta),
) {
    let mut from = None;
    loop {
        let mut looked = 0;
        let next = namespace.scan(from, direction, &mut |live| {
            if let Some((key, meta)) = live {
                visit(key, meta);
            }
            looked += 1;
            looked < limit
        });
        assert!(looked <= limit);
        from = next.expect("readable");
        if from.is_none() {
            return;
        }
    }
}
