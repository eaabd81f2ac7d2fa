//! The real disk: plain system calls on files below two directories.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Disk, DiskFile, Root};
use crate::{Error, Result};

/// A pair of directories, locked for this process while the value lives.
#[derive(Debug)]
pub struct RealDisk {
    data: PathBuf,
    index: PathBuf,
    _locks: [File; 2],
}

impl RealDisk {
    /// Take the two directories, which may be one and the same; they are made (mode 0700) if missing.
    ///
    /// # Errors
    /// `Busy` when another process holds one of them; `Write` when they cannot be made.
    pub fn new(data: &Path, index: &Path) -> Result<Self> {
        let locks = [lock(data, ".lockfile")?, lock(index, ".lockfile-index")?];
        Ok(Self {
            data: data.to_owned(),
            index: index.to_owned(),
            _locks: locks,
        })
    }

    fn path(&self, root: Root, path: &str) -> PathBuf {
        match root {
            Root::Data => self.data.join(path),
            Root::Index => self.index.join(path),
        }
    }
}

fn lock(folder: &Path, name: &str) -> Result<File> {
    use rustix::fs::{flock, FlockOperation};

    let failed = |error: &io::Error| Error::write(&folder.display().to_string(), error);
    make_folder(folder, true).map_err(|error| failed(&error))?;
    let path = folder.join(name);
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(|error| failed(&error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::Busy(path.display().to_string())),
    }
}

fn make_folder(path: &Path, parents: bool) -> io::Result<()> {
    match fs::DirBuilder::new()
        .recursive(parents)
        .mode(0o700)
        .create(path)
    {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

impl Disk for RealDisk {
    type File = File;
    const READS_BESIDE: bool = true;

    fn open(&self, root: Root, path: &str, create: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create_new(create)
            .mode(0o600);
        options.open(self.path(root, path))
    }

    fn rename(&self, root: Root, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(root, from), self.path(root, to))
    }

    fn remove(&self, root: Root, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(root, path))
    }

    fn make_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        make_folder(&self.path(root, folder), false)
    }

    fn remove_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        fs::remove_dir(self.path(root, folder))
    }

    fn list(&self, root: Root, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(root, folder))? {
            // A name that is not text is not ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn sync_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        File::open(self.path(root, folder))?.sync_all()
    }

    fn free_bytes(&self, root: Root) -> io::Result<u64> {
        let figures = rustix::fs::statvfs(self.path(root, ""))?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn drop_cache(&self, offset: u64) {
        // Advice: a file system may ignore it, and then the pages are as good as they were.
        let _ = rustix::fs::fadvise(self, offset, None, rustix::fs::Advice::DontNeed);
    }
}
