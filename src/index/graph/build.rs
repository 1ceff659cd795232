//! Builds a flat graph by batch insertion. The graph does not depend on the number of threads.
//!
//! After ParlayANN (Manohar et al., PPoPP 2024): nodes are inserted in batches of about one per
//! cent of the graph. Every node of a batch searches the graph as it was before the batch and
//! prunes the nodes it finds; then the reverse edges are sorted and added, target by target. Both
//! phases are parallel, and neither sees what other threads write.

use rayon::prelude::*;

use crate::index::graph::beam::{DEGREE, Edges, NONE, Score, Stop, search, with_scratch};
use crate::index::graph::prune::{Neighbours, Space, extend, prune};
use crate::index::kernels::prefetch;
use crate::index::layout::rows::unpack_into;
use crate::index::nearest::Scored;
use crate::index::quantizer::{CodedQuery, are_codes_walked};

/// Beam width of the search for a new node's neighbours.
pub(crate) const EF_BUILD: usize = 64;
/// Most edges of a new node before reverse edges are added.
const M: usize = 16;
/// Nodes that are compared exhaustively, to begin the graph.
const SEED: usize = 512;
/// A batch is this share of the graph, within [`MIN_BATCH`] and [`MAX_BATCH`].
const BATCH_SHARE: usize = 100;
const MIN_BATCH: usize = 8;
const MAX_BATCH: usize = 4096;

/// The job was cancelled by its caller; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cancelled;

/// Callbacks of a long job.
#[derive(Clone, Copy)]
pub(crate) struct Monitor<'a> {
    /// Receives the share done, 0 to 1.
    pub(crate) progress: &'a (dyn Fn(f32) + Sync),
    /// Returns whether to stop; called between steps.
    pub(crate) cancel: &'a (dyn Fn() -> bool + Sync),
}

impl Monitor<'_> {
    /// Reports the share done, unless the job is cancelled.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub(crate) fn report(&self, share: f32) -> Result<(), Cancelled> {
        if (self.cancel)() {
            return Err(Cancelled);
        }
        (self.progress)(share);
        Ok(())
    }
}

/// A graph while it is built. Searches read the plain edges, pruning the distances too.
#[derive(Debug)]
pub(crate) struct Graph {
    /// Out-edges with distances.
    pub(crate) neighbours: Vec<Neighbours>,
    /// The same edges, as searches read them.
    pub(crate) edges: Vec<Edges>,
    /// The node at which searches begin.
    pub(crate) entry: u32,
}

impl Graph {
    /// Resumes a graph that was built before over the first `edges.len()` items of `space`.
    pub(crate) fn resume(space: &Space<'_>, edges: Vec<Edges>, entry: u32) -> Self {
        let neighbours = edges
            .par_iter()
            .enumerate()
            .map(|(node, edges)| known(space, node as u32, edges))
            .collect();
        Self {
            neighbours,
            edges,
            entry,
        }
    }

    /// Replaces the edges of a node.
    #[expect(
        clippy::large_types_passed_by_value,
        reason = "it is moved into the graph"
    )]
    pub(crate) fn set(&mut self, node: u32, neighbours: Neighbours) {
        self.edges[node as usize] = *neighbours.edges();
        self.neighbours[node as usize] = neighbours;
    }

    /// Adds edges, given as (target, edge), to their targets.
    pub(crate) fn reverse(&mut self, space: &Space<'_>, mut edges: Vec<(u32, Scored)>) {
        edges.par_sort_unstable();
        let groups: Vec<&[(u32, Scored)]> = edges.chunk_by(|a, b| a.0 == b.0).collect();
        let changed: Vec<(u32, Neighbours)> = groups
            .par_iter()
            .filter_map(|group| {
                let target = group.first()?.0;
                let additions: Vec<Scored> = group.iter().map(|edge| edge.1).collect();
                let mut neighbours = self.neighbours[target as usize];
                extend(space, target, &mut neighbours, &additions);
                Some((target, neighbours))
            })
            .collect();
        for (target, neighbours) in changed {
            self.set(target, neighbours);
        }
    }
}

/// The edges of a node with their distances, in stored order.
fn known(space: &Space<'_>, node: u32, edges: &Edges) -> Neighbours {
    let mut out = Neighbours::EMPTY;
    for &id in edges.iter().take_while(|id| **id != NONE) {
        out.push(Scored {
            distance: space.distance(node, id),
            id,
        });
    }
    out
}

/// The items nearest to item `node`, without itself, found by a search of beam width `ef`. The
/// graph is walked on codes where [`are_codes_walked`]; the distances are exact.
pub(crate) fn nearest(
    space: &Space<'_>,
    edges: &[Edges],
    entry: u32,
    node: u32,
    ef: usize,
) -> Vec<Scored> {
    let ids: Vec<u32> = with_scratch(|scratch| {
        if are_codes_walked(space.dim()) {
            let mut numbers = vec![0.0; space.dim()];
            unpack_into(space.row(node), &mut numbers);
            let mut score = CodedScore {
                space,
                query: space.codes().query(&numbers),
                norm: space.norm(node),
            };
            search(
                edges,
                &[entry],
                Stop::Width(ef),
                &mut score,
                |id| id != node,
                None,
                scratch,
            );
        } else {
            search(
                edges,
                &[entry],
                Stop::Width(ef),
                &mut ExactScore { space, node },
                |id| id != node,
                None,
                scratch,
            );
        }
        scratch.pool.iter().map(|found| found.id).collect()
    });
    let mut distances = Vec::with_capacity(ids.len());
    space.distances(space.row(node), space.norm(node), &ids, &mut distances);
    let mut found: Vec<Scored> = ids
        .iter()
        .zip(distances)
        .map(|(&id, distance)| Scored { distance, id })
        .collect();
    found.sort_unstable();
    found
}

/// Approximate distances from one item of the space to others, by their codes.
struct CodedScore<'a> {
    space: &'a Space<'a>,
    query: CodedQuery,
    norm: f32,
}

impl Score for CodedScore<'_> {
    #[inline]
    fn score(&mut self, ids: &[u32], out: &mut Vec<f32>) {
        let codes = self.space.codes().rows();
        for &id in ids {
            prefetch(codes.row(id));
        }
        let first = out.len();
        self.query.dots(codes, ids, out);
        for (&id, dot) in ids.iter().zip(&mut out[first..]) {
            *dot = Space::finish(self.norm + self.space.norm(id), *dot);
        }
    }
}

/// Exact distances from one item of the space to others.
struct ExactScore<'a> {
    space: &'a Space<'a>,
    node: u32,
}

impl Score for ExactScore<'_> {
    #[inline]
    fn score(&mut self, ids: &[u32], out: &mut Vec<f32>) {
        self.space.distances(
            self.space.row(self.node),
            self.space.norm(self.node),
            ids,
            out,
        );
    }
}

/// The reverse edges of those of `sources`, as (target, edge).
pub(crate) fn reversed(sources: &[(u32, Neighbours)]) -> Vec<(u32, Scored)> {
    let of = |(source, neighbours): &(u32, Neighbours)| {
        let source = *source;
        let reverse = move |edge: Scored| {
            (
                edge.id,
                Scored {
                    distance: edge.distance,
                    id: source,
                },
            )
        };
        neighbours.scored().map(reverse).collect::<Vec<_>>()
    };
    sources.iter().flat_map(of).collect()
}

/// Builds a graph over the items of `space`, which come in insertion order with the entry first.
///
/// # Errors
/// [`Cancelled`].
pub(crate) fn build(space: &Space<'_>, monitor: Monitor<'_>) -> Result<Graph, Cancelled> {
    let seed = space.len().min(SEED) as u32;
    let inserted: Vec<(u32, Neighbours)> = (0..seed)
        .into_par_iter()
        .map(|node| {
            let others = (0..seed).filter(|other| *other != node);
            let mut candidates: Vec<Scored> = others
                .map(|id| Scored {
                    distance: space.distance(node, id),
                    id,
                })
                .collect();
            candidates.sort_unstable();
            (node, prune(space, &candidates, M, |_| false))
        })
        .collect();
    let mut graph = Graph {
        neighbours: vec![Neighbours::EMPTY; seed as usize],
        edges: vec![[NONE; DEGREE]; seed as usize],
        entry: 0,
    };
    for (node, neighbours) in &inserted {
        graph.set(*node, *neighbours);
    }
    graph.reverse(space, reversed(&inserted));
    append(space, &mut graph, EF_BUILD, monitor)?;
    Ok(graph)
}

/// Inserts the items of `space` that `graph` does not hold yet, in order, with beam width `ef`.
///
/// # Errors
/// [`Cancelled`]; the graph is then incomplete and must be dropped.
pub(crate) fn append(
    space: &Space<'_>,
    graph: &mut Graph,
    ef: usize,
    monitor: Monitor<'_>,
) -> Result<(), Cancelled> {
    let (first, total) = (graph.edges.len(), space.len());
    graph.edges.reserve(total - first);
    graph.neighbours.reserve(total - first);
    while graph.edges.len() < total {
        let from = graph.edges.len();
        monitor.report((from - first) as f32 / (total - first) as f32)?;
        let batch = (from / BATCH_SHARE)
            .clamp(MIN_BATCH, MAX_BATCH)
            .min(total - from);
        let nodes = from as u32..(from + batch) as u32;
        let inserted: Vec<(u32, Neighbours)> = nodes
            .into_par_iter()
            .map(|node| {
                let found = nearest(space, &graph.edges, graph.entry, node, ef);
                (node, prune(space, &found, M, |_| false))
            })
            .collect();
        for (_, neighbours) in &inserted {
            graph.edges.push(*neighbours.edges());
            graph.neighbours.push(*neighbours);
        }
        graph.reverse(space, reversed(&inserted));
    }
    monitor.report(1.0)
}
