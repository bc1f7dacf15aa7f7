//! What is known of one conversation: pure, total, and joined in order.

mod parts;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::events::{self, Call, Ending, Event, Recording, Report, Session};
use shared::ids::{ConversationId, ParticipantId, Provider};
use shared::report::Reading;
use shared::standing::{Verdict, standing};

use self::parts::{Begun, Called, Opened, Told, recording_json};
use super::Fact;
use crate::tables::{Conversation, Texts};

/// Bytes that a call takes in memory.
const CALL_BYTES: usize = 300;

/// What is known of one conversation from a stretch of the log. It is what the read tables hold of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The first event of the stretch, whatever it says.
    earliest: u64,
    last_sequence: u64,
    begun: Option<Begun>,
    participant_id: Option<String>,
    /// Since when it is somebody's, and whose.
    claim: Option<(u64, String)>,
    /// Where it ended last, and when.
    ending: Option<(u64, i64)>,
    call: Option<Called>,
    /// The first of each number.
    sessions: BTreeMap<u32, Opened>,
    /// The newest of each session and kind.
    reports: BTreeMap<(u32, String), Told>,
    /// The newest of each session, as JSON.
    recordings: BTreeMap<u32, String>,
    agent_id: Option<String>,
    account_id: Option<String>,
    email_id: Option<String>,
}

impl State {
    /// The first event that bears on it.
    pub(crate) fn earliest(&self) -> u64 {
        self.earliest
    }

    /// Takes a fact that is newer than what is known; answers how many bytes of text joined.
    pub(crate) fn take(&mut self, fact: &Fact<'_>) -> usize {
        let bytes = match fact.event {
            Event::MessageRecorded(message) => self.said(fact, message),
            Event::MessageCorrected(correction) => self.said(fact, &correction.message),
            Event::ConversationClaimed(claim) => {
                self.claim = Some((fact.sequence, claim.participant_id.as_str().to_owned()));
                claim.participant_id.as_str().len()
            }
            Event::ConversationReported(report) => match fact.reading {
                Some(reading) if !report.superseded => self.reported(fact, report, reading),
                Some(_) | None => return 0,
            },
            Event::AudioStored(recording) => self.recorded(fact, recording),
            Event::CallOpened(call) | Event::CallChanged(call) => self.called(fact, call),
            Event::CallTakenOver(handover) | Event::CallReleased(handover) => {
                self.called(fact, &handover.call)
            }
            Event::ConversationEnded(ending) => self.ended(fact, ending),
            Event::SessionOpened(session) => self.opened(fact, session),
            // Who has seen it is nothing of the conversation's own.
            Event::ConversationSeen(_)
            | Event::ConversationLinked(_)
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
            | Event::DreamDiscussed(_)
            | Event::ParticipantErased(_) => return 0,
        };
        if self.earliest == 0 {
            self.earliest = fact.sequence;
        }
        self.last_sequence = fact.sequence;
        bytes
    }

    fn said(&mut self, fact: &Fact<'_>, message: &events::Message) -> usize {
        let (id, owner) = (&message.conversation_id, message.participant_id.as_ref());
        let (begun, bytes) = self.row(fact, id, owner, message.provider, message.timestamp.instant());
        begun.message_count = begun.message_count.max(message.ordinal);
        bytes
    }

    /// Something was said or told in it at this time.
    fn row(
        &mut self,
        fact: &Fact<'_>,
        id: &ConversationId,
        owner: Option<&ParticipantId>,
        provider: Provider,
        at: DateTime<Utc>,
    ) -> (&mut Begun, usize) {
        let (begun, bytes) = self.begun(fact, id, owner, provider, at);
        begun.last_message_at = begun.last_message_at.max(Some(at.timestamp_micros()));
        (begun, bytes)
    }

    /// It had begun by this time.
    fn begun(
        &mut self,
        fact: &Fact<'_>,
        id: &ConversationId,
        owner: Option<&ParticipantId>,
        provider: Provider,
        at: DateTime<Utc>,
    ) -> (&mut Begun, usize) {
        let (mut bytes, at) = (0, at.timestamp_micros());
        if let (None, Some(owner)) = (&self.participant_id, owner) {
            self.participant_id = Some(owner.as_str().to_owned());
            bytes += owner.as_str().len();
        }
        let begun = self.begun.get_or_insert_with(|| {
            bytes += id.as_str().len();
            Begun {
                conversation_id: id.as_str().to_owned(),
                provider: provider.as_str().to_owned(),
                first_sequence: fact.sequence,
                message_count: 0,
                started_at: at,
                last_message_at: None,
            }
        });
        begun.started_at = begun.started_at.min(at);
        (begun, bytes)
    }

    fn reported(&mut self, fact: &Fact<'_>, report: &Report, reading: &Reading) -> usize {
        let (facts, owner) = (&reading.facts, report.participant_id.as_ref());
        let near = facts.started_at.or(report.reported_at).unwrap_or(fact.stored());
        let (_, bytes) = self.row(fact, &report.conversation_id, owner, Provider::Elevenlabs, near);
        for (known, told) in [
            (&mut self.agent_id, &facts.agent_id),
            (&mut self.account_id, &facts.account_id),
            (&mut self.email_id, &facts.email_id),
        ] {
            if told.is_some() {
                known.clone_from(told);
            }
        }
        let ended_at = facts.ended_at().or(report.reported_at).unwrap_or(fact.stored());
        let told = Told::of(fact, report, facts, ended_at.timestamp_micros());
        // Once as JSON, once as texts.
        let bytes = bytes + 2 * told.json.len();
        self.reports.insert((report.session, report.kind.clone()), told);
        bytes
    }

    fn recorded(&mut self, fact: &Fact<'_>, recording: &Recording) -> usize {
        let owner = recording.participant_id.as_ref();
        let near = recording.reported_at.unwrap_or(fact.stored());
        let (_, bytes) = self.row(fact, &recording.conversation_id, owner, Provider::Elevenlabs, near);
        let json = recording_json(fact, recording);
        let bytes = bytes + json.len();
        self.recordings.insert(recording.session, json);
        bytes
    }

    fn called(&mut self, fact: &Fact<'_>, call: &Call) -> usize {
        let at = call.opened_at.instant();
        let (_, bytes) = self.row(fact, &call.conversation_id, None, Provider::Call, at);
        self.join_call(Some(Called::of(call)));
        bytes + CALL_BYTES
    }

    fn ended(&mut self, fact: &Fact<'_>, ending: &Ending) -> usize {
        self.ending = Some((fact.sequence, ending.ended_at.instant().timestamp_micros()));
        ending.call.as_ref().map_or(0, |call| self.called(fact, call))
    }

    fn opened(&mut self, fact: &Fact<'_>, session: &Session) -> usize {
        let (id, owner) = (&session.conversation_id, Some(&session.participant_id));
        let (_, bytes) = if session.number > 1 {
            // It goes on, but nothing was said in it yet.
            self.begun(fact, id, owner, Provider::Elevenlabs, session.opened_at)
        } else {
            self.row(fact, id, owner, Provider::Elevenlabs, session.opened_at)
        };
        let opened = Opened::of(fact, session);
        let bytes = bytes + opened.json.len();
        self.sessions.entry(session.number).or_insert(opened);
        bytes
    }

    /// Joins what is known from a later stretch.
    pub(crate) fn join(&mut self, later: Self) {
        if self.earliest == 0 {
            self.earliest = later.earliest;
        }
        self.last_sequence = self.last_sequence.max(later.last_sequence);
        match (&mut self.begun, later.begun) {
            (Some(begun), Some(later)) => begun.join(&later),
            (begun @ None, later) => *begun = later,
            (Some(_), None) => {}
        }
        self.participant_id = self.participant_id.take().or(later.participant_id);
        self.claim = later.claim.or(self.claim.take());
        self.ending = later.ending.or(self.ending.take());
        self.join_call(later.call);
        for (number, opened) in later.sessions {
            self.sessions.entry(number).or_insert(opened);
        }
        self.reports.extend(later.reports);
        self.recordings.extend(later.recordings);
        self.agent_id = later.agent_id.or(self.agent_id.take());
        self.account_id = later.account_id.or(self.account_id.take());
        self.email_id = later.email_id.or(self.email_id.take());
    }

    /// What changes of a call is its urgency, its medium, and who holds it.
    fn join_call(&mut self, later: Option<Called>) {
        match (&mut self.call, later) {
            (Some(call), Some(later)) => {
                (call.urgency, call.medium, call.admin_id) = (later.urgency, later.medium, later.admin_id);
            }
            (known @ None, later) => *known = later,
            (Some(_), None) => {}
        }
    }

    /// Since when it is somebody's whom it was not at first, and whose.
    pub(crate) fn claim(&self) -> Option<(u64, &str)> {
        self.claim.as_ref().map(|(sequence, participant)| (*sequence, participant.as_str()))
    }

    /// Hands its row to `each`, if it has begun.
    pub(crate) fn row_of<T>(&self, each: impl FnOnce(&Conversation<'_>) -> T) -> Option<T> {
        let begun = self.begun.as_ref()?;
        let (status, ended_at) = self.standing();
        let claimed_by = self.claim().map(|(_, participant)| participant);
        let sessions = list(self.sessions.values().map(|opened| &opened.json));
        let reports = list(self.reports.values().map(|told| &told.json));
        let recordings = list(self.recordings.values());
        let call = self.call.as_ref();
        let row = Conversation {
            first_sequence: begun.first_sequence,
            last_sequence: self.last_sequence,
            message_count: begun.message_count,
            started_at: begun.started_at,
            last_message_at: begun.last_message_at.unwrap_or(begun.started_at),
            ended_at,
            opened_at: call.map(|call| call.opened_at),
            opened_offset: call.map(|call| call.opened_offset),
            duration_seconds: self.sum(|told| told.duration_seconds),
            cost: self.sum(|told| told.cost),
            session_count: self.sessions.len() as u64,
            conversation_id: &begun.conversation_id,
            participant_id: self.participant_id.as_deref().or(claimed_by),
            provider: &begun.provider,
            status,
            texts: Texts {
                agent_id: self.agent_id.as_deref(),
                account_id: self.account_id.as_deref(),
                email_id: self.email_id.as_deref(),
                outcome: self.newest(|told| told.outcome.as_deref()),
                call_successful: self.newest(|told| told.call_successful.as_deref()),
                title: self.newest(|told| told.title.as_deref()),
                summary: self.newest(|told| told.summary.as_deref()),
                termination_reason: self.newest(|told| told.termination_reason.as_deref()),
                language: self.newest(|told| told.language.as_deref()),
                evaluation: self.newest(|told| told.evaluation.as_deref()),
                collected: self.newest(|told| told.collected.as_deref()),
                call_id: call.map(|call| call.call_id.as_str()),
                worker_id: call.map(|call| call.worker_id.as_str()),
                mobile_no: call.map(|call| call.mobile_no.as_str()),
                urgency: call.map(|call| call.urgency.as_str()),
                medium: call.map(|call| call.medium.as_str()),
                admin_id: call.and_then(|call| call.admin_id.as_deref()),
                sessions: sessions.as_deref(),
                reports: reports.as_deref(),
                recordings: recordings.as_deref(),
            },
        };
        Some(each(&row))
    }

    /// What the newest of its reports says that says anything.
    fn newest<'s, T>(&'s self, read: impl Fn(&'s Told) -> Option<T>) -> Option<T> {
        let told = self.reports.values().filter_map(|told| read(told).map(|value| (told.sequence, value)));
        told.max_by_key(|(sequence, _)| *sequence).map(|(_, value)| value)
    }

    /// A number of its sessions in all: each by its newest report that tells; of the conversation as a whole where no
    /// session's is known.
    fn sum(&self, read: impl Fn(&Told) -> Option<i64>) -> Option<i64> {
        let mut newest: BTreeMap<u32, (u64, i64)> = BTreeMap::new();
        for ((session, _), told) in &self.reports {
            if let Some(value) = read(told) {
                let held = newest.entry(*session).or_insert((0, 0));
                *held = (*held).max((told.sequence, value));
            }
        }
        let of_sessions = newest.range(1..).map(|(_, (_, value))| *value).reduce(i64::saturating_add);
        of_sessions.or(newest.get(&0).map(|(_, value)| *value))
    }

    /// How it stands, and since when it is over.
    fn standing(&self) -> (&'static str, Option<i64>) {
        let newest = self.sessions.last_key_value().map(|(number, opened)| (*number, opened.sequence));
        let told = self.reports.iter().map(|((session, _), told)| Verdict {
            session: *session,
            sequence: told.sequence,
            tells_outcome: told.outcome.is_some(),
            failed: told.failed,
            ended_at: told.ended_at,
        });
        standing(newest, told, self.ending)
    }
}

/// A JSON array of what is JSON; none of nothing.
fn list<'s>(items: impl Iterator<Item = &'s String>) -> Option<String> {
    let items: Vec<_> = items.map(String::as_str).collect();
    (!items.is_empty()).then(|| format!("[{}]", items.join(",")))
}
