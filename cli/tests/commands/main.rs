//! The binary `affinis`, driven as its users drive it. Each test states a point that the page of
//! the command line makes.

mod home;

mod bad_input;
mod demo;
mod evaluation;
mod feedback;
mod items;
mod judgements;
mod metrics;
mod outputs;
mod safety;
mod search;
mod store;
mod transfer;
