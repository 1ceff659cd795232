//! What docs/durability.md promises, apart from kills (`tests/crash`).

#[path = "../common/mod.rs"]
mod common;
mod backup;
mod damage;
mod faults;
mod properties;
mod scene;
mod space;
mod threads;
