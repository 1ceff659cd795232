//! [`Collection`]: one collection of a service.

use affinis::Language;
use affinis_api::{DescriptionDocument, OptimizedDocument};
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::Result;
use crate::http::{Http, encoded};
use crate::jobs::Job;

/// A collection of a service. Its calls give a problem `not-found` where there is none of its name.
#[derive(Debug, Clone)]
pub struct Collection {
    pub(crate) client: Client,
    name: String,
    /// The address of the collection in the service.
    path: String,
}

impl Collection {
    pub(crate) fn new(client: Client, name: String) -> Self {
        let path = format!("/v1/collections/{}", encoded(&name));
        Self { client, name, path }
    }

    /// Name of the collection.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The service that holds it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn http(&self) -> &Http {
        &self.client.http
    }

    /// The address of something in the collection.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("{}/{rest}", self.path)
    }

    /// Settings, sizes, segments and calibration.
    ///
    /// # Errors
    /// Those of any call: see [`Error`](crate::Error).
    pub fn describe(&self) -> Result<DescriptionDocument> {
        self.http().get(&self.path)
    }

    /// Turns keyword search over the texts on, in a language, or off.
    ///
    /// # Errors
    /// Those of any call.
    pub fn set_keywords(&self, language: Option<Language>) -> Result<()> {
        let path = self.path("keywords");
        let answer: Value = self.http().put(&path, &json!({"language": language}))?;
        drop(answer);
        Ok(())
    }

    /// Builds one graph of all items, under the active metric.
    ///
    /// # Errors
    /// Those of any call.
    pub fn optimize(&self) -> Result<Job<OptimizedDocument>> {
        self.client.begin(&self.path("optimize"), &json!({}))
    }
}
