//! Download of a model directory from the Hugging Face hub, complete or not at all.
//!
//! The hub lists the files of a repository at one commit. Those that [`Onnx::from_dir`] reads are
//! downloaded into a hidden directory beside the destination, loaded once to check that they belong
//! together, and then moved to the destination by one rename. An interrupted download leaves
//! nothing that looks like a model.
//!
//! hf-hub 0.5 is blocking, on ureq and rustls; its version 1.0 needs tokio and reqwest.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::error::EncodeError;
use super::find::MODEL_FILES;
use super::onnx::Onnx;
use super::tokens::guard;

/// A callback for every chunk that arrives, with the file, its bytes so far, and its size in bytes.
type Progress = Arc<dyn Fn(&str, u64, u64) + Send + Sync>;

/// Options of [`pull`].
#[derive(Clone, Default)]
pub struct PullOptions {
    revision: Option<String>,
    endpoint: Option<String>,
    token: Option<String>,
    model: Option<String>,
    progress: Option<Progress>,
}

impl PullOptions {
    /// The default options: branch `main`, the public hub or the one in `HF_ENDPOINT`, the token in
    /// `HF_TOKEN` or of `huggingface-cli login`, and `model.onnx` or `onnx/model.onnx`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the branch, tag or commit.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Sets the address of the hub, such as `https://hub.example.org`.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets the token for private and gated repositories.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets the ONNX file in the repository, such as `onnx/model_quantized.onnx`.
    pub fn model(mut self, file: impl Into<String>) -> Self {
        self.model = Some(file.into());
        self
    }

    /// Sets a callback for every chunk that arrives, with the file, its bytes so far, and its size
    /// in bytes.
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

/// A downloaded model directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulled {
    /// Path of the directory, for [`Onnx::from_dir`].
    pub dir: PathBuf,
    /// Commit of the files.
    pub commit: String,
    /// Files in the directory, with their sizes in bytes.
    pub files: Vec<(String, u64)>,
}

/// Files that are downloaded where the repository has them.
const OPTIONAL: [&str; 6] = [
    "config.json",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "modules.json",
    // The model card, which has the licence.
    "README.md",
];

/// Downloads the model `repo` (such as `sentence-transformers/all-MiniLM-L6-v2`) into the new
/// directory `dir`.
///
/// # Errors
/// [`EncodeError::Hub`] when the destination exists, the repository does not exist or has no ONNX
/// model with a tokenizer, the transfer fails, or the files are not a usable model;
/// [`EncodeError::Io`] when the files cannot be written. In every case `dir` is unchanged.
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

    let refused = |reason: String| failed(explain(&reason));
    let remote = |revision: String| connect(repo, revision, &work.0.join("cache"), options);
    let wanted = options.revision.clone().unwrap_or_else(|| "main".into());
    let info = guard(|| remote(wanted)?.info()).map_err(refused)?;
    let names: Vec<&str> = info
        .siblings
        .iter()
        .map(|file| file.rfilename.as_str())
        .collect();
    let files = choose(&names, options.model.as_deref()).map_err(failed)?;

    // All files are of one commit: a push in between cannot mix two versions.
    let source = guard(|| remote(info.sha.clone())).map_err(refused)?;
    let stage = work.0.join("model");
    let mut stored = Vec::with_capacity(files.len());
    for (name, local) in files {
        let report = Report {
            file: local,
            done: 0,
            total: 0,
            progress: options.progress.clone(),
        };
        let downloaded = guard(|| source.download_with_progress(name, report)).map_err(refused)?;
        let bytes = store(&downloaded, &stage.join(local)).map_err(io)?;
        stored.push((local.to_owned(), bytes));
    }
    match Onnx::from_dir(&stage) {
        // Which output is the embedding can be chosen when a collection is made.
        Ok(_) | Err(EncodeError::Output { .. }) => {}
        Err(e) => return Err(failed(format!("its files are not a usable model: {e}"))),
    }
    if dir.exists() {
        // It is empty, and not every system renames onto a directory.
        std::fs::remove_dir(&dir).map_err(io)?;
    }
    std::fs::rename(&stage, &dir).map_err(io)?;
    Ok(Pulled {
        dir,
        commit: info.sha,
        files: stored,
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

/// The files to download, each by its name in the repository and its name in the directory.
fn choose<'a>(names: &[&'a str], model: Option<&str>) -> Result<Vec<(&'a str, &'a str)>, String> {
    let find = |wanted: &str| names.iter().copied().find(|name| *name == wanted);
    let onnx = match model {
        Some(file) => find(file).ok_or_else(|| format!("it has no file {file}"))?,
        None => MODEL_FILES.into_iter().find_map(find).ok_or(
            "it has no model.onnx or onnx/model.onnx; export it with optimum-cli export onnx, or choose a repository \
             that has one",
        )?,
    };
    let tokenizer = find("tokenizer.json").ok_or("it has no tokenizer.json")?;
    let mut files = vec![(onnx, MODEL_FILES[0]), (tokenizer, tokenizer)];
    // Weights outside of the graph, which names the file without its folder.
    let outside = names.iter().copied().filter(|name| {
        let ends = ["_data", ".data"];
        let mut graphs = ends.iter().filter_map(|end| name.strip_suffix(end));
        graphs.any(|graph| graph == onnx)
    });
    files.extend(outside.map(|name| (name, name.rsplit('/').next().unwrap_or(name))));
    let settings = names
        .iter()
        .copied()
        .filter(|name| OPTIONAL.contains(name) || is_of_module(name));
    files.extend(settings.map(|name| (name, name)));
    Ok(files)
}

/// Whether a file has the settings of a module, such as `1_Pooling/config.json`.
fn is_of_module(name: &str) -> bool {
    let folder = name.strip_suffix("/config.json").unwrap_or_default();
    let number = folder.split_once('_').map(|(number, _)| number);
    !folder.contains('/')
        && number.is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Copies a downloaded file out of the cache, whose names are links. Returns its size in bytes.
fn store(downloaded: &Path, to: &Path) -> std::io::Result<u64> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy(std::fs::canonicalize(downloaded)?, to)
}

/// Whether a text is the name of a repository: `model` or `owner/model` of letters, digits, `-`,
/// `_` and `.`.
fn is_name(repo: &str) -> bool {
    let is_segment = |segment: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !segment.is_empty()
            && segment.chars().all(plain)
            && !segment.contains("..")
            && !segment.starts_with('.')
    };
    repo.len() <= 200 && repo.split('/').count() <= 2 && repo.split('/').all(is_segment)
}

fn is_empty_dir(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// The error of the client, with advice.
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
        // A directory that cannot be removed is hidden, and its name says that it is of a pull.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The progress of one file.
struct Report<'a> {
    file: &'a str,
    done: u64,
    total: u64,
    progress: Option<Progress>,
}

impl hf_hub::api::Progress for Report<'_> {
    fn init(&mut self, size: usize, _filename: &str) {
        // Called again when a transfer is resumed, before the bytes that were received already.
        self.done = 0;
        self.total = size as u64;
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        if let Some(progress) = &self.progress {
            progress(self.file, self.done, self.total);
        }
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests;
