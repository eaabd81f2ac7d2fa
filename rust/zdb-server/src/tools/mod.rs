//! Tools for files at rest: check, info, dump, repair, rebuild. Each answers with JSON lines.
//!
//! `check`, `info` and `dump` open the store over a disk that is never written, so that they say what the engine
//! would find and mend; `check` then reads every byte of the store as it would be mended. `repair` opens the store
//! as the server does and closes it again. `rebuild` throws the index away first.

mod overlay;

use std::io::Write as _;
use std::path::PathBuf;

use tfgrid_zdb::{tools, Direction, Disk, Engine, Error, Loss, Meta, Mode, Namespace, RealDisk};

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
    let report = match word {
        "repair" => tools::repair(disk, options())?,
        "rebuild" => tools::rebuild(disk, options())?,
        _ => return look(word, Overlay::new(disk, data, index)),
    };
    tell_report(&report.losses);
    look(
        "info",
        Overlay::new(RealDisk::new(&data, &index)?, data, index),
    )
}

fn options() -> tfgrid_zdb::Options {
    // Only a new namespace draws from it, and the tools make none that stays.
    tfgrid_zdb::Options::new([0; 16])
}

fn tell_report(losses: &[Loss]) {
    for loss in losses {
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

fn look(word: &str, disk: Overlay) -> Result<(), Error> {
    let (engine, mended) = Engine::open(disk.clone(), options(), 0)?;
    let names = engine.names();
    match word {
        "dump" => {
            for name in &names {
                let id = engine.find(name).ok_or(Error::NoNamespace)?;
                dump(engine.namespace(id)?, name)?;
            }
        }
        "check" => {
            let (_, mut rest) = (engine.close()?, tools::check(&disk)?.losses);
            rest.retain(|loss| !mended.losses.iter().any(|known| same_place(known, loss)));
            tell_report(&mended.losses);
            tell_report(&rest);
            let (engine, _) = Engine::open(disk.clone(), options(), 0)?;
            for name in &names {
                let mut versions = 0;
                tools::dump(&disk, name, &mut |_| {
                    versions += 1;
                    Ok(())
                })?;
                tell_namespace(&engine, name, versions)?;
            }
        }
        _ => {
            for name in &names {
                tell_namespace(&engine, name, 0)?;
            }
        }
    }
    Ok(())
}

fn same_place(one: &Loss, other: &Loss) -> bool {
    (&one.namespace, &one.file, one.offset) == (&other.namespace, &other.file, other.offset)
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
            .number("disk_bytes_max", properties.max_disk_bytes)
            .number("entries_max", properties.max_keys)
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
        from = space.scan(from, Direction::Forward, &mut |live| {
            page.extend(live.map(|(key, meta)| (key.to_vec(), *meta)));
            page.len() < PAGE_RECORDS
        })?;
        for (key, meta) in &page {
            visit(key, meta)?;
        }
        if from.is_none() {
            return Ok(());
        }
    }
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
