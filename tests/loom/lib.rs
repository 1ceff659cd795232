//! Tries the hand-over of states from writers to readers in every order that the memory model
//! allows: `RUSTFLAGS="--cfg loom" cargo test --release --manifest-path tests/loom/Cargo.toml`
//!
//! The file under test is the index's own. Only what it swaps the states with is a stand-in, with
//! the orderings that arc-swap promises; arc-swap itself is taken as given.

#![cfg(loom)]

#[path = "../../src/index/published.rs"]
#[allow(dead_code, reason = "the index uses all of it")]
mod published;
mod swap;

#[cfg(test)]
mod tests {
    use std::sync::Arc as Plain;
    use std::sync::atomic::{AtomicBool, Ordering};

    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use crate::published::Published;

    /// A head: cells that are written once, before the state that shows them. Loom reports a cell
    /// that is read while it is written.
    struct Cells(Vec<UnsafeCell<u32>>);

    // SAFETY: loom checks every access to a cell against the others, which is what this test is
    // for.
    unsafe impl Send for Cells {}
    // SAFETY: as above.
    unsafe impl Sync for Cells {}

    impl Cells {
        fn write(&self, at: usize, value: u32) {
            // SAFETY: loom checks that nobody else has the cell.
            self.0[at].with_mut(|cell| unsafe { *cell = value });
        }

        fn read(&self, at: usize) -> u32 {
            // SAFETY: loom checks that nobody writes to the cell.
            self.0[at].with(|cell| unsafe { *cell })
        }
    }

    /// What a view is: the parts, how much of them is visible, and what is dead.
    #[derive(Clone)]
    struct State {
        cells: Plain<Cells>,
        len: usize,
        dead: Vec<usize>,
    }

    fn empty(capacity: usize) -> State {
        State {
            cells: Plain::new(Cells((0..capacity).map(|_| UnsafeCell::new(0)).collect())),
            len: 0,
            dead: Vec::new(),
        }
    }

    fn add(published: &Published<State>, value: u32) {
        published.update(|state| {
            state.cells.write(state.len, value);
            state.len += 1;
        });
    }

    #[test]
    fn a_reader_sees_all_of_a_state_and_no_write_is_lost() {
        static MET: AtomicBool = AtomicBool::new(false);
        loom::model(|| {
            let published = Arc::new(Published::new(empty(2)));
            let writers: Vec<_> = [7, 8]
                .map(|value| {
                    let published = Arc::clone(&published);
                    thread::spawn(move || add(&published, value))
                })
                .into();
            let mut seen = 0;
            for _ in 0..2 {
                // So that loom lets the writers go first, too.
                thread::yield_now();
                let state = published.load_full();
                assert!(state.len >= seen, "a reader went back in time");
                seen = state.len;
                MET.fetch_or(seen == 1, Ordering::Relaxed);
                assert!((0..seen).all(|at| [7, 8].contains(&state.cells.read(at))));
            }
            writers.into_iter().for_each(|writer| writer.join().expect("it ended"));
            let last = published.load();
            let mut values: Vec<u32> = (0..last.len).map(|at| last.cells.read(at)).collect();
            values.sort_unstable();
            assert_eq!(values, [7, 8]);
        });
        assert!(MET.load(Ordering::Relaxed), "no reader came between the writers");
    }

    #[test]
    fn parts_that_are_replaced_keep_what_died_meanwhile() {
        loom::model(|| {
            let published = Arc::new(Published::new(empty(3)));
            add(&published, 7);
            add(&published, 8);
            let killing = {
                let published = Arc::clone(&published);
                thread::spawn(move || published.update(|state| state.dead.push(0)))
            };
            thread::yield_now();
            // As a merge does: build from a state, and publish over whatever was published
            // meanwhile.
            let from = published.load_full();
            let made = empty(3);
            for at in 0..from.len {
                made.cells.write(at, from.cells.read(at) + 10);
            }
            published.update(|state| state.cells = Plain::clone(&made.cells));
            killing.join().expect("it ended");
            let last = published.load_full();
            assert_eq!((last.cells.read(0), last.cells.read(1), &*last.dead), (17, 18, &[0][..]));
        });
    }

    #[test]
    fn what_is_refused_is_not_seen() {
        loom::model(|| {
            let published = Arc::new(Published::new(empty(1)));
            let refused = {
                let published = Arc::clone(&published);
                thread::spawn(move || {
                    published.try_update(|state| {
                        state.dead.push(5);
                        Err("refused")
                    })
                })
            };
            thread::yield_now();
            add(&published, 7);
            assert!(published.load_full().dead.is_empty());
            assert_eq!(refused.join().expect("it ended"), Err("refused"));
            let last = published.load_full();
            assert_eq!((last.len, last.dead.len()), (1, 0));
        });
    }
}
