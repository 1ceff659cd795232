//! The commands `add`, `get` and `delete`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::home::{Home, keys, npy};

#[test]
fn get_prints_items_in_the_order_asked() {
    let home = Home::with_points();
    let items = home.all_json(["get", "c", "c", "b"]);
    assert_eq!(keys(&items[0]), ["id", "text", "vector", "meta"]);
    assert_eq!(
        items[0],
        json!({"id": "c", "text": null, "vector": [0.0, 2.0], "meta": {"year": 2021, "lang": "de"}})
    );
    assert_eq!(items[1]["text"], "the second");
    assert_eq!(home.json(["get", "c", "d"])["meta"], Value::Null);
}

#[test]
fn an_unknown_id_makes_get_and_delete_fail_without_effect() {
    let home = Home::with_points();
    home.fails(["get", "c", "a", "nobody", "--json"], 1, &["nobody"]);
    home.fails(["delete", "c", "a", "nobody"], 1, &["nobody"]);
    assert_eq!(home.items(), 4);
    assert_eq!(home.json(["delete", "c", "a", "b"]), json!({"deleted": 2}));
    assert_eq!(home.items(), 2);
    home.fails(["get", "c", "a"], 1, &["\"a\""]);
}

#[test]
fn add_replaces_an_item_whose_id_exists() {
    let home = Home::with_points();
    home.write(
        "more.jsonl",
        "{\"id\": \"a\", \"vector\": [9, 9]}\n{\"id\": \"new\", \"vector\": [8, 8]}\n",
    );
    let added = home.json(["add", "c", "more.jsonl"]);
    assert_eq!(
        (&added["added"], &added["replaced"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        home.json(["get", "c", "a"]),
        json!({"id": "a", "text": null, "vector": [9.0, 9.0], "meta": null})
    );
    assert_eq!(home.items(), 5);
    let hits = &home.json(["search", "c", "--like", "new"])["hits"];
    assert_eq!(
        (&hits[0]["id"], &hits[0]["distance"]),
        (&json!("a"), &json!(2.0))
    );
}

#[test]
fn every_format_is_read() {
    let home = Home::new();
    home.ok(["create", "c", "--dim", "2"]);
    home.write("x.csv", "u,v,kind\n1,2,first\n3,4,second\n");
    home.ok(["add", "c", "x.csv"]);
    let item = home.json(["get", "c", "1"]);
    assert_eq!(
        (&item["vector"], &item["meta"]),
        (&json!([3.0, 4.0]), &json!({"label": "second"}))
    );

    home.write("x.npy", npy(&[&[5.0, 6.0], &[7.0, 8.0]]));
    home.write("ids.txt", "left\nright\n");
    home.ok(["add", "c", "x.npy", "--ids", "ids.txt"]);
    assert_eq!(
        home.json(["get", "c", "right"])["vector"],
        json!([7.0, 8.0])
    );
    home.ok(["delete", "c", "0", "1"]);
    let npy = home.run_with(["add", "c", "-", "--format", "npy"], &npy(&[&[0.5, 0.25]]));
    assert_eq!(npy.status, Some(0), "{npy:?}");
    assert_eq!(home.json(["get", "c", "0"])["vector"], json!([0.5, 0.25]));

    let jsonl = home.run_with(["add", "c", "-"], b"\n{\"vector\": [1, 1]}\n");
    assert_eq!(jsonl.status, Some(0), "{jsonl:?}");
    assert_eq!(home.json(["get", "c", "1"])["vector"], json!([1.0, 1.0]));
}

#[test]
fn texts_are_encoded_by_the_built_in_model() {
    let home = Home::new();
    home.ok(["create", "notes"]);
    home.write(
        "notes.tsv",
        "garden\thow to prune apple trees\nkitchen\tsharpening a knife\ngarden\twatering tomatoes\n",
    );
    home.ok(["add", "notes", "notes.tsv"]);
    let found = home.json(["search", "notes", "fruit tree care", "-k", "2"]);
    assert_eq!(
        (&found["query"], &found["hits"][0]["id"]),
        (&json!("fruit tree care"), &json!("0"))
    );
    assert_eq!(found["hits"][0]["text"], "how to prune apple trees");
    assert_eq!(found["hits"][0]["meta"], json!({"label": "garden"}));
    assert_eq!(found["hits"].as_array().unwrap().len(), 2);
    let ids: BTreeSet<&str> = found["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| h["id"].as_str().unwrap())
        .collect();
    assert!(ids.contains("2"), "{found}");
}
