//! A disk that is read and never written: what the engine changes stays in memory.
//!
//! So the engine itself can say what it would find and mend, without mending it.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tfgrid_zdb::{Disk, DiskFile, RealDisk, Root};

const PAGE: u64 = 4096;

/// What became of a file in memory: its length, and pages that differ from the disk.
#[derive(Debug)]
struct Content {
    base: Option<File>,
    /// Bytes of the base that still count; what was cut off stays cut off.
    base_length: u64,
    length: u64,
    pages: HashMap<u64, Box<[u8]>>,
}

/// One file of the overlay.
#[derive(Clone, Debug)]
pub struct OverlayFile(Arc<Mutex<Content>>);

type Name = (Root, String);

#[derive(Debug, Default)]
struct Tree {
    files: HashMap<Name, OverlayFile>,
    gone: BTreeSet<Name>,
    folders: BTreeSet<Name>,
}

/// Two directories below, changes in memory above; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Overlay {
    below: Arc<RealDisk>,
    roots: [PathBuf; 2],
    tree: Arc<Mutex<Tree>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Overlay {
    /// Over directories that are held by `below`.
    #[must_use]
    pub fn new(below: RealDisk, data: PathBuf, index: PathBuf) -> Self {
        Self {
            below: Arc::new(below),
            roots: [data, index],
            tree: Arc::default(),
        }
    }

    fn path(&self, root: Root, path: &str) -> PathBuf {
        self.roots[usize::from(root == Root::Index)].join(path)
    }

    /// A file that is there, from memory or from the disk.
    fn existing(&self, tree: &mut Tree, name: &Name) -> io::Result<OverlayFile> {
        if let Some(file) = tree.files.get(name) {
            return Ok(file.clone());
        }
        if tree.gone.contains(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let base = File::open(self.path(name.0, &name.1))?;
        let length = base.metadata()?.len();
        let content = Content {
            base: Some(base),
            base_length: length,
            length,
            pages: HashMap::new(),
        };
        let file = OverlayFile(Arc::new(Mutex::new(content)));
        tree.files.insert(name.clone(), file.clone());
        Ok(file)
    }
}

impl Disk for Overlay {
    type File = OverlayFile;
    const READS_BESIDE: bool = true;

    fn open(&self, root: Root, path: &str, create: bool) -> io::Result<OverlayFile> {
        let name = (root, path.to_owned());
        let mut tree = lock(&self.tree);
        let found = self.existing(&mut tree, &name);
        match (found, create) {
            (Ok(_), true) => Err(io::ErrorKind::AlreadyExists.into()),
            (Err(error), true) if error.kind() == io::ErrorKind::NotFound => {
                let content = Content {
                    base: None,
                    base_length: 0,
                    length: 0,
                    pages: HashMap::new(),
                };
                let file = OverlayFile(Arc::new(Mutex::new(content)));
                tree.gone.remove(&name);
                tree.files.insert(name, file.clone());
                Ok(file)
            }
            (found, _) => found,
        }
    }

    fn rename(&self, root: Root, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = ((root, from.to_owned()), (root, to.to_owned()));
        let mut tree = lock(&self.tree);
        let file = self.existing(&mut tree, &from)?;
        tree.files.remove(&from);
        tree.gone.insert(from);
        tree.gone.remove(&to);
        tree.files.insert(to, file);
        Ok(())
    }

    fn remove(&self, root: Root, path: &str) -> io::Result<()> {
        let name = (root, path.to_owned());
        let mut tree = lock(&self.tree);
        self.existing(&mut tree, &name)?;
        tree.files.remove(&name);
        tree.gone.insert(name);
        Ok(())
    }

    fn make_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        let name = (root, folder.to_owned());
        let mut tree = lock(&self.tree);
        tree.gone.remove(&name);
        tree.folders.insert(name);
        Ok(())
    }

    fn remove_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        let name = (root, folder.to_owned());
        let mut tree = lock(&self.tree);
        tree.folders.remove(&name);
        tree.gone.insert(name);
        Ok(())
    }

    fn list(&self, root: Root, folder: &str) -> io::Result<Vec<String>> {
        let tree = lock(&self.tree);
        let made = tree.folders.contains(&(root, folder.to_owned()));
        let mut names: BTreeSet<String> = match self.below.list(root, folder) {
            Ok(names) => names.into_iter().collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && made => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let full = |name: &String| (root, format!("{prefix}{name}"));
        names.retain(|name| !tree.gone.contains(&full(name)));
        let known = tree
            .files
            .keys()
            .chain(&tree.folders)
            .filter(|(of, _)| *of == root);
        let below = known.filter_map(|(_, path)| path.strip_prefix(&prefix));
        names.extend(
            below
                .filter(|rest| !rest.contains('/') && !rest.is_empty())
                .map(str::to_owned),
        );
        Ok(names.into_iter().collect())
    }

    fn sync_folder(&self, _root: Root, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, root: Root) -> io::Result<u64> {
        self.below.free_bytes(root)
    }
}

impl Content {
    /// Read within one page.
    fn read_page(&self, number: u64) -> io::Result<Box<[u8]>> {
        if let Some(page) = self.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE as usize].into_boxed_slice();
        let start = number * PAGE;
        let there = self.base_length.saturating_sub(start).min(PAGE) as usize;
        if let (Some(base), true) = (&self.base, there > 0) {
            base.read_exact_at(&mut page[..there], start)?;
        }
        Ok(page)
    }
}

impl DiskFile for OverlayFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = lock(&self.0);
        let wanted = content
            .length
            .saturating_sub(offset)
            .min(buffer.len() as u64) as usize;
        if content.pages.is_empty() && offset + wanted as u64 <= content.base_length {
            if let Some(base) = &content.base {
                base.read_exact_at(&mut buffer[..wanted], offset)?;
                return Ok(wanted);
            }
        }
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let page = content.read_page(at / PAGE)?;
            let start = (at % PAGE) as usize;
            let count = (page.len() - start).min(wanted - done);
            buffer[done..done + count].copy_from_slice(&page[start..start + count]);
            done += count;
        }
        Ok(wanted)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut content = lock(&self.0);
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let mut page = content.read_page(at / PAGE)?;
            let start = (at % PAGE) as usize;
            let count = (page.len() - start).min(bytes.len() - done);
            page[start..start + count].copy_from_slice(&bytes[done..done + count]);
            content.pages.insert(at / PAGE, page);
            done += count;
        }
        content.length = content.length.max(offset + done as u64);
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut content = lock(&self.0);
        content.base_length = content.base_length.min(length);
        content.pages.retain(|number, _| number * PAGE < length);
        if let Some(page) = content.pages.get_mut(&(length / PAGE)) {
            page[(length % PAGE) as usize..].fill(0);
        }
        content.length = length;
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.0).length)
    }

    fn drop_cache(&self, _offset: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_seen_and_the_disk_stays_as_it_is() {
        let folder = std::env::temp_dir().join(format!("zdb-overlay-{}", std::process::id()));
        let (data, index) = (folder.join("d"), folder.join("i"));
        std::fs::create_dir_all(data.join("n")).expect("a folder");
        let old: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        std::fs::write(data.join("n/f"), &old).expect("a file");
        let below = RealDisk::new(&data, &index).expect("held");
        let disk = Overlay::new(below, data.clone(), index);

        let file = disk.open(Root::Data, "n/f", false).expect("there");
        file.write_at(b"new", 4095).expect("written");
        file.truncate(9000).expect("cut");
        file.truncate(9500).expect("grown");
        let mut wanted = old.clone();
        wanted[4095..4098].copy_from_slice(b"new");
        wanted.truncate(9000);
        wanted.resize(9500, 0);
        let mut got = vec![1; 20_000];
        assert_eq!(file.read_at(&mut got, 0).expect("read"), 9500);
        assert!(got[..9500] == wanted[..]);
        disk.rename(Root::Data, "n/f", "n/g").expect("renamed");
        assert!(disk.open(Root::Data, "n/f", false).is_err());
        disk.make_folder(Root::Data, "m").expect("made");
        disk.open(Root::Data, "m/x", true).expect("created");
        assert_eq!(disk.list(Root::Data, "n").expect("listed"), ["g"]);
        assert_eq!(disk.list(Root::Data, "m").expect("listed"), ["x"]);
        disk.remove(Root::Data, "n/g").expect("removed");
        assert!(disk.list(Root::Data, "n").expect("listed").is_empty());

        assert_eq!(std::fs::read(data.join("n/f")).expect("still there"), old);
        assert!(!data.join("m").exists());
        drop(disk);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
