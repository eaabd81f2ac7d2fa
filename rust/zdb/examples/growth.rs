//! What a SET and a GET cost as the number of keys grows, as a table and a picture.
//!
//! `cargo run --release -p tfgrid-zdb --example growth -- [KEYS] [FOLDER] [PICTURE.svg]`; a hundred million
//! keys want 7 GB of disk and 6 GB of memory. Each row is a sample at that many keys: new keys set, and keys
//! read that are drawn evenly from all there are. Values are 3 bytes, keys 16, with a commit after every 64
//! operations and no fsync, so that the disk does not count. Costs are processor time, the system's part
//! included, and the time that passed, which on a busy machine says more about the others.
//!
//! What the machine takes stands beside it, at the same number of keys: one wait for memory, of as much memory
//! as the index has; and one system call that reads 64 bytes anywhere in the data files. What the engine does
//! for a GET is counted at its seam to the disk: calls that read, and bytes they ask for.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tfgrid_zdb::{
    Disk, DiskFile, Engine, Namespace, NamespaceId, Options, RealDisk, Result, Root, Scratch,
    SyncMode,
};

const BATCH: u64 = 64;
const SETS: u64 = 50_000;
const GETS: u64 = 200_000;
const PAYLOAD: &[u8] = b"abc";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let keys = words.first().and_then(|word| word.parse().ok());
    let folder = words.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("zdb-growth-{}", std::process::id()));
    let grown = grow(&folder, keys.unwrap_or(10_000_000));
    std::fs::remove_dir_all(&folder).ok();
    let picture = draw(&grown?);
    if let Some(path) = words.get(2) {
        std::fs::write(path, picture).expect("a file that can be written");
    }
    Ok(())
}

/// What one operation cost, in microseconds.
#[derive(Clone, Copy)]
struct Cost {
    processor: f64,
    wall: f64,
}

/// Costs at a number of keys.
#[derive(Clone, Copy)]
struct Row {
    keys: u64,
    set: Cost,
    get: Cost,
    /// The same in batches whose keys are looked up together.
    warm: Cost,
    /// Calls that read, and their bytes, for one GET.
    reads: f64,
    read_bytes: f64,
    /// What the machine takes for one wait for memory, and for one call that reads.
    memory: Cost,
    call: Cost,
    index_bytes_a_key: f64,
}

fn grow(folder: &Path, most: u64) -> Result<Vec<Row>> {
    let disk = Counted(RealDisk::new(&folder.join("data"), &folder.join("index"))?);
    let options = Options {
        sync: SyncMode::None,
        ..Options::new([9; 16])
    };
    let mut engine = Engine::open(disk, options, 0)?.0;
    let id = engine.find("default").expect("always there");
    let (mut rows, mut done) = (Vec::new(), 0);
    println!(
        "microseconds of processor (of time that passed)\n     keys         SET           GET     \
         GET together  reads  bytes   one wait   one call     index bytes a key"
    );
    for keys in steps(most) {
        set(&mut engine, id, done..keys - SETS)?;
        let cost = cost_of(SETS, || set(&mut engine, id, keys - SETS..keys))?;
        done = keys;
        let namespace = engine.namespace(id)?;
        // Once without a look at the clock, so that what is kept in memory is what would be kept.
        get(namespace, keys, 1, false)?;
        let before = (READS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
        let get_cost = cost_of(GETS, || get(namespace, keys, 2, false))?;
        let each =
            |now: &AtomicU64, before| (now.load(Ordering::Relaxed) - before) as f64 / GETS as f64;
        let (reads, read_bytes) = (each(&READS, before.0), each(&BYTES, before.1));
        let index_bytes = namespace.stats().index_memory_bytes;
        let row = Row {
            keys,
            set: cost,
            get: get_cost,
            warm: cost_of(GETS, || get(namespace, keys, 3, true))?,
            reads,
            read_bytes,
            memory: waits(index_bytes)?,
            call: calls(folder)?,
            index_bytes_a_key: index_bytes as f64 / keys as f64,
        };
        tell(&row);
        rows.push(row);
    }
    Ok(rows)
}

fn tell(row: &Row) {
    let cost = |cost: Cost| format!("{:6.2} ({:5.2})", cost.processor, cost.wall);
    println!(
        "{:9} {} {} {} {:5.2} {:6.0} {} {} {:8.1}",
        row.keys,
        cost(row.set),
        cost(row.get),
        cost(row.warm),
        row.reads,
        row.read_bytes,
        cost(row.memory),
        cost(row.call),
        row.index_bytes_a_key
    );
}

static READS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The real disk, with its reads counted.
#[derive(Debug)]
struct Counted(RealDisk);

#[derive(Debug)]
struct CountedFile(File);

impl Disk for Counted {
    type File = CountedFile;
    const READS_BESIDE: bool = RealDisk::READS_BESIDE;

    fn open(&self, root: Root, path: &str, create: bool) -> io::Result<CountedFile> {
        self.0.open(root, path, create).map(CountedFile)
    }

    fn rename(&self, root: Root, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(root, from, to)
    }

    fn remove(&self, root: Root, path: &str) -> io::Result<()> {
        self.0.remove(root, path)
    }

    fn make_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        self.0.make_folder(root, folder)
    }

    fn remove_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        self.0.remove_folder(root, folder)
    }

    fn list(&self, root: Root, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(root, folder)
    }

    fn sync_folder(&self, root: Root, folder: &str) -> io::Result<()> {
        self.0.sync_folder(root, folder)
    }

    fn free_bytes(&self, root: Root) -> io::Result<u64> {
        self.0.free_bytes(root)
    }
}

impl DiskFile for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        READS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        DiskFile::read_at(&self.0, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        DiskFile::write_at(&self.0, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        DiskFile::sync(&self.0)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn drop_cache(&self, offset: u64) {
        self.0.drop_cache(offset);
    }
}

/// Numbers in no order.
fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut dice = seed;
    move |below| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((u128::from(dice) * u128::from(below)) >> 64) as u64
    }
}

/// What waiting for memory costs, where there is so much of it: no look can begin before the last one has ended.
fn waits(bytes: u64) -> Result<Cost> {
    let words: Vec<u64> = (0..bytes / 8).collect();
    let (mut draw, mut seen) = (dice(5), 0);
    cost_of(GETS, || {
        for _ in 0..GETS {
            let at = draw(words.len() as u64) ^ (seen & 1);
            seen = words[at.min(words.len() as u64 - 1) as usize];
        }
        std::hint::black_box(seen);
        Ok(())
    })
}

/// What a call costs that reads as much as a GET does, anywhere in the data files.
fn calls(folder: &Path) -> Result<Cost> {
    let path = |number: u32| folder.join(format!("data/default/d{number}"));
    let files: Vec<File> = (0..)
        .map_while(|file| File::open(path(file)).ok())
        .collect();
    let length = |file: &File| file.metadata().map_or(0, |found| found.len());
    let total: u64 = files.iter().map(length).sum();
    let (mut draw, mut buffer) = (dice(7), [0; 64]);
    let each = files.first().map_or(1, length);
    cost_of(GETS, || {
        for _ in 0..GETS {
            let at = draw(total);
            let file = &files[(at / each) as usize % files.len()];
            FileExt::read_at(file, &mut buffer, (at % each) & !7).expect("readable");
        }
        Ok(())
    })
}

/// 1, 2 and 5 times each power of ten from a hundred thousand on.
fn steps(most: u64) -> impl Iterator<Item = u64> {
    let powers = (5..).map(|power| 10u64.pow(power));
    let steps = powers.flat_map(|power| [1, 2, 5].map(|times| times * power));
    steps.take_while(move |&keys| keys <= most)
}

/// The sixteen bytes that `redis-benchmark` would ask for.
fn key(mut number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut at = key.len();
    while number > 0 {
        at -= 1;
        key[at] += (number % 10) as u8;
        number /= 10;
    }
    key
}

fn set(engine: &mut Engine<Counted>, id: NamespaceId, keys: std::ops::Range<u64>) -> Result<()> {
    for number in keys {
        engine.namespace_mut(id)?.set(&key(number), PAYLOAD, 1)?;
        if number % BATCH == 0 {
            assert!(engine.commit(0).is_empty());
        }
    }
    assert!(engine.commit(0).is_empty());
    Ok(())
}

fn get(namespace: &Namespace<Counted>, keys: u64, seed: u64, warm: bool) -> Result<()> {
    let (mut scratch, mut draw) = (Scratch::default(), dice(seed));
    for _ in 0..GETS / BATCH {
        let drawn: [_; BATCH as usize] = std::array::from_fn(|_| key(draw(keys)));
        if warm {
            namespace.warm(&drawn.each_ref().map(|key| &key[..]));
        }
        for key in drawn {
            let record = namespace.get(&key, &mut scratch)?;
            assert_eq!(record.map(|record| record.payload), Some(PAYLOAD));
        }
    }
    Ok(())
}

fn cost_of(count: u64, what: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let (processor, wall) = (processor_seconds(), Instant::now());
    what()?;
    let each = |seconds: f64| seconds * 1e6 / count as f64;
    Ok(Cost {
        wall: each(wall.elapsed().as_secs_f64()),
        processor: each(processor_seconds() - processor),
    })
}

/// Time that the kernel let this thread run.
fn processor_seconds() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told.split(' ').next().and_then(|word| word.parse().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 50.0;
const TOP: f64 = 40.0;

/// What of a row a curve shows.
type Of = dyn Fn(&Row) -> f64;

/// A picture of the processor time: keys across by powers of ten, microseconds up.
fn draw(rows: &[Row]) -> String {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return String::new();
    };
    let costs = rows.iter().flat_map(|row| [row.set, row.get, row.call]);
    let most = costs.map(|cost| cost.processor).fold(1.0, f64::max).ceil();
    let decades = (last.keys as f64 / first.keys as f64).log10().max(1.0);
    let across = |keys: u64| {
        LEFT + (keys as f64 / first.keys as f64).log10() / decades * (WIDTH - LEFT - 30.0)
    };
    let up = |cost: f64| HEIGHT - BOTTOM - cost / most * (HEIGHT - BOTTOM - TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\">Zero-DB's engine: processor time of one operation, \
         in microseconds, by number of keys</text>\n"
    );
    let mut add = |line: String| writeln!(out, "{line}").expect("a text grows");
    for cost in 0..=most as u32 {
        let y = up(f64::from(cost));
        add(format!(
            "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{cost}</text>",
            WIDTH - 30.0,
            LEFT - 8.0,
            y + 4.0
        ));
    }
    for row in rows.iter().filter(|row| is_power_of_ten(row.keys)) {
        let power = row.keys.ilog10();
        add(format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">10<tspan dy=\"-5\" font-size=\"10\">\
             {power}</tspan></text>",
            across(row.keys),
            HEIGHT - BOTTOM + 22.0
        ));
    }
    let curves: [(&str, &str, &Of); 4] = [
        ("SET", "#b3541e", &|row| row.set.processor),
        ("GET", "#1e5fb3", &|row| row.get.processor),
        ("one call that reads", "#777", &|row| row.call.processor),
        ("one wait for memory", "#aaa", &|row| row.memory.processor),
    ];
    for (name, colour, cost) in curves {
        let mut points = String::new();
        for row in rows {
            let (x, y) = (across(row.keys), up(cost(row)));
            write!(points, "{x:.1},{y:.1} ").expect("a text grows");
            add(format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            ));
        }
        add(format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>",
            points.trim_end(),
            WIDTH - 34.0,
            up(cost(last)) - 8.0
        ));
    }
    out.push_str("</svg>\n");
    out
}

fn is_power_of_ten(keys: u64) -> bool {
    keys == 10u64.pow(keys.ilog10())
}
