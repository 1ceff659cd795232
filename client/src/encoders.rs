//! Encoders: those of a service, and giving a collection another one.

use affinis::Distance;
use affinis_api::ReencodedDocument;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::Client;
use crate::collection::Collection;
use crate::error::Result;
use crate::http::Repeat;
use crate::jobs::Job;

/// Another encoder for a collection.
#[must_use = "end with `begin` or `run`"]
#[derive(Debug, Clone)]
pub struct Reencode {
    collection: Collection,
    body: Body,
}

#[derive(Debug, Clone, Serialize)]
struct Body {
    encoder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<Distance>,
    commit: bool,
}

impl Reencode {
    /// Names the output of the encoder's graph that is the embedding.
    pub fn output(mut self, name: impl Into<String>) -> Self {
        self.body.output = Some(name.into());
        self
    }

    /// Sets the built-in distance; by default it stays what it is.
    pub fn distance(mut self, distance: Distance) -> Self {
        self.body.distance = Some(distance);
        self
    }

    /// Drops what the collection was before as soon as it is encoded.
    pub fn commit(mut self, commit: bool) -> Self {
        self.body.commit = commit;
        self
    }

    /// Begins, in the background.
    ///
    /// # Errors
    /// A problem `not-found` for an encoder that the service does not have.
    pub fn begin(self) -> Result<Job<ReencodedDocument>> {
        let path = self.collection.path("reencode");
        self.collection.client.begin(&path, &self.body)
    }

    /// Waits until all texts are encoded.
    ///
    /// # Errors
    /// As [`begin`](Self::begin), and the problem with which the job failed.
    pub fn run(self) -> Result<ReencodedDocument> {
        self.begin()?.wait()
    }
}

impl Client {
    /// The names of the encoders that collections can have.
    ///
    /// # Errors
    /// Those of any call.
    pub fn encoders(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Encoders {
            encoders: Vec<String>,
        }
        let listed: Encoders = self.http.get("/v1/encoders")?;
        Ok(listed.encoders)
    }
}

impl Collection {
    /// Gives the collection another encoder of the service, by its name, with all that was judged.
    /// What it was before is the collection `NAME.before`.
    pub fn reencode(&self, encoder: impl Into<String>) -> Reencode {
        Reencode {
            collection: self.clone(),
            body: Body {
                encoder: encoder.into(),
                output: None,
                distance: None,
                commit: false,
            },
        }
    }

    /// Drops what the collection was before it was given another encoder.
    ///
    /// # Errors
    /// A problem `not-found` where it was not.
    pub fn reencode_commit(&self) -> Result<()> {
        let path = self.path("reencode/commit");
        let done: Result<Value> = self.http().post(&path, &Value::Null, Repeat::Keyed);
        done.map(drop)
    }

    /// Gives the collection the encoder that it had before; what it has become since is the
    /// collection `NAME.reencoding`.
    ///
    /// # Errors
    /// A problem `not-found` where there is none.
    pub fn reencode_back(&self) -> Result<()> {
        let path = self.path("reencode/back");
        let done: Result<Value> = self.http().post(&path, &Value::Null, Repeat::Keyed);
        done.map(drop)
    }
}
