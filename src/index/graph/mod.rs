//! Flat proximity graphs: walking, building and refining them. A graph's nodes are the items of one
//! segment, by number; each has at most [`beam::DEGREE`] out-edges.

pub(crate) mod beam;
pub(crate) mod build;
pub(crate) mod pool;
pub(crate) mod prune;
pub(crate) mod refine;
