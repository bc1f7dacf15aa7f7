//! Answers without end that outlive HTTP: once such an answer is idle, and all it said is on the wire, the connection's
//! socket is taken out of the HTTP server and handed to the answer, which goes on by itself. What the server keeps for
//! a connection (buffers, parser, timers) is many times what an idle socket needs.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::Version;
use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::body::Frame;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::socket;

/// An answer that may be handed its connection.
pub trait Endless: Send + 'static {
    /// The next bytes of the body; `None` at its end.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>>;

    /// Goes on over the connection, to its end.
    fn go_on(self: Box<Self>, line: Line) -> BoxFuture<'static, ()>;
}

/// A connection on which the head of an answer, and perhaps a part of its body, were sent.
#[derive(Debug)]
pub struct Line {
    /// The connection. What its peer sends on it is of no meaning any more.
    pub socket: TcpStream,
    /// How the rest of the body is framed.
    pub framing: Framing,
}

impl Line {
    /// Closes the connection when its peer leaves what was sent unacknowledged for so long.
    pub fn give_up_after(&self, time: Duration) {
        socket::give_up_after(&self.socket, time);
    }
}

/// How a body without a known length is framed (RFC 9112, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// In chunks; the last one is empty.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// Where an answer is lent to the server, and where its connection is taken from. One for each connection; a handler
/// finds it among the request's extensions.
#[derive(Clone, Default)]
pub struct Handover(Arc<Mutex<Slot>>);

#[derive(Default)]
struct Slot {
    answer: Option<Box<dyn Endless>>,
    until_close: bool,
    /// The answer had nothing more to say when it was last asked.
    idle: bool,
    /// Since then all that was said before went into the socket.
    flushed: bool,
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handover")
    }
}

impl Handover {
    /// The body for an answer: an ordinary one, until the answer is handed its connection, if ever.
    ///
    /// The answer's head must say `Connection: close`: nothing can follow on it.
    pub fn lend(&self, answer: impl Endless) -> Body {
        let mut slot = self.lock();
        slot.answer = Some(Box::new(answer));
        slot.idle = false;
        Body::new(Lent(self.clone()))
    }

    /// Notes the version of the request whose answer comes next: it decides how the server frames a body.
    pub(super) fn meets(&self, version: Version) {
        self.lock().until_close = version < Version::HTTP_11;
    }

    /// The answer, when its connection can be handed over.
    pub(super) fn take(&self) -> Option<Box<dyn Endless>> {
        let mut slot = self.lock();
        if slot.idle && slot.flushed { slot.answer.take() } else { None }
    }

    /// What the answer goes on over.
    pub(super) fn line(&self, socket: TcpStream) -> Line {
        let framing = if self.lock().until_close { Framing::UntilClose } else { Framing::Chunked };
        Line { socket, framing }
    }

    fn flushed(&self) {
        let mut slot = self.lock();
        slot.flushed |= slot.idle;
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body that the server holds.
struct Lent(Handover);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut slot = self.0.lock();
        // The server asks once more while the answer is on its way out.
        let Some(answer) = slot.answer.as_mut() else { return Poll::Pending };
        let next = answer.poll_next(context);
        match &next {
            // The server may ask again after it has flushed, before it rests.
            Poll::Pending if slot.idle => {}
            Poll::Pending => (slot.idle, slot.flushed) = (true, false),
            Poll::Ready(_) => slot.idle = false,
        }
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let answer = self.0.lock().answer.take();
        // Not under the lock: what it holds may be a lot.
        drop(answer);
    }
}

/// A connection that notes when everything was flushed.
pub(super) struct Watched {
    io: TokioIo<TcpStream>,
    handover: Handover,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, handover: Handover) -> Self {
        Self { io: TokioIo::new(stream), handover }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.io.into_inner()
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    /// The server flushes the connection only when nothing is left in its own buffers.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(context))?;
        self.handover.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}
