//! Highlights, against places that are written by hand.

use affinis::encode::{EncodeError, Encoded, Encoder};
use affinis::{Collection, Distance, Highlight, HighlightBy, Hit, Item, Language, Query, Store};
use affinis_testkit::WordCounts;
use tempfile::TempDir;

use super::message;

const TEXT: &str = "The old mill stands still. Bees collect nectar from apple trees!\nNobody came.";
const OTHER: &str = "Ships cross the sea";

/// [`WordCounts`], of small letters without signs.
struct Plain(WordCounts);

impl Encoder for Plain {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn fingerprint(&self) -> &str {
        self.0.fingerprint()
    }

    fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        let plain = |text: &&str| text.to_lowercase().replace(['.', '!', '"', '+'], " ");
        let plain: Vec<String> = texts.iter().map(plain).collect();
        self.0
            .encode(&plain.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn notes(language: Option<Language>) -> (TempDir, Collection) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("opened");
    // By the angle, so that a short text is not near to everything.
    let mut notes = store
        .collection("notes")
        .encoder(Plain(WordCounts::new(64, "words")))
        .distance(Distance::Cosine);
    if let Some(language) = language {
        notes = notes.keywords(language);
    }
    let notes = notes.create().expect("created");
    notes
        .add([Item::text("a", TEXT), Item::text("b", OTHER)])
        .expect("added");
    (dir, notes)
}

/// The places of a hit, as what they hold.
fn held<'a>(hit: &Hit, text: &'a str) -> Vec<(&'a str, HighlightBy)> {
    let places = hit.highlights.as_deref().expect("highlights").iter();
    places
        .map(|place| (&text[place.start..place.end], place.by))
        .collect()
}

const BEES: (&str, HighlightBy) = (
    "Bees collect nectar from apple trees!",
    HighlightBy::Meaning,
);

fn word(text: &str) -> (&str, HighlightBy) {
    (text, HighlightBy::Words)
}

#[test]
fn words_and_the_nearest_sentence_are_marked() {
    let (_dir, notes) = notes(Some(Language::English));
    let hits = notes
        .search("nectar of apple tree")
        .highlights(true)
        .run()
        .expect("answers");
    let hit = hits.iter().find(|hit| hit.id == "a").expect("it is found");
    assert_eq!(
        held(hit, TEXT),
        [BEES, word("nectar"), word("apple"), word("trees")]
    );
    assert_eq!(
        hit.highlights.as_ref().expect("highlights")[1],
        Highlight::new(40..46, HighlightBy::Words)
    );
    assert_eq!(
        (&hit.text, &hit.meta),
        (&None, &None),
        "texts were not asked for"
    );
    let other = hits.iter().find(|hit| hit.id == "b").expect("it is found");
    assert_eq!(
        held(other, OTHER),
        [],
        "one sentence, and none of the words"
    );
    let with_text = notes.search("nectar").highlights(true).include_text().run();
    let with_text = with_text.expect("answers");
    let hit = with_text
        .iter()
        .find(|hit| hit.id == "a")
        .expect("it is found");
    assert_eq!(hit.text.as_deref(), Some(TEXT));
    let without = notes.search("nectar").run().expect("answers");
    assert!(without.iter().all(|hit| hit.highlights.is_none()));
}

#[test]
fn each_way_of_ranking_marks_the_same_places() {
    let (_dir, notes) = notes(Some(Language::English));
    let query = r#"+"apple trees" colect -ship"#;
    for search in [
        notes.search(query).hybrid(),
        notes.search(query).words_only(),
        notes.search(query),
    ] {
        let hits = search.k(1).highlights(true).run().expect("answers");
        let expected = [BEES, word("collect"), word("apple trees")];
        assert_eq!(held(&hits[0], TEXT), expected);
    }
    let many = notes
        .search_many(["apple", "nobody"])
        .k(1)
        .highlights(true)
        .run()
        .expect("answers");
    assert_eq!(held(&many[0][0], TEXT), [BEES, word("apple")]);
    let nobody = ("Nobody came.", HighlightBy::Meaning);
    assert_eq!(held(&many[1][0], TEXT), [word("Nobody"), nobody]);
}

#[test]
fn what_there_is_to_mark_depends_on_the_query_and_the_collection() {
    let (_dir, no_words) = notes(None);
    let hits = no_words
        .search("nectar")
        .k(1)
        .highlights(true)
        .run()
        .expect("answers");
    assert_eq!(held(&hits[0], TEXT), [BEES]);
    let (_dir, notes) = notes(Some(Language::English));
    notes
        .add([Item::text("c", "Bees collect nectar.")])
        .expect("added");
    let like = notes
        .search(Query::like("c"))
        .k(1)
        .highlights(true)
        .run()
        .expect("answers");
    assert_eq!(held(&like[0], TEXT), [BEES], "an item asks for no words");
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("opened");
    let points = store
        .collection("points")
        .dim(2)
        .keywords(Language::English);
    let points = points.create().expect("created");
    points
        .add([
            Item::vector("a", [1.0, 0.0]).with_text(TEXT),
            Item::vector("none", [0.5, 0.5]),
        ])
        .expect("added");
    let hits = points
        .search("bees")
        .words_only()
        .highlights(true)
        .run()
        .expect("answers");
    assert_eq!(held(&hits[0], TEXT), [word("Bees")], "without an encoder");
    let hits = points
        .search(vec![1.0, 0.0])
        .highlights(true)
        .run()
        .expect("answers");
    assert!(
        hits.iter()
            .all(|hit| hit.highlights.as_deref() == Some(&[]))
    );
}

#[test]
fn the_cost_of_highlights_is_bounded() {
    let (_dir, notes) = notes(None);
    let many = notes.search("x").k(1001).highlights(true).run();
    assert!(message(many.expect_err("too many")).contains("at most 1000 hits"));
    let groups = notes
        .search("x")
        .k(11)
        .group_by("n", 100)
        .highlights(true)
        .run();
    assert!(message(groups.expect_err("too many")).contains("1100"));
    let long = format!("{}Needle here. ", "Some hay. ".repeat(64));
    notes
        .add([
            Item::text("long", &*long),
            Item::text("wide", "hay ".repeat(200_000)),
        ])
        .expect("added");
    let hits = notes
        .search("needle")
        .highlights(true)
        .run()
        .expect("answers");
    let hit = hits
        .iter()
        .find(|hit| hit.id == "long")
        .expect("it is found");
    assert_eq!(
        held(hit, &long),
        [("Some hay.", HighlightBy::Meaning)],
        "only 64 are compared"
    );
}
