//! Several queries in one.

use affinis::{CombinedQuery, Distance, Error, Query};
use affinis_testkit::Random;
use affinis_testkit::exact::dot;
use affinis_testkit::stores::{fresh, ids};

use crate::{DIM, all, collection, items, message, same, vector};

#[test]
fn several_queries_in_one_are_their_mean_and_its_difference() {
    let (_dir, store) = fresh();
    let data = items(400, 23);
    let of = |id: &str| vector(data.iter().find(|item| item.id == id).expect("an item")).to_vec();
    for distance in [Distance::L2, Distance::Cosine, Distance::Dot] {
        let points = collection(&store, &data, distance);
        let prepared = |mut vector: Vec<f32>| -> Vec<f64> {
            if distance == Distance::Cosine {
                let norm = dot(&vector, &vector).sqrt() as f32;
                for x in &mut vector {
                    *x /= norm;
                }
            }
            vector.into_iter().map(f64::from).collect()
        };
        let given = Random(24).vector(DIM);
        let query = CombinedQuery::new()
            .like("p1")
            .positive(Query::like("p2"), 3.0)
            .positive(given.clone(), 2.0)
            .unlike("p3")
            .negative(Query::like("p4"), 0.5);
        let parts = |parts: &[(Vec<f32>, f64)]| -> Vec<f64> {
            let total: f64 = parts.iter().map(|(_, weight)| weight).sum();
            let mut mean = vec![0.0; DIM];
            for (vector, weight) in parts {
                for (sum, x) in mean.iter_mut().zip(prepared(vector.clone())) {
                    *sum += weight / total * x;
                }
            }
            mean
        };
        let wanted = parts(&[(of("p1"), 1.0), (of("p2"), 3.0), (given, 2.0)]);
        let unwanted = parts(&[(of("p3"), 1.0), (of("p4"), 0.5)]);
        let by_hand: Vec<f32> = wanted
            .iter()
            .zip(&unwanted)
            .map(|(p, n)| (2.0 * p - n) as f32)
            .collect();
        let own = ["p1", "p2", "p3", "p4"];
        let mut expected = all(&points, &by_hand).hits;
        expected.retain(|hit| !own.contains(&hit.id.as_str()));
        let found = points
            .search(query.clone())
            .k(396)
            .recall(1.0)
            .run()
            .expect("answers");
        assert_eq!(found.len(), 396);
        let alike = ids(&found)
            .iter()
            .zip(&expected)
            .filter(|(a, b)| **a == b.id)
            .count();
        assert!(alike > 390, "{distance}: {alike}");
        for (hit, expected) in found.iter().zip(&expected) {
            assert!(
                (hit.distance - expected.distance).abs() <= 1e-4 * expected.distance.abs() + 1e-5
            );
        }
        // It goes with the other settings, and beside single queries.
        let many = [
            affinis::SearchQuery::from(query.clone()),
            vec![0.5; DIM].into(),
        ];
        let many = points
            .search_many(many)
            .k(5)
            .offset(3)
            .run()
            .expect("answers");
        same(&many[0], &found[3..8]);
        assert_eq!(many[1].len(), 5);
        let error = points
            .search(query)
            .hide_rejected()
            .run()
            .expect_err("refused");
        assert!(message(error).contains("not judged"));
        let unknown = points
            .search(CombinedQuery::new().like("p1").unlike("nobody"))
            .run();
        assert!(
            matches!(unknown, Err(Error::UnknownId { .. })),
            "{unknown:?}"
        );
        message(
            points
                .search(CombinedQuery::new().unlike("p1"))
                .run()
                .expect_err("refused"),
        );
    }
    let points = store.collection("cosine").open().expect("opens");
    let nothing = CombinedQuery::new()
        .positive(vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0], 1.0)
        .positive(vec![-1.0, 0.0, 0.0, 0.0, 0.0, 0.0], 1.0);
    assert!(message(points.search(nothing).run().expect_err("refused")).contains("cancel"));
}
