//! Post to feed: an open loop of posts into one conversation, and one feed that watches it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::section;
use crate::client::connection::Connection;
use crate::client::request::{Post, Requests, Sender, conversation_id};
use crate::client::sse::{Feed, Frame};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::place::Place;
use crate::report::{FeedRow, FeedRun, Latency, Section, histogram};
use crate::systems::nats::{Nats, Sync};
use crate::systems::postgres::Postgres;
use crate::systems::turnlog::{Stores, Turnlog, senders};

/// Connections that take turns, so that one slow reply does not hold back the next post.
const POSTERS: usize = 8;
/// How long frames are waited for after the last post.
const GRACE: Duration = Duration::from_secs(3);
/// How long the feed may take to open.
const OPENING: Duration = Duration::from_secs(10);

/// When each message was sent, answered, and seen, by its number.
#[derive(Default)]
struct Times {
    sent: Vec<Option<Instant>>,
    replied: Vec<Option<Instant>>,
    seen: Vec<Option<Instant>>,
    doubled: u64,
}

/// What of a `new_messages` frame is needed.
#[derive(Deserialize)]
struct NewMessages {
    messages: Vec<Shown>,
}

/// One message in it.
#[derive(Deserialize)]
struct Shown {
    message_id: String,
}

/// Measures with each kind of durability.
///
/// # Errors
/// When a system cannot be started, or the feed does not open.
pub async fn measure(place: &Place, options: &Options) -> Result<Section<FeedRow>> {
    let mut postgres = Postgres::start(place).await?;
    let mut rows = Vec::new();
    for &sync in &options.sync {
        let (system, durability) = ("turnlog serve all".to_owned(), sync.words().to_owned());
        let mut row = FeedRow { system, durability, rate: options.rate, runs: Vec::new() };
        for _ in 0..options.runs {
            let run = one(place, options, &mut postgres, sync).await?;
            println!(
                "post to feed, {}: p50 {:.2} ms, p99 {:.2} ms; {} of {} seen, {} doubled",
                row.durability,
                run.from_post.p50_ms,
                run.from_post.p99_ms,
                run.received,
                run.posted,
                run.doubled
            );
            row.runs.push(run);
        }
        rows.push(row);
    }
    let how = format!(
        "Open loop, {} posts/s of {} bytes of content into one conversation with one SSE feed; {} runs of \
         {} s after {} s of warm-up, fresh data each.",
        options.rate, options.content_bytes, options.runs, options.seconds, options.warm_up
    );
    section(place, how, rows)
}

async fn one(place: &Place, options: &Options, postgres: &mut Postgres, sync: Sync) -> Result<FeedRun> {
    let nats = Nats::start(place, sync).await?;
    let stores = Stores { nats: nats.url(), database: postgres.fresh_database().await? };
    Turnlog::migrate(place, &stores)?;
    let mut turnlog = Turnlog::start(place, "all", &stores).await?;
    let sender = senders(place, &stores, 1)?.remove(0);
    let feed = open_feed(turnlog.address(), &sender, options.content_bytes).await?;
    let run = open_loop(turnlog.address(), &sender, options, feed).await?;
    turnlog.still_runs()?;
    Ok(run)
}

/// Writes message 0, so that there is a conversation, and opens its feed.
async fn open_feed(address: SocketAddr, sender: &Sender, content_bytes: usize) -> Result<Feed> {
    let mut connection = Connection::open(address).await?;
    let mut post = Post::new(sender, content_bytes);
    let answer = connection.exchange(post.request(0, 0)).await?;
    if answer.status != 200 {
        return Err(Error::Answer(format!("the first post: {}", String::from_utf8_lossy(answer.body))));
    }
    let path = format!("/api/conversation/{}/stream", conversation_id(0));
    let initial = async {
        let mut feed = Feed::open(address, &path, &sender.token).await?;
        while feed.next().await?.event != "initial" {}
        Ok(feed)
    };
    let late = || Error::Answer(format!("no `initial` frame within {} s", OPENING.as_secs()));
    timeout(OPENING, initial).await.map_err(|_| late())?
}

async fn open_loop(
    address: SocketAddr,
    sender: &Sender,
    options: &Options,
    mut feed: Feed,
) -> Result<FeedRun> {
    let per_second = f64::from(options.rate);
    let count = ((options.seconds + options.warm_up) * per_second).ceil() as usize + 1;
    let warming = (options.warm_up * per_second) as usize;
    let times = Rc::new(RefCell::new(Times::of(count)));
    let started = Instant::now() + Duration::from_millis(100);
    let mut posters = JoinSet::new();
    for first in 1..=POSTERS {
        let connection = Connection::open(address).await?;
        let post = Post::new(sender, options.content_bytes);
        let due = (first..count)
            .step_by(POSTERS)
            .map(move |n| (n, started + Duration::from_secs_f64(n as f64 / per_second)));
        posters.spawn_local(post_on_time(connection, post, due, Rc::clone(&times)));
    }
    let watching = Rc::clone(&times);
    let watcher = tokio::task::spawn_local(async move {
        while let Ok(frame) = feed.next().await {
            watching.borrow_mut().saw(&frame);
        }
    });
    while let Some(posted) = posters.join_next().await {
        posted.map_err(|error| Error::Answer(format!("a poster ended: {error}")))??;
    }
    let _all_seen_or_late = timeout(GRACE, async {
        while !times.borrow().complete() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    watcher.abort();
    let run = times.borrow().summary(warming);
    Ok(run)
}

async fn post_on_time(
    mut connection: Connection,
    mut post: Post,
    due: impl Iterator<Item = (usize, Instant)>,
    times: Rc<RefCell<Times>>,
) -> Result<()> {
    for (number, at) in due {
        sleep_until(at.into()).await;
        times.borrow_mut().sent[number] = Some(Instant::now());
        let answer = connection.exchange(post.request(0, number as u64)).await?;
        let replied = Instant::now();
        if answer.status != 200 {
            return Err(Error::Answer(format!(
                "{}: {}",
                answer.status,
                String::from_utf8_lossy(answer.body)
            )));
        }
        times.borrow_mut().replied[number] = Some(replied);
    }
    Ok(())
}

impl Times {
    fn of(count: usize) -> Self {
        Self { sent: vec![None; count], replied: vec![None; count], seen: vec![None; count], doubled: 0 }
    }

    fn saw(&mut self, frame: &Frame) {
        let Ok(shown) = serde_json::from_str::<NewMessages>(&frame.data) else { return };
        for message in shown.messages {
            let number =
                message.message_id.strip_prefix("msg_").and_then(|digits| digits.parse::<usize>().ok());
            let Some(seen) = number.and_then(|number| self.seen.get_mut(number)) else { continue };
            self.doubled += u64::from(seen.replace(frame.received).is_some());
        }
    }

    /// Whether every message but number 0, which came before the feed, was seen.
    fn complete(&self) -> bool {
        self.seen.iter().skip(1).all(Option::is_some)
    }

    fn summary(&self, warming: usize) -> FeedRun {
        let (mut from_post, mut from_reply, mut post) = (histogram(), histogram(), histogram());
        let record = |into: &mut Histogram<u64>, from: Option<Instant>, to: Option<Instant>| {
            if let (Some(from), Some(to)) = (from, to) {
                into.saturating_record(to.saturating_duration_since(from).as_micros() as u64);
            }
        };
        for number in warming + 1..self.sent.len() {
            record(&mut from_post, self.sent[number], self.seen[number]);
            record(&mut from_reply, self.replied[number], self.seen[number]);
            record(&mut post, self.sent[number], self.replied[number]);
        }
        FeedRun {
            posted: self.sent.iter().flatten().count() as u64,
            received: self.seen.iter().flatten().count() as u64,
            doubled: self.doubled,
            from_post: Latency::of(&from_post),
            from_reply: Latency::of(&from_reply),
            post: Latency::of(&post),
        }
    }
}
