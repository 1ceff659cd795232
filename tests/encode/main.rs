//! What encoding promises, on models small enough to work out by hand, on the model in the binary,
//! and on all-MiniLM.
//!
//! The tiny models in `fixtures/models` are made by `make.py` beside them. Row `i` of their
//! embedding table is `[i, -i, i % 3, 1]`, and the tokenizer puts `[CLS]` (2) before and `[SEP]`
//! (3) after a text.

#![cfg(feature = "embedded-model")]

mod minilm;
mod refused;
#[path = "../common/skip.rs"]
mod skip;

use std::fs;
use std::path::{Path, PathBuf};

use affinis::encode::{self, Backend};
use affinis::{EncodeError, Encoder, Onnx};
use ndarray::{Array1, Array2, Axis};
use skip::skipped;
use tempfile::TempDir;

const WORDS: [(&str, f32); 6] = [
    ("red", 4.0),
    ("green", 5.0),
    ("blue", 6.0),
    ("apple", 7.0),
    ("pear", 8.0),
    ("plum", 9.0),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/models").join(name)
}

/// A model directory with one of the tiny models and further files.
fn model(onnx: &str, files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixture(onnx), dir.path().join("model.onnx")).unwrap();
    fs::copy(fixture("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

const NOT_NORMALISED: (&str, &str) = (
    "modules.json",
    r#"[{"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]"#,
);

fn pooling(mode: &str) -> String {
    format!(r#"{{"word_embedding_dimension": 4, "pooling_mode_{mode}": true}}"#)
}

fn rows(dir: &Path, texts: &[&str]) -> Array2<f32> {
    Onnx::options()
        .backend(Backend::Tract)
        .from_dir(dir)
        .unwrap()
        .encode(texts)
        .unwrap()
        .vectors
}

/// The rows of the table for `[CLS] words [SEP]`.
fn table(text: &str) -> Array2<f32> {
    let known = |word: &str| {
        WORDS
            .iter()
            .find(|(known, _)| *known == word)
            .map_or(1.0, |(_, id)| *id)
    };
    let ids: Vec<f32> = [2.0]
        .into_iter()
        .chain(text.split_whitespace().map(known))
        .chain([3.0])
        .collect();
    Array2::from_shape_fn((ids.len(), 4), |(i, j)| {
        [ids[i], -ids[i], ids[i] % 3.0, 1.0][j]
    })
}

fn close(a: &Array2<f32>, b: &Array2<f32>, tolerance: f32) {
    assert_eq!(a.dim(), b.dim());
    let worst = a
        .iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max);
    assert!(worst <= tolerance, "{worst} apart:\n{a}\n{b}");
}

const TEXTS: [&str; 4] = [
    "red apple",
    "green pear blue plum red",
    "",
    "apple apple apple apple apple apple apple apple",
];

#[test]
fn mean_cls_and_max_pooling_give_what_their_names_say() {
    type Reduce = fn(Array2<f32>) -> Array1<f32>;
    let modes: [(&str, Reduce); 3] = [
        ("mean_tokens", |t| t.mean_axis(Axis(0)).unwrap()),
        ("cls_token", |t| t.row(0).to_owned()),
        ("max_tokens", |t| {
            t.map_axis(Axis(0), |column| {
                column.iter().copied().fold(f32::MIN, f32::max)
            })
        }),
    ];
    for (mode, reduce) in modes {
        let dir = model(
            "tokens.onnx",
            &[NOT_NORMALISED, ("1_Pooling/config.json", &pooling(mode))],
        );
        let expected = TEXTS.map(|text| reduce(table(text)));
        let expected = ndarray::stack(Axis(0), &expected.each_ref().map(|row| row.view())).unwrap();
        close(&rows(dir.path(), &TEXTS), &expected, 1e-6);
    }
}

#[test]
fn without_settings_token_vectors_are_averaged_and_normalised() {
    let dir = model("tokens.onnx", &[]);
    let mut expected = Array2::zeros((TEXTS.len(), 4));
    for (i, text) in TEXTS.iter().enumerate() {
        let mean = table(text).mean_axis(Axis(0)).unwrap();
        expected
            .row_mut(i)
            .assign(&(&mean / mean.dot(&mean).sqrt()));
    }
    close(&rows(dir.path(), &TEXTS), &expected, 1e-6);
}

#[test]
fn the_newer_form_of_the_pooling_file_is_read() {
    let newer = model(
        "tokens.onnx",
        &[("1_Pooling/config.json", r#"{"pooling_mode": "cls"}"#)],
    );
    let older = model(
        "tokens.onnx",
        &[("1_Pooling/config.json", &pooling("cls_token"))],
    );
    close(
        &rows(newer.path(), &TEXTS),
        &rows(older.path(), &TEXTS),
        0.0,
    );
}

#[test]
fn token_types_are_given_where_the_model_asks_for_them() {
    let plain = model("tokens.onnx", &[NOT_NORMALISED]);
    let types = model("types.onnx", &[NOT_NORMALISED]);
    // The model adds 100 for the first segment, 1000 for the second; a text is one segment.
    close(
        &rows(types.path(), &TEXTS),
        &(rows(plain.path(), &TEXTS) + 100.0),
        1e-4,
    );
}

#[test]
fn a_pooled_output_is_taken_as_it_is() {
    let mut expected = Array2::zeros((TEXTS.len(), 4));
    for (i, text) in TEXTS.iter().enumerate() {
        expected
            .row_mut(i)
            .assign(&(table(text).sum_axis(Axis(0)) * 2.0));
    }
    for name in ["sentence_embedding.onnx", "pooler.onnx"] {
        let dir = model(
            name,
            &[
                NOT_NORMALISED,
                ("1_Pooling/config.json", &pooling("cls_token")),
            ],
        );
        close(&rows(dir.path(), &TEXTS), &expected, 1e-4);
    }
}

#[test]
fn a_row_does_not_depend_on_the_texts_beside_it() {
    // As BERT is exported (a slice to the sequence length, an additive mask), and as torch traces
    // it (expanded masks).
    for name in ["bert.onnx", "traced.onnx"] {
        let dir = model(name, &[]);
        let together = rows(dir.path(), &TEXTS);
        for (i, text) in TEXTS.iter().enumerate() {
            let alone = rows(dir.path(), &[text]);
            close(
                &alone,
                &together.slice(ndarray::s![i..=i, ..]).to_owned(),
                1e-5,
            );
        }
    }
}

#[test]
fn rows_come_in_the_order_of_the_texts_whatever_batches_and_threads() {
    let texts: Vec<String> = (0..150)
        .map(|i| {
            (0..=(i * 7) % 11)
                .map(|j| WORDS[(i + j * 5) % 6].0)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let dir = model("bert.onnx", &[]);
    let one = Onnx::options()
        .batch(1)
        .threads(1)
        .from_dir(dir.path())
        .unwrap()
        .encode(&texts)
        .unwrap();
    for (batch, threads) in [(7, 1), (64, 3)] {
        let many = Onnx::options()
            .batch(batch)
            .threads(threads)
            .from_dir(dir.path())
            .unwrap();
        close(&many.encode(&texts).unwrap().vectors, &one.vectors, 1e-5);
    }
}

#[test]
fn texts_are_cut_at_the_limit_and_say_so() {
    let dir = model(
        "tokens.onnx",
        &[
            ("sentence_bert_config.json", r#"{"max_seq_length": 4}"#),
            NOT_NORMALISED,
        ],
    );
    let onnx = Onnx::from_dir(dir.path()).unwrap();
    let encoded = onnx
        .encode(&["red green", "red green blue apple", ""])
        .unwrap();
    assert_eq!(onnx.max_length(), 4);
    assert_eq!(encoded.truncated, [false, true, false]);
    // What is kept is the beginning, and [SEP] still ends it.
    assert_eq!(encoded.vectors.row(0), encoded.vectors.row(1));
}

#[test]
fn the_limit_is_what_the_files_say_and_never_more_than_the_positions() {
    let cases: [(&[(&str, &str)], usize); 5] = [
        (&[], 256),
        (
            &[("tokenizer_config.json", r#"{"model_max_length": 128}"#)],
            128,
        ),
        (
            &[(
                "tokenizer_config.json",
                r#"{"model_max_length": 1000000000000000019884624838656}"#,
            )],
            256,
        ),
        (
            &[(
                "config.json",
                r#"{"model_type": "bert", "max_position_embeddings": 32}"#,
            )],
            32,
        ),
        (
            &[(
                "config.json",
                r#"{"model_type": "xlm-roberta", "max_position_embeddings": 34, "pad_token_id": 1}"#,
            )],
            32,
        ),
    ];
    for (files, limit) in cases {
        assert_eq!(
            Onnx::from_dir(model("tokens.onnx", files).path())
                .unwrap()
                .max_length(),
            limit,
            "{files:?}"
        );
    }
    let dir = model(
        "bert.onnx",
        &[("config.json", r#"{"max_position_embeddings": 32}"#)],
    );
    let long = Onnx::options().max_length(33).from_dir(dir.path());
    assert!(
        matches!(
            long,
            Err(EncodeError::Option {
                option: "max_length",
                value: 33,
                ..
            })
        ),
        "{long:?}"
    );
    let short = Onnx::options().max_length(2).from_dir(dir.path());
    assert!(
        matches!(
            short,
            Err(EncodeError::Option {
                option: "max_length",
                value: 2,
                ..
            })
        ),
        "{short:?}"
    );
}

#[test]
fn the_fingerprint_changes_with_all_that_changes_vectors_and_with_nothing_else() {
    let print = |dir: &TempDir| Onnx::from_dir(dir.path()).unwrap().fingerprint().to_owned();
    let base = print(&model("tokens.onnx", &[]));
    assert_eq!(base.len(), 32);
    assert_eq!(
        base,
        print(&model(
            "tokens.onnx",
            &[("config.json", r#"{"model_type": "bert"}"#)]
        ))
    );
    let nested = model("tokens.onnx", &[]);
    fs::create_dir(nested.path().join("onnx")).unwrap();
    fs::rename(
        nested.path().join("model.onnx"),
        nested.path().join("onnx/model.onnx"),
    )
    .unwrap();
    assert_eq!(base, print(&nested));

    let spaced = fs::read_to_string(fixture("tokenizer.json")).unwrap() + "\n";
    for other in [
        model("types.onnx", &[]),
        model("tokens.onnx", &[NOT_NORMALISED]),
        model(
            "tokens.onnx",
            &[("1_Pooling/config.json", &pooling("max_tokens"))],
        ),
        model(
            "tokens.onnx",
            &[("sentence_bert_config.json", r#"{"max_seq_length": 64}"#)],
        ),
        model("tokens.onnx", &[("tokenizer.json", &spaced)]),
    ] {
        assert_ne!(base, print(&other));
    }
}

#[test]
fn the_model_in_the_binary_knows_what_is_near() {
    let onnx = Onnx::embedded().unwrap();
    assert_eq!(
        (onnx.dim(), onnx.name(), onnx.source().as_deref()),
        (256, "static-minilm-256", Some("embedded"))
    );
    let encoded = onnx
        .encode(&[
            "how to prune apple trees",
            "fruit tree care",
            "network printer driver",
        ])
        .unwrap();
    let near = encoded.vectors.row(0).dot(&encoded.vectors.row(1));
    let far = encoded.vectors.row(0).dot(&encoded.vectors.row(2));
    assert!(near > far + 0.2, "{near} {far}");
    assert_eq!(encoded.truncated, [false; 3]);
    for row in encoded.vectors.rows() {
        assert!((row.dot(&row) - 1.0).abs() < 1e-5);
    }
    let nothing = onnx.encode(&[]).unwrap();
    assert_eq!(nothing.vectors.dim(), (0, 256));
}

#[test]
fn the_embedded_model_and_its_directory_are_one_encoder() {
    let embedded = encode::load("embedded").unwrap();
    let dir = encode::load(root().join("models/static-minilm-256").to_str().unwrap()).unwrap();
    assert_eq!(embedded.fingerprint(), dir.fingerprint());
    let texts = ["a violin", "an oboe"];
    assert_eq!(
        embedded.encode(&texts).unwrap(),
        dir.encode(&texts).unwrap()
    );
    assert!(dir.source().unwrap().ends_with("static-minilm-256"));
}

#[test]
fn an_encoder_serves_many_threads() {
    let onnx = Onnx::embedded().unwrap();
    let expected = onnx
        .encode(&["one text", "and another, longer text"])
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (onnx, expected) = (onnx.clone(), &expected);
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(
                        &onnx
                            .encode(&["one text", "and another, longer text"])
                            .unwrap(),
                        expected
                    );
                }
            });
        }
    });
}
