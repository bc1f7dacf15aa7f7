//! The state of an aggregate, folded from its own events: as much as deciding needs, and no content.

use std::collections::HashMap;

use shared::events::{Enrolment, Event, Message};
use shared::ids::ParticipantId;

use crate::command::{ContentDigest, Key};

/// What is known of one aggregate. The kind is the command's.
#[derive(Debug, Default)]
pub struct State {
    /// Of a conversation.
    pub conversation: Conversation,
    /// Of a participant; absent while it is not enrolled.
    pub participant: Option<Enrolment>,
    /// Of a token.
    pub revoked: bool,
}

/// A conversation: who owns it, how many messages it has, and which ones would be repeats.
#[derive(Debug, Default)]
pub struct Conversation {
    /// Whoever wrote first.
    pub owner: Option<ParticipantId>,
    /// Messages so far, corrections not counted.
    pub messages: u64,
    /// Those with a natural key.
    pub known: HashMap<Key, Known>,
}

/// A message that would be recognised when it came again.
#[derive(Debug)]
pub struct Known {
    /// Its place in the conversation.
    pub ordinal: u64,
    /// Every version in order, with its sequence; the first one's is the message's id for ever.
    pub versions: Vec<(ContentDigest, u64)>,
}

impl Known {
    /// Sequence of the first version.
    pub fn first(&self) -> u64 {
        self.versions.first().map_or(0, |(_, sequence)| *sequence)
    }

    /// Sequence of the version with this content, if it was ever sent.
    pub fn version(&self, digest: ContentDigest) -> Option<u64> {
        self.versions.iter().find(|(known, _)| *known == digest).map(|(_, sequence)| *sequence)
    }
}

impl State {
    /// Takes in one event. Total: whatever stands in the log can be folded.
    pub fn fold(&mut self, event: &Event, sequence: u64) {
        match event {
            Event::MessageRecorded(message) => self.conversation.record(message, sequence),
            Event::MessageCorrected(correction) => self.conversation.version(&correction.message, sequence),
            Event::ParticipantEnrolled(data) | Event::ParticipantUpdated(data) => match &mut self.participant
            {
                Some(known) => merge(known, data),
                none => *none = Some(data.clone()),
            },
            Event::TokenRevoked(_) => self.revoked = true,
        }
    }

    /// About how many bytes this takes, for the bound of the cache.
    pub fn weight(&self) -> usize {
        const EACH: usize = size_of::<(Key, Known)>() + size_of::<(ContentDigest, u64)>() + 16;
        512 + self.conversation.known.len() * EACH
    }
}

impl Conversation {
    fn record(&mut self, message: &Message, sequence: u64) {
        if self.owner.is_none() {
            self.owner.clone_from(&message.participant_id);
        }
        self.messages = self.messages.max(message.ordinal);
        self.version(message, sequence);
    }

    fn version(&mut self, message: &Message, sequence: u64) {
        let Some(key) = Key::of(message.message_id.as_ref(), message.idempotency_key.as_ref()) else {
            return;
        };
        let digest = ContentDigest::of(message.role, &message.content);
        let known =
            self.known.entry(key).or_insert_with(|| Known { ordinal: message.ordinal, versions: Vec::new() });
        known.versions.push((digest, sequence));
    }
}

/// Lays what is given over what is known.
pub fn merge(known: &mut Enrolment, given: &Enrolment) {
    let Enrolment { participant_id: _, access_code_hash, name, age, location } = given;
    known.access_code_hash = access_code_hash.clone().or(known.access_code_hash.take());
    known.name = name.clone().or(known.name.take());
    known.age = age.or(known.age);
    known.location = location.clone().or(known.location.take());
}
