//! What a service is started with.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::Tokens;
use crate::tls::Tls;

/// The settings of a service.
#[derive(Debug)]
pub struct Settings {
    /// The address that it listens on; port 0 takes a free one. Without tokens it must be a loopback
    /// address. `127.0.0.1:7717` by default.
    pub listen: SocketAddr,
    /// Who may do what; `None` lets everybody who reaches the service do everything.
    pub tokens: Option<Tokens>,
    /// Names under which browsers reach the service, beside `localhost` and IP addresses.
    pub hosts: Vec<String>,
    /// The certificate and its key; `None` for plain text.
    pub tls: Option<Tls>,
    /// Origins whose pages may ask from a browser, such as `https://quepid.example.org`, beside the
    /// service's own (CORS); none by default.
    pub origins: Vec<String>,
    /// The directory that backups are written in; `None` for no backups.
    pub backups: Option<PathBuf>,
    /// Limits of requests.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7717)),
            tokens: None,
            hosts: Vec::new(),
            tls: None,
            origins: Vec::new(),
            backups: None,
            limits: Limits::default(),
        }
    }
}

/// Limits of requests and connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest body of a request, in bytes; 32 MiB by default.
    pub body_bytes: usize,
    /// The largest exported collection that is imported, in bytes as they come and as they are
    /// unpacked; 1 GiB by default.
    pub import_bytes: u64,
    /// The time in which a request is read and answered; 60 s by default.
    pub request_time: Duration,
    /// The time in which the head of a request, and before it a TLS handshake, must come; 10 s by
    /// default.
    pub head_time: Duration,
    /// The time in which a client must take something of its answer; 30 s by default.
    pub stall_time: Duration,
    /// The most bytes that are read of a body that is left over when its request was refused, so
    /// that a client which sends all of it first sees the answer; 64 MiB by default.
    pub linger_bytes: u64,
    /// The time in which they must come; 30 s by default.
    pub linger_time: Duration,
    /// The number of requests that are answered at a time; 256 by default.
    pub requests: usize,
    /// The number of requests a second that a token may make, and where there is no token an
    /// address; as many may come at once. `None`, the default, for no limit.
    pub rate: Option<NonZeroU32>,
    /// The number of connections; further ones wait. 4,096 by default.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            import_bytes: 1 << 30,
            request_time: Duration::from_mins(1),
            head_time: Duration::from_secs(10),
            stall_time: Duration::from_secs(30),
            linger_bytes: 64 << 20,
            linger_time: Duration::from_secs(30),
            requests: 256,
            rate: None,
            connections: 4_096,
        }
    }
}
