//! Texts that the encoder knows nothing of: refused by line, or left out, and never an answer.

use crate::home::Home;

fn home() -> Home {
    let home = Home::new();
    home.ok(["create", "c"]);
    home.write(
        "notes.jsonl",
        "{\"id\": \"a\", \"text\": \"reset the password of a router\"}\n{\"id\": \"b\", \"text\": \"😀😀\"}\n\n{\"id\": \"c\", \"text\": \"สวัสดี\"}\n",
    );
    home
}

#[test]
fn an_unknown_text_is_refused_with_its_line() {
    let home = home();
    home.fails(
        ["add", "c", "notes.jsonl"],
        1,
        &["notes.jsonl, line 2: ", "knows nothing of its text"],
    );
    assert_eq!(home.items(), 0);
}

#[test]
fn unknown_texts_can_be_left_out_and_are_listed() {
    let home = home();
    let added = home.json(["add", "c", "notes.jsonl", "--skip-bad"]);
    assert_eq!(added["added"], 1);
    let skipped = added["skipped"].as_array().unwrap();
    let places: Vec<&str> = skipped
        .iter()
        .map(|s| s["place"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["line 2", "line 4"]);
    let found = home.json(["search", "c", "how do I reset my router password"]);
    assert_eq!(found["hits"].as_array().unwrap().len(), 1);

    home.write("none.jsonl", "{\"id\": \"d\", \"text\": \"😀\"}\n");
    home.fails(
        ["add", "c", "none.jsonl", "--skip-bad"],
        1,
        &["none of its 1 items can be used", "line 1"],
    );
}

#[test]
fn an_unknown_text_is_no_query() {
    let home = home();
    home.ok(["add", "c", "notes.jsonl", "--skip-bad"]);
    let words = &["knows nothing of the text", "😀"];
    home.fails(["search", "c", "😀"], 1, words);
    home.fails(["explain", "c", "😀", "--item", "a"], 1, words);
    home.write(
        "judgements.jsonl",
        "{\"query\": \"router\", \"item\": \"a\", \"relevant\": true}\n{\"query\": \"😀\", \"item\": \"a\", \"relevant\": true}\n",
    );
    home.fails(
        ["judge", "c", "judgements.jsonl"],
        1,
        &[
            "judgements.jsonl, line 2: ",
            "knows nothing of the query's text",
        ],
    );
    assert_eq!(home.json(["stats", "c"])["judgements"], 0);
    home.write(
        "queries.jsonl",
        "{\"query\": \"router\", \"relevant\": [\"a\"]}\n{\"query\": \"😀\", \"relevant\": [\"a\"]}\n",
    );
    home.fails(
        ["evaluate", "c", "queries.jsonl"],
        1,
        &["queries.jsonl, line 2: ", "knows nothing of the text"],
    );
}
