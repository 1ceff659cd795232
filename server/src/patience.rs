//! How long a connection may stand still: a client that connects and says nothing, or that takes
//! nothing of its answer, is cut off.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The number of bytes from which the protocol is known: the length of the preface of HTTP/2. Every
/// request of HTTP/1.1 that names a host is longer.
const PREFACE: usize = 24;

/// A connection of which reading fails where the protocol is not known in time, and writing where
/// nothing is taken for a time.
pub(crate) struct Patient<S> {
    stream: S,
    /// The number of bytes read, as long as it is below [`PREFACE`].
    read: usize,
    /// The end of the time for the preface; `None` once that is read.
    preface: Option<Pin<Box<Sleep>>>,
    /// The end of the time in which something must be taken; `None` while nothing waits.
    stalled: Option<Pin<Box<Sleep>>>,
    stall_time: Duration,
}

impl<S> Patient<S> {
    /// A new connection, with the time for its first bytes, and that in which something must be
    /// taken of what is written.
    pub(crate) fn new(stream: S, head_time: Duration, stall_time: Duration) -> Self {
        Self {
            stream,
            read: 0,
            preface: Some(Box::pin(sleep(head_time))),
            stalled: None,
            stall_time,
        }
    }

    /// Watches the outcome of a write.
    fn watched<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let time = self.stall_time;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing of its answer",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let this = &mut *self;
        let Some(preface) = &mut this.preface else {
            return outcome;
        };
        if outcome.is_ready() {
            this.read += buffer.filled().len() - before;
            if this.read >= PREFACE {
                this.preface = None;
            }
            return outcome;
        }
        ready!(preface.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client asks nothing",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watched(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.watched(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.watched(outcome, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watched(outcome, cx)
    }
}
