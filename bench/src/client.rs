//! The load client: HTTP/1.1 on bare sockets, as cheap as it gets, because it shares the machine with what it
//! measures.

pub mod connection;
pub mod dreamer;
pub mod each;
pub mod flood;
pub mod hook;
pub mod load;
pub mod request;
pub mod sse;
pub mod watch;
pub mod write;
