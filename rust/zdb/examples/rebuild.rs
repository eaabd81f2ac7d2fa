//! A rebuild from data alone beside a plain reader of the same bytes, both from a cold cache.
//!
//! `cargo run --release -p tfgrid-zdb --example rebuild -- [FOLDER] [MEGABYTES] [TURNS] [VALUE_BYTES]`; the
//! folder is to be on the disk that is meant. Each turn forgets what is cached of the data files, removes the
//! index files and opens the engine, which writes them anew; then forgets the data files again and reads them
//! from their first to their last byte, a mebibyte at a time. Every second turn goes the other way around. A
//! fourth of the writes are newer versions of a key. What counts is how the two compare: times of one turn stand
//! side by side.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tfgrid_zdb::{Engine, Options, RealDisk, Result, SyncMode};

const SIZES: [u64; 3] = [4096, 512, 3];
const BATCH: u64 = 64;
const READ_BYTES: usize = 1 << 20;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok());
    let folder = words.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("zdb-rebuild-{}", std::process::id()));
    let (bytes, turns) = (number(1).unwrap_or(512) << 20, number(2).unwrap_or(5));
    println!("value bytes  records   MB   reader s   rebuild s   processor s   reader of rebuild");
    for size in number(3).map_or(SIZES.to_vec(), |size| vec![size]) {
        let compared = compare(&folder, size, bytes, turns);
        fs::remove_dir_all(&folder).ok();
        compared?;
    }
    Ok(())
}

fn compare(folder: &Path, size: u64, bytes: u64, turns: u64) -> Result<()> {
    let records = fill(folder, size, bytes)?;
    for turn in 0..turns {
        // Whoever is first finds a disk that has not read the bytes lately.
        let first = (turn % 2 == 1).then(|| read_all(folder));
        let (rebuild, processor) = rebuild(folder, records * 3 / 4)?;
        let (reader, read) = first.unwrap_or_else(|| read_all(folder));
        println!(
            "{size:11} {records:8} {:4} {reader:10.3} {rebuild:11.3} {processor:13.3} {:14.2}",
            read / 1_000_000,
            reader / rebuild
        );
    }
    Ok(())
}

/// Seconds that opening took without index files, and those of this thread's processor.
fn rebuild(folder: &Path, keys: u64) -> Result<(f64, f64)> {
    data_files(folder);
    fs::remove_dir_all(folder.join("index")).expect("index files");
    let (start, processor) = (Instant::now(), processor_seconds());
    let engine = open(folder)?;
    let took = start.elapsed().as_secs_f64();
    let id = engine.find("default").expect("always there");
    assert_eq!(engine.namespace(id)?.stats().entries, keys);
    Ok((took, processor_seconds() - processor))
}

/// Seconds that reading all data files took, and how many bytes they have.
fn read_all(folder: &Path) -> (f64, u64) {
    let files = data_files(folder);
    let start = Instant::now();
    let read = files.iter().map(read_through).sum();
    (start.elapsed().as_secs_f64(), read)
}

/// Write so many bytes of records; says how many.
fn fill(folder: &Path, size: u64, bytes: u64) -> Result<u64> {
    let mut engine = open(folder)?;
    let id = engine.find("default").expect("always there");
    let records = bytes / (size + 48) / 4 * 4;
    let mut payload = vec![0; size as usize];
    for number in 0..records {
        payload[..3].copy_from_slice(&number.to_le_bytes()[..3]);
        let key = format!(
            "key:{:012}",
            number.wrapping_mul(611_953) % (records * 3 / 4)
        );
        engine.namespace_mut(id)?.set(key.as_bytes(), &payload, 1)?;
        if number % BATCH == 0 {
            assert!(engine.commit(0).is_empty());
        }
    }
    assert!(engine.commit(0).is_empty());
    engine.close()?;
    Ok(records)
}

fn open(folder: &Path) -> Result<Engine<RealDisk>> {
    let disk = RealDisk::new(&folder.join("data"), &folder.join("index"))?;
    let options = Options {
        sync: SyncMode::Interval(1000),
        ..Options::new([9; 16])
    };
    Ok(Engine::open(disk, options, 0)?.0)
}

/// The data files in order, none of them cached.
fn data_files(folder: &Path) -> Vec<File> {
    let path = |number: u32| folder.join(format!("data/default/d{number}"));
    let files = (0..).map_while(|number| File::open(path(number)).ok());
    let files: Vec<File> = files.collect();
    for file in &files {
        file.sync_all().expect("synced");
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).expect("forgotten");
    }
    files
}

fn read_through(file: &File) -> u64 {
    let (mut buffer, mut at) = (vec![0; READ_BYTES], 0);
    loop {
        let got = file.read_at(&mut buffer, at).expect("readable");
        at += got as u64;
        if got == 0 {
            return at;
        }
    }
}

/// Time that the kernel let this thread run.
fn processor_seconds() -> f64 {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds: Option<f64> = told.split(' ').next().and_then(|word| word.parse().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}
