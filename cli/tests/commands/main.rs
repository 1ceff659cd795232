//! The commands of the binary `affinis`, run as its users run them. Each test states a promise of
//! the command line's documentation.

mod home;

mod adding;
mod bad_input;
mod characters;
mod choosing;
mod demo;
mod documents;
mod ends;
mod evaluation;
mod feedback;
#[cfg(feature = "images")]
mod images;
mod items;
mod judgements;
mod keywords;
mod listing;
mod memory;
mod metrics;
mod models;
mod outputs;
#[cfg(all(feature = "client", feature = "serve"))]
mod over_http;
#[cfg(feature = "parquet")]
mod parquet;
mod safety;
mod search;
mod store;
mod transfer;
mod unknown_texts;
