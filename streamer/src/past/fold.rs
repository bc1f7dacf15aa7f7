//! A conversation folded from the log as the tables fold it: pure, total, and what it shows is what a snapshot showed then.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use shared::events::{Call, Correction, Event, Message, Recording, Report, Session, Sighting, Viewer};
use shared::ids::{ConversationId, Timestamp};
use shared::report::Facts;
use shared::standing::{Verdict, standing};

use crate::snapshot::CallFields;
use crate::view::{ConversationView, MessageView, SeenView};

/// Where a fact stands, and when it was stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) sequence: u64,
    pub(super) stored_at: DateTime<Utc>,
}

/// What is known of a conversation by some point of the log.
#[derive(Debug, Default)]
pub(crate) struct Then {
    begun: Option<Begun>,
    /// In the order of the log.
    messages: Vec<MessageView>,
    total: u64,
    call: Option<(Timestamp, CallFields)>,
    /// The newest of each person.
    seen: HashMap<Viewer, SeenView>,
    /// Where the first of each number was opened.
    sessions: BTreeMap<u32, u64>,
    /// The newest of each session and kind.
    told: BTreeMap<(u32, String), Verdict<()>>,
    ended: Option<u64>,
    /// The last fact that it knows.
    last: u64,
}

#[derive(Debug)]
struct Begun {
    conversation_id: ConversationId,
    started_at: DateTime<Utc>,
}

impl Then {
    /// Takes the next fact; `facts` are what a report says, where it can be read.
    pub(super) fn take(&mut self, at: At, event: Event, facts: Option<&Facts>) {
        self.last = at.sequence;
        match event {
            Event::MessageRecorded(message) => self.recorded(at, message),
            Event::MessageCorrected(correction) => self.corrected(at, correction),
            Event::ConversationReported(report) => {
                if let Some(facts) = facts {
                    self.reported(at, report, facts);
                }
            }
            Event::AudioStored(Recording { conversation_id, reported_at, .. }) => {
                self.begin(conversation_id, reported_at.unwrap_or(at.stored_at));
            }
            Event::CallOpened(call) | Event::CallChanged(call) => self.called(call),
            Event::CallTakenOver(handover) | Event::CallReleased(handover) => self.called(handover.call),
            Event::ConversationEnded(ending) => {
                self.ended = Some(at.sequence);
                if let Some(call) = ending.call {
                    self.called(call);
                }
            }
            Event::ConversationSeen(sighting) => self.sighted(at, sighting),
            Event::SessionOpened(session) => self.opened(at, session),
            // Whose it is decides who may read it, and that is asked of today.
            Event::ConversationClaimed(_)
            | Event::ConversationLinked(_)
            | Event::ParticipantErased(_)
            | Event::ParticipantEnrolled(_)
            | Event::ParticipantUpdated(_)
            | Event::TokenRevoked(_)
            | Event::WebhookReceived(_)
            | Event::WebhookRefused(_)
            | Event::WorkerRegistered(_)
            | Event::WorkerRemoved(_)
            | Event::AdminRegistered(_)
            | Event::AdminRemoved(_)
            | Event::DreamRecorded(_)
            | Event::DreamChanged(_)
            | Event::DreamInterpreted(_)
            | Event::DreamDiscussed(_) => {}
        }
    }

    fn begin(&mut self, conversation_id: ConversationId, at: DateTime<Utc>) {
        let begun = self.begun.get_or_insert(Begun { conversation_id, started_at: at });
        begun.started_at = begun.started_at.min(at);
    }

    fn recorded(&mut self, at: At, message: Message) {
        self.begin(message.conversation_id.clone(), message.timestamp.instant());
        self.total = self.total.max(message.ordinal);
        self.messages.push(MessageView::of_event(message, at.sequence, at.sequence));
    }

    /// A version has what it says itself, but for what a message keeps: its number, where it came through, and its own id,
    /// once it has one.
    fn corrected(&mut self, at: At, correction: Correction) {
        let Correction { first_sequence, message, .. } = correction;
        self.begin(message.conversation_id.clone(), message.timestamp.instant());
        self.total = self.total.max(message.ordinal);
        let Ok(place) = self.messages.binary_search_by_key(&first_sequence, |message| message.sequence)
        else {
            return;
        };
        let held = &mut self.messages[place];
        let named = message.message_id.is_some();
        let newer = MessageView::of_event(message, first_sequence, at.sequence);
        let before = std::mem::replace(held, newer);
        (held.ordinal, held.provider) = (before.ordinal, before.provider);
        if !named {
            held.message_id = before.message_id;
        }
    }

    fn reported(&mut self, at: At, report: Report, facts: &Facts) {
        if report.superseded {
            return;
        }
        let near = facts.started_at.or(report.reported_at).unwrap_or(at.stored_at);
        self.begin(report.conversation_id, near);
        let told = Verdict {
            session: report.session,
            sequence: at.sequence,
            tells_outcome: facts.outcome.is_some(),
            failed: facts.failed,
            ended_at: (),
        };
        self.told.insert((report.session, report.kind), told);
    }

    /// What changes of a call is its urgency, its medium, and who holds it.
    fn called(&mut self, call: Call) {
        self.begin(call.conversation_id, call.opened_at.instant());
        let admin_id = call.admin_id.map(String::from);
        if let Some((_, known)) = &mut self.call {
            (known.urgency, known.medium, known.admin_id) = (call.urgency, call.medium, admin_id);
            return;
        }
        let known = CallFields {
            call_id: call.call_id.into(),
            worker_id: call.worker_id.into(),
            mobile_no: call.mobile_no,
            urgency: call.urgency,
            medium: call.medium,
            admin_id,
        };
        self.call = Some((call.opened_at, known));
    }

    fn sighted(&mut self, at: At, sighting: Sighting) {
        let (role, id) = (sighting.by.role().to_owned(), sighting.by.id().to_owned());
        let view = SeenView { role, id, sequence: sighting.sequence, version: at.sequence };
        self.seen.insert(sighting.by, view);
    }

    fn opened(&mut self, at: At, session: Session) {
        self.begin(session.conversation_id, session.opened_at);
        self.sessions.entry(session.number).or_insert(at.sequence);
    }

    /// Whether anything was said or told by then.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// The last fact that it knows.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// How many messages it has.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The latest that any of its messages was said.
    pub(crate) fn said_to(&self) -> Option<DateTime<Utc>> {
        self.messages.iter().map(|message| message.timestamp.instant()).max()
    }

    /// Whether somebody ended it and it did not go on.
    pub(crate) fn is_over(&self) -> bool {
        let opened = self.sessions.last_key_value().map_or(0, |(_, sequence)| *sequence);
        self.ended.is_some_and(|ended| ended > opened)
    }

    /// The conversation as a snapshot showed it then; `None` before it began.
    pub(crate) fn view(mut self) -> Option<ConversationView> {
        let begun = self.begun?;
        let newest = self.sessions.last_key_value().map(|(number, sequence)| (*number, *sequence));
        let told = self.told.into_values();
        let (status, _) = standing(newest, told, self.ended.map(|sequence| (sequence, ())));
        self.messages.sort_by_key(|message| (message.place, message.sequence));
        let mut seen: Vec<_> = self.seen.into_values().collect();
        seen.sort_by_key(|seen| seen.version);
        let (opened_at, call) = self.call.unzip();
        let timestamp = opened_at.or_else(|| self.messages.first().map(|first| first.timestamp));
        let known = |field: fn(&CallFields) -> &String| call.as_ref().map(|call| field(call).clone());
        Some(ConversationView {
            conversation_id: begun.conversation_id.into(),
            call_id: known(|call| &call.call_id),
            worker_id: known(|call| &call.worker_id),
            mobile_no: known(|call| &call.mobile_no),
            urgency: known(|call| &call.urgency),
            status: status.into(),
            medium: known(|call| &call.medium),
            timestamp: timestamp.unwrap_or_else(|| Timestamp::from_parts(to_micros(begun.started_at), 0)),
            messages: self.messages,
            total_messages: self.total,
            admin_id: call.and_then(|call| call.admin_id),
            seen,
        })
    }
}

/// As precise as the tables hold it.
fn to_micros(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}
