//! What a report means for its conversation: messages that are missing, texts that were not final, and the report
//! itself, last, so that where it stands everything that it says stands before it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use shared::events::{Correction, Event, Message, PLACE_STEP, Report, Source};
use shared::ids::{Provider, Timestamp};

use super::{Decision, claimed};
use crate::align::{Match, align};
use crate::command::ReportConversation;
use crate::state::{Conversation, Reported, Turn};

/// Events of one commit: two such reports fit one atomic batch.
const MOST_EVENTS: usize = 480;
/// Bytes of their texts.
const MOST_BYTES: usize = 2 * 1024 * 1024;

pub(super) fn decide(told: &ReportConversation, conversation: &Conversation) -> Decision {
    let reported = conversation.reports.get(&(told.session, told.kind.clone()));
    if let Some(sequence) = reported.and_then(|known| repeat(told, known)) {
        return Decision::already(sequence);
    }
    let newest = reported.and_then(|known| known.newest);
    let superseded = newest.zip(told.reported_at).is_some_and(|(newest, this)| this < newest);
    let mut facts = Facts::new(told, conversation);
    if !superseded && !facts.complete() {
        return Decision::Append { events: facts.events, first: None, more: true };
    }
    facts.events.push(Event::ConversationReported(Report {
        conversation_id: told.conversation.clone(),
        participant_id: facts.owner,
        source: told.source,
        kind: told.kind.clone(),
        session: told.session,
        reported_at: told.reported_at,
        sha256: told.sha256.clone(),
        superseded,
        turns: facts.ordinals,
        payload: told.payload.clone(),
    }));
    Decision::Append { events: facts.events, first: None, more: false }
}

/// The report that this one repeats. What the vendor's API answers is never twice the same, since it signs the addresses
/// of files anew, and says nothing that a webhook did not say.
fn repeat(told: &ReportConversation, known: &Reported) -> Option<u64> {
    let same = |(sha256, _): &&(String, u64)| *sha256 == told.sha256 || told.source == Source::ElevenlabsApi;
    known.versions.iter().find(same).map(|(_, sequence)| *sequence)
}

/// The facts of a report, one after the other.
struct Facts<'a> {
    told: &'a ReportConversation,
    conversation: &'a Conversation,
    owner: Option<shared::ids::ParticipantId>,
    events: Vec<Event>,
    /// What each turn is, as the report says in the end.
    ordinals: Vec<Option<u64>>,
    next_ordinal: u64,
    bytes: usize,
}

impl<'a> Facts<'a> {
    fn new(told: &'a ReportConversation, conversation: &'a Conversation) -> Self {
        let owner = conversation.owner.clone().or_else(|| told.participant.clone());
        let mut events = Vec::new();
        if let (None, Some(participant)) = (&conversation.owner, &told.participant) {
            events.extend(claimed(conversation, &told.conversation, participant));
        }
        let next_ordinal = conversation.messages + 1;
        Self { told, conversation, owner, events, ordinals: Vec::new(), next_ordinal, bytes: 0 }
    }

    /// Decides turn by turn; `false` when there is more than one commit can hold.
    fn complete(&mut self) -> bool {
        let told = self.told;
        let mut held: Vec<(&Turn, &Message)> = self
            .conversation
            .turns
            .iter()
            .filter_map(|turn| Some((turn, turn.message.as_deref()?)))
            .collect();
        held.sort_by_key(|(turn, message)| (message.place(), turn.first()));
        let room = Room::of(told.session, &held, self.next_ordinal);
        held.retain(|(_, message)| told.session == 0 || message.session == told.session);
        let messages: Vec<_> = held.iter().map(|(_, message)| *message).collect();
        let matches = align(&messages, &told.turns);
        let places = places(&messages, &matches, room);
        for (index, (turn, found)) in told.turns.iter().zip(matches).enumerate() {
            if self.events.len() >= MOST_EVENTS || self.bytes >= MOST_BYTES {
                return false;
            }
            let text = turn.text.as_deref().unwrap_or_default();
            let ordinal = match found {
                Match::Silent => None,
                Match::Same(place) | Match::Differs(place) => {
                    let moved = places.get(&index).copied();
                    if moved.is_some() || matches!(found, Match::Differs(_)) {
                        self.correct(held[place], index, text, moved);
                    }
                    Some(held[place].0.ordinal)
                }
                Match::Missing => Some(self.record(index, text, places.get(&index).copied())),
            };
            self.ordinals.push(ordinal);
        }
        true
    }

    fn correct(&mut self, (turn, message): (&Turn, &Message), index: usize, text: &str, moved: Option<u64>) {
        self.bytes += text.len();
        let message = Message {
            participant_id: self.owner.clone(),
            content: text.to_owned(),
            original: self.told.turns[index].original.clone().or_else(|| message.original.clone()),
            inserted_at: moved.or(message.inserted_at),
            ..message.clone()
        };
        let correction = Correction { first_sequence: turn.first(), message, sent: None };
        self.events.push(Event::MessageCorrected(correction));
    }

    fn record(&mut self, index: usize, text: &str, inserted_at: Option<u64>) -> u64 {
        self.bytes += text.len();
        let (told, turn) = (self.told, &self.told.turns[index]);
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        self.events.push(Event::MessageRecorded(Message {
            conversation_id: told.conversation.clone(),
            participant_id: self.owner.clone(),
            ordinal,
            message_id: turn.message_id.clone(),
            idempotency_key: None,
            role: turn.role,
            content: text.to_owned(),
            timestamp: turn.at.unwrap_or_else(|| fallback(told)),
            provider: Provider::Elevenlabs,
            inserted_at,
            event_id: turn.event_id,
            reported: true,
            original: turn.original.clone(),
            sources: None,
            attachments: Vec::new(),
            late: false,
            session: told.session,
        }));
        ordinal
    }
}

/// For a turn that does not say when it was: as near as anything said comes to it.
fn fallback(told: &ReportConversation) -> Timestamp {
    let near: DateTime<Utc> = told.started_at.or(told.reported_at).unwrap_or(told.received_at);
    Timestamp::from_parts(near, 0)
}

/// The part of a conversation's order that a report is about.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// After this place.
    from: u64,
    /// Before this one.
    to: u64,
    /// Something later stands behind it: what is missing at its end does not go there by itself.
    closed: bool,
}

impl Room {
    /// Of a session: between what was said in those before it and those after it. A report of the whole conversation has
    /// all of it.
    fn of(session: u32, held: &[(&Turn, &Message)], next_ordinal: u64) -> Self {
        let places = |others: fn(u32, u32) -> bool| {
            let others =
                held.iter().filter(move |(_, message)| session > 0 && others(message.session, session));
            others.map(|(_, message)| message.place())
        };
        let from = places(|other, this| other < this).max().unwrap_or_default();
        let later = places(|other, this| other > this).min();
        let to = later.unwrap_or(next_ordinal.saturating_mul(PLACE_STEP)).max(from);
        Self { from, to, closed: later.is_some() }
    }
}

/// Where turns go that are missing, and those that a frontend told of in another order, by their index: evenly between
/// the messages that they stand between. Where all after the last message are missing they go to the end by themselves,
/// if the room is open there.
fn places(known: &[&Message], matches: &[Match], room: Room) -> HashMap<usize, u64> {
    let anchors = in_order(matches);
    let mut places = HashMap::new();
    let mut run = Vec::new();
    for (index, found) in matches.iter().enumerate() {
        match found {
            Match::Missing => run.push(index),
            Match::Silent => {}
            Match::Same(_) | Match::Differs(_) if !anchors.contains(&index) => run.push(index),
            Match::Same(next) | Match::Differs(next) => {
                let before = next.checked_sub(1).map_or(room.from, |place| known[place].place());
                spread(&mut places, std::mem::take(&mut run), before, known[*next].place());
            }
        }
    }
    if room.closed || run.iter().any(|index| matches[*index] != Match::Missing) {
        let last = known.iter().map(|message| message.place()).max().unwrap_or(room.from);
        spread(&mut places, run, last, room.to);
    }
    places
}

/// Where the room is used up they share a place, and the order of the log tells.
fn spread(places: &mut HashMap<usize, u64>, run: Vec<usize>, before: u64, after: u64) {
    let part = after.saturating_sub(before) / (run.len() as u64 + 1);
    places.extend((1..).zip(run).map(|(step, index)| (index, before + part.saturating_mul(step))));
}

/// As many turns as possible whose messages stand in the transcript's order as they are: the longest increasing
/// subsequence.
fn in_order(matches: &[Match]) -> HashSet<usize> {
    let mut ends: Vec<(usize, usize)> = Vec::new();
    let mut before = vec![None; matches.len()];
    for (index, found) in matches.iter().enumerate() {
        let (Match::Same(place) | Match::Differs(place)) = *found else { continue };
        let length = ends.partition_point(|(end, _)| *end < place);
        before[index] = length.checked_sub(1).map(|shorter| ends[shorter].1);
        match ends.get_mut(length) {
            Some(end) => *end = (place, index),
            None => ends.push((place, index)),
        }
    }
    let last = ends.last().map(|(_, index)| *index);
    std::iter::successors(last, |index| before[*index]).collect()
}

#[cfg(test)]
mod tests {
    use super::Match::{Differs, Missing, Same, Silent};
    use super::*;

    #[test]
    fn as_many_as_possible_stay_where_they_are() {
        let stay = |matches: &[Match]| {
            let mut indices: Vec<_> = in_order(matches).into_iter().collect();
            indices.sort_unstable();
            indices
        };
        assert_eq!(stay(&[Same(0), Silent, Differs(1), Missing, Same(2)]), [0, 2, 4]);
        assert_eq!(stay(&[Same(1), Same(2), Same(0), Same(3)]), [0, 1, 3]);
        assert_eq!(stay(&[Same(2), Same(1), Same(0)]).len(), 1);
        assert!(stay(&[Missing, Silent]).is_empty());
    }
}
