//! Accepting connections, and serving each until it ends or is handed over.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::handover::{Endless, Handover, Line, Watched};
use super::socket;
use crate::limits::HEAD_TIMEOUT;

/// Serves until `stopping`, then waits for what is under way: requests, and answers that were handed over.
pub(super) async fn serve(mut listener: TcpListener, app: Router, stopping: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            accepted = Listener::accept(&mut listener) => accepted,
        };
        socket::tune(&stream);
        connections.spawn(connection(stream, peer, app.clone(), stopping.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
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
