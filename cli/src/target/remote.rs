//! A collection of a service, which is asked over HTTP.

use std::collections::HashSet;
use std::path::Path;

use affinis::{Item, Language, SearchQuery};
use affinis_api::{AnswerDocument, DescriptionDocument};
use affinis_client::{Client, Collection, Error, Job, ListItems, Result as Answered};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{RefitSettings, Refitted, SearchSettings};
use crate::failure::Failure;
use crate::input::Expected;
use crate::output;

/// The environment variable with the token.
const TOKEN: &str = "AFFINIS_TOKEN";
/// Ids whose existence is asked for at once.
const IDS: usize = 1_000;
/// The largest page of a list.
const PAGE: usize = 10_000;
/// A page of a list costs about as much as this many single questions.
const PAGE_COST: usize = 100;

/// A service.
#[derive(Debug)]
pub(crate) struct Service {
    client: Client,
}

impl Service {
    /// The service at an address. The token comes from a file, or from the environment.
    pub(crate) fn new(
        url: &str,
        token_file: Option<&Path>,
        roots: Option<&Path>,
    ) -> Result<Self, Failure> {
        let mut client = Client::new(url)?;
        if let Some(roots) = roots {
            client = client.root_certificates(roots)?;
        }
        let token = match token_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::Failed(format!(
                    "{}: {error}; the file holds the token, as `affinis token` prints it",
                    file.display()
                ))
            })?),
            None => std::env::var(TOKEN).ok().filter(|token| !token.is_empty()),
        };
        if let Some(token) = token {
            client = client.token(token.trim())?;
        }
        Ok(Self { client })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Says that a command needs the directory, and for what.
    pub(crate) fn refuse(&self, reason: &str) -> Failure {
        refused(self.client.url(), reason)
    }

    /// Opens a collection.
    pub(crate) fn collection(&self, name: &str) -> Result<Remote, Failure> {
        let collection = self.client.collection(name);
        let described = collection.describe()?;
        Ok(Remote {
            collection,
            expected: Expected {
                dim: described.stats.dim,
                texts: described.encoder.is_some(),
                distance: described.distance,
                skip_bad: false,
            },
        })
    }
}

fn refused(url: &str, reason: &str) -> Failure {
    Failure::Failed(format!(
        "the service at {url} does not do this: {reason}. End the service, and give the command its directory with --store DIR"
    ))
}

/// Waits for a job, tells its progress, and cancels it at Ctrl-C.
pub(crate) fn wait<T: DeserializeOwned>(
    job: &Job<T>,
    progress: impl FnMut(f32),
) -> Result<T, Failure> {
    output::catch_interrupts();
    let done = job.wait_with(progress, output::interrupted);
    done.map_err(|error| {
        if error.is("cancelled") {
            let message = format!("interrupted: the service ended its job {}", job.name());
            return Failure::Interrupted(message);
        }
        error.into()
    })
}

/// A collection of a service.
pub(crate) struct Remote {
    collection: Collection,
    expected: Expected,
}

impl Remote {
    pub(super) fn name(&self) -> &str {
        self.collection.name()
    }

    pub(crate) fn collection(&self) -> &Collection {
        &self.collection
    }

    pub(super) fn expected(&self) -> Expected {
        self.expected
    }

    pub(crate) fn refuse(&self, reason: &str) -> Failure {
        refused(self.collection.client().url(), reason)
    }

    /// Settings and figures, those that the command line does not print as JSON among them.
    pub(super) fn describe(&self) -> Answered<DescriptionDocument> {
        let mut described = self.collection.describe()?;
        described.stats.evaluations = described.evaluations;
        described.stats.mapped_bytes = described.mapped_bytes;
        Ok(described)
    }

    pub(super) fn set_keywords(&self, language: Option<Language>) -> Answered<()> {
        self.collection.set_keywords(language)
    }

    pub(super) fn search(
        &self,
        query: SearchQuery,
        name: Value,
        settings: &SearchSettings,
        with_execution: bool,
    ) -> Answered<AnswerDocument> {
        let mut search = self
            .collection
            .search(query)
            .k(settings.k)
            .metric(settings.metric)?;
        if let Some(filter) = &settings.filter {
            search = search.filter(filter);
        }
        if let Some(ef) = settings.ef {
            search = search.ef(ef);
        }
        if let Some(recall) = settings.recall {
            search = search.recall(recall);
        }
        if let Some(user) = &settings.user {
            search = search.user(user);
        }
        search = search.memory(settings.memory).ranking(settings.ranking)?;
        if settings.offset > 0 {
            search = search.offset(settings.offset);
        }
        if let Some(cursor) = &settings.cursor {
            search = search.cursor(cursor);
        }
        if let Some(distance) = settings.max_distance {
            search = search.max_distance(distance)?;
        }
        if let Some(field) = &settings.group_by {
            search = search.group_by(field, settings.per_group);
        }
        if let Some(diversity) = settings.diversity {
            search = search.diversity(diversity)?;
        }
        search = search.facets(&settings.facets, settings.facet_values);
        if settings.hide_rejected {
            search = search.hide_rejected();
        }
        if settings.highlights {
            search = search.highlights();
        }
        if with_execution {
            search = search.explain_search();
        }
        let mut answer = search.run()?;
        answer.query = name;
        Ok(answer)
    }

    pub(super) fn refit(&self, settings: &RefitSettings<'_>) -> Result<Refitted, Failure> {
        let refit = with_settings!(self.collection.refit(), settings);
        let document = wait(&refit.begin()?, |_| {})?;
        let forced = match document.version {
            Some(version) if settings.force && document.promoted => {
                let gate = self.collection.metric(version)?.gate;
                gate.is_some_and(|gate| !gate.accepted)
            }
            _ => false,
        };
        Ok(Refitted { document, forced })
    }

    pub(super) fn list(&self, after: Option<&str>, limit: Option<u64>, vectors: bool) -> ListItems {
        let mut list = self.collection.list();
        if let Some(after) = after {
            list = list.after(after);
        }
        if let Some(limit) = limit {
            // One more, which tells whether there are more.
            list = list.page(limit.saturating_add(1).min(500) as usize);
        }
        if vectors {
            list
        } else {
            list.without_vectors()
        }
    }

    /// The items of ids that are there.
    pub(super) fn items(&self, ids: &[String]) -> Result<Vec<Item>, Failure> {
        let mut items = Vec::new();
        for id in ids {
            match self.collection.get(id) {
                Ok(item) => items.push(item.into()),
                Err(error) if error.is("not-found") => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(items)
    }

    /// The items of ids and the chunks of documents of ids, in their order, all of which must exist.
    pub(super) fn get_many(&self, ids: &[String]) -> Result<Vec<Item>, Failure> {
        match self.collection.get_many(ids) {
            Ok(found) => return Ok(found.into_iter().map(Item::from).collect()),
            Err(error) if error.is("not-found") => {}
            Err(error) => return Err(error.into()),
        }
        let (mut found, mut unknown) = (Vec::with_capacity(ids.len()), Vec::new());
        for id in ids {
            match self.collection.get(id) {
                Ok(item) => found.push(item.into()),
                Err(error) if error.is("not-found") => match self.collection.document(id) {
                    Ok(chunks) => found.extend(chunks.into_iter().map(Item::from)),
                    Err(error) if error.is("not-found") => unknown.push(id.clone()),
                    Err(error) => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        let collection = self.name().to_owned();
        let ids = unknown;
        Err(affinis::Error::UnknownId { collection, ids }.into())
    }

    /// Whether an id is that of an item or a document.
    fn exists(&self, id: &str) -> Result<bool, Failure> {
        let item = self.collection.get(id).map(drop);
        let found = match item {
            Err(error) if error.is("not-found") => self.collection.document(id).map(drop),
            item => item,
        };
        match found {
            Ok(()) => Ok(true),
            Err(error) if error.is("not-found") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Those of some ids that are of an item or a document.
    pub(super) fn existing(&self, ids: &[String]) -> Result<HashSet<String>, Failure> {
        let mut found = HashSet::new();
        let mut unsure: Vec<&String> = Vec::new();
        for ids in ids.chunks(IDS) {
            // Mostly all of them exist, which is one answer, or none of them.
            match self.collection.get_many(ids) {
                Ok(_) => found.extend(ids.iter().cloned()),
                Err(error) if error.is("not-found") => unsure.extend(ids),
                Err(error) => return Err(error.into()),
            }
        }
        if unsure.is_empty() {
            return Ok(found);
        }
        let items = self.collection.count(None)? as usize;
        if unsure.len() <= PAGE_COST * items.div_ceil(PAGE) {
            for id in unsure {
                if self.exists(id)? {
                    found.insert(id.clone());
                }
            }
            return Ok(found);
        }
        // All ids of the collection between the first and the last of those that are asked for.
        let unsure: HashSet<&String> = unsure.into_iter().collect();
        let (Some(first), Some(last)) = (unsure.iter().min(), unsure.iter().max()) else {
            return Ok(found);
        };
        if self.exists(first)? {
            found.insert((**first).clone());
        }
        // The ids of the chunks of a document follow its own.
        let last = format!("{last}$");
        let list = self.collection.list().after(first.as_str());
        for item in list.page(PAGE).without_vectors().run() {
            let item = item?;
            if item.id > last {
                break;
            }
            let document = item.meta["document"].as_str();
            let document = document.filter(|document| item.id.starts_with(&format!("{document}#")));
            let named = [Some(item.id.as_str()), document].into_iter().flatten();
            for id in named.filter_map(|id| unsure.get(&id.to_owned())) {
                found.insert((**id).clone());
            }
        }
        Ok(found)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Service(error)
    }
}
