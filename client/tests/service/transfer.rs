//! Files: collections that go out and come in, and items that are added all at once.

use std::io::Read as _;

use affinis::{AddMode, Item, Query};
use affinis_client::MAX_BATCH_ITEMS;

use crate::judgements;
use crate::serving::{Serving, points};

#[test]
fn a_collection_goes_out_and_comes_in() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), None);
    let collection = serving.points(80);
    let client = collection.client();
    collection.judge(&judgements()).expect("judged");
    collection.refit().force(true).run().expect("learned");
    let mut export = collection.export().expect("exported");
    let header = export.header();
    assert_eq!(
        (header.settings.items, header.judgements, header.metrics),
        (80, 120, 1)
    );
    let mut file = Vec::new();
    export.read_to_end(&mut file).expect("read");
    // With a length, and as it comes.
    for (name, length) in [("known", Some(file.len() as u64)), ("unknown", None)] {
        let job = client.import(name, file.as_slice(), length).expect("sent");
        let imported = job.wait().expect("imported");
        assert_eq!((imported.items, imported.metrics), (80, 1));
        let ask = |name: &str| {
            let answer = client.collection(name).search(Query::like("0001")).run();
            answer.expect("an answer").hits
        };
        assert_eq!(ask(name), ask("c"));
        let again = client.import(name, file.as_slice(), length);
        assert!(again.is_err_and(|error| error.is("already-exists")));
    }
    let cut = &file[..file.len() / 2];
    let job = client.import("cut", cut, None).expect("sent");
    assert!(job.wait().is_err_and(|error| error.is("invalid-input")));
    let missing = client.collection("cut").export();
    assert!(missing.is_err_and(|error| error.is("not-found")));
}

#[test]
fn many_items_are_added_all_or_none() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), None);
    let collection = serving.points(2);
    let count = 3 * MAX_BATCH_ITEMS;
    let mut items: Vec<Item> = points(count).collect();
    items[count - 1].vector = Some(vec![1.0]);
    let adding = collection.add_all(items.clone());
    assert!(adding.run().is_err_and(|error| error.is("invalid-input")));
    let adding = collection.add_all(items.clone()).mode(AddMode::Insert);
    assert!(
        adding
            .skip_bad(true)
            .run()
            .is_err_and(|error| error.is("already-exists"))
    );
    assert_eq!(collection.count(None).expect("counted"), 2);
    let adding = collection.add_all(items).skip_bad(true);
    let added = adding.run().expect("added");
    assert_eq!((added.added.added, added.added.replaced), (count - 3, 2));
    assert_eq!(added.skipped[0].line, count as u64);
    let none = collection.add_all([]).run();
    assert!(none.is_err_and(|error| error.is("invalid-input")));
}

#[test]
fn encoders_are_listed_and_a_collection_without_one_is_not_encoded() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), None);
    let collection = serving.points(2);
    let encoders = collection.client().encoders().expect("listed");
    assert_eq!(encoders[0], "embedded");
    let unknown = collection.reencode("none").run();
    assert!(unknown.is_err_and(|error| error.is("not-found")));
    // Points have no texts.
    assert!(collection.reencode("embedded").run().is_err());
    assert!(collection.reencode_back().is_err());
    assert!(collection.reencode_commit().is_err());
}
