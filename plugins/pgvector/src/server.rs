//! [`Postgres`]: the connections to a database, and the threads that drive them.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use affinis::{Error, ErrorKind, Result};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;
use tokio_postgres::config::{Config, SslMode};

use crate::error::{During, Failure, is_lost_connection, other};
use crate::tls;

/// Largest number of connections of one handle, unless the program says otherwise.
const MAX_CONNECTIONS: usize = 8;
/// How long a connection is waited for, and how long a read that lost its server is tried again.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two attempts to reach a server.
const PAUSE: Duration = Duration::from_millis(200);

/// The connections to one database. A handle is cheap to clone and can be used from any thread.
///
/// The connections are driven by threads of the handle's own, so that it works under every
/// asynchronous runtime and without one. Methods that wait are blocking; those whose names end in
/// `_async` give futures, which any runtime can poll.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    /// `None` once it is being shut down.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A runtime must not wait for its threads inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Postgres")
    }
}

/// A connection out of the pool.
pub(crate) type Connection = Object;

impl Postgres {
    /// Connects to a database by a URL such as `postgres://user:password@host:5432/name`, as libpq
    /// takes it: several hosts, `target_session_attrs`, `options`, `sslmode` from `disable` to
    /// `verify-full`, and `sslrootcert`. As with libpq, `prefer` (the default) and `require` take
    /// any certificate of the server, and `verify-full` takes one that names the host and that the
    /// file `sslrootcert`, otherwise the system, trusts. With several hosts and
    /// `target_session_attrs=read-write` a failover is followed; with `read-only` searches are
    /// answered by a standby, which may be behind
    /// ([`TableStats::staleness`](crate::TableStats::staleness)), and writes are refused.
    ///
    /// # Errors
    /// [`Error::Engine`] where the URL is wrong or no server answers.
    pub fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, MAX_CONNECTIONS)
    }

    /// Connects with at most so many connections at a time.
    ///
    /// # Errors
    /// Those of [`Self::connect`].
    pub fn connect_with(url: &str, max_connections: usize) -> Result<Self> {
        let wrong = |why: String| {
            let what = "the URL of the database cannot be used";
            other(what, ErrorKind::InvalidInput, why)
        };
        let (url, trust) = tls::trust_of(url).map_err(wrong)?;
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            // The URL has a password, so it is not repeated.
            wrong(error.to_string())
        })?;
        if config.get_application_name().is_none() {
            config.application_name("affinis");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        // A server that is gone without a word is noticed.
        config.keepalives_idle(Duration::from_secs(10));
        let manager_config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = if config.get_ssl_mode() == SslMode::Disable {
            Manager::from_config(config, NoTls, manager_config)
        } else {
            let connect = tls::connector(&trust).map_err(wrong)?;
            Manager::from_config(config, connect, manager_config)
        };
        let pool = Pool::builder(manager)
            .max_size(max_connections.max(2))
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .wait_timeout(Some(PATIENCE))
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("affinis-pgvector")
            .enable_all()
            .build()
            .map_err(|source| Error::Internal {
                source: Box::new(source),
            })?;
        let postgres = Self {
            inner: Arc::new(Inner {
                pool,
                runtime: Some(runtime),
            }),
        };
        let first = postgres.clone();
        postgres.wait(async move { first.connection().await.map(drop) })?;
        Ok(postgres)
    }

    /// Starts a future on the handle's own threads; what is returned can be polled on any runtime.
    pub(crate) fn spawn<T, F>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let started = self.inner.runtime.as_ref().map(|rt| rt.spawn(future));
        async move {
            match started {
                Some(handle) => handle.await.map_err(|source| Error::Internal {
                    source: Box::new(source),
                })?,
                None => Err(closed()),
            }
        }
    }

    /// Starts a future on the handle's own threads and waits for it on this one.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let runtime = self.inner.runtime.as_ref().ok_or_else(closed)?;
        runtime.spawn(async move {
            // Whoever waited is gone where this fails.
            let _ = sender.send(future.await);
        });
        receiver.recv().map_err(|source| Error::Internal {
            source: Box::new(source),
        })?
    }

    /// Runs blocking work on a thread that may wait; what is returned can be polled on any runtime.
    pub(crate) fn unblock<T, F>(
        &self,
        work: F,
    ) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let started = self
            .inner
            .runtime
            .as_ref()
            .map(|rt| rt.spawn_blocking(work));
        async move {
            match started {
                Some(handle) => handle.await.map_err(|source| Error::Internal {
                    source: Box::new(source),
                })?,
                None => Err(closed()),
            }
        }
    }

    /// Starts a future that nobody waits for.
    pub(crate) fn start(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.inner.runtime {
            runtime.spawn(future);
        }
    }

    /// A connection of the pool, tried again while no server answers.
    pub(crate) async fn connection(&self) -> Result<Connection> {
        let started = Instant::now();
        loop {
            match self.inner.pool.get().await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    let refused = matches!(
                        &error,
                        deadpool_postgres::PoolError::Backend(error)
                            if error.as_db_error().is_some_and(|db| {
                                // The server is there and says no: wrong password, no such database.
                                !["57", "53"].contains(&&db.code().code()[..2])
                            })
                    );
                    if refused || started.elapsed() > PATIENCE {
                        return Err(unreachable_server(error));
                    }
                    tracing::debug!(%error, "no connection yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Runs a read, again on another connection where the server went meanwhile.
    pub(crate) async fn read<T, F>(&self, read: impl Fn(Connection) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let started = Instant::now();
        loop {
            match read(self.connection().await?).await {
                Err(error) if is_lost_connection(&error) && started.elapsed() < PATIENCE => {
                    tracing::debug!(%error, "a read is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }
}

/// A transaction on a connection of the pool. Dropped before it is committed, it is rolled back.
pub(crate) struct Transaction {
    postgres: Postgres,
    /// `None` once it has ended.
    connection: Option<Connection>,
}

impl Postgres {
    /// Begins a transaction.
    pub(crate) async fn begin(&self) -> Result<Transaction> {
        let transaction = Transaction {
            postgres: self.clone(),
            connection: Some(self.connection().await?),
        };
        let begun = transaction.connection()?.batch_execute("BEGIN").await;
        begun.during("no transaction can be begun")?;
        Ok(transaction)
    }
}

impl Transaction {
    /// The connection, for the statements of the transaction.
    pub(crate) fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(closed)
    }

    /// Ends it, and what was done stays.
    pub(crate) async fn commit(mut self) -> Result<()> {
        let committed = self.connection()?.batch_execute("COMMIT").await;
        if committed.is_ok() {
            self.connection = None;
        }
        let is_lost = committed
            .as_ref()
            .is_err_and(|error| error.as_db_error().is_none());
        committed.during(if is_lost {
            "the server went before it confirmed a change, which may be stored or not"
        } else {
            "a transaction cannot be committed"
        })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // A connection that cannot even roll back is closed, and the server ends its
            // transaction.
            self.postgres
                .start(async move { drop(connection.batch_execute("ROLLBACK").await) });
        }
    }
}

fn unreachable_server(error: deadpool_postgres::PoolError) -> Error {
    let what = "the database cannot be reached";
    match error {
        deadpool_postgres::PoolError::Backend(error) => crate::error::server(what, error),
        error => Error::Engine {
            what: what.to_owned(),
            kind: ErrorKind::Unavailable,
            source: Box::new(Failure::Pool(error.to_string())),
        },
    }
}

fn closed() -> Error {
    other(
        "the handle is closed",
        ErrorKind::Conflict,
        "its threads have ended",
    )
}
