//! The tiny models in `tests/fixtures/models`, which `make.py` beside them makes. Row `i` of their
//! embedding table is `[i, -i, i % 3, 1]`, and the tokenizer puts `[CLS]` (2) before and `[SEP]`
//! (3) after a text.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use tempfile::TempDir;

/// Words that the tokenizer knows, with their ids.
pub const WORDS: [(&str, f32); 6] = [
    ("red", 4.0),
    ("green", 5.0),
    ("blue", 6.0),
    ("apple", 7.0),
    ("pear", 8.0),
    ("plum", 9.0),
];

/// The path of a file in `tests/fixtures/models`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/models")
        .join(name)
}

/// A model directory with one of the tiny models, the tokenizer, and further files of these names
/// and contents.
pub fn model(onnx: &str, files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a model directory");
    fs::copy(fixture(onnx), dir.path().join("model.onnx")).expect("a model directory");
    fs::copy(fixture("tokenizer.json"), dir.path().join("tokenizer.json"))
        .expect("a model directory");
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a model directory")).expect("a model directory");
        fs::write(path, content).expect("a model directory");
    }
    dir
}

/// A `modules.json` without a normalising module.
pub const NOT_NORMALISED: (&str, &str) = (
    "modules.json",
    r#"[{"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]"#,
);

/// A pooling file with the mode `pooling_mode_{mode}`.
pub fn pooling(mode: &str) -> String {
    format!(r#"{{"word_embedding_dimension": 4, "pooling_mode_{mode}": true}}"#)
}

/// The rows of the embedding table for `[CLS] words [SEP]`, one a token.
pub fn table(text: &str) -> Array2<f32> {
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

/// Asserts that two matrices differ by no more than `tolerance` anywhere.
pub fn assert_close(a: &Array2<f32>, b: &Array2<f32>, tolerance: f32) {
    assert_eq!(a.dim(), b.dim());
    let worst = a
        .iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max);
    assert!(worst <= tolerance, "{worst} apart:\n{a}\n{b}");
}

/// Texts of different lengths, one of them empty.
pub const TEXTS: [&str; 4] = [
    "red apple",
    "green pear blue plum red",
    "",
    "apple apple apple apple apple apple apple apple",
];
