//! What encoding promises, on models small enough to work out by hand, on the model in the binary, and on all-MiniLM.
//!
//! The tiny models in `fixtures/models` are made by `make.py` beside them. Row `i` of their embedding table is
//! `[i, -i, i % 3, 1]`, and the tokenizer puts `[CLS]` (2) before and `[SEP]` (3) after a text.

#![cfg(feature = "embedded-model")]

use std::fs;
use std::path::{Path, PathBuf};

use affinis::encode::{self, Backend};
use affinis::{EncodeError, Encoder, Onnx};
use ndarray::{Array1, Array2, Axis};
use tempfile::TempDir;

const WORDS: [(&str, f32); 6] =
    [("red", 4.0), ("green", 5.0), ("blue", 6.0), ("apple", 7.0), ("pear", 8.0), ("plum", 9.0)];

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
    Onnx::options().backend(Backend::Tract).from_dir(dir).unwrap().encode(texts).unwrap().vectors
}

/// The rows of the table for `[CLS] words [SEP]`.
fn table(text: &str) -> Array2<f32> {
    let known = |word: &str| WORDS.iter().find(|(known, _)| *known == word).map_or(1.0, |(_, id)| *id);
    let ids: Vec<f32> = [2.0].into_iter().chain(text.split_whitespace().map(known)).chain([3.0]).collect();
    Array2::from_shape_fn((ids.len(), 4), |(i, j)| [ids[i], -ids[i], ids[i] % 3.0, 1.0][j])
}

fn close(a: &Array2<f32>, b: &Array2<f32>, tolerance: f32) {
    assert_eq!(a.dim(), b.dim());
    let worst = a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{worst} apart:\n{a}\n{b}");
}

const TEXTS: [&str; 4] =
    ["red apple", "green pear blue plum red", "", "apple apple apple apple apple apple apple apple"];

#[test]
fn mean_cls_and_max_pooling_give_what_their_names_say() {
    type Reduce = fn(Array2<f32>) -> Array1<f32>;
    let modes: [(&str, Reduce); 3] = [
        ("mean_tokens", |t| t.mean_axis(Axis(0)).unwrap()),
        ("cls_token", |t| t.row(0).to_owned()),
        ("max_tokens", |t| t.map_axis(Axis(0), |column| column.iter().copied().fold(f32::MIN, f32::max))),
    ];
    for (mode, reduce) in modes {
        let dir = model("tokens.onnx", &[NOT_NORMALISED, ("1_Pooling/config.json", &pooling(mode))]);
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
        expected.row_mut(i).assign(&(&mean / mean.dot(&mean).sqrt()));
    }
    close(&rows(dir.path(), &TEXTS), &expected, 1e-6);
}

#[test]
fn the_newer_form_of_the_pooling_file_is_read() {
    let newer = model("tokens.onnx", &[("1_Pooling/config.json", r#"{"pooling_mode": "cls"}"#)]);
    let older = model("tokens.onnx", &[("1_Pooling/config.json", &pooling("cls_token"))]);
    close(&rows(newer.path(), &TEXTS), &rows(older.path(), &TEXTS), 0.0);
}

#[test]
fn token_types_are_given_where_the_model_asks_for_them() {
    let plain = model("tokens.onnx", &[NOT_NORMALISED]);
    let types = model("types.onnx", &[NOT_NORMALISED]);
    // The model adds 100 for the first segment, 1000 for the second; a text is one segment.
    close(&rows(types.path(), &TEXTS), &(rows(plain.path(), &TEXTS) + 100.0), 1e-4);
}

#[test]
fn a_pooled_output_is_taken_as_it_is() {
    let mut expected = Array2::zeros((TEXTS.len(), 4));
    for (i, text) in TEXTS.iter().enumerate() {
        expected.row_mut(i).assign(&(table(text).sum_axis(Axis(0)) * 2.0));
    }
    for name in ["sentence_embedding.onnx", "pooler.onnx"] {
        let dir = model(name, &[NOT_NORMALISED, ("1_Pooling/config.json", &pooling("cls_token"))]);
        close(&rows(dir.path(), &TEXTS), &expected, 1e-4);
    }
}

#[test]
fn a_row_does_not_depend_on_the_texts_beside_it() {
    // As BERT is exported (a slice to the sequence length, an additive mask), and as torch traces it (expanded masks).
    for name in ["bert.onnx", "traced.onnx"] {
        let dir = model(name, &[]);
        let together = rows(dir.path(), &TEXTS);
        for (i, text) in TEXTS.iter().enumerate() {
            let alone = rows(dir.path(), &[text]);
            close(&alone, &together.slice(ndarray::s![i..=i, ..]).to_owned(), 1e-5);
        }
    }
}

#[test]
fn rows_come_in_the_order_of_the_texts_whatever_batches_and_threads() {
    let texts: Vec<String> =
        (0..150).map(|i| (0..=(i * 7) % 11).map(|j| WORDS[(i + j * 5) % 6].0).collect::<Vec<_>>().join(" ")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let dir = model("bert.onnx", &[]);
    let one = Onnx::options().batch(1).threads(1).from_dir(dir.path()).unwrap().encode(&texts).unwrap();
    for (batch, threads) in [(7, 1), (64, 3)] {
        let many = Onnx::options().batch(batch).threads(threads).from_dir(dir.path()).unwrap();
        close(&many.encode(&texts).unwrap().vectors, &one.vectors, 1e-5);
    }
}

#[test]
fn texts_are_cut_at_the_limit_and_say_so() {
    let dir = model("tokens.onnx", &[("sentence_bert_config.json", r#"{"max_seq_length": 4}"#), NOT_NORMALISED]);
    let onnx = Onnx::from_dir(dir.path()).unwrap();
    let encoded = onnx.encode(&["red green", "red green blue apple", ""]).unwrap();
    assert_eq!(onnx.max_length(), 4);
    assert_eq!(encoded.truncated, [false, true, false]);
    // What is kept is the beginning, and [SEP] still ends it.
    assert_eq!(encoded.vectors.row(0), encoded.vectors.row(1));
}

#[test]
fn the_limit_is_what_the_files_say_and_never_more_than_the_positions() {
    let cases: [(&[(&str, &str)], usize); 5] = [
        (&[], 256),
        (&[("tokenizer_config.json", r#"{"model_max_length": 128}"#)], 128),
        (&[("tokenizer_config.json", r#"{"model_max_length": 1000000000000000019884624838656}"#)], 256),
        (&[("config.json", r#"{"model_type": "bert", "max_position_embeddings": 32}"#)], 32),
        (&[("config.json", r#"{"model_type": "xlm-roberta", "max_position_embeddings": 34, "pad_token_id": 1}"#)], 32),
    ];
    for (files, limit) in cases {
        assert_eq!(Onnx::from_dir(model("tokens.onnx", files).path()).unwrap().max_length(), limit, "{files:?}");
    }
    let dir = model("bert.onnx", &[("config.json", r#"{"max_position_embeddings": 32}"#)]);
    let long = Onnx::options().max_length(33).from_dir(dir.path());
    assert!(matches!(long, Err(EncodeError::Option { option: "max_length", value: 33, .. })), "{long:?}");
    let short = Onnx::options().max_length(2).from_dir(dir.path());
    assert!(matches!(short, Err(EncodeError::Option { option: "max_length", value: 2, .. })), "{short:?}");
}

#[test]
fn the_fingerprint_changes_with_all_that_changes_vectors_and_with_nothing_else() {
    let print = |dir: &TempDir| Onnx::from_dir(dir.path()).unwrap().fingerprint().to_owned();
    let base = print(&model("tokens.onnx", &[]));
    assert_eq!(base.len(), 32);
    assert_eq!(base, print(&model("tokens.onnx", &[("config.json", r#"{"model_type": "bert"}"#)])));
    let nested = model("tokens.onnx", &[]);
    fs::create_dir(nested.path().join("onnx")).unwrap();
    fs::rename(nested.path().join("model.onnx"), nested.path().join("onnx/model.onnx")).unwrap();
    assert_eq!(base, print(&nested));

    let spaced = fs::read_to_string(fixture("tokenizer.json")).unwrap() + "\n";
    for other in [
        model("types.onnx", &[]),
        model("tokens.onnx", &[NOT_NORMALISED]),
        model("tokens.onnx", &[("1_Pooling/config.json", &pooling("max_tokens"))]),
        model("tokens.onnx", &[("sentence_bert_config.json", r#"{"max_seq_length": 64}"#)]),
        model("tokens.onnx", &[("tokenizer.json", &spaced)]),
    ] {
        assert_ne!(base, print(&other));
    }
}

#[test]
fn a_directory_without_its_files_is_refused_by_name() {
    let gone = Onnx::from_dir("/nowhere/at/all");
    assert!(matches!(gone, Err(EncodeError::Io { .. })), "{gone:?}");
    for file in ["model.onnx", "tokenizer.json"] {
        let dir = model("tokens.onnx", &[]);
        fs::remove_file(dir.path().join(file)).unwrap();
        match Onnx::from_dir(dir.path()) {
            Err(EncodeError::Missing { file: named, .. }) => assert_eq!(named, file),
            other => panic!("{other:?}"),
        }
    }
    let dir = model("tokens.onnx", &[]);
    fs::remove_file(dir.path().join("model.onnx")).unwrap();
    fs::create_dir(dir.path().join("model.onnx")).unwrap();
    let folder = Onnx::from_dir(dir.path());
    assert!(matches!(folder, Err(EncodeError::Io { .. })), "{folder:?}");
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_file_is_refused_without_waiting() {
    for name in ["model.onnx", "tokenizer.json", "config.json"] {
        let dir = model("tokens.onnx", &[]);
        let path = dir.path().join(name);
        let _ = fs::remove_file(&path);
        if !std::process::Command::new("mkfifo").arg(&path).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mkfifo here");
            return;
        }
        let result = Onnx::from_dir(dir.path());
        assert!(matches!(result, Err(EncodeError::Io { .. })), "{name}: {result:?}");
    }
}

#[test]
fn settings_that_are_damaged_or_ask_for_the_impossible_are_refused() {
    let outside = r#"[{"type": "sentence_transformers.models.Pooling", "path": "../../elsewhere"}]"#;
    for (name, content) in [
        ("modules.json", "{"),
        ("modules.json", outside),
        ("1_Pooling/config.json", "[]"),
        ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": false}"#),
        ("config.json", r#"{"max_position_embeddings": "many"}"#),
        ("sentence_bert_config.json", r#"{"max_seq_length": -1}"#),
    ] {
        let result = Onnx::from_dir(model("tokens.onnx", &[(name, content)]).path());
        match result {
            Err(EncodeError::Config { path, .. }) => assert!(path.ends_with(name), "{}", path.display()),
            other => panic!("{name} {content}: {other:?}"),
        }
    }
    let dense = r#"[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]"#;
    for (name, content) in [
        ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}"#),
        ("1_Pooling/config.json", r#"{"pooling_mode": "lasttoken"}"#),
        ("modules.json", dense),
    ] {
        let result = Onnx::from_dir(model("tokens.onnx", &[(name, content)]).path());
        assert!(matches!(result, Err(EncodeError::Unsupported { .. })), "{name} {content}: {result:?}");
    }
    // A graph with the sentence's embedding has computed the further modules.
    Onnx::from_dir(model("sentence_embedding.onnx", &[("modules.json", dense)]).path()).unwrap();
}

#[test]
fn a_tokenizer_that_is_none_is_refused() {
    let whole = fs::read_to_string(fixture("tokenizer.json")).unwrap();
    for content in ["", "{}", "null", &whole[..whole.len() / 2]] {
        let result = Onnx::from_dir(model("tokens.onnx", &[("tokenizer.json", content)]).path());
        assert!(matches!(result, Err(EncodeError::Tokenizer { .. })), "{content}: {result:?}");
    }
}

#[test]
fn files_of_absurd_size_are_not_read() {
    for (name, bytes) in [("tokenizer.json", 1 << 40), ("config.json", 1 << 30), ("model.onnx", 1 << 40)] {
        let dir = model("tokens.onnx", &[]);
        let file = fs::File::create(dir.path().join(name)).unwrap();
        if file.set_len(bytes).is_err() {
            eprintln!("skipped {name}: this file system has no sparse files of that size");
            continue;
        }
        let result = Onnx::from_dir(dir.path());
        assert!(matches!(result, Err(EncodeError::TooLarge { .. })), "{name}: {result:?}");
    }
}

#[test]
fn damaged_graphs_are_refused_wherever_they_are_cut_or_changed() {
    let whole = fs::read(fixture("bert.onnx")).unwrap();
    let dir = model("bert.onnx", &[]);
    let path = dir.path().join("model.onnx");
    for cut in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        let result = Onnx::from_dir(dir.path());
        assert!(
            matches!(result, Err(EncodeError::Model { .. } | EncodeError::Unsupported { .. })),
            "{cut}: {result:?}"
        );
    }
    fs::write(&path, b"these are words, not a graph").unwrap();
    let result = Onnx::from_dir(dir.path());
    assert!(matches!(result, Err(EncodeError::Model { .. })), "{result:?}");
    // A changed byte may leave a sound model; it never brings the process down.
    for at in (0..whole.len()).step_by(97) {
        let mut changed = whole.clone();
        changed[at] ^= 0x41;
        fs::write(&path, &changed).unwrap();
        if let Ok(onnx) = Onnx::from_dir(dir.path()) {
            let _ = onnx.encode(&TEXTS);
        }
    }
}

#[test]
fn axes_that_cannot_be_are_refused() {
    // tract takes the one apart for ever, and counts up to the other.
    let cases: [(&[u8], usize, u8, &str); 2] =
        [(b"perm\x40\x00\x40\x02\x40\x03\x40\x01", 9, 1, "permutation"), (b"axis\x18\xff\xff\xff", 7, 0xe6, "axis")];
    for (pattern, place, value, why) in cases {
        let mut graph = fs::read(fixture("bert.onnx")).unwrap();
        let at = graph.windows(pattern.len()).position(|bytes| bytes == pattern).expect("a node with axes");
        graph[at + place] = value;
        let dir = model("bert.onnx", &[]);
        fs::write(dir.path().join("model.onnx"), graph).unwrap();
        let result = Onnx::from_dir(dir.path());
        assert!(matches!(&result, Err(EncodeError::Model { reason, .. }) if reason.contains(why)), "{why}: {result:?}");
    }
}

#[test]
fn graphs_that_do_not_embed_texts_are_refused() {
    for (name, mention) in [("other_input.onnx", "pixel_values"), ("no_ids.onnx", "input_ids")] {
        match Onnx::from_dir(model(name, &[]).path()) {
            Err(EncodeError::Unsupported { what, .. }) => assert!(what.contains(mention), "{what}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    // One number a text; vectors as long as the text.
    let scores = Onnx::from_dir(model("scores.onnx", &[]).path());
    assert!(matches!(scores, Err(EncodeError::OutputShape { .. })), "{scores:?}");
    let growing = Onnx::from_dir(model("growing.onnx", &[]).path()).and_then(|onnx| onnx.encode(&TEXTS));
    assert!(matches!(growing, Err(EncodeError::OutputShape { .. })), "{growing:?}");
}

#[test]
fn numbers_that_are_not_finite_never_come_out() {
    let all = Onnx::from_dir(model("all_nan.onnx", &[]).path());
    assert!(matches!(all, Err(EncodeError::NotFinite { .. })), "{all:?}");
    for mode in ["mean_tokens", "max_tokens"] {
        let dir = model("plum_nan.onnx", &[("1_Pooling/config.json", &pooling(mode))]);
        let some = Onnx::from_dir(dir.path()).unwrap();
        assert!(some.encode(&["red", "apple pear"]).is_ok());
        match some.encode(&["red", "apple pear", "green plum", "blue"]) {
            Err(EncodeError::NotFinite { index, .. }) => assert_eq!(index, 2),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_token_without_a_row_is_an_error_and_the_encoder_lives_on() {
    let onnx = Onnx::options().backend(Backend::Tract).from_dir(model("short_table.onnx", &[]).path()).unwrap();
    let result = onnx.encode(&["red", "apple"]);
    assert!(matches!(result, Err(EncodeError::Run { .. })), "{result:?}");
    assert!(onnx.encode(&["red"]).is_ok());
}

#[test]
fn the_model_in_the_binary_knows_what_is_near() {
    let onnx = Onnx::embedded().unwrap();
    assert_eq!((onnx.dim(), onnx.name(), onnx.source().as_deref()), (256, "static-minilm-256", Some("embedded")));
    let encoded = onnx.encode(&["how to prune apple trees", "fruit tree care", "network printer driver"]).unwrap();
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
    assert_eq!(embedded.encode(&texts).unwrap(), dir.encode(&texts).unwrap());
    assert!(dir.source().unwrap().ends_with("static-minilm-256"));
}

#[test]
fn an_encoder_serves_many_threads() {
    let onnx = Onnx::embedded().unwrap();
    let expected = onnx.encode(&["one text", "and another, longer text"]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (onnx, expected) = (onnx.clone(), &expected);
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(&onnx.encode(&["one text", "and another, longer text"]).unwrap(), expected);
                }
            });
        }
    });
}

/// all-MiniLM-L6-v2 as `tools/get-minilm.sh` makes it.
fn minilm() -> Option<PathBuf> {
    let dir =
        std::env::var_os("AFFINIS_MINILM").map_or_else(|| root().join("target/models/all-MiniLM-L6-v2"), PathBuf::from);
    if dir.join("model.onnx").exists() {
        return Some(dir);
    }
    eprintln!("skipped: no model in {}; tools/get-minilm.sh makes it", dir.display());
    None
}

/// Texts of a data set and the vectors that sentence-transformers gave them.
fn reference(set: &str, n: usize) -> Option<(Vec<String>, Array2<f32>)> {
    let data =
        std::env::var_os("AFFINIS_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from).join("text");
    let (Ok(tsv), Ok(npy)) =
        (fs::read_to_string(data.join(format!("{set}.tsv"))), fs::read(data.join(format!("{set}.minilm384.f16.npy"))))
    else {
        eprintln!("skipped: no {set} in {}; set AFFINIS_DATA", data.display());
        return None;
    };
    let texts: Vec<String> = tsv.lines().filter_map(|line| Some(line.split_once('\t')?.1.to_owned())).collect();
    // The tail of the file is the numbers, row after row.
    let numbers = &npy[npy.len() - texts.len() * 384 * 2..];
    // A stride that meets all parts of the set.
    let picked: Vec<usize> = (0..n).map(|i| i * texts.len() / n).collect();
    let vectors = Array2::from_shape_fn((n, 384), |(i, j)| {
        let at = (picked[i] * 384 + j) * 2;
        half::f16::from_le_bytes([numbers[at], numbers[at + 1]]).to_f32()
    });
    Some((picked.into_iter().map(|i| texts[i].clone()).collect(), vectors))
}

fn agrees_with_the_reference(backend: Backend) {
    let Some(dir) = minilm() else { return };
    let onnx = Onnx::options().backend(backend).from_dir(dir).unwrap();
    assert_eq!((onnx.dim(), onnx.max_length()), (384, 256));
    for set in ["debian-6000", "wordnet-6000"] {
        let Some((texts, expected)) = reference(set, 200) else { continue };
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = onnx.encode(&texts).unwrap().vectors;
        for ((row, expected), text) in vectors.rows().into_iter().zip(expected.rows()).zip(&texts) {
            let cosine = row.dot(&expected) / (row.dot(&row) * expected.dot(&expected)).sqrt();
            assert!(cosine > 0.999, "{set}: cosine {cosine} for {text:?}");
        }
    }
}

#[test]
fn minilm_on_tract_agrees_with_sentence_transformers() {
    agrees_with_the_reference(Backend::Tract);
}

#[cfg(feature = "onnxruntime")]
mod onnxruntime {
    use super::*;

    fn library() -> bool {
        let named = std::env::var_os("ORT_DYLIB_PATH").is_some();
        if !named {
            eprintln!("skipped: ORT_DYLIB_PATH is not set; tools/get-onnxruntime.sh prints a path for it");
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
        for name in ["tokens.onnx", "types.onnx", "sentence_embedding.onnx", "pooler.onnx", "bert.onnx", "traced.onnx"]
        {
            let dir = model(name, &[]);
            let tract = Onnx::options().backend(Backend::Tract).from_dir(dir.path()).unwrap();
            let runtime = Onnx::from_dir(dir.path()).unwrap();
            assert_eq!(runtime.backend(), Backend::OnnxRuntime, "the variable is set, so the library is the default");
            assert_eq!(tract.fingerprint(), runtime.fingerprint());
            close(&runtime.encode(&TEXTS).unwrap().vectors, &tract.encode(&TEXTS).unwrap().vectors, 1e-5);
        }
    }

    #[test]
    fn a_token_without_a_row_is_an_error_there_too() {
        if library() {
            let onnx = Onnx::from_dir(model("short_table.onnx", &[]).path()).unwrap();
            assert!(matches!(onnx.encode(&["apple"]), Err(EncodeError::Run { .. })));
        }
    }

    /// The library is the process's own, so wrong ones are tried in children: this test binary, run again.
    #[test]
    fn a_wrong_library_is_named_and_nothing_hangs() {
        const CHILD: &str = "AFFINIS_TEST_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let result = Onnx::options().backend(Backend::OnnxRuntime).embedded();
            assert!(matches!(result, Err(EncodeError::Library { .. })), "{result:?}");
            // The built-in backend is still there.
            Onnx::options().backend(Backend::Tract).embedded().unwrap();
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
                .args(["--exact", "onnxruntime::a_wrong_library_is_named_and_nothing_hangs"])
                .env(CHILD, "1")
                .env("ORT_DYLIB_PATH", path)
                .output()
                .unwrap();
            assert!(child.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&child.stdout));
            assert!(started.elapsed().as_secs() < 60);
        }
    }
}
