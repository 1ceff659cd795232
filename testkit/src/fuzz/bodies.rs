//! The bodies of the fuzz targets: each takes bytes and panics when a promise is broken. They run
//! under libFuzzer (`fuzz/fuzz_targets/`) and, on stable Rust, under [`drive`](super::drive)
//! (`cli/tests/hostile_input.rs`). The bodies for records, graphs and segment files, which no
//! program can reach, are in the library (`src/fuzz.rs`).

use std::collections::BTreeMap;
use std::io::BufReader;
use std::sync::{Arc, OnceLock};

use affinis::{
    Error, Filter, Item, Judgement, Query, Store, StoreBuilder,
    encode::{Encoder, Onnx},
    plugin::{Metric, MetricLearner},
    testing::{DiskOp, Fault, Faults},
};
use affinis_cli::input::{self, Defaults, Expected, InputError};
use affinis_mahalanobis::Mahalanobis;
use serde_json::{Value, json};

/// Name of the file in the errors of [`parsed`].
pub const FILE: &str = "the-file";

/// Every parser of the command line ends with a value or an error that names the file.
pub fn parsers(data: &[u8]) {
    let skip_bad = data.first().is_some_and(|b| b % 2 == 1);
    for error in parsed(data.get(1..).unwrap_or_default(), skip_bad) {
        assert!(error.file == FILE && !error.reason.is_empty(), "{error}");
    }
}

/// Gives an input to every parser of the command line, through a small buffer, and returns their
/// errors. The collection holds texts and vectors of dimension 3.
pub fn parsed(bytes: &[u8], skip_bad: bool) -> Vec<InputError> {
    let reader = || BufReader::with_capacity(7, bytes);
    let expected = Expected {
        dim: 3,
        texts: true,
        distance: affinis::Distance::L2,
        skip_bad,
    };
    let layout = &input::Layout::default();
    let named = &input::Layout {
        columns: input::Columns {
            id: Some("a".to_owned()),
            text: vec!["b".to_owned(), "text".to_owned()],
            vector: vec!["vector".to_owned()],
            meta: None,
            image: Some("image".to_owned()),
            expires: None,
        },
        delimiter: Some(b';'),
        ..input::Layout::default()
    };
    let no_ids = || None::<(&[u8], &str)>;
    let texts = BTreeMap::from([("1".to_owned(), "one".to_owned())]);
    let refused = [
        input::items_json(reader(), FILE, expected, layout).err(),
        input::tsv(reader(), FILE, expected, layout).err(),
        input::items_json(reader(), FILE, expected, named).err(),
        input::tsv(reader(), FILE, expected, named).err(),
        input::csv(reader(), FILE, expected, named).err(),
        input::csv(reader(), FILE, expected, layout).err(),
        input::npy_items(reader(), FILE, no_ids(), expected, layout).err(),
        input::npy_items(&b""[..], FILE, Some((reader(), FILE)), expected, layout).err(),
        input::npy_f64(reader(), FILE).err(),
        input::npy_f32(reader(), FILE).err(),
        input::npy_queries(reader(), FILE, expected).err(),
        input::judgements_jsonl(reader(), FILE, expected, &Defaults::default()).err(),
        input::evaluation(reader(), FILE, expected, None, None).err(),
        input::evaluation(reader(), FILE, expected, Some(&texts), Some(2.0)).err(),
        input::ratings(reader(), FILE, None, None).err(),
        input::ratings(reader(), FILE, Some(input::RatingFormat::Quepid), None).err(),
        input::ubi(
            (reader(), FILE),
            Some((reader(), FILE)),
            expected,
            &Defaults::default(),
            input::WORDS,
        )
        .err(),
        input::topics(reader(), FILE).err(),
        input::archive(reader(), FILE).err(),
    ];
    refused.into_iter().flatten().collect()
}

/// A filter is refused with the place of its fault, or is a condition whose negation holds exactly
/// where it does not.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Filter::parse(text) {
        Err(Error::InvalidFilter { at, reason }) => assert!(!at.is_empty() && !reason.is_empty()),
        Err(other) => panic!("{text:?} gave {other:?}"),
        Ok(filter) => {
            let value: Value = serde_json::from_str(text).expect("it was parsed");
            let opposite = Filter::from_json(&json!({"$not": value}));
            for meta in [
                Value::Null,
                json!({"a": 1, "b": {"c": [1, "x"]}}),
                json!([{"a": 2.5}]),
                json!({"a": "x"}),
                json!({"a.b": 1, "a": {"b": "2026-03-01T12:00:00Z"}}),
            ] {
                // The negation may exceed the depth limit.
                let Ok(opposite) = &opposite else { continue };
                match (filter.matches(&meta), opposite.matches(&meta)) {
                    (Ok(passes), Ok(not)) => assert_ne!(not, passes, "{text:?} on {meta}"),
                    (
                        Err(Error::AmbiguousField { field: a, .. }),
                        Err(Error::AmbiguousField { field: b, .. }),
                    ) => assert_eq!(a, b, "{text:?} on {meta}"),
                    other => panic!("{text:?} on {meta} gave {other:?}"),
                }
            }
        }
    }
}

/// The bytes of a metric are refused, or decode to a metric that encodes to the same bytes.
pub fn metric(data: &[u8]) {
    let plugin = Mahalanobis::default();
    let mut sealed = data.to_vec();
    sealed.extend(crc(data).to_le_bytes());
    let base = metric_base();
    for bytes in [data, &sealed] {
        for base in [None, Some(&base)] {
            if let Ok(metric) = plugin.decode(bytes, base) {
                assert_eq!(metric.encode(), bytes);
                check_metric(&*metric);
            }
        }
    }
}

/// The metric on which low-rank changes are decoded.
pub fn metric_base() -> Arc<dyn Metric> {
    static BASE: OnceLock<Arc<dyn Metric>> = OnceLock::new();
    let matrix = ndarray::array![[1.5, 0.25, 0.0], [0.25, 0.5, 0.0], [0.0, 0.0, 1.0]];
    BASE.get_or_init(|| {
        Mahalanobis::default()
            .from_matrix(matrix.view())
            .expect("a metric")
    })
    .clone()
}

/// CRC-32 (IEEE), bit by bit: a mutated input must get past the checksum to be worth anything.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// Small models of different shapes, which share a tokenizer.
const MODELS: [&[u8]; 8] = [
    include_bytes!("../../../tests/fixtures/models/tokens.onnx"),
    include_bytes!("../../../tests/fixtures/models/bert.onnx"),
    include_bytes!("../../../tests/fixtures/models/bert_half.onnx"),
    include_bytes!("../../../tests/fixtures/models/sentence_embedding.onnx"),
    include_bytes!("../../../tests/fixtures/models/pooler.onnx"),
    include_bytes!("../../../tests/fixtures/models/traced.onnx"),
    include_bytes!("../../../tests/fixtures/models/types.onnx"),
    include_bytes!("../../../tests/fixtures/models/scores.onnx"),
];
const TOKENIZER: &[u8] = include_bytes!("../../../tests/fixtures/models/tokenizer.json");
/// Files of a model directory that hold its settings.
const SETTINGS: [&str; 6] = [
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
    "onnx/model.onnx",
];

/// A damaged model directory is refused with its file named, or gives finite rows of the
/// dimension that it states.
///
/// The first two bytes choose the model and the file to change. The graph and the tokenizer are
/// changed by the rest of the input, three bytes a change (offset, value); any other file is the
/// rest itself.
pub fn model(data: &[u8]) {
    let [which, file, rest @ ..] = data else {
        return;
    };
    let mut graph = MODELS[usize::from(*which) % MODELS.len()].to_vec();
    let mut tokenizer = TOKENIZER.to_vec();
    let home = tempfile::tempdir().expect("a directory");
    let changes = rest
        .as_chunks::<3>()
        .0
        .iter()
        .map(|[a, b, value]| (u16::from_le_bytes([*a, *b]), *value));
    let change = |bytes: &mut Vec<u8>| {
        for (at, value) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
    };
    match usize::from(*file) % 16 {
        0..8 => change(&mut graph),
        8..10 => change(&mut tokenizer),
        other => {
            let path = home.path().join(SETTINGS[other - 10]);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            std::fs::write(path, rest).expect("written");
        }
    }
    std::fs::write(home.path().join("model.onnx"), graph).expect("written");
    std::fs::write(home.path().join("tokenizer.json"), tokenizer).expect("written");
    let encoded = Onnx::options()
        .threads(1)
        .from_dir(home.path())
        .and_then(|model| {
            assert!((1..=4096).contains(&model.dim()));
            let encoded = model.encode(&["plum", "", "a longer text, with plums"])?;
            assert_eq!(encoded.vectors.dim(), (3, model.dim()));
            Ok(encoded)
        });
    match encoded {
        Ok(encoded) => assert!(encoded.vectors.iter().all(|v| v.is_finite())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Asserts that a metric is finite, symmetric, and positive in many directions.
fn check_metric(metric: &dyn Metric) {
    let d = metric.dim();
    if d > 64 {
        return;
    }
    let a = metric.matrix().expect("a matrix");
    assert!(a.iter().all(|x| x.is_finite()), "{a}");
    let largest = a.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    let mut random = fastrand::Rng::with_seed(5);
    for i in 0..d {
        for j in 0..d {
            assert!((a[[i, j]] - a[[j, i]]).abs() <= 1e-12 * largest, "{a}");
        }
        let x: Vec<f32> = (0..d).map(|_| random.f32() - 0.5).collect();
        let y: Vec<f32> = (0..d).map(|_| random.f32() - 0.5).collect();
        let distance = metric.distance(&x, &y);
        assert!(
            distance.is_finite() && distance > 0.0,
            "{distance} under {a}"
        );
    }
}

fn builder() -> StoreBuilder {
    Store::builder().plugin(Mahalanobis::default())
}

/// A sequence of operations, with reopens and faults, leaves the contents of a map in memory.
pub fn operations(data: &[u8]) {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    let faults = Faults::new();
    let open = || {
        let store = builder()
            .faults(faults.clone())
            .open(&path)
            .expect("opened");
        let points = store
            .collection("c")
            .dim(2)
            .open_or_create()
            .expect("opened");
        (store, points)
    };
    let mut model: BTreeMap<String, [f32; 2]> = BTreeMap::new();
    let (mut store, mut points) = open();
    for step in data.chunks_exact(4).take(60) {
        let [op, a, b, c] = [step[0], step[1], step[2], step[3]];
        let id = format!("i{}", a % 16);
        let vector = [f32::from(b) / 16.0, f32::from(c) / 16.0];
        let mut after = model.clone();
        // The fault of this step, if there is one.
        if op & 0x40 != 0 {
            let kind = [DiskOp::Read, DiskOp::Commit, DiskOp::Flush][usize::from(b) % 3];
            faults.fail(
                u64::from(c % 3),
                [Fault::Refused, Fault::Unacknowledged][usize::from(a) % 2],
                Some(kind),
                false,
            );
        }
        let done = match op % 6 {
            0 | 1 => {
                after.insert(id.clone(), vector);
                points.add([Item::vector(id, vector)]).map(drop)
            }
            2 => match points.delete(&[&id]) {
                Err(Error::UnknownId { .. }) => {
                    assert!(!model.contains_key(&id));
                    Ok(())
                }
                done => {
                    after.remove(&id);
                    done.map(drop)
                }
            },
            3 => points.optimize(),
            4 => points
                .search(vector.to_vec())
                .k(1 + usize::from(c))
                .run()
                .map(drop),
            _ => {
                faults.clear();
                drop((store, points));
                (store, points) = open();
                Ok(())
            }
        };
        faults.clear();
        match done {
            Ok(()) => model = after,
            Err(Error::Storage { .. } | Error::Poisoned(_)) => {
                drop((store, points));
                (store, points) = open();
                let there = contents(&points);
                assert!(
                    there == model || there == after,
                    "{there:?} is neither {model:?} nor {after:?}"
                );
                model = there;
            }
            Err(other) => panic!("{other:?}"),
        }
        // The fault may have hit the background thread.
        if store.flush().is_err() {
            drop((store, points));
            (store, points) = open();
        }
        let hits = points
            .search(vec![1.0, 2.0])
            .k(100)
            .recall(1.0)
            .run()
            .expect("answered");
        assert_eq!(hits.len(), model.len());
        for hit in &hits {
            let [x, y] = model[&hit.id];
            let exact = (x - 1.0).powi(2) + (y - 2.0).powi(2);
            assert!(
                (hit.distance - exact).abs() <= 1e-4 * exact + 1e-5,
                "{hit:?}: {exact}"
            );
        }
    }
    assert_eq!(contents(&points), model);
    assert!(store.verify().expect("verified").problems.is_empty());
}

fn contents(points: &affinis::Collection) -> BTreeMap<String, [f32; 2]> {
    let read = |item: Item| {
        let vector = item.vector.expect("a vector");
        (item.id, [vector[0], vector[1]])
    };
    points
        .items()
        .expect("listed")
        .map(|item| read(item.expect("read")))
        .collect()
}

/// A learned metric is symmetric positive definite, finite and within its cap whatever is judged,
/// and it does not depend on the order of the judgements.
pub fn judgements(data: &[u8]) {
    const DIM: usize = 3;
    let (head, rest) = data.split_at(data.len().min(36));
    let numbers = |v: &[u8]| -> Vec<f32> {
        // From equal vectors to lengths that differ by many orders of magnitude.
        v.iter()
            .map(|b| (f32::from(b % 16) - 8.0) * 10_f32.powi(i32::from(b / 16) % 7 - 3))
            .collect()
    };
    let judged = rest.chunks_exact(4).take(100).map(|step| {
        let (a, b) = (format!("i{}", step[0] % 12), format!("i{}", step[1] % 12));
        let judgement = match step[2] % 4 {
            0 => Judgement::similar(&a, &b),
            1 => Judgement::dissimilar(&a, &b),
            _ => Judgement::graded(Query::like(&a), &b, f32::from(step[2]) / 127.5 - 1.0),
        };
        judgement
            .weight(10_f32.powi(i32::from(step[3] % 13) - 6))
            .user(format!("u{}", step[3] % 3))
    });
    let mut judged: Vec<Judgement> = judged.collect();
    let learned = |judged: &[Judgement]| {
        let home = tempfile::tempdir().expect("a directory");
        let store = builder().open(home.path().join("s")).expect("opened");
        let points = store.collection("c").dim(DIM).create().expect("made");
        let items = head
            .chunks_exact(DIM)
            .enumerate()
            .map(|(i, v)| Item::vector(format!("i{i}"), numbers(v)));
        points.add(items).expect("added");
        for judgement in judged {
            match points.judge(judgement.clone()) {
                Ok(_) | Err(Error::InvalidJudgement { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        let matrix = match points
            .refit()
            .seed(u64::from(head.first().copied().unwrap_or(0)))
            .force(true)
            .run()
        {
            Ok(report) => {
                let version = report.version.expect("it was stored");
                assert!(
                    report.condition.is_finite() && report.condition >= 1.0,
                    "{report:?}"
                );
                let stored = points.history().expect("read").versions;
                let bytes = &stored
                    .iter()
                    .find(|v| v.version.version == version)
                    .expect("stored")
                    .metric;
                let metric = Mahalanobis::default()
                    .decode(bytes, None)
                    .expect("it can be read");
                check_metric(&*metric);
                Some(metric.matrix().expect("a matrix"))
            }
            Err(Error::NoJudgements { .. } | Error::Learn(_)) => None,
            Err(other) => panic!("{other:?}"),
        };
        assert!(store.verify().expect("verified").problems.is_empty());
        matrix
    };
    let forwards = learned(&judged);
    judged.reverse();
    match (forwards, learned(&judged)) {
        (Some(a), Some(b)) => {
            let largest = a.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
            assert!(
                (&a - &b).iter().all(|x| x.abs() <= 1e-10 * largest),
                "{a} and {b}"
            );
        }
        (None, None) => {}
        (one, other) => panic!("{one:?} in one order, {other:?} in the other"),
    }
}
