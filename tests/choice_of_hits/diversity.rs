//! Diversity.

use affinis::{Distance, Hits, Item};
use affinis_testkit::Random;
use affinis_testkit::exact::{cosine, dot, l2};
use affinis_testkit::stores::{fresh, ids};

use crate::{DIM, all, collection, items, message, same, vector};

/// Maximal marginal relevance by its definition.
fn diverse(
    pool: &[(String, Vec<f32>, f64)],
    k: usize,
    diversity: f64,
    distance: impl Fn(&[f32], &[f32]) -> f64,
) -> Vec<String> {
    let share = |x: f64, least: f64, greatest: f64| {
        if greatest > least {
            ((greatest - x) / (greatest - least)).clamp(0.0, 1.0)
        } else {
            1.0
        }
    };
    let (nearest, farthest) = (pool[0].2, pool[pool.len() - 1].2);
    let own = distance(&pool[0].1, &pool[0].1);
    let widest = pool
        .iter()
        .map(|other| distance(&pool[0].1, &other.1))
        .fold(own, f64::max);
    let mut chosen = vec![0];
    while chosen.len() < k.min(pool.len()) {
        let value = |at: usize| {
            let similar = chosen
                .iter()
                .map(|&j: &usize| share(distance(&pool[j].1, &pool[at].1), own, widest));
            (1.0 - diversity) * share(pool[at].2, nearest, farthest)
                - diversity * similar.fold(0.0, f64::max)
        };
        let next = (0..pool.len()).filter(|at| !chosen.contains(at));
        let best = next.reduce(|a, b| if value(b) > value(a) { b } else { a });
        chosen.push(best.expect("one is left"));
    }
    chosen.into_iter().map(|at| pool[at].0.clone()).collect()
}

#[test]
fn diversity_chooses_as_its_formula_says() {
    let (_dir, store) = fresh();
    let data = items(500, 20);
    let normalised = |vector: &[f32]| -> Vec<f32> {
        let norm = dot(vector, vector).sqrt() as f32;
        vector.iter().map(|x| x / norm).collect()
    };
    type By = fn(&[f32], &[f32]) -> f64;
    for (distance, by) in [
        (Distance::L2, l2 as By),
        (Distance::Cosine, cosine as By),
        (Distance::Dot, |x, y| -dot(x, y)),
    ] {
        let points = collection(&store, &data, distance);
        let mut random = Random(21);
        for (k, diversity) in [
            (10, 0.0),
            (10, 0.3),
            (10, 0.7),
            (20, 1.0),
            (1, 0.5),
            (400, 0.5),
        ] {
            let query = random.vector(DIM);
            let whole = all(&points, &query);
            let pool: Vec<(String, Vec<f32>, f64)> = whole[..whole.len().min((3 * k).max(30))]
                .iter()
                .map(|hit| {
                    let item = data.iter().find(|item| item.id == hit.id).expect("an item");
                    let vector = match distance {
                        Distance::Cosine => normalised(vector(item)),
                        _ => vector(item).to_vec(),
                    };
                    (hit.id.clone(), vector, f64::from(hit.distance))
                })
                .collect();
            let search = points.search(query).k(k).recall(1.0);
            let found = search.diversity(diversity).run().expect("answers");
            let expected = diverse(&pool, k, diversity, by);
            // The hand's arithmetic rounds differently, which may exchange two late choices.
            let alike = ids(&found)
                .iter()
                .zip(&expected)
                .filter(|(a, b)| **a == b.as_str())
                .count();
            assert!(
                alike * 20 >= expected.len() * 19,
                "{distance} {k} {diversity}: {alike} of {}",
                expected.len()
            );
            assert_eq!(found.len(), expected.len());
            assert!(found.iter().zip(1..).all(|(hit, rank)| hit.rank == rank));
            for hit in &found {
                let there = whole
                    .iter()
                    .find(|other| other.id == hit.id)
                    .expect("a hit");
                assert_eq!((hit.distance, hit.score), (there.distance, there.score));
            }
            if diversity == 0.0 {
                same(&found, &whole[..k]);
            }
        }
        for (k, diversity) in [(10, -0.1), (10, 1.1), (10, f64::NAN), (1_001, 0.5)] {
            let search = points.search(vec![0.1; DIM]).k(k).diversity(diversity);
            message(search.run().expect_err("refused"));
        }
    }
}

#[test]
fn copies_come_once_where_hits_are_to_differ() {
    let (_dir, store) = fresh();
    let mut data = items(300, 22);
    for i in 0..20 {
        data.push(Item::vector(format!("copy{i}"), vec![0.1; DIM]));
    }
    let points = collection(&store, &data, Distance::L2);
    let search = || points.search(vec![0.1; DIM]).k(10);
    let copies = |hits: &Hits| hits.iter().filter(|hit| hit.id.starts_with("copy")).count();
    assert_eq!(copies(&search().run().expect("answers")), 10);
    assert_eq!(copies(&search().diversity(0.7).run().expect("answers")), 1);
}
