//! Tools for files at rest: check, info, dump, repair, rebuild. Each answers with JSON lines.
//!
//! `check`, `info` and `dump` open the store over a disk that is never written, so that they say what the engine
//! would find and mend. `repair` opens the store as the server does and closes it again. `rebuild` throws the index
//! away first.

mod overlay;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tfgrid_zdb::{
    Direction, Disk, Engine, Error, Meta, Mode, Namespace, Place, RealDisk, Report, Root, Scratch,
};

use crate::log::Json;
use overlay::Overlay;

const EXIT_FAILED: i32 = 1;
const EXIT_USAGE: i32 = 2;
const EXIT_BUSY: i32 = 3;
const PAGE_RECORDS: usize = 4096;

/// The words that [`run`] knows.
pub const WORDS: [&str; 5] = ["check", "info", "dump", "repair", "rebuild"];

/// Run one tool; the exit code: 0 done, 1 failed, 2 wrong arguments, 3 a server holds the directories.
#[must_use]
pub fn run(word: &str, arguments: &[String]) -> i32 {
    let (data, index) = match arguments {
        [data, index] => (PathBuf::from(data), PathBuf::from(index)),
        _ => {
            tell(&Json::new("error").text("reason", "needs a data and an index directory"));
            return EXIT_USAGE;
        }
    };
    if !data.is_dir() {
        tell(&Json::new("error").text("reason", "there is no such data directory"));
        return EXIT_USAGE;
    }
    match act(word, data, index) {
        Ok(()) => 0,
        Err(error) => {
            tell(&Json::new("error").text("reason", &error.to_string()));
            if matches!(error, Error::Busy(_)) {
                EXIT_BUSY
            } else {
                EXIT_FAILED
            }
        }
    }
}

fn tell(line: &Json) {
    // Whoever closed the pipe has read enough.
    let _ = std::io::stdout().lock().write_all(line.line().as_bytes());
}

fn act(word: &str, data: PathBuf, index: PathBuf) -> Result<(), Error> {
    let disk = RealDisk::new(&data, &index)?;
    match word {
        "repair" => mend(disk),
        "rebuild" => {
            forget_indexes(&disk)?;
            mend(disk)
        }
        _ => look(word, Overlay::new(disk, data, index)),
    }
}

fn options() -> tfgrid_zdb::Options {
    // Only a new namespace draws from it, and the tools make none that stays.
    tfgrid_zdb::Options::new([0; 16])
}

fn tell_report(report: &Report) {
    for loss in &report.losses {
        tell(
            &Json::new("finding")
                .text("namespace", &loss.namespace)
                .text("file", &loss.file)
                .number("offset", loss.offset)
                .number("length", loss.length)
                .text("what", &loss.what)
                .flag("lost", loss.lost),
        );
    }
}

fn mend(disk: RealDisk) -> Result<(), Error> {
    let (engine, report) = Engine::open(disk, options(), 0)?;
    tell_report(&report);
    for name in engine.names() {
        tell_namespace(&engine, &name, 0)?;
    }
    engine.close()
}

/// Remove every index file, so that opening makes them again from the data.
fn forget_indexes(disk: &RealDisk) -> Result<(), Error> {
    let fault = |error: std::io::Error| Error::Write(error.to_string());
    for namespace in disk.list(Root::Index, "").map_err(fault)? {
        let Ok(names) = disk.list(Root::Index, &namespace) else {
            continue;
        };
        for name in names.iter().filter(|name| is_index(name)) {
            disk.remove(Root::Index, &format!("{namespace}/{name}"))
                .map_err(fault)?;
        }
    }
    Ok(())
}

fn is_index(name: &str) -> bool {
    let digits = name.strip_prefix('i').unwrap_or_default();
    !digits.is_empty()
        && Path::new(digits).extension().is_none()
        && digits.bytes().all(|b| b.is_ascii_digit())
}

fn look(word: &str, disk: Overlay) -> Result<(), Error> {
    let (engine, report) = Engine::open(disk, options(), 0)?;
    if word != "dump" {
        tell_report(&report);
    }
    for name in engine.names() {
        let Some(id) = engine.find(&name) else {
            continue;
        };
        let space = engine.namespace(id)?;
        match word {
            "check" => {
                let versions = verify(space, &name)?;
                tell_namespace(&engine, &name, versions)?;
            }
            "dump" => dump(space, &name)?,
            _ => tell_namespace(&engine, &name, 0)?,
        }
    }
    Ok(())
}

fn tell_namespace<D: Disk>(engine: &Engine<D>, name: &str, versions: u64) -> Result<(), Error> {
    let id = engine.find(name).ok_or(Error::NoNamespace)?;
    let space = engine.namespace(id)?;
    let (stats, properties) = (space.stats(), space.properties());
    tell(
        &Json::new("namespace")
            .text("name", name)
            .text(
                "mode",
                if space.mode() == Mode::User {
                    "user"
                } else {
                    "seq"
                },
            )
            .number("entries", stats.entries)
            .number("versions", versions)
            .number("payload_bytes", stats.payload_bytes)
            .number("payload_bytes_max", properties.max_bytes)
            .number("data_bytes", stats.data_bytes)
            .number("index_bytes", stats.index_bytes)
            .number("damaged", stats.damaged)
            .flag("password", properties.password.is_some())
            .flag("public", properties.public)
            .flag("worm", properties.worm)
            .flag("lock", properties.lock)
            .flag("freeze", properties.freeze),
    );
    Ok(())
}

type Visit<'a> = &'a mut dyn FnMut(&[u8], &Meta) -> Result<(), Error>;

/// Walk over all live keys.
fn walk<D: Disk>(space: &Namespace<D>, visit: Visit<'_>) -> Result<(), Error> {
    let mut from = None;
    loop {
        let mut page: Vec<(Vec<u8>, Meta)> = Vec::new();
        let mut keep = |key: &[u8], meta: &Meta| page.push((key.to_vec(), *meta));
        let walked = space.scan(from, Direction::Forward, PAGE_RECORDS, &mut keep)?;
        for (key, meta) in &page {
            visit(key, meta)?;
        }
        match walked.next {
            Some(next) => from = Some(next),
            None => return Ok(()),
        }
    }
}

/// Read every version of every live key; how many are good.
fn verify<D: Disk>(space: &Namespace<D>, name: &str) -> Result<u64, Error> {
    let (mut good, mut scratch) = (0, Scratch::default());
    walk(space, &mut |key, meta| {
        let mut at = Some(meta.place);
        while let Some(place) = at.filter(|place| place.is_some()) {
            match space.version(key, Some(place), &mut scratch) {
                Ok(record) => {
                    good += 1;
                    at = Some(record.meta.parent);
                }
                // Compaction may have taken what is older than its policy keeps.
                Err(Error::NoRecord) if place != meta.place => at = None,
                Err(error) => {
                    tell_damage(name, place, &error);
                    at = None;
                }
            }
        }
        Ok(())
    })?;
    Ok(good)
}

fn tell_damage(name: &str, place: Place, error: &Error) {
    tell(
        &Json::new("finding")
            .text("namespace", name)
            .text("file", &format!("d{}", place.file))
            .number("offset", place.offset.into())
            .number("length", 0)
            .text("what", &error.to_string())
            .flag("lost", true),
    );
}

fn dump<D: Disk>(space: &Namespace<D>, name: &str) -> Result<(), Error> {
    walk(space, &mut |key, meta| {
        let hexadecimal: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        tell(
            &Json::new("entry")
                .text("namespace", name)
                .text("key", &hexadecimal)
                .number("length", meta.length.into())
                .number("timestamp", meta.timestamp.into())
                .number("file", meta.place.file.into())
                .number("offset", meta.place.offset.into())
                .text("crc", &format!("{:08x}", meta.crc)),
        );
        Ok(())
    })
}
