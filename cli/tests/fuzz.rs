//! The bodies of the fuzz targets (`fuzz/`), driven on stable Rust: the kept corpus, random bytes, and mutations of valid
//! inputs.
//!
//! `AFFINIS_FUZZ_SECONDS` says how long each target runs (1), `AFFINIS_SEED` from which seed (1):
//! `AFFINIS_FUZZ_SECONDS=60 cargo test --workspace --test fuzz -- --nocapture`

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use affinis_mahalanobis::Mahalanobis;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

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
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'9', b'\n'][random.usize(..9)],
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

/// What the fuzzer found worth keeping for a target.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/../fuzz/corpus/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let byte = |line: &str, at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal");
    text.lines().map(|line| (0..line.len()).step_by(2).map(|at| byte(line, at)).collect()).collect()
}

/// Runs a target on all that is known and on many inputs more; the first that breaks a promise is shown in hexadecimal.
fn drive(name: &str, body: fn(&[u8]), corpus: &[Vec<u8>]) {
    let corpus = &[corpus, &kept(name)].concat();
    let (seconds, seed) = (setting("AFFINIS_FUZZ_SECONDS", 1), setting("AFFINIS_SEED", 1));
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut inputs, started) = (0_u64, Instant::now());
    while inputs <= corpus.len() as u64 || started.elapsed() < Duration::from_secs(seconds) {
        let input = match corpus.get(inputs as usize) {
            Some(whole) => whole.clone(),
            None => mutated(&mut random, corpus),
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&input))) {
            let hex = input.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat();
            eprintln!("{name}, seed {seed}, input {inputs}: {hex}");
            std::panic::resume_unwind(panic);
        }
        inputs += 1;
    }
    println!("{name}: {inputs} inputs in {:.0} s", started.elapsed().as_secs_f64());
}

fn texts(inputs: &[&str]) -> Vec<Vec<u8>> {
    inputs.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn parsers() {
    let mut corpus = texts(&[
        "0{\"id\": \"a\", \"text\": \"t\", \"vector\": [1, 2, 3], \"meta\": {\"b\": [1]}}\n{\"id\": \"b\", \"vector\": [0, 0, 1e-9]}\n",
        "1label\tsome text\nother\ttext\n",
        "0x,y,z,label\n1,2,3,a\n-1e5,.5,3,\"b \"\"c\"\n",
        "0{\"query\": \"t\", \"item\": \"a\", \"relevant\": true, \"user\": \"u\", \"at\": \"2025-06-07T08:09:10Z\"}\n",
        "0{\"query_vector\": [1, 2, 3], \"item\": \"a\", \"grade\": 0.5, \"shown\": [\"a\"]}\n{\"a\": \"x\", \"b\": \"y\", \"similar\": true}\n",
        "11 0 a 1\n1 0 b 0\n2 0 c 3\n",
        "0{\"query_id\": \"a\", \"relevant\": [\"b\", \"c\"]}\n",
    ]);
    let mut npy =
        b"0\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }          \n".to_vec();
    npy.extend([1.0_f32, 2.0, 3.0].iter().flat_map(|x| x.to_le_bytes()));
    corpus.push(npy);
    let export = include_str!("../../tests/fixtures/format-1/points.export");
    corpus.push([b"0", export.as_bytes()].concat());
    drive("parsers", bodies::parsers, &corpus);
}

#[test]
fn filter() {
    let corpus = texts(&[
        "{\"year\": {\"$gte\": 2020, \"$lt\": 2030}, \"lang\": {\"$in\": [\"en\", \"de\"]}}",
        "{\"$or\": [{\"a\": 1}, {\"b.c\": {\"$exists\": true}}], \"$not\": {\"a\": {\"$ne\": \"x\"}}}",
        "{\"$and\": [{\"a\": {\"$not\": {\"$gt\": 1}}}, {\"b.c\": {\"$nin\": [1, null, {}]}}]}",
    ]);
    drive("filter", bodies::filter, &corpus);
}

#[test]
fn metric() {
    use affinis::MetricLearner;
    let matrices = [ndarray::array![[1.5, 0.25], [0.25, 0.5]], ndarray::array![[1.0, 0.0], [0.0, 1.0]]];
    let mut corpus = Vec::new();
    for matrix in matrices {
        let metric = Mahalanobis::default().from_matrix(matrix.view()).expect("a metric");
        let bytes = metric.encode();
        // Without its checksum, which the target adds.
        corpus.push(bytes[..bytes.len() - 4].to_vec());
        corpus.push(bytes);
    }
    drive("metric", bodies::metric, &corpus);
}

#[test]
fn model() {
    let settings = texts(&[
        "\0\x0a{\"max_position_embeddings\": 512, \"pad_token_id\": 0, \"model_type\": \"bert\"}",
        "\0\x0b[{\"idx\": 1, \"type\": \"sentence_transformers.models.Pooling\", \"path\": \"1_Pooling\"}]",
        "\0\x0c{\"word_embedding_dimension\": 4, \"pooling_mode_cls_token\": true, \"pooling_mode_max_tokens\": true}",
        "\0\x0d{\"max_seq_length\": 4}",
        "\0\x0e{\"model_max_length\": 1e30}",
    ]);
    let graphs = (0..7).flat_map(|which| (0..9).map(move |file| vec![which, file, 200, 0, 0, 40, 1, 255]));
    drive("model", bodies::model, &settings.into_iter().chain(graphs).collect::<Vec<_>>());
}

#[test]
fn operations() {
    let mut random = fastrand::Rng::with_seed(9);
    let corpus: Vec<Vec<u8>> = (0..4).map(|_| (0..120).map(|_| random.u8(..)).collect()).collect();
    drive("operations", bodies::operations, &corpus);
}

#[test]
fn judgements() {
    let mut random = fastrand::Rng::with_seed(9);
    let corpus: Vec<Vec<u8>> = (0..4).map(|_| (0..300).map(|_| random.u8(..)).collect()).collect();
    drive("judgements", bodies::judgements, &corpus);
}
