//! What is sent and given as a file, and other encoders.

use serde_json::{Value, json};

use super::both::{Both, judgements, points, without_times};
use crate::home::{Home, lines};

/// A file of more items than a request holds, of which one is refused by its collection alone.
fn many(bad: usize) -> String {
    let items: Vec<_> = (0..1_200)
        .map(|i| {
            // Beyond what f16 holds.
            let last = if i == bad {
                1e6
            } else {
                f64::from(i as u32 % 7)
            };
            json!({"id": format!("m{i}"), "vector": [i % 2, 0, 1, last]})
        })
        .collect();
    lines(&items)
}

#[test]
fn a_file_is_added_as_a_whole_or_not_at_all() {
    let both = Both::new();
    both.same(&["create", "c", "--dim", "4", "--precision", "f16"]);
    both.home.write("many.jsonl", many(1_100));
    both.fails(&["add", "c", "many.jsonl"], &["many.jsonl", "line 1101"]);
    both.same(&["count", "c"]);
    let skipped = both.same(&["add", "c", "many.jsonl", "--skip-bad"]);
    assert_eq!(skipped[0]["skipped"][0]["place"], "line 1101");
    both.same(&["count", "c"]);
    both.home.write("many.jsonl", many(usize::MAX));
    both.fails(
        &["add", "c", "many.jsonl", "--mode", "insert"],
        &["many.jsonl", "line 1"],
    );
    both.same(&["add", "c", "many.jsonl"]);
    both.same(&["list", "c"]);
    // One that is refused for all of its items.
    both.home.write(
        "bad.jsonl",
        "{\"id\": \"x\", \"vector\": [0, 0, 0, 1e6]}\n{\"id\": \"y\", \"vector\": [0, 0, 0, 1e6]}\n",
    );
    both.fails(
        &["add", "c", "bad.jsonl", "--skip-bad"],
        &["bad.jsonl", "line 1"],
    );
    both.same(&["list", "c"]);
}

#[test]
fn collections_as_files_are_the_same() {
    let both = Both::new();
    let home = &both.home;
    let url = both.serving.url.as_str();
    both.same(&["create", "c", "--dim", "4"]);
    home.write("points.jsonl", points());
    both.same(&["add", "c", "points.jsonl"]);
    home.write("judgements.jsonl", judgements());
    both.same(&["judge", "c", "judgements.jsonl"]);
    both.same(&["refit", "c", "--force", "--seed", "5"]);
    let told = home.json(["export", "c", "here.jsonl", "--store", "here"]);
    let told_there = home.json(["export", "c", "there.jsonl", "--store", url]);
    for count in ["collection", "items", "judgements", "metrics"] {
        assert_eq!(told[count], told_there[count], "{count}");
    }
    let read = |name: &str| std::fs::read_to_string(home.path(name)).unwrap();
    let timeless = |text: &str| -> Vec<String> {
        let documents = text.lines().map(|line| {
            let mut document: Value = serde_json::from_str(line).unwrap();
            without_times(&mut document);
            document.to_string()
        });
        documents.collect()
    };
    assert_eq!(
        timeless(&read("here.jsonl")),
        timeless(&read("there.jsonl"))
    );
    let printed = home.ok(["export", "c", "-", "--store", url]);
    assert!(printed.stdout == read("there.jsonl") && printed.stderr.contains("80 items"));
    both.fails(&["export", "none", "none.jsonl"], &["none"]);
    assert!(!home.path("none.jsonl").exists());

    both.same(&["import", "d", "here.jsonl"]);
    both.same_text(&["import", "e", "here.jsonl"]);
    both.same(&["search", "d", "--like", "7"]);
    both.same(&["metrics", "d"]);
    both.fails(&["import", "d", "here.jsonl"], &["\"d\"", "exists"]);
    let piped = home.run_with(
        ["import", "f", "-", "--store", url],
        read("here.jsonl").as_bytes(),
    );
    assert_eq!(piped.status, Some(0), "{piped:?}");
    home.write("cut.jsonl", &read("here.jsonl")[..2_000]);
    both.fails(&["import", "g", "cut.jsonl"], &["cut.jsonl", "line"]);
    both.fails(
        &["import", "g", "points.jsonl"],
        &["points.jsonl", "affinis export"],
    );
    both.fails(&["import", "g", "missing.jsonl"], &["missing.jsonl"]);
    both.fails(&["count", "g"], &["\"g\""]);
}

#[test]
fn another_encoder_is_the_same() {
    use affinis_testkit::models::{NOT_NORMALISED, model, pooling};
    let home = Home::new();
    for (name, mode) in [("first", "mean_tokens"), ("second", "cls_token")] {
        let pooling = pooling(mode);
        let files = [NOT_NORMALISED, ("1_Pooling/config.json", pooling.as_str())];
        std::fs::create_dir_all(home.path("models")).unwrap();
        let made = model("tokens.onnx", &files).keep();
        std::fs::rename(made, home.path("models").join(name)).unwrap();
    }
    let both = Both::over(home, &["--encoder", "models"]);
    let home = &both.home;
    // The same command on both, of which each names the encoder in its way.
    let named = |args: &[&str], encoder: &str| {
        let directory = format!("models/{encoder}");
        let on = |store: &str, encoder: &str| {
            let more = ["--encoder", encoder, "--store", store];
            let mut told = home.json(args.iter().copied().chain(more));
            without_times(&mut told);
            told
        };
        let here = on("here", &directory);
        let there = on(&both.serving.url, encoder);
        assert_eq!(here["fingerprint"], there["fingerprint"]);
        assert_eq!(here["items"], there["items"]);
        (here, there)
    };
    named(&["create", "fruit"], "first");
    home.write(
        "fruit.jsonl",
        "{\"id\": \"a\", \"text\": \"red apple\"}\n{\"id\": \"b\", \"text\": \"green pear\"}\n{\"id\": \"c\", \"text\": \"blue plum\"}\n",
    );
    both.same(&["add", "fruit", "fruit.jsonl"]);
    home.write(
        "judged.jsonl",
        "{\"query\": \"red\", \"item\": \"a\", \"relevant\": true}\n",
    );
    both.same(&["judge", "fruit", "judged.jsonl"]);
    let (here, there) = named(&["reencode", "fruit"], "second");
    assert_eq!(here, there);
    both.same(&["search", "fruit", "blue plum"]);
    both.same(&["reencode", "fruit", "--back"]);
    both.same(&["search", "fruit", "blue plum"]);
    both.fails(&["reencode", "fruit", "--back"], &["fruit"]);
    both.same(&["drop", "fruit.reencoding", "--yes"]);
    let (here, there) = named(&["reencode", "fruit", "--commit"], "second");
    assert_eq!(here, there);
    assert_eq!(there["committed"], true);
    both.fails(&["reencode", "fruit", "--commit"], &["fruit"]);
    home.fails(
        [
            "reencode",
            "fruit",
            "--encoder",
            "models/first",
            "--store",
            &both.serving.url,
        ],
        1,
        &["models/first", "first, second"],
    );
}
