//! The allocations of a search: buffers for its query and its answer. The walk of the graph
//! allocates nothing once a thread is warm.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use affinis::{Collection, Item, Plan, Store};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a count of the allocations of each thread.
struct Counting;

// SAFETY: every call is passed on to the system's allocator.
#[expect(unsafe_code, reason = "an allocator is unsafe")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The counter of a thread that is ending may be gone.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Deterministic numbers from -1 to 1.
fn vector(seed: usize, dim: usize) -> Vec<f32> {
    let mut state = seed as u64 * 2 + 1;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    // The first few depend on the seed in their low bits only.
    let mut numbers: Vec<f32> = (0..dim + 8).map(|_| next()).collect();
    numbers.drain(..8);
    numbers
}

fn allocations(notes: &Collection, query: &[f32], ef: usize) -> (usize, usize) {
    let search = notes.search(query.to_vec()).k(10).ef(ef);
    let before = ALLOCATIONS.get();
    let found = search.run().expect("answers");
    assert_eq!((found.hits.len(), found.execution.plan), (10, Plan::Graph));
    (ALLOCATIONS.get() - before, found.execution.visited)
}

#[test]
fn a_graph_walk_allocates_nothing_at_any_beam_width() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("opens");
    let notes = store
        .collection("notes")
        .dim(96)
        .open_or_create()
        .expect("opens");
    notes
        .add((0..9000).map(|i| Item::vector(i.to_string(), vector(i, 96))))
        .expect("added");
    notes.settle().expect("linked");
    let queries: Vec<Vec<f32>> = (0..20).map(|i| vector(1_000_000 + i, 96)).collect();
    for query in &queries {
        allocations(&notes, query, 128);
    }
    for query in &queries {
        let (narrow, few) = allocations(&notes, query, 32);
        let (wide, many) = allocations(&notes, query, 128);
        assert!(many > few, "a wider beam looks at more: {many}, {few}");
        assert_eq!(narrow, wide, "allocations at {few} and {many} distances");
        // The ids of ten hits are among them.
        assert!(wide <= 30, "{wide} allocations");
    }
}
