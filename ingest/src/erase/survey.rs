//! What is a participant's in the log.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use shared::envelope::Entry;
use shared::events::{DeletedWebhooks, Event, Source};
use shared::ids::ParticipantId;
use shared::log::{Log, LogError};
use shared::sealing::Plan;
use shared::subjects::{self, Aggregate, Subject};

use super::Show;
use crate::state::State;

/// Entries taken at once.
const BATCH: usize = 1_000;
/// Facts of calls are their workers': a call stays, and what was said in it goes.
const CALLS: &str = "turnlog.call.";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What goes.
    pub plan: Plan,
    /// Events that say something of the participant.
    pub events: u64,
    /// Conversations of others in which something of them stands.
    pub elsewhere: u64,
    /// Objects that others' conversations name, too: they stay.
    pub shared_objects: u64,
}

impl Found {
    /// Whether there is nothing to erase.
    pub fn is_nothing(&self) -> bool {
        self.events == 0
    }

    /// How many events are deleted from the log.
    pub fn deleted_events(&self) -> u64 {
        self.plan.events.iter().map(|(first, last)| last - first + 1).sum()
    }
}

/// Reads the log once for where something of a participant stands; what that is, is read subject by subject.
pub(super) struct Survey<'a> {
    log: &'a Log,
    id: &'a ParticipantId,
    owner: Subject,
    /// How far it was read.
    position: u64,
    subjects: BTreeSet<String>,
    events: u64,
    /// The first and the last of them.
    range: (u64, u64),
}

/// What goes of one aggregate or more.
#[derive(Default)]
struct Gone {
    conversations: BTreeSet<String>,
    dreams: BTreeSet<String>,
    keys: BTreeSet<String>,
    objects: BTreeSet<String>,
    events: BTreeMap<u64, Deletable>,
    /// Bodies of which a webhook may stand alone, since it was not understood at first.
    bodies: BTreeSet<String>,
    elsewhere: u64,
}

impl<'a> Survey<'a> {
    pub(super) fn new(log: &'a Log, id: &'a ParticipantId) -> Self {
        let owner = Subject::participant(id);
        Self { log, id, owner, position: 0, subjects: BTreeSet::new(), events: 0, range: (0, 0) }
    }

    /// Reads to where the log ends now.
    pub(super) async fn read_on(&mut self, show: Show<'_>) -> Result<(), LogError> {
        let last = self.log.extent().await?.last;
        let mut tail = self.log.tail("erase", self.position, None);
        tail.attach().await?;
        while tail.position() < last && tail.pending() > 0 {
            for entry in tail.next_batch(BATCH).await? {
                if self.is_of(&entry, entry.decode().ok().as_ref()) {
                    self.events += 1;
                    let first = if self.range.0 == 0 { entry.sequence } else { self.range.0 };
                    self.range = (first, entry.sequence);
                    self.subjects.insert(entry.subject);
                }
            }
            show(tail.position().min(last), last);
        }
        self.position = tail.position().max(last);
        Ok(())
    }

    /// Whether an entry says something of the participant.
    fn is_of(&self, entry: &Entry, event: Option<&Event>) -> bool {
        entry.key_id() == Some(self.owner.token())
            || event.and_then(Event::participant).is_some_and(|id| id == self.id)
    }

    /// All of it.
    pub(super) async fn found(&self) -> Result<Found, LogError> {
        let mut gone = Gone::default();
        for subject in &self.subjects {
            self.take(subject, &mut gone).await?;
        }
        for body in std::mem::take(&mut gone.bodies) {
            self.take_webhook(&Subject::of(Aggregate::Webhook, &body), &mut gone).await?;
        }
        let Gone { conversations, dreams, keys, mut objects, events, elsewhere, .. } = gone;
        // A destroyed key takes what it sealed: that need not be deleted.
        let destroyed = |key: &str| key == self.owner.token() || keys.contains(key);
        let mut events = events;
        events.retain(|_, event| !event.key.as_deref().is_some_and(destroyed));
        let webhooks = webhooks(events.values());
        let events: BTreeSet<u64> = events.into_keys().collect();
        let named = objects.len();
        if !objects.is_empty() {
            self.keep_shared(&mut objects, &events, destroyed).await?;
        }
        let shared_objects = (named - objects.len()) as u64;
        let plan = Plan {
            by: String::new(),
            conversations: conversations.into_iter().collect(),
            dreams: dreams.into_iter().collect(),
            keys: keys.into_iter().collect(),
            objects: objects.into_iter().collect(),
            range: self.range,
            events: ranges(&events),
            webhooks,
        };
        Ok(Found { plan, events: self.events, elsewhere, shared_objects })
    }

    async fn take(&self, subject: &str, gone: &mut Gone) -> Result<(), LogError> {
        let token = subjects::token_of(subject).to_owned();
        let (mut state, mut entries) = (State::default(), Vec::new());
        let is = |aggregate| subjects::is_of(subject, aggregate);
        let aggregate = [Aggregate::Conversation, Aggregate::Dream, Aggregate::Participant]
            .into_iter()
            .find(|aggregate| is(*aggregate));
        let Some(aggregate) = aggregate else { return Ok(()) };
        self.log
            .read(&Subject::of_token(aggregate, &token), 0, |entry| {
                let event = entry.decode().ok();
                entries.push(Noted::of(&entry, event.as_ref(), self.is_of(&entry, event.as_ref())));
                if let Some(event) = event {
                    state.fold(event, entry.sequence);
                }
            })
            .await?;
        let whose = match aggregate {
            Aggregate::Conversation => {
                gone.conversations.insert(token.clone());
                state.conversation.owner.as_ref().or(state.conversation.linked_to.as_ref())
            }
            Aggregate::Dream => {
                gone.dreams.insert(token.clone());
                state.dream.as_ref().map(|known| &known.dream.participant_id)
            }
            Aggregate::Participant
            | Aggregate::Token
            | Aggregate::Webhook
            | Aggregate::Source
            | Aggregate::Worker
            | Aggregate::Admin
            | Aggregate::Erasure => Some(self.id),
        };
        let own = whose == Some(self.id);
        if own && aggregate == Aggregate::Conversation {
            // Its own, from before its participant was known. Without it, nothing further is taken of it either.
            gone.keys.insert(token);
        }
        gone.elsewhere += u64::from(!own);
        for noted in entries.into_iter().filter(|noted| noted.is_of || own && !noted.is_call) {
            gone.events.insert(noted.sequence, noted.event);
            gone.objects.extend(noted.objects);
            gone.bodies.extend(noted.body);
        }
        Ok(())
    }

    /// A webhook that was not understood when it came, and became a report later.
    async fn take_webhook(&self, subject: &Subject, gone: &mut Gone) -> Result<(), LogError> {
        self.log
            .read(subject, 0, |entry| {
                if entry.key_id() == Some(entry.token()) {
                    gone.keys.insert(entry.token().to_owned());
                }
                let noted = Noted::of(&entry, entry.decode().ok().as_ref(), true);
                gone.events.insert(noted.sequence, noted.event);
                gone.objects.extend(noted.objects);
            })
            .await
    }

    /// Takes out what somebody else's events name, too.
    async fn keep_shared(
        &self,
        objects: &mut BTreeSet<String>,
        gone: &BTreeSet<u64>,
        destroyed: impl Fn(&str) -> bool,
    ) -> Result<(), LogError> {
        let mut tail = self.log.tail("erase", 0, None);
        tail.attach().await?;
        while tail.position() < self.position && tail.pending() > 0 && !objects.is_empty() {
            for entry in tail.next_batch(BATCH).await? {
                if gone.contains(&entry.sequence) || entry.key_id().is_some_and(&destroyed) {
                    continue;
                }
                if let Ok(event) = entry.decode() {
                    for name in event.objects() {
                        objects.remove(name);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What has to be known of an event that may have to be deleted.
struct Deletable {
    /// What sealed it.
    key: Option<String>,
    /// Where it came in, if by a webhook.
    source: Option<Source>,
    stored_at: DateTime<Utc>,
}

/// How many came in by which way.
fn webhooks<'a>(events: impl Iterator<Item = &'a Deletable>) -> Vec<DeletedWebhooks> {
    let mut counts: Vec<DeletedWebhooks> = Vec::new();
    for Deletable { source, stored_at, .. } in events {
        let Some(source) = *source else { continue };
        match counts.iter_mut().find(|count| count.source == source) {
            Some(count) => {
                (count.events, count.last_at) = (count.events + 1, count.last_at.max(*stored_at));
            }
            None => counts.push(DeletedWebhooks { source, events: 1, last_at: *stored_at }),
        }
    }
    counts
}

/// What has to be known of an entry.
struct Noted {
    sequence: u64,
    event: Deletable,
    is_of: bool,
    is_call: bool,
    objects: Vec<String>,
    body: Option<String>,
}

impl Noted {
    fn of(entry: &Entry, event: Option<&Event>, is_of: bool) -> Self {
        let objects = event.map(Event::objects).unwrap_or_default();
        let body = match event {
            Some(Event::ConversationReported(report)) => Some(report.sha256.clone()),
            Some(_) | None => None,
        };
        Self {
            sequence: entry.sequence,
            event: Deletable {
                key: entry.key_id().map(str::to_owned),
                source: event.and_then(Event::source),
                stored_at: entry.stored_at,
            },
            is_of,
            is_call: entry.event_type().starts_with(CALLS),
            objects: objects.into_iter().map(str::to_owned).collect(),
            body,
        }
    }
}

/// Runs of sequences without a gap, first and last.
fn ranges(sequences: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for sequence in sequences {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *sequence => *last = *sequence,
            _ => ranges.push((*sequence, *sequence)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_that_follow_each_other_are_one_range() {
        let of = |sequences: &[u64]| ranges(&sequences.iter().copied().collect());
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[4, 5, 6, 9, 11, 12]), [(4, 6), (9, 9), (11, 12)]);
    }
}
