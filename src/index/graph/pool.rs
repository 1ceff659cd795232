//! The beam of a search: a sorted pool of the nearest items found, and when a search ends.
//!
//! A search ends when the `ef` nearest items are expanded, or, if it is [adaptive](Stop::Adaptive),
//! when no item is left that is at most a little farther than the `k`-th. A query that lies among
//! the items has few such items and ends soon; one that lies where no item does, such as a single
//! word, has many, and only a wide beam finds its neighbours. (Distance-adaptive beam search,
//! Al-Jazzazi et al. 2025.)

use crate::index::nearest::Scored;

/// Most items in the pool of an adaptive search.
const MAX_POOL: usize = 4096;

/// When a search ends.
#[derive(Clone, Copy)]
pub(crate) enum Stop<'a> {
    /// When the so many nearest items found are expanded: the width of the beam.
    Width(usize),
    /// When all items found within a bound are expanded.
    Adaptive(Adaptive<'a>),
}

/// A bound that follows the `rank`-th smallest distance found, `d`: it is `d + slack * |d|`, and at
/// least the distance of the item at one and a half times the rank.
#[derive(Clone, Copy)]
pub(crate) struct Adaptive<'a> {
    /// The rank.
    pub(crate) rank: usize,
    /// The slack with which the search begins.
    pub(crate) slack: f32,
    /// Called once, with `d`, when no item within the bound is left. Returns the slack with which
    /// the search goes on, or `None` to end it.
    pub(crate) widen: &'a dyn Fn(f32) -> Option<f32>,
}

/// The distance that is a slack beyond another.
pub(crate) fn bound(distance: f32, slack: f32) -> f32 {
    distance + slack * distance.abs()
}

impl Adaptive<'_> {
    /// The number of items from which there is a bound.
    fn least(&self) -> usize {
        self.rank + self.rank / 2 + 1
    }

    /// The number of items that are kept even if they are beyond the bound, for their distances may
    /// be estimates.
    fn kept(&self) -> usize {
        2 * self.rank + 44
    }

    /// The largest key within the bound; `None` while fewer than [`Self::least`] items are found.
    fn bound(&self, keys: &[u64], slack: f32) -> Option<u64> {
        let least = *keys.get(self.least() - 1)?;
        let distance = scored(keys[self.rank - 1]).distance;
        // The largest number of an item, with the bit of an expanded one.
        Some((key(bound(distance, slack), 0) | u64::from(u32::MAX)).max(least | EXPANDED))
    }
}

/// Bit of a key that is set once the item was expanded.
const EXPANDED: u64 = 1;

/// A distance and an item's number, which is below 2^31, packed so that keys have the order of
/// [`Scored`].
#[inline]
pub(super) fn key(distance: f32, id: u32) -> u64 {
    let bits = distance.to_bits();
    let ordered = bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31);
    u64::from(ordered) << 32 | u64::from(id) << 1
}

pub(super) fn id_of(key: u64) -> u32 {
    (key as u32) >> 1
}

pub(super) fn scored(key: u64) -> Scored {
    let ordered = (key >> 32) as u32;
    let bits = if ordered >> 31 == 1 {
        ordered ^ 1 << 31
    } else {
        !ordered
    };
    Scored {
        distance: f32::from_bits(bits),
        id: id_of(key),
    }
}

/// The position at which `key` belongs among sorted keys. Each comparison of a binary search
/// depends on the one before and cannot be predicted; these comparisons are independent of each
/// other.
#[inline]
fn position(keys: &[u64], key: u64) -> usize {
    const BLOCK: usize = 16;
    const MAX_COUNTED: usize = 1024;
    if keys.len() > MAX_COUNTED {
        return keys.partition_point(|item| *item < key);
    }
    let (blocks, _) = keys.as_chunks::<BLOCK>();
    let before = BLOCK
        * blocks
            .iter()
            .map(|block| usize::from(block[BLOCK - 1] < key))
            .sum::<usize>();
    before
        + keys[before..]
            .iter()
            .take(BLOCK)
            .map(|item| usize::from(*item < key))
            .sum::<usize>()
}

/// The nearest eligible items found, as sorted keys.
pub(super) struct Pool<'a> {
    keys: &'a mut Vec<u64>,
    /// Items beyond the bound of an adaptive search, which it may come back to.
    beyond: &'a mut Vec<u64>,
    capacity: usize,
    adaptive: Option<Adaptive<'a>>,
    slack: f32,
    is_widened: bool,
    /// Items before this position were expanded.
    pub(super) next: usize,
    /// No item beyond this key is wanted: the last key of a full pool, or the bound of an adaptive
    /// search if that is smaller.
    pub(super) worst: u64,
}

impl<'a> Pool<'a> {
    /// An empty pool in buffers.
    pub(super) fn new(keys: &'a mut Vec<u64>, beyond: &'a mut Vec<u64>, stop: Stop<'a>) -> Self {
        keys.clear();
        beyond.clear();
        let (capacity, adaptive) = match stop {
            Stop::Width(ef) => (ef, None),
            Stop::Adaptive(adaptive) => (MAX_POOL.max(adaptive.least()), Some(adaptive)),
        };
        Self {
            keys,
            beyond,
            capacity,
            slack: adaptive.map_or(0.0, |adaptive| adaptive.slack),
            adaptive,
            is_widened: false,
            next: 0,
            worst: u64::MAX,
        }
    }

    /// Puts an item aside that is beyond [`Self::worst`] and may be wanted later.
    #[inline]
    pub(super) fn put_aside(&mut self, found: u64) {
        if self.adaptive.is_some() && !self.is_widened {
            self.beyond.push(found);
        }
    }

    /// The item that was put aside as number `at`. None are added after the search was widened.
    pub(super) fn aside(&self, at: usize) -> Option<u64> {
        self.beyond.get(at).copied()
    }

    /// Inserts an item that is not beyond [`Self::worst`], and returns its position.
    #[inline]
    pub(super) fn insert(&mut self, found: u64) -> usize {
        let at = position(self.keys, found);
        if self.keys.len() == self.capacity {
            self.keys.pop();
        }
        self.keys.insert(at, found);
        if let Some(adaptive) = self.adaptive
            && at < adaptive.least()
            && let Some(bound) = adaptive.bound(self.keys, self.slack)
        {
            self.worst = self.worst.min(bound);
            // Insertion takes longer the longer the pool is.
            while self.keys.len() > adaptive.kept()
                && let Some(last) = self.keys.pop_if(|last| *last > self.worst)
            {
                self.put_aside(last);
            }
        }
        self.drop_beyond_capacity();
        self.next = self.next.min(at);
        at
    }

    fn drop_beyond_capacity(&mut self) {
        if self.keys.len() == self.capacity
            && let Some(last) = self.keys.last()
        {
            self.worst = self.worst.min(*last);
        }
    }

    /// The nearest item that was not expanded, if it is wanted. (The pool of an adaptive search may
    /// hold items that are beyond the bound by now.)
    #[inline]
    pub(super) fn nearest_unexpanded(&mut self) -> Option<u64> {
        while self
            .keys
            .get(self.next)
            .is_some_and(|key| key & EXPANDED != 0)
        {
            self.next += 1;
        }
        let key = self.keys.get(self.next).copied();
        key.filter(|key| *key <= self.worst)
    }

    /// Marks the item at [`Self::next`] as expanded, and returns those after it.
    #[inline]
    pub(super) fn expand(&mut self) -> impl Iterator<Item = &u64> {
        self.keys[self.next] |= EXPANDED;
        self.keys[self.next + 1..].iter()
    }

    /// Gives an adaptive search that came to rest its final slack. False if it ends here.
    pub(super) fn widen(&mut self) -> bool {
        let Some(adaptive) = self.adaptive.filter(|_| !self.is_widened) else {
            return false;
        };
        let Some(ranked) = self.keys.get(adaptive.rank - 1) else {
            return false;
        };
        let Some(slack) = (adaptive.widen)(scored(*ranked).distance) else {
            return false;
        };
        (self.is_widened, self.slack, self.next) = (true, slack, 0);
        self.worst = adaptive.bound(self.keys, slack).unwrap_or(u64::MAX);
        self.drop_beyond_capacity();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_inserted_in_order() {
        for len in [0, 1, 15, 16, 17, 31, 32, 33, 100, 1023, 1024, 1025, 2000] {
            let keys: Vec<u64> = (0..len).map(|i| 3 * i + 1).collect();
            for key in 0..3 * len + 3 {
                assert_eq!(
                    position(&keys, key),
                    keys.partition_point(|item| *item < key),
                    "{key} of {len}"
                );
            }
        }
    }

    #[test]
    fn an_adaptive_pool_keeps_what_is_within_its_bound_and_widens_once() {
        let asked = std::cell::Cell::new(None);
        let widen = |distance: f32| {
            asked.set(Some(distance));
            Some(0.5)
        };
        let (mut keys, mut beyond) = (Vec::new(), Vec::new());
        let mut pool = Pool::new(
            &mut keys,
            &mut beyond,
            Stop::Adaptive(Adaptive {
                rank: 10,
                slack: 0.1,
                widen: &widen,
            }),
        );
        // Distances 1.00, 1.01, ...
        let distance = |id: u32| 1.0 + id as f32 / 100.0;
        for id in 0..40 {
            let found = key(distance(id), id);
            if found <= pool.worst {
                pool.insert(found);
            }
        }
        assert_eq!(id_of(pool.worst), u32::MAX >> 1);
        assert!(scored(pool.worst).distance < 1.2 && scored(pool.worst).distance > 1.19);
        let mut expanded = 0;
        while pool.nearest_unexpanded().is_some() {
            let _ = pool.expand();
            expanded += 1;
        }
        // Up to 1.09 (the tenth) and a tenth more, 1.199.
        assert_eq!(expanded, 20);
        assert!(pool.widen() && !pool.widen());
        assert_eq!(asked.get(), Some(distance(9)));
        assert!((scored(pool.worst).distance - 1.5 * distance(9)).abs() < 1e-5);
    }

    #[test]
    fn a_full_pool_drops_its_farthest_item() {
        let widen = |_: f32| None;
        for stop in [
            Stop::Width(4096),
            Stop::Adaptive(Adaptive {
                rank: 10,
                slack: 1e9,
                widen: &widen,
            }),
        ] {
            let (mut keys, mut beyond) = (Vec::new(), Vec::new());
            let mut pool = Pool::new(&mut keys, &mut beyond, stop);
            for id in (0..5000).rev() {
                let found = key(id as f32, id);
                assert!(found <= pool.worst);
                assert_eq!(pool.insert(found), 0);
            }
            assert!(key(4096.0, 4096) > pool.worst && key(4094.0, 0) < pool.worst);
            assert_eq!(keys.len(), 4096);
        }
    }

    #[test]
    fn keys_have_the_order_of_what_they_stand_for() {
        let mut all: Vec<Scored> = [
            0.0,
            -0.0,
            1.5,
            -1.5,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            1e-40,
            f32::NEG_INFINITY,
        ]
        .into_iter()
        .flat_map(|distance| [0, 1, 7, u32::MAX / 2].map(|id| Scored { distance, id }))
        .collect();
        all.sort_unstable();
        let keys: Vec<u64> = all.iter().map(|item| key(item.distance, item.id)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        for (item, key) in all.iter().zip(keys) {
            assert_eq!(scored(key | EXPANDED), *item);
            assert_eq!(scored(key).distance.to_bits(), item.distance.to_bits());
        }
    }
}
