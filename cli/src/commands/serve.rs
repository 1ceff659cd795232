//! `serve` and `token`: answer over HTTP, and make a token for somebody who may ask.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use affinis::Store;
use affinis_server::{
    Engine as Served, Limits, Role, ServeError, Service, Settings, Tls, TlsError, Tokens,
};
use clap::ValueEnum;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use super::At;
use crate::failure::Failure;
use crate::output::{self, BOLD, DIM, Out, plain};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The calls are described in docs/service.md, and at /openapi.json of the service. Ctrl-C ends it: no
write that was acknowledged is lost. The store is made where there is none.

Examples:
  affinis serve
  affinis serve --listen 127.0.0.1:0                any free port
  affinis serve --encoder models                    collections may have the encoders below models/
  affinis --store postgres://app@localhost/shop serve
  affinis serve --listen 0.0.0.0:7717 --tokens tokens.txt --host search.example.org \\
      --tls-cert chain.pem --tls-key key.pem        over HTTPS
  curl localhost:7717/v1/collections")]
pub(crate) struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7717", value_parser = address)]
    listen: SocketAddr,
    /// File of tokens, a line each, as `affinis token` prints it; needed for addresses that others
    /// can reach
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Name under which browsers reach the service, beside localhost and IP addresses
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// File of the certificate for HTTPS, in PEM, followed by those that lead to its authority
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// File of the certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Most requests a second of a token, or of an address without one [default: no limit]
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Origin, scheme and host, whose pages may ask from a browser (CORS)
    /// [default: the service's own page only]
    #[arg(long, value_name = "URL")]
    origin: Vec<String>,
    /// Directory that backups are written in [default: no backups over HTTP]
    #[arg(long, value_name = "DIR")]
    backups: Option<PathBuf>,
    /// Largest file, of a collection or of items, that is imported, in MiB
    #[arg(long, value_name = "MIB", default_value = "1024")]
    import_limit: NonZeroU32,
    /// Form of the log on standard error, a line a request
    #[arg(long, value_name = "FORM", default_value = "text")]
    log: Log,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The token is printed once. The line goes into the file that `affinis serve --tokens` reads; it holds
the token's hash. Each role may do what those before it may.

Examples:
  affinis token ann --role judge                    ann's judgements carry the name ann
  affinis token shop --role search")]
pub(crate) struct TokenArgs {
    /// Name of the token, which the judgements made with it carry as their user
    name: String,
    /// What its holder may do: search, judge, write or admin
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Log {
    /// A line of text
    Text,
    /// A JSON document
    Json,
}

pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| {
        format!("an address is such as 127.0.0.1:7717, [::1]:7717 or localhost:7717: {error}")
    })?;
    found
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|error| format!("{error}"))
}

pub(crate) fn serve(args: &ServeArgs, at: &At) -> Result<(), Failure> {
    let tokens = match &args.tokens {
        None => None,
        Some(file) => {
            let wrong = |error: &dyn std::fmt::Display| {
                Failure::Failed(format!("{}: {error}", file.display()))
            };
            let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
            Some(Tokens::parse(&text).map_err(|error| wrong(&error))?)
        }
    };
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(tls(certificate, key)?),
        _ => None,
    };
    let settings = Settings {
        listen: args.listen,
        tokens,
        hosts: args.host.clone(),
        tls,
        origins: args.origin.clone(),
        backups: args.backups.clone(),
        limits: Limits {
            rate: args.rate,
            import_bytes: u64::from(args.import_limit.get()) << 20,
            ..Limits::default()
        },
    };
    let service = bind(engine(at)?, settings)?;
    log(args.log, LevelFilter::INFO);
    answer(service)
}

/// A service of a store for this machine, whose connections are answered once it is given to
/// [`answer`].
pub(crate) fn of_store(store: Store, listen: SocketAddr) -> Result<Service, Failure> {
    let settings = Settings {
        listen,
        ..Settings::default()
    };
    let service = bind(store.into(), settings)?;
    log(Log::Text, LevelFilter::WARN);
    Ok(service)
}

fn bind(engine: Served, settings: Settings) -> Result<Service, Failure> {
    Service::bind(engine, settings).map_err(|error| match error {
        ServeError::Open(_) => Failure::Failed(format!(
            "{error}; `affinis token` makes the lines of --tokens FILE"
        )),
        other => Failure::Failed(other.to_string()),
    })
}

/// Answers until a signal ends it.
pub(crate) fn answer(service: Service) -> Result<(), Failure> {
    // Connections wait from now on until they are answered.
    output::note(format_args!("listening on {}", service.url()));
    service
        .run()
        .map_err(|error| Failure::Failed(error.to_string()))
}

/// The store, which is made where there is none, or the database.
fn engine(at: &At) -> Result<Served, Failure> {
    #[cfg(feature = "postgres")]
    if let super::Engine::Postgres(url) = &at.engine {
        return Ok(Served::Postgres(affinis_server::Database {
            postgres: super::pg::connect(url)?,
            plugins: vec![std::sync::Arc::new(
                affinis_mahalanobis::Mahalanobis::default(),
            )],
            models: at.encoder.iter().cloned().collect(),
        }));
    }
    let mut builder = at.builder().create(true);
    if let Some(directory) = &at.encoder {
        builder = builder.models(directory);
    }
    Ok(Served::Store(builder.open(at.path()?)?))
}

/// The certificate and the key of files.
fn tls(certificate: &Path, key: &Path) -> Result<Tls, Failure> {
    let wrong = |file: &Path, error: &dyn std::fmt::Display| {
        Failure::Failed(format!("{}: {error}", file.display()))
    };
    let read = |file: &Path| std::fs::read(file).map_err(|error| wrong(file, &error));
    Tls::from_pem(&read(certificate)?, &read(key)?).map_err(|error| match &error {
        TlsError::Certificate(_) => wrong(certificate, &error),
        TlsError::Key(_) => wrong(key, &error),
        both => Failure::Failed(format!(
            "{} and {}: {both}",
            certificate.display(),
            key.display()
        )),
    })
}

/// Writes what the service and the store tell to standard error.
fn log(form: Log, level: LevelFilter) {
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(std::io::stderr);
    match form {
        Log::Text => log.init(),
        Log::Json => log.json().flatten_event(true).init(),
    }
}

pub(crate) fn token(args: &TokenArgs, out: &mut Out) -> Result<(), Failure> {
    let made = Tokens::make(&args.name, args.role);
    let made = made.map_err(|error| Failure::Failed(error.to_string()))?;
    if out.is_json() {
        return Ok(out.json(&json!({"token": made.token, "line": made.line}))?);
    }
    out.line(format_args!(
        "{DIM}token for {}, not shown again{DIM:#}",
        plain(&args.name)
    ))?;
    out.line(format_args!("{BOLD}{}{BOLD:#}", made.token))?;
    out.line(format_args!("{DIM}line for the file of tokens{DIM:#}"))?;
    out.line(&made.line)?;
    Ok(())
}
