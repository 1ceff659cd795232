//! One process writes, three read, and every answer that they get is checked.
//!
//! The writer adds an item every 10 ms, removes the one that it added 100 before, builds the graph
//! anew and closes and opens the store on the way. What a reader may see follows from the number of
//! the last item, so that each checks all that it sees: nothing half-done, nothing lost, and no step
//! back. At the end each prints how many states it saw and how old they were.
//!
//! `cargo run --release --example readers -- [SECONDS [ITEMS DIM]]`

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use affinis::{Collection, Filter, Item, Store};
use serde_json::json;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Items that the writer leaves of those that it adds.
const KEPT: u64 = 100;
const PERIOD: Duration = Duration::from_millis(10);
const READERS: usize = 3;

/// The vector of an item: numbers from -1 to 1 that follow from its own.
fn vector(number: u64, dim: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(number);
    (0..dim).map(|_| random.f32() * 2.0 - 1.0).collect()
}

fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

fn number_of(item: &Item) -> u64 {
    item.meta["n"].as_u64().unwrap_or_default()
}

/// Adds item `n`, tells of it in item `last`, and removes the item that is too old.
fn step(points: &Collection, n: u64) -> affinis::Result<()> {
    let meta = json!({"n": n, "at": micros()});
    points.add([
        Item::vector(n.to_string(), vector(n, points.dim())).with_meta(meta.clone()),
        Item::vector("last", vector(n, points.dim())).with_meta(meta),
    ])?;
    if n > KEPT {
        points.delete(&[(n - KEPT).to_string()])?;
    }
    Ok(())
}

/// Checks what a reader sees, and returns the number of the last item.
fn check(points: &Collection, base: usize) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let Some(last) = points.get("last")? else {
        return Ok((0, micros()));
    };
    let n = number_of(&last);
    let first = n.saturating_sub(KEPT - 1).max(1);
    let (count, expected) = (points.len(), base + 1 + (n + 1 - first) as usize);
    // The oldest item goes in a commit of its own.
    assert!(
        count == expected || n > KEPT && count == expected + 1,
        "{count} items after {n}"
    );
    for number in first..=n {
        assert!(points.contains(&number.to_string())?, "{number} of {n}");
    }
    assert!(points.get(&(n + 1).to_string())?.is_none(), "after {n}");
    let sought = vector(n, points.dim());
    let hits = points.search(sought).k(2).run()?;
    let mut found: Vec<&str> = hits.iter().map(|hit| &*hit.id).collect();
    found.sort_unstable();
    assert_eq!(found, [&*n.to_string(), "last"]);
    let recent = Filter::from_json(&json!({"n": {"$gt": n.saturating_sub(10)}}))?;
    assert_eq!(points.count(&recent)? as u64, n.min(10) + 1, "after {n}");
    Ok((n, last.meta["at"].as_u64().unwrap_or_default()))
}

/// Reads until the writer says that it has ended.
fn read(path: &str, base: usize) -> Outcome {
    let store = Store::open_read_only(path)?;
    let (mut states, mut seen) = (0_u64, 0);
    let (mut ages, mut opening) = (Vec::new(), Vec::new());
    loop {
        let begun = Instant::now();
        let asked = micros();
        store.refresh()?;
        let points = store.collection("points").open()?;
        let opened = begun.elapsed().as_secs_f64() * 1e3;
        let (n, at) = check(&points, base)?;
        assert!(n >= seen, "{n} after {seen}");
        if n > seen {
            states += 1;
            ages.push(asked.saturating_sub(at) as f64 / 1e3);
            opening.push(opened);
        }
        seen = n;
        if points.contains("end")? {
            break;
        }
        std::thread::sleep(PERIOD);
    }
    let of = |numbers: &mut Vec<f64>, share: f64| {
        numbers.sort_unstable_by(f64::total_cmp);
        let at = (numbers.len() as f64 * share) as usize;
        numbers
            .get(at.min(numbers.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    };
    println!(
        "reader: {states} states to {seen}; the newest item was {:.1} ms old (median; p99 {:.1}, most {:.1}); refresh and open {:.2} ms (median; p99 {:.2})",
        of(&mut ages, 0.5),
        of(&mut ages, 0.99),
        of(&mut ages, 1.0),
        of(&mut opening, 0.5),
        of(&mut opening, 0.99),
    );
    Ok(())
}

fn start_reader(path: &std::path::Path, base: usize) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .env("AFFINIS_READER", path)
        .env("AFFINIS_BASE", base.to_string())
        .stdout(Stdio::inherit())
        .spawn()
}

/// Writes for a while, and returns how long single steps took, in milliseconds.
fn write(points: &Collection, n: &mut u64, until: Instant) -> affinis::Result<Vec<f64>> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        *n += 1;
        step(points, *n)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(PERIOD.saturating_sub(begun.elapsed()));
    }
    Ok(times)
}

fn main() -> Outcome {
    if let Ok(path) = std::env::var("AFFINIS_READER") {
        return read(&path, std::env::var("AFFINIS_BASE")?.parse()?);
    }
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (seconds, base, dim) = (next(60)?, next(2000)?, next(16)?);
    let dir = tempfile::tempdir()?;
    let mut store = Store::open(dir.path())?;
    let mut points = store.collection("points").dim(dim).create()?;
    let first = 1_u64 << 40;
    for from in (0..base as u64).step_by(10_000) {
        let until = (from + 10_000).min(base as u64);
        points.add(
            (from..until).map(|i| Item::vector(format!("base-{i}"), vector(first + i, dim))),
        )?;
    }
    points.settle()?;
    let alone = Duration::from_secs(seconds as u64).div_f64(6.0);
    let mut n = 0;
    let mut quiet = write(&points, &mut n, Instant::now() + alone)?;
    // One that holds the store open and asks nothing: what publishing costs by itself.
    let idle = Store::open_read_only(dir.path())?;
    let mut published = write(&points, &mut n, Instant::now() + alone)?;
    drop(idle);
    let readers: std::io::Result<Vec<Child>> = (0..READERS)
        .map(|_| start_reader(dir.path(), base))
        .collect();
    let mut read = write(&points, &mut n, Instant::now() + alone)?;
    points.optimize()?;
    read.extend(write(&points, &mut n, Instant::now() + alone)?);
    drop(points);
    store.close()?;
    store = Store::open(dir.path())?;
    points = store.collection("points").open()?;
    read.extend(write(&points, &mut n, Instant::now() + alone)?);
    points.add([Item::vector("end", vector(0, dim))])?;
    for mut reader in readers? {
        assert!(reader.wait()?.success(), "a reader saw something wrong");
    }
    for times in [&mut quiet, &mut published, &mut read] {
        times.sort_unstable_by(f64::total_cmp);
    }
    println!(
        "writer: {n} steps, the median of one {:.2} ms alone, {:.2} ms beside a reader that asks nothing, {:.2} ms beside {READERS}",
        quiet[quiet.len() / 2],
        published[published.len() / 2],
        read[read.len() / 2],
    );
    Ok(())
}
