//! Planned faults of the disk, for tests.
//!
//! A build without the feature `testing` plans none, and its public interface has nothing of this
//! file.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A kind of operation on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskOp {
    /// A record is read.
    Read,
    /// A transaction is applied.
    Commit,
    /// Committed transactions are made durable.
    Flush,
    /// A file is written.
    Write,
    /// A file or directory is made durable.
    Sync,
    /// A file or directory is renamed.
    Rename,
    /// A file or directory is removed.
    Remove,
}

/// The way in which an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not done, and an error is returned.
    Refused,
    /// It is done, and an error is returned nevertheless.
    Unacknowledged,
    /// A write puts the first half of its bytes into the file and returns an error; any other
    /// operation is not done.
    Short,
}

/// A plan by which operations on the disk fail, to test a program against full or broken disks.
///
/// Pass a clone to [`StoreBuilder::faults`](crate::StoreBuilder::faults); clones share one plan.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<State>);

#[derive(Debug, Default)]
struct State {
    operations: AtomicU64,
    plan: Mutex<Option<Plan>>,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    fault: Fault,
    only: Option<DiskOp>,
    /// Number of operations of the kind that still succeed.
    after: u64,
    lasting: bool,
    struck: bool,
}

impl Faults {
    /// A plan by which nothing fails until [`Self::fail`] is called.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one operation fail after `after` others have succeeded, counting only those of the
    /// kind `only` where one is named. With `lasting`, all that follow fail too. Resets the count
    /// of operations.
    pub fn fail(&self, after: u64, fault: Fault, only: Option<DiskOp>, lasting: bool) {
        self.0.operations.store(0, Ordering::SeqCst);
        *self.plan() = Some(Plan {
            fault,
            only,
            after,
            lasting,
            struck: false,
        });
    }

    /// Makes all operations succeed again. Returns whether any failed since [`Self::fail`].
    pub fn clear(&self) -> bool {
        self.plan().take().is_some_and(|plan| plan.struck)
    }

    /// Number of operations since the last [`Self::fail`].
    pub fn operations(&self) -> u64 {
        self.0.operations.load(Ordering::SeqCst)
    }

    fn plan(&self) -> MutexGuard<'_, Option<Plan>> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation. Returns how it is to fail, if it is.
    pub(super) fn strike(&self, op: DiskOp) -> Option<Fault> {
        self.0.operations.fetch_add(1, Ordering::SeqCst);
        let mut plan = self.plan();
        let plan = plan
            .as_mut()
            .filter(|plan| plan.only.is_none_or(|only| only == op))?;
        if plan.after > 0 {
            plan.after -= 1;
            return None;
        }
        if plan.struck && !plan.lasting {
            return None;
        }
        plan.struck = true;
        Some(plan.fault)
    }
}

/// The error of an operation that fails as planned.
pub(super) fn planned() -> io::Error {
    io::Error::new(
        io::ErrorKind::StorageFull,
        "no space left on the device (a planned fault)",
    )
}
