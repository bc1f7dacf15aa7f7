//! The read table, as an analyst sees it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, FromRow};

use crate::failure::{Failure, OrFail};

/// How often it is looked at.
const EVERY: Duration = Duration::from_micros(500);
/// How long a row may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of content that are printed of a row.
const SHOWN: usize = 70;

const FIND: &str = "SELECT content = $2 FROM paco_conversations WHERE id = $1";
const ROWS: &str =
    "SELECT id, role, timestamp, provider, elevenlabs_message_id, content FROM paco_conversations
    WHERE elevenlabs_conversation_id = $1 ORDER BY id";

#[derive(FromRow)]
struct Row {
    id: i64,
    role: String,
    timestamp: DateTime<Utc>,
    provider: String,
    elevenlabs_message_id: Option<String>,
    content: String,
}

/// A session that looks at it.
pub(super) struct Table(PgConnection);

impl Table {
    /// Connects.
    pub(super) async fn open(url: &str) -> Result<Self, Failure> {
        let options: PgConnectOptions =
            url.parse().map_err(|_| Failure::new("the database's address is none"))?;
        options.connect().await.map(Self).or_fail("reach the database")
    }

    /// Waits until the row has this content.
    pub(super) async fn wait_for(&mut self, id: i64, content: &str) -> Result<(), Failure> {
        let looking = async {
            loop {
                let found: Option<bool> =
                    sqlx::query_scalar(FIND).bind(id).bind(content).fetch_optional(&mut self.0).await?;
                if found == Some(true) {
                    return Ok::<(), sqlx::Error>(());
                }
                tokio::time::sleep(EVERY).await;
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(looked) => looked.or_fail("look at the table"),
            Err(_) => Err(Failure::new(format!(
                "row {id} is not in the table after {PATIENCE:?}: see turnlog status"
            ))),
        }
    }

    /// Prints the rows of a conversation as they stand.
    pub(super) async fn print(&mut self, conversation: &str) -> Result<(), Failure> {
        let rows: Vec<Row> =
            sqlx::query_as(ROWS).bind(conversation).fetch_all(&mut self.0).await.or_fail("read the table")?;
        println!("\npaco_conversations, WHERE elevenlabs_conversation_id = '{conversation}':\n");
        println!(
            "{:>6}  {:<9}  {:<24}  {:<10}  {:<12}  content",
            "id", "role", "timestamp", "provider", "message id"
        );
        for row in rows {
            println!(
                "{:>6}  {:<9}  {:<24}  {:<10}  {:<12}  {}",
                row.id,
                row.role,
                row.timestamp.format("%Y-%m-%d %H:%M:%S%.3f"),
                row.provider,
                row.elevenlabs_message_id.unwrap_or_default(),
                shortened(&row.content)
            );
        }
        Ok(())
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        text.to_owned()
    } else {
        text.chars().take(SHOWN).chain(['…']).collect()
    }
}
