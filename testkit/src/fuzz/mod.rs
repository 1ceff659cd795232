//! A seeded driver that runs the bodies of the fuzz targets on stable Rust: on the corpus in
//! `fuzz/corpus`, on mutations of it and of valid inputs, and on random bytes.
//!
//! `AFFINIS_FUZZ_SECONDS` says how long each target runs (1), `AFFINIS_SEED` from which seed (1).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::setting;

#[cfg(feature = "fuzz-bodies")]
pub mod bodies;

/// The time after which an input is shown while it still runs, so that one that never ends, or that
/// the kernel ends, is found too.
const SLOW_INPUT: Duration = Duration::from_secs(20);

/// A mutation of one input, or a piece of one in another, or random bytes.
fn mutated(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match random.u8(..8) {
        0 => (0..random.usize(..300)).map(|_| random.u8(..)).collect(),
        _ => corpus[random.usize(..corpus.len())].clone(),
    };
    for _ in 0..random.usize(..6) {
        let at = random.usize(..=bytes.len());
        match random.u8(..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            1 if at < bytes.len() => {
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'9', b'\n'][random.usize(..9)];
            }
            2 => bytes.insert(at, random.u8(..)),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => {
                let other = &corpus[random.usize(..corpus.len())];
                let from = random.usize(..=other.len());
                let piece = other[from..(from + random.usize(..40)).min(other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let end = (at + random.usize(..9)).min(bytes.len());
                bytes[at..end].fill(random.u8(..));
            }
        }
    }
    bytes
}

/// The corpus of a target: inputs that libFuzzer found to reach new code.
fn saved_corpus(name: &str) -> Vec<Vec<u8>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("fuzz/corpus"));
    let Some(corpus) = workspace.into_iter().find(|dir| dir.is_dir()) else {
        return Vec::new();
    };
    let path = corpus.join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let byte =
        |line: &str, at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal");
    text.lines()
        .map(|line| {
            (0..line.len())
                .step_by(2)
                .map(|at| byte(line, at))
                .collect()
        })
        .collect()
}

fn hex(input: &[u8]) -> String {
    input
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<Vec<_>>()
        .concat()
}

/// The input under way, and since when.
type Current = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

/// Shows the input under way, from a thread of its own, once it takes long.
struct Watch {
    current: Current,
    _end: Sender<()>,
}

impl Watch {
    fn new(name: &str) -> Self {
        let current = Current::default();
        let (end, ended) = channel();
        let (name, watched) = (name.to_owned(), current.clone());
        std::thread::spawn(move || {
            while ended.recv_timeout(SLOW_INPUT / 4) == Err(RecvTimeoutError::Timeout) {
                let mut current = watched.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((_, input)) = current.take_if(|(since, _)| since.elapsed() > SLOW_INPUT)
                {
                    eprintln!(
                        "{name}: an input runs for over {} s: {}",
                        SLOW_INPUT.as_secs(),
                        hex(&input)
                    );
                }
            }
        });
        Self { current, _end: end }
    }

    fn begin(&self, input: &[u8]) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), input.to_vec()));
    }
}

/// Runs a target's body on `corpus`, on the saved corpus of that name and on mutations of both.
/// Panics at the first input on which the body panics, and prints it in hexadecimal.
pub fn drive(name: &str, body: fn(&[u8]), corpus: &[Vec<u8>]) {
    // Miri is about 10,000 times slower, so it runs only the given inputs.
    let (saved, default_seconds) = if cfg!(miri) {
        (Vec::new(), 0)
    } else {
        (saved_corpus(name), 1)
    };
    let corpus = &[corpus, &saved].concat();
    let (seconds, seed) = (
        setting("AFFINIS_FUZZ_SECONDS", default_seconds),
        setting("AFFINIS_SEED", 1),
    );
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut inputs, started, watch) = (0_usize, Instant::now(), Watch::new(name));
    while inputs < corpus.len() + 4 || started.elapsed() < Duration::from_secs(seconds) {
        let input = match corpus.get(inputs) {
            Some(whole) => whole.clone(),
            None => mutated(&mut random, corpus),
        };
        watch.begin(&input);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&input))) {
            eprintln!("{name}, seed {seed}, input {inputs}: {}", hex(&input));
            std::panic::resume_unwind(panic);
        }
        inputs += 1;
    }
    println!(
        "{name}: {inputs} inputs in {:.0} s",
        started.elapsed().as_secs_f64()
    );
}
