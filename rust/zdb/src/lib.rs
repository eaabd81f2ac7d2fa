//! The storage engine of Zero-DB.
//!
//! Records are appended to data files and never changed; an index in memory (user mode) or on disk
//! (sequential mode) says where the current version of a key is. Every record carries a checksum over
//! where it is, what it is and what it holds, and every read verifies it. The index is a shadow of
//! the data: lost or damaged, it is rebuilt. `docs/formats/zdb.md` has all formats to the byte.
//!
//! # Writing
//! `Namespace::set` and `Namespace::delete` put records into a buffer and the index; reads see them at
//! once. `Engine::commit` writes every buffer with one system call and makes it durable as
//! `Options::sync` says. **A reply to a write may leave only after the commit that follows it**, and
//! not as a success if that commit names the namespace: its writes since the last commit are undone.
//!
//! ```
//! use tfgrid_zdb::{Engine, Options, RealDisk, Scratch};
//!
//! # let root = std::env::temp_dir().join(format!("zdb-doc-{}", std::process::id()));
//! let disk = RealDisk::new(&root.join("data"), &root.join("index"))?;
//! let (mut engine, report) = Engine::open(disk, Options::new([7; 16]), 0)?;
//! assert!(report.is_clean());
//! let id = engine.find("default").expect("always there");
//! let namespace = engine.namespace_mut(id)?;
//! namespace.set(b"key", b"payload", 1_700_000_000)?;
//! assert!(engine.commit(0).is_empty());
//! let mut scratch = Scratch::default();
//! let record = engine.namespace(id)?.get(b"key", &mut scratch)?;
//! assert_eq!(record.map(|found| found.payload), Some(&b"payload"[..]));
//! # std::fs::remove_dir_all(&root).ok();
//! # Ok::<(), tfgrid_zdb::Error>(())
//! ```
//!
//! # Who calls what
//! One thread owns the engine. There are no threads and no clocks in here: `now_ms` is any steady
//! count of milliseconds, timestamps are unix seconds. At rest nothing is due (`Engine::next_due_ms`)
//! and no system call is made.

mod cache;
#[cfg(feature = "canaries")]
pub mod canary;
#[cfg(not(feature = "canaries"))]
mod canary;
mod disk;
mod engine;
mod error;
mod format;
mod index;
mod manifest;
mod namespace;
mod segment;
mod table;
pub mod tools;
mod types;

pub use disk::{
    Dice, Disk, DiskFile, Faults, Omissions, RealDisk, Root, SimulatedDisk, SimulatedFile,
};
pub use engine::{Engine, Loss, Options, Report};
pub use error::{Error, Result};
pub use namespace::{BegunSync, Namespace, Position, Step};
pub use types::{
    Direction, HistoryPolicy, Key, Meta, Mode, NamespaceId, Password, Place, Properties, Record,
    Scratch, Stats, SyncMode, Written, CACHE_BYTES, DEFAULT_NAMESPACE, KEY_BYTES_MAX,
    NAME_BYTES_MAX, PASSWORD_BYTES_MAX, PAYLOAD_BYTES_MAX, SEGMENT_BYTES, SEGMENT_BYTES_MIN,
};
