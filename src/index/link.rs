//! The batch linker: a flat graph by batch insertion, the same whatever the number of threads.
//!
//! After ParlayANN (Manohar et al., PPoPP 2024): nodes are inserted in batches of about one per
//! cent of the graph. Every node of a batch searches the graph as it was before the batch and
//! prunes what it finds; then the reverse edges are added, sorted, target by target. Both halves
//! are parallel and neither sees the other threads' work.

use rayon::prelude::*;

use super::beam::{Edges, NONE, Score, Scored, search, with_scratch};
use super::codes::{self, CodedQuery};
use super::kernels::prefetch;
use super::prune::{Neighbours, Space, extend, prune};
use super::rows::unpack_into;

/// Width of the search that finds a new node's neighbours.
pub(crate) const EF_LINK: usize = 64;
/// Edges of a new node before reverse edges come in.
const M: usize = 16;
/// Nodes that are linked with each other exhaustively, to begin with.
const SEED: usize = 512;

/// The caller asked to stop; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cancelled;

/// What a long job tells and asks.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    /// Told the share done, 0 to 1.
    pub(crate) progress: &'a (dyn Fn(f32) + Sync),
    /// Asked between steps whether to stop.
    pub(crate) cancel: &'a (dyn Fn() -> bool + Sync),
}

impl Watch<'_> {
    /// Reports progress, unless the job is cancelled.
    pub(crate) fn step(&self, share: f32) -> Result<(), Cancelled> {
        if (self.cancel)() {
            return Err(Cancelled);
        }
        (self.progress)(share);
        Ok(())
    }
}

/// A graph that is being linked. Searches read the plain edges; the neighbours know distances too.
#[derive(Debug)]
pub(crate) struct Graph {
    /// Out-edges with distances.
    pub(crate) neighbours: Vec<Neighbours>,
    /// The same, as searches read them.
    pub(crate) edges: Vec<Edges>,
    /// Where searches begin.
    pub(crate) entry: u32,
}

impl Graph {
    /// A graph over the first `edges.len()` items of `space` as it was linked before.
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
        reason = "it is moved into its place"
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

/// A node's edges with their distances, in stored order.
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

/// The items nearest to item `node`, without itself, found on the graph `ef` wide: walked on codes
/// where these are walked, then computed again.
pub(crate) fn nearest(
    space: &Space<'_>,
    edges: &[Edges],
    entry: u32,
    node: u32,
    ef: usize,
) -> Vec<Scored> {
    let ids: Vec<u32> = with_scratch(|scratch| {
        if codes::are_walked(space.dim()) {
            let mut numbers = vec![0.0; space.dim()];
            unpack_into(space.row(node), &mut numbers);
            let mut score = SpaceScore {
                space,
                query: space.codes().query(&numbers),
                norm: space.norm(node),
            };
            search(
                edges,
                &[entry],
                ef,
                &mut score,
                |id| id != node,
                None,
                scratch,
            );
        } else {
            search(
                edges,
                &[entry],
                ef,
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

/// Distances from one item of the space to others, which are read in codes.
struct SpaceScore<'a> {
    space: &'a Space<'a>,
    query: CodedQuery,
    norm: f32,
}

impl Score for SpaceScore<'_> {
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

/// Distances from one item of the space to others.
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

/// The reverse of the edges of `sources`.
pub(crate) fn reversed(sources: &[(u32, Neighbours)]) -> Vec<(u32, Scored)> {
    let of = |(source, neighbours): &(u32, Neighbours)| {
        let source = *source;
        let turned = move |edge: Scored| {
            (
                edge.id,
                Scored {
                    distance: edge.distance,
                    id: source,
                },
            )
        };
        neighbours.scored().map(turned).collect::<Vec<_>>()
    };
    sources.iter().flat_map(of).collect()
}

/// Links the items of `space`, which come in insertion order with the entry first, into a graph.
///
/// # Errors
/// [`Cancelled`].
pub(crate) fn link(space: &Space<'_>, watch: Watch<'_>) -> Result<Graph, Cancelled> {
    let seed = space.len().min(SEED) as u32;
    let linked: Vec<(u32, Neighbours)> = (0..seed)
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
        edges: vec![[NONE; super::beam::DEGREE]; seed as usize],
        entry: 0,
    };
    for (node, neighbours) in &linked {
        graph.set(*node, *neighbours);
    }
    graph.reverse(space, reversed(&linked));
    append(space, &mut graph, EF_LINK, watch)?;
    Ok(graph)
}

/// Links the items of `space` that `graph` does not hold yet, in order, searching `ef` wide.
///
/// # Errors
/// [`Cancelled`]; the graph is then half grown and of no use.
pub(crate) fn append(
    space: &Space<'_>,
    graph: &mut Graph,
    ef: usize,
    watch: Watch<'_>,
) -> Result<(), Cancelled> {
    let (first, total) = (graph.edges.len(), space.len());
    graph.edges.reserve(total - first);
    graph.neighbours.reserve(total - first);
    while graph.edges.len() < total {
        let from = graph.edges.len();
        watch.step((from - first) as f32 / (total - first) as f32)?;
        let batch = (from / 100).clamp(8, 4096).min(total - from);
        let nodes = from as u32..(from + batch) as u32;
        let linked: Vec<(u32, Neighbours)> = nodes
            .into_par_iter()
            .map(|node| {
                let found = nearest(space, &graph.edges, graph.entry, node, ef);
                (node, prune(space, &found, M, |_| false))
            })
            .collect();
        for (_, neighbours) in &linked {
            graph.edges.push(*neighbours.edges());
            graph.neighbours.push(*neighbours);
        }
        graph.reverse(space, reversed(&linked));
    }
    watch.step(1.0)
}
