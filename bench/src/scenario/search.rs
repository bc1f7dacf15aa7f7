//! Searches over a filled log, and how fast it is indexed.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{Connection, PgConnection};

use super::section;
use crate::client::connection::Connection as Http;
use crate::error::{Error, Result};
use crate::fill::{Filling, RARE_WORD, fill, word};
use crate::options::Options;
use crate::place::Place;
use crate::report::{Latency, SearchRow, Section, histogram};
use crate::systems::nats::{Nats, Sync};
use crate::systems::postgres::Postgres;
use crate::systems::turnlog::{API_KEY, Stores, Turnlog, senders};

/// Requests for a search at most, in each run.
const REQUESTS: u32 = 300;
/// Time that a run spends on one search at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long projecting or indexing may take at most.
const LONGEST: Duration = Duration::from_secs(1_200);
/// Between two looks at a checkpoint.
const LOOK: Duration = Duration::from_millis(50);

/// One kind of search.
struct Search {
    what: &'static str,
    query: String,
    credential: String,
}

/// Fills a log with messages that differ, projects and indexes it, and searches over HTTP.
///
/// # Errors
/// When a system cannot be started, or a search is refused.
pub async fn measure(place: &Place, options: &Options) -> Result<Section<SearchRow>> {
    let Options { messages, log_conversations: conversations, content_bytes, .. } = *options;
    let mut postgres = Postgres::start(place).await?;
    let nats = Nats::start(place, Sync::Default).await?;
    fill(place, &nats.url(), Filling { messages, conversations, content_bytes, varied: true }).await?;
    let stores = Stores { nats: nats.url(), database: postgres.fresh_database().await? };
    Turnlog::migrate(place, &stores)?;
    let mut tables = PgConnection::connect(&stores.database).await?;
    let mut projector = Turnlog::spawn(place, "projector", &stores)?;
    let projected = until(&mut tables, &mut projector, "read", messages).await?;
    let indexed = until(&mut tables, &mut projector, "search", messages).await?;
    drop(projector);
    let (tables_rate, index_rate) = (messages as f64 / projected, messages as f64 / (projected + indexed));
    println!("projected {tables_rate:.0}/s, indexed {index_rate:.0}/s counted from the same start");
    // As autovacuum would, some time later.
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut tables).await?;
    let bytes: i64 = sqlx::query_scalar("SELECT pg_total_relation_size('read_v1.message_search')")
        .fetch_one(&mut tables)
        .await?;
    let streamer = Turnlog::start(place, "streamer", &stores).await?;
    let mut http = Http::open(streamer.address()).await?;
    let mut rows = Vec::new();
    for search in searches(place, &stores)? {
        rows.push(one(&mut http, &search, options.runs).await?);
    }
    let how = format!(
        "`GET /api/v1/search` over HTTP with keep-alive, one request after the other, 20 hits a page, {messages} messages \
         of {content_bytes} bytes in {conversations} conversations, their words as frequent as those of a language; up to \
         {REQUESTS} requests for each search, {} runs. Tables: {tables_rate:.0} messages/s; index: {index_rate:.0}/s, \
         {} MB.",
        options.runs,
        bytes >> 20
    );
    section(place, how, rows)
}

/// Seconds until a checkpoint has come to `last`.
async fn until(tables: &mut PgConnection, turnlog: &mut Turnlog, name: &str, last: u64) -> Result<f64> {
    let started = Instant::now();
    loop {
        let reached: i64 = sqlx::query_scalar("SELECT last_sequence FROM turnlog.checkpoint WHERE name = $1")
            .bind(name)
            .fetch_one(&mut *tables)
            .await?;
        if reached.unsigned_abs() >= last {
            return Ok(started.elapsed().as_secs_f64());
        }
        turnlog.still_runs()?;
        if started.elapsed() > LONGEST {
            return Err(Error::Answer(format!("the checkpoint {name} did not reach the log's end")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn searches(place: &Place, stores: &Stores) -> Result<Vec<Search>> {
    let [first, tenth, hundredth, rarer] = [1, 10, 100, 3_000].map(word);
    let own = senders(place, stores, 1)?.into_iter().map(|sender| sender.token).collect::<String>();
    let service = [
        ("a rare word", RARE_WORD.to_owned()),
        ("the most frequent word", first.clone()),
        ("a word in one message of 13", hundredth),
        ("a word in one message of 400", rarer.clone()),
        ("two frequent words", format!("{first} {tenth}")),
        ("a frequent and a rare word", format!("{first} {RARE_WORD}")),
        ("a phrase of frequent words", format!("%22{first}%20{tenth}%22")),
        ("a phrase that is nowhere", format!("%22{tenth}%20{RARE_WORD}%20{tenth}%22")),
        ("a frequent beginning", "re*".to_owned()),
        ("a rare beginning", "zepp*".to_owned()),
        ("a frequent word without another", format!("{tenth}%20-{first}")),
        ("a frequent word, half of the time", format!("{first}&to=2025-01-15T00:00:00Z")),
        ("a word that is nowhere", "nowhere".to_owned()),
    ];
    let service = service.map(|(what, query)| Search { what, query, credential: API_KEY.to_owned() });
    let participant = [
        ("a participant: a frequent word", first),
        ("a participant: a rare word", rarer),
        ("a participant: a frequent beginning", "re*".to_owned()),
    ];
    let participant = participant.map(|(what, query)| Search { what, query, credential: own.clone() });
    Ok(service.into_iter().chain(participant).collect())
}

async fn one(http: &mut Http, search: &Search, runs: u32) -> Result<SearchRow> {
    let mut row = SearchRow { search: search.what.to_owned(), hits: 0, runs: Vec::new() };
    for _ in 0..runs {
        let mut micros = histogram();
        let started = Instant::now();
        for _ in 0..REQUESTS {
            let sent = Instant::now();
            let page = page(http, search).await?;
            micros.saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
            row.hits = page["hits"].as_array().map_or(0, Vec::len);
            if started.elapsed() > PATIENCE {
                break;
            }
        }
        let latency = Latency::of(&micros);
        let (what, hits, p50, p99) = (search.what, row.hits, latency.p50_ms, latency.p99_ms);
        println!("{what}: {hits} hits, p50 {p50:.2} ms, p99 {p99:.2} ms");
        row.runs.push(latency);
    }
    Ok(row)
}

async fn page(http: &mut Http, search: &Search) -> Result<Value> {
    let request = format!(
        "GET /api/v1/search?q={} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\r\n",
        search.query.replace(' ', "%20"),
        search.credential
    );
    let response = http.exchange(request.as_bytes()).await?;
    let text = String::from_utf8_lossy(response.body);
    match response.status {
        200 => Ok(serde_json::from_str(&text)?),
        status => Err(Error::Answer(format!("{status} to a search for {}: {text}", search.what))),
    }
}
