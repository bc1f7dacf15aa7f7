//! Fills a log as fast as the server takes it: real events in real envelopes, in atomic batches of 1,000.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Request};
use chrono::{DateTime, Utc};
use futures::future::try_join_all;
use shared::config::{NatsSettings, Secret};
use shared::envelope::{Envelope, EventId, Origin};
use shared::events::{Event, Message};
use shared::ids::{Invalid, ParticipantId, Provider, Speaker, Timestamp};
use shared::limits::{DEFAULT_DEDUPE_WINDOW, MAX_BATCH_EVENTS};
use shared::log::Log;
use shared::sealing::{MasterKeys, Sealing};
use shared::subjects::Subject;
use uuid::Uuid;

use crate::client::request::{content, conversation_id, message_id};
use crate::error::{Error, Result};
use crate::place::Place;

/// Batches under way at once; each lane has conversations of its own, so every conversation stays in order.
const LANES: u64 = 4;
/// Conversations of a lane that are talked in at the same time, turn by turn, as on a busy day.
const LIVE: u64 = 250;
/// How long the server may take to commit one batch.
const PATIENCE: Duration = Duration::from_secs(10);

/// The master key of everything that is measured: what is said is sealed, as it is under `turnlog up`.
pub const SEALING_KEYS: &str = "bench=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What to fill a log with.
#[derive(Debug, Clone, Copy)]
pub struct Filling {
    /// Messages in all.
    pub messages: u64,
    /// Conversations they are spread over evenly.
    pub conversations: u64,
    /// Bytes of a message's content.
    pub content_bytes: usize,
    /// Whether every message says something else, as a search needs it; otherwise all say the same.
    pub varied: bool,
}

/// Words that a varied message may hold.
const VOCABULARY: f64 = 50_000.0;
/// One in so many conversations has the rare word, in its seventh message.
const RARE: u64 = 1_000;
/// Its rare word.
pub const RARE_WORD: &str = "zeppelin";

/// One turn of one conversation, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    conversation: u64,
    ordinal: u64,
}

/// Makes the stream and fills it; answers how long that took.
///
/// # Errors
/// When the server refuses a batch, or does not answer.
pub async fn fill(place: &Place, url: &str, filling: Filling) -> Result<Duration> {
    let started = Instant::now();
    // As it is set for the program under test; empty is not at all.
    let set =
        place.settings.iter().rev().find(|(name, _)| name == "SEALING_KEYS").map(|(_, keys)| keys.as_str());
    let keys = Some(set.unwrap_or(SEALING_KEYS)).filter(|keys| !keys.is_empty());
    let masters = keys.map(MasterKeys::parse).transpose().map_err(nats)?;
    let settings = NatsSettings {
        urls: vec![Secret::new(url)],
        credentials: None,
        user: None,
        password: None,
        replicas: 1,
        dedupe_window: DEFAULT_DEDUPE_WINDOW,
        sealing: masters.map(Arc::new),
    };
    let log = Log::open(&settings, "bench").await.map_err(nats)?;
    try_join_all((0..LANES).map(|lane| fill_lane(&log, filling, lane))).await?;
    let stored = log.extent().await.map_err(nats)?.messages;
    log.close().await;
    if stored == filling.messages {
        return Ok(started.elapsed());
    }
    Err(Error::Nats(format!("the log holds {stored} messages after {} were acknowledged", filling.messages)))
}

async fn fill_lane(log: &Log, filling: Filling, lane: u64) -> Result<()> {
    let text = content(filling.content_bytes);
    let mut batch = Vec::with_capacity(MAX_BATCH_EVENTS);
    for turn in turns(filling, lane) {
        let varied = filling.varied.then(|| varied(turn, filling.content_bytes));
        let envelope = envelope(turn, varied.as_deref().unwrap_or(&text))?;
        batch.push(sealed(log, turn, envelope).await?);
        if batch.len() == MAX_BATCH_EVENTS {
            publish(log.client(), std::mem::take(&mut batch)).await?;
        }
    }
    if batch.is_empty() { Ok(()) } else { publish(log.client(), batch).await }
}

/// The turns of one lane: its conversations in groups that talk at the same time.
fn turns(filling: Filling, lane: u64) -> impl Iterator<Item = Turn> {
    let Filling { messages, conversations, .. } = filling;
    // The first conversations take one turn more where the messages do not divide evenly.
    let length =
        move |conversation| messages / conversations + u64::from(conversation < messages % conversations);
    let own = (lane..conversations).step_by(LANES as usize);
    let groups = own.collect::<Vec<u64>>().chunks(LIVE as usize).map(<[u64]>::to_vec).collect::<Vec<_>>();
    groups.into_iter().flat_map(move |group| {
        let longest = group.iter().map(|conversation| length(*conversation)).max().unwrap_or_default();
        (1..=longest).flat_map(move |ordinal| {
            let talking =
                group.clone().into_iter().filter(move |conversation| ordinal <= length(*conversation));
            talking.map(move |conversation| Turn { conversation, ordinal })
        })
    })
}

fn envelope(turn: Turn, text: &str) -> Result<Envelope> {
    let invalid = |error: Invalid| Error::Nats(format!("the filling is no event: {error}"));
    let id = conversation_id(turn.conversation).try_into().map_err(invalid)?;
    let subject = Subject::conversation(&id);
    let key = message_id(turn.ordinal);
    let event_id = EventId::natural(&subject, key.as_bytes(), 0);
    let event = Event::MessageRecorded(Message {
        conversation_id: id,
        participant_id: Some(participant(turn)?),
        ordinal: turn.ordinal,
        message_id: Some(key.try_into().map_err(invalid)?),
        idempotency_key: None,
        role: if turn.ordinal % 2 == 1 { Speaker::User } else { Speaker::Assistant },
        content: text.to_owned(),
        timestamp: Timestamp::from_parts(said_at(turn), 0),
        provider: Provider::Elevenlabs,
        inserted_at: None,
        event_id: None,
        reported: false,
        original: None,
        sources: None,
        attachments: Vec::new(),
        late: false,
        session: 0,
    });
    Envelope::wrap(subject, event_id, &event, &Origin::default(), Utc::now()).map_err(Error::Json)
}

/// Who talks: four conversations each.
fn participant(turn: Turn) -> Result<ParticipantId> {
    let id = format!("RID{:05}", turn.conversation / 4).try_into();
    id.map_err(|error: Invalid| Error::Nats(format!("the filling is no event: {error}")))
}

/// Sealed with the participant's key, where anything is, as the write edge does it.
async fn sealed(log: &Log, turn: Turn, envelope: Envelope) -> Result<Envelope> {
    let owner = Subject::participant(&participant(turn)?);
    match log.keyring().to_seal(owner.token()).await.map_err(nats)? {
        Sealing::With(key) => envelope.seal(owner.token(), &key).map_err(nats),
        Sealing::Off => Ok(envelope),
        Sealing::Destroyed => Err(Error::Nats("the filling cannot be sealed".to_owned())),
    }
}

/// Words as frequent as those of a language: the n-th is n times rarer than the first. The same in every run.
fn varied(turn: Turn, bytes: usize) -> String {
    let number = turn.conversation * 1_000 + turn.ordinal;
    let mut text = String::with_capacity(bytes + 16);
    if turn.conversation.is_multiple_of(RARE) && turn.ordinal == 7 {
        text.push_str(RARE_WORD);
    }
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while text.len() < bytes {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let chance = (state >> 11) as f64 / (1u64 << 53) as f64;
        text.push(' ');
        text.push_str(&word(VOCABULARY.powf(chance) as usize));
    }
    text
}

/// The n-th most frequent word, from 1.
pub fn word(n: usize) -> String {
    const SYLLABLES: [&str; 20] = [
        "ta", "re", "mi", "lo", "su", "na", "ke", "vi", "do", "pu", "sha", "ber", "lin", "gor", "tun", "ma",
        "fe", "qui", "jo", "wu",
    ];
    let mut left = n;
    let mut word = String::new();
    while left > 0 || word.is_empty() {
        word.push_str(SYLLABLES[left % SYLLABLES.len()]);
        left /= SYLLABLES.len();
    }
    word
}

/// A turn every five seconds, in conversations that start a minute apart.
fn said_at(turn: Turn) -> DateTime<Utc> {
    const FIRST: i64 = 1_736_337_600;
    DateTime::from_timestamp(FIRST + turn.conversation as i64 * 60 + turn.ordinal as i64 * 5, 0)
        .unwrap_or_default()
}

/// One atomic batch (ADR-50): all of it is stored, or nothing.
async fn publish(client: &Client, envelopes: Vec<Envelope>) -> Result<()> {
    let batch = Uuid::new_v4().simple().to_string();
    let last = envelopes.len();
    for (index, envelope) in envelopes.into_iter().enumerate() {
        let number = index + 1;
        let mut headers = envelope.headers;
        headers.insert("Nats-Batch-Id", batch.as_str());
        headers.insert("Nats-Batch-Sequence", number.to_string());
        let subject = envelope.subject.as_str().to_owned();
        if number == last {
            headers.insert("Nats-Batch-Commit", "1");
            return commit(client, subject, headers, envelope.body).await;
        }
        client.publish_with_headers(subject, headers, envelope.body).await.map_err(nats)?;
    }
    Ok(())
}

async fn commit(client: &Client, subject: String, headers: HeaderMap, body: bytes::Bytes) -> Result<()> {
    let request = Request::new().headers(headers).payload(body).timeout(Some(PATIENCE));
    let reply = client.send_request(subject, request).await.map_err(nats)?;
    let ack: serde_json::Value = serde_json::from_slice(&reply.payload)?;
    if ack["error"].is_null() { Ok(()) } else { Err(Error::Nats(format!("a batch was refused: {ack}"))) }
}

fn nats(error: impl std::fmt::Display) -> Error {
    Error::Nats(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn all_turns_are_there_once_and_in_order_within_each_conversation() {
        let filling = Filling { messages: 10_007, conversations: 1_100, content_bytes: 10, varied: false };
        let mut said: HashMap<u64, u64> = HashMap::new();
        for lane in 0..LANES {
            for turn in turns(filling, lane) {
                let before = said.insert(turn.conversation, turn.ordinal).unwrap_or_default();
                assert_eq!(turn.ordinal, before + 1);
            }
        }
        assert_eq!(said.len(), 1_100);
        assert_eq!(said.values().sum::<u64>(), 10_007);
    }
}
