//! The bytes of data files: header, record, run. All integers are little-endian.
//!
//! `docs/formats/zdb.md` is the specification; `tests/vectors.rs` holds frozen examples.

use crate::canary::{sings, Canary};
use crate::{Meta, Mode, Place, PAYLOAD_BYTES_MAX};

/// Version of every file written here.
pub const VERSION: u32 = 1;
/// Records begin at multiples of this.
pub const ALIGN: u32 = 8;
/// Bytes before the first record of a data file.
pub const SEGMENT_HEADER_BYTES: u32 = 64;
/// Bytes before the key of a record.
pub const RECORD_HEADER_BYTES: usize = 32;
/// No count, size or id comes near this: whatever says so is damage, and sums of them stay numbers.
pub const COUNT_END: u64 = 1 << 60;
/// Bytes before each run of records in a compacted data file.
pub const RUN_HEADER_BYTES: usize = 16;

const SEGMENT_MAGIC: &[u8; 8] = b"TFZDBdat";
const RECORD_MAGIC: [u8; 2] = *b"ZR";
const RUN_MAGIC: &[u8; 4] = b"ZRUN";
const KIND_VALUE: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
const KIND_VOID: u8 = 3;
const KIND_MASK: u8 = 0x0f;
const BARRIER: u8 = 0x80;
const COMPACTED: u8 = 1;
const AHEAD: u8 = 2;

/// The number at an offset.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The number at an offset.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// CRC-32C as the original computes it over payloads: initial value 0, no final xor.
pub fn payload_crc(payload: &[u8]) -> u32 {
    !crc32c::crc32c_append(!0, payload)
}

/// Who a namespace is: part of every checksum, so that bytes of another place never look right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uid(pub [u8; 16]);

impl Uid {
    /// The checksum state of everything in one file of this namespace.
    pub fn file_seed(&self, file: u32) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.0), &file.to_le_bytes())
    }

    /// The 32 bits by which the index knows a key.
    pub fn hash(&self, key: &[u8]) -> u32 {
        let hasher = siphasher::sip::SipHasher13::new_with_key(&self.0);
        (hasher.hash(key) >> 32) as u32
    }
}

/// The first bytes of a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Namespace.
    pub uid: Uid,
    /// Data file.
    pub file: u32,
    /// Mode of the namespace.
    pub mode: Mode,
    /// How often it was compacted; 0 means that offsets in the file are the places.
    pub generation: u32,
    /// Sequential mode: the id that the first new key of this file gets.
    pub first_id: u64,
    /// Compacted: where the file ended before; otherwise 0.
    pub logical_end: u32,
    /// Whether it was begun before all of the file before it was durable.
    pub ahead: bool,
}

impl SegmentHeader {
    /// Of a file as first written, begun once the one before it was durable.
    pub fn new(uid: Uid, file: u32, mode: Mode, first_id: u64) -> Self {
        Self {
            uid,
            file,
            mode,
            generation: 0,
            first_id,
            logical_end: 0,
            ahead: false,
        }
    }

    /// As bytes.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.file.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.uid.0);
        bytes[32] = mode_byte(self.mode);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        bytes[33] = flag(self.generation > 0, COMPACTED) | flag(self.ahead, AHEAD);
        bytes[36..40].copy_from_slice(&self.generation.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_id.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.logical_end.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// From bytes; `None` when they are not a header of this version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let whole = bytes.len() >= SEGMENT_HEADER_BYTES as usize
            && bytes[..8] == *SEGMENT_MAGIC
            && crc32c::crc32c(&bytes[..60]) == u32_at(bytes, 60)
            && u32_at(bytes, 8) == VERSION
            && u64_at(bytes, 40) < COUNT_END;
        if !whole {
            return None;
        }
        Some(Self {
            uid: Uid(bytes[16..32].try_into().expect("sixteen bytes")),
            file: u32_at(bytes, 12),
            mode: mode_of(bytes[32])?,
            generation: u32_at(bytes, 36),
            first_id: u64_at(bytes, 40),
            logical_end: u32_at(bytes, 48),
            ahead: bytes[33] & AHEAD != 0,
        })
    }
}

/// How a mode is written.
pub fn mode_byte(mode: Mode) -> u8 {
    match mode {
        Mode::User => 0,
        Mode::Sequential => 1,
    }
}

/// How a mode is read.
pub fn mode_of(byte: u8) -> Option<Mode> {
    match byte {
        0 => Some(Mode::User),
        1 => Some(Mode::Sequential),
        _ => None,
    }
}

/// Bytes of a record, padding included.
pub fn record_bytes(key_bytes: usize, payload_bytes: usize) -> usize {
    (RECORD_HEADER_BYTES + key_bytes + payload_bytes + 7) & !7
}

/// What the header of a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// All that readers see.
    pub meta: Meta,
    /// Length of the key, in bytes.
    pub key_bytes: usize,
    /// Whether everything before this record was durable when it was written.
    pub barrier: bool,
    /// Whether this is no record, but covers bytes that recovery found torn and gave up.
    pub void: bool,
}

impl RecordHeader {
    /// Bytes of the whole record, padding included.
    pub fn total(&self) -> usize {
        record_bytes(self.key_bytes, self.meta.length as usize)
    }

    /// A header that covers `length` bytes at a place, itself included.
    pub fn void(place: Place, length: u32) -> Self {
        let length = length - RECORD_HEADER_BYTES as u32;
        let (parent, crc, timestamp) = (Place::NONE, 0, 0);
        let meta = Meta {
            place,
            previous_offset: 0,
            parent,
            length,
            crc,
            timestamp,
            deleted: true,
        };
        Self {
            meta,
            key_bytes: 0,
            barrier: false,
            void: true,
        }
    }

    /// Append the record of this header to a buffer.
    pub fn encode(&self, seed: u32, key: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        let meta = &self.meta;
        let kind = match (self.void, meta.deleted) {
            (true, _) => KIND_VOID,
            (false, true) => KIND_TOMBSTONE,
            (false, false) => KIND_VALUE,
        };
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[..2].copy_from_slice(&RECORD_MAGIC);
        bytes[2] = kind | if self.barrier { BARRIER } else { 0 };
        bytes[3] = u8::try_from(key.len()).expect("keys are at most 255 bytes");
        bytes[4..8].copy_from_slice(&meta.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&meta.timestamp.to_le_bytes());
        bytes[12..16].copy_from_slice(&meta.crc.to_le_bytes());
        bytes[16..20].copy_from_slice(&meta.previous_offset.to_le_bytes());
        bytes[20..24].copy_from_slice(&meta.parent.file.to_le_bytes());
        bytes[24..28].copy_from_slice(&meta.parent.offset.to_le_bytes());
        let crc = header_crc(seed, meta.place.offset, &bytes[..28], key);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        out.reserve(self.total());
        out.extend_from_slice(&bytes);
        out.extend_from_slice(key);
        out.extend_from_slice(payload);
        out.resize(out.len().next_multiple_of(ALIGN as usize), 0);
    }

    /// What a header says, unverified; `None` when it cannot be one.
    pub fn parse(bytes: &[u8], place: Place) -> Option<Self> {
        if bytes.len() < RECORD_HEADER_BYTES || bytes[..2] != RECORD_MAGIC {
            return None;
        }
        let (deleted, void) = match bytes[2] & KIND_MASK {
            KIND_VALUE => (false, false),
            KIND_TOMBSTONE => (true, false),
            KIND_VOID => (true, true),
            _ => return None,
        };
        let length = u32_at(bytes, 4);
        if length as usize > PAYLOAD_BYTES_MAX {
            return None;
        }
        let parent = Place {
            file: u32_at(bytes, 20),
            offset: u32_at(bytes, 24),
        };
        let (timestamp, crc) = (u32_at(bytes, 8), u32_at(bytes, 12));
        let previous_offset = u32_at(bytes, 16);
        let meta = Meta {
            place,
            previous_offset,
            parent,
            length,
            crc,
            timestamp,
            deleted,
        };
        let barrier = bytes[2] & BARRIER != 0;
        Some(Self {
            meta,
            key_bytes: usize::from(bytes[3]),
            barrier,
            void,
        })
    }

    /// Header and key, verified; `None` when they are not a record at this place.
    pub fn verify(bytes: &[u8], seed: u32, place: Place) -> Option<(Self, &[u8])> {
        let header = Self::parse(bytes, place)?;
        let key = bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + header.key_bytes)?;
        let crc = header_crc(seed, place.offset, &bytes[..28], key);
        let good =
            crc == u32_at(bytes, 28) || sings(Canary::HeaderUnchecked) || sings(Canary::Unchecked);
        good.then_some((header, key))
    }
}

fn header_crc(seed: u32, offset: u32, header: &[u8], key: &[u8]) -> u32 {
    let mut bytes = [0; 32];
    if !sings(Canary::PlaceUnchecked) {
        bytes[..4].copy_from_slice(&offset.to_le_bytes());
    }
    bytes[4..].copy_from_slice(header);
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &bytes), key)
}

/// A stretch of records that compaction kept, as long as they followed one another before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunHeader {
    /// Place of its first record.
    pub offset: u32,
    /// Bytes of records that follow.
    pub length: u32,
}

impl RunHeader {
    /// As bytes.
    pub fn encode(&self, seed: u32) -> [u8; RUN_HEADER_BYTES] {
        let mut bytes = [0; RUN_HEADER_BYTES];
        bytes[..4].copy_from_slice(RUN_MAGIC);
        bytes[4..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &bytes[..12]);
        bytes[12..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// From bytes, verified.
    pub fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let good = bytes.len() >= RUN_HEADER_BYTES
            && bytes[..4] == *RUN_MAGIC
            && (crc32c::crc32c_append(seed, &bytes[..12]) == u32_at(bytes, 12)
                || sings(Canary::Unchecked));
        good.then(|| Self {
            offset: u32_at(bytes, 4),
            length: u32_at(bytes, 8),
        })
    }
}
