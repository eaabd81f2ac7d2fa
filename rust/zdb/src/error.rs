//! What can go wrong, one variant for each cause a client or an operator would treat differently.

use std::{fmt, io};

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The key is longer than 255 bytes.
    KeyTooLong,
    /// The payload is longer than 8 MiB.
    PayloadTooLong,
    /// User mode, empty key.
    KeyNeeded,
    /// Sequential mode, an id that was never given out or was deleted.
    UnknownId,
    /// The key does not exist (or was deleted).
    NotFound,
    /// The write would pass a quota of the namespace.
    NoSpace,
    /// `worm` forbids an overwrite or a delete.
    Worm,
    /// `lock` forbids writing.
    Locked,
    /// `freeze` forbids reading and writing.
    Frozen,
    /// The disk failed earlier; nothing is written until the namespace is reloaded.
    ReadOnly(String),
    /// Writing failed (disk full, short write, I/O error); nothing of it is visible, trying later is fine.
    Write(String),
    /// Reading failed at the disk.
    Read(String),
    /// A record is there and its checksum, or what it says, is wrong.
    Damaged {
        /// Data file.
        file: u32,
        /// Offset of the record in it.
        offset: u32,
        /// What was wrong, in words.
        what: &'static str,
    },
    /// The place asked for holds no record: beyond the end of a data file.
    EndOfFile,
    /// The place asked for holds no record: not a record's start, or no such data file.
    NoRecord,
    /// The record at the place asked for belongs to another key.
    OtherKey,
    /// The namespace's name is empty, too long, `.`, `..`, or holds `/` or a control character.
    BadName,
    /// There is a namespace of this name.
    Exists,
    /// There is no such namespace.
    NoNamespace,
    /// The default namespace cannot be removed.
    DefaultNamespace,
    /// The mode of a namespace that was ever written to cannot change.
    ModeInUse,
    /// Another process holds the directory.
    Busy(String),
    /// A file has a version this code does not know, or is not what its name says.
    Format(String),
}

impl Error {
    /// A failed write, in the words of the system.
    pub(crate) fn write(what: &str, error: &io::Error) -> Self {
        Self::Write(format!("{what}: {error}"))
    }

    /// A failed read, in the words of the system.
    pub(crate) fn read(what: &str, error: &io::Error) -> Self {
        Self::Read(format!("{what}: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyTooLong => out.write_str("key longer than 255 bytes"),
            Self::PayloadTooLong => out.write_str("payload longer than 8 MiB"),
            Self::KeyNeeded => out.write_str("a key is needed in user mode"),
            Self::UnknownId => out.write_str("no such id; only updates are authorized"),
            Self::NotFound => out.write_str("key not found"),
            Self::NoSpace => out.write_str("no space left on this namespace"),
            Self::Worm => out.write_str("namespace is write-once"),
            Self::Locked => out.write_str("namespace is locked"),
            Self::Frozen => out.write_str("namespace is frozen"),
            Self::ReadOnly(reason) => write!(out, "namespace is read-only: {reason}"),
            Self::Write(what) => write!(out, "cannot write: {what}"),
            Self::Read(what) => write!(out, "cannot read: {what}"),
            Self::Damaged { file, offset, what } => {
                write!(
                    out,
                    "damaged record in data file {file} at {offset}: {what}"
                )
            }
            Self::EndOfFile => out.write_str("beyond the end of the data file"),
            Self::NoRecord => out.write_str("no record at this place"),
            Self::OtherKey => out.write_str("the record there belongs to another key"),
            Self::BadName => out.write_str("not a name for a namespace"),
            Self::Exists => out.write_str("namespace exists"),
            Self::NoNamespace => out.write_str("no such namespace"),
            Self::DefaultNamespace => out.write_str("the default namespace cannot be removed"),
            Self::ModeInUse => out.write_str("the mode of a used namespace cannot change"),
            Self::Busy(what) => write!(out, "in use by another process: {what}"),
            Self::Format(what) => write!(out, "not understood: {what}"),
        }
    }
}

impl std::error::Error for Error {}
