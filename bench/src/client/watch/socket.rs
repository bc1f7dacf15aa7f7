//! Sockets of feeds: more of them than one loopback address has ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// Feeds from one source address: below the ports that Linux gives out by default (28,232).
const PER_SOURCE: usize = 20_000;
/// Descriptors besides those of feeds.
const OTHERS: u64 = 500;

/// Begins to connect feed number `index`, from 127.0.0.1, then 127.0.0.2, and so on.
pub(super) fn connect(to: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let chapter = u8::try_from(index / PER_SOURCE).map_err(io::Error::other)?;
    if chapter > 0 {
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + chapter));
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Lets this program, and those that it starts, have as many sockets as `feeds` need.
///
/// # Errors
/// When the system does not allow it.
pub fn allow(feeds: usize) -> io::Result<()> {
    let needed = feeds as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let hard = limit.maximum.map(|hard| hard.max(needed));
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: hard })?;
    Ok(())
}
