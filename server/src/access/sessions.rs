//! Logins of browsers: a cookie that names a session in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Caller;
use super::tokens::{TokenError, hash, random_name};

/// Name of the cookie.
pub(crate) const COOKIE: &str = "affinis_session";
/// The time after which a login ends.
pub(crate) const LIFETIME: Duration = Duration::from_hours(12);
/// The most logins that are kept; the oldest goes for a new one.
const MOST: usize = 10_000;

/// The logins, by the hashes of their names, so that the time of looking one up tells nothing.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

struct Session {
    caller: Caller,
    begun: Instant,
}

impl Sessions {
    /// Begins a login. Returns its name.
    pub(crate) fn begin(&self, caller: Caller) -> Result<String, TokenError> {
        let name = random_name()?;
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= MOST {
            sessions.retain(|_, session| session.begun.elapsed() < LIFETIME);
        }
        if sessions.len() >= MOST {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.begun);
            if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
                sessions.remove(&oldest);
            }
        }
        let begun = Instant::now();
        sessions.insert(hash(&name), Session { caller, begun });
        Ok(name)
    }

    /// The caller of a login that goes on.
    pub(crate) fn find(&self, name: &str) -> Option<Caller> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get(&hash(name))?;
        (session.begun.elapsed() < LIFETIME).then(|| session.caller.clone())
    }

    /// Ends a login.
    pub(crate) fn end(&self, name: &str) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&hash(name));
    }
}
