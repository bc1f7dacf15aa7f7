//! A full log folded into fresh tables, and compared with them, beside a system that is read and written meanwhile.

use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;

use super::section;
use crate::client::connection::Connection;
use crate::client::load::message_id as sequence_of;
use crate::client::request::{Sender, content, conversation_id, message_id};
use crate::error::{Doing, Error, Result};
use crate::fill::{Filling, fill};
use crate::options::Options;
use crate::place::Place;
use crate::report::{Latency, RebuildRow, RebuildRun, Section, histogram};
use crate::systems::nats::{Nats, Sync};
use crate::systems::postgres::Postgres;
use crate::systems::turnlog::{Stores, Turnlog, operator, senders};

/// Between two reads, and two writes: a system that is used, and has time.
const PACE: Duration = Duration::from_millis(10);
/// How long tables and search may take to be there.
const PATIENCE: Duration = Duration::from_secs(3_600);
const LOOK: Duration = Duration::from_millis(200);

/// Fills one log, lets it be projected, and makes and compares the tables again and again.
///
/// # Errors
/// When a system cannot be started, a command fails, or a read is not answered.
pub async fn measure(place: &Place, options: &Options) -> Result<Section<RebuildRow>> {
    let Options { messages, log_conversations: conversations, content_bytes, .. } = *options;
    let mut postgres = Postgres::start(place).await?;
    let nats = Nats::start(place, Sync::Default).await?;
    fill(place, &nats.url(), Filling { messages, conversations, content_bytes, varied: true }).await?;
    let stores = Stores { nats: nats.url(), database: postgres.fresh_database().await? };
    Turnlog::migrate(place, &stores)?;
    let turnlog = Turnlog::start(place, "all", &stores).await?;
    settled(&stores, messages).await?;
    let sender = senders(place, &stores, 1)?.remove(0);
    let mut user = User { address: turnlog.address(), sender, content: content(content_bytes), said: 0 };
    let commands: [(&str, &[&str]); 3] = [
        ("rebuild", &["rebuild", "--keep-search"]),
        ("rebuild --full-speed", &["rebuild", "--keep-search", "--full-speed"]),
        ("verify", &["verify"]),
    ];
    let mut rows = commands.map(|(command, _)| RebuildRow {
        command: command.to_owned(),
        messages,
        conversations,
        runs: Vec::new(),
    });
    for _ in 0..options.runs {
        for (row, (name, arguments)) in rows.iter_mut().zip(commands) {
            let run = one(place, &stores, options, &mut user, arguments).await?;
            println!(
                "{name}: {:.0}/s, {:.1} s, {:.0} MB; read p99 {:.2} ms (idle {:.2}), post to table p99 {:.2} ms (idle {:.2})",
                run.per_second,
                run.seconds,
                run.peak_mb,
                run.read.p99_ms,
                run.idle_read.p99_ms,
                run.write.p99_ms,
                run.idle_write.p99_ms
            );
            row.runs.push(run);
            settled(&stores, 0).await?;
        }
    }
    let how = format!(
        "`turnlog serve all` beside the command, read (a snapshot of a conversation) and written (a message, until a \
         read waits for it no longer) by one participant in turn, {PACE:?} apart; {content_bytes} bytes of content; \
         {} runs over the same log. Events/s of rebuild are those of its tables: the search index is kept.",
        options.runs
    );
    section(place, how, rows.into())
}

async fn one(
    place: &Place,
    stores: &Stores,
    options: &Options,
    user: &mut User,
    arguments: &[&str],
) -> Result<RebuildRun> {
    let idle_until = Instant::now() + options.measured();
    let (idle_read, idle_write) = user.go_on(|| Ok(Instant::now() < idle_until)).await?;
    let dir = place.fresh_dir()?;
    let mut command = operator(place, stores, &dir);
    let mut child = command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing("start the command")?;
    let started = Instant::now();
    let mut peak_mb = 0.0_f64;
    let (read, write) = user
        .go_on(|| {
            peak_mb = peak_mb.max(peak_memory(&child));
            Ok(child.try_wait().doing("look after the command")?.is_none())
        })
        .await?;
    let whole = started.elapsed().as_secs_f64();
    let output = child.wait_with_output().doing("read what the command said")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Answer(format!("turnlog {} failed: {said}{why}", arguments.join(" "))));
    }
    let events: f64 = said.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default();
    if arguments[0] == "rebuild" {
        let mut drop = operator(place, stores, &dir);
        crate::process::run("turnlog rebuild --drop", {
            drop.args(["rebuild", "--drop"]);
            drop
        })?;
    }
    let per_second = events / whole;
    Ok(RebuildRun { seconds: whole, per_second, peak_mb, idle_read, read, idle_write, write })
}

/// What a process held at most so far.
fn peak_memory(child: &Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// Waits until the tables are at least there, and the search index where they are.
async fn settled(stores: &Stores, messages: u64) -> Result<()> {
    let started = Instant::now();
    let mut tables = PgConnection::connect(&stores.database).await?;
    loop {
        let (least, most): (i64, i64) =
            sqlx::query_as("SELECT min(last_sequence), max(last_sequence) FROM turnlog.checkpoint")
                .fetch_one(&mut tables)
                .await?;
        if least == most && least.unsigned_abs() >= messages {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(Error::Answer("the projector did not reach the log's end".into()));
        }
        sleep(LOOK).await;
    }
}

/// Somebody who reads and writes one conversation.
struct User {
    address: SocketAddr,
    sender: Sender,
    content: String,
    said: u64,
}

impl User {
    /// Reads and writes in turn for as long as that is so; answers how long each took.
    async fn go_on(&mut self, mut so: impl FnMut() -> Result<bool>) -> Result<(Latency, Latency)> {
        let (mut reads, mut writes) = (histogram(), histogram());
        let mut http = Connection::open(self.address).await?;
        while so()? {
            let asked = Instant::now();
            self.read(&mut http, None).await?;
            reads.saturating_record(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
            sleep(PACE).await;
            let written = Instant::now();
            let sequence = self.write(&mut http).await?;
            self.read(&mut http, Some(sequence)).await?;
            writes.saturating_record(u64::try_from(written.elapsed().as_micros()).unwrap_or(u64::MAX));
            sleep(PACE).await;
        }
        Ok((Latency::of(&reads), Latency::of(&writes)))
    }

    /// A snapshot of a conversation that does not grow; or of what was just written.
    async fn read(&self, http: &mut Connection, after: Option<u64>) -> Result<()> {
        let id = conversation_id(0);
        let path = match after {
            None => format!("/api/conversation/{id}"),
            Some(sequence) => format!("/api/v1/conversations?limit=1&after={sequence}"),
        };
        let token = &self.sender.token;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n");
        let response = http.exchange(request.as_bytes()).await?;
        if response.status == 200 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(response.body).into_owned();
        Err(Error::Answer(format!("{} to {path}: {text}", response.status)))
    }

    /// Into a conversation of its own, so that what is read stays as it is.
    async fn write(&mut self, http: &mut Connection) -> Result<u64> {
        self.said += 1;
        let body = serde_json::json!({
            "research_id": self.sender.research_id, "role": "user", "content": self.content,
            "timestamp": chrono::Utc::now().to_rfc3339(), "provider": "elevenlabs",
            "elevenlabs_conversation_id": "conv_meanwhile",
            "elevenlabs_message_id": message_id(self.said),
        })
        .to_string();
        let (token, length) = (&self.sender.token, body.len());
        let request = format!(
            "POST /api/v1/chat/message HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let response = http.exchange(request.as_bytes()).await?;
        sequence_of(response.body)
            .filter(|_| response.status == 200)
            .ok_or_else(|| Error::Answer(format!("{} to a message", response.status)))
    }
}
