//! Accepting connections, and serving each until it ends or is handed over.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::ServiceExt;

use super::handover::{Endless, Handover, Line, Watched};
use super::socket;
use crate::limits::HEAD_TIMEOUT;

/// The connections that a stop waits for. A handler finds it among the request's extensions.
#[derive(Debug, Clone, Default)]
pub struct Connections(TaskTracker);

impl Connections {
    /// One that goes on when HTTP has ended on it, for as long as this is held.
    pub fn goes_on(&self) -> TaskTrackerToken {
        self.0.token()
    }
}

/// Serves until `stopping`, then waits for what is under way: requests, and answers that were handed over.
pub(super) async fn serve(mut listener: TcpListener, app: Router, stopping: CancellationToken) {
    let connections = Connections::default();
    let app = app.layer(Extension(connections.clone()));
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            accepted = Listener::accept(&mut listener) => accepted,
        };
        socket::tune(&stream);
        connections.0.spawn(connection(stream, peer, app.clone(), stopping.clone()));
    }
    drop(listener);
    connections.0.close();
    connections.0.wait().await;
}

/// What HTTP needs is on the heap, so that nothing of it is left in the task of a connection that was handed over.
async fn connection(stream: TcpStream, peer: SocketAddr, app: Router, stopping: CancellationToken) {
    let handed_over = Box::pin(exchange(stream, peer, app, stopping)).await;
    if let Some((taken, line)) = handed_over {
        taken.go_on(line).await;
    }
}

/// Answers requests, until the connection ends or an answer takes it over.
async fn exchange(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    stopping: CancellationToken,
) -> Option<(Box<dyn Endless>, Line)> {
    let handover = Handover::default();
    let offered = handover.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        offered.meets(request.version());
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(offered.clone());
        let request: Request = request.map(Body::new);
        app.clone().oneshot(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let io = Watched::new(stream, handover.clone());
    let mut connection = builder.serve_connection(io, service).with_upgrades();
    let mut stop = Box::pin(stopping.cancelled_owned());
    let mut told = false;
    let taken = poll_fn(|context| {
        if !told && stop.as_mut().poll(context).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match Pin::new(&mut connection).poll(context) {
            // What went wrong with a connection is its peer's affair.
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => handover.take().map_or(Poll::Pending, |taken| Poll::Ready(Some(taken))),
        }
    })
    .await?;
    // Bytes that the peer sent ahead are dropped: its answer says that no other follows on this connection.
    let socket = connection.into_parts()?.io.into_inner();
    Some((taken, handover.line(socket)))
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use axum::Extension;
    use axum::response::Response;
    use bytes::Bytes;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;

    use super::super::{Framing, Handover};
    use super::*;

    const OPENING: usize = 300_000;

    /// Says one thing, and says on the bare socket that it stands there.
    struct Greeting(Option<Bytes>);

    impl Endless for Greeting {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Bytes>> {
            self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(bytes)))
        }

        fn go_on(self: Box<Self>, mut line: Line) -> BoxFuture<'static, ()> {
            async move {
                assert_eq!(line.framing, Framing::Chunked);
                line.socket.write_all(b"8\r\nstanding\r\n0\r\n\r\n").await.unwrap();
            }
            .boxed()
        }
    }

    async fn greet(Extension(handover): Extension<Handover>) -> Response {
        Response::new(handover.lend(Greeting(Some(vec![b'x'; OPENING].into()))))
    }

    /// The server holds what the socket does not take at once, and must not be left before it has sent it.
    #[tokio::test]
    async fn a_socket_is_handed_over_only_when_all_that_was_said_is_in_it() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(8).unwrap();
        let address = listener.local_addr().unwrap();
        let stopping = CancellationToken::new();
        let app = Router::new().fallback(greet);
        let serving = tokio::spawn(serve(listener, app, stopping.clone()));
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut client = socket.connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        let body = format!("{OPENING:X}\r\n{}\r\n8\r\nstanding\r\n0\r\n\r\n", "x".repeat(OPENING));
        assert!(all.ends_with(body.as_bytes()), "{} bytes came", all.len());
        stopping.cancel();
        serving.await.unwrap();
    }
}
