//! The file `namespace`: who a namespace is, what its administrator set, which data files it has.
//!
//! It is written anew, synced and renamed into place, in the data directory first and in the index
//! directory as a copy; the good one with the higher serial number counts. Mode 0600: it holds the
//! password, which the challenge form of the original needs in clear.
//!
//! Version 2 has room for the quotas that version 1 does not know; without them version 1 is written,
//! so that an older program reads it.

use std::io;

use crate::format::{mode_byte, mode_of, u32_at, u64_at, Uid};
use crate::index::write_all;
use crate::{Disk, DiskFile, Error, HistoryPolicy, Mode, Password, Properties, Root};

const MAGIC: &[u8; 8] = b"TFZDBnsp";
const VERSION_PLAIN: u32 = 1;
const VERSION_QUOTAS: u32 = 2;
const FIXED_BYTES: usize = 72;
/// More than any of them has.
const BYTES_MAX: usize = 4096;
const QUOTAS_BYTES: usize = 16;
const PUBLIC: u8 = 1;
const WORM: u8 = 2;
const LOCK: u8 = 4;
const FREEZE: u8 = 8;
const REMOVED: u8 = 16;

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Grows with each writing.
    pub serial: u64,
    /// Who the namespace is.
    pub uid: Uid,
    /// How its keys come to be.
    pub mode: Mode,
    /// What its administrator set.
    pub properties: Properties,
    /// First data file; lower numbers are left over from before a FLUSH.
    pub first: u32,
    /// Last data file: where writing goes on.
    pub last: u32,
    /// Whether it is being removed.
    pub removed: bool,
}

/// The name of the file below a root; the two roots may be one directory.
pub fn name(root: Root) -> &'static str {
    match root {
        Root::Data => "namespace",
        Root::Index => "namespace-copy",
    }
}

impl Manifest {
    /// Of a new namespace.
    pub fn new(uid: Uid, mode: Mode) -> Self {
        let properties = Properties::default();
        Self {
            serial: 0,
            uid,
            mode,
            properties,
            first: 0,
            last: 0,
            removed: false,
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let set = &self.properties;
        let password = set.password.as_ref().map_or(&[][..], Password::reveal);
        let flags = [
            (set.public, PUBLIC),
            (set.worm, WORM),
            (set.lock, LOCK),
            (set.freeze, FREEZE),
            (self.removed, REMOVED),
        ];
        let (policy, value) = match set.history {
            HistoryPolicy::KeepAll => (0, 0),
            HistoryPolicy::KeepLast(count) => (1, count),
            HistoryPolicy::KeepSince(timestamp) => (2, timestamp),
        };
        let quotas = set.max_disk_bytes > 0 || set.max_keys > 0;
        let version = if quotas {
            VERSION_QUOTAS
        } else {
            VERSION_PLAIN
        };
        let mut bytes = vec![0; FIXED_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[12] = mode_byte(self.mode);
        bytes[13] = flags.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
        bytes[14] = policy;
        bytes[15] = u8::try_from(password.len()).expect("passwords are at most 255 bytes");
        bytes[16..24].copy_from_slice(&self.serial.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.uid.0);
        bytes[40..48].copy_from_slice(&set.max_bytes.to_le_bytes());
        bytes[48..52].copy_from_slice(&value.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.first.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.last.to_le_bytes());
        if quotas {
            bytes.extend_from_slice(&set.max_disk_bytes.to_le_bytes());
            bytes.extend_from_slice(&set.max_keys.to_le_bytes());
        }
        bytes.extend_from_slice(password);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// From bytes; `None` when they are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let body = bytes
            .len()
            .checked_sub(4)
            .filter(|&body| body >= FIXED_BYTES)?;
        let fixed = match u32_at(bytes, 8) {
            VERSION_PLAIN => FIXED_BYTES,
            VERSION_QUOTAS => FIXED_BYTES + QUOTAS_BYTES,
            _ => return None,
        };
        let good = bytes[..8] == *MAGIC
            && crc32c::crc32c(&bytes[..body]) == u32_at(bytes, body)
            && body == fixed + usize::from(bytes[15]);
        if !good {
            return None;
        }
        let quota = |at| {
            if fixed > FIXED_BYTES {
                u64_at(bytes, at)
            } else {
                0
            }
        };
        let flag = |bit: u8| bytes[13] & bit != 0;
        let value = u32_at(bytes, 48);
        let properties = Properties {
            max_bytes: u64_at(bytes, 40),
            max_disk_bytes: quota(FIXED_BYTES),
            max_keys: quota(FIXED_BYTES + 8),
            password: Password::new(&bytes[fixed..body]),
            public: flag(PUBLIC),
            worm: flag(WORM),
            lock: flag(LOCK),
            freeze: flag(FREEZE),
            history: match bytes[14] {
                0 => HistoryPolicy::KeepAll,
                1 => HistoryPolicy::KeepLast(value),
                2 => HistoryPolicy::KeepSince(value),
                _ => return None,
            },
        };
        Some(Self {
            serial: u64_at(bytes, 16),
            uid: Uid(bytes[24..40].try_into().expect("sixteen bytes")),
            mode: mode_of(bytes[12])?,
            properties,
            first: u32_at(bytes, 52),
            last: u32_at(bytes, 56),
            removed: flag(REMOVED),
        })
    }

    /// The copy in the index directory alone: what was in force, or was before the last change.
    pub fn load_copy<D: Disk>(disk: &D, folder: &str) -> Option<Self> {
        let bytes = read(disk, Root::Index, folder).unwrap_or_default()?;
        Self::decode(&bytes)
    }

    /// Whether these are good bytes of a version that is not known here.
    fn is_later(bytes: &[u8]) -> bool {
        let body = bytes.len().saturating_sub(4);
        body >= FIXED_BYTES
            && bytes[..8] == *MAGIC
            && u32_at(bytes, 8) > VERSION_QUOTAS
            && crc32c::crc32c(&bytes[..body]) == u32_at(bytes, body)
    }

    /// Whether one of the two files is of a later version: then nothing may be written over it.
    pub fn is_of_later_version<D: Disk>(disk: &D, folder: &str) -> bool {
        for root in [Root::Data, Root::Index] {
            let bytes = read(disk, root, folder).unwrap_or_default();
            if bytes.is_some_and(|bytes| Self::is_later(&bytes)) {
                return true;
            }
        }
        false
    }

    /// Write the file and its copy; durable when this returns. Says whether the copy was written too.
    ///
    /// # Errors
    /// What the disk says of the data directory, and whether the old file is certainly still in force.
    pub fn save<D: Disk>(&mut self, disk: &D, folder: &str) -> Result<bool, NotSaved> {
        self.serial += 1;
        let bytes = self.encode();
        let prepared = prepare(disk, Root::Data, folder, &bytes);
        prepared.map_err(|error| NotSaved {
            error,
            certain: true,
        })?;
        let published = publish(disk, Root::Data, folder);
        published.map_err(|error| NotSaved {
            error,
            certain: false,
        })?;
        let copied = prepare(disk, Root::Index, folder, &bytes);
        Ok(copied
            .and_then(|()| publish(disk, Root::Index, folder))
            .is_ok())
    }

    /// The newest good one of the two files, and whether both were good.
    ///
    /// # Errors
    /// `Read`: the one in the data directory cannot be read. It is written first, so it may be the newest, and is
    /// not replaced by the other.
    pub fn load<D: Disk>(disk: &D, folder: &str) -> crate::Result<(Option<Self>, bool)> {
        let data = read(disk, Root::Data, folder)?;
        let index = read(disk, Root::Index, folder).unwrap_or_default();
        let [data, index] = [data, index].map(|bytes| bytes.and_then(|bytes| Self::decode(&bytes)));
        let both = data.is_some() && data == index;
        let found = data.into_iter().chain(index);
        Ok((found.max_by_key(|found| found.serial), both))
    }
}

/// Whether there is a manifest of a namespace at all, good or not.
///
/// # Errors
/// What the disk says.
pub fn is_there<D: Disk>(disk: &D, folder: &str) -> crate::Result<bool> {
    for root in [Root::Data, Root::Index] {
        let names = disk
            .list(root, folder)
            .map_err(|error| Error::read(folder, &error))?;
        if names.iter().any(|one| one == name(root)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read<D: Disk>(disk: &D, root: Root, folder: &str) -> crate::Result<Option<Vec<u8>>> {
    let path = format!("{folder}/{}", name(root));
    let failed = |error: io::Error| Error::read(&path, &error);
    let file = match disk.open(root, &path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let length = file.length().map_err(failed)?.min(BYTES_MAX as u64);
    let mut bytes = vec![0; length as usize];
    let got = file.read_at(&mut bytes, 0).map_err(failed)?;
    bytes.truncate(got);
    Ok(Some(bytes))
}

/// Why a manifest was not saved.
#[derive(Debug)]
pub struct NotSaved {
    /// What the disk said.
    pub error: io::Error,
    /// Whether the old one is certainly still in force; else the next start decides.
    pub certain: bool,
}

fn prepare<D: Disk>(disk: &D, root: Root, folder: &str, bytes: &[u8]) -> io::Result<()> {
    let file = create(disk, root, &format!("{folder}/{}.new", name(root)))?;
    write_all(&file, bytes, 0)?;
    file.sync()
}

fn publish<D: Disk>(disk: &D, root: Root, folder: &str) -> io::Result<()> {
    let path = format!("{folder}/{}", name(root));
    disk.rename(root, &format!("{path}.new"), &path)?;
    disk.sync_folder(root, folder)
}

/// A new file, in place of one that was left over from an attempt before.
///
/// # Errors
/// What the disk says.
pub fn create<D: Disk>(disk: &D, root: Root, path: &str) -> io::Result<D::File> {
    match disk.open(root, path, true) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(root, path)?;
            disk.open(root, path, true)
        }
        other => other,
    }
}
