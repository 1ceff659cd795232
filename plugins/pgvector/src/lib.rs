//! The learned metric of [affinis] on PostgreSQL with pgvector.
//!
//! Where one machine is too small, vectors lie in a database that shards and replicates already.
//! This crate attaches the learning of affinis to a table that is there: it judges, refits,
//! promotes, tries, explains and forgets by the same code as the embedded store, and rewrites
//! queries so that the server's own index answers under the learned metric.
//!
//! ```no_run
//! use affinis::{Filter, Judgement, Query};
//! use affinis_mahalanobis::Mahalanobis;
//! use affinis_pgvector::Postgres;
//! use serde_json::json;
//!
//! # fn main() -> affinis::Result<()> {
//! let database = Postgres::connect("postgres://app@localhost/shop")?;
//! // CREATE TABLE products (id bigint PRIMARY KEY, embedding vector(384), body text, meta jsonb);
//! let products = database
//!     .attach("products")
//!     .table("products")
//!     .text("body")
//!     .meta("meta")
//!     .plugin(Mahalanobis::default())
//!     .open()?;
//!
//! let hits = products.search(Query::like("17")).k(5).filter(Filter::from_json(&json!({"lang": "en"}))?).run()?;
//! products.learning().judge(&[Judgement::similar("17", &hits[0].id)])?;
//! let report = products.learning().refit().run()?;
//! println!("version {:?}, promoted: {}", report.version, report.promoted);
//! # Ok(())
//! # }
//! ```
//!
//! # How it answers
//! A learned metric rewrites a query `q`: `d(q, x) = offset - 2 Aq . x + bias(x)`. The server's
//! index lists candidates, by inner product with `Aq` or in another order that it has; their number
//! is measured when a version is made, so that the promised recall is kept. The candidates are
//! ranked with the biases, one number a row and version, which lie in a table of their own beside
//! the user's.
//!
//! # What is altered
//! Nothing of the user's table: no column, no trigger, no index, unless [`Attach::make_index`] or
//! [`Table::create_trigger`] asks for it. All that affinis keeps lies in the schema `affinis`.

#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

mod attach;
mod attached;
mod bias;
mod candidates;
mod catalogue;
mod error;
mod ledger;
mod listing;
mod moving;
mod relation;
mod round;
mod scan;
mod schema;
mod search;
mod server;
mod stored;
mod table;
mod tls;
mod trigger;
mod vectors;
mod where_clause;

pub use attach::{Attach, AttachedInfo};
pub use server::Postgres;
pub use table::{Table, TableSearch, TableStats};
