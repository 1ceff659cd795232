//! The vectors of encoders: worked out by hand for the tiny models of [`affinis_testkit::models`],
//! those of the model in the binary, and those of all-MiniLM-L6-v2 on both backends.

#![cfg(feature = "embedded-model")]

use std::fs;
use std::path::{Path, PathBuf};

use affinis::encode::{self, Backend};
use affinis::encode::{EncodeError, Encoder, Onnx, Similarity};
use affinis_testkit::models::{
    NOT_NORMALISED, TEXTS, WORDS, assert_close, fixture, model, pooling, table,
};
use affinis_testkit::{data_dir, f16_vectors, skipped};
use ndarray::{Array1, Array2, Axis};
use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rows(dir: &Path, texts: &[&str]) -> Array2<f32> {
    Onnx::options()
        .backend(Backend::Rten)
        .from_dir(dir)
        .unwrap()
        .encode(texts)
        .unwrap()
        .vectors
}

#[test]
fn every_pooling_equals_that_worked_by_hand() {
    type Reduce = fn(Array2<f32>) -> Array1<f32>;
    let modes: [(&str, Reduce); 6] = [
        ("mean_tokens", |t| t.mean_axis(Axis(0)).unwrap()),
        ("cls_token", |t| t.row(0).to_owned()),
        ("max_tokens", |t| {
            t.map_axis(Axis(0), |column| {
                column.iter().copied().fold(f32::MIN, f32::max)
            })
        }),
        ("mean_sqrt_len_tokens", |t| {
            t.sum_axis(Axis(0)) / (t.nrows() as f32).sqrt()
        }),
        ("weightedmean_tokens", |t| {
            let weights = Array1::from_shape_fn(t.nrows(), |at| at as f32 + 1.0);
            weights.dot(&t) / weights.sum()
        }),
        ("lasttoken", |t| t.row(t.nrows() - 1).to_owned()),
    ];
    for (mode, reduce) in modes {
        let dir = model(
            "tokens.onnx",
            &[NOT_NORMALISED, ("1_Pooling/config.json", &pooling(mode))],
        );
        let expected = TEXTS.map(|text| reduce(table(text)));
        let expected = ndarray::stack(Axis(0), &expected.each_ref().map(|row| row.view())).unwrap();
        assert_close(&rows(dir.path(), &TEXTS), &expected, 1e-6);
    }
}

#[test]
fn several_poolings_stand_one_after_the_other() {
    let flags = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#;
    let names = r#"{"pooling_mode": ["cls", "mean"]}"#;
    for config in [flags, names] {
        let files = [NOT_NORMALISED, ("1_Pooling/config.json", config)];
        let found = rows(model("tokens.onnx", &files).path(), &TEXTS);
        assert_eq!(found.ncols(), 8);
        for (row, text) in found.outer_iter().zip(TEXTS) {
            let table = table(text);
            let mean = table.mean_axis(Axis(0)).unwrap();
            let expected = ndarray::concatenate(Axis(0), &[table.row(0), mean.view()]).unwrap();
            assert!((&row - &expected).iter().all(|x| x.abs() < 1e-5), "{text}");
        }
    }
}

#[test]
fn lower_case_prompts_and_a_shorter_dimension_are_as_the_files_say() {
    let plain = rows(model("tokens.onnx", &[NOT_NORMALISED]).path(), &TEXTS);
    let lower = ("sentence_bert_config.json", r#"{"do_lower_case": true}"#);
    let dir = model("tokens.onnx", &[NOT_NORMALISED, lower]);
    assert_close(
        &rows(
            dir.path(),
            &TEXTS.map(str::to_uppercase).each_ref().map(String::as_str),
        ),
        &plain,
        0.0,
    );

    let config = "config_sentence_transformers.json";
    let prompts = r#"{"prompts": {"query": "blue ", "passage": "plum plum "}, "default_prompt_name": "query"}"#;
    let dir = model("tokens.onnx", &[NOT_NORMALISED, (config, prompts)]);
    let onnx = Onnx::from_dir(dir.path()).unwrap();
    let prompted = |prompt: &str| {
        let texts = TEXTS.map(|text| format!("{prompt}{text}"));
        rows(
            model("tokens.onnx", &[NOT_NORMALISED]).path(),
            &texts.each_ref().map(String::as_str),
        )
    };
    assert_close(
        &onnx.encode(&TEXTS).unwrap().vectors,
        &prompted("plum plum "),
        0.0,
    );
    let queries = onnx.encode_queries(&TEXTS).unwrap();
    assert_close(&queries.vectors, &prompted("blue "), 0.0);
    // A prompt makes no text known.
    assert_eq!(queries.unknown, [false, false, true, false]);

    let kept = model(
        "tokens.onnx",
        &[NOT_NORMALISED, (config, r#"{"truncate_dim": 3}"#)],
    );
    let short = Onnx::from_dir(kept.path()).unwrap();
    assert_eq!(short.dim(), 3);
    let beginning = plain.slice(ndarray::s![.., ..3]).to_owned();
    assert_close(&short.encode(&TEXTS).unwrap().vectors, &beginning, 0.0);

    let similarities = [
        ("cosine", Similarity::Cosine),
        ("dot", Similarity::Dot),
        ("euclidean", Similarity::Euclidean),
    ];
    for (name, similarity) in similarities {
        let asked = format!(r#"{{"similarity_fn_name": "{name}"}}"#);
        let dir = model("tokens.onnx", &[(config, &asked)]);
        assert_eq!(
            Onnx::from_dir(dir.path()).unwrap().similarity(),
            Some(similarity)
        );
    }
    // Each of these settings makes other vectors, so another encoder.
    let print = |files: &[(&str, &str)]| {
        let onnx = Onnx::from_dir(model("tokens.onnx", files).path()).unwrap();
        onnx.fingerprint().to_owned()
    };
    let prints = [
        print(&[NOT_NORMALISED]),
        print(&[NOT_NORMALISED, lower]),
        print(&[NOT_NORMALISED, (config, prompts)]),
        print(&[NOT_NORMALISED, (config, r#"{"truncate_dim": 3}"#)]),
    ];
    let different: std::collections::HashSet<_> = prints.iter().collect();
    assert_eq!(different.len(), prints.len());
}

#[test]
fn a_collection_takes_the_distance_and_the_prompts_of_its_encoder() {
    let config =
        r#"{"similarity_fn_name": "cosine", "prompts": {"query": "blue ", "document": "plum "}}"#;
    let dir = model(
        "tokens.onnx",
        &[
            NOT_NORMALISED,
            ("config_sentence_transformers.json", config),
        ],
    );
    let home = tempfile::tempdir().unwrap();
    let store = affinis::Store::open(home.path()).unwrap();
    let encoder = || Onnx::from_dir(dir.path()).unwrap();
    let words = store
        .collection("words")
        .encoder(encoder())
        .create()
        .unwrap();
    assert_eq!(words.info().distance, affinis::Distance::Cosine);
    words
        .add([
            affinis::Item::text("1", "red"),
            affinis::Item::text("2", "apple pear"),
        ])
        .unwrap();
    let vector = |encoded: encode::Encoded| encoded.vectors.row(0).to_vec();
    let stored = words.get("1").unwrap().unwrap().vector.unwrap();
    // Vectors of cosine collections are stored with unit length.
    let encoded = vector(encoder().encode(&["red"]).unwrap());
    let exactly = |x: &[f32], y: &[f32]| affinis_testkit::exact::cosine(x, y) < 1e-6;
    assert!(
        exactly(&stored, &encoded) && stored != encoded,
        "{stored:?}"
    );
    let hits = words.search("red").run().unwrap();
    let asked = vector(encoder().encode_queries(&["red"]).unwrap());
    let expected = words.search(asked).run().unwrap();
    assert_eq!(hits[0].distance, expected[0].distance);
    assert!(hits[0].distance > 0.0);
    let dot = store
        .collection("dot")
        .encoder(encoder())
        .distance(affinis::Distance::Dot);
    assert_eq!(
        dot.create().unwrap().info().distance,
        affinis::Distance::Dot
    );
}

#[test]
fn an_encoder_is_found_wherever_its_directory_lies_now() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let made = model("tokens.onnx", &[NOT_NORMALISED]);
    let copy = |to: PathBuf| {
        fs::create_dir_all(&to).unwrap();
        for file in ["model.onnx", "tokenizer.json", "modules.json"] {
            fs::copy(made.path().join(file), to.join(file)).unwrap();
        }
    };
    copy(path("models/words"));
    let store = affinis::Store::open(path("store")).unwrap();
    let encoder = Onnx::from_dir(path("models/words")).unwrap();
    let words = store.collection("words").encoder(encoder);
    let words = words.create().unwrap();
    words.add([affinis::Item::text("1", "red")]).unwrap();
    drop((words, store));
    let search = |root: &Path| {
        let store = affinis::Store::open(root.join("store")).unwrap();
        let words = store.collection("words").open().unwrap();
        words.search("red").run().map(|hits| hits[0].id.clone())
    };
    assert_eq!(search(home.path()).unwrap(), "1");

    // Moved to another place, with the model beside the store, under another name.
    let other = tempfile::tempdir().unwrap();
    fs::rename(path("store"), other.path().join("store")).unwrap();
    fs::remove_dir_all(path("models")).unwrap();
    let error = search(other.path()).unwrap_err();
    assert_eq!(error.kind(), affinis::ErrorKind::NotFound, "{error}");
    let said = error.to_string();
    assert!(
        said.contains("words") && said.contains("AFFINIS_MODELS"),
        "{said}"
    );
    let another = model("types.onnx", &[]);
    fs::create_dir(other.path().join("another")).unwrap();
    for file in ["model.onnx", "tokenizer.json"] {
        fs::copy(
            another.path().join(file),
            other.path().join("another").join(file),
        )
        .unwrap();
    }
    assert!(search(other.path()).is_err(), "another model is not taken");
    copy(other.path().join("renamed"));
    assert_eq!(search(other.path()).unwrap(), "1");
    fs::rename(
        other.path().join("renamed"),
        other.path().join("store/models"),
    )
    .unwrap();
    assert_eq!(search(other.path()).unwrap(), "1");
}

#[test]
fn weights_beside_the_graph_are_read_and_other_inputs_given() {
    let plain = rows(model("tokens.onnx", &[NOT_NORMALISED]).path(), &TEXTS);
    let outside = model("external.onnx", &[NOT_NORMALISED]);
    let weights = outside.path().join("model.onnx_data");
    fs::copy(fixture("model.onnx_data"), &weights).unwrap();
    assert_close(&rows(outside.path(), &TEXTS), &plain, 0.0);
    let before = Onnx::from_dir(outside.path()).unwrap();
    let mut bytes = fs::read(&weights).unwrap();
    bytes[60] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let after = Onnx::from_dir(outside.path()).unwrap();
    assert_ne!(before.fingerprint(), after.fingerprint());

    // Each token's place adds 1000.
    let placed = rows(model("positions.onnx", &[NOT_NORMALISED]).path(), &TEXTS);
    for (at, text) in TEXTS.iter().enumerate() {
        let tokens = text.split_whitespace().count() + 2;
        let middle = 1000.0 * (tokens - 1) as f32 / 2.0;
        let apart = &placed.row(at) - &plain.row(at);
        assert!(
            apart.iter().all(|x| (x - middle).abs() < 1e-2),
            "{text}: {apart}"
        );
    }
}

#[test]
fn graphs_in_half_precision_give_the_vectors_of_the_whole_one() {
    let whole = rows(model("bert.onnx", &[NOT_NORMALISED]).path(), &TEXTS);
    let half = rows(model("bert_half.onnx", &[NOT_NORMALISED]).path(), &TEXTS);
    assert!(whole != half, "the weights are rounded");
    for (whole, half) in whole.outer_iter().zip(half.outer_iter()) {
        let cosine = whole.dot(&half) / (whole.dot(&whole) * half.dot(&half)).sqrt();
        assert!(cosine > 0.9999, "{cosine}");
    }
    // Small whole numbers have all their bits in the leading ones.
    let plain = rows(model("tokens.onnx", &[NOT_NORMALISED]).path(), &TEXTS);
    let brain = rows(model("brain.onnx", &[NOT_NORMALISED]).path(), &TEXTS);
    assert_close(&brain, &plain, 0.0);
}

#[test]
fn long_texts_are_cut_at_the_end_that_the_files_say() {
    let short = ("sentence_bert_config.json", r#"{"max_seq_length": 4}"#);
    let cut = |side: &str| {
        let config = format!(r#"{{"truncation_side": "{side}"}}"#);
        let files = [NOT_NORMALISED, short, ("tokenizer_config.json", &config)];
        let dir = model("tokens.onnx", &files);
        let onnx = Onnx::from_dir(dir.path()).unwrap();
        let encoded = onnx.encode(&["red green blue apple"]).unwrap();
        assert_eq!(encoded.truncated, [true]);
        (encoded.vectors, onnx.fingerprint().to_owned())
    };
    let of = |text: &str| rows(model("tokens.onnx", &[NOT_NORMALISED]).path(), &[text]);
    let ((right, by_right), (left, by_left)) = (cut("right"), cut("left"));
    assert_close(&right, &of("red green"), 0.0);
    assert_close(&left, &of("blue apple"), 0.0);
    assert_ne!(by_right, by_left);
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
    assert_close(&rows(dir.path(), &TEXTS), &expected, 1e-6);
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
    assert_close(
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
    assert_close(
        &rows(types.path(), &TEXTS),
        &(rows(plain.path(), &TEXTS) + 100.0),
        1e-4,
    );
}

#[test]
fn a_pooled_output_is_not_pooled_again() {
    let mut expected = Array2::zeros((TEXTS.len(), 4));
    for (i, text) in TEXTS.iter().enumerate() {
        expected
            .row_mut(i)
            .assign(&(table(text).sum_axis(Axis(0)) * 2.0));
    }
    for (name, output) in [
        ("sentence_embedding.onnx", "sentence_embedding"),
        ("pooler.onnx", "pooler_output"),
    ] {
        let dir = model(
            name,
            &[
                NOT_NORMALISED,
                ("1_Pooling/config.json", &pooling("cls_token")),
            ],
        );
        let onnx = Onnx::options().output(output).from_dir(dir.path()).unwrap();
        assert_close(&onnx.encode(&TEXTS).unwrap().vectors, &expected, 1e-4);
    }
}

#[test]
fn the_output_is_the_one_that_is_certain_or_chosen() {
    // It has outputs for dense, sparse and ColBERT vectors.
    let dir = model("bge_m3/model.onnx", &[]);
    let dense = Onnx::from_dir(dir.path()).unwrap();
    assert_eq!((dense.dim(), dense.output()), (8, None));
    let named = Onnx::options().output("dense_vecs").from_dir(dir.path());
    let named = named.unwrap();
    assert_eq!(named.output(), None);
    assert_eq!(named.fingerprint(), dense.fingerprint());
    let tokens = Onnx::options().output("colbert_vecs").from_dir(dir.path());
    let tokens = tokens.unwrap();
    assert_eq!((tokens.dim(), tokens.output()), (8, Some("colbert_vecs")));
    assert_ne!(tokens.fingerprint(), dense.fingerprint());
    // It is found again.
    let source = tokens.source().unwrap();
    let again = encode::load(&source, tokens.output()).unwrap();
    assert_eq!(again.fingerprint(), tokens.fingerprint());
    assert_eq!(
        again.encode(&TEXTS).unwrap(),
        tokens.encode(&TEXTS).unwrap()
    );
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
            assert_close(
                &alone,
                &together.slice(ndarray::s![i..=i, ..]).to_owned(),
                1e-5,
            );
        }
    }
    // Its dense output is a mean over all positions of the batch, padding included.
    let dir = model("bge_m3/model.onnx", &[]);
    let together = rows(dir.path(), &TEXTS);
    for (i, text) in TEXTS.iter().enumerate() {
        assert_eq!(rows(dir.path(), &[text]).row(0), together.row(i), "{text}");
    }
}

#[test]
fn rows_are_in_the_order_of_the_texts_for_any_batch_size_and_threads() {
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
        assert_close(&many.encode(&texts).unwrap().vectors, &one.vectors, 1e-5);
    }
}

#[test]
fn texts_are_truncated_at_the_limit_and_marked() {
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
    // The beginning of the text remains, and [SEP] still ends it.
    assert_eq!(encoded.vectors.row(0), encoded.vectors.row(1));
}

#[test]
fn the_limit_is_the_one_in_the_files_and_at_most_the_number_of_positions() {
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
fn the_fingerprint_changes_exactly_when_vectors_may_change() {
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
fn the_embedded_model_ranks_related_texts_first() {
    let onnx = Onnx::embedded().unwrap();
    assert_eq!(
        (onnx.dim(), onnx.name(), onnx.source().as_deref()),
        (256, "static-minilm-256-v2", Some("embedded"))
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
fn the_embedded_model_equals_its_directory() {
    let embedded = encode::load("embedded", None).unwrap();
    let dir = encode::load(
        root().join("models/static-minilm-256-v2").to_str().unwrap(),
        None,
    )
    .unwrap();
    assert_eq!(embedded.fingerprint(), dir.fingerprint());
    let texts = ["a violin", "an oboe"];
    assert_eq!(
        embedded.encode(&texts).unwrap(),
        dir.encode(&texts).unwrap()
    );
    assert!(dir.source().unwrap().ends_with("static-minilm-256-v2"));
}

#[test]
fn an_encoder_can_be_shared_by_threads() {
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

/// The directory of all-MiniLM-L6-v2 that `tools/get-minilm.sh` makes, where it is there.
fn minilm() -> Option<PathBuf> {
    let dir = std::env::var_os("AFFINIS_MINILM").map_or_else(
        || root().join("target/models/all-MiniLM-L6-v2"),
        PathBuf::from,
    );
    if dir.join("model.onnx").exists() {
        return Some(dir);
    }
    skipped(&format!(
        "no model in {}; tools/get-minilm.sh makes it",
        dir.display()
    ));
    None
}

/// `n` texts of a data set and their vectors by sentence-transformers, where the data is there.
fn reference(set: &str, n: usize) -> Option<(Vec<String>, Array2<f32>)> {
    let data = data_dir().join("text");
    let all = f16_vectors(&data.join(format!("{set}.minilm384.f16.npy")))?;
    let tsv = fs::read_to_string(data.join(format!("{set}.tsv"))).unwrap();
    let texts: Vec<String> = tsv
        .lines()
        .filter_map(|line| Some(line.split_once('\t')?.1.to_owned()))
        .collect();
    // Evenly from the whole set.
    let picked: Vec<usize> = (0..n).map(|i| i * texts.len() / n).collect();
    let vectors = all.select(Axis(0), &picked);
    Some((
        picked.into_iter().map(|i| texts[i].clone()).collect(),
        vectors,
    ))
}

fn agrees_with_the_reference(backend: Backend) {
    let Some(dir) = minilm() else { return };
    let onnx = Onnx::options().backend(backend).from_dir(dir).unwrap();
    assert_eq!((onnx.dim(), onnx.max_length()), (384, 256));
    for set in ["debian-6000", "wordnet-6000"] {
        let Some((texts, expected)) = reference(set, 200) else {
            continue;
        };
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = onnx.encode(&texts).unwrap().vectors;
        for ((row, expected), text) in vectors.rows().into_iter().zip(expected.rows()).zip(&texts) {
            let cosine = row.dot(&expected) / (row.dot(&row) * expected.dot(&expected)).sqrt();
            assert!(cosine > 0.999, "{set}: cosine {cosine} for {text:?}");
        }
    }
}

#[test]
fn minilm_on_rten_agrees_with_sentence_transformers() {
    agrees_with_the_reference(Backend::Rten);
}

#[test]
fn a_text_has_one_vector_in_every_company_also_with_8_bits() {
    let source = data_dir().join("models/all-MiniLM-L6-v2");
    let Some((texts, expected)) = reference("debian-6000", 40) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("model_int8.onnx", "model.onnx"),
        ("tokenizer.json", "tokenizer.json"),
        ("config.json", "config.json"),
    ] {
        let Ok(bytes) = fs::read(source.join(from)) else {
            return skipped(&format!("no {from} in {}", source.display()));
        };
        fs::write(dir.path().join(to), bytes).unwrap();
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let onnx = Onnx::options().backend(Backend::Rten).from_dir(dir.path());
    let onnx = onnx.unwrap();
    let together = onnx.encode(&texts).unwrap().vectors;
    for (at, text) in texts.iter().enumerate() {
        let alone = onnx.encode(&[text]).unwrap().vectors;
        assert_eq!(alone.row(0), together.row(at), "{text}");
        let cosine = together.row(at).dot(&expected.row(at));
        assert!(cosine > 0.93, "{cosine} for {text}");
    }
}

#[cfg(feature = "onnxruntime")]
mod onnxruntime {
    use super::*;

    fn library() -> bool {
        let named = std::env::var_os("ORT_DYLIB_PATH").is_some();
        if !named {
            skipped("ORT_DYLIB_PATH is not set; tools/get-onnxruntime.sh prints a path for it");
        }
        named
    }

    #[test]
    fn minilm_on_onnx_runtime_agrees_with_sentence_transformers() {
        if library() {
            agrees_with_the_reference(Backend::OnnxRuntime);
        }
    }

    #[test]
    fn both_backends_give_the_same_vectors_in_one_process() {
        if !library() {
            return;
        }
        for name in [
            "tokens.onnx",
            "types.onnx",
            "sentence_embedding.onnx",
            "bert.onnx",
            "traced.onnx",
        ] {
            let dir = model(name, &[]);
            let rten = Onnx::options()
                .backend(Backend::Rten)
                .from_dir(dir.path())
                .unwrap();
            let runtime = Onnx::from_dir(dir.path()).unwrap();
            assert_eq!(
                runtime.backend(),
                Backend::OnnxRuntime,
                "the variable is set, so the library is the default"
            );
            assert_eq!(rten.fingerprint(), runtime.fingerprint());
            assert_close(
                &runtime.encode(&TEXTS).unwrap().vectors,
                &rten.encode(&TEXTS).unwrap().vectors,
                1e-5,
            );
        }
    }

    #[test]
    fn a_token_outside_the_embedding_table_is_an_error_with_onnx_runtime() {
        if library() {
            let onnx = Onnx::from_dir(model("short_table.onnx", &[]).path()).unwrap();
            assert!(matches!(
                onnx.encode(&["apple"]),
                Err(EncodeError::Token { .. })
            ));
        }
    }

    /// A process loads one library, so wrong ones are tried in child processes: this test program,
    /// run again.
    #[test]
    fn a_wrong_library_is_named_and_nothing_hangs() {
        const CHILD: &str = "AFFINIS_TEST_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let result = Onnx::options().backend(Backend::OnnxRuntime).embedded();
            assert!(
                matches!(result, Err(EncodeError::Library { .. })),
                "{result:?}"
            );
            // The built-in backend still works.
            Onnx::options().backend(Backend::Rten).embedded().unwrap();
            return;
        }
        let text = tempfile::NamedTempFile::new().unwrap();
        fs::write(text.path(), "OrtGetApiBase").unwrap();
        let wrong = [
            Path::new("/nowhere/libonnxruntime.so"),
            Path::new("/tmp"),
            text.path(),
            &std::env::current_exe().unwrap(),
        ];
        for path in wrong {
            let started = std::time::Instant::now();
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "onnxruntime::a_wrong_library_is_named_and_nothing_hangs",
                ])
                .env(CHILD, "1")
                .env("ORT_DYLIB_PATH", path)
                .output()
                .unwrap();
            assert!(
                child.status.success(),
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&child.stdout)
            );
            assert!(started.elapsed().as_secs() < 60);
        }
    }
}
