//! The service, asked over HTTP as its users ask it. Each test states a promise of
//! `docs/service.md`.
#![allow(clippy::too_many_lines, reason = "a test tells one story")]

mod served;

mod access;
mod contract;
mod documents;
mod encoders;
mod guidelines;
mod hostile;
mod importing;
mod items;
mod judging;
mod learning;
mod limits;
mod lingering;
mod loading;
mod quepid;
mod roles;
mod search;
mod tls;
