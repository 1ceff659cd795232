//! all-MiniLM-L6-v2, on both backends.

use std::fs;
use std::path::PathBuf;

use affinis::encode::Backend;
use affinis::{Encoder, Onnx};
use ndarray::Array2;

use crate::*;

/// all-MiniLM-L6-v2 as `tools/get-minilm.sh` makes it.
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

/// Texts of a data set and the vectors that sentence-transformers gave them.
fn reference(set: &str, n: usize) -> Option<(Vec<String>, Array2<f32>)> {
    let data = std::env::var_os("AFFINIS_DATA")
        .map_or_else(|| root().join("../shared/data"), PathBuf::from)
        .join("text");
    let (Ok(tsv), Ok(npy)) = (
        fs::read_to_string(data.join(format!("{set}.tsv"))),
        fs::read(data.join(format!("{set}.minilm384.f16.npy"))),
    ) else {
        skipped(&format!("no {set} in {}; set AFFINIS_DATA", data.display()));
        return None;
    };
    let texts: Vec<String> = tsv
        .lines()
        .filter_map(|line| Some(line.split_once('\t')?.1.to_owned()))
        .collect();
    // The tail of the file is the numbers, row after row.
    let numbers = &npy[npy.len() - texts.len() * 384 * 2..];
    // A stride that meets all parts of the set.
    let picked: Vec<usize> = (0..n).map(|i| i * texts.len() / n).collect();
    let vectors = Array2::from_shape_fn((n, 384), |(i, j)| {
        let at = (picked[i] * 384 + j) * 2;
        half::f16::from_le_bytes([numbers[at], numbers[at + 1]]).to_f32()
    });
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
fn minilm_on_tract_agrees_with_sentence_transformers() {
    agrees_with_the_reference(Backend::Tract);
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
            "pooler.onnx",
            "bert.onnx",
            "traced.onnx",
        ] {
            let dir = model(name, &[]);
            let tract = Onnx::options()
                .backend(Backend::Tract)
                .from_dir(dir.path())
                .unwrap();
            let runtime = Onnx::from_dir(dir.path()).unwrap();
            assert_eq!(
                runtime.backend(),
                Backend::OnnxRuntime,
                "the variable is set, so the library is the default"
            );
            assert_eq!(tract.fingerprint(), runtime.fingerprint());
            close(
                &runtime.encode(&TEXTS).unwrap().vectors,
                &tract.encode(&TEXTS).unwrap().vectors,
                1e-5,
            );
        }
    }

    #[test]
    fn a_token_without_a_row_is_an_error_there_too() {
        if library() {
            let onnx = Onnx::from_dir(model("short_table.onnx", &[]).path()).unwrap();
            assert!(matches!(
                onnx.encode(&["apple"]),
                Err(EncodeError::Run { .. })
            ));
        }
    }

    /// The library is the process's own, so wrong ones are tried in children: this test binary, run
    /// again.
    #[test]
    fn a_wrong_library_is_named_and_nothing_hangs() {
        const CHILD: &str = "AFFINIS_TEST_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let result = Onnx::options().backend(Backend::OnnxRuntime).embedded();
            assert!(
                matches!(result, Err(EncodeError::Library { .. })),
                "{result:?}"
            );
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
