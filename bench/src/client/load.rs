//! The closed loop: every connection sends its next message when the one before was answered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::connection::{Connection, Response};
use super::request::Requests;
use crate::cpu::Meter;
use crate::error::{Error, Result};
use crate::report::{Latency, LoadRun, histogram};

/// How long answers that are still out at the end are waited for.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a wrong answer that are kept to show.
const SHOWN_BYTES: usize = 300;

/// What to send, and for how long.
#[derive(Clone)]
pub struct Load {
    /// Where to.
    pub address: SocketAddr,
    /// Connections, each a participant of its own.
    pub connections: usize,
    /// Conversations in all; at least one a connection, which takes its own in turn.
    pub conversations: usize,
    /// How long to send before it counts.
    pub warm_up: Duration,
    /// How long to count.
    pub measured: Duration,
}

/// What the connections of one run write down together.
struct Tally {
    latency: Histogram<u64>,
    ids: Vec<u64>,
    not_200: u64,
    broken: u64,
    first_error: Option<String>,
    unanswered: usize,
}

/// The window in which answers count.
#[derive(Clone, Copy)]
struct Window {
    from: Instant,
    until: Instant,
}

/// Runs the load with one kind of requests a connection, and notes what `programs` use of the processor meanwhile.
///
/// # Errors
/// When a connection cannot be opened at all; what goes wrong later is counted instead.
pub async fn run(
    load: &Load,
    requests: Vec<impl Requests + 'static>,
    programs: &[(&'static str, u32)],
) -> Result<LoadRun> {
    let tally = Rc::new(RefCell::new(Tally::new()));
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        connections.push(Connection::open(load.address).await?);
    }
    let from = Instant::now() + load.warm_up;
    let window = Window { from, until: from + load.measured };
    let mut tasks = JoinSet::new();
    for (index, (connection, requests)) in connections.into_iter().zip(requests).enumerate() {
        let share = Share { index: index as u64, load: load.clone(), window };
        tasks.spawn_local(share.send(connection, requests, Rc::clone(&tally)));
    }
    sleep_until(window.from.into()).await;
    let meter = Meter::start(programs);
    sleep_until(window.until.into()).await;
    let cpu_percent = meter.percent();
    // Dropping the set cuts off what is not answered by then: a stalled server must not stall the bench.
    let _late = timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
    drop(tasks);
    Ok(tally.replace(Tally::new()).into_run(load.measured, cpu_percent))
}

/// One connection's part of a load.
struct Share {
    index: u64,
    load: Load,
    window: Window,
}

impl Share {
    async fn send(self, mut connection: Connection, mut requests: impl Requests, tally: Rc<RefCell<Tally>>) {
        let of = self.load.connections as u64;
        let own = (self.load.conversations as u64 / of).max(1);
        let mut count = 0;
        loop {
            let sent = Instant::now();
            if sent >= self.window.until {
                return;
            }
            let conversation = self.index + (count % own) * of;
            let message = self.index + count * of;
            count += 1;
            tally.borrow_mut().unanswered += 1;
            let answer = connection.exchange(requests.request(conversation, message)).await;
            let broke = answer.is_err();
            tally.borrow_mut().answered(answer, sent, self.window);
            if broke {
                let Ok(fresh) = Connection::open(self.load.address).await else { return };
                connection = fresh;
            }
        }
    }
}

impl Tally {
    fn new() -> Self {
        Self {
            latency: histogram(),
            ids: Vec::new(),
            not_200: 0,
            broken: 0,
            first_error: None,
            unanswered: 0,
        }
    }

    fn answered(&mut self, answer: Result<Response<'_>>, sent: Instant, window: Window) {
        self.unanswered -= 1;
        match answer {
            Ok(response) if response.status == 200 => self.acknowledged(response.body, sent, window),
            Ok(response) => self.refused(response.status, response.body),
            Err(error) => self.broke(&error),
        }
    }

    fn acknowledged(&mut self, body: &[u8], sent: Instant, window: Window) {
        let Some(id) = message_id(body) else { return self.refused(200, body) };
        // Every id is kept, of the warm-up too: a message acknowledged twice is wrong whenever it happens.
        self.ids.push(id);
        let now = Instant::now();
        if now >= window.from && now <= window.until {
            self.latency.saturating_record((now - sent).as_micros() as u64);
        }
    }

    fn refused(&mut self, status: u16, body: &[u8]) {
        self.not_200 += 1;
        self.first_error.get_or_insert_with(|| {
            let shown = &body[..body.len().min(SHOWN_BYTES)];
            format!("{status}: {}", String::from_utf8_lossy(shown))
        });
    }

    fn broke(&mut self, error: &Error) {
        self.broken += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    fn into_run(mut self, measured: Duration, cpu_percent: BTreeMap<String, f64>) -> LoadRun {
        let all = self.ids.len();
        self.ids.sort_unstable();
        self.ids.dedup();
        LoadRun {
            per_second: self.latency.len() as f64 / measured.as_secs_f64(),
            acknowledged: self.latency.len(),
            latency: Latency::of(&self.latency),
            not_200: self.not_200,
            broken: self.broken,
            unanswered: self.unanswered as u64,
            double_ids: (all - self.ids.len()) as u64,
            first_error: self.first_error,
            cpu_percent,
        }
    }
}

/// The number after `"message_id":` in a reply, or in a `"webhookId"`.
pub(crate) fn message_id(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("\"message_id\":").or_else(|| text.split_once("\"webhook_"))?;
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_reply_is_found() {
        assert_eq!(message_id(br#"{"success": true, "message_id": 12, "timestamp":"x"}"#), Some(12));
        assert_eq!(message_id(br#"{"message_id":7}"#), Some(7));
        assert_eq!(message_id(br#"{"message_id":"x"}"#), None);
        assert_eq!(message_id(br#"{"success":true,"webhookId":"webhook_31"}"#), Some(31));
    }

    #[test]
    fn an_id_that_comes_twice_is_counted() {
        let mut tally = Tally::new();
        let window = Window { from: Instant::now(), until: Instant::now() + Duration::from_secs(9) };
        for id in [1, 2, 2] {
            tally.acknowledged(format!("{{\"message_id\":{id}}}").as_bytes(), window.from, window);
        }
        let run = tally.into_run(Duration::from_secs(1), BTreeMap::new());
        assert_eq!((run.acknowledged, run.double_ids), (3, 1));
    }
}
