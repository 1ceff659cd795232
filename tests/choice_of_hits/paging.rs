//! Pages, thresholds and ranges.

use std::collections::HashSet;

use affinis::{
    Collection, Distance, Error, FIRST_PAGE, Filter, Hit, Item, Judgement, MetricChoice, Query,
};
use affinis_testkit::Random;
use affinis_testkit::stores::{builder, fresh};
use serde_json::json;

use crate::{DIM, all, collection, items, message, same};

#[test]
fn an_offset_goes_on_where_the_hits_before_it_end() {
    let (_dir, store) = fresh();
    let points = collection(&store, &items(500, 1), Distance::L2);
    let query = Random(2).vector(DIM);
    let whole = all(&points, &query);
    for (k, offset) in [(10, 0), (10, 7), (100, 450), (10, 500), (1, 9_999)] {
        let page = points
            .search(query.clone())
            .k(k)
            .offset(offset)
            .run()
            .expect("answers");
        let from = offset.min(500);
        same(&page, &whole[from..(offset + k).min(500).max(from)]);
        for (hit, rank) in page.iter().zip(offset + 1..) {
            assert_eq!(hit.rank, rank);
        }
    }
    for (k, offset) in [(1, 10_000), (10_000, 1), (1, usize::MAX)] {
        let search = points.search(query.clone()).k(k).offset(offset);
        let error = message(search.run().expect_err("too far"));
        assert!(
            error.contains("offset") && error.contains("10000"),
            "{error}"
        );
    }
    // Each of many queries has its own page.
    let many = points
        .search_many([query.clone(), query])
        .k(3)
        .offset(4)
        .run()
        .expect("answers");
    same(&many[1], &whole[4..7]);
}

#[test]
fn a_threshold_keeps_what_is_near_and_a_range_finds_all_of_it() {
    let (_dir, store) = fresh();
    let data = items(700, 3);
    for distance in [Distance::L2, Distance::Cosine, Distance::Dot] {
        let points = collection(&store, &data, distance);
        points.delete(&["p5", "p6"]).expect("deleted");
        let query = Random(4).vector(DIM);
        let whole = all(&points, &query);
        for count in [0, 1, 17, 400, 698] {
            let limit = match count {
                0 => whole[0].distance - 0.5,
                count => whole[count - 1].distance,
            };
            let expected: Vec<Hit> = whole
                .iter()
                .filter(|hit| hit.distance <= limit)
                .cloned()
                .collect();
            let search = points.search(query.clone()).k(50).max_distance(limit);
            same(
                &search.run().expect("answers"),
                &expected[..expected.len().min(50)],
            );
            let range = points.within(query.clone(), limit).run().expect("answers");
            assert_eq!(range.len(), expected.len());
            let range: Vec<Hit> = range.collect::<Result<_, _>>().expect("hits");
            same(&range, &expected);
            assert!(range.iter().zip(1..).all(|(hit, rank)| hit.rank == rank));
        }
        let filter = Filter::from_json(&json!({"even": true})).expect("a filter");
        let like = points
            .within(Query::like("p8"), f32::MAX)
            .filter(filter)
            .include_meta();
        let like: Vec<Hit> = like
            .run()
            .expect("answers")
            .collect::<Result<_, _>>()
            .expect("hits");
        assert_eq!(
            like.len(),
            350 - 2,
            "the deleted one and the query are left out"
        );
        assert!(
            like.iter()
                .all(|hit| hit.meta.as_ref().expect("metadata")["even"] == true)
        );
        for limit in [f32::NAN, f32::INFINITY] {
            message(
                points
                    .within(query.clone(), limit)
                    .run()
                    .expect_err("no distance"),
            );
            let search = points.search(query.clone()).max_distance(limit);
            message(search.run().expect_err("no distance"));
        }
        let cancelled = points.within(query, 1.0).cancel(|| true).run();
        assert!(matches!(cancelled, Err(Error::Cancelled)));
    }
}

/// All pages of a search.
fn pages(points: &Collection, query: &[f32], k: usize, mut between: impl FnMut(usize)) -> Vec<Hit> {
    let mut cursor = FIRST_PAGE.to_owned();
    let mut shown: Vec<Hit> = Vec::new();
    for page in 0.. {
        let search = points.search(query.to_vec()).k(k).recall(1.0);
        let hits = search.cursor(cursor).run().expect("a page");
        for hit in &hits {
            assert_eq!(hit.rank, shown.len() + 1);
            shown.push(hit.clone());
        }
        match hits.cursor {
            Some(next) => cursor = next,
            None => break,
        }
        assert_eq!(hits.hits.len(), k, "a page with another after it is full");
        between(page);
    }
    shown
}

#[test]
fn pages_by_cursor_are_the_whole_in_pieces() {
    let (_dir, store) = fresh();
    let mut data = items(300, 5);
    // Many at one distance, which only their ids tell apart.
    for item in &mut data[..60] {
        item.vector = Some(vec![0.25; DIM]);
    }
    let points = collection(&store, &data, Distance::L2);
    for query in [vec![0.25; DIM], Random(6).vector(DIM)] {
        let whole = all(&points, &query);
        for k in [1, 7, 150, 299, 300, 1_000] {
            same(&pages(&points, &query, k, |_| {}), &whole);
        }
    }
    assert!(
        points
            .search(vec![0.0; DIM])
            .run()
            .expect("answers")
            .cursor
            .is_none()
    );
}

#[test]
fn pages_stay_in_order_while_the_collection_changes() {
    let (_dir, store) = fresh();
    let data = items(400, 7);
    let points = collection(&store, &data, Distance::L2);
    let query = Random(8).vector(DIM);
    let before: Vec<String> = all(&points, &query)
        .iter()
        .map(|hit| hit.id.clone())
        .collect();
    let mut random = Random(9);
    let (mut removed, mut added) = (HashSet::new(), 0);
    let shown = pages(&points, &query, 20, |page| {
        for _ in 0..5 {
            let id = format!("p{}", random.below(400));
            if removed.insert(id.clone()) {
                points.delete(&[id]).expect("deleted");
            }
        }
        // One beside the query, which is on no later page, and one anywhere.
        let near: Vec<f32> = query.iter().map(|x| x + 0.001 * page as f32).collect();
        let new = [
            Item::vector(format!("near{page}"), near),
            Item::vector(format!("new{page}"), random.vector(DIM)),
        ];
        added += 1;
        points.add(new).expect("added");
    });
    assert!(added > 10);
    let found: Vec<&str> = shown.iter().map(|hit| hit.id.as_str()).collect();
    let different: HashSet<&str> = found.iter().copied().collect();
    assert_eq!(different.len(), found.len(), "no hit comes twice");
    for id in before.iter().filter(|id| !removed.contains(*id)) {
        assert!(
            different.contains(id.as_str()),
            "{id} stayed and was left out"
        );
    }
    assert!(!different.iter().any(|id| id.starts_with("near")));
    assert!(
        shown
            .windows(2)
            .all(|two| (two[0].distance, &two[0].id) < (two[1].distance, &two[1].id))
    );
}

#[test]
fn a_cursor_is_bound_to_its_search() {
    let (_dir, store) = fresh();
    let data = items(50, 10);
    let points = collection(&store, &data, Distance::L2);
    let other = collection(&store, &data, Distance::Dot);
    let query = vec![0.1; DIM];
    let search = || points.search(query.clone()).k(5);
    let first = search().cursor(FIRST_PAGE).run().expect("a page");
    let cursor = first.cursor.expect("more");
    assert!(
        cursor
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    );
    // Only the length of pages may differ.
    assert_eq!(
        search().k(7).cursor(&cursor).run().expect("a page")[0].rank,
        6
    );
    let filter = Filter::from_json(&json!({"even": true})).expect("a filter");
    let refused = [
        (
            other.search(query.clone()).cursor(&cursor),
            "another collection",
        ),
        (
            points.search(vec![0.2; DIM]).cursor(&cursor),
            "another query",
        ),
        (
            points.search(Query::like("p1")).cursor(&cursor),
            "another query",
        ),
        (search().filter(filter).cursor(&cursor), "other settings"),
        (search().user("ann").cursor(&cursor), "other settings"),
        (search().memory(false).cursor(&cursor), "other settings"),
        (search().max_distance(1.0).cursor(&cursor), "other settings"),
        (
            search().metric(MetricChoice::BuiltIn).cursor(&cursor),
            "other settings",
        ),
        (search().cursor(&cursor[1..]), "damaged"),
        (search().cursor(""), "damaged"),
        (search().k(9_999).cursor(&cursor), "10000"),
    ];
    for (search, part) in refused {
        let error = message(search.run().expect_err("refused"));
        assert!(error.contains("cursor") && error.contains(part), "{error}");
    }
    let many = points.search_many([query.clone()]).cursor(FIRST_PAGE).run();
    message(many.expect_err("one at a time"));
    // What does not go together is refused by name.
    for (search, first, second) in [
        (search().cursor(FIRST_PAGE).offset(1), "cursor", "offset"),
        (
            search().cursor(FIRST_PAGE).group_by("doc", 1),
            "cursor",
            "groups",
        ),
        (
            search().cursor(FIRST_PAGE).diversity(0.5),
            "cursor",
            "diversity",
        ),
        (search().offset(1).diversity(0.5), "offset", "diversity"),
        (
            search().group_by("doc", 1).diversity(0.5),
            "groups",
            "diversity",
        ),
    ] {
        let error = message(search.run().expect_err("refused"));
        assert!(error.contains(first) && error.contains(second), "{error}");
    }
}

#[test]
fn pages_are_of_one_metric_and_end_when_what_is_remembered_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = builder().open(dir.path()).expect("opens");
    let points = collection(&store, &items(300, 11), Distance::L2);
    let query = Random(12).vector(DIM);
    let search = || points.search(query.clone()).k(10).recall(1.0);
    let whole = all(&points, &query);
    let cursor = search()
        .cursor(FIRST_PAGE)
        .run()
        .expect("a page")
        .cursor
        .expect("more");
    for hit in &whole[..3] {
        points
            .judge(Judgement::irrelevant(query.clone(), &hit.id))
            .expect("judged");
    }
    for hit in &whole[3..9] {
        points
            .judge(Judgement::relevant(query.clone(), &hit.id))
            .expect("judged");
    }
    points.refit().force(true).run().expect("refitted");
    let active = search().run().expect("answers").metric;
    assert_ne!(active.0, 0);
    let second = search().cursor(&cursor).run().expect("the second page");
    assert_eq!(second.metric.0, 0, "the metric of the first page");
    same(&second, &whole[10..20]);
}

#[test]
fn a_threshold_is_on_distance_where_judgements_move_the_question() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = builder().open(dir.path()).expect("opens");
    let points = collection(&store, &items(300, 13), Distance::L2);
    let mut random = Random(14);
    for _ in 0..30 {
        let query = random.vector(DIM);
        let hits = all(&points, &query);
        for hit in &hits[..4] {
            points
                .judge(Judgement::irrelevant(query.clone(), &hit.id))
                .expect("judged");
        }
        for hit in &hits[4..12] {
            points
                .judge(Judgement::relevant(query.clone(), &hit.id))
                .expect("judged");
        }
    }
    points.refit().force(true).run().expect("refitted");
    let mut random = Random(14);
    let mut remembered = 0;
    for _ in 0..30 {
        let query = random.vector(DIM);
        let whole = all(&points, &query);
        remembered += usize::from(whole[0].memory.is_some());
        let limit = whole[20].distance;
        let expected: Vec<Hit> = whole
            .iter()
            .filter(|hit| hit.distance <= limit)
            .take(15)
            .cloned()
            .collect();
        let search = points.search(query.clone()).k(15).recall(1.0);
        same(
            &search.max_distance(limit).run().expect("answers"),
            &expected,
        );
        // A cursor of a remembered question is refused once more is judged of it.
        if whole[0].memory.is_some() && remembered == 1 {
            let search = || points.search(query.clone()).k(10).recall(1.0);
            let cursor = search()
                .cursor(FIRST_PAGE)
                .run()
                .expect("a page")
                .cursor
                .expect("more");
            same(
                &search().cursor(&cursor).run().expect("a page"),
                &whole[10..20],
            );
            points
                .judge(Judgement::relevant(query.clone(), &whole[60].id))
                .expect("judged");
            let error = message(search().cursor(&cursor).run().expect_err("changed"));
            assert!(error.contains("judgements"), "{error}");
        }
    }
}
