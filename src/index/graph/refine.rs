//! Improves a graph: refines its edges, bridges removed items, and makes every item reachable.

use rayon::prelude::*;

use crate::index::graph::beam::{DEGREE, Edges, NONE};
use crate::index::graph::build::{Cancelled, EF_BUILD, Graph, Monitor, nearest, reversed};
use crate::index::graph::prune::{Neighbours, Space, prune};
use crate::index::kernels::kernels;
use crate::index::layout::rows::{Rows, pack, unpack_into};
use crate::index::nearest::{Scored, order_safe};

/// Beam width of the searches that refine.
pub(crate) const EF_REFINE: usize = 128;
/// Blocks of nodes that are refined one after the other.
const BLOCKS: usize = 20;
/// Most rounds in which unreachable nodes are attached.
const ATTACH_ROUNDS: usize = 16;
/// Most removed nodes and their neighbours that are followed from one node.
const BRIDGE_QUEUE: usize = 256;

/// Refines all nodes once: each searches from itself and prunes the nodes found together with its
/// edges. A block of nodes sees the refined blocks before it.
///
/// # Errors
/// [`Cancelled`]; the graph is then valid, but partly refined.
pub(crate) fn refine(
    space: &Space<'_>,
    graph: &mut Graph,
    ef: usize,
    monitor: Monitor<'_>,
) -> Result<(), Cancelled> {
    let total = graph.edges.len();
    let block = total.div_ceil(BLOCKS).max(1);
    for from in (0..total).step_by(block) {
        monitor.report(from as f32 / total as f32)?;
        let nodes = from as u32..(from + block).min(total) as u32;
        let refined: Vec<(u32, Neighbours)> = nodes
            .into_par_iter()
            .map(|node| {
                let mut candidates = nearest(space, &graph.edges, node, node, ef);
                candidates.extend(graph.neighbours[node as usize].scored());
                candidates.sort_unstable();
                candidates.dedup_by_key(|candidate| candidate.id);
                (node, prune(space, &candidates, DEGREE, |_| false))
            })
            .collect();
        for (node, neighbours) in &refined {
            graph.set(*node, *neighbours);
        }
        graph.reverse(space, reversed(&refined));
    }
    monitor.report(1.0)
}

/// The item nearest to the mean.
pub(crate) fn medoid(rows: &Rows) -> u32 {
    let mut mean = vec![0.0f64; rows.dim()];
    let mut row = vec![0.0f32; rows.dim()];
    for id in 0..rows.len() {
        unpack_into(rows.row(id), &mut row);
        for (sum, x) in mean.iter_mut().zip(&row) {
            *sum += f64::from(*x);
        }
    }
    let count = rows.len().max(1) as f64;
    let mean = pack(
        &mean
            .iter()
            .map(|sum| (sum / count) as f32)
            .collect::<Vec<_>>(),
    );
    let dot = kernels().dot;
    let from_mean = |id: u32| {
        let row = rows.row(id as usize);
        Scored {
            distance: order_safe(dot(row, row) - 2.0 * dot(&mean, row)),
            id,
        }
    };
    (0..rows.len() as u32)
        .map(from_mean)
        .min()
        .map_or(0, |nearest| nearest.id)
}

/// The nodes that can be reached from `entry`, in breadth-first order.
pub(crate) fn reachable(edges: &[Edges], entry: u32) -> Vec<u32> {
    visit(edges, entry, &mut vec![false; edges.len()])
}

/// Marks the nodes that can be reached from `from` as seen, and returns those that were not seen
/// before, in breadth-first order. Nodes that were seen are not followed: whatever they reach was
/// seen with them.
fn visit(edges: &[Edges], from: u32, seen: &mut [bool]) -> Vec<u32> {
    let mut order = Vec::new();
    if let Some(first) = seen.get_mut(from as usize) {
        *first = true;
        order.push(from);
    }
    let mut next = 0;
    while let Some(&node) = order.get(next) {
        next += 1;
        for &id in edges[node as usize].iter().take_while(|id| **id != NONE) {
            if !std::mem::replace(&mut seen[id as usize], true) {
                order.push(id);
            }
        }
    }
    order
}

/// Gives every node that the entry does not reach an edge from the nearest node that it reaches.
///
/// An edge added to a full node replaces its last one, which may cut off another node; hence the
/// rounds.
pub(crate) fn attach(space: &Space<'_>, graph: &mut Graph) {
    for _ in 0..ATTACH_ROUNDS {
        let mut reached = vec![false; graph.edges.len()];
        if visit(&graph.edges, graph.entry, &mut reached).len() == graph.edges.len() {
            return;
        }
        // All unreachable nodes are attached in one round; what such a node reaches becomes
        // reachable with it.
        for node in 0..graph.edges.len() as u32 {
            if reached[node as usize] {
                continue;
            }
            let found = nearest(space, &graph.edges, graph.entry, node, EF_BUILD);
            let has_room = |near: &&Scored| graph.neighbours[near.id as usize].has_room();
            let Some(near) = found.iter().find(has_room).or(found.first()).copied() else {
                continue;
            };
            let mut neighbours = graph.neighbours[near.id as usize];
            if !neighbours.has_room() {
                neighbours.pop();
            }
            neighbours.push(Scored {
                distance: near.distance,
                id: node,
            });
            graph.set(near.id, neighbours);
            visit(&graph.edges, node, &mut reached);
        }
    }
}

/// The edges of the nodes that remain: each edge to a removed node is replaced by the edges of that
/// node, and so on.
///
/// `renumbered[node]` is the node's new number, or [`NONE`] if it is removed. A node keeps the
/// first [`DEGREE`] edges found, whatever their distances.
pub(crate) fn bridge(edges: &[Edges], renumbered: &[u32]) -> Vec<Edges> {
    let remaining: Vec<u32> = (0..edges.len() as u32)
        .filter(|node| renumbered[*node as usize] != NONE)
        .collect();
    remaining
        .par_iter()
        .map(|&node| bridge_node(edges, renumbered, node))
        .collect()
}

/// The edges of one remaining node; see [`bridge`].
fn bridge_node(edges: &[Edges], renumbered: &[u32], node: u32) -> Edges {
    let mut out = [NONE; DEGREE];
    let mut count = 0;
    let mut queue: Vec<u32> = edges[node as usize]
        .iter()
        .copied()
        .take_while(|id| *id != NONE)
        .collect();
    let mut next = 0;
    while let Some(&id) = queue.get(next) {
        next += 1;
        if count == out.len() {
            break;
        }
        let target = renumbered[id as usize];
        if target == NONE {
            for &further in edges[id as usize].iter().take_while(|id| **id != NONE) {
                if queue.len() < BRIDGE_QUEUE && further != node && !queue.contains(&further) {
                    queue.push(further);
                }
            }
        } else if id != node {
            out[count] = target;
            count += 1;
        }
    }
    out
}
