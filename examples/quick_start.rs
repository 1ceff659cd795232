//! A first program: stores texts, searches, judges answers, and refits the metric.
//!
//! `cargo run --example quick_start`

use affinis::{Item, Judgement, Store, encode::Onnx};
use affinis_mahalanobis::Mahalanobis;
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::builder()
        .plugin(Mahalanobis::default())
        .open(dir.path().join("notes.affinis"))?;
    let notes = store
        .collection("notes")
        .encoder(Onnx::embedded()?)
        .open_or_create()?;
    notes.add([
        Item::text("a1", "how to prune apple trees").with_meta(json!({"lang": "en"})),
        Item::text("a2", "feeding tomatoes in a greenhouse").with_meta(json!({"lang": "en"})),
        Item::text("a3", "changing the oil of a car").with_meta(json!({"lang": "en"})),
        Item::text("a4", "repairing a bicycle chain").with_meta(json!({"lang": "en"})),
    ])?;

    let hits = notes.search("fruit tree care").k(2).include_text().run()?;
    for hit in &hits {
        println!(
            "{}. {:<34} distance {:.3}",
            hit.rank,
            hit.text.as_deref().unwrap_or_default(),
            hit.distance
        );
    }

    notes.judge(Judgement::relevant("fruit tree care", &hits[0].id))?;
    notes.judge(Judgement::irrelevant("fruit tree care", "a3"))?;
    let report = notes.refit().run()?;
    println!(
        "version {:?}, promoted: {}: {}",
        report.version, report.promoted, report.gate.reason
    );
    Ok(())
}
