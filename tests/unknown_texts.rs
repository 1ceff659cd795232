//! Texts that an encoder can make nothing of have no vector: they are neither stored nor searched
//! nor judged, and never near anything.

#![cfg(feature = "embedded-model")]

use affinis::encode::{Encoded, Encoder, Onnx};
use affinis::error::{ItemError, JudgementError};
use affinis::learning::{EvalQuery, Weak};
use affinis::{AddMode, Collection, Distance, Error, Item, Judgement, MetricChoice, Store};
use affinis_testkit::models::model;
use tempfile::TempDir;

/// Texts of which the embedded model knows nothing: emoji, Thai, Amharic, a word too long for its
/// tokenizer, control characters, and characters without width.
fn unknown() -> Vec<String> {
    let texts = [
        "😀😀",
        "สวัสดี",
        "ሰላም ለዓለም",
        "\u{1}\u{2}\u{7f}",
        "\u{200b}\u{feff}",
    ];
    let mut texts: Vec<String> = texts.map(str::to_owned).to_vec();
    texts.push("x".repeat(101));
    texts
}

fn collection(distance: Distance) -> (TempDir, Collection) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("opened");
    let notes = store
        .collection("notes")
        .encoder(Onnx::embedded().expect("a model"))
        .distance(distance)
        .create()
        .expect("created");
    notes
        .add([
            Item::text("a", "how to prune apple trees"),
            Item::text("b", "sharpening a kitchen knife"),
        ])
        .expect("added");
    (dir, notes)
}

fn encoded(onnx: &Onnx, texts: &[&str]) -> Vec<bool> {
    let Encoded { unknown, .. } = onnx.encode(texts).expect("encoded");
    unknown
}

#[test]
fn no_collection_stores_searches_or_judges_an_unknown_text() {
    for distance in [Distance::L2, Distance::Cosine, Distance::Dot] {
        let (_dir, notes) = collection(distance);
        for text in unknown() {
            let added = notes.add([Item::text("c", "pruning"), Item::text("d", &*text)]);
            assert!(
                matches!(
                    &added,
                    Err(Error::InvalidItem { index: 1, id, source: ItemError::UnknownText }) if id == "d"
                ),
                "{distance} {text:?}: {added:?}"
            );
            let found = notes.search(&text).run();
            assert!(
                matches!(found, Err(Error::UnknownText { .. })),
                "{distance} {text:?}: {found:?}"
            );
            let many = notes.search_many(["trees", &text]).run();
            assert!(matches!(many, Err(Error::UnknownText { .. })), "{many:?}");
            let explained = notes.explain(&*text, "a").run();
            assert!(matches!(explained, Err(Error::UnknownText { .. })));
            let judged = notes.judge_all([
                Judgement::relevant("fruit", "a"),
                Judgement::relevant(&*text, "a"),
            ]);
            assert!(
                matches!(
                    judged,
                    Err(Error::InvalidJudgement {
                        index: 1,
                        source: JudgementError::UnknownText
                    })
                ),
                "{distance} {text:?}: {judged:?}"
            );
            let query = EvalQuery::new(text.as_str(), ["a"]);
            let evaluated = notes.evaluate(&[query], 1, &[MetricChoice::BuiltIn]);
            assert!(matches!(evaluated, Err(Error::UnknownText { .. })));
        }
        assert_eq!((notes.len(), notes.judgement_count()), (2, 0));
    }
}

#[test]
fn an_unknown_text_can_be_stored_with_a_vector() {
    let (_dir, notes) = collection(Distance::L2);
    let vector = notes.get("a").expect("read").and_then(|a| a.vector);
    let item = Item::text("c", "😀😀").with_vector(vector.expect("a vector"));
    notes.add([item]).expect("added");
    assert_eq!(notes.len(), 3);
}

#[test]
fn each_item_says_whether_it_can_be_stored() {
    let (_dir, notes) = collection(Distance::L2);
    let items = [
        Item::text("c", "garden"),
        Item::text("d", "😀"),
        Item::text("", "no id"),
        Item::text("e", " "),
        Item::text("f", "a garden 😀"),
    ];
    let prepared = notes.prepare_each(AddMode::Upsert, items).expect("encoded");
    let outcomes: Vec<&str> = prepared
        .iter()
        .map(|item| match item {
            Ok(item) if item.vector.is_some() => "encoded",
            Ok(_) => "without a vector",
            Err(ItemError::UnknownText) => "unknown",
            Err(ItemError::Id(_)) => "id",
            Err(ItemError::BlankText) => "blank",
            Err(_) => "other",
        })
        .collect();
    assert_eq!(outcomes, ["encoded", "unknown", "id", "blank", "encoded"]);
}

#[test]
fn halves_that_are_unknown_are_not_judged() {
    let (_dir, notes) = collection(Distance::L2);
    notes
        .add([Item::text("c", "😀 😀 😀 😀 then comes known text")])
        .expect("added");
    notes.judge_weakly(&Weak::Halves, 100, 0).expect("judged");
    let judgements = notes.judgements().expect("read");
    assert!(!judgements.is_empty());
    assert!(judgements.iter().all(|j| !format!("{j:?}").contains("😀")));

    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("opened");
    let notes = store
        .collection("notes")
        .encoder(Onnx::embedded().expect("a model"))
        .create()
        .expect("created");
    notes
        .add(["a", "b"].map(|id| Item::text(id, "😀 😀 half known")))
        .expect("added");
    let judged = notes.judge_weakly(&Weak::Halves, 100, 0);
    assert!(matches!(judged, Err(Error::TextsTooShort)), "{judged:?}");
}

#[test]
fn a_text_of_unknown_tokens_only_is_unknown_whatever_their_vector_is() {
    // In this model the unknown token has a vector like any other.
    let dir = model("tokens.onnx", &[]);
    let onnx = Onnx::from_dir(dir.path()).expect("a model");
    assert_eq!(
        encoded(
            &onnx,
            &["red", "zebra", "zebra 😀", "zebra red", "", "[UNK]"]
        ),
        [false, true, true, false, true, true]
    );
    // A text of which only what is cut off is known.
    let short = Onnx::options().max_length(4).from_dir(dir.path());
    let short = short.expect("a model");
    assert_eq!(
        encoded(&short, &["zebra zebra red", "red zebra zebra"]),
        [true, false]
    );
}

#[test]
fn blanks_beside_unknown_tokens_are_not_known() {
    // As SentencePiece writes them: a blank before a word is a token of its own where the word is
    // unknown.
    let unigram = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": null, "decoder": null,
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false,
                  "vocab": [["<unk>", 0.0], ["▁", -2.0], ["▁red", -1.0], ["▁green", -1.0], ["s", -3.0]]}}"#;
    let dir = model("tokens.onnx", &[("tokenizer.json", unigram)]);
    let onnx = Onnx::from_dir(dir.path()).expect("a model");
    assert_eq!(
        encoded(&onnx, &["red", "😀", "😀 ሰላም", "green 😀", "s", " "]),
        [false, true, true, false, false, true]
    );
}
