//! A client of the HTTP service of affinis, which `affinis serve` starts: typed, and blocking.
//!
//! [`Client`] is a service and [`Collection`] one of its collections. The documents that they give
//! are those of [`affinis_api`], which the command line prints too; items, queries, judgements and
//! filters are the types of [`affinis`].
//!
//! A request that was not answered is sent again where that does no harm: reads, and writes that the
//! service does once because they have an `Idempotency-Key`. The service keeps these keys in memory,
//! so a write is not repeated once nobody listens any more.
//!
//! ```
//! use affinis::{Item, Judgement, Query};
//! use affinis_client::Client;
//!
//! # let home = tempfile::tempdir()?;
//! # let store = affinis::Store::builder().plugin(affinis_mahalanobis::Mahalanobis::default());
//! # let store = store.open(home.path())?;
//! # let settings = affinis_server::Settings {
//! #     listen: "127.0.0.1:0".parse()?,
//! #     ..affinis_server::Settings::default()
//! # };
//! # let service = affinis_server::Service::bind(store, settings)?;
//! # let (stop, url) = (service.stop(), format!("http://{}", service.address()));
//! # let serving = std::thread::spawn(move || service.run());
//! // Such as http://127.0.0.1:7717; with tokens: Client::new(url)?.token(token)?
//! let client = Client::new(&url)?;
//! client.create("notes").create()?;
//! let notes = client.collection("notes");
//! notes.add([
//!     Item::text("a1", "how to prune apple trees"),
//!     Item::text("a2", "changing the oil of a car"),
//! ])?;
//!
//! let answer = notes.search("fruit tree care").k(1).run()?;
//! assert_eq!(answer.hits[0].id, "a1");
//!
//! let judged = notes.judge(&[Judgement::relevant(Query::from("fruit tree care"), "a1")])?;
//! assert_eq!(judged.stored, 1);
//! match notes.refit().run() {
//!     Ok(refit) => println!("promoted: {}", refit.promoted),
//!     Err(error) => println!("one judgement is not enough: {error}"),
//! }
//!
//! let missing = client.collection("nothing").count(None);
//! assert!(missing.is_err_and(|error| error.is("not-found")));
//! # stop.stop();
//! # serving.join().expect("no panic")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// No panic may be reachable from what a service answers.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

mod client;
mod collection;
mod encoders;
mod error;
mod http;
mod items;
mod jobs;
mod learning;
mod pages;
mod search;
mod transfer;
mod versions;

pub use client::{Client, Create};
pub use collection::Collection;
pub use encoders::Reencode;
pub use error::{Error, Result};
pub use items::{AddAll, ListItems, MAX_BATCH_BYTES, MAX_BATCH_ITEMS};
pub use jobs::Job;
pub use learning::{Evaluate, Explain, JudgementsOf, Refit, Signal};
pub use pages::Pages;
pub use search::Search;
pub use transfer::Export;
pub use versions::StartTrial;
