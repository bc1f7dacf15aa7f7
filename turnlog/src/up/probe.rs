//! Whether a server that was started takes requests yet.

use std::net::SocketAddr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(20);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to ask.
#[derive(Debug, Clone)]
pub(crate) enum Probe {
    /// A nats-server greets with its name before anything is asked; it does so once its streams are recovered.
    Nats {
        /// Where.
        address: SocketAddr,
        /// The name: another server may have taken the port.
        name: String,
    },
    /// A Postgres that lets us in has recovered.
    Postgres(Box<PgConnectOptions>),
}

impl Probe {
    /// Waits until the answer is yes. Whoever waits sets the bound.
    pub(crate) async fn wait(&self) {
        while !matches!(tokio::time::timeout(PATIENCE, self.answers()).await, Ok(true)) {
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn answers(&self) -> bool {
        match self {
            Self::Nats { address, name } => {
                let mut greeting = String::new();
                let Ok(stream) = TcpStream::connect(address).await else { return false };
                let read = BufReader::new(stream).read_line(&mut greeting).await;
                read.is_ok() && greeting.starts_with("INFO ") && greeting.contains(name)
            }
            Self::Postgres(options) => match options.connect().await {
                Ok(connection) => PgConnection::close(connection).await.is_ok(),
                Err(_) => false,
            },
        }
    }
}
