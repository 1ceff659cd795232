//! A database of its own for each test.
#![allow(dead_code, reason = "each test uses some of it")]

use affinis::Item;
use affinis_pgvector::Postgres;
use tokio_postgres::NoTls;

/// A database that is dropped at the end of the test.
pub(crate) struct Database {
    admin: String,
    name: String,
    /// Its URL, for the role of a program.
    pub(crate) url: String,
}

/// A database with the extension; `None`, with a message, where no server was named.
pub(crate) fn database(name: &str) -> Option<Database> {
    let variables = ["AFFINIS_PG_URL", "AFFINIS_PG_ADMIN_URL"].map(std::env::var);
    let [Ok(url), Ok(admin)] = variables else {
        affinis_testkit::skipped(
            "AFFINIS_PG_URL and AFFINIS_PG_ADMIN_URL name no server; plugins/pgvector/servers/servers.py starts one",
        );
        return None;
    };
    let name = format!("affinis_test_{name}");
    let owner = url
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split(':').next())
        .expect("a user")
        .to_owned();
    run(
        &admin,
        &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
    );
    run(&admin, &format!("CREATE DATABASE {name} OWNER {owner}"));
    let of = |url: &str| format!("{}/{name}", url.rsplit_once('/').expect("a path").0);
    run(&of(&admin), "CREATE EXTENSION vector");
    Some(Database {
        url: of(&url),
        admin,
        name,
    })
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            run(
                &self.admin,
                &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
            );
        }
    }
}

impl Database {
    /// Runs statements as the role of a program.
    pub(crate) fn run(&self, sql: &str) {
        run(&self.url, sql);
    }

    /// The URL of the server for its superuser.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// The URL of the database for its superuser.
    pub(crate) fn admin_in(&self) -> String {
        format!(
            "{}/{}",
            self.admin.rsplit_once('/').expect("a path").0,
            self.name
        )
    }

    /// The URL of the database for a role.
    pub(crate) fn as_role(&self, role: &str, password: &str) -> String {
        let (_, server) = self.url.rsplit_once('@').expect("a server");
        format!("postgresql://{role}:{password}@{server}")
    }

    /// A handle of affinis.
    pub(crate) fn connect(&self) -> Postgres {
        Postgres::connect(&self.url).expect("connected")
    }

    /// Makes a table `points` of items with vectors, with an index of an operator class if one is
    /// named.
    pub(crate) fn fill(
        &self,
        id_type: &str,
        vector_type: &str,
        items: &[Item],
        class: Option<&str>,
    ) {
        let dim = items[0].vector.as_ref().expect("a vector").len();
        self.run(&format!(
            "CREATE TABLE points (id {id_type} PRIMARY KEY, embedding {vector_type}({dim}), body text, meta jsonb)"
        ));
        for some in items.chunks(1_000) {
            let rows: Vec<String> = some
                .iter()
                .map(|item| {
                    let vector: Vec<String> = item
                        .vector
                        .as_ref()
                        .expect("a vector")
                        .iter()
                        .map(ToString::to_string)
                        .collect();
                    let text = item.text.as_ref().map_or("NULL".to_owned(), |text| {
                        format!("'{}'", text.replace('\'', "''"))
                    });
                    let meta = item.meta.to_string().replace('\'', "''");
                    format!(
                        "('{}', '[{}]', {text}, '{meta}')",
                        item.id,
                        vector.join(",")
                    )
                })
                .collect();
            self.run(&format!("INSERT INTO points VALUES {}", rows.join(",")));
        }
        if let Some(class) = class {
            self.run(&format!(
                "CREATE INDEX ON points USING hnsw (embedding {class})"
            ));
        }
        self.run("ANALYZE points");
    }
}

/// Runs statements, and waits.
pub(crate) fn run(url: &str, sql: &str) {
    rows(url, sql);
}

/// The rows of the last statement, as texts.
pub(crate) fn rows(url: &str, sql: &str) -> Vec<Vec<Option<String>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .expect("connected");
        let driver = tokio::spawn(connection);
        let messages = client
            .simple_query(sql)
            .await
            .unwrap_or_else(|error| panic!("{error:?}: {sql:.300}"));
        drop(client);
        driver.await.expect("ended").expect("no error");
        let mut rows = Vec::new();
        for message in messages {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                rows.push(
                    (0..row.len())
                        .map(|at| row.get(at).map(str::to_owned))
                        .collect(),
                );
            }
        }
        rows
    })
}
