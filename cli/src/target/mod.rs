//! The collection that a command is about, in whichever engine it is: on this machine or on a table
//! of a database ([`Local`]), or in a service that is asked over HTTP.
//!
//! What a command prints is a document of [`affinis_api`], which a service gives and which is made
//! here of what a collection gives, so that a command need not know where its collection is.

/// Gives the settings to a refit, of a collection here or of one of a service: the two are different
/// types with the same methods.
macro_rules! with_settings {
    ($refit:expr, $settings:expr) => {{
        let settings: &RefitSettings<'_> = $settings;
        let mut refit = $refit.dry_run(settings.dry_run).force(settings.force);
        if let Some(learner) = settings.learner {
            refit = refit.learner(learner);
        }
        if let Some(user) = settings.user {
            refit = refit.user(user);
        }
        if let Some(questions) = settings.ask {
            refit = refit.ask(questions);
        }
        if let Some(half_life) = settings.half_life {
            refit = refit.half_life(half_life);
        }
        if let Some(share) = settings.user_share {
            refit = refit.user_share(share);
        }
        if let Some(rank) = settings.rank {
            refit = refit.rank(rank);
        }
        if let Some(seed) = settings.seed {
            refit = refit.seed(seed);
        }
        refit
    }};
}

mod items;
mod learning;
#[cfg(feature = "client")]
mod remote;

use std::sync::Arc;

use affinis::engine::Learning;
use affinis::learning::Weak;
use affinis::{Language, SearchQuery};
use affinis_api::{AnswerDocument, DescriptionDocument, JudgedDocument};
use serde_json::Value;

pub(crate) use affinis_api::target::{SearchSettings, Target as Local};
pub(crate) use learning::{NEIGHBOURS, RefitSettings, Refitted};
#[cfg(feature = "client")]
pub(crate) use remote::{Remote, Service, wait};

use crate::failure::Failure;
use crate::input::Expected;

/// What does to a table of PostgreSQL what a command does to a store.
const WITH_SQL: &str = "a table of PostgreSQL is read and changed with SQL";

/// A collection of a store in a directory or on a table of a database, or one of a service.
pub(crate) enum Target {
    Local(Local),
    #[cfg(feature = "client")]
    Remote(Box<Remote>),
}

impl Target {
    /// The collection, where it is not behind a service.
    #[cfg_attr(
        not(feature = "client"),
        allow(
            clippy::unnecessary_wraps,
            reason = "only a service has no collection here"
        )
    )]
    pub(crate) fn local(&self) -> Result<&Local, Failure> {
        match self {
            Self::Local(local) => Ok(local),
            #[cfg(feature = "client")]
            Self::Remote(remote) => Err(remote.refuse("it works on the judgements themselves")),
        }
    }

    /// Judgements and versions, where they are not behind a service.
    pub(crate) fn learning(&self) -> Result<&Arc<Learning>, Failure> {
        Ok(self.local()?.learning())
    }

    /// Name of the collection.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Local(local) => local.name(),
            #[cfg(feature = "client")]
            Self::Remote(remote) => remote.name(),
        }
    }

    /// Dimension of the vectors.
    pub(crate) fn dim(&self) -> usize {
        self.expected().dim
    }

    /// Number of items; about, where counting them takes long.
    pub(crate) fn len(&self) -> Result<u64, Failure> {
        Ok(match self {
            Self::Local(local) => local.len()?,
            #[cfg(feature = "client")]
            Self::Remote(remote) => remote.collection().count(None)?,
        })
    }

    /// What it accepts as input.
    pub(crate) fn expected(&self) -> Expected {
        match self {
            Self::Local(local) => Expected {
                dim: local.dim(),
                texts: local.has_encoder(),
                distance: local.distance(),
                skip_bad: false,
            },
            #[cfg(feature = "client")]
            Self::Remote(remote) => remote.expected(),
        }
    }

    /// Settings and figures.
    pub(crate) fn describe(&self) -> Result<DescriptionDocument, Failure> {
        match self {
            Self::Local(local) => Ok(DescriptionDocument::of(local.embedded(WITH_SQL)?)?),
            #[cfg(feature = "client")]
            Self::Remote(remote) => Ok(remote.describe()?),
        }
    }

    /// The vector of an image, or what is wrong with it.
    pub(crate) fn encode_image(&self, image: &[u8]) -> Result<Result<Vec<f32>, String>, Failure> {
        match self {
            Self::Local(local) => Ok(local.encode_image(image)?),
            #[cfg(feature = "client")]
            Self::Remote(remote) => Err(remote.refuse("it sends no images")),
        }
    }

    /// Number of judgements.
    pub(crate) fn judgement_count(&self) -> Result<u64, Failure> {
        Ok(match self {
            Self::Local(local) => local.judgement_count()?,
            #[cfg(feature = "client")]
            Self::Remote(remote) => remote.describe()?.stats.judgements as u64,
        })
    }

    /// Stores judgements that are derived from the items.
    pub(crate) fn judge_weakly(
        &self,
        from: &Weak,
        count: usize,
    ) -> Result<JudgedDocument, Failure> {
        match self {
            Self::Local(local) => Ok(learning::numbered(&local.judge_weakly(from, count)?)),
            #[cfg(feature = "client")]
            Self::Remote(remote) => Err(remote.refuse(
                "it derives no judgements from items; judgements of a file are stored there",
            )),
        }
    }

    /// Turns keyword search on, in a language, or off.
    pub(crate) fn set_keywords(&self, language: Option<Language>) -> Result<(), Failure> {
        match self {
            Self::Local(local) => {
                let instead = "the text search of PostgreSQL finds words there";
                Ok(local.embedded(instead)?.set_keywords(language)?)
            }
            #[cfg(feature = "client")]
            Self::Remote(remote) => Ok(remote.set_keywords(language)?),
        }
    }

    /// The answer to a query, which has this name, with its execution where that is wanted.
    pub(crate) fn search(
        &self,
        query: SearchQuery,
        name: Value,
        settings: &SearchSettings,
        with_execution: bool,
    ) -> Result<AnswerDocument, Failure> {
        match self {
            Self::Local(local) => {
                let hits = local.search(query, settings)?;
                let answer = AnswerDocument::new(name, hits, with_execution);
                Ok(answer.with_facets(local.facets(settings)?))
            }
            #[cfg(feature = "client")]
            Self::Remote(remote) => Ok(remote.search(query, name, settings, with_execution)?),
        }
    }
}
