//! The commands. A file holds one command, or a few that belong together: their arguments, their
//! calls of the store, and their output.

pub(crate) mod add;
pub(crate) mod backup;
pub(crate) mod create;
pub(crate) mod drop;
pub(crate) mod evaluate;
pub(crate) mod explain;
pub(crate) mod forget;
pub(crate) mod items;
pub(crate) mod judge;
pub(crate) mod judgements;
pub(crate) mod keywords;
pub(crate) mod metrics;
pub(crate) mod model;
pub(crate) mod optimize;
pub(crate) mod overview;
pub(crate) mod pg;
pub(crate) mod reencode;
pub(crate) mod refit;
pub(crate) mod search;
#[cfg(feature = "serve")]
pub(crate) mod serve;
pub(crate) mod transfer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use affinis::encode::{self, Encoder, Wanted};
use affinis::{
    Collection, MetricChoice, Query, RankBy, Store, StoreBuilder, VersionId, plugin::MetricLearner,
};
use affinis_mahalanobis::Mahalanobis;

use crate::args::{Cli, Command};
use crate::demo;
use crate::failure::Failure;
use crate::input::{self, check_name};
use crate::output::Out;
#[cfg(feature = "client")]
use crate::target::Service;
use crate::target::{Local, Target};

/// Runs one command.
pub(crate) fn run(cli: Cli, out: &mut Out) -> Result<(), Failure> {
    let at = At {
        #[cfg(feature = "client")]
        engine: Engine::of(
            cli.store,
            cli.token_file.as_deref(),
            cli.root_certificates.as_deref(),
        )?,
        #[cfg(not(feature = "client"))]
        engine: Engine::of(cli.store)?,
        encoder: cli.encoder,
        wait: cli.wait.unwrap_or_default(),
        read_only: cli.read_only,
    };
    if at.read_only {
        at.check_read_only(&cli.command)?;
    }
    if cli.command.reads_standard_input() {
        input::read_ahead()?;
    }
    match cli.command {
        Command::Demo(args) => demo::run(&args, out),
        Command::Create(args) => create::run(&args, &at, out),
        Command::Add(args) => add::run(&args, &at, out),
        Command::Drop(args) => drop::run(&args, &at, out),
        Command::Get(args) => items::get(&args, &at, out),
        Command::List(args) => items::list(&args, &at, out),
        Command::Count(args) => items::count(&args, &at, out),
        Command::Delete(args) => items::delete(&args, &at, out),
        Command::Search(args) => search::run(&args, &at, out),
        Command::Judge(args) => judge::run(&args, &at, out),
        Command::Judgements(args) => judgements::run(&args, &at, out),
        Command::Refit(args) => refit::run(&args, &at, out),
        Command::Metrics(args) => metrics::run(&args, &at, out),
        Command::Explain(args) => explain::run(&args, &at, out),
        Command::Evaluate(args) => evaluate::run(&args, &at, out),
        Command::Keywords(args) => keywords::run(&args, &at, out),
        Command::Optimize(args) => optimize::run(&args, &at, out),
        Command::Stats(args) => overview::stats(&args, &at, out),
        Command::Collections(args) => overview::collections(&args, &at, out),
        Command::Verify(args) => overview::verify(&args, &at, out),
        Command::Backup(args) => backup::backup(&args, &at, out),
        Command::Restore(args) => backup::restore(&args, &at, out),
        Command::Compact(args) => backup::compact(&args, &at, out),
        Command::Export(args) => transfer::export(&args, &at, out),
        Command::Import(args) => transfer::import(&args, &at, out),
        Command::Reencode(args) => reencode::run(&args, &at, out),
        Command::Forget(args) => forget::run(&args, &at, out),
        Command::Model(args) => model::run(&args, out),
        Command::Pg(args) => pg::run(&args, &at, out),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::serve(&args, &at),
        #[cfg(feature = "serve")]
        Command::Token(args) => serve::token(&args, out),
    }
}

/// Where the collections and their encoders are.
pub(crate) struct At {
    pub(crate) engine: Engine,
    /// Where the encoder of a collection lies, if not where it was.
    encoder: Option<PathBuf>,
    /// How long another process that has the store open is waited for.
    wait: Duration,
    /// Whether the store is only read.
    read_only: bool,
}

/// What holds the collections.
pub(crate) enum Engine {
    /// The directory of a store.
    Directory(PathBuf),
    /// The URL of a database.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "only a build with the feature connects")
    )]
    Postgres(String),
    /// A service that is asked over HTTP.
    #[cfg(feature = "client")]
    Service(Service),
}

impl Engine {
    /// What `--store` names.
    fn of(
        store: PathBuf,
        #[cfg(feature = "client")] token_file: Option<&Path>,
        #[cfg(feature = "client")] roots: Option<&Path>,
    ) -> Result<Self, Failure> {
        let service = store
            .to_str()
            .filter(|store| store.starts_with("http://") || store.starts_with("https://"));
        if let Some(url) = service {
            #[cfg(feature = "client")]
            return Service::new(url, token_file, roots).map(Self::Service);
            #[cfg(not(feature = "client"))]
            return Err(Failure::Failed(format!(
                "this build does not ask services such as {url}; one with `--features client` or `--features full` does"
            )));
        }
        let url = store
            .to_str()
            .filter(|store| store.starts_with("postgres://") || store.starts_with("postgresql://"));
        match url {
            Some(url) if cfg!(feature = "postgres") => Ok(Self::Postgres(url.to_owned())),
            Some(_) => Err(Failure::Failed(
                "this build does not speak to PostgreSQL; one with `--features postgres` or `--features full` does"
                    .to_owned(),
            )),
            None => Ok(Self::Directory(store)),
        }
    }
}

impl At {
    /// The directory of a store that must exist.
    pub(crate) fn existing(&self) -> Result<&Path, Failure> {
        let directory = self.path()?;
        // Where existence cannot be read, or a link leads to nothing, opening the store reports the
        // reason.
        if !matches!(directory.try_exists(), Ok(false)) || directory.is_symlink() {
            return Ok(directory);
        }
        Err(Failure::Failed(format!(
            "there is no store at {}; `affinis create NAME` makes one there, --store DIR names another",
            directory.display()
        )))
    }

    /// The directory of a store that need not exist.
    pub(crate) fn path(&self) -> Result<&Path, Failure> {
        match &self.engine {
            Engine::Directory(directory) => Ok(directory),
            #[cfg(feature = "client")]
            Engine::Service(service) => Err(service.refuse("it works on the files of a store")),
            Engine::Postgres(_) => Err(Failure::Failed(
                "this command works on a store in a directory, not on PostgreSQL, where the database does it: items \
                 are added, deleted, listed and backed up with SQL; search, judge, judgements, refit, metrics, \
                 explain, evaluate, forget, stats, collections, drop, export and import work there, and `pg init` attaches a table"
                    .to_owned(),
            )),
        }
    }

    /// The options for opening the store.
    pub(crate) fn builder(&self) -> StoreBuilder {
        builder().wait(self.wait).read_only(self.read_only)
    }

    /// Refuses `--read-only` where there is nothing that it could mean, and commands that write
    /// before they read their input.
    fn check_read_only(&self, command: &Command) -> Result<(), Failure> {
        let elsewhere = Failure::Usage("--read-only is for a store in a directory".to_owned());
        match &self.engine {
            Engine::Directory(path) if command.writes() => {
                Err(affinis::Error::ReadOnly(path.clone()).into())
            }
            Engine::Directory(_) => Ok(()),
            Engine::Postgres(_) => Err(elsewhere),
            #[cfg(feature = "client")]
            Engine::Service(_) => Err(elsewhere),
        }
    }

    /// Opens an existing store.
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        Ok(self.builder().create(false).open(self.existing()?)?)
    }

    /// Opens the store, and creates it if there is none.
    pub(crate) fn open_or_create(&self) -> Result<Store, Failure> {
        Ok(self.builder().create(true).open(self.path()?)?)
    }

    /// Opens a collection of an existing store, which stays open as long as the collection.
    pub(crate) fn collection(&self, name: &str) -> Result<Collection, Failure> {
        let store = self.open()?;
        let mut collection = store.collection(name);
        if let Some(directory) = &self.encoder {
            let known = store.collections()?.into_iter().find(|c| c.name == name);
            if let Some(encoder) = known.and_then(|known| known.encoder) {
                let wanted = Wanted::new(&encoder.name, &encoder.fingerprint)
                    .output(encoder.output.as_deref());
                let found = encode::find(&wanted, std::slice::from_ref(directory));
                collection = collection.encoder_arc(found.map_err(affinis::Error::from)?);
            }
        }
        Ok(collection.open()?)
    }

    /// Opens a collection of an existing store, or one that is attached to a table.
    pub(crate) fn target(&self, name: &str) -> Result<Target, Failure> {
        match &self.engine {
            Engine::Directory(_) => Ok(Target::Local(Local::Embedded(self.collection(name)?))),
            #[cfg(feature = "postgres")]
            Engine::Postgres(url) => {
                let mut table = pg::connect(url)?
                    .attach(name)
                    .plugin(Mahalanobis::default());
                if let Some(directory) = &self.encoder {
                    table = table.models(directory);
                }
                Ok(Target::Local(Local::Table(table.open()?)))
            }
            #[cfg(not(feature = "postgres"))]
            Engine::Postgres(_) => Ok(Target::Local(Local::Embedded(self.collection(name)?))),
            #[cfg(feature = "client")]
            Engine::Service(_) if self.encoder.is_some() => Err(Failure::Usage(
                "--encoder is for a store in a directory; a service knows its own encoders"
                    .to_owned(),
            )),
            #[cfg(feature = "client")]
            Engine::Service(service) => Ok(Target::Remote(Box::new(service.collection(name)?))),
        }
    }

    /// Opens a collection whose items are read or changed, which PostgreSQL does with SQL.
    pub(crate) fn items_of(&self, name: &str) -> Result<Target, Failure> {
        match &self.engine {
            Engine::Postgres(_) => Ok(Target::Local(Local::Embedded(self.collection(name)?))),
            Engine::Directory(_) => self.target(name),
            #[cfg(feature = "client")]
            Engine::Service(_) => self.target(name),
        }
    }
}

/// The encoder in a directory, or with `embedded` the one in the program.
pub(crate) fn encoder(directory: &Path, output: Option<&str>) -> Result<Arc<dyn Encoder>, Failure> {
    let source = directory.to_str().ok_or_else(|| {
        Failure::Failed(format!(
            "{}: a store keeps the name of its encoder's directory, which must be UTF-8",
            directory.display()
        ))
    })?;
    Ok(encode::load(source, output).map_err(affinis::Error::from)?)
}

/// A store builder with all plugins of the workspace.
pub(crate) fn builder() -> StoreBuilder {
    Store::builder().plugin(Mahalanobis::default())
}

/// The names of all learners.
pub(crate) fn learners() -> &'static [&'static str] {
    Mahalanobis::default().learners()
}

/// Parses a metric: `active`, `euclidean` or a version's number.
pub(crate) fn metric_choice(text: &str) -> Result<MetricChoice, String> {
    match text {
        "active" => Ok(MetricChoice::Active),
        "euclidean" => Ok(MetricChoice::BuiltIn),
        number => number.parse().map(MetricChoice::Version).map_err(|_| {
            "a metric is `active`, `euclidean`, or a version's number as `affinis metrics` lists it".to_owned()
        }),
    }
}

/// What `--hybrid` and `--words-only` rank by, of which one is given at most.
pub(crate) fn rank_by(hybrid: bool, words_only: bool) -> RankBy {
    match (hybrid, words_only) {
        (true, _) => RankBy::Hybrid,
        (_, true) => RankBy::Words,
        _ => RankBy::Meaning,
    }
}

/// Parses a number of hits.
pub(crate) fn hits(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(k) if (1..=affinis::limits::MAX_K).contains(&k) => Ok(k),
        Err(_) if text.starts_with(|c: char| c.is_alphabetic()) => Err(format!(
            "k is a whole number from 1 to {}; to ask for a text that begins with -k, put -- before it: -- '-k{text}'",
            affinis::limits::MAX_K
        )),
        _ => Err(format!(
            "k is a whole number from 1 to {}",
            affinis::limits::MAX_K
        )),
    }
}

/// Parses the text of a query, which may begin with a minus sign. One word that could be the name
/// of an option is a mistyped option, unless `--` stands before it.
pub(crate) fn text(text: &str) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphabetic() || c == '-';
    let looks_like_option = text.len() > 1 && text.starts_with('-') && text.chars().all(is_name);
    if looks_like_option && !std::env::args_os().any(|argument| argument == "--") {
        return Err(format!(
            "there is no such option; to ask for this text, put -- before it: -- {text}"
        ));
    }
    match Query::from(text).check() {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a user's name.
pub(crate) fn user(name: &str) -> Result<String, String> {
    check_name("the user's name", name).map(|()| name.to_owned())
}

/// Name of a version of the metric in output for people.
pub(crate) fn metric_name(version: VersionId) -> String {
    match version {
        VersionId::BUILT_IN => "Euclidean".to_owned(),
        v => format!("metric {v}"),
    }
}
