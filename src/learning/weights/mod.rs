//! Weights of judgements: by their source, by their user, and of those that nobody gave.

pub(super) mod proxies;
pub(super) mod sources;
pub(super) mod user_share;
