//! The systems that feeds are measured on, behind one face: how a feed is asked for, how a message is written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;
use shared::auth::Tokens;
use sqlx::{Connection, PgConnection};

use super::fastapi::{FastApi, STREAMING, virtual_environment};
use super::nats::{Nats, Sync};
use super::nchan::{Installed, Nchan};
use super::postgres::Postgres;
use super::turnlog::{Stores, Turnlog, token, tokens};
use crate::client::request::{conversation_id, message_id};
use crate::client::watch::Wanted;
use crate::client::watch::track::Ids;
use crate::client::write::{Template, marked_content};
use crate::error::{Error, Result};
use crate::place::Place;

/// When the messages were said, by their own clock.
const TIMESTAMP: &str = "2025-01-08T12:00:00Z";

/// A system that feeds can be watched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// `turnlog serve all`, on disk.
    Turnlog,
    /// nginx with nchan, one worker.
    Nchan,
    /// nginx with nchan, two workers.
    Nchan2,
    /// The seeds' own design: FastAPI asks Postgres each second.
    Fastapi,
}

/// What all runs of one system share.
pub struct Systems {
    postgres: Postgres,
    venv: Option<PathBuf>,
    nchan: Option<Installed>,
}

/// A system that runs, with empty stores.
pub struct Running {
    parts: Parts,
    content_bytes: usize,
    /// Tokens by conversation, where the system gives them out.
    owners: Vec<String>,
}

enum Parts {
    Turnlog { turnlog: Turnlog, nats: Nats, database: String, tokens: Box<Tokens>, postgres: u32 },
    Nchan(Nchan),
    FastApi { peer: FastApi, database: String, postgres: u32 },
}

impl System {
    /// As it stands in the table.
    pub fn words(self) -> &'static str {
        match self {
            Self::Turnlog => "turnlog serve all",
            Self::Nchan => "nginx with nchan, 1 worker",
            Self::Nchan2 => "nginx with nchan, 2 workers",
            Self::Fastapi => "FastAPI, polling each second, 2 workers",
        }
    }

    /// The most feeds that messages come on: past that it does nothing but poll, and its writers wait.
    pub fn most_live_feeds(self) -> usize {
        match self {
            Self::Turnlog | Self::Nchan | Self::Nchan2 => usize::MAX,
            Self::Fastapi => 100,
        }
    }

    /// The most feeds that are opened.
    pub fn most_feeds(self) -> usize {
        match self {
            Self::Turnlog | Self::Nchan | Self::Nchan2 => usize::MAX,
            Self::Fastapi => 1_000,
        }
    }

    /// Whether a client can go on where it was.
    pub fn resumes(self) -> bool {
        self != Self::Fastapi
    }
}

impl Systems {
    /// Finds what these systems need, before anything is measured.
    ///
    /// # Errors
    /// When something is missing, with what to do about it.
    pub async fn find(place: &Place, systems: &[System]) -> Result<Self> {
        let nchan = systems.iter().any(|system| matches!(system, System::Nchan | System::Nchan2));
        let nchan = nchan.then(Installed::find).transpose()?;
        let venv = systems.contains(&System::Fastapi).then(|| virtual_environment(place)).transpose()?;
        Ok(Self { postgres: Postgres::start(place).await?, venv, nchan })
    }

    /// Starts a system with empty stores, for conversations numbered from 0.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(
        &mut self,
        place: &Place,
        system: System,
        conversations: u32,
        content_bytes: usize,
    ) -> Result<Running> {
        let (_, postgres) = self.postgres.process();
        let (parts, owners) = match system {
            System::Turnlog => {
                let nats = Nats::start(place, Sync::Always).await?;
                let stores = Stores { nats: nats.url(), database: self.postgres.fresh_database().await? };
                Turnlog::migrate(place, &stores)?;
                let turnlog = Turnlog::start(place, "all", &stores).await?;
                let tokens = Box::new(tokens());
                let owners =
                    (0..conversations).map(|of| token(&tokens, &research_id(of))).collect::<Result<_>>()?;
                (Parts::Turnlog { turnlog, nats, database: stores.database, tokens, postgres }, owners)
            }
            System::Nchan | System::Nchan2 => {
                let installed = self.nchan.as_ref().ok_or_else(|| Error::Missing("nginx".into()))?;
                let workers = if system == System::Nchan { 1 } else { 2 };
                (Parts::Nchan(Nchan::start(place, installed, workers).await?), Vec::new())
            }
            System::Fastapi => {
                let venv = self.venv.as_ref().ok_or_else(|| Error::Missing("python3".into()))?;
                let database = self.postgres.fresh_database().await?;
                let peer = FastApi::start(place, venv, &STREAMING, &database).await?;
                let owners = peer.senders(conversations as usize).await?;
                let owners = owners.into_iter().map(|owner| owner.token).collect();
                (Parts::FastApi { peer, database, postgres }, owners)
            }
        };
        Ok(Running { parts, content_bytes, owners })
    }
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match &self.parts {
            Parts::Turnlog { turnlog, .. } => turnlog.address(),
            Parts::Nchan(nchan) => nchan.address(),
            Parts::FastApi { peer, .. } => peer.address(),
        }
    }

    /// What its ids are.
    pub fn ids(&self) -> Ids {
        match &self.parts {
            Parts::Turnlog { .. } => Ids::Sequence,
            Parts::Nchan(_) => Ids::Time,
            Parts::FastApi { .. } => Ids::None,
        }
    }

    /// Its processes, the one that serves feeds first.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        match &self.parts {
            Parts::Turnlog { turnlog, nats, postgres, .. } => {
                vec![turnlog.process(), nats.process(), ("postgres", *postgres)]
            }
            Parts::Nchan(nchan) => vec![nchan.process()],
            Parts::FastApi { peer, postgres, .. } => vec![peer.process(), ("postgres", *postgres)],
        }
    }

    /// A feed of conversation number `conversation`, as a client of its own asks for it.
    ///
    /// # Errors
    /// When no token can be made.
    pub fn feed(&self, conversation: u32) -> Result<Wanted> {
        let id = conversation_id(conversation.into());
        let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
        let (path, credential) = match &self.parts {
            // A token for each feed: so many people watch, not one with so many windows.
            Parts::Turnlog { tokens, .. } => (
                format!("/api/conversation/{id}/stream"),
                bearer(&token(tokens, &research_id(conversation))?),
            ),
            Parts::Nchan(_) => (format!("/sub?id={id}"), String::new()),
            Parts::FastApi { .. } => {
                (format!("/api/conversation/{id}/stream"), bearer(&self.owners[conversation as usize]))
            }
        };
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n{credential}");
        Ok(Wanted { conversation, request: request.into_bytes() })
    }

    /// The request that writes a message to conversation number `conversation`.
    pub fn template(&self, conversation: u32) -> Template {
        let (id, content) =
            (conversation_id(conversation.into()), marked_content(conversation, self.content_bytes));
        let (path, credential, body) = match &self.parts {
            Parts::Turnlog { .. } | Parts::FastApi { .. } => {
                let token = &self.owners[conversation as usize];
                let body = json!({
                    "research_id": research_id(conversation),
                    "role": "user",
                    "content": content,
                    "timestamp": TIMESTAMP,
                    "provider": "elevenlabs",
                    "elevenlabs_conversation_id": id,
                    "elevenlabs_message_id": message_id(0),
                });
                let credential = format!("Authorization: Bearer {token}\r\n");
                ("/api/v1/chat/message".to_owned(), credential, body)
            }
            // What turnlog would send of it, so that a frame has as many bytes.
            Parts::Nchan(_) => {
                let message = json!({
                    "message_id": message_id(0), "role": "user", "content": content, "timestamp": TIMESTAMP,
                    "sources": "", "sequence": 100_000, "place": 1_000, "provider": "elevenlabs",
                });
                let body = json!({"conversation_id": id, "messages": [message], "total_messages": 1_000});
                (format!("/pub?id={id}"), String::new(), body)
            }
        };
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{credential}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Template::new(conversation, &request)
    }

    /// What it holds open behind itself, by name: connections to Postgres and NATS, consumers.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn behind(&self) -> Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        let database = match &self.parts {
            Parts::Turnlog { nats, database, .. } => {
                counts.insert("NATS connections".into(), nats.count("/varz", "connections").await?);
                counts.insert("NATS consumers".into(), nats.count("/jsz", "consumers").await?);
                counts.insert("NATS subscriptions".into(), nats.count("/varz", "subscriptions").await?);
                database
            }
            Parts::Nchan(_) => return Ok(counts),
            Parts::FastApi { database, .. } => database,
        };
        let mut connection = PgConnection::connect(database).await?;
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        counts.insert("Postgres connections".into(), open.unsigned_abs());
        Ok(counts)
    }

    /// Fails when it has ended meanwhile.
    ///
    /// # Errors
    /// With the end of its output.
    pub fn still_runs(&mut self) -> Result<()> {
        match &mut self.parts {
            Parts::Turnlog { turnlog, .. } => turnlog.still_runs(),
            Parts::Nchan(nchan) => nchan.still_runs(),
            Parts::FastApi { peer, .. } => peer.still_runs(),
        }
    }
}

fn research_id(conversation: u32) -> String {
    format!("RID{conversation:05}")
}
