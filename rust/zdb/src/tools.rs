//! Tools for files at rest: what is there, whether it is whole, and making it usable again.
//!
//! `check`, `dump` and `info` write nothing. `repair` is what every start does; `rebuild` first throws
//! the index away, so that all data is read and verified.

use std::io;
use std::ops::RangeInclusive;

use crate::format::RECORD_HEADER_BYTES;
use crate::index::{self, Index};
use crate::manifest::Manifest;
use crate::namespace::{begun_ahead, open_file};
use crate::segment::{self, Met, Segment, Walk};
use crate::{
    Disk, DiskFile, Engine, Error, Loss, Mode, Options, Properties, Record, Report, Result, Root,
};

/// What is known of a namespace at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// How its keys come to be.
    pub mode: Mode,
    /// What its administrator set.
    pub properties: Properties,
    /// Its data files.
    pub files: Vec<FileInfo>,
}

/// What is known of a data file at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileInfo {
    /// Its number.
    pub file: u32,
    /// Its length; `None` when it is missing.
    pub bytes: Option<u64>,
    /// How often it was compacted.
    pub compactions: u32,
}

/// Every namespace below a disk that has readable properties.
///
/// # Errors
/// `Read`.
pub fn info<D: Disk>(disk: &D) -> Result<Vec<Info>> {
    let mut found = Vec::new();
    for name in names(disk)? {
        let (Some(manifest), _) = Manifest::load(disk, &name)? else {
            continue;
        };
        let mut files = Vec::new();
        for file in data_files(disk, &name, &manifest)? {
            let segment = open_file(disk, &name, &manifest, file, 0)?;
            files.push(FileInfo {
                file,
                bytes: segment.as_ref().map(|(segment, _)| segment.bytes),
                compactions: segment.map_or(0, |(segment, _)| segment.header.generation),
            });
        }
        found.push(Info {
            name,
            mode: manifest.mode,
            properties: manifest.properties,
            files,
        });
    }
    Ok(found)
}

/// Read every byte of every namespace and say what is wrong; writes nothing.
///
/// # Errors
/// `Read`.
pub fn check<D: Disk>(disk: &D) -> Result<Report> {
    let mut report = Report::default();
    for name in names(disk)? {
        let (manifest, both) = Manifest::load(disk, &name)?;
        let mut note = |file: &str, (offset, length): (u64, u64), what: &str, lost: bool| {
            let (namespace, file, what) = (name.clone(), file.to_owned(), what.to_owned());
            report.losses.push(Loss {
                namespace,
                file,
                offset,
                length,
                what,
                lost,
            });
        };
        let Some(manifest) = manifest else {
            note("namespace", (0, 0), "properties are lost", true);
            continue;
        };
        if !both {
            note(
                "namespace",
                (0, 0),
                "one of its two copies is missing, old or damaged",
                false,
            );
        }
        for file in data_files(disk, &name, &manifest)? {
            let (data, index) = (segment::name(file), index::name(file));
            let opened = open_file(disk, &name, &manifest, file, 0)?;
            let is_empty = |(found, _): &(Segment<_>, _)| found.is_empty();
            if !opened.as_ref().is_some_and(is_empty) {
                if let Some(what) = check_index(disk, &name, &manifest, file)? {
                    note(&index, (0, 0), what, false);
                }
            }
            let Some((mut found, damage)) = opened else {
                note(&data, (0, 0), "data file is missing", true);
                continue;
            };
            if let Some(what) = damage {
                note(&data, (0, 64), what, false);
            }
            walk(&found, &mut |met| match met {
                Met::Record { good: true, .. } => Ok(()),
                Met::Record { header, .. } => {
                    let range = (u64::from(header.meta.place.offset), header.total() as u64);
                    note(&data, range, "payload does not have its checksum", true);
                    Ok(())
                }
                Met::Hole { from, to } => {
                    let range = (u64::from(from), u64::from(to - from));
                    note(&data, range, "no record", true);
                    Ok(())
                }
            })?;
            for range in found.end_salvage() {
                note(&data, range, "cannot be read", true);
            }
        }
    }
    Ok(report)
}

/// Open, mend what can be mended, and close.
///
/// # Errors
/// As `Engine::open` and `Engine::close`.
pub fn repair<D: Disk>(disk: D, options: Options) -> Result<Report> {
    let (engine, report) = Engine::open(disk, options, 0)?;
    engine.close()?;
    Ok(report)
}

/// Throw all index files away and make them anew from data, every record of which is verified.
///
/// # Errors
/// As `repair`; a disk that fails on the way leaves an index that the next start completes.
pub fn rebuild<D: Disk>(disk: D, options: Options) -> Result<Report> {
    for name in names(&disk)? {
        let (Some(manifest), _) = Manifest::load(&disk, &name)? else {
            continue;
        };
        for file in data_files(&disk, &name, &manifest)? {
            match disk.remove(Root::Index, &format!("{name}/{}", index::name(file))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::write(&name, &error));
                }
                _ => {}
            }
        }
    }
    repair(disk, options)
}

/// Hand every good record of a namespace over, in log order: old versions and deletes included.
///
/// # Errors
/// `NoNamespace`, `Read`, and what `visit` fails with.
pub fn dump<D: Disk>(
    disk: &D,
    name: &str,
    visit: &mut dyn FnMut(&Record<'_>) -> Result<()>,
) -> Result<()> {
    let manifest = Manifest::load(disk, name)?.0.ok_or(Error::NoNamespace)?;
    let mut bytes = Vec::new();
    for file in data_files(disk, name, &manifest)? {
        let Some((found, _)) = open_file(disk, name, &manifest, file, 0)? else {
            continue;
        };
        walk(&found, &mut |met| {
            let Met::Record {
                header, good: true, ..
            } = met
            else {
                return Ok(());
            };
            bytes.resize(header.total(), 0);
            let got = found.read(&mut bytes, header.meta.place.offset);
            got.map_err(|error| Error::read("data file", &error))?;
            let (key, rest) = bytes[RECORD_HEADER_BYTES..].split_at(header.key_bytes);
            let payload = &rest[..header.meta.length as usize];
            visit(&Record {
                key,
                payload,
                meta: header.meta,
            })
        })?;
    }
    Ok(())
}

fn names<D: Disk>(disk: &D) -> Result<Vec<String>> {
    let listed = disk
        .list(Root::Data, "")
        .map_err(|error| Error::read("root", &error))?;
    let mut names: Vec<_> = listed
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    Ok(names)
}

/// The data files of a namespace, with one that was begun before the one before it was durable.
fn data_files<D: Disk>(disk: &D, name: &str, manifest: &Manifest) -> Result<RangeInclusive<u32>> {
    let ahead = begun_ahead(disk, name, manifest)?;
    Ok(manifest.first..=ahead.unwrap_or(manifest.last))
}

fn check_index<D: Disk>(
    disk: &D,
    name: &str,
    manifest: &Manifest,
    file: u32,
) -> Result<Option<&'static str>> {
    let path = format!("{name}/{}", index::name(file));
    let opened = match disk.open(Root::Index, &path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("index file is missing: a start rebuilds it"));
        }
        other => other.and_then(|handle| Index::open(handle, manifest.uid, file, &mut |_| {})),
    };
    match opened.map_err(|error| Error::read(&path, &error))? {
        None => Ok(Some("index file is damaged: a start rebuilds it")),
        Some((_, _, false)) => Ok(Some(
            "the end of the index file is damaged: a start mends it",
        )),
        Some((_, _, true)) => Ok(None),
    }
}

fn walk<F: DiskFile>(found: &Segment<F>, see: &mut dyn FnMut(Met<'_>) -> Result<()>) -> Result<()> {
    let read = |buffer: &mut [u8], offset| found.read(buffer, offset);
    for stretch in found.stretches(0, found.end()) {
        let mut walk = Walk::new(&read, found.seed, found.header.file, stretch, true);
        let failed = |error| Error::read("data file", &error);
        while let Some(met) = walk.step().map_err(failed)? {
            see(met)?;
        }
    }
    Ok(())
}
