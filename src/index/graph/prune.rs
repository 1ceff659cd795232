//! Choice of a node's edges by the relative neighbourhood rule with alpha 1, as in HNSW's heuristic
//! and DiskANN's robust prune (Malkov & Yashunin 2018; Subramanya et al. 2019).
//!
//! A candidate is chosen unless a neighbour that was chosen before is nearer to it than the node
//! is.

use crate::index::graph::beam::{DEGREE, Edges, NONE};
use crate::index::kernels::{Kernels, kernels, prefetch};
use crate::index::layout::rows::{Block, Rows};
use crate::index::nearest::Scored;
use crate::index::quantizer::Codes;

/// The vectors that a graph is built over, compared by squared Euclidean distance.
#[derive(Debug)]
pub(crate) struct Space<'a> {
    rows: &'a Rows,
    codes: Codes,
    norms: Vec<f32>,
    kernels: &'static Kernels,
}

impl<'a> Space<'a> {
    /// The space of `rows`, which takes their norms and codes.
    pub(crate) fn new(rows: &'a Rows) -> Self {
        let kernels = kernels();
        let norms = (0..rows.len())
            .map(|i| (kernels.dot)(rows.row(i), rows.row(i)))
            .collect();
        Self {
            rows,
            codes: Codes::of(rows),
            norms,
            kernels,
        }
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.norms.len()
    }

    /// The row of an item.
    #[inline]
    pub(crate) fn row(&self, id: u32) -> &'a [Block] {
        self.rows.row(id as usize)
    }

    /// The codes of all rows.
    pub(crate) fn codes(&self) -> &Codes {
        &self.codes
    }

    /// Numbers in a row.
    pub(crate) fn dim(&self) -> usize {
        self.rows.dim()
    }

    /// The squared distance of two items, given the sum of their squared norms and their dot
    /// product.
    #[inline]
    pub(crate) fn finish(norms: f32, dot: f32) -> f32 {
        let distance = norms - 2.0 * dot;
        if distance.is_nan() {
            f32::INFINITY
        } else {
            distance.max(0.0)
        }
    }

    /// The squared distance of two items.
    #[inline]
    pub(crate) fn distance(&self, a: u32, b: u32) -> f32 {
        let dot = (self.kernels.dot)(self.row(a), self.row(b));
        Self::finish(self.norms[a as usize] + self.norms[b as usize], dot)
    }

    /// Appends to `out` the squared distances of `ids` to `row`, whose squared norm is `norm`.
    pub(crate) fn distances(&self, row: &[Block], norm: f32, ids: &[u32], out: &mut Vec<f32>) {
        for &id in ids {
            prefetch(self.row(id));
        }
        let (fours, rest) = ids.as_chunks::<4>();
        for four in fours {
            let dots = (self.kernels.dot4)(row, four.map(|id| self.row(id)));
            out.extend(
                four.iter()
                    .zip(dots)
                    .map(|(&id, dot)| Self::finish(norm + self.norms[id as usize], dot)),
            );
        }
        for &id in rest {
            out.push(Self::finish(
                norm + self.norms[id as usize],
                (self.kernels.dot)(row, self.row(id)),
            ));
        }
    }

    /// The squared norm of an item.
    #[inline]
    pub(crate) fn norm(&self, id: u32) -> f32 {
        self.norms[id as usize]
    }
}

/// The out-edges of a node while its graph is built: items with distances, nearest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neighbours {
    ids: Edges,
    distances: [f32; DEGREE],
    len: u8,
    /// The first so many edges are known not to occlude each other.
    checked: u8,
}

impl Neighbours {
    /// No edges.
    pub(crate) const EMPTY: Self = Self {
        ids: [NONE; DEGREE],
        distances: [0.0; DEGREE],
        len: 0,
        checked: 0,
    };

    /// The neighbours.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids[..self.len as usize]
    }

    /// The neighbours, filled up with [`NONE`].
    pub(crate) fn edges(&self) -> &Edges {
        &self.ids
    }

    /// The neighbours with their distances.
    pub(crate) fn scored(&self) -> impl Iterator<Item = Scored> + '_ {
        self.ids()
            .iter()
            .zip(&self.distances)
            .map(|(&id, &distance)| Scored { distance, id })
    }

    /// Whether the node has fewer than [`DEGREE`] edges.
    pub(crate) fn has_room(&self) -> bool {
        (self.len as usize) < DEGREE
    }

    /// Appends an edge; false if the node has [`DEGREE`] edges already.
    pub(crate) fn push(&mut self, edge: Scored) -> bool {
        let fits = self.has_room();
        if fits {
            self.ids[self.len as usize] = edge.id;
            self.distances[self.len as usize] = edge.distance;
            self.len += 1;
        }
        fits
    }

    /// Removes the last edge.
    pub(crate) fn pop(&mut self) {
        if self.len > 0 {
            self.len -= 1;
            self.ids[self.len as usize] = NONE;
            self.checked = self.checked.min(self.len);
        }
    }
}

/// Chooses at most `limit` of `candidates`, which come nearest first, without the node itself and
/// without duplicates.
///
/// `trusted` tells whether a candidate belongs to a group whose members are known not to occlude
/// each other.
pub(crate) fn prune(
    space: &Space<'_>,
    candidates: &[Scored],
    limit: usize,
    trusted: impl Fn(u32) -> bool,
) -> Neighbours {
    let mut chosen = Neighbours::EMPTY;
    let mut chosen_trusted = [false; DEGREE];
    for candidate in candidates {
        if chosen.len as usize == limit.min(DEGREE) {
            break;
        }
        let trust = trusted(candidate.id);
        let occluded = (0..chosen.len as usize).any(|i| {
            !(trust && chosen_trusted[i])
                && space.distance(candidate.id, chosen.ids[i]) < candidate.distance
        });
        if !occluded {
            chosen_trusted[chosen.len as usize] = trust;
            chosen.push(*candidate);
        }
    }
    chosen.checked = chosen.len;
    chosen
}

/// Adds `additions`, which are sorted, to the edges of `node`, and prunes if they exceed
/// [`DEGREE`].
pub(crate) fn extend(space: &Space<'_>, node: u32, edges: &mut Neighbours, additions: &[Scored]) {
    let new = |edge: &&Scored| edge.id != node && !edges.ids().contains(&edge.id);
    let fresh: Vec<Scored> = additions.iter().filter(new).copied().collect();
    if edges.len as usize + fresh.len() <= DEGREE {
        for edge in fresh {
            edges.push(edge);
        }
        return;
    }
    let checked = &edges.ids[..edges.checked as usize];
    let mut candidates: Vec<Scored> = edges.scored().chain(fresh).collect();
    candidates.sort_unstable();
    candidates.dedup_by_key(|c| c.id);
    *edges = prune(space, &candidates, DEGREE, |id| checked.contains(&id));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::Random;

    #[test]
    fn chosen_neighbours_do_not_occlude_each_other_and_dropped_ones_are_occluded() {
        let mut random = Random::new(5);
        let mut rows = Rows::zeros(6, 80);
        for i in 0..80 {
            crate::index::layout::rows::pack_into(&random.vector(6), rows.row_mut(i));
        }
        let space = Space::new(&rows);
        let mut candidates: Vec<Scored> = (1..80)
            .map(|id| Scored {
                distance: space.distance(0, id),
                id,
            })
            .collect();
        candidates.sort_unstable();
        let chosen = prune(&space, &candidates, DEGREE, |_| false);
        assert_eq!(chosen.ids()[0], candidates[0].id);
        for c in &candidates {
            let occluder = chosen
                .scored()
                .any(|k| k < *c && space.distance(k.id, c.id) < c.distance);
            assert_eq!(occluder, !chosen.ids().contains(&c.id));
        }
        // Adding what was dropped changes nothing: the checked edges still occlude it.
        let mut same = chosen;
        let dropped: Vec<Scored> = candidates
            .iter()
            .filter(|c| !chosen.ids().contains(&c.id))
            .copied()
            .collect();
        extend(&space, 0, &mut same, &dropped);
        assert_eq!(same.ids(), chosen.ids());
    }
}
