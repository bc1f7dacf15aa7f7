//! Pages of a list of conversations: the first, and one as deep as the list goes, by cursor and by number.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{Connection, PgConnection};

use super::section;
use crate::client::connection::Connection as Http;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::place::Place;
use crate::report::{Latency, ListRow, Section, histogram};
use crate::systems::nats::{Nats, Sync};
use crate::systems::postgres::Postgres;
use crate::systems::turnlog::{API_KEY, Stores, Turnlog, senders};

/// Conversations on a page: 1,000,000 of them make 40,000 pages.
const LIMIT: u64 = 25;
/// Requests for a page at most, in each run.
const REQUESTS: u32 = 500;
/// Time that a run spends on one page at most: pages by number take long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose list it is, narrowed to what.
struct List {
    what: &'static str,
    filter: &'static str,
    credential: String,
}

/// Fills the read tables and asks for pages, over HTTP.
///
/// # Errors
/// When a system cannot be started, or a page is not what it should be.
pub async fn measure(place: &Place, options: &Options) -> Result<Section<ListRow>> {
    let mut postgres = Postgres::start(place).await?;
    let nats = Nats::start(place, Sync::Default).await?;
    let stores = Stores { nats: nats.url(), database: postgres.fresh_database().await? };
    Turnlog::migrate(place, &stores)?;
    let filled = fill(&stores.database, options.listed).await?;
    println!("tables filled with {} conversations in {:.1} s", options.listed, filled.as_secs_f64());
    let turnlog = Turnlog::start(place, "streamer", &stores).await?;
    let mut rows = Vec::new();
    for list in lists(place, &stores)? {
        rows.extend(measure_list(turnlog.address(), &list, options.runs).await?);
    }
    let how = format!(
        "`GET /api/v1/conversations` over HTTP with keep-alive, one request after the other, {LIMIT} conversations \
         a page, {} conversations in all, written to the read tables directly; up to {REQUESTS} requests for \
         each page, {} runs.",
        options.listed, options.runs
    );
    section(place, how, rows)
}

fn lists(place: &Place, stores: &Stores) -> Result<Vec<List>> {
    let participants = senders(place, stores, 1)?;
    let own = participants.into_iter().map(|sender| ("a participant's own", "", sender.token));
    let service = [
        ("all", ""),
        ("status=completed", "&status=completed"),
        ("status=active", "&status=active"),
        ("account_id", "&account_id=acc7"),
        ("email_id", "&email_id=user7%40example.com"),
        ("account_id and status", "&account_id=acc7&status=completed"),
    ];
    let service = service.into_iter().map(|(what, filter)| (what, filter, API_KEY.to_owned()));
    Ok(service.chain(own).map(|(what, filter, credential)| List { what, filter, credential }).collect())
}

/// Rows as the projector would leave them; most ended, those that did with an account of about 1,000 and an address of
/// about 100 conversations.
async fn fill(database: &str, conversations: u64) -> Result<Duration> {
    let started = Instant::now();
    let mut tables = PgConnection::connect(database).await?;
    sqlx::query(
        "INSERT INTO read_v1.conversations (token, conversation_id, participant_id, provider, status, message_count,
                                            first_sequence, last_sequence, started_at, last_message_at, ended_at,
                                            account_id, email_id, agent_id, duration_seconds, reported_at)
         SELECT substr(md5(n::text), 1, 24), 'conv_' || lpad(n::text, 8, '0'),
                'RID' || lpad((n % 1000)::text, 5, '0'), 'elevenlabs', status, 10, n * 3, n * 3 + 2, began, began,
                CASE WHEN status <> 'ACTIVE' THEN began + interval '5 minutes' END,
                CASE WHEN status <> 'ACTIVE' THEN 'acc' || n % 1000 END,
                CASE WHEN status <> 'ACTIVE' THEN 'user' || n % 10000 || '@example.com' END,
                'agent_1', CASE WHEN status <> 'ACTIVE' THEN 300 END, CASE WHEN status <> 'ACTIVE' THEN now() END
         FROM (SELECT n, timestamptz '2025-01-01' + n * interval '1 minute' AS began,
                      CASE WHEN n / 1000 % 10 < 7 THEN 'ENDED' WHEN n / 1000 % 10 < 8 THEN 'FAILED' ELSE 'ACTIVE' END
                          AS status
               FROM generate_series(1, $1) AS n) AS made",
    )
    .bind(i64::try_from(conversations).unwrap_or(i64::MAX))
    .execute(&mut tables)
    .await?;
    sqlx::query(
        "UPDATE read_v1.conversation_counts AS c
         SET conversations = (SELECT count(*) FROM read_v1.conversations AS o WHERE o.status = c.status)",
    )
    .execute(&mut tables)
    .await?;
    // As autovacuum would, some time later.
    sqlx::query("VACUUM ANALYZE read_v1.conversations").execute(&mut tables).await?;
    sqlx::query("CHECKPOINT").execute(&mut tables).await?;
    tables.close().await?;
    Ok(started.elapsed())
}

/// The first page of a list, and its last full one by cursor and by number.
async fn measure_list(address: SocketAddr, list: &List, runs: u32) -> Result<[ListRow; 3]> {
    let mut http = Http::open(address).await?;
    let first = page(&mut http, list, "page=1").await?;
    let total = first["total"].as_u64().unwrap_or_default();
    let deep = (total / LIMIT).max(2);
    let before = page(&mut http, list, &format!("page={}", deep - 1)).await?;
    let cursor = before["cursor"].as_str().ok_or_else(|| Error::Answer("a page without a cursor".into()))?;
    let asked = [
        ("first", 1, "page=1".to_owned()),
        ("by cursor", deep, format!("cursor={cursor}")),
        ("by number", deep, format!("page={deep}")),
    ];
    let mut rows = asked.each_ref().map(|(how, page, _)| {
        let (list, how) = (list.what.to_owned(), (*how).to_owned());
        ListRow { list, how, page: *page, conversations: total, runs: Vec::new() }
    });
    for _ in 0..runs {
        for (row, (_, number, query)) in rows.iter_mut().zip(&asked) {
            let latency = one(&mut http, list, query, *number).await?;
            println!(
                "{}, page {number} {}: p50 {:.2} ms, p99 {:.2} ms",
                list.what, row.how, latency.p50_ms, latency.p99_ms
            );
            row.runs.push(latency);
        }
    }
    Ok(rows)
}

async fn one(http: &mut Http, list: &List, query: &str, number: u64) -> Result<Latency> {
    let mut micros = histogram();
    let started = Instant::now();
    for _ in 0..REQUESTS {
        let sent = Instant::now();
        let answer = page(http, list, query).await?;
        micros.saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
        let found = answer["conversations"].as_array().map_or(0, Vec::len);
        if answer["page"].as_u64() != Some(number) || found as u64 != LIMIT {
            return Err(Error::Answer(format!("page {number} of {} has {found} conversations", list.what)));
        }
        if started.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(Latency::of(&micros))
}

async fn page(http: &mut Http, list: &List, query: &str) -> Result<Value> {
    let request = format!(
        "GET /api/v1/conversations?limit={LIMIT}{}&{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         Authorization: Bearer {}\r\n\r\n",
        list.filter, list.credential
    );
    let response = http.exchange(request.as_bytes()).await?;
    let text = String::from_utf8_lossy(response.body);
    match response.status {
        200 => Ok(serde_json::from_str(&text)?),
        status => Err(Error::Answer(format!("{status} to a page of {}: {text}", list.what))),
    }
}
