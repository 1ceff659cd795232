//! [`Client`]: a service, its collections, and what concerns the whole store.

use std::fmt;
use std::path::Path;

use affinis::{CollectionInfo, Distance, Language, Precision};
use affinis_api::{BackupDocument, BegunDocument, JobDocument, SessionDocument, VerifiedDocument};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::collection::Collection;
use crate::error::Result;
use crate::http::{Http, Repeat, encoded};
use crate::jobs::Job;

/// A service. A copy is cheap, and may be used from several threads at once.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: Http,
}

impl fmt::Debug for Client {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.http.base()).finish()
    }
}

impl Client {
    /// The service at an address, such as `http://127.0.0.1:7717`. Nothing is asked yet.
    ///
    /// A proxy is taken from the environment (`HTTPS_PROXY` and the like), but for this machine.
    ///
    /// # Errors
    /// [`Error::Url`](crate::Error::Url).
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self {
            http: Http::new(url)?,
        })
    }

    /// Shows a token, as `affinis token` prints it, with every request.
    ///
    /// # Errors
    /// [`Error::Token`](crate::Error::Token) for what cannot be one.
    pub fn token(mut self, token: &str) -> Result<Self> {
        self.http = self.http.with_token(token)?;
        Ok(self)
    }

    /// Trusts the root certificates of a PEM file beside those of the system, such as that of an
    /// authority of one's own.
    ///
    /// # Errors
    /// [`Error::RootCertificates`](crate::Error::RootCertificates).
    pub fn root_certificates(mut self, file: impl AsRef<Path>) -> Result<Self> {
        self.http = self.http.with_root_certificates(file.as_ref())?;
        Ok(self)
    }

    /// The address of the service.
    pub fn url(&self) -> &str {
        self.http.base()
    }

    /// A collection, which is not asked for yet.
    pub fn collection(&self, name: impl Into<String>) -> Collection {
        Collection::new(self.clone(), name.into())
    }

    /// The collections, by name.
    ///
    /// # Errors
    /// Those of any call: see [`Error`](crate::Error).
    pub fn collections(&self) -> Result<Vec<CollectionInfo>> {
        #[derive(Deserialize)]
        struct Collections {
            collections: Vec<CollectionInfo>,
        }
        let listed: Collections = self.http.get("/v1/collections")?;
        Ok(listed.collections)
    }

    /// A collection that is to be created; with the encoder in the program of the service, unless
    /// its settings say otherwise.
    pub fn create(&self, name: impl Into<String>) -> Create {
        Create {
            client: self.clone(),
            name: name.into(),
            settings: Settings::default(),
        }
    }

    /// Removes a collection with its items, judgements and metrics.
    ///
    /// # Errors
    /// A problem `not-found` for an unknown name, `conflict` where it is in use.
    pub fn drop_collection(&self, name: &str) -> Result<()> {
        let path = format!("/v1/collections/{}", encoded(name));
        self.http.delete::<Value>(&path).map(drop)
    }

    /// Reads and checks everything that is stored.
    ///
    /// # Errors
    /// Those of any call.
    pub fn verify(&self) -> Result<Job<VerifiedDocument>> {
        self.begin("/v1/verify", &json!({}))
    }

    /// The names of the backups in the directory that the service was started with.
    ///
    /// # Errors
    /// A problem `unsupported` where there is no such directory.
    pub fn backups(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Backups {
            backups: Vec<String>,
        }
        let listed: Backups = self.http.get("/v1/backups")?;
        Ok(listed.backups)
    }

    /// Writes a backup of the whole store under a name of letters, digits, `-`, `_` and `.`.
    ///
    /// # Errors
    /// A problem `unsupported` where the service was started without a directory of backups.
    pub fn back_up(&self, name: &str) -> Result<Job<BackupDocument>> {
        self.begin("/v1/backups", &json!({ "name": name }))
    }

    /// The jobs that run, and the last that ended; the newest first.
    ///
    /// # Errors
    /// Those of any call.
    pub fn jobs(&self) -> Result<Vec<JobDocument>> {
        #[derive(Deserialize)]
        struct Jobs {
            jobs: Vec<JobDocument>,
        }
        let listed: Jobs = self.http.get("/v1/jobs")?;
        Ok(listed.jobs)
    }

    /// A job of a name, whose result is any JSON.
    pub fn job(&self, name: impl Into<String>) -> Job<Value> {
        Job::new(self.clone(), name.into())
    }

    /// Who is asking, and whether the service has tokens.
    ///
    /// # Errors
    /// Those of any call.
    pub fn session(&self) -> Result<SessionDocument> {
        self.http.get("/v1/session")
    }

    /// Whether the service answers.
    ///
    /// # Errors
    /// Those of any call.
    pub fn health(&self) -> Result<()> {
        self.http.get::<Value>("/healthz").map(drop)
    }

    /// Whether the store can be read, and the service does not end.
    ///
    /// # Errors
    /// A problem `unavailable` or one of the store where it cannot.
    pub fn ready(&self) -> Result<()> {
        self.http.get::<Value>("/readyz").map(drop)
    }

    /// Figures of the service in the format of Prometheus.
    ///
    /// # Errors
    /// Those of any call.
    pub fn figures(&self) -> Result<String> {
        self.http.get_text("/metrics")
    }

    /// Begins a job.
    pub(crate) fn begin<T>(&self, path: &str, body: &impl Serialize) -> Result<Job<T>> {
        let begun: BegunDocument = self.http.post(path, body, Repeat::Keyed)?;
        Ok(Job::new(self.clone(), begun.job))
    }
}

/// A collection that is to be created.
#[must_use = "end with `create`"]
#[derive(Debug, Clone)]
pub struct Create {
    client: Client,
    name: String,
    settings: Settings,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<Distance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keywords: Option<Language>,
}

impl Create {
    /// Gives it an encoder of the service by its name; `embedded` is the one in the program.
    pub fn encoder(mut self, name: impl Into<String>) -> Self {
        self.settings.encoder = Some(name.into());
        self
    }

    /// Gives it vectors of this dimension, 1 to 4,096, in place of an encoder.
    pub fn dim(mut self, dim: usize) -> Self {
        self.settings.dim = Some(dim);
        self
    }

    /// Sets the built-in distance.
    pub fn distance(mut self, distance: Distance) -> Self {
        self.settings.distance = Some(distance);
        self
    }

    /// Sets the precision of stored vectors.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.settings.precision = Some(precision);
        self
    }

    /// Turns on keyword search over its texts, in a language.
    pub fn keywords(mut self, language: Language) -> Self {
        self.settings.keywords = Some(language);
        self
    }

    /// Creates the collection.
    ///
    /// # Errors
    /// A problem `already-exists` where there is one of this name.
    pub fn create(self) -> Result<CollectionInfo> {
        let path = format!("/v1/collections/{}", encoded(&self.name));
        self.client.http.put(&path, &self.settings)
    }
}
