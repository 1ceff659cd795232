//! Collections as files: export and import.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use affinis::encode::{self, EMBEDDED, Encoder, Wanted};
use affinis::{EncoderInfo, Error};
use affinis_api::archive::{
    Archive, NAME_AT_SERVICE, place_of, read_archive, write_header, write_history, write_item,
};
use affinis_api::input::unpacked;
use affinis_api::target::Target;
use affinis_api::{BegunDocument, ImportedDocument};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt as _;
use futures_util::stream::try_unfold;
use tokio::sync::OwnedSemaphorePermit;

use super::to_value;
use crate::app::App;
use crate::blocking::{GivenUp, blocking};
use crate::engine::Engine;
use crate::extract::Segments;
use crate::jobs::{Job, JobKind};
use crate::problem::{Kind, Problem};

/// The content type of an exported collection.
const JSON_LINES: &str = "application/x-ndjson";
/// Bytes that are read or written at a time.
const PIECE: usize = 1 << 18;
/// The time in which an exported collection must be taken.
const TAKING: Duration = Duration::from_hours(1);

const EXPORT: &str = "/v1/collections/{c}/export";
/// The calls that bring a file.
pub(crate) const IMPORTS: [&str; 2] = [
    "/v1/collections/{c}/import",
    "/v1/collections/{c}/items/import",
];

/// Whether a request takes or brings a file.
pub(crate) fn is_transfer(request: &Request) -> bool {
    is_of(request, &[EXPORT]) || is_import(request)
}

/// Whether a request brings a file.
pub(crate) fn is_import(request: &Request) -> bool {
    is_of(request, &IMPORTS)
}

fn is_of(request: &Request, routes: &[&str]) -> bool {
    let path = request.extensions().get::<MatchedPath>();
    path.is_some_and(|path| routes.contains(&path.as_str()))
}

fn permit(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&app.transfers).try_acquire_owned().map_err(|_| {
        let detail = "other collections are being exported and imported; ask again later";
        Problem::new(Kind::Overloaded, detail)
    })
}

fn unkept(error: &io::Error) -> Problem {
    Problem::new(
        Kind::Unavailable,
        format!(
            "what is exported or imported cannot be kept in a temporary file: {error}; TMPDIR names a directory for it"
        ),
    )
}

/// An exported collection: its first line, and a file with the others.
struct Exported {
    header: Vec<u8>,
    rest: File,
    rest_bytes: u64,
}

impl Exported {
    /// Writes a collection to a temporary file. Of what others write meanwhile, each item is there
    /// whole or not at all.
    fn new(target: &Target, given_up: impl Fn() -> bool) -> Result<Self, Problem> {
        let file = tempfile::tempfile().map_err(|error| unkept(&error))?;
        let mut writer = BufWriter::with_capacity(PIECE, file);
        let (mut count, mut written) = (0, Ok(()));
        target.for_each_item(|item| {
            written = write_item(&mut writer, &item);
            count += 1;
            written.is_ok() && !given_up()
        })?;
        if given_up() {
            return Err(Problem::new(
                Kind::Cancelled,
                "nobody waits for it any more",
            ));
        }
        let history = target.learning().history()?;
        let settings = target.settings(count)?;
        let mut header = Vec::new();
        written
            .and_then(|()| write_header(&mut header, settings, &history))
            .and_then(|()| write_history(&mut writer, &history))
            .map_err(|error| unkept(&error))?;
        let rest = writer.into_inner().map_err(|error| unkept(error.error()))?;
        let at_begin = |mut file: File| {
            let bytes = file.stream_position()?;
            file.seek(SeekFrom::Start(0))?;
            Ok((file, bytes))
        };
        let (rest, rest_bytes) = at_begin(rest).map_err(|error: io::Error| unkept(&error))?;
        Ok(Self {
            header,
            rest,
            rest_bytes,
        })
    }

    /// Its bytes, piece by piece, with the permit held until they are taken.
    fn into_body(self, permit: OwnedSemaphorePermit) -> Body {
        struct Rest {
            file: File,
            first: Option<Vec<u8>>,
            until: Instant,
            _permit: OwnedSemaphorePermit,
        }
        let rest = Rest {
            file: self.rest,
            first: Some(self.header),
            until: Instant::now() + TAKING,
            _permit: permit,
        };
        let pieces = try_unfold(rest, |mut rest| async move {
            if let Some(first) = rest.first.take() {
                return Ok(Some((Bytes::from(first), rest)));
            }
            if Instant::now() > rest.until {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = Vec::with_capacity(PIECE);
                (&rest.file).take(PIECE as u64).read_to_end(&mut piece)?;
                Ok::<_, io::Error>((piece, rest))
            });
            let (piece, rest) = read.await.map_err(io::Error::other)??;
            Ok((!piece.is_empty()).then(|| (Bytes::from(piece), rest)))
        });
        Body::from_stream(pieces)
    }
}

/// Gives a collection with its judgements and metrics as a file, a JSON object a line.
#[utoipa::path(get, path = "/v1/collections/{c}/export", tag = "transfer",
    params(("c" = String, Path, description = "Name of the collection")),
    responses((status = 200, description = "The file that `affinis export` writes",
        body = String, content_type = "application/x-ndjson")))]
pub(crate) async fn export(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    let permit = permit(&app)?;
    let (_guard, given_up) = GivenUp::new();
    let exported = app.on(name, move |target| Exported::new(target, given_up));
    let exported = exported.await?;
    let length = exported.header.len() as u64 + exported.rest_bytes;
    let headers = [
        (header::CONTENT_TYPE, JSON_LINES.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, exported.into_body(permit)).into_response())
}

/// Makes a collection of an exported one, in the background, after the file has come. All of it is
/// stored, or nothing.
#[utoipa::path(post, path = "/v1/collections/{c}/import", tag = "transfer",
    params(("c" = String, Path, description = "Name of the new collection")),
    request_body(content = String, content_type = "application/x-ndjson",
        description = "The file that `affinis export` writes, which may be packed with gzip or zstd"),
    responses((status = 202, description = "A job, whose result is that of `import --json`", body = BegunDocument)))]
pub(crate) async fn import(
    State(app): State<App>,
    Segments(name): Segments<String>,
    request: Request,
) -> Result<(StatusCode, Json<BegunDocument>), Problem> {
    let (opened, of) = (app.clone(), name.clone());
    let is_free = move || -> Result<(), Problem> {
        let store = opened
            .engine
            .store("`affinis import NAME FILE` makes a table of an exported collection there")?;
        let known = store.collections()?;
        if known.iter().any(|info| info.name == of) {
            return Err(Error::CollectionExists(of).into());
        }
        Ok(())
    };
    let (file, permit) = brought(&app, request, is_free).await?;
    let begun = app.begin(JobKind::Import, Some(name.clone()), move |app, job| {
        let _permit = permit;
        import_file(app, job, &name, file)
    })?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Receives the file that a request brings, unless `check` refuses it, with the permit that the work
/// on it holds.
pub(super) async fn brought(
    app: &App,
    request: Request,
    check: impl FnOnce() -> Result<(), Problem> + Send + 'static,
) -> Result<(File, OwnedSemaphorePermit), Problem> {
    let (parts, body) = request.into_parts();
    refuse_others(app, &parts.headers)?;
    let permit = permit(app)?;
    blocking(check).await?;
    let file = received(app, body).await?;
    Ok((file, permit))
}

/// Checks what a request says of the file that it brings.
fn refuse_others(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let declared = text(header::CONTENT_TYPE).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(JSON_LINES) {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            format!(
                "the body must be a file of JSON lines, with the header `content-type: {JSON_LINES}`"
            ),
        ));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    match length {
        Some(length) if length > app.limits.import_bytes => Err(too_large(app)),
        _ => Ok(()),
    }
}

fn too_large(app: &App) -> Problem {
    Problem::new(
        Kind::TooLarge,
        format!(
            "the file is larger than {} bytes, the limit of this service (--import-limit); the command line has none on the directory of a store",
            app.limits.import_bytes
        ),
    )
}

/// Receives a body into a temporary file, which is at its beginning then.
async fn received(app: &App, body: Body) -> Result<File, Problem> {
    let mut pieces = body.into_data_stream();
    let made = blocking(|| tempfile::tempfile().map_err(|error| unkept(&error)));
    let mut file = made.await?;
    let (mut total, mut held) = (0, Vec::new());
    loop {
        let next = tokio::time::timeout(app.limits.request_time, pieces.try_next());
        let next = next.await.map_err(|_| {
            let detail = "nothing more of the file came; nothing is stored";
            Problem::new(Kind::Timeout, detail)
        })?;
        let next = next.map_err(|error| Problem::invalid(error.to_string()))?;
        let ended = next.is_none();
        if let Some(piece) = next {
            total += piece.len() as u64;
            if total > app.limits.import_bytes {
                return Err(too_large(app));
            }
            held.extend_from_slice(&piece);
        }
        if ended || held.len() >= PIECE {
            let write = move || -> Result<_, Problem> {
                file.write_all(&held).map_err(|error| unkept(&error))?;
                held.clear();
                Ok((file, held))
            };
            (file, held) = blocking(write).await?;
        }
        if ended {
            break;
        }
    }
    file.seek(SeekFrom::Start(0))
        .map_err(|error| unkept(&error))?;
    Ok(file)
}

/// The unpacked bytes of a file, up to the limit and until the job is cancelled.
struct Bounded {
    inner: Box<dyn BufRead>,
    left: u64,
    job: Arc<Job>,
}

impl Bounded {
    pub(super) fn new(inner: Box<dyn BufRead>, app: &App, job: &Arc<Job>) -> Self {
        Self {
            inner,
            left: app.limits.import_bytes,
            job: Arc::clone(job),
        }
    }
}

impl Read for Bounded {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.job.is_cancelled() {
            return Err(io::Error::other("it was cancelled"));
        }
        let read = self.inner.read(bytes)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(
                "unpacked it is larger than the limit of this service (--import-limit)",
            )
        })?;
        Ok(read)
    }
}

/// Reads a file that may be packed.
pub(super) fn unpacked_file(
    app: &App,
    job: &Arc<Job>,
    file: File,
) -> Result<impl BufRead, Problem> {
    let packed = BufReader::with_capacity(PIECE, file);
    let (inner, _) = unpacked(Box::new(packed)).map_err(|error| unkept(&error))?;
    let bounded = Bounded::new(inner, app, job);
    Ok(BufReader::with_capacity(PIECE, bounded))
}

/// Ends what a job does before anything is stored.
pub(super) fn stop_if_cancelled(job: &Job, what: &str) -> Result<(), Problem> {
    if job.is_cancelled() {
        let detail = format!("{what} was cancelled; nothing is stored");
        return Err(Problem::new(Kind::Cancelled, detail));
    }
    Ok(())
}

fn import_file(
    app: &App,
    job: &Arc<Job>,
    name: &str,
    file: File,
) -> Result<serde_json::Value, Problem> {
    let read = read_archive(unpacked_file(app, job, file)?, NAME_AT_SERVICE);
    stop_if_cancelled(job, "the import")?;
    let Archive {
        settings,
        items,
        history,
        places,
    } = read.map_err(|error| Problem::invalid(error.to_string()))?;
    let store = app.engine.store("nothing is imported")?;
    let mut builder = store
        .collection(name)
        .dim(settings.dim)
        .distance(settings.distance)
        .precision(settings.precision);
    if let Some(language) = settings.keywords {
        builder = builder.keywords(language);
    }
    if let Some(info) = &settings.encoder {
        builder = builder.encoder_arc(encoder(&app.engine, info)?);
    }
    let counts = ImportedDocument {
        collection: name.to_owned(),
        items: items.len() as u64,
        judgements: history.judgements.len() as u64,
        metrics: history.versions.len() as u64,
    };
    let imported = builder.create_with(items, &history);
    let collection =
        imported.map_err(
            |error| match place_of(error, NAME_AT_SERVICE, &places, &history) {
                Ok(of_file) => Problem::invalid(of_file.to_string()),
                Err(of_store) => of_store.into(),
            },
        )?;
    app.keep(Target::Embedded(collection));
    to_value(&counts)
}

/// The encoder of an exported collection, by its fingerprint. The path that it had on the exporting
/// machine is not followed.
fn encoder(engine: &Engine, info: &EncoderInfo) -> Result<Arc<dyn Encoder>, Problem> {
    let embedded = info.source.as_deref().filter(|source| *source == EMBEDDED);
    let wanted = Wanted::new(&info.name, &info.fingerprint)
        .source(embedded)
        .output(info.output.as_deref());
    let found = encode::find(&wanted, engine.models()).map_err(Error::from)?;
    if found.fingerprint() == info.fingerprint {
        return Ok(found);
    }
    Err(Problem::new(
        Kind::Conflict,
        format!(
            "{NAME_AT_SERVICE} was encoded by {:?} (fingerprint {}), and the encoder of that name here has the fingerprint {}: their vectors cannot be compared; start the service with --encoder DIR that has the other",
            info.name,
            info.fingerprint,
            found.fingerprint()
        ),
    ))
}
