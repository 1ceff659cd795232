//! Making a linked graph better: refining, repairing after deletions, and seeing that every item
//! can be reached.

use rayon::prelude::*;

use super::beam::{Edges, NONE, Scored};
use super::kernels::kernels;
use super::link::{Cancelled, EF_LINK, Graph, Watch, nearest, reversed};
use super::prune::{Neighbours, Space, prune};
use super::query::order_safe;
use super::rows::{Rows, pack, unpack_into};

/// Width of the refining searches.
pub(crate) const EF_REFINE: usize = 128;
const BLOCKS: usize = 20;

/// One pass in which every node searches from itself and prunes what it finds with what it has; the
/// passes of one block of nodes see the blocks before them.
///
/// # Errors
/// [`Cancelled`]; the graph is whole, but partly refined.
pub(crate) fn refine(
    space: &Space<'_>,
    graph: &mut Graph,
    ef: usize,
    watch: Watch<'_>,
) -> Result<(), Cancelled> {
    let total = graph.edges.len();
    let block = total.div_ceil(BLOCKS).max(1);
    for from in (0..total).step_by(block) {
        watch.step(from as f32 / total as f32)?;
        let nodes = from as u32..(from + block).min(total) as u32;
        let refined: Vec<(u32, Neighbours)> = nodes
            .into_par_iter()
            .map(|node| {
                let mut candidates = nearest(space, &graph.edges, node, node, ef);
                candidates.extend(graph.neighbours[node as usize].scored());
                candidates.sort_unstable();
                candidates.dedup_by_key(|candidate| candidate.id);
                (
                    node,
                    prune(space, &candidates, super::beam::DEGREE, |_| false),
                )
            })
            .collect();
        for (node, neighbours) in &refined {
            graph.set(*node, *neighbours);
        }
        graph.reverse(space, reversed(&refined));
    }
    watch.step(1.0)
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

/// The nodes that the entry reaches, in breadth-first order.
pub(crate) fn reachable(edges: &[Edges], entry: u32) -> Vec<u32> {
    spread(edges, entry, &mut vec![false; edges.len()])
}

/// Marks the nodes that `from` reaches as seen, and gives those that were not, in breadth-first
/// order. It does not go on from nodes that were seen before: what they reach was seen with them.
fn spread(edges: &[Edges], from: u32, seen: &mut [bool]) -> Vec<u32> {
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

/// Gives every node that the entry does not reach an edge from the nearest node that it does.
///
/// Giving an edge to a full node takes its last one away, which may cut off another node: hence the
/// rounds.
pub(crate) fn attach(space: &Space<'_>, graph: &mut Graph) {
    const ROUNDS: usize = 16;
    for _ in 0..ROUNDS {
        let mut reached = vec![false; graph.edges.len()];
        if spread(&graph.edges, graph.entry, &mut reached).len() == graph.edges.len() {
            return;
        }
        // One node a round would be slow where many are lost; what a lost node reaches comes with
        // it.
        for node in 0..graph.edges.len() as u32 {
            if reached[node as usize] {
                continue;
            }
            let found = nearest(space, &graph.edges, graph.entry, node, EF_LINK);
            let roomy = |near: &&Scored| graph.neighbours[near.id as usize].has_room();
            let Some(near) = found.iter().find(roomy).or(found.first()).copied() else {
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
            spread(&graph.edges, node, &mut reached);
        }
    }
}

/// Edges over the living: each edge to a dead node is replaced by the edges of that node, dead ones
/// followed further.
///
/// `alive[node]` is the node's new number, or [`NONE`]. Distances are not needed: nodes keep the
/// first that fit.
pub(crate) fn bridge(edges: &[Edges], alive: &[u32]) -> Vec<Edges> {
    const WIDTH: usize = 256;
    let living: Vec<u32> = (0..edges.len() as u32)
        .filter(|node| alive[*node as usize] != NONE)
        .collect();
    living
        .par_iter()
        .map(|&node| {
            let mut out = [NONE; super::beam::DEGREE];
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
                let target = alive[id as usize];
                if target == NONE {
                    for &further in edges[id as usize].iter().take_while(|id| **id != NONE) {
                        if queue.len() < WIDTH && further != node && !queue.contains(&further) {
                            queue.push(further);
                        }
                    }
                } else if id != node {
                    out[count] = target;
                    count += 1;
                }
            }
            out
        })
        .collect()
}
