//! Fetches a model directory from the Hugging Face hub, complete or not at all.
//!
//! The hub lists a repository's files at one commit; those of the layout that [`Onnx::from_dir`]
//! reads are fetched into a hidden directory beside the destination, loaded once to see that they
//! belong together, and then moved into place by one rename. A transfer that breaks leaves nothing
//! that could be taken for a model.
//!
//! hf-hub 0.5 does the talking: blocking, on ureq and rustls. Its version 1.0 needs tokio and
//! reqwest for the same two requests.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::error::EncodeError;
use super::onnx::Onnx;
use super::tokens::guard;

/// Told of every piece that arrives: the file, the bytes so far, and the bytes there will be.
type Progress = Arc<dyn Fn(&str, u64, u64) + Send + Sync>;

/// What to fetch, and from where.
#[derive(Clone, Default)]
pub struct PullOptions {
    revision: Option<String>,
    endpoint: Option<String>,
    token: Option<String>,
    model: Option<String>,
    progress: Option<Progress>,
}

impl PullOptions {
    /// The defaults: branch `main`, the public hub or the one that `HF_ENDPOINT` names, the token
    /// of `HF_TOKEN` or of `huggingface-cli login`, and `model.onnx` or `onnx/model.onnx`.
    pub fn new() -> Self {
        Self::default()
    }

    /// A branch, tag or commit.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// The hub's address, such as `https://hub.example.org`.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The token for private and gated repositories.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Another ONNX file of the repository, such as `onnx/model_quantized.onnx`.
    pub fn model(mut self, file: impl Into<String>) -> Self {
        self.model = Some(file.into());
        self
    }

    /// Told of every piece that arrives: the file, the bytes so far, and the bytes there will be.
    pub fn progress(mut self, progress: impl Fn(&str, u64, u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }
}

impl fmt::Debug for PullOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions")
            .field("revision", &self.revision)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulled {
    /// The model directory, for [`Onnx::from_dir`].
    pub dir: PathBuf,
    /// The commit that the files are of.
    pub commit: String,
    /// The files in the directory, with their sizes in bytes.
    pub files: Vec<(String, u64)>,
}

/// Files that are fetched where the repository has them.
const OPTIONAL: [&str; 6] = [
    "config.json",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
    // The model card says the licence.
    "README.md",
];

/// Fetches the model `repo` (such as `sentence-transformers/all-MiniLM-L6-v2`) into the new
/// directory `dir`.
///
/// # Errors
/// [`EncodeError::Hub`] when the destination exists, the repository is not there or has no ONNX
/// model with a tokenizer, the transfer fails, or the files do not make a model;
/// [`EncodeError::Io`] when the disk refuses. In every case `dir` is as it was.
pub fn pull(
    repo: &str,
    dir: impl AsRef<Path>,
    options: &PullOptions,
) -> Result<Pulled, EncodeError> {
    let failed = |reason: String| EncodeError::Hub {
        repo: repo.to_owned(),
        reason,
    };
    let dir = dir.as_ref();
    let io = |source| EncodeError::Io {
        path: dir.to_path_buf(),
        source,
    };
    if !is_name(repo) {
        return Err(failed(
            "not the name of a repository; names look like owner/model".into(),
        ));
    }
    let dir = std::path::absolute(dir).map_err(io)?;
    if dir.exists() && !is_empty_dir(&dir) {
        return Err(failed(format!(
            "{} exists already; remove it, or name another directory",
            dir.display()
        )));
    }
    let work = Work::new(&dir).map_err(io)?;

    let talk = |reason: String| failed(explain(&reason));
    let remote = |revision: String| connect(repo, revision, &work.0.join("cache"), options);
    let wanted = options.revision.clone().unwrap_or_else(|| "main".into());
    let info = guard(|| remote(wanted)?.info()).map_err(talk)?;
    let names: Vec<&str> = info
        .siblings
        .iter()
        .map(|file| file.rfilename.as_str())
        .collect();
    let files = choose(&names, options.model.as_deref()).map_err(failed)?;

    // All files are asked for by the commit: a push in between cannot mix two versions.
    let source = guard(|| remote(info.sha.clone())).map_err(talk)?;
    let stage = work.0.join("model");
    let mut got = Vec::with_capacity(files.len());
    for (name, local) in files {
        let report = Report {
            file: local,
            done: 0,
            total: 0,
            told: options.progress.clone(),
        };
        let fetched = guard(|| source.download_with_progress(name, report)).map_err(talk)?;
        let bytes = keep(&fetched, &stage.join(local)).map_err(io)?;
        got.push((local.to_owned(), bytes));
    }
    Onnx::from_dir(&stage).map_err(|e| {
        failed(format!(
            "its files do not make a model that can be used: {e}"
        ))
    })?;
    if dir.exists() {
        // It is empty, and not every system renames onto a directory.
        std::fs::remove_dir(&dir).map_err(io)?;
    }
    std::fs::rename(&stage, &dir).map_err(io)?;
    Ok(Pulled {
        dir,
        commit: info.sha,
        files: got,
    })
}

/// Opens a repository at a revision.
fn connect(
    repo: &str,
    revision: String,
    cache: &Path,
    options: &PullOptions,
) -> Result<ApiRepo, hf_hub::api::sync::ApiError> {
    let variable = |name| {
        std::env::var(name)
            .ok()
            .filter(|value| !value.trim().is_empty())
    };
    let token = options
        .token
        .clone()
        .or_else(|| variable("HF_TOKEN"))
        .or_else(|| Cache::from_env().token());
    let mut builder = ApiBuilder::from_cache(Cache::new(cache.to_path_buf()))
        .with_token(token)
        .with_retries(2);
    if let Some(endpoint) = options.endpoint.clone().or_else(|| variable("HF_ENDPOINT")) {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    Ok(builder.build()?.repo(Repo::with_revision(
        repo.to_owned(),
        RepoType::Model,
        revision,
    )))
}

/// The files to fetch: the name in the repository, and the name in the directory.
fn choose<'a>(names: &[&'a str], model: Option<&str>) -> Result<Vec<(&'a str, &'a str)>, String> {
    let find = |wanted: &str| names.iter().copied().find(|name| *name == wanted);
    let onnx = match model {
        Some(file) => find(file).ok_or_else(|| format!("it has no file {file}"))?,
        None => find("model.onnx").or_else(|| find("onnx/model.onnx")).ok_or(
            "it has no model.onnx or onnx/model.onnx; export it with optimum-cli export onnx, or choose a repository \
             that has one",
        )?,
    };
    if names
        .iter()
        .any(|name| *name == format!("{onnx}_data") || *name == format!("{onnx}.data"))
    {
        return Err(format!(
            "the weights of {onnx} are in a second file, which is not supported; choose a smaller model"
        ));
    }
    let tokenizer = find("tokenizer.json").ok_or("it has no tokenizer.json")?;
    let mut files = vec![(onnx, "model.onnx"), (tokenizer, tokenizer)];
    files.extend(
        OPTIONAL
            .iter()
            .filter_map(|name| find(name))
            .map(|name| (name, name)),
    );
    Ok(files)
}

/// Moves a fetched file out of the cache, whose names are links. Returns its size.
fn keep(fetched: &Path, to: &Path) -> std::io::Result<u64> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy(std::fs::canonicalize(fetched)?, to)
}

/// Names of the hub: `model` or `owner/model`, letters, digits, `-`, `_` and `.`.
fn is_name(repo: &str) -> bool {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty()
            && part.chars().all(plain)
            && !part.contains("..")
            && !part.starts_with('.')
    };
    repo.len() <= 200 && repo.split('/').count() <= 2 && repo.split('/').all(part)
}

fn is_empty_dir(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// Adds what to do to what the client said.
fn explain(reason: &str) -> String {
    let advice = match reason {
        _ if reason.contains("status: 401") || reason.contains("status: 403") => {
            "the hub refuses access: check the name, and set HF_TOKEN for a private or gated repository"
        }
        _ if reason.contains("status: 404") => {
            "the hub has no such repository, revision or file: check the name"
        }
        _ => "check the network, and HF_ENDPOINT if you use another hub",
    };
    format!("{advice} ({reason})")
}

/// A hidden directory beside the destination, removed when it is dropped.
struct Work(PathBuf);

impl Work {
    fn new(dir: &Path) -> std::io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let parent = dir.parent().unwrap_or(dir);
        std::fs::create_dir_all(parent)?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!(".{name}.pull-{}-{number}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed is hidden and has a name that says what it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Report<'a> {
    file: &'a str,
    done: u64,
    total: u64,
    told: Option<Progress>,
}

impl hf_hub::api::Progress for Report<'_> {
    fn init(&mut self, size: usize, _filename: &str) {
        // Called again when a transfer is resumed, followed by what is there already.
        self.done = 0;
        self.total = size as u64;
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        if let Some(told) = &self.told {
            told(self.file, self.done, self.total);
        }
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests;
