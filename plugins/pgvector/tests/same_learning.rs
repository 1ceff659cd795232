//! Learning on a table says what it says on an embedded collection, bit for bit.

mod common;

use affinis_mahalanobis::Mahalanobis;
use affinis_testkit::{life, stores};

#[test]
fn a_life_of_learning_is_the_same_on_a_table_and_in_a_store() {
    let Some(database) = common::database("life") else {
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    let store = stores::builder()
        .open(home.path().join("store"))
        .expect("opened");
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(life::items()).expect("added");
    let embedded = life::live(points.learning());

    for (id_type, class) in [("bigint", None), ("text", Some("vector_l2_ops"))] {
        database.run("DROP TABLE IF EXISTS points");
        database.fill(id_type, "vector", &life::items(), class);
        let postgres = database.connect();
        let table = postgres
            .attach(format!("points {id_type}"))
            .table("points")
            .distance(affinis::Distance::L2)
            .plugin(Mahalanobis::default())
            .open()
            .expect("attached");
        let on_table = life::live(table.learning());
        for (at, (embedded, on_table)) in embedded.iter().zip(&on_table).enumerate() {
            let on_table = on_table.replace(&format!("points {id_type}"), "points");
            assert_eq!(*embedded, on_table, "step {at} with ids of {id_type}");
        }
        assert_eq!(embedded.len(), on_table.len());
    }
}
