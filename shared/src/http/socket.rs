//! How connections of callers are set: small answers at once, and peers that vanished noticed.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::limits::{KEEPALIVE_AFTER, KEEPALIVE_EVERY, PEER_TIMEOUT};

/// Sets a new connection; one that cannot be set is served as it is.
pub(super) fn tune(stream: &TcpStream) {
    if let Err(error) = try_tune(stream) {
        tracing::debug!(%error, "a connection could not be set");
    }
}

fn try_tune(stream: &TcpStream) -> io::Result<()> {
    // Small frames and answers must not wait for the peer's delayed ack.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive)?;
    set_patience(stream, PEER_TIMEOUT)
}

/// Closes a connection whose peer leaves what was sent unacknowledged for so long.
pub(super) fn give_up_after(stream: &TcpStream, time: Duration) {
    if let Err(error) = set_patience(stream, time) {
        tracing::debug!(%error, "a connection could not be set");
    }
}

/// Covers what keepalive does not: data that is never acknowledged, and a peer that takes nothing any more. The answer
/// to it would otherwise wait for a quarter of an hour, or for ever.
#[cfg(target_os = "linux")]
fn set_patience(stream: &TcpStream, time: Duration) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(time))
}

/// Only Linux has a setting for it.
#[cfg(not(target_os = "linux"))]
fn set_patience(_: &TcpStream, _: Duration) -> io::Result<()> {
    Ok(())
}
