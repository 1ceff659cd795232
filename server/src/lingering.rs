//! What is left of a body that nobody reads, once the request is answered.
//!
//! A client that writes its whole body before it reads would find the connection reset if it were
//! closed with bytes unread, and not see why it was refused. So what is left is read and dropped, up
//! to a number of bytes and for a time ([`Limits::linger_bytes`](crate::Limits), `linger_time`),
//! while the answer is on its way. Of HTTP/2 a stream is ended alone, and its answer is seen.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{Version, header};
use http_body::{Frame, SizeHint};
use tokio::sync::watch;

use crate::settings::Limits;

/// The time without a byte after which a client is taken to have sent all that it will send.
const SILENCE: Duration = Duration::from_secs(5);

/// Whether a body was read to its end.
#[derive(Clone, Default)]
pub(crate) struct Ended(Arc<AtomicBool>);

impl Ended {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Lets what is left of the body of a request be read where nobody does. Returns whether it was
/// read to its end, which a request without a body is.
pub(crate) fn linger(
    request: Request,
    limits: &Limits,
    ending: &watch::Receiver<bool>,
) -> (Request, Ended) {
    let ended = Ended(Arc::new(AtomicBool::new(request.body().is_end_stream())));
    if ended.get() || request.version() > Version::HTTP_11 {
        return (request, ended);
    }
    let waits = request.headers().contains_key(header::EXPECT);
    let (bytes, time) = (limits.linger_bytes, limits.linger_time);
    let request = request.map(|body| {
        Body::new(Lingering {
            body,
            ended: ended.clone(),
            waits,
            bytes,
            time,
            ending: ending.clone(),
        })
    });
    (request, ended)
}

/// A body that is read on after it was dropped.
struct Lingering {
    body: Body,
    ended: Ended,
    /// The client sends its body once it is told to (`Expect: 100-continue`), which asking for the
    /// first bytes does.
    waits: bool,
    bytes: u64,
    time: Duration,
    ending: watch::Receiver<bool>,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        this.waits = false;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        // After an error nothing more comes either.
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            this.ended.0.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if self.ended.get() || self.waits {
            return;
        }
        // There is none when the service has ended, with all connections.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let body = std::mem::take(&mut self.body);
        let (bytes, time) = (self.bytes, self.time);
        let mut ending = self.ending.clone();
        runtime.spawn(async move {
            tokio::select! {
                _ = tokio::time::timeout(time, drain(body, bytes)) => {}
                _ = ending.wait_for(|ending| *ending) => {}
            }
        });
    }
}

/// Reads a body to its end, but at most this number of bytes of it.
async fn drain(mut body: Body, mut left: u64) {
    loop {
        let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE, next).await else {
            return;
        };
        let read = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(read) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
