//! Every join there could be, at random: a client that comes and goes over one conversation's log, with
//! tails, tables and bursts wherever they may stand, ends with what the log has, each message told once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{Change, Frame, Seen, drafts};
use super::join::replay;
use super::sse::Wire;
use crate::view::MessageView;
use crate::view::tests::message;

/// Newest version by first sequence.
type Versions = BTreeMap<u64, u64>;

/// Knuth's generator: the same runs every time, named by their seed.
struct Dice(u64);

impl Dice {
    /// From 0 to `most`.
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % (most + 1)
    }
}

/// A conversation's events: position, and the message's first sequence and ordinal.
struct Log(Vec<(u64, u64, u64)>);

impl Log {
    fn random(dice: &mut Dice) -> Self {
        let (mut events, mut firsts, mut position) = (Vec::new(), Vec::new(), 0);
        for _ in 0..1 + dice.up_to(20) {
            position += 1 + dice.up_to(2);
            let known = firsts.len() as u64;
            if known > 0 && dice.up_to(2) == 0 {
                let ordinal = 1 + dice.up_to(known - 1);
                events.push((position, firsts[ordinal as usize - 1], ordinal));
            } else {
                firsts.push(position);
                events.push((position, position, known + 1));
            }
        }
        Self(events)
    }

    fn end(&self) -> u64 {
        self.0.last().map_or(0, |event| event.0)
    }

    fn versions(&self, up_to: u64) -> Versions {
        self.0.iter().filter(|event| event.0 <= up_to).map(|event| (event.1, event.0)).collect()
    }

    /// What the tables at `up_to` have after `after`.
    fn rows(&self, up_to: u64, after: u64) -> Vec<MessageView> {
        let versions = self.versions(up_to);
        let rows =
            versions.iter().zip(1..).map(|((first, version), ordinal)| message(*first, *version, ordinal));
        rows.filter(|row| row.version > after).collect()
    }

    /// What a tail publishes after `after`, in bursts of any size.
    fn frames(&self, after: u64, dice: &mut Dice) -> Vec<Frame> {
        let mut left: Vec<Change> = self.0.iter().filter(|event| event.0 > after).map(change).collect();
        let mut frames = Vec::new();
        while !left.is_empty() {
            let burst = left.drain(..1 + dice.up_to(left.len() as u64 - 1) as usize).collect();
            let known = dice.up_to(20);
            frames
                .extend(drafts(burst).into_iter().map(|draft| draft.encode(&wire(), &Arc::from("c"), known)));
        }
        frames
    }
}

fn change((position, first, ordinal): &(u64, u64, u64)) -> Change {
    let message = message(*first, *position, *ordinal);
    if position == first { Change::Recorded(message) } else { Change::Corrected(message) }
}

fn wire() -> Wire {
    Wire::new("e")
}

#[derive(Default)]
struct Client {
    versions: Versions,
    last: u64,
}

impl Client {
    fn take(&mut self, bytes: &Bytes) {
        let lines: Vec<_> = std::str::from_utf8(bytes).unwrap().lines().collect();
        let data: serde_json::Value = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
        let told = |message: &serde_json::Value| {
            (message["sequence"].as_u64().unwrap(), message["content"].as_str().unwrap().parse().unwrap())
        };
        if lines[0] == "event: new_messages" {
            for (first, version) in data["messages"].as_array().unwrap().iter().map(told) {
                assert_eq!(self.versions.insert(first, version), None, "told twice");
            }
        } else {
            let (first, version) = told(&data["message"]);
            // May be an older one than a replay that was cut off had shown: the newer one comes again, too.
            assert!(self.versions.insert(first, version).is_some(), "corrected before it was told");
        }
        assert_eq!(data["total_messages"], self.versions.len());
        self.last = lines[1].strip_prefix("id: e-").unwrap().parse().unwrap();
    }

    /// One connection to a streamer whose tail stands at `tail`, with tables that are at `tables`; it breaks
    /// after `frames` frames.
    fn connect(&mut self, log: &Log, tail: u64, tables: u64, frames: u64, dice: &mut Dice) {
        let total = log.versions(tables).len() as u64;
        let opening =
            replay(&wire(), &Arc::from("c"), log.rows(tables, self.last), Vec::new(), self.last, total);
        let mut seen = Seen { up_to: tables.max(self.last), total };
        let mut left = frames;
        for bytes in opening {
            if left == 0 {
                return;
            }
            self.take(&bytes);
            left -= 1;
        }
        for bytes in log.frames(tail, dice).iter().filter_map(|frame| frame.beyond(&mut seen, &wire())) {
            if left == 0 {
                return;
            }
            self.take(&bytes);
            left -= 1;
        }
    }
}

#[test]
fn whatever_the_joins_a_client_is_told_everything_once() {
    for seed in 0..20_000 {
        let mut dice = Dice(seed);
        let log = Log::random(&mut dice);
        let mut client = Client::default();
        for _ in 0..dice.up_to(4) {
            let tail = dice.up_to(log.end());
            let tables = tail + dice.up_to(log.end() - tail);
            let frames = dice.up_to(3);
            client.connect(&log, tail, tables, frames, &mut dice);
            let missed: Vec<_> = log.versions(client.last).into_keys().collect();
            assert!(missed.iter().all(|first| client.versions.contains_key(first)), "missed: seed {seed}");
        }
        let tail = dice.up_to(log.end());
        client.connect(&log, tail, tail, u64::MAX, &mut dice);
        assert_eq!(client.versions, log.versions(log.end()), "seed {seed}");
    }
}
