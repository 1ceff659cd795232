//! Keyword and hybrid search of a store: what is found follows every write, survives closing,
//! damage, backup and compaction, and is ranked as the two rankings say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use affinis::{
    AddMode, Collection, Error, Filter, Hits, Item, Language, MetricChoice, Plan, Query, Store,
};
use affinis_testkit::Random;
use serde_json::json;

const WORDS: [&str; 12] = [
    "amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "jetty",
    "knoll", "lagoon",
];

fn item(id: &str, text: &str, at: f32) -> Item {
    Item {
        text: Some(text.to_owned()),
        ..Item::vector(id, [at, 1.0])
    }
}

/// A text of a few words, drawn with unequal chances.
fn text(random: &mut Random) -> String {
    let mut word = || WORDS[random.below(12).min(random.below(12))];
    let words: Vec<&str> = (0..3).map(|_| word()).collect();
    words.join(" ")
}

fn ids(hits: &Hits) -> BTreeSet<String> {
    hits.iter().map(|hit| hit.id.clone()).collect()
}

fn scores(hits: &Hits) -> Vec<(&str, f32)> {
    let hits = hits.iter();
    hits.map(|hit| (hit.id.as_str(), hit.score)).collect()
}

fn found(points: &Collection, words: &str) -> BTreeSet<String> {
    let hits = points.search(words).words_only().k(10_000).run();
    ids(&hits.expect("searched"))
}

fn create(path: &Path, language: Language) -> (Store, Collection) {
    let store = Store::open(path).expect("opened");
    let points = store.collection("points").dim(2).keywords(language);
    let points = points.create().expect("created");
    (store, points)
}

fn open(path: &Path) -> (Store, Collection) {
    let store = Store::open(path).expect("opened");
    let points = store.collection("points").open().expect("opened");
    (store, points)
}

/// The files of the keyword index.
fn files(path: &Path) -> Vec<PathBuf> {
    let dir = path.join("sled").join("segments");
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("words-"))
        })
        .collect()
}

#[test]
fn an_item_is_found_from_its_addition_to_its_removal() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = create(dir.path(), Language::English);
    assert_eq!(points.keywords(), Some(Language::English));
    assert!(found(&points, "birch").is_empty());
    points
        .add([item("a", "birches in amber", 0.0), item("b", "a dune", 1.0)])
        .expect("added");
    assert_eq!(found(&points, "birch"), BTreeSet::from(["a".to_owned()]));
    points.add([Item::vector("c", [2.0, 1.0])]).expect("added");
    points.add([item("a", "cedar", 0.0)]).expect("replaced");
    assert!(found(&points, "birch").is_empty());
    assert_eq!(found(&points, "cedars"), BTreeSet::from(["a".to_owned()]));
    // An update of the metadata keeps the text, and one of the text replaces it.
    let update = |item| points.add_as(AddMode::Update, [item]).expect("updated");
    update(Item {
        id: "a".into(),
        meta: json!({"n": 1}),
        ..Item::default()
    });
    assert_eq!(found(&points, "cedar"), BTreeSet::from(["a".to_owned()]));
    update(Item {
        id: "c".into(),
        text: Some("cedar grove".into()),
        ..Item::default()
    });
    assert_eq!(found(&points, "cedar").len(), 2);
    points.delete(&["a"]).expect("deleted");
    assert_eq!(found(&points, "cedar"), BTreeSet::from(["c".to_owned()]));
    points.set_keywords(None).expect("off");
    let error = points
        .search("cedar")
        .words_only()
        .run()
        .expect_err("off")
        .to_string();
    assert!(error.contains("keyword search is off"), "{error}");
    points.set_keywords(Some(Language::Simple)).expect("on");
    assert_eq!(found(&points, "cedar"), BTreeSet::from(["c".to_owned()]));
    assert!(
        found(&points, "cedars").contains("c"),
        "an unknown word stands for its neighbours"
    );
    assert_eq!(
        points.stats().expect("figures").keywords.expect("on").texts,
        2
    );
}

/// Random writes, closings and damage: after each, every word finds what holds it.
#[test]
fn every_word_finds_what_holds_it_after_any_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut random = Random(11);
    let mut texts: Vec<Option<String>> = vec![None; 400];
    let (mut store, mut points) = create(dir.path(), Language::Simple);
    for round in 0..60 {
        match random.below(10) {
            0 => {
                drop((points, store));
                if random.below(2) == 0 {
                    for file in files(dir.path()) {
                        let mut bytes = fs::read(&file).expect("read");
                        let at = random.below(bytes.len());
                        bytes[at] ^= 1 << random.below(8);
                        fs::write(&file, bytes).expect("written");
                    }
                }
                (store, points) = open(dir.path());
            }
            1 => points.settle().expect("settled"),
            2 | 3 => {
                let gone = random.below(40);
                let gone: Vec<usize> = (0..gone).map(|_| random.below(texts.len())).collect();
                let gone: BTreeSet<usize> =
                    gone.into_iter().filter(|i| texts[*i].is_some()).collect();
                let names: Vec<String> = gone.iter().map(ToString::to_string).collect();
                points.delete(&names).expect("deleted");
                for i in gone {
                    texts[i] = None;
                }
            }
            4 if round > 20 => points.optimize().expect("optimized"),
            _ => {
                let fresh: BTreeSet<usize> = (0..=random.below(60))
                    .map(|_| random.below(texts.len()))
                    .collect();
                for i in &fresh {
                    texts[*i] = Some(text(&mut random));
                }
                let items = fresh.iter().map(|i| {
                    item(
                        &i.to_string(),
                        texts[*i].as_deref().unwrap_or_default(),
                        *i as f32,
                    )
                });
                points.add(items).expect("added");
            }
        }
        for word in [WORDS[0], WORDS[5], WORDS[random.below(12)]] {
            let holds = |text: &Option<String>| text.as_ref().is_some_and(|t| t.contains(word));
            let expected: BTreeSet<String> = (0..texts.len())
                .filter(|i| holds(&texts[*i]))
                .map(|i| i.to_string())
                .collect();
            assert_eq!(found(&points, word), expected, "round {round}, {word}");
        }
    }
}

/// A write that is being committed must not be passed over by a search beside it.
#[test]
fn what_is_added_beside_searches_is_found_for_good() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = create(dir.path(), Language::Simple);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                found(&points, "amber");
            }
        });
        for i in 0..400 {
            let added = points.add([item(&i.to_string(), &format!("amber word{i}x"), i as f32)]);
            added.expect("added");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(found(&points, "amber").len(), 400);
    for i in 0..400 {
        let word = format!("+word{i}x");
        assert_eq!(found(&points, &word), BTreeSet::from([i.to_string()]));
    }
}

/// A collection of 5,000 texts, large enough for files of its keyword index.
fn large(path: &Path) -> (Store, Collection) {
    let (store, points) = create(path, Language::English);
    let mut random = Random(3);
    let items = (0..5000).map(|i| {
        let text = format!("{} secretword{i}", text(&mut random));
        let meta = json!({"even": i % 2 == 0});
        item(&i.to_string(), &text, i as f32).with_meta(meta)
    });
    points.add(items).expect("added");
    points.settle().expect("settled");
    (store, points)
}

#[test]
fn an_index_is_opened_from_its_files_and_made_again_where_they_are_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = large(dir.path());
    let query = "+amber birch -cedar secretword77";
    let before = points
        .search(query)
        .words_only()
        .k(50)
        .run()
        .expect("searched");
    assert_eq!(before.len(), 50);
    assert_eq!(before.execution.plan, Plan::Words);
    drop((points, store));
    assert!(!files(dir.path()).is_empty());
    let harms: [&dyn Fn(&Path); 4] = [
        &|_| (),
        &|file| fs::remove_file(file).expect("removed"),
        &|file| fs::write(file, b"AFFSEGMT").expect("written"),
        &|file| {
            let mut bytes = fs::read(file).expect("read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(file, bytes).expect("written");
        },
    ];
    for harm in harms {
        for file in files(dir.path()) {
            harm(&file);
        }
        let (store, points) = open(dir.path());
        let after = points
            .search(query)
            .words_only()
            .k(50)
            .run()
            .expect("searched");
        assert_eq!(scores(&after), scores(&before));
        assert_eq!(files(dir.path()).len(), 1);
        drop((points, store));
    }
}

#[test]
fn copies_answer_alike_and_hold_no_word_of_what_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
    let (store, points) = large(&path);
    points.delete(&["4242"]).expect("deleted");
    let query = "amber secretword4241";
    let before = points
        .search(query)
        .words_only()
        .k(9)
        .run()
        .expect("searched");
    store.backup(&copy).expect("copied");
    drop((points, store));
    Store::builder().compact(&path).expect("compacted");
    for path in [&path, &copy] {
        let (store, points) = open(path);
        assert!(found(&points, "+secretword4242").is_empty());
        let after = points
            .search(query)
            .words_only()
            .k(9)
            .run()
            .expect("searched");
        assert_eq!(ids(&after), ids(&before));
        points.settle().expect("settled");
        drop((points, store));
        let holds = |file: PathBuf| {
            let bytes = fs::read(file).expect("read");
            bytes.windows(14).any(|bytes| bytes == b"secretword4242")
        };
        let mut all = vec![path.clone()];
        while let Some(entry) = all.pop() {
            if entry.is_dir() {
                all.extend(
                    fs::read_dir(entry)
                        .expect("read")
                        .flatten()
                        .map(|e| e.path()),
                );
            } else {
                assert!(!holds(entry.clone()), "{}", entry.display());
            }
        }
    }
}

#[test]
fn a_dropped_collection_leaves_no_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = large(dir.path());
    assert!(!files(dir.path()).is_empty());
    points.set_keywords(None).expect("off");
    assert!(files(dir.path()).is_empty());
    points.set_keywords(Some(Language::English)).expect("on");
    assert!(!files(dir.path()).is_empty());
    drop(points);
    store.drop_collection("points").expect("dropped");
    assert!(files(dir.path()).is_empty());
}

#[test]
fn settings_are_kept_and_must_agree() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, points) = create(dir.path(), Language::German);
    drop(points);
    let open = |language| store.collection("points").keywords(language).open();
    assert_eq!(
        open(Language::German).expect("opened").keywords(),
        Some(Language::German)
    );
    let error = open(Language::French).expect_err("another").to_string();
    assert!(
        error.contains("keywords") && error.contains("de") && error.contains("fr"),
        "{error}"
    );
    assert_eq!("sv".parse::<Language>().expect("known"), Language::Swedish);
    assert!(
        "klingon"
            .parse::<Language>()
            .expect_err("unknown")
            .to_string()
            .contains("simple")
    );
}

#[test]
fn filters_and_hidden_items_restrict_words() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, points) = large(dir.path());
    let even = Filter::from_json(&json!({"even": true})).expect("a filter");
    let hits = points
        .search("amber")
        .words_only()
        .filter(even)
        .k(200)
        .run()
        .expect("searched");
    assert_eq!(hits.len(), 200);
    assert!(
        hits.iter()
            .all(|hit| hit.id.parse::<u32>().expect("a number") % 2 == 0)
    );
    assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
    let all = points
        .search("amber")
        .words_only()
        .k(10_000)
        .run()
        .expect("searched");
    let expected: Vec<&str> = all
        .iter()
        .filter(|hit| hit.id.parse::<u32>().expect("a number") % 2 == 0)
        .map(|hit| hit.id.as_str())
        .collect();
    let lowest = hits.last().expect("hits").score;
    for (hit, id) in hits.iter().zip(expected) {
        assert!(
            hit.id == id || hit.score == lowest,
            "ties at the end may differ"
        );
    }
}

#[cfg(feature = "embedded-model")]
mod hybrid {
    use super::*;
    use affinis::encode::Onnx;

    const TEXTS: [(&str, &str); 6] = [
        ("ssl", "libssl3: cryptography for network connections"),
        ("zip", "zlib1g: compression of files"),
        ("tls", "encrypted sockets and certificates"),
        ("img", "viewer for pictures and photographs"),
        ("cwe", "a fix of CWE-79 in the web server"),
        ("cat", "prints the contents of documents"),
    ];

    fn packages(path: &Path) -> (Store, Collection) {
        let store = Store::open(path).expect("opened");
        let packages = store
            .collection("packages")
            .encoder(Onnx::embedded().expect("a model"));
        let packages = packages
            .keywords(Language::English)
            .create()
            .expect("created");
        packages
            .add(TEXTS.map(|(id, text)| Item::text(id, text)))
            .expect("added");
        (store, packages)
    }

    #[test]
    fn a_hybrid_score_is_closeness_and_the_share_of_the_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let (_store, packages) = packages(dir.path());
        for query in [
            "secure network sockets",
            "libssl3 compression",
            "photo",
            "CWE-79",
        ] {
            let run = |search: affinis::Search| search.k(6).run().expect("searched");
            let meaning = run(packages.search(query));
            let words = run(packages.search(query).words_only());
            let both = run(packages.search(query).hybrid());
            let (third, last) = (meaning[2].distance, meaning[5].distance);
            assert_eq!(both.len(), 6);
            assert!(both.is_sorted_by(|a, b| a.score >= b.score));
            let mut of_average = None;
            for hit in &both {
                let share = hit.score - (last - hit.distance) / (last - third);
                match hit.keyword_score {
                    None => assert!(share.abs() < 1e-4, "{hit:?}"),
                    Some(score) => {
                        let found = score / share;
                        let expected = *of_average.get_or_insert(found);
                        assert!((found - expected).abs() < 1e-2 * expected, "{hit:?}");
                    }
                }
                let distance = meaning.iter().find(|m| m.id == hit.id).map(|m| m.distance);
                assert_eq!(Some(hit.distance), distance);
                let keyword = words
                    .iter()
                    .find(|w| w.id == hit.id)
                    .and_then(|w| w.keyword_score);
                assert_eq!(hit.keyword_score, keyword);
            }
            for hit in &words {
                assert_eq!(hit.keyword_score, Some(hit.score));
                assert!(hit.distance >= 0.0);
            }
        }
        let hits = packages
            .search("CWE-79")
            .hybrid()
            .k(1)
            .include_text()
            .run()
            .expect("searched");
        assert_eq!(hits[0].id, "cwe");
        assert!(
            hits[0]
                .text
                .as_ref()
                .is_some_and(|text| text.contains("CWE-79"))
        );
        let many = packages
            .search_many(["CWE-79", "photo"])
            .hybrid()
            .k(3)
            .run()
            .expect("searched");
        assert_eq!(
            many[1].hits,
            packages
                .search("photo")
                .hybrid()
                .k(3)
                .run()
                .expect("one")
                .hits
        );
    }

    #[test]
    fn a_text_that_the_encoder_does_not_know_is_found_by_its_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let (_store, packages) = packages(dir.path());
        let thai = "สวัสดี";
        packages
            .add([Item {
                text: Some(format!("hello {thai}")),
                ..Item::text("th", "hello")
            }])
            .expect("added");
        assert!(matches!(
            packages.search(thai).run(),
            Err(Error::UnknownText { .. })
        ));
        for search in [
            packages.search(thai).hybrid(),
            packages.search(thai).words_only(),
        ] {
            let hits = search.run().expect("searched");
            assert_eq!(
                hits.iter().map(|h| h.id.as_str()).collect::<Vec<_>>(),
                ["th"]
            );
            assert!(hits[0].distance.is_nan() && hits[0].keyword_score.is_some());
        }
        let many = packages
            .search_many([thai, "compression"])
            .hybrid()
            .k(1)
            .run()
            .expect("searched");
        assert_eq!(
            (many[0][0].id.as_str(), many[1][0].id.as_str()),
            ("th", "zip")
        );
    }

    #[test]
    fn operators_restrict_both_rankings() {
        let dir = tempfile::tempdir().expect("a directory");
        let (_store, packages) = packages(dir.path());
        let found = |query: &str| ids(&packages.search(query).hybrid().run().expect("searched"));
        let all: BTreeSet<String> = TEXTS.iter().map(|(id, _)| (*id).to_owned()).collect();
        assert_eq!(found("pictures"), all);
        assert_eq!(
            found("pictures +of"),
            BTreeSet::from(["zip", "cwe", "cat"].map(str::to_owned))
        );
        let without: BTreeSet<String> = all.iter().filter(|id| *id != "img").cloned().collect();
        assert_eq!(found("images -pictures"), without);
        assert!(found("-pictures").is_empty());
        // What is excluded is not meant either.
        let hits = |query: &str| {
            packages
                .search(query)
                .hybrid()
                .run()
                .expect("searched")
                .hits
        };
        let distance = |query: &str, id: &str| {
            hits(query)
                .iter()
                .find(|hit| hit.id == id)
                .map(|hit| hit.distance)
        };
        assert_eq!(
            distance("compression -pictures", "zip"),
            distance("compression", "zip")
        );
    }

    #[test]
    fn words_need_a_text() {
        let dir = tempfile::tempdir().expect("a directory");
        let (_store, packages) = packages(dir.path());
        let query = Query::Vector(vec![0.1; packages.dim()]);
        let error = packages.search(query).hybrid().run().expect_err("no text");
        assert!(matches!(error, Error::InvalidQuery(_)), "{error}");
        let built_in = packages
            .search("photo")
            .hybrid()
            .metric(MetricChoice::BuiltIn)
            .run();
        assert_eq!(built_in.expect("searched").len(), 6);
    }
}
