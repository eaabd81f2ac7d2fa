//! The words of the front door: places, records, modes, settings, figures.

use std::fmt;

use crate::cache::Block;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// Longest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;
/// Longest name of a namespace, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 255;
/// The namespace that is always there.
pub const DEFAULT_NAMESPACE: &str = "default";
/// Smallest size of a data file, in bytes.
pub const SEGMENT_BYTES_MIN: u32 = 512 << 10;
/// Usual size of a data file, in bytes.
pub const SEGMENT_BYTES: u32 = 256 << 20;

/// Usual budget of the cache, in bytes.
pub const CACHE_BYTES: usize = 64 << 20;

/// How keys come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The client chooses keys; a small in-memory index finds them.
    User,
    /// The engine hands out 8-byte little-endian ids; the index stays on disk.
    Sequential,
}

/// The place of a record: stable for as long as the record lives, compaction included.
///
/// Places order as the log does. `(0, 0)` is never a record's place and means "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// Data file.
    pub file: u32,
    /// Offset in the data file as first written.
    pub offset: u32,
}

impl Place {
    /// No place at all: the end of a history chain.
    pub const NONE: Self = Self { file: 0, offset: 0 };

    /// Whether this is a place at all.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.file != 0 || self.offset != 0
    }
}

/// Everything of a record but its bytes; what LENGTH, KEYTIME, KEYCUR, CHECK and SCAN answer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Where it is.
    pub place: Place,
    /// The record before it in the same data file as first written; 0 for the first.
    pub previous_offset: u32,
    /// The version of the same key before this one, or `Place::NONE`.
    pub parent: Place,
    /// Payload length, in bytes.
    pub length: u32,
    /// CRC-32C of the payload as the original computes it: initial value 0, no final xor.
    pub crc: u32,
    /// Unix time, in seconds.
    pub timestamp: u32,
    /// Whether this is a tombstone: the record of a delete.
    pub deleted: bool,
}

/// A record, verified: header, key and payload have the checksums they should. Borrows from `Scratch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Key; in sequential mode eight bytes, little-endian.
    pub key: &'a [u8],
    /// Payload; empty for a tombstone.
    pub payload: &'a [u8],
    /// All the rest.
    pub meta: Meta,
}

/// Room to read a record into; keep one for each reader and use it again.
#[derive(Default)]
pub struct Scratch {
    /// Bytes of its own, of which `got` were read.
    pub(crate) bytes: Vec<u8>,
    pub(crate) got: usize,
    /// Or a block of the cache, and where in it the record begins.
    pub(crate) block: Option<(Block, usize)>,
    /// Whether what is held comes from the cache.
    pub(crate) remembered: bool,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Scratch({} bytes)", self.bytes.len())
    }
}

/// A key as handed back by `set`: no allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    length: u8,
    bytes: [u8; KEY_BYTES_MAX],
}

impl Key {
    /// A key of these bytes, at most `KEY_BYTES_MAX` of them.
    ///
    /// # Panics
    /// When there are more.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let mut bytes = [0; KEY_BYTES_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self {
            length: u8::try_from(key.len()).expect("length checked above"),
            bytes,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({:02x?})", self.as_bytes())
    }
}

/// What a `set` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A new version waits for the next `commit`; in sequential mode this is the id.
    Stored(Place),
    /// The stored payload is the same: nothing was written.
    Identical,
}

/// When writes reach the disk for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// One `fdatasync` for each write, inside `set` and `delete`.
    Always,
    /// One `fdatasync` for each `commit`: the default.
    Group,
    /// At most this many milliseconds of acknowledged writes may be lost with the power.
    Interval(u64),
    /// When the system pleases.
    None,
}

impl SyncMode {
    /// Whether replies wait until writes are on the disk.
    pub(crate) fn waits(self) -> bool {
        matches!(self, Self::Group | Self::Always)
    }
}

/// Which versions of a key compaction may drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryPolicy {
    /// Nothing is ever dropped: the default.
    KeepAll,
    /// The newest `n` versions of each key stay, at least the current one; deleted keys go.
    KeepLast(u32),
    /// The current version, and every version that was current at or after this unix time, stay.
    KeepSince(u32),
}

/// A password, which must stay readable: the challenge of the original hashes it after the challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

impl Password {
    /// A password; more than `PASSWORD_BYTES_MAX` bytes are refused.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let fits = !bytes.is_empty() && bytes.len() <= PASSWORD_BYTES_MAX;
        fits.then(|| Self(bytes.to_vec()))
    }

    /// Its bytes: for computing a challenge's answer, never for showing.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Password(..)")
    }
}

/// What an administrator sets on a namespace; survives restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// Most payload bytes of live keys; 0 for no limit.
    pub max_bytes: u64,
    /// Most bytes of the data and index files, history and headers included; 0 for no limit.
    pub max_disk_bytes: u64,
    /// Most live keys; 0 for no limit.
    pub max_keys: u64,
    /// Password of SELECT.
    pub password: Option<Password>,
    /// With a password: whether those without it may read.
    pub public: bool,
    /// Write once, read many.
    pub worm: bool,
    /// Writes are refused.
    pub lock: bool,
    /// Reads and writes are refused (reads by the server, which knows who asks).
    pub freeze: bool,
    /// What compaction may drop.
    pub history: HistoryPolicy,
}

impl Default for Properties {
    fn default() -> Self {
        Self {
            max_bytes: 0,
            max_disk_bytes: 0,
            max_keys: 0,
            password: None,
            public: true,
            worm: false,
            lock: false,
            freeze: false,
            history: HistoryPolicy::KeepAll,
        }
    }
}

/// Names a namespace of an engine; stale after the namespace was removed or reloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamespaceId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// The way of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

/// What NSINFO, INFO and the metrics answer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Live keys.
    pub entries: u64,
    /// Payload bytes of live keys.
    pub payload_bytes: u64,
    /// Bytes of data files.
    pub data_bytes: u64,
    /// Bytes of index files.
    pub index_bytes: u64,
    /// Bytes of both once all that waits is written: what `max_disk_bytes` bounds.
    pub disk_bytes: u64,
    /// Bytes of memory that the index uses.
    pub index_memory_bytes: u64,
    /// Next id in sequential mode.
    pub next_id: u64,
    /// Current data file.
    pub data_file: u32,
    /// Where the next record goes in it.
    pub data_offset: u32,
    /// Failed reads and writes of data files since start.
    pub data_errors: u64,
    /// The same for index files.
    pub index_errors: u64,
    /// Damaged records met since start, at start included.
    pub damaged: u64,
}
