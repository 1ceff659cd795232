//! Exhaustive nearest-neighbour search over rows, and the class that neighbours vote for.

use ndarray::{Array2, Axis};

/// Number of query rows multiplied at a time, which bounds the memory.
const BLOCK: usize = 128;

/// The `k` rows of `among` nearest to each row of `queries`, nearest first; of equals, the first.
pub(crate) fn nearest(among: &Array2<f32>, queries: &Array2<f32>, k: usize) -> Vec<Vec<usize>> {
    let k = k.min(among.nrows());
    if k == 0 {
        return vec![Vec::new(); queries.nrows()];
    }
    let squares: Vec<f32> = among.rows().into_iter().map(|r| r.dot(&r)).collect();
    let mut found = Vec::with_capacity(queries.nrows());
    let mut best: Vec<(f32, usize)> = Vec::with_capacity(k + 1);
    for block in queries.axis_chunks_iter(Axis(0), BLOCK) {
        let products = block.dot(&among.t());
        for row in products.rows() {
            best.clear();
            let mut bound = f32::INFINITY;
            for (i, (product, square)) in row.iter().zip(&squares).enumerate() {
                let distance = square - 2.0 * product;
                if distance < bound || best.len() < k {
                    let at = best.partition_point(|(d, _)| *d <= distance);
                    best.insert(at, (distance, i));
                    best.truncate(k);
                    if best.len() == k {
                        bound = best[k - 1].0;
                    }
                }
            }
            found.push(best.iter().map(|(_, i)| *i).collect());
        }
    }
    found
}

/// The most frequent class among neighbours, given nearest first; of equally frequent ones, that of
/// the nearest. `None` without neighbours.
pub(crate) fn votes(classes: impl Iterator<Item = usize>) -> Option<usize> {
    let classes: Vec<usize> = classes.collect();
    let count = |class: usize| classes.iter().filter(|c| **c == class).count();
    let mut best: Option<(usize, usize)> = None;
    for class in &classes {
        let n = count(*class);
        if best.is_none_or(|(most, _)| n > most) {
            best = Some((n, *class));
        }
    }
    best.map(|(_, class)| class)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn neighbours_come_in_order_and_ties_go_to_the_nearest() {
        let among = array![[0.0], [5.0], [1.0], [1.0], [-3.0]];
        assert_eq!(
            nearest(&among, &array![[0.9], [-9.0]], 3),
            [[2, 3, 0], [4, 0, 2]]
        );
        assert_eq!(nearest(&among, &array![[0.0]], 9)[0].len(), 5);
        assert_eq!(votes([1, 0, 0, 1, 2].into_iter()), Some(1));
        assert_eq!(votes([2, 0, 0].into_iter()), Some(0));
        assert_eq!(votes(std::iter::empty()), None);
    }
}
