//! What docs/durability.md promises, apart from kills (`tests/crash`).

mod backup;
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod faults;
mod power;
mod properties;
mod scene;
mod space;
mod threads;
