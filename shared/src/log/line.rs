//! A connection that brings entries and does nothing else, for who reads the log from one end to the other.
//!
//! async-nats takes the dozen headers of an entry apart into a map of small allocations and hands each entry over through
//! a channel: 4 to 5 µs of processor time, where `watermelon-proto` takes 1.7 (docs/PERFORMANCE.md). It decodes and
//! encodes the protocol, and nothing more; so this is for plain connections, with or without a password. Where the
//! server asks for TLS or a credentials file is set, async-nats reads, as it says everything else to the server.

use std::time::Duration;

use async_nats::ServerAddr;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use watermelon_proto::proto::error::DecoderError;
use watermelon_proto::proto::{ClientOp, FramedEncoder, ServerOp, StreamDecoder};
use watermelon_proto::{Connect, MessageBase, NonStandardConnect, ServerMessage, Subject};

use super::{LogError, password, servers};
use crate::config::NatsSettings;

/// How long a server may take to greet and to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest greeting that is read.
const GREETING: u64 = 64 * 1024;

/// The connection, with one subscription on it.
#[derive(Debug)]
pub(super) struct Line {
    socket: TcpStream,
    decoder: StreamDecoder,
    inbox: Subject,
}

/// What of a server's greeting matters here. The decoder's own type takes the addresses of a cluster for URLs, which
/// they are not.
#[derive(Debug, Deserialize)]
struct Greeting {
    #[serde(default)]
    tls_required: bool,
}

impl Line {
    /// Connects to the first server that takes it and listens at `inbox`; none where async-nats has to read.
    pub(super) async fn open(settings: &NatsSettings, name: &str, inbox: &str) -> Option<Self> {
        let servers = servers(settings).ok()?;
        let password = password(settings, &servers);
        if settings.credentials.is_some() || servers.iter().any(ServerAddr::tls_required) {
            return None;
        }
        for server in &servers {
            let open = Self::connect(server, password.clone(), name, inbox);
            match tokio::time::timeout(PATIENCE, open).await.map_err(LogError::unavailable).flatten() {
                Ok(line) => return Some(line),
                Err(error) => tracing::debug!(%error, "no line to this server"),
            }
        }
        None
    }

    async fn connect(
        server: &ServerAddr,
        password: Option<(String, String)>,
        name: &str,
        inbox: &str,
    ) -> Result<Self, LogError> {
        let socket =
            TcpStream::connect((server.host(), server.port())).await.map_err(LogError::unavailable)?;
        socket.set_nodelay(true).map_err(LogError::unavailable)?;
        let mut reader = BufReader::new(socket.take(GREETING));
        let mut greeting = String::new();
        reader.read_line(&mut greeting).await.map_err(LogError::unavailable)?;
        let told = greeting.strip_prefix("INFO ").unwrap_or_default();
        let told: Greeting = serde_json::from_str(told).map_err(LogError::unavailable)?;
        if told.tls_required {
            return Err(LogError::unavailable("it asks for TLS"));
        }
        // Until it is answered a server says nothing more.
        let socket = reader.into_inner().into_inner();
        let inbox = Subject::from_dangerous_value(inbox.into());
        let mut line = Self { socket, decoder: StreamDecoder::new(), inbox: inbox.clone() };
        let connect = Box::new(connect(password, name));
        let subscribe = ClientOp::Subscribe { id: 1.into(), subject: inbox, queue_group: None };
        for said in [ClientOp::Connect { connect }, subscribe, ClientOp::Ping] {
            line.say(&said).await.map_err(LogError::unavailable)?;
        }
        loop {
            match line.take().await.map_err(LogError::unavailable)? {
                ServerOp::Pong => return Ok(line),
                ServerOp::Error { error } => return Err(LogError::unavailable(error)),
                ServerOp::Info { .. } | ServerOp::Message { .. } | ServerOp::Success | ServerOp::Ping => {}
            }
        }
    }

    /// Publishes a request whose answers come to the inbox.
    pub(super) async fn ask(&mut self, subject: String, request: String) -> std::io::Result<()> {
        let message = MessageBase {
            subject: Subject::from_dangerous_value(subject.into()),
            reply_subject: Some(self.inbox.clone()),
            headers: watermelon_proto::headers::HeaderMap::new(),
            payload: request.into(),
        };
        self.say(&ClientOp::Publish { message }).await
    }

    /// The next message; `Err` says why there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<ServerMessage, &'static str> {
        loop {
            match self.take().await? {
                ServerOp::Message { message } => return Ok(message),
                // It must not be cut in half where the future is dropped; so short a word always fits.
                ServerOp::Ping => {
                    let pong = FramedEncoder::new().encode(&ClientOp::Pong);
                    if self.socket.try_write(&pong).ok() != Some(pong.len()) {
                        return Err("the connection does not take an answer");
                    }
                }
                ServerOp::Error { .. } => return Err("the server refused"),
                ServerOp::Info { .. } | ServerOp::Success | ServerOp::Pong => {}
            }
        }
    }

    async fn say(&mut self, what: &ClientOp) -> std::io::Result<()> {
        self.socket.write_all(&FramedEncoder::new().encode(what)).await
    }

    async fn take(&mut self) -> Result<ServerOp, &'static str> {
        loop {
            match self.decoder.decode() {
                Ok(Some(said)) => return Ok(said),
                Ok(None) => {}
                // A cluster tells of its servers in a form that the decoder does not take; nobody needs it here.
                Err(DecoderError::InvalidInfo(_)) => continue,
                Err(_) => return Err("the server said what is no NATS"),
            }
            match self.socket.read_buf(self.decoder.read_buf()).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err("the connection was closed"),
            }
        }
    }
}

fn connect(password: Option<(String, String)>, name: &str) -> Connect {
    let (username, password) = password.unzip();
    Connect {
        verbose: false,
        pedantic: false,
        require_tls: false,
        auth_token: None,
        username,
        password,
        client_name: Some(format!("turnlog {name}")),
        client_lang: "rust",
        client_version: env!("CARGO_PKG_VERSION"),
        protocol: 1,
        echo: false,
        signature: None,
        jwt: None,
        supports_no_responders: true,
        supports_headers: true,
        nkey: None,
        non_standard: NonStandardConnect::default(),
    }
}

#[cfg(test)]
mod tests;
