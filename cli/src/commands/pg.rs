//! `pg`: attaches tables of PostgreSQL.

use std::path::PathBuf;

use affinis::Distance;
use clap::Subcommand;

use super::At;
use crate::failure::Failure;
use crate::output::Out;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Attach a table that is there, under the name of a collection
    Init(InitArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing of the table is altered, unless --index or --trigger asks for it. Judgements, versions of the
metric and biases are kept in the schema
`affinis` of the same database, which the first `pg init` makes. The index that the table has lists
the candidates, under Euclidean and under learned metrics.

Examples:
  affinis --store postgres://app@localhost/shop pg init --table products --text body --meta meta
  affinis --store postgres://app@localhost/shop search products --like 17
  affinis --store postgres://app@localhost/shop judge products judgements.jsonl
  affinis --store postgres://app@localhost/shop refit products")]
pub(crate) struct InitArgs {
    /// The table, with its schema where that is not searched: docs, app.docs, '"My Docs"'
    #[arg(long, value_name = "TABLE")]
    table: String,
    /// The column of ids: integers, UUIDs or texts, with a unique index
    #[arg(long, value_name = "COLUMN", default_value = "id")]
    id: String,
    /// The column of vectors, of type vector or halfvec
    #[arg(long, value_name = "COLUMN", default_value = "embedding")]
    vector: String,
    /// The column of texts
    #[arg(long, value_name = "COLUMN")]
    text: Option<String>,
    /// The column of metadata, of type jsonb, which filters test
    #[arg(long, value_name = "COLUMN")]
    meta: Option<String>,
    /// Name of the collection [default: the table's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The distance under Euclidean: l2, cosine or dot [default: that of the table's vector index,
    /// else l2]
    #[arg(long, value_parser = str::parse::<Distance>)]
    distance: Option<Distance>,
    /// Make a vector index of the distance on the table, where it has none; otherwise nothing of
    /// the table is altered
    #[arg(long)]
    index: bool,
    /// Make a trigger on the table that keeps the biases of rows up to date as they are written
    #[arg(long)]
    trigger: bool,
    /// The distance of the vector indexes of foreign tables, which the catalogue does not show
    /// [default: --distance]
    #[arg(long, value_name = "DISTANCE", value_parser = str::parse::<Distance>)]
    foreign_index: Option<Distance>,
    /// The encoder that made the vectors, so that queries may be texts: embedded, or the directory
    /// of a model [default: none]
    #[arg(long, value_name = "ENCODER")]
    encoder: Option<PathBuf>,
    /// Output of the encoder's graph that is the embedding
    #[arg(long, value_name = "NAME", requires = "encoder")]
    output: Option<String>,
}

#[cfg(feature = "postgres")]
pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let super::Engine::Postgres(url) = &at.engine else {
        return Err(Failure::Usage(
            "--store postgres://USER@HOST/DATABASE names the database of the table".to_owned(),
        ));
    };
    let Action::Init(args) = &args.action;
    postgres::init(args, url, out)
}

#[cfg(not(feature = "postgres"))]
pub(crate) fn run(args: &Args, _at: &At, _out: &mut Out) -> Result<(), Failure> {
    let Action::Init(InitArgs { table, .. }) = &args.action;
    Err(Failure::Failed(format!(
        "the table {table} cannot be attached by this build; one with `--features postgres` or `--features full` can"
    )))
}

#[cfg(feature = "postgres")]
pub(crate) use postgres::{collections, connect, drop, import, stats};

/// What speaks to the database.
#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::Arc;

    use affinis::encode::Encoder;
    use affinis::learning::History;
    use affinis::{CollectionInfo, Item};
    use affinis_mahalanobis::Mahalanobis;
    use affinis_pgvector::Postgres;
    use serde_json::json;

    use super::InitArgs;
    use crate::commands::{At, metric_name, metrics};
    use crate::failure::Failure;
    use crate::output::{Align, BOLD, DIM, Out, Table, count, plain, plural};
    use crate::target::{Local, Target};

    /// Connects to a database.
    pub(crate) fn connect(url: &str) -> Result<Postgres, Failure> {
        Ok(Postgres::connect(url)?)
    }

    /// The name of a table without its schema and quotes.
    fn bare(table: &str) -> String {
        let last = table.rsplit_once('.').map_or(table, |(_, last)| last);
        last.trim_matches('"').replace("\"\"", "\"")
    }

    /// Prints the numbers of a collection.
    pub(crate) fn stats(name: &str, at: &At, out: &mut Out) -> Result<(), Failure> {
        let Target::Local(Local::Table(table)) = at.target(name)? else {
            return Ok(());
        };
        let stats = table.stats()?;
        if out.is_json() {
            return Ok(out.json(&json!({
                "items": stats.items, "dim": table.dim(), "distance": table.distance(), "judgements": stats.judgements,
                "stale_judgements": stats.stale_judgements, "active_metric": stats.active, "candidates": stats.candidates,
                "far_candidates": stats.far_candidates,
                "staleness_seconds": stats.staleness.map(|behind| behind.as_secs_f64()),
            }))?);
        }
        let candidates = match (stats.active.is_built_in(), stats.candidates) {
            (true, _) => "the server's own answers are given".to_owned(),
            (false, Some(candidates)) => {
                let far = stats.far_candidates.filter(|far| *far > candidates);
                let far = far.map_or_else(String::new, |far| {
                    format!(", {} where those are far away", count(far as u64))
                });
                format!(
                    "{} of the server's index are ranked for ten hits{far}",
                    count(candidates as u64)
                )
            }
            (false, None) => {
                "biases are not ready: distances are computed from the vectors".to_owned()
            }
        };
        out.line(format_args!("{BOLD}{}{BOLD:#}", plain(name)))?;
        for (name, value) in [
            (
                "items",
                format!("{} of dimension {}", count(stats.items), table.dim()),
            ),
            ("settings", format!("{} distance", table.distance())),
            ("metric", format!("{} is active", metric_name(stats.active))),
            (
                "judgements",
                match stats.stale_judgements {
                    0 => count(stats.judgements as u64),
                    stale => format!(
                        "{}, of which {} nothing: their items hold something else now, or are gone",
                        count(stats.judgements as u64),
                        plural(stale as u64, "teaches", "teach")
                    ),
                },
            ),
            ("candidates", candidates),
        ] {
            out.line(format_args!("  {DIM}{name:10}{DIM:#}  {value}"))?;
        }
        if let Some(behind) = stats.staleness {
            out.line(format_args!(
                "  {DIM}{:10}{DIM:#}  a standby answers, up to {:.1} s behind",
                "server",
                behind.as_secs_f64()
            ))?;
        }
        metrics::alarms(&table.learning().drift()?, out)
    }

    /// Lists the attached collections.
    pub(crate) fn collections(url: &str, out: &mut Out) -> Result<(), Failure> {
        let collections = connect(url)?.collections()?;
        if out.is_json() {
            for info in &collections {
                out.json(&json!({
                    "name": info.name, "table": info.table, "dim": info.dim, "distance": info.distance,
                }))?;
            }
            return Ok(());
        }
        if collections.is_empty() {
            return Ok(
                out.line("no table is attached yet; `affinis pg init --table TABLE` attaches one")?
            );
        }
        let mut table = Table::new([
            ("name", Align::Left),
            ("table", Align::Left),
            ("dim", Align::Right),
            ("distance", Align::Left),
        ]);
        for info in collections {
            table.row([
                info.name,
                info.table,
                info.dim.to_string(),
                info.distance.to_string(),
            ]);
        }
        out.line(table)?;
        Ok(())
    }

    /// Detaches a collection.
    pub(crate) fn drop(name: &str, yes: bool, url: &str, out: &mut Out) -> Result<(), Failure> {
        let database = connect(url)?;
        if !yes {
            return Err(Failure::Usage(format!(
                "this deletes the judgements and metrics of {name:?}, and leaves its table as it is; say so with --yes"
            )));
        }
        if !database.detach(name)? {
            let known = database
                .collections()?
                .into_iter()
                .map(|info| info.name)
                .collect();
            return Err(affinis::Error::CollectionMissing {
                name: name.to_owned(),
                known,
            }
            .into());
        }
        if out.is_json() {
            return Ok(out.json(&json!({"dropped": name}))?);
        }
        out.line(format_args!(
            "detached {}; its table is as it was",
            plain(name)
        ))?;
        Ok(())
    }

    /// Makes a table of an archive's items, attaches it, and takes in the history.
    pub(crate) fn import(
        name: &str,
        url: &str,
        archive: (CollectionInfo, Vec<Item>, &History),
        encoder: Option<Arc<dyn Encoder>>,
    ) -> Result<(), affinis::Error> {
        let (settings, items, history) = archive;
        let database = Postgres::connect(url)?;
        let mut attach = database
            .attach(name)
            .distance(settings.distance)
            .plugin(Mahalanobis::default());
        if let Some(encoder) = encoder {
            attach = attach.encoder(encoder);
        }
        let table = attach.create(settings.dim, items)?;
        table.learning().restore(history)?;
        // Makes ready what answers under it need.
        table.learning().promote(table.learning().active(None))
    }

    pub(super) fn init(args: &InitArgs, url: &str, out: &mut Out) -> Result<(), Failure> {
        let name = args.name.clone().unwrap_or_else(|| bare(&args.table));
        let mut attach = connect(url)?
            .attach(&name)
            .table(&args.table)
            .id(&args.id)
            .vector(&args.vector)
            .plugin(Mahalanobis::default());
        if let Some(text) = &args.text {
            attach = attach.text(text);
        }
        if let Some(meta) = &args.meta {
            attach = attach.meta(meta);
        }
        if let Some(distance) = args.distance {
            attach = attach.distance(distance);
        }
        if let Some(distance) = args.foreign_index {
            attach = attach.index(distance);
        }
        if args.index {
            attach = attach.make_index();
        }
        if let Some(encoder) = &args.encoder {
            let encoder = crate::commands::encoder(encoder, args.output.as_deref())?;
            attach = attach.encoder(encoder);
        }
        let table = attach.open()?;
        if args.trigger {
            table.create_trigger()?;
        }
        let items = table.len()?;
        if out.is_json() {
            return Ok(out.json(&json!({
                "name": name, "table": args.table, "dim": table.dim(), "distance": table.distance(), "items": items,
                "encoder": table.encoder().map(|encoder| encoder.name().to_owned()),
            }))?);
        }
        out.line(format_args!(
            "attached {} as {}: {} rows of dimension {}, {} distance",
            plain(&args.table),
            plain(&name),
            count(items),
            table.dim(),
            table.distance()
        ))?;
        Ok(())
    }
}
