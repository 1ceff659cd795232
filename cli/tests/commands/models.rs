//! Models with several outputs, or with none that is an embedding.

use std::fs;
use std::path::Path;

use crate::home::Home;

/// Copies a directory of `tests/fixtures/models` into the home.
fn with_model(name: &str) -> Home {
    let home = Home::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/models")
        .join(name);
    fs::create_dir(home.path(name)).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), home.path(name).join(file.file_name())).unwrap();
    }
    home.write(
        "items.jsonl",
        "{\"id\": \"a\", \"text\": \"apple tree\"}\n{\"id\": \"b\", \"text\": \"car engine road\"}\n",
    );
    home
}

fn vector(home: &Home, collection: &str) -> Vec<f64> {
    let item = home.json(["get", collection, "a"]);
    serde_json::from_value(item["vector"].clone()).unwrap()
}

#[test]
fn the_dense_output_is_taken_where_a_model_has_several() {
    let home = with_model("bge_m3");
    let made = home.json(["create", "c", "--encoder", "bge_m3"]);
    assert_eq!(made["dim"], 8);
    assert!(made["encoder"]["output"].is_null());
    home.ok(["add", "c", "items.jsonl"]);
    let found = home.json(["search", "c", "apple tree"]);
    let nearest = &found["hits"][0];
    assert_eq!(
        (&nearest["id"], &nearest["distance"]),
        (&"a".into(), &0.0.into())
    );
    assert!(found["hits"][1]["distance"].as_f64().unwrap() > 0.01);
}

#[test]
fn another_output_can_be_chosen_and_is_kept() {
    let home = with_model("bge_m3");
    fs::create_dir(home.path("bge_m3/1_Pooling")).unwrap();
    let maximum = "{\"pooling_mode_max_tokens\": true}";
    home.write("bge_m3/1_Pooling/config.json", maximum);
    home.ok([
        "create",
        "dense",
        "--encoder",
        "bge_m3",
        "--output",
        "dense_vecs",
    ]);
    let made = home.json([
        "create",
        "c",
        "--encoder",
        "bge_m3",
        "--output",
        "colbert_vecs",
    ]);
    assert_eq!(made["encoder"]["output"], "colbert_vecs");
    // Each command opens the collection anew.
    for name in ["c", "dense"] {
        home.ok(["add", name, "items.jsonl"]);
    }
    assert_ne!(vector(&home, "c"), vector(&home, "dense"));
    assert_eq!(
        home.json(["search", "c", "apple tree"])["hits"][0]["distance"],
        0.0
    );
    home.ok(["export", "c", "c.jsonl"]);
    home.ok(["import", "d", "c.jsonl"]);
    home.ok(["import", "e", "c.jsonl", "--encoder", "bge_m3"]);
    for name in ["d", "e"] {
        assert_eq!(
            home.json(["search", name, "apple tree"])["hits"][0]["distance"],
            0.0
        );
    }
}

#[test]
fn an_output_that_is_no_embedding_is_refused_with_those_there_are() {
    let home = with_model("bge_m3");
    let outputs =
        "dense_vecs [batch, 8], sparse_vecs [batch, seq, 1], colbert_vecs [batch, seq, 8]";
    for name in ["sparse_vecs", "sentence_embedding"] {
        home.fails(
            ["create", "c", "--encoder", "bge_m3", "--output", name],
            1,
            &[name, outputs, "--output NAME"],
        );
    }
    home.fails(
        ["create", "c", "--dim", "8", "--output", "dense_vecs"],
        2,
        &["--output"],
    );
    home.fails(["create", "c", "--output", "dense_vecs"], 2, &["--encoder"]);
}

#[test]
fn a_reranker_is_no_encoder() {
    let home = with_model("reranker");
    let words = &["model.onnx", "logits [batch, 1]"];
    home.fails(["create", "c", "--encoder", "reranker"], 1, words);
    home.fails(
        ["create", "c", "--encoder", "reranker", "--output", "logits"],
        1,
        words,
    );
    home.ok(["create", "c", "--dim", "2"]);
}
