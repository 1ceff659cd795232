//! Measures what a store costs: the time to open it, and its memory when idle and after searches, by
//! the number of items, every opening in a process of its own; what many small collections take; and
//! durable writes by several threads.
//!
//! `cargo bench --workspace --bench costs -- [ITEMSxDIM ...]` (1000x100, 10000x100, 100000x100 and
//! 100000x384 by default), on Linux. `-- collections` measures the small collections only, and
//! `-- writes` the durable writes.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use affinis::{Durability, Item, Store};
use serde_json::json;

/// Numbers of items and of dimensions.
const SIZES: [(usize, usize); 4] = [(1_000, 100), (10_000, 100), (100_000, 100), (100_000, 384)];
/// Number of searches before the memory of a busy store is measured.
const QUERIES: usize = 1_000;
/// Environment variable with the store that a child process opens.
const CHILD: &str = "AFFINIS_COSTS_OF";

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(store) = std::env::var_os(CHILD) {
        return opened(Path::new(&store));
    }
    let size = |arg: String| {
        arg.split_once('x')
            .and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)))
    };
    let is_asked = |part: &str| std::env::args().any(|arg| arg == part);
    if is_asked("collections") {
        return small_collections();
    }
    if is_asked("writes") {
        return durable_adds();
    }
    let given: Vec<(usize, usize)> = std::env::args().filter_map(size).collect();
    let sizes = if given.is_empty() {
        SIZES.into()
    } else {
        given
    };
    println!(
        "Items with a text of 60 bytes and metadata; medians of five openings, each in a fresh process.\n\n\
         | items x numbers | on disk, MiB | open, ms | to the first answer, ms | memory idle, MiB | after {QUERIES} searches | mapped files |\n\
         |---|---|---|---|---|---|---|"
    );
    for (items, dim) in sizes {
        let home = tempfile::tempdir()?;
        let path = home.path().join("store");
        fill(&path, items, dim)?;
        // The first opening is not measured: it lets sled read its log.
        let mut runs = Vec::new();
        for run in 0..6 {
            let output = Command::new(std::env::current_exe()?)
                .env(CHILD, &path)
                .output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into());
            }
            let figures = String::from_utf8(output.stdout)?;
            let figures: Vec<f64> = figures
                .split_whitespace()
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            if run > 0 {
                runs.push(figures);
            }
        }
        let median = |at: usize| {
            let mut all: Vec<f64> = runs.iter().map(|run| run[at]).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let [disk, open, first, idle, busy, mapped] = [0, 1, 2, 3, 4, 5].map(median);
        println!(
            "| {items} x {dim} | {disk:.1} | {open:.0} | {first:.0} | {idle:.1} | {busy:.1} | {mapped:.1} |"
        );
    }
    println!();
    small_collections()?;
    println!();
    durable_adds()
}

/// Threads that add items one by one, and how many each adds.
const WRITERS: (usize, usize) = (16, 250);

/// Measures durable writes of single items by one thread and by several, beside syncs of a file.
fn durable_adds() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let (threads, adds) = WRITERS;
    let mut file = std::fs::File::create(home.path().join("file"))?;
    let mut syncs = Vec::new();
    for _ in 0..adds {
        let start = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        syncs.push(start.elapsed());
    }
    let store = Store::open(home.path().join("store"))?;
    let points = store.collection("points").dim(384).create()?;
    let add = |thread: usize| -> affinis::Result<Vec<Duration>> {
        let mut random = fastrand::Rng::with_seed(thread as u64);
        let mut times = Vec::new();
        for i in 0..adds {
            let item = Item::vector(format!("{thread}-{i}"), vector(&mut random, 384, i));
            let start = Instant::now();
            points.add([item])?;
            times.push(start.elapsed());
        }
        Ok(times)
    };
    let start = Instant::now();
    let alone = add(threads)?;
    let rate_alone = adds as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    let together: Vec<affinis::Result<Vec<Duration>>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads).map(|t| scope.spawn(move || add(t))).collect();
        let times = |writer: ScopedJoinHandle<'_, _>| writer.join().expect("no panic");
        writers.into_iter().map(times).collect()
    });
    let rate = (threads * adds) as f64 / start.elapsed().as_secs_f64();
    let together = together
        .into_iter()
        .collect::<affinis::Result<Vec<_>>>()?
        .concat();
    println!(
        "Durable adds of one item of 384 numbers. A sync of a file takes {}.\n\n\
         | threads | items a second | time of one, ms: p50, p99 |\n|---|---|---|\n\
         | 1 | {rate_alone:.0} | {} |\n| {threads} | {rate:.0} | {} |",
        quantiles(syncs),
        quantiles(alone),
        quantiles(together)
    );
    Ok(())
}

/// The median and the 99th percentile of some times, in ms.
fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        let position = (times.len() as f64 * share) as usize;
        times[position.min(times.len() - 1)].as_secs_f64() * 1e3
    };
    format!("{:.2}, {:.2}", at(0.5), at(0.99))
}

/// Number of small collections, and of the items of each.
const COLLECTIONS: (usize, usize) = (1_000, 3);

/// Measures a store of many small collections.
fn small_collections() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let path = home.path().join("store");
    let (collections, items) = COLLECTIONS;
    let create = |store: &Store, number: usize| -> affinis::Result<()> {
        let mut random = fastrand::Rng::with_seed(number as u64);
        let points = store.collection(&format!("c{number}")).dim(100).create()?;
        points.add((0..items).map(|i| Item::vector(i.to_string(), vector(&mut random, 100, i))))?;
        Ok(())
    };
    let open = || Store::builder().durability(Durability::Relaxed).open(&path);
    let store = open()?;
    for number in 0..collections {
        create(&store, number)?;
    }
    store.close()?;
    let written = bytes_of(&path)?;
    let start = Instant::now();
    let store = open()?;
    let opened = start.elapsed();
    let start = Instant::now();
    let listed = store.collections()?.len();
    let listing = start.elapsed();
    let start = Instant::now();
    create(&store, collections)?;
    let created = start.elapsed();
    store.close()?;
    Store::builder().compact(&path)?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{listed} collections of {items} vectors of 100 numbers: {:.1} MB on disk, {:.1} MB after `compact`; opened in \
         {:.1} ms, listed in {:.1} ms; one more made and filled in {:.1} ms without waiting for the disk",
        written as f64 / 1e6,
        bytes_of(&path)? as f64 / 1e6,
        ms(opened),
        ms(listing),
        ms(created)
    );
    Ok(())
}

/// Size of all files in a directory, in bytes.
fn bytes_of(directory: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            bytes_of(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

fn vector(random: &mut fastrand::Rng, dim: usize, centre: usize) -> Vec<f32> {
    let mut centre = fastrand::Rng::with_seed(centre as u64);
    (0..dim)
        .map(|_| centre.f32() - 0.5 + 0.6 * (random.f32() - 0.5))
        .collect()
}

fn fill(path: &Path, items: usize, dim: usize) -> affinis::Result<()> {
    let store = Store::builder()
        .durability(Durability::Relaxed)
        .open(path)?;
    let points = store.collection("points").dim(dim).create()?;
    let mut random = fastrand::Rng::with_seed(1);
    for from in (0..items).step_by(5_000) {
        points.add((from..items.min(from + 5_000)).map(|i| {
            Item::vector(format!("item-{i}"), vector(&mut random, dim, i % 500))
                .with_text(format!(
                    "{i:>8}: a text of some sixty bytes, as titles often have them"
                ))
                .with_meta(json!({"class": i % 500}))
        }))?;
    }
    points.settle()?;
    store.flush()
}

/// Opens a store and searches it, and prints disk usage (MiB), times (ms) and memory (MiB).
fn opened(path: &Path) -> Result<(), Box<dyn Error>> {
    let before = memory("RssAnon")?;
    let start = Instant::now();
    let store = Store::open(path)?;
    let points = store.collection("points").open()?;
    let open = start.elapsed();
    let (dim, mut random) = (points.dim(), fastrand::Rng::with_seed(2));
    points.search(vector(&mut random, dim, 0)).run()?;
    let first = start.elapsed();
    points.settle()?;
    let idle = memory("RssAnon")? - before;
    for query in 0..QUERIES {
        points.search(vector(&mut random, dim, query % 500)).run()?;
    }
    let (busy, mapped) = (memory("RssAnon")? - before, memory("RssFile")?);
    let disk = points.stats()?.store_bytes as f64 / f64::from(1 << 20);
    println!(
        "{disk} {} {} {idle} {busy} {mapped}",
        open.as_secs_f64() * 1e3,
        first.as_secs_f64() * 1e3
    );
    Ok(())
}

/// Memory of this process of a kind of `/proc/self/status`, in MiB.
fn memory(kind: &str) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with(kind))
        .ok_or("no such line in /proc/self/status")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib / 1024.0)
}
