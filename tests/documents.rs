//! Documents: their texts are stored as chunks that the encoder takes whole, and they are replaced,
//! updated, deleted and judged as one.

#![cfg(feature = "onnx")]

use affinis::encode::{EncodeError, Encoded, Encoder};
use affinis::error::ItemError;
use affinis::limits::{MAX_DOCUMENT_BYTES, MAX_ID_BYTES};
use affinis::{
    AddMode, Chunking, Collection, Error, Filter, Item, Judgement, Query, Store, Subject,
};
use affinis_testkit::{Random, WordCounts};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Number of tokens that [`Words`] takes.
const LIMIT: usize = 12;

/// An encoder whose tokens are words, of which it takes 12. It knows no word with a `?`.
struct Words(WordCounts);

impl Encoder for Words {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn fingerprint(&self) -> &str {
        self.0.fingerprint()
    }

    fn token_count(&self, text: &str) -> Result<usize, EncodeError> {
        Ok(text.split_whitespace().count())
    }

    fn max_tokens(&self) -> Option<usize> {
        Some(LIMIT)
    }

    fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        let mut encoded = self.0.encode(texts)?;
        for (at, text) in texts.iter().enumerate() {
            encoded.truncated[at] = self.token_count(text)? > LIMIT;
            encoded.unknown[at] = text.split_whitespace().all(|word| word.contains('?'));
        }
        Ok(encoded)
    }
}

fn notes() -> (TempDir, Collection) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("opened");
    let notes = store.collection("notes");
    let notes = notes.encoder(Words(WordCounts::new(32, "words")));
    (dir, notes.create().expect("created"))
}

/// `count` sentences of six words, each with its number.
fn sentences(count: usize) -> String {
    let sentence = |n| format!("Sentence {n} has exactly six words.");
    (1..=count).map(sentence).collect::<Vec<_>>().join(" ")
}

fn ids(notes: &Collection) -> Vec<String> {
    let items = notes.list(None).map(|item| item.expect("read").id);
    items.collect()
}

fn ids_of(document: &str, count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{document}#{n:06}")).collect()
}

fn texts(items: &[Item]) -> Vec<&str> {
    let texts = items.iter().filter_map(|item| item.text.as_deref());
    texts.collect()
}

fn refusal(result: Result<impl std::fmt::Debug, Error>) -> ItemError {
    match result {
        Err(Error::InvalidItem { source, .. }) => source,
        other => panic!("no refusal of an item: {other:?}"),
    }
}

#[test]
fn a_document_is_stored_as_chunks_that_hold_its_text() {
    let (_dir, notes) = notes();
    let text = sentences(7);
    let meta = json!({"lang": "en", "tags": ["a", "b"]});
    let document = Item::document("d", &*text).with_meta(meta.clone());
    let added = notes.add([document]).expect("added");
    assert_eq!((added.added, added.replaced, added.chunks), (1, 0, 4));
    assert!(added.truncated.is_empty(), "a chunk was cut");
    let chunks = notes.document("d").expect("read");
    assert_eq!(ids(&notes), ids_of("d", 4));
    // Two sentences fill a chunk, so that none can stand in two of them.
    assert_eq!(texts(&chunks).join(" "), text);
    for (chunk, number) in chunks.iter().zip(1..) {
        let mut of_chunk = meta.clone();
        of_chunk["document"] = json!("d");
        of_chunk["chunk"] = json!(number);
        assert_eq!(chunk.meta, of_chunk);
    }
    let filter = Filter::parse(r#"{"document": "d", "chunk": {"$gt": 2}}"#).expect("a filter");
    assert_eq!(notes.count(&filter).expect("counted"), 2);
    let hits = notes.search("Sentence 3 has exactly six words. Sentence 4 has exactly six words.");
    let hits = hits.group_by("document", 1).run().expect("answers");
    assert_eq!(hits[0].id, "d#000002");
    assert_eq!(hits.len(), 1, "one document, one hit");
    assert!(notes.get("d").expect("read").is_none());
    assert!(notes.document("no such").expect("read").is_empty());
    assert!(notes.document("d#000001").expect("read").is_empty());
}

#[test]
fn chunks_overlap_by_sentences_and_are_as_long_as_they_may_be() {
    let (_dir, notes) = notes();
    let chunking = Chunking::default().tokens(12).overlap(6);
    notes
        .add([Item::document("d", sentences(3)).with_chunking(chunking)])
        .expect("added");
    let chunks = notes.document("d").expect("read");
    let expected = [
        "Sentence 1 has exactly six words. Sentence 2 has exactly six words.",
        "Sentence 2 has exactly six words. Sentence 3 has exactly six words.",
    ];
    assert_eq!(texts(&chunks), expected);
    notes
        .add([Item::document("short", "Three words here.")])
        .expect("added");
    assert_eq!(
        ids_of("short", 1),
        [&*notes.document("short").expect("read")[0].id]
    );
}

#[test]
fn a_document_and_an_item_replace_each_other_whole() {
    let (_dir, notes) = notes();
    notes
        .add([
            Item::document("d", sentences(8)),
            Item::text("d2", "beside"),
            Item::text("d#about", "an item beside"),
            Item::text("d#999999", "not a chunk, whatever its id"),
        ])
        .expect("added");
    let beside = ["d#999999", "d#about", "d2"];
    let with = |chunks: usize| {
        let mut all = ids_of("d", chunks);
        all.extend(beside.map(str::to_owned));
        all
    };
    assert_eq!(ids(&notes), with(4));
    let added = notes
        .add([Item::document("d", sentences(3))])
        .expect("added");
    assert_eq!((added.added, added.replaced, added.chunks), (0, 1, 2));
    assert_eq!(ids(&notes), with(2));
    let added = notes.add([Item::text("d", "an item now")]).expect("added");
    assert_eq!((added.added, added.replaced, added.chunks), (0, 1, 0));
    assert_eq!(ids(&notes), [&["d".to_owned()][..], &with(0)].concat());
    notes
        .add([Item::document("d", sentences(5))])
        .expect("added");
    assert_eq!(ids(&notes), with(3));
    assert_eq!(notes.delete(&["d"]).expect("deleted"), 3);
    assert_eq!(ids(&notes), with(0));
    assert!(matches!(notes.delete(&["d"]), Err(Error::UnknownId { .. })));
    assert!(matches!(
        notes.delete(&["d2", "d"]),
        Err(Error::UnknownId { .. })
    ));
    assert_eq!(
        ids(&notes),
        with(0),
        "nothing is deleted beside an unknown id"
    );
}

#[test]
fn inserts_refuse_documents_that_exist_and_ids_that_stand_twice() {
    let (_dir, notes) = notes();
    notes
        .add([Item::document("d", sentences(4))])
        .expect("added");
    notes
        .add([
            Item::text("i", "an item"),
            Item::text("e#000002", "in the way"),
        ])
        .expect("added");
    let before = ids(&notes);
    for item in [
        Item::document("d", sentences(1)),
        Item::text("d", "an item"),
        Item::document("i", sentences(1)),
        Item::document("e", sentences(4)),
    ] {
        let refused = notes.add_as(AddMode::Insert, [item]);
        assert!(
            matches!(refused, Err(Error::IdExists { .. })),
            "{refused:?}"
        );
    }
    for twice in [
        [
            Item::document("x", sentences(1)),
            Item::text("x", "an item"),
        ],
        [
            Item::document("x", sentences(1)),
            Item::text("x#000001", "an item"),
        ],
    ] {
        let refused = notes.add(twice);
        assert!(
            matches!(
                refused,
                Err(Error::DuplicateId {
                    first: 0,
                    second: 1,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
    assert_eq!(ids(&notes), before);
    let added = notes.add_as(AddMode::Insert, [Item::document("f", sentences(4))]);
    assert_eq!(added.expect("added").chunks, 2);
}

#[test]
fn an_update_changes_metadata_of_all_chunks_or_replaces_them() {
    let (_dir, notes) = notes();
    let document = Item::document("d", sentences(4)).with_meta(json!({"a": 1, "b": 2}));
    notes.add([document]).expect("added");
    let before = notes.document("d").expect("read");
    let meta = |meta: Value| Item {
        id: "d".into(),
        meta,
        ..Item::default()
    };
    let update = |item: Item| notes.add_as(AddMode::Update, [item]);
    let updated = update(meta(json!({"a": null, "c": 3}))).expect("updated");
    assert_eq!(
        (updated.updated, updated.added, updated.replaced),
        (1, 0, 0)
    );
    let after = notes.document("d").expect("read");
    assert_eq!(texts(&after), texts(&before));
    for (now, number) in after.iter().zip(1..) {
        let expected = json!({"b": 2, "c": 3, "document": "d", "chunk": number});
        assert_eq!(now.meta, expected);
        assert_eq!(now.vector, before[number - 1].vector);
    }
    let new_text = Item::document("d", sentences(1)).with_meta(json!({"c": 4}));
    assert_eq!(update(new_text).expect("updated").updated, 1);
    let after = notes.document("d").expect("read");
    let expected = json!({"b": 2, "c": 4, "document": "d", "chunk": 1});
    assert_eq!((after.len(), &after[0].meta), (1, &expected));
    assert!(matches!(
        refusal(update(Item::text("d", "unsplit"))),
        ItemError::IsDocument
    ));
    let reserved = refusal(update(meta(json!({"chunk": 7}))));
    assert!(matches!(reserved, ItemError::DocumentMeta { key: "chunk" }));
    let unknown = update(Item::document("new", "a text"));
    assert!(
        matches!(unknown, Err(Error::UnknownId { .. })),
        "{unknown:?}"
    );
    // One chunk for itself is an item as any other.
    update(Item {
        id: "d#000001".into(),
        meta: json!({"seen": true}),
        ..Item::default()
    })
    .expect("updated");
    assert_eq!(
        notes.document("d").expect("read")[0].meta["seen"],
        json!(true)
    );
    notes
        .add([Item::text("i", "an item").with_meta(json!({"a": 1}))])
        .expect("added");
    update(Item::document("i", sentences(3)).with_meta(json!({"b": 1}))).expect("updated");
    let chunks = notes.document("i").expect("read");
    assert_eq!((chunks.len(), &chunks[1].meta["a"]), (2, &json!(1)));
    assert!(notes.get("i").expect("read").is_none());
}

#[test]
fn chunks_of_which_the_encoder_knows_nothing_are_stored_beside_their_neighbours() {
    let (_dir, notes) = notes();
    let parts = [
        "??? ??? ??? ??? ??? ??? ???",
        "One two three four five six seven.",
        "?? ?? ?? ?? ?? ?? ??",
    ];
    let chunking = Chunking::default().tokens(8).overlap(0);
    let document = |text: String| Item::document("d", text).with_chunking(chunking);
    notes.add([document(parts.join("\n\n"))]).expect("added");
    let chunks = notes.document("d").expect("read");
    assert_eq!(texts(&chunks), parts);
    assert_eq!(chunks[0].vector, chunks[1].vector);
    assert_eq!(chunks[2].vector, chunks[1].vector);
    let refused = refusal(notes.add([document(parts[0].repeat(3))]));
    assert!(matches!(refused, ItemError::UnknownText), "{refused}");
}

#[test]
fn documents_that_break_a_limit_are_refused_and_nothing_is_stored() {
    let (_dir, notes) = notes();
    let of = |chunking: Chunking| Item::document("d", sentences(4)).with_chunking(chunking);
    let chunks = Chunking::default;
    let long_id = "x".repeat(MAX_ID_BYTES - 6);
    let cases: [(Item, &str); 10] = [
        (of(chunks().tokens(13)), "takes 1 to 12"),
        (of(chunks().tokens(0)), "takes 1 to 12"),
        (of(chunks().tokens(6).overlap(6)), "an overlap of 6 tokens"),
        (of(chunks().overlap(12)), "an overlap of 12 tokens"),
        (Item::document("d", " \n"), "the text is empty"),
        (
            Item::document(long_id, "a text"),
            "more than the 505 of a document",
        ),
        (
            Item::document("d", "a text").with_vector([1.0; 32]),
            "a document has no vector",
        ),
        (
            Item::document("d", "a text").with_meta(json!({"document": 1})),
            "the key \"document\"",
        ),
        (
            Item::document("d", "x".repeat(MAX_DOCUMENT_BYTES + 1)),
            "more than the 67108864 of a document",
        ),
        (
            // Half a million chunks of one word.
            Item::document("d", "a ".repeat(200_000)).with_chunking(chunks().tokens(1)),
            "more than 100000 chunks",
        ),
    ];
    for (item, message) in cases {
        let error = refusal(notes.add([Item::text("i", "beside"), item])).to_string();
        assert!(
            error.contains(message),
            "{error:?} is not about {message:?}"
        );
    }
    let heavy = json!({"heavy": "m".repeat(60_000)});
    let heavy = Item::document("d", "word ".repeat(100_000)).with_meta(heavy);
    let error = refusal(notes.add([heavy])).to_string();
    assert!(error.contains("with the metadata"), "{error}");
    assert!(notes.is_empty());
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("opened");
    let points = store.collection("points").dim(2).create().expect("created");
    let refused = points.add([Item::document("d", "a text")]);
    assert!(
        matches!(refused, Err(Error::NoEncoder { .. })),
        "{refused:?}"
    );
}

#[test]
fn documents_survive_closing_copies_and_export() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let open = || Words(WordCounts::new(32, "words"));
    let store = Store::open(&path).expect("opened");
    let notes = store
        .collection("notes")
        .encoder(open())
        .create()
        .expect("created");
    notes
        .add([Item::document("d", sentences(6))])
        .expect("added");
    notes
        .add([Item::document("d", sentences(5))])
        .expect("added");
    let chunks = notes.document("d").expect("read");
    let items: Vec<Item> = notes
        .items()
        .expect("listed")
        .map(|item| item.expect("read"))
        .collect();
    let history = notes.history().expect("read");
    let copy = store
        .collection("copy")
        .encoder(open())
        .create_with(items, &history);
    assert_eq!(copy.expect("copied").document("d").expect("read"), chunks);
    drop((notes, store));
    let store = Store::open(&path).expect("opened");
    let notes = store
        .collection("notes")
        .encoder(open())
        .open()
        .expect("opened");
    assert_eq!(notes.document("d").expect("read"), chunks);
    assert!(store.verify().expect("verified").problems.is_empty());
    let copy = store
        .collection("copy")
        .encoder(open())
        .open()
        .expect("opened");
    assert_eq!(copy.delete(&["d"]).expect("deleted"), 3);
    assert!(copy.is_empty());
}

#[test]
fn random_texts_are_in_chunks_that_the_encoder_takes() {
    let (_dir, notes) = notes();
    let mut random = Random(5);
    let pieces = [
        "word",
        "a.b",
        "!",
        "naïve",
        "漢字かな",
        "\n\n",
        "\t",
        "мир",
        "end. ",
        "x-y",
    ];
    for round in 0..40 {
        let count = 1 + random.below(300);
        let pieces = (0..count).map(|_| pieces[random.below(pieces.len())]);
        let text = format!(
            "Begin {}",
            pieces.collect::<Vec<_>>().join([" ", ""][round % 2])
        );
        let tokens = 2 + random.below(LIMIT - 1);
        let chunking = Chunking::default()
            .tokens(tokens)
            .overlap(random.below(tokens));
        notes
            .add([Item::document("d", &*text).with_chunking(chunking)])
            .expect("added");
        let mut end = 0;
        for chunk in notes.document("d").expect("read") {
            assert!(!chunk.truncated);
            let held = chunk.text.expect("a text");
            assert!(held.split_whitespace().count() <= tokens, "{held:?}");
            // The chunk begins where all before it is held, or earlier.
            let starts = text.match_indices(&*held).map(|(at, _)| at);
            let next = starts
                .filter(|at| *at + held.len() > end)
                .find(|at| *at <= end || text[end..*at].trim().is_empty());
            let at = next.unwrap_or_else(|| panic!("what is before {held:?} is in no chunk"));
            end = at + held.len();
        }
        assert!(text[end..].trim().is_empty(), "the end is in no chunk");
    }
}

#[cfg(feature = "embedded-model")]
#[test]
fn chunks_of_a_model_are_never_cut() {
    use affinis::encode::Onnx;

    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("opened");
    let onnx = Onnx::embedded().expect("a model");
    let most = onnx.max_tokens().expect("it has a limit");
    let notes = store.collection("notes").encoder(onnx.clone());
    let notes = notes.create().expect("created");
    let mixed = "Bienen sammeln Nektar – über 2.000.000 Blüten! 蜂は花から蜜を集める。Пчёлы собирают нектар. ";
    let text = mixed.repeat(400);
    for chunking in [
        Chunking::default(),
        Chunking::default().tokens(most),
        Chunking::default().tokens(7),
    ] {
        let document = Item::document("d", &*text).with_chunking(chunking);
        let added = notes.add([document]).expect("added");
        assert!(added.truncated.is_empty() && added.chunks > 5, "{added:?}");
        for chunk in notes.document("d").expect("read") {
            let text = chunk.text.expect("a text");
            let tokens = onnx.token_count(&text).expect("counted");
            assert!(
                tokens <= chunking.tokens.unwrap_or(256).min(most),
                "{text:?}"
            );
        }
    }
    let cut = "word ".repeat(most + 1);
    assert!(onnx.token_count(&cut).expect("counted") > most);
    assert!(onnx.encode(&[&cut]).expect("encoded").truncated[0]);
    let whole = "word ".repeat(most);
    assert_eq!(onnx.token_count(&whole).expect("counted"), most);
    assert!(!onnx.encode(&[&whole]).expect("encoded").truncated[0]);
}

#[test]
fn a_document_is_judged_as_a_whole_or_in_part() {
    let (_dir, notes) = notes();
    let text = "Bees collect nectar from many flowers. Ships cross the sea to trade. \
                Rivers run down from high mountains.";
    let chunking = Chunking::default().tokens(7).overlap(0);
    notes
        .add([Item::document("d", text).with_chunking(chunking)])
        .expect("added");
    notes.add([Item::text("i", "an item")]).expect("added");
    assert_eq!(ids_of("d", 3), ids(&notes)[..3]);
    let query = "Ships cross the sea";
    let judged = |judgement: Judgement| -> Vec<(String, f32, f32)> {
        let numbers = notes.judge_all([judgement]).expect("judged");
        let stored = notes.judgements().expect("read").into_iter();
        let stored = stored.filter(|stored| numbers.contains(&stored.id));
        let of = |judgement: Judgement| match judgement.subject {
            Subject::Graded { item, grade, .. } => (item, grade, judgement.weight),
            other => panic!("another subject: {other:?}"),
        };
        stored.map(|stored| of(stored.judgement)).collect()
    };
    let nearest = "d#000002".to_owned();
    assert_eq!(
        judged(Judgement::relevant(query, "d")),
        [(nearest.clone(), 1.0, 1.0)]
    );
    assert_eq!(
        judged(Judgement::graded(query, "d", 0.25)),
        [(nearest.clone(), 0.25, 1.0)]
    );
    let irrelevant = judged(Judgement::irrelevant(query, "d").weight(3.0));
    let each = ids_of("d", 3).into_iter().map(|id| (id, -1.0, 1.0));
    assert_eq!(
        irrelevant,
        each.collect::<Vec<_>>(),
        "each has a share of the weight"
    );
    assert_eq!(
        judged(Judgement::relevant(query, "d#000001")),
        [("d#000001".into(), 1.0, 1.0)]
    );
    let like = Judgement::relevant(Query::like("i"), "d");
    assert_eq!(judged(like).len(), 1);
    let own = judged(Judgement::irrelevant(Query::like("d#000002"), "d"));
    let others: Vec<&str> = own.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(
        others,
        ["d#000001", "d#000003"],
        "a chunk is no answer to itself"
    );
    // Clicks on what was shown beside a document.
    notes
        .judge(Judgement::relevant(query, "i").shown(["d", "i"]))
        .expect("judged");
    let last = notes
        .judgements()
        .expect("read")
        .pop()
        .expect("it is there");
    assert_eq!(last.judgement.shown, [nearest, "i".into()]);
    let count = notes.judgement_count();
    for (judgement, message) in [
        (Judgement::relevant(query, "no such"), "no such"),
        (Judgement::similar("d", "i"), "\"d\""),
        (Judgement::relevant(Query::like("d"), "i"), "\"d\""),
    ] {
        let known = Judgement::irrelevant(query, "d");
        match notes.judge_all([known, judgement]) {
            Err(Error::InvalidJudgement { index: 1, source }) => {
                assert!(source.to_string().contains(message), "{source}");
            }
            other => panic!("no refusal of the second one: {other:?}"),
        }
    }
    assert_eq!(notes.judgement_count(), count, "all or none");
}
