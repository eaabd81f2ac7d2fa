//! The seam to the disk: the few calls the engine makes, so that a test can stand in for the disk.

mod faults;
mod real;
mod simulated;

use std::fmt::Debug;
use std::io;

pub use faults::{Dice, Faults, Omissions};
pub use real::RealDisk;
pub use simulated::{SimulatedDisk, SimulatedFile};

/// Which of the two directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Root {
    /// Data files and properties: the truth.
    Data,
    /// Index files: a shadow of it.
    Index,
}

/// An open file. Calls are plain system calls; positions are explicit, nothing is retried.
pub trait DiskFile: Debug + Send + std::marker::Sync {
    /// Read at an offset; fewer bytes only at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Write at an offset; may write fewer bytes than given.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Make bytes and length durable.
    ///
    /// # Errors
    /// What the system says; after an error nothing is known about any byte since the last success.
    fn sync(&self) -> io::Result<()>;

    /// Cut or extend with zeros.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Length, in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Forget cached clean pages from an offset on, so that the next read is of the disk.
    fn drop_cache(&self, offset: u64);
}

/// Two directories, with one folder for each namespace. Paths are `NAMESPACE/FILE`.
pub trait Disk: Debug {
    /// An open file.
    type File: DiskFile;

    /// Whether a thread may read a file while the engine goes on; never where chance decides what a call does.
    const READS_BESIDE: bool;

    /// Open a file for reading and writing; with `create` it must not exist yet (mode 0600).
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, root: Root, path: &str, create: bool) -> io::Result<Self::File>;

    /// Rename within a folder, replacing what is there.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, root: Root, from: &str, to: &str) -> io::Result<()>;

    /// Remove a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, root: Root, path: &str) -> io::Result<()>;

    /// Make a folder; one that is there already is fine.
    ///
    /// # Errors
    /// What the system says.
    fn make_folder(&self, root: Root, folder: &str) -> io::Result<()>;

    /// Remove an empty folder.
    ///
    /// # Errors
    /// What the system says.
    fn remove_folder(&self, root: Root, folder: &str) -> io::Result<()>;

    /// Names in a folder (`""` for the root itself), unsorted.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, root: Root, folder: &str) -> io::Result<Vec<String>>;

    /// Make creations, renames and removals in a folder durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, root: Root, folder: &str) -> io::Result<()>;

    /// Free bytes of the disk below a root.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self, root: Root) -> io::Result<u64>;
}
