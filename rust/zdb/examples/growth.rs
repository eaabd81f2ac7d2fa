//! What a SET and a GET cost as the number of keys grows, as a table and a picture.
//!
//! `cargo run --release -p tfgrid-zdb --example growth -- [KEYS] [FOLDER] [PICTURE.svg]`; a hundred million
//! keys want 6 GB of disk and 4 GB of memory. Each row is a sample at that many keys: new keys set, and keys
//! read that are drawn evenly from all there are. Values are 3 bytes, keys 16, with a commit after every 64
//! operations and no fsync, so that the disk does not count. Costs are processor time, the system's part
//! included, and the time that passed, which on a busy machine says more about the others.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tfgrid_zdb::{Engine, Namespace, NamespaceId, Options, RealDisk, Result, Scratch, SyncMode};

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
    index_bytes_a_key: f64,
}

fn grow(folder: &Path, most: u64) -> Result<Vec<Row>> {
    let disk = RealDisk::new(&folder.join("data"), &folder.join("index"))?;
    let options = Options {
        sync: SyncMode::None,
        ..Options::new([9; 16])
    };
    let mut engine = Engine::open(disk, options, 0)?.0;
    let id = engine.find("default").expect("always there");
    let (mut rows, mut done) = (Vec::new(), 0);
    println!("      keys    SET us cpu   us wall    GET us cpu   us wall   index bytes a key");
    for keys in steps(most) {
        set(&mut engine, id, done..keys - SETS)?;
        let cost = cost_of(SETS, || set(&mut engine, id, keys - SETS..keys))?;
        done = keys;
        let namespace = engine.namespace(id)?;
        // Once without a look at the clock, so that what is kept in memory is what would be kept.
        get(namespace, keys, 1, false)?;
        let row = Row {
            keys,
            set: cost,
            get: cost_of(GETS, || get(namespace, keys, 2, false))?,
            warm: cost_of(GETS, || get(namespace, keys, 3, true))?,
            index_bytes_a_key: namespace.stats().index_memory_bytes as f64 / keys as f64,
        };
        let (set, get, warm) = (row.set, row.get, row.warm);
        println!(
            "{keys:10} {:13.2} {:9.2} {:13.2} {:9.2} {:13.2} {:9.2} {:15.1}",
            set.processor,
            set.wall,
            get.processor,
            get.wall,
            warm.processor,
            warm.wall,
            row.index_bytes_a_key
        );
        rows.push(row);
    }
    Ok(rows)
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

fn set(engine: &mut Engine<RealDisk>, id: NamespaceId, keys: std::ops::Range<u64>) -> Result<()> {
    for number in keys {
        engine.namespace_mut(id)?.set(&key(number), PAYLOAD, 1)?;
        if number % BATCH == 0 {
            assert!(engine.commit(0).is_empty());
        }
    }
    assert!(engine.commit(0).is_empty());
    Ok(())
}

fn get(namespace: &Namespace<RealDisk>, keys: u64, seed: u64, warm: bool) -> Result<()> {
    let (mut scratch, mut dice) = (Scratch::default(), seed);
    let mut draw = || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        key(((u128::from(dice) * u128::from(keys)) >> 64) as u64)
    };
    for _ in 0..GETS / BATCH {
        let keys: [_; BATCH as usize] = std::array::from_fn(|_| draw());
        if warm {
            namespace.warm(&keys.each_ref().map(|key| &key[..]));
        }
        for key in keys {
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

/// A picture of the processor time: keys across by powers of ten, microseconds up.
fn draw(rows: &[Row]) -> String {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return String::new();
    };
    let costs = rows.iter().flat_map(|row| [row.set, row.get]);
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
    let set = |row: &Row| row.set.processor;
    let get = |row: &Row| row.get.processor;
    let curves = [
        ("SET", "#b3541e", &set as &dyn Fn(&Row) -> f64),
        ("GET", "#1e5fb3", &get),
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
