//! [`Service`]: binding, answering, and ending without losing what was acknowledged.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_layer::Layer as _;

use crate::access::{Origins, Peer};
use crate::app::App;
use crate::engine::Engine;
use crate::patience::Patient;
use crate::routes;
use crate::settings::{Limits, Settings};
use crate::tls::Tls;

/// The time after which an idle client of HTTP/2 is asked whether it is still there, and that in
/// which it must answer.
const PING: Duration = Duration::from_secs(20);
/// The time in which connections are ended after the service was told to stop.
const GRACE: Duration = Duration::from_millis(3_500);
/// The time in which calls into the store are ended after that.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// An HTTP service over a store or a database, which has its address and answers once it [runs](Self::run).
#[derive(Debug)]
pub struct Service {
    listener: TcpListener,
    address: SocketAddr,
    engine: Engine,
    settings: Settings,
    origins: Origins,
    stop: Stop,
}

/// Tells a service to stop; a handle is cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Lets the service end: it takes no new requests, answers those it has, cancels jobs and ends
    /// streams of events, within five seconds.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Why a service cannot begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address that others can reach, without tokens.
    #[error(
        "{0} can be reached from other machines, and without tokens everybody could do everything; give it tokens, or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// An origin that is none.
    #[error("{0:?} is no origin; one is a scheme and a host, such as https://quepid.example.org")]
    Origin(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The threads of the service cannot be started.
    #[error("the service cannot be started: {0}")]
    Start(#[source] io::Error),
}

impl Service {
    /// Listens on the address of the settings. Connections wait until the service runs.
    ///
    /// # Errors
    /// [`ServeError::Open`] for an address beyond this machine without tokens;
    /// [`ServeError::Origin`]; [`ServeError::Listen`].
    pub fn bind(engine: impl Into<Engine>, settings: Settings) -> Result<Self, ServeError> {
        let listen = settings.listen;
        if settings.tokens.is_none() && !listen.ip().is_loopback() {
            return Err(ServeError::Open(listen));
        }
        let origins = Origins::read(&settings.origins).map_err(ServeError::Origin)?;
        let failed = |source| ServeError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = Stop(Arc::new(watch::Sender::new(false)));
        Ok(Self {
            listener,
            address,
            engine: engine.into(),
            settings,
            origins,
            stop,
        })
    }

    /// The address that it listens on, with the port that it took.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address that a client asks: `http://` or `https://`, and where it listens.
    pub fn url(&self) -> String {
        let scheme = if self.settings.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// A handle that tells it to stop.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Answers until it is told to stop, by [`Stop::stop`], Ctrl-C or the signal to terminate.
    ///
    /// # Errors
    /// [`ServeError::Start`].
    pub fn run(self) -> Result<(), ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("affinis-serve")
            .build()
            .map_err(ServeError::Start)?;
        let connections = Connections {
            limits: self.settings.limits,
            tls: self.settings.tls.clone(),
        };
        let app = App::new(
            self.engine,
            self.settings,
            self.origins,
            self.stop.0.subscribe(),
        );
        let served = runtime.block_on(async {
            let listener =
                tokio::net::TcpListener::from_std(self.listener).map_err(ServeError::Start)?;
            let signals = tokio::spawn(stop_on_signals(self.stop.clone()));
            let router = routes::router(&app);
            serve(listener, router, connections, app.ending.clone(), || {
                app.jobs.cancel_all();
            })
            .await;
            signals.abort();
            Ok(())
        });
        // What is still being written was not acknowledged, and is stored whole or not at all.
        runtime.shutdown_timeout(LAST_GRACE);
        served
    }
}

/// How connections are served.
#[derive(Clone)]
struct Connections {
    limits: Limits,
    tls: Option<Tls>,
}

/// Accepts connections until `ending` is true, and then ends those that there are.
async fn serve(
    listener: tokio::net::TcpListener,
    router: Router,
    connections: Connections,
    mut ending: watch::Receiver<bool>,
    on_end: impl FnOnce(),
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(connections.limits.connections));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            // An error means that nobody can tell it to stop any more.
            _ = ending.wait_for(|ending| *ending) => break,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Such as too many open files: there is nothing to do but to wait.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let watcher = graceful.watcher();
        let router = router.clone();
        let (connections, mut ending) = (connections.clone(), ending.clone());
        tokio::spawn(async move {
            // Held from the handshake on.
            let _permit = permit;
            let limits = connections.limits;
            let Some(tls) = connections.tls else {
                return serve_connection(stream, peer, router, limits, watcher).await;
            };
            let shaken = tokio::select! {
                shaken = tls.accept(stream, limits.head_time) => shaken,
                _ = ending.wait_for(|ending| *ending) => return,
            };
            match shaken {
                Ok(stream) => serve_connection(stream, peer, router, limits, watcher).await,
                Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
            }
        });
    }
    drop(listener);
    on_end();
    if tokio::time::timeout(GRACE, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("connections were cut off");
    }
}

/// Answers the requests of a connection until it is closed.
async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    watcher: Watcher,
) {
    let service = TowerToHyperService::new(Extension(Peer(peer.ip())).layer(router));
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    let stream = Patient::new(stream, limits.head_time, limits.stall_time);
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection failed");
    }
}

async fn accept(
    listener: &tokio::net::TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // It fails for a client that is gone already, of which the connection tells.
    let _ = stream.set_nodelay(true);
    Ok((stream, peer, permit))
}

/// Stops the service at Ctrl-C and at the signal to terminate.
async fn stop_on_signals(stop: Stop) {
    #[cfg(unix)]
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            // Without it the signal ends the process at once, which loses nothing that was
            // acknowledged.
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = terminate => {}
        () = interrupt => {}
    }
    stop.stop();
}
