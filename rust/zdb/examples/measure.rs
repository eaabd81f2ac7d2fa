//! What the engine does alone, without a server: operations a second, bytes a key, time to start.
//!
//! `cargo run --release -p tfgrid-zdb --example measure [FOLDER]`; numbers depend on the machine, so
//! compare only what one run prints.

use std::path::{Path, PathBuf};

use tfgrid_zdb::{Engine, Mode, Options, RealDisk, Result, Scratch, SyncMode};

const KEYS: u32 = 1_000_000;
const BATCH: u32 = 64;

fn main() -> Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("zdb-measure-{}", std::process::id()));
    for (mode, bytes, keys) in [
        (Mode::User, 3, KEYS),
        (Mode::User, 512, KEYS),
        (Mode::User, 4096, KEYS / 10),
        (Mode::Sequential, 3, KEYS),
        (Mode::Sequential, 512, KEYS),
    ] {
        let measured = measure(&folder, mode, bytes, keys);
        std::fs::remove_dir_all(&folder).ok();
        measured?;
    }
    Ok(())
}

fn open(folder: &Path, mode: Mode) -> Result<Engine<RealDisk>> {
    let disk = RealDisk::new(&folder.join("data"), &folder.join("index"))?;
    let options = Options {
        mode,
        sync: SyncMode::Interval(1000),
        ..Options::new([9; 16])
    };
    Ok(Engine::open(disk, options, 0)?.0)
}

fn key(mode: Mode, number: u32) -> Vec<u8> {
    match mode {
        Mode::User => format!("key:{number:012}").into_bytes(),
        Mode::Sequential => u64::from(number).to_le_bytes().to_vec(),
    }
}

/// Numbers below `keys`, each once, in no order.
fn shuffled(keys: u32) -> impl Iterator<Item = u32> {
    (0..u64::from(keys)).map(move |number| (number * 611_953 % u64::from(keys)) as u32)
}

/// Time that passed, and processor time that it took.
struct Watch(std::time::Instant, f64);

impl Watch {
    fn start() -> Self {
        Self(std::time::Instant::now(), processor_seconds())
    }

    fn elapsed(&self) -> std::time::Duration {
        self.0.elapsed()
    }

    fn processor_seconds(&self) -> f64 {
        processor_seconds() - self.1
    }
}

fn processor_seconds() -> f64 {
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = status
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .skip(11)
        .take(2);
    fields
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn measure(folder: &Path, mode: Mode, bytes: usize, keys: u32) -> Result<()> {
    let mut engine = open(folder, mode)?;
    let id = engine.find("default").expect("always there");
    let payload = vec![7; bytes];
    println!("{mode:?}, {bytes} B, {keys} keys, {BATCH} operations a commit");

    let (before, start) = (resident_bytes(), Watch::start());
    for number in shuffled(keys) {
        let key = if mode == Mode::User {
            key(mode, number)
        } else {
            Vec::new()
        };
        engine.namespace_mut(id)?.set(&key, &payload, number)?;
        if number % BATCH == 0 {
            engine.commit(start.elapsed().as_millis() as u64);
        }
    }
    report("  set new", keys, start);
    let grown = resident_bytes().saturating_sub(before);
    println!(
        "  memory       {:10.1} bytes a key",
        grown as f64 / f64::from(keys)
    );

    let start = Watch::start();
    let mut scratch = Scratch::default();
    for number in shuffled(keys) {
        let record = engine
            .namespace(id)?
            .get(&key(mode, number), &mut scratch)?;
        assert_eq!(record.map(|record| record.payload.len()), Some(bytes));
    }
    report("  get", keys, start);

    let start = Watch::start();
    let newer = vec![8; bytes];
    for number in shuffled(keys).take(keys as usize / 4) {
        engine
            .namespace_mut(id)?
            .set(&key(mode, number), &newer, number)?;
        if number % BATCH == 0 {
            engine.commit(start.elapsed().as_millis() as u64);
        }
    }
    report("  set again", keys / 4, start);

    engine.commit(0);
    drop(engine);
    let start = Watch::start();
    let engine = open(folder, mode)?;
    let id = engine.find("default").expect("always there");
    engine
        .namespace(id)?
        .get(&key(mode, 1), &mut scratch)?
        .expect("there");
    let (seconds, processor) = (start.elapsed().as_secs_f64(), start.processor_seconds());
    println!("  restart      {seconds:10.3} s, {processor:.3} s of processor");
    drop(engine);

    std::fs::remove_dir_all(folder.join("index")).ok();
    let start = Watch::start();
    let engine = open(folder, mode)?;
    let (seconds, processor) = (start.elapsed().as_secs_f64(), start.processor_seconds());
    let id = engine.find("default").expect("always there");
    let data = engine.namespace(id)?.stats().data_bytes as f64 / 1e6;
    println!(
        "  rebuild      {seconds:10.3} s, {processor:.3} s of processor, {:.0} MB/s",
        data / seconds
    );
    Ok(())
}

fn report(what: &str, count: u32, start: Watch) {
    let seconds = start.elapsed().as_secs_f64();
    let each = start.processor_seconds() * 1e6 / f64::from(count);
    println!(
        "{what:14} {:10.0} a second, {each:.2} us of processor each",
        f64::from(count) / seconds
    );
}
