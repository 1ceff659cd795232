//! Searches that are filtered by metadata.
//!
//! `cargo run --example filters`

use affinis::{Filter, Item, Store, encode::Onnx};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let books = store
        .collection("books")
        .encoder(Onnx::embedded()?)
        .create()?;
    books.add([
        Item::text("1", "a history of the sea and its sailors")
            .with_meta(json!({"year": 1998, "tags": ["history", "sea"]})),
        Item::text("2", "sailing for beginners")
            .with_meta(json!({"year": 2021, "tags": ["sport"], "price": {"eur": 20}})),
        Item::text("3", "ships that changed the world")
            .with_meta(json!({"year": 2015, "tags": ["history"]})),
        Item::text("4", "baking bread at home")
            .with_meta(json!({"year": 2020, "tags": ["kitchen"], "price": {"eur": 35}})),
    ])?;

    for filter in [
        json!({}),
        json!({"year": {"$gte": 2015}}),
        json!({"tags": "history"}),
        json!({"price.eur": {"$lt": 30}}),
        json!({"$or": [{"tags": {"$in": ["kitchen", "sport"]}}, {"year": {"$lt": 2000}}]}),
        json!({"price": {"$exists": false}}),
        json!({"$field": [["price", "eur"], {"$gte": 30}]}),
    ] {
        let hits = books
            .search("boats")
            .filter(Filter::from_json(&filter)?)
            .run()?;
        let ids: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
        println!("{:<76} {}", filter.to_string(), ids.join(" "));
    }

    let mistake = Filter::parse(r#"{"year": {"$gte": null}}"#).expect_err("a number is expected");
    println!("{mistake}");
    Ok(())
}
