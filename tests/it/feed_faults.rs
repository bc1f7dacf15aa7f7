//! Feeds while what they stand on breaks: no message is missed, none comes twice, and nobody waits for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::DateTime;
use serde_json::Value;
use tempfile::TempDir;
use tests::{Binary, Client, Feed, Frame, Nats, Parts, Postgres, account, eventually, faketime};
use tokio::task::JoinHandle;

use crate::{ids, message};

/// Messages that are written while something breaks once.
const PART: usize = 120;

/// Writes the messages of these numbers in order, each until it is acknowledged.
async fn write(caller: Client, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let body = message("RID001", "x", ids("conv_1", &format!("m{n}")));
        eventually("the message is acknowledged", || async {
            let request = caller.request(reqwest::Method::POST, "/api/v1/chat/message").json(&body);
            caller.try_send(request).await.ok().filter(|reply| reply.status == 200)
        })
        .await;
    }
}

/// Follows the conversation until it has `total` messages, and checks that each came once, in order.
struct Follower {
    seen: Arc<AtomicUsize>,
    /// Answers how many feeds it took.
    following: JoinHandle<usize>,
}

impl Follower {
    /// Goes to the next of the streamers, with its last id, whenever a feed ends.
    fn start(streamers: Vec<Client>, total: usize) -> Self {
        let seen = Arc::new(AtomicUsize::new(0));
        let following = tokio::spawn(follow(streamers, total, Arc::clone(&seen)));
        Self { seen, following }
    }
}

async fn follow(streamers: Vec<Client>, total: usize, count: Arc<AtomicUsize>) -> usize {
    let (mut seen, mut last_id, mut feeds) = (0, None::<String>, 0);
    for streamer in streamers.iter().cycle() {
        let mut feed = reopened(streamer, last_id.as_deref()).await;
        feeds += 1;
        while let Some(frame) = feed.next().await {
            match frame.event.as_str() {
                "initial" if last_id.is_none() => {}
                "new_messages" => {}
                other => panic!("{other} after {seen} messages"),
            }
            for message in frame.data["messages"].as_array().unwrap() {
                assert_eq!(message["message_id"], format!("m{seen}"));
                seen += 1;
            }
            assert_eq!(frame.data["total_messages"], seen);
            last_id.clone_from(&feed.last_id);
            count.store(seen, Ordering::Relaxed);
            if seen == total {
                return feeds;
            }
        }
    }
    unreachable!("there is always another streamer")
}

/// A feed, as soon as there is one.
async fn reopened(streamer: &Client, last_id: Option<&str>) -> Feed {
    eventually("a feed opens", || async { streamer.reach_feed("conv_1", last_id).await.ok()?.ok() }).await
}

async fn all_have_seen(followers: &[Follower], wanted: usize) {
    eventually("the followers are there", || async {
        let behind = followers.iter().any(|follower| {
            assert!(!follower.following.is_finished() || follower.seen.load(Ordering::Relaxed) >= wanted);
            follower.seen.load(Ordering::Relaxed) < wanted
        });
        (!behind).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streamers_that_are_killed_leave_no_gap_and_no_double() {
    const ROUNDS: usize = 4;
    let parts = Parts::fresh().await;
    let writer = parts.only(true, true, false).start().await;
    let mut streamers = [Binary::serve("streamer", &parts).await, Binary::serve("streamer", &parts).await];
    let caller = writer.client.login("RID001").await;
    write(caller.clone(), 0..1).await;
    let [one, other] = streamers.each_ref().map(|streamer| streamer.client.with(caller.token()));
    // Some come back to the one that was killed, some go on with another.
    let routes = [vec![one.clone()], vec![other.clone()], vec![one.clone(), other.clone()], vec![other, one]];
    let total = 1 + ROUNDS * PART;
    let followers: Vec<_> = routes.into_iter().map(|route| Follower::start(route, total)).collect();
    for round in 0..ROUNDS {
        let from = 1 + round * PART;
        let writing = tokio::spawn(write(caller.clone(), from..from + PART));
        all_have_seen(&followers, from + PART / 4).await;
        let streamer = &mut streamers[round % 2];
        streamer.kill();
        streamer.restart().await;
        writing.await.unwrap();
    }
    for follower in followers {
        assert!(follower.following.await.unwrap() > ROUNDS / 2, "the kills were not felt");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_feeds_outlive_a_log_that_goes_away() {
    const ROUNDS: usize = 3;
    let mut nats = Nats::start().await;
    let parts = Parts::on(nats.settings(), tests::database().await);
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    write(caller.clone(), 0..1).await;
    let total = 1 + ROUNDS * PART;
    let followers =
        [Follower::start(vec![caller.clone()], total), Follower::start(vec![caller.clone()], total)];
    for round in 0..ROUNDS {
        let from = 1 + round * PART;
        let writing = tokio::spawn(write(caller.clone(), from..from + PART));
        all_have_seen(&followers, from + PART / 4).await;
        nats.kill();
        nats.restart().await;
        writing.await.unwrap();
    }
    for follower in followers {
        assert_eq!(follower.following.await.unwrap(), 1, "one feed was enough");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_while_postgres_is_down_is_told_when_to_come_back_and_misses_nothing() {
    let mut postgres = Postgres::start().await;
    let parts = Parts::on(account().await, postgres.database_url());
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    write(caller.clone(), 0..1).await;
    let stays = Follower::start(vec![caller.clone()], 3 * PART);
    let mut feed = reopened(&caller, None).await;
    feed.expect("initial").await;
    write(caller.clone(), 1..PART).await;
    let mut last = feed.expect("new_messages").await;
    while last.data["total_messages"] != PART {
        last = feed.expect("new_messages").await;
    }
    let last_id = feed.last_id.clone();
    postgres.kill();
    drop(feed);
    let refused = eventually("the loss is noticed", || async {
        caller.try_feed("conv_1", last_id.as_deref()).await.err()
    })
    .await;
    refused.assert_problem(503);
    let seconds = refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    // Those who stayed see everything meanwhile.
    write(caller.clone(), PART..2 * PART).await;
    all_have_seen(std::slice::from_ref(&stays), 2 * PART).await;
    postgres.restart().await;
    let mut feed = reopened(&caller, last_id.as_deref()).await;
    write(caller.clone(), 2 * PART..3 * PART).await;
    let mut seen = PART;
    while seen < 3 * PART {
        for message in feed.expect("new_messages").await.data["messages"].as_array().unwrap() {
            assert_eq!(message["message_id"], format!("m{seen}"));
            seen += 1;
        }
    }
    assert_eq!(stays.following.await.unwrap(), 1);
}

/// A streamer whose wall clock can be set.
struct Clocked {
    streamer: Binary,
    folder: TempDir,
}

impl Clocked {
    async fn start(parts: &Parts) -> Self {
        let folder = TempDir::new().unwrap();
        let (offset, library) = (folder.path().join("offset"), faketime());
        std::fs::write(&offset, "+0").unwrap();
        let settings = [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            // Only the wall clock can be set on a real machine.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("HEARTBEAT_SECONDS", "1"),
        ];
        let streamer = Binary::serve_with("streamer", parts, &settings).await;
        Self { streamer, folder }
    }

    /// Sets the clock so far from the true time. Put in place at once: it is read all the time.
    fn set(&self, offset: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(new, self.folder.path().join("offset")).unwrap();
    }
}

/// Seconds of the next heartbeat, as the streamer's clock has them.
async fn beat(feed: &mut Feed) -> i64 {
    let frame = tokio::time::timeout(tests::PATIENCE, feed.any()).await.expect("no heartbeat").unwrap();
    assert_eq!(frame.event, "heartbeat", "{frame:?}");
    DateTime::parse_from_rfc3339(frame.data["timestamp"].as_str().unwrap()).unwrap().timestamp()
}

/// Reads past the jump, which the next heartbeats know of; then they come one by one, neither stopped nor in a flood.
async fn beats_evenly(feed: &mut Feed, jumped: impl Fn(i64) -> bool) {
    let mut last = beat(feed).await;
    for _ in 0..10 {
        if jumped(last) {
            break;
        }
        last = beat(feed).await;
    }
    assert!(jumped(last), "the clock did not jump: {last}");
    // One that was late on a loaded machine may share its second with the next one; four in a flood would share it, too.
    let first = last;
    for _ in 0..4 {
        let next = beat(feed).await;
        assert!(next >= last, "{next} after {last}");
        last = next;
    }
    assert!(last - first >= 2, "four heartbeats within {first} and {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_stops_no_feed_and_keeps_none_past_its_token() {
    let parts = Parts::fresh().await;
    let writer = parts.only(true, true, false).start().await;
    let clocked = Clocked::start(&parts).await;
    let caller = writer.client.login("RID001").await;
    write(caller.clone(), 0..1).await;
    let (service, person) =
        (clocked.streamer.client.with(tests::API_KEY), clocked.streamer.client.with(caller.token()));
    let (mut kept, mut ended) = (service.feed("conv_1", None).await, person.feed("conv_1", None).await);
    kept.expect("initial").await;
    ended.expect("initial").await;
    let start = beat(&mut kept).await;
    let hours = 3_600;

    // Tokens are good for an hour.
    clocked.set("+2h");
    let told: Frame = ended.expect("error").await;
    assert_eq!(told.data["error"], Value::from("The token has expired; log in again."));
    assert_eq!(ended.next().await, None);
    person.try_feed("conv_1", None).await.unwrap_err().assert_problem(401);
    beats_evenly(&mut kept, |seconds| seconds >= start + 2 * hours).await;
    write(caller.clone(), 1..2).await;
    assert_eq!(kept.expect("new_messages").await.data["messages"][0]["message_id"], "m1");

    clocked.set("-2h");
    let mut again = person.feed("conv_1", ended.last_id.as_deref()).await;
    assert_eq!(again.expect("new_messages").await.data["messages"][0]["message_id"], "m1");
    beats_evenly(&mut kept, |seconds| seconds < start).await;
    write(caller.clone(), 2..3).await;
    for feed in [&mut kept, &mut again] {
        assert_eq!(feed.expect("new_messages").await.data["messages"][0]["message_id"], "m2");
    }

    // A feed that was opened while the clock was behind ends when its token does, as the clock is then.
    clocked.set("+2h");
    again.expect("error").await;
    clocked.set("+0");
    beats_evenly(&mut kept, |seconds| (start..start + hours).contains(&seconds)).await;
}
