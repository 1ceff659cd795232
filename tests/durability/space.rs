//! What compacting leaves: nothing of what was forgotten, and little besides what is live.
//!
//! `AFFINIS_REWRITES` says how many rewrites of the same items are made (1,000):
//! `AFFINIS_REWRITES=10000 cargo test --workspace --test durability space -- --nocapture`

use std::path::Path;

use affinis::{Forget, Item, Judgement, Query};

use crate::common::Random;
use crate::scene::{DIM, builder, fill, judgements};

/// How often the bytes stand in the files of a directory.
fn found(dir: &Path, needle: &[u8]) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).expect("read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            count += found(&path, needle);
        } else {
            let bytes = std::fs::read(path).expect("read");
            count += bytes
                .windows(needle.len())
                .filter(|window| *window == needle)
                .count();
        }
    }
    count
}

#[test]
fn nothing_of_what_was_forgotten_is_left_after_compacting() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    let store = builder().open(&path).expect("opened");
    let main = fill(&store).expect("filled");
    let question: Vec<f32> = (0..DIM)
        .map(|i| 0.123_456_7 + i as f32 * 0.000_317)
        .collect();
    let question_bytes: Vec<u8> = question.iter().flat_map(|x| x.to_le_bytes()).collect();
    main.judge_all(judgements("Guinevere of Camelot", 3))
        .expect("judged");
    main.judge(
        Judgement::relevant(question, "p3")
            .user("Guinevere of Camelot")
            .shown(["p4"]),
    )
    .expect("judged");
    main.add([Item::vector("the secret item", vec![9.0; DIM]).with_text("a text nobody else has")])
        .expect("added");
    main.judge(Judgement::relevant(Query::like("p5"), "the secret item").user("ann"))
        .expect("judged");
    main.refit()
        .user("Guinevere of Camelot")
        .force(true)
        .run()
        .expect("her own");
    main.refit().force(true).run().expect("learned");
    let learned = main
        .history()
        .expect("read")
        .versions
        .last()
        .expect("a version")
        .metric
        .clone();
    let matrix = &learned[24..56];
    let needles: [&[u8]; 5] = [
        b"Guinevere of Camelot",
        &question_bytes,
        b"the secret item",
        b"a text nobody else has",
        matrix,
    ];
    for needle in needles {
        assert!(
            found(&path, needle) > 0,
            "{:?} is to be found before",
            String::from_utf8_lossy(needle)
        );
    }
    main.forget(&Forget::User("Guinevere of Camelot".into()))
        .expect("forgotten");
    main.forget(&Forget::Item("the secret item".into()))
        .expect("forgotten");
    main.delete(&["the secret item"]).expect("deleted");
    drop((store, main));
    builder().compact(&path).expect("compacted");
    for needle in needles {
        assert_eq!(
            found(&path, needle),
            0,
            "{:?} is left",
            String::from_utf8_lossy(needle)
        );
    }
    assert!(found(&path, b"p3") > 0, "what was kept is kept");
}

#[test]
fn rewrites_refits_and_relinks_leave_a_bounded_store() {
    let rewrites = std::env::var("AFFINIS_REWRITES")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(1_000_usize);
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s");
    let store = builder().open(&path).expect("opened");
    let main = store.collection("main").dim(64).create().expect("made");
    let (batch, mut random) = (200, Random(3));
    let mut rewrite = || {
        let items: Vec<Item> = (0..batch)
            .map(|i| Item::vector(format!("p{i}"), random.vector(64)).with_text("x".repeat(200)))
            .collect();
        main.add(items).expect("added");
    };
    rewrite();
    main.judge_all(judgements("ann", 0)).expect("judged");
    for round in 0..20 {
        for _ in 0..=rewrites / batch / 20 {
            rewrite();
        }
        main.refit().force(true).run().expect("learned");
        if round % 2 == 0 {
            main.optimize().expect("relinked");
        }
    }
    let metrics: usize = main
        .history()
        .expect("read")
        .versions
        .iter()
        .map(|v| v.metric.len())
        .sum();
    // Numbers, ids and texts of the items, and the matrices, which are all kept.
    let live = batch * (64 * 4 + 200 + 8) + metrics;
    drop((store, main));
    let sizes = builder().compact(&path).expect("compacted");
    let ratio = sizes.after as f64 / live as f64;
    println!(
        "{rewrites} rewrites, 20 refits, 10 relinks: {} bytes before compacting, {} after, {ratio:.2} times the {live} live",
        sizes.before, sizes.after
    );
    assert!(ratio < 4.0, "{ratio:.2} times the live data");
}
