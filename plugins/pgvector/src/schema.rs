//! The schema `affinis` of a database: what affinis keeps there, beside the tables that people have.
//!
//! ```text
//! format          (format)                                   one row: the number of this layout
//! collections     (id, name, table and columns, distances, dimension, encoder, counters, active version, guidelines)
//! judgements      (collection, number, record)               a judgement, as affinis encodes it
//! queries         (collection, hash, vector)                 vectors of judged texts and vectors
//! versions        (collection, version, record, metric)      the metric is null once it is withdrawn
//! activations     (collection, number, activation)           when which version became everybody's, as JSON
//! active_users    (collection, username, version)            users with a metric of their own
//! biases          (collection, version, upto, pages, done, candidates, far_candidates, far_from)   how far the biases of a version are
//! matrices        (collection, version, number, numbers)     rows of the matrices, for a trigger that was asked for
//! bias_<collection>_<version>  (id, bias, mark)              one row for each row of the user's table
//! ```

use affinis::{Error, ErrorKind, Result};
use tokio_postgres::types::Type;

use crate::error::{During, other};
use crate::server::Connection;

/// Number of the layout that this version of the crate reads and writes.
const FORMAT: i32 = 5;

/// First key of the advisory locks: `affn` in ASCII.
pub(crate) const LOCKS: i32 = 0x6166_666e;

/// Second key of the lock under which the schema is made. Those of collections are above it.
const SCHEMA_LOCK: i32 = 0;

/// The tables of format 1.
const FORMAT_1: &str = r"
CREATE SCHEMA IF NOT EXISTS affinis;
CREATE TABLE affinis.format (format integer NOT NULL);
INSERT INTO affinis.format VALUES (1);
CREATE TABLE affinis.collections (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    table_schema text NOT NULL,
    table_name text NOT NULL,
    id_column text NOT NULL,
    vector_column text NOT NULL,
    text_column text,
    meta_column text,
    distance text NOT NULL,
    dim integer NOT NULL,
    encoder text,
    encoder_fingerprint text,
    encoder_source text,
    active bigint NOT NULL DEFAULT 0,
    generation bigint NOT NULL DEFAULT 0,
    next_judgement bigint NOT NULL DEFAULT 0,
    next_version bigint NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE affinis.judgements (
    collection integer NOT NULL REFERENCES affinis.collections ON DELETE CASCADE,
    number bigint NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (collection, number)
);
CREATE TABLE affinis.queries (
    collection integer NOT NULL REFERENCES affinis.collections ON DELETE CASCADE,
    hash bytea NOT NULL,
    vector bytea NOT NULL,
    PRIMARY KEY (collection, hash)
);
CREATE TABLE affinis.versions (
    collection integer NOT NULL REFERENCES affinis.collections ON DELETE CASCADE,
    version bigint NOT NULL,
    record bytea NOT NULL,
    metric bytea,
    PRIMARY KEY (collection, version)
);
CREATE TABLE affinis.active_users (
    collection integer NOT NULL REFERENCES affinis.collections ON DELETE CASCADE,
    username text NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (collection, username)
);
CREATE TABLE affinis.biases (
    collection integer NOT NULL REFERENCES affinis.collections ON DELETE CASCADE,
    version bigint NOT NULL,
    upto text,
    pages integer NOT NULL DEFAULT 0,
    done boolean NOT NULL DEFAULT false,
    candidates integer,
    PRIMARY KEY (collection, version)
);
";

/// What format 2 has beyond format 1: the distance of indexes that are on other servers, and what
/// triggers need.
const FORMAT_2: &str = r"
ALTER TABLE affinis.collections ADD COLUMN index_distance text;
ALTER TABLE affinis.collections ADD COLUMN has_trigger boolean NOT NULL DEFAULT false;
CREATE TABLE affinis.matrices (
    collection integer NOT NULL,
    version bigint NOT NULL,
    number integer NOT NULL,
    numbers real[] NOT NULL,
    PRIMARY KEY (collection, version, number),
    FOREIGN KEY (collection, version) REFERENCES affinis.biases ON DELETE CASCADE
);
UPDATE affinis.format SET format = 2;
";

/// What format 3 has beyond format 2: the candidates of questions that are far from all items, and
/// the chosen output of an encoder's graph.
const FORMAT_3: &str = r"
ALTER TABLE affinis.collections ADD COLUMN encoder_output text;
ALTER TABLE affinis.biases ADD COLUMN far_candidates integer, ADD COLUMN far_from float8;
UPDATE affinis.format SET format = 3;
";

/// What format 4 has beyond format 3: the guidelines for those who judge, as JSON.
const FORMAT_4: &str = r"
ALTER TABLE affinis.collections ADD COLUMN guidelines text;
UPDATE affinis.format SET format = 4;
";

/// What format 5 has beyond format 4: when which version became everybody's, as JSON.
const FORMAT_5: &str = r"
CREATE TABLE affinis.activations (
    collection integer NOT NULL REFERENCES affinis.collections ON DELETE CASCADE,
    number bigint GENERATED ALWAYS AS IDENTITY,
    activation text NOT NULL,
    PRIMARY KEY (collection, number)
);
UPDATE affinis.format SET format = 5;
";

/// Makes the schema where it is not there, or brings it to this format, once, however many clients
/// try.
///
/// # Errors
/// Where the role may not create a schema, or the schema is of a newer affinis.
pub(crate) async fn migrate(connection: &mut Connection) -> Result<()> {
    if let Some(format) = format(connection).await? {
        check(format)?;
        if format == FORMAT {
            return Ok(());
        }
    }
    let during = "the schema \"affinis\" cannot be made in the database; a role that may create \
                  schemas there must do it once";
    let transaction = connection.transaction().await.during(during)?;
    // Waits for another client that is making it.
    let lock = format!("SELECT pg_advisory_xact_lock({LOCKS}, {SCHEMA_LOCK})");
    transaction.batch_execute(&lock).await.during(during)?;
    let there =
        "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'affinis' AND tablename = 'format'";
    let made = transaction.query_typed(there, &[]).await.during(during)?;
    let found = if made.is_empty() {
        0
    } else {
        let rows = transaction.query_typed(FIND, &[]).await.during(during)?;
        rows.first().map_or(0, |row| row.get(0))
    };
    for (format, step) in [
        (1, FORMAT_1),
        (2, FORMAT_2),
        (3, FORMAT_3),
        (4, FORMAT_4),
        (5, FORMAT_5),
    ] {
        if found < format {
            transaction.batch_execute(step).await.during(during)?;
        }
    }
    transaction.commit().await.during(during)?;
    match format(connection).await? {
        Some(format) => check(format),
        None => Err(Error::Damaged {
            part: "the schema \"affinis\" of the database".to_owned(),
            reason: "its table \"format\" is empty".to_owned(),
        }),
    }
}

const FIND: &str = "SELECT format FROM affinis.format";

/// The number of the layout; `None` where there is none.
async fn format(connection: &Connection) -> Result<Option<i32>> {
    let there = "SELECT to_regclass('affinis.format') IS NOT NULL";
    let during = "the schema \"affinis\" of the database cannot be read";
    let rows = connection.query_typed(there, &[]).await.during(during)?;
    if !rows.first().is_some_and(|row| row.get::<_, bool>(0)) {
        return Ok(None);
    }
    let rows = connection
        .query_typed(FIND, &[])
        .await
        .during("the role cannot read the schema \"affinis\"; its owner grants USAGE on the schema, and SELECT, INSERT, UPDATE and DELETE on its tables")?;
    Ok(rows.first().map(|row| row.get(0)))
}

fn check(format: i32) -> Result<()> {
    if format > FORMAT {
        return Err(Error::NewerFormat {
            part: "the schema \"affinis\" of the database".to_owned(),
            found: format as u32,
            known: FORMAT as u32,
        });
    }
    if format < 1 {
        let what = "the schema \"affinis\" of the database cannot be used";
        let why = format!("its format is {format}, which no version of affinis wrote");
        return Err(other(what, ErrorKind::Damaged, why));
    }
    Ok(())
}

/// A text as a literal of SQL.
pub(crate) fn literal(text: &str) -> String {
    // Backslashes mean themselves in literals, as `standard_conforming_strings` has it by default;
    // the form with E does not depend on that.
    let escaped = text.replace('\\', r"\\").replace('\'', "''");
    format!("E'{escaped}'")
}

/// A name as an identifier of SQL.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A parameter of a statement with its type.
pub(crate) type Parameter<'a> = (&'a (dyn tokio_postgres::types::ToSql + Sync), Type);
