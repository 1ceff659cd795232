//! An HTTP service over a store of [`affinis`]: JSON in and out.
//!
//! [`Service`] binds an address and answers until it is told to stop. It does to collections what
//! the command line does, for programs of every language and for a browser; `docs/service.md` in the
//! repository has every call.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use affinis_server::{Service, Settings};
//!
//! let store = affinis::Store::open(dir.path().join("notes.affinis"))?;
//! let listen = "127.0.0.1:0".parse()?;
//! let service = Service::bind(store, Settings { listen, ..Settings::default() })?;
//! println!("listening on {}", service.url());
//! let stop = service.stop();
//! let answering = std::thread::spawn(move || service.run());
//! stop.stop();
//! answering.join().expect("no panic")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All calls into the store block, so they run on threads for that, and none of the threads that
//! serve connections waits. Nothing here prints or installs a logger: requests are events of
//! [`tracing`], and the program decides what becomes of them.
//!
//! It serves one store, over HTTP/1.1 and 2, in plain text or [over TLS](Tls).

// No panic may be reachable from a request.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

mod access;
mod app;
mod blocking;
mod engine;
mod extract;
mod figures;
mod idempotency;
mod jobs;
mod layers;
mod lingering;
mod openapi;
mod page;
mod patience;
mod problem;
mod query;
mod routes;
mod service;
mod settings;
mod tls;

pub use access::{NewToken, Role, TokenError, Tokens, UnknownRole};
#[cfg(feature = "postgres")]
pub use engine::Database;
pub use engine::Engine;
pub use openapi::openapi_json;
pub use service::{ServeError, Service, Stop};
pub use settings::{Limits, Settings};
pub use tls::{Tls, TlsError};
