//! Edges for questions that lie where no item does.
//!
//! The edges of a graph that is built of its items lead well from item to item, but the nearest
//! items of a question between them need not lead to each other. So the exact nearest items of many
//! questions are linked with one another, as in `RoarGraph` (Chen et al., PVLDB 2024) and
//! `OOD-DiskANN` (Jaiswal et al. 2022): the nearest one with each, and each with the next, where
//! they have room.

use rayon::prelude::*;

use crate::index::bias::Biases;
use crate::index::graph::build::{Cancelled, Graph};
use crate::index::graph::prune::Space;
use crate::index::layout::rows::Rows;
use crate::index::nearest::Scored;
use crate::index::query::RewrittenQuery;
use crate::index::scan::Scan;
use crate::index::segment::rows::RowsView;
use crate::index::versioned::Versioned;
use crate::slot::Slot;

/// Items that are linked for a question.
const LINKED: usize = 10;
/// Questions that are scanned for together.
const QUESTIONS_AT_ONCE: usize = 64;

/// Adds edges for `questions`, queries under `metric`, to a graph over `rows`; `space` holds the
/// same items as the graph sees them. The edges do not depend on the number of threads.
///
/// # Errors
/// [`Cancelled`]; nothing is added then.
pub(super) fn link(
    graph: &mut Graph,
    space: &Space<'_>,
    rows: &Rows,
    metric: &Versioned,
    questions: &[Vec<f32>],
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<(), Cancelled> {
    if questions.is_empty() {
        return Ok(());
    }
    let locals: Vec<u32> = (0..rows.len() as u32).collect();
    let biases = Biases::unknown(rows.len());
    let view = RowsView::of(rows);
    biases.ensure(&locals, &view, &*metric.metric);
    let nearest: Option<Vec<Vec<Vec<Scored>>>> = questions
        .par_chunks(QUESTIONS_AT_ONCE)
        .map(|questions| {
            let queries: Vec<RewrittenQuery<'_>> = questions
                .iter()
                .map(|question| RewrittenQuery::new(metric, question))
                .collect();
            let scan = Scan {
                queries: &queries,
                wanted: LINKED,
                cancel,
            };
            scan.best(&locals, &view, &biases, Slot)
        })
        .collect();
    for nearest in nearest.ok_or(Cancelled)?.iter().flatten() {
        for (i, item) in nearest.iter().enumerate().skip(1) {
            link_both(graph, space, nearest[0].id, item.id);
            link_both(graph, space, nearest[i - 1].id, item.id);
        }
    }
    Ok(())
}

/// Adds the edges between two items, each where it has room.
fn link_both(graph: &mut Graph, space: &Space<'_>, a: u32, b: u32) {
    for (from, to) in [(a, b), (b, a)] {
        let edges = &graph.neighbours[from as usize];
        if from != to && edges.has_room() && !edges.ids().contains(&to) {
            let mut edges = *edges;
            edges.push(Scored {
                distance: space.distance(from, to),
                id: to,
            });
            graph.set(from, edges);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::graph::build::{Monitor, build};
    use crate::index::layout::rows::pack_into;
    use crate::index::tests::{Random, euclid};
    use crate::sum::squared_distance;

    #[test]
    fn the_nearest_items_of_a_question_are_linked_with_each_other() {
        let mut random = Random::new(8);
        let items: Vec<Vec<f32>> = (0..600).map(|_| random.vector(8)).collect();
        let mut rows = Rows::zeros(8, items.len());
        for (i, item) in items.iter().enumerate() {
            pack_into(item, rows.row_mut(i));
        }
        let space = Space::new(&rows);
        let silent = Monitor {
            progress: &|_| (),
            cancel: &|| false,
        };
        let mut graph = build(&space, silent).expect("not cancelled");
        // Far from all items, where their own edges do not lead.
        let questions: Vec<Vec<f32>> = (0..20)
            .map(|_| random.vector(8).iter().map(|x| 3.0 * x).collect())
            .collect();
        let nearest = |question: &Vec<f32>| {
            let mut ids: Vec<u32> = (0..items.len() as u32).collect();
            ids.sort_by(|a, b| {
                let distance = |id: &u32| squared_distance(question, &items[*id as usize]);
                distance(a).total_cmp(&distance(b))
            });
            ids.truncate(LINKED);
            ids
        };
        let missing = |graph: &Graph| {
            let pairs = questions.iter().flat_map(|question| {
                let ids = nearest(question);
                (1..LINKED)
                    .flat_map(|i| [(ids[0], ids[i]), (ids[i - 1], ids[i])])
                    .collect::<Vec<_>>()
            });
            let is_missing = |(from, to): &(u32, u32)| {
                let edges = &graph.neighbours[*from as usize];
                edges.has_room() && !edges.ids().contains(to)
            };
            pairs.filter(is_missing).count()
        };
        assert!(missing(&graph) > 50, "{}", missing(&graph));
        let metric = euclid(8);
        link(&mut graph, &space, &rows, &metric, &questions, &|| false).expect("not cancelled");
        assert_eq!(missing(&graph), 0);
        let cancelled = link(&mut graph, &space, &rows, &metric, &questions, &|| true);
        assert_eq!(cancelled, Err(Cancelled));
    }
}
