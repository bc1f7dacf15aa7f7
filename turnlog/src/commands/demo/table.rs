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
const REPORT: &str =
    "SELECT r.sequence, c.status, r.call_successful, r.duration_seconds, r.cost, r.title, r.summary,
            (SELECT count(*) FROM turnlog.turns AS t WHERE t.conversation = c.token) AS turns
     FROM turnlog.conversations AS c JOIN turnlog.reports AS r ON r.conversation = c.token
     WHERE c.conversation_id = $1 AND r.kind = 'post_call_transcription'";

#[derive(FromRow)]
struct Row {
    id: i64,
    role: String,
    timestamp: DateTime<Utc>,
    provider: String,
    elevenlabs_message_id: Option<String>,
    content: String,
}

#[derive(FromRow)]
struct Report {
    sequence: i64,
    status: String,
    call_successful: Option<String>,
    duration_seconds: Option<i64>,
    cost: Option<i64>,
    title: Option<String>,
    summary: Option<String>,
    turns: i64,
}

impl Report {
    fn print(&self) {
        let number = |number: Option<i64>| number.map_or("-".into(), |number| number.to_string());
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        println!("\nturnlog.reports and turnlog.turns, of the same conversation:\n");
        println!("  status     {} ({})", self.status, text(&self.call_successful));
        println!("  duration   {} s, cost {} credits", number(self.duration_seconds), number(self.cost));
        println!("  turns      {}, with those in which nothing was said", self.turns);
        println!("  title      {}", text(&self.title));
        println!("  summary    {}", text(&self.summary));
    }
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

    /// Waits for the report that stands at this place in the log, and prints it.
    pub(super) async fn print_report(&mut self, conversation: &str, sequence: u64) -> Result<(), Failure> {
        let looking = async {
            loop {
                let found: Option<Report> =
                    sqlx::query_as(REPORT).bind(conversation).fetch_optional(&mut self.0).await?;
                match found {
                    Some(report) if report.sequence.unsigned_abs() >= sequence => {
                        return Ok::<_, sqlx::Error>(report);
                    }
                    Some(_) | None => tokio::time::sleep(EVERY).await,
                }
            }
        };
        let looked = tokio::time::timeout(PATIENCE, looking).await;
        let report = looked
            .map_err(|_| Failure::new("the report is not in the table: see turnlog status"))?
            .or_fail("look at the table")?;
        report.print();
        Ok(())
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
