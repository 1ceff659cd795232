//! Model directories that an encoder refuses, and numbers that it never returns.

#![cfg(feature = "embedded-model")]

use std::fs;

use affinis::encode::Backend;
use affinis::encode::{EncodeError, Encoder, Onnx};

use affinis_testkit::models::{TEXTS, fixture, model, pooling};

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
        if !std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .is_ok_and(|status| status.success())
        {
            eprintln!("skipped: no mkfifo here");
            return;
        }
        let result = Onnx::from_dir(dir.path());
        assert!(
            matches!(result, Err(EncodeError::Io { .. })),
            "{name}: {result:?}"
        );
    }
}

#[test]
fn damaged_or_impossible_settings_are_refused() {
    let outside =
        r#"[{"type": "sentence_transformers.models.Pooling", "path": "../../elsewhere"}]"#;
    for (name, content) in [
        ("modules.json", "{"),
        ("modules.json", outside),
        ("1_Pooling/config.json", "[]"),
        (
            "1_Pooling/config.json",
            r#"{"pooling_mode_mean_tokens": false}"#,
        ),
        ("config.json", r#"{"max_position_embeddings": "many"}"#),
        (
            "config_sentence_transformers.json",
            r#"{"default_prompt_name": "query", "prompts": {"passage": "p: "}}"#,
        ),
        ("sentence_bert_config.json", r#"{"max_seq_length": -1}"#),
    ] {
        let result = Onnx::from_dir(model("tokens.onnx", &[(name, content)]).path());
        match result {
            Err(EncodeError::Config { path, .. }) => {
                assert!(path.ends_with(name), "{}", path.display());
            }
            other => panic!("{name} {content}: {other:?}"),
        }
    }
    let dense = r#"[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]"#;
    for (name, content) in [
        (
            "1_Pooling/config.json",
            r#"{"pooling_mode_mean_tokens": true, "include_prompt": false}"#,
        ),
        ("1_Pooling/config.json", r#"{"pooling_mode": "attention"}"#),
        (
            "config_sentence_transformers.json",
            r#"{"similarity_fn_name": "manhattan"}"#,
        ),
        ("modules.json", dense),
    ] {
        let result = Onnx::from_dir(model("tokens.onnx", &[(name, content)]).path());
        assert!(
            matches!(result, Err(EncodeError::Unsupported { .. })),
            "{name} {content}: {result:?}"
        );
    }
    // A graph that outputs the sentence's embedding contains the further modules.
    Onnx::from_dir(model("sentence_embedding.onnx", &[("modules.json", dense)]).path()).unwrap();
}

#[test]
fn a_file_that_is_no_tokenizer_is_refused() {
    let whole = fs::read_to_string(fixture("tokenizer.json")).unwrap();
    for content in ["", "{}", "null", &whole[..whole.len() / 2]] {
        let result = Onnx::from_dir(model("tokens.onnx", &[("tokenizer.json", content)]).path());
        assert!(
            matches!(result, Err(EncodeError::Tokenizer { .. })),
            "{content}: {result:?}"
        );
    }
}

#[test]
fn files_above_the_size_limit_are_not_read() {
    for (name, bytes) in [
        ("tokenizer.json", 1 << 40),
        ("config.json", 1 << 30),
        ("model.onnx", 1 << 40),
    ] {
        let dir = model("tokens.onnx", &[]);
        let file = fs::File::create(dir.path().join(name)).unwrap();
        if file.set_len(bytes).is_err() {
            eprintln!("skipped {name}: this file system has no sparse files of that size");
            continue;
        }
        let result = Onnx::from_dir(dir.path());
        assert!(
            matches!(result, Err(EncodeError::TooLarge { .. })),
            "{name}: {result:?}"
        );
    }
}

#[test]
fn damaged_graphs_are_refused_wherever_they_are_cut_or_changed() {
    for name in ["bert.onnx", "bert_half.onnx"] {
        damage(name);
    }
}

/// Cuts a graph and changes its bytes.
fn damage(name: &str) {
    let whole = fs::read(fixture(name)).unwrap();
    let dir = model(name, &[]);
    let path = dir.path().join("model.onnx");
    for cut in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        let result = Onnx::from_dir(dir.path());
        assert!(
            matches!(
                result,
                Err(EncodeError::Model { .. } | EncodeError::Unsupported { .. })
            ),
            "{name}, {cut}: {result:?}"
        );
    }
    fs::write(&path, b"these are words, not a graph").unwrap();
    let result = Onnx::from_dir(dir.path());
    assert!(
        matches!(result, Err(EncodeError::Model { .. })),
        "{result:?}"
    );
    // A changed byte may leave a sound model; it never ends the process.
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
fn impossible_axes_are_refused() {
    let cases: [(&[u8], usize, u8); 2] = [
        (b"perm\x40\x00\x40\x02\x40\x03\x40\x01", 9, 1),
        (b"axis\x18\xff\xff\xff", 7, 0xe6),
    ];
    for (pattern, place, value) in cases {
        let mut graph = fs::read(fixture("bert.onnx")).unwrap();
        let at = graph
            .windows(pattern.len())
            .position(|bytes| bytes == pattern)
            .expect("a node with axes");
        graph[at + place] = value;
        let dir = model("bert.onnx", &[]);
        fs::write(dir.path().join("model.onnx"), graph).unwrap();
        let result = Onnx::from_dir(dir.path());
        assert!(
            matches!(
                &result,
                Err(EncodeError::Model { .. } | EncodeError::Run { .. })
            ),
            "{result:?}"
        );
    }
}

#[test]
fn weights_are_read_from_the_directory_alone() {
    let whole = fs::read(fixture("external.onnx")).unwrap();
    let name = b"model.onnx_data";
    let at = whole.windows(name.len()).position(|bytes| bytes == name);
    for (other, fault) in [
        (b"../../etc/hosts", "leads out"),
        (b"/etc/host.conf/", "leads out"),
        (b"model.onnx_else", "model.onnx_else"),
    ] {
        let mut graph = whole.clone();
        graph[at.unwrap()..at.unwrap() + name.len()].copy_from_slice(other);
        let dir = model("external.onnx", &[]);
        fs::write(dir.path().join("model.onnx"), graph).unwrap();
        let refused = Onnx::from_dir(dir.path())
            .expect_err("a refusal")
            .to_string();
        assert!(refused.contains(fault), "{refused}");
    }
}

#[test]
fn graphs_that_do_not_embed_texts_are_refused() {
    for (name, mention) in [
        ("other_input.onnx", "pixel_values"),
        ("no_ids.onnx", "input_ids"),
        ("fixed.onnx", "[1, 16]"),
    ] {
        match Onnx::from_dir(model(name, &[]).path()) {
            Err(EncodeError::Unsupported { what, .. }) => assert!(what.contains(mention), "{what}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    // Models with an output that is not known to be an embedding.
    for (name, described) in [
        ("scores.onnx", "score [batch]"),
        ("pooler.onnx", "pooler_output [batch, 4]"),
        ("reranker/model.onnx", "logits [batch, 1]"),
    ] {
        match Onnx::from_dir(model(name, &[]).path()) {
            Err(EncodeError::Output { outputs, .. }) => assert_eq!(outputs, [described]),
            other => panic!("{name}: {other:?}"),
        }
    }
    for (name, output) in [
        ("scores.onnx", "score"),
        ("reranker/model.onnx", "logits"),
        ("tokens.onnx", "sentence_embedding"),
        ("bge_m3/model.onnx", "sparse_vecs"),
    ] {
        let chosen = Onnx::options().output(output);
        let refused = chosen.from_dir(model(name, &[]).path());
        assert!(
            matches!(refused, Err(EncodeError::Output { .. })),
            "{name}: {refused:?}"
        );
    }
    // Vectors as long as the text.
    let growing =
        Onnx::from_dir(model("growing.onnx", &[]).path()).and_then(|onnx| onnx.encode(&TEXTS));
    assert!(
        matches!(growing, Err(EncodeError::OutputShape { .. })),
        "{growing:?}"
    );
}

#[test]
fn an_encoder_never_returns_numbers_that_are_not_finite() {
    let all = Onnx::from_dir(model("all_nan.onnx", &[]).path());
    assert!(matches!(all, Err(EncodeError::NotFinite { .. })), "{all:?}");
    for mode in ["mean_tokens", "max_tokens"] {
        let dir = model(
            "plum_nan.onnx",
            &[("1_Pooling/config.json", &pooling(mode))],
        );
        let some = Onnx::from_dir(dir.path()).unwrap();
        assert!(some.encode(&["red", "apple pear"]).is_ok());
        match some.encode(&["red", "apple pear", "green plum", "blue"]) {
            Err(EncodeError::NotFinite { index, .. }) => assert_eq!(index, 2),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_token_outside_the_embedding_table_is_an_error_and_the_encoder_stays_usable() {
    let onnx = Onnx::options()
        .backend(Backend::Rten)
        .from_dir(model("short_table.onnx", &[]).path())
        .unwrap();
    match onnx.encode(&["red", "apple"]) {
        Err(EncodeError::Token {
            index,
            token,
            tokens,
            ..
        }) => assert!(
            index == 1 && token as usize >= tokens,
            "{token} of {tokens}"
        ),
        other => panic!("{other:?}"),
    }
    assert!(onnx.encode(&["red"]).is_ok());
}
