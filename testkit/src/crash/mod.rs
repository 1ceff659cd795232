//! The kill test's three parts: a model of the store, the child process that works until it is
//! killed, and the check of what it left.

mod check;
mod child;
mod model;

pub use check::{after_a_kill, model_of};
pub use child::work;
pub use model::{Model, Op};
