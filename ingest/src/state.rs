//! The state of an aggregate, folded from its own events: as much as deciding needs.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use shared::events::{
    Admin, Call, Correction, Discussion, Dream, Enrolment, Erasure, Event, Interpretation, Message,
    Recording, Report, Session, Viewer, Worker,
};
use shared::ids::{AdminId, CompanyId, ConversationId, InterpreterId, ParticipantId};

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
    /// Of a webhook that was not understood: where it stands.
    pub unread: Option<u64>,
    /// Of a worker; absent while they are not known.
    pub worker: Option<Worker>,
    /// Of an admin.
    pub admin: Standing,
    /// Of a dream; absent while nobody told of it.
    pub dream: Option<Box<Dreamt>>,
    /// Of a participant's erasure; absent while they are not erased.
    pub erased: Option<Box<Erasure>>,
}

/// A dream, and what is made of it.
#[derive(Debug, Clone)]
pub struct Dreamt {
    /// As it stands.
    pub dream: Dream,
    /// What interpreters make of it, the newest last; one of each.
    pub interpretations: Vec<Interpretation>,
    /// Where it is talked about, and with whom.
    pub discussions: Vec<Discussion>,
}

/// What the directory says of an admin.
#[derive(Debug, Default)]
pub enum Standing {
    /// Nothing: whose they are is what their token says.
    #[default]
    Unknown,
    /// Whose they are.
    Registered(Admin),
    /// They have left.
    Removed,
}

impl Standing {
    /// Whether a token that names this company still says the truth.
    pub fn allows(&self, company: &CompanyId) -> bool {
        match self {
            Self::Unknown => true,
            Self::Registered(admin) => admin.company_id == *company,
            Self::Removed => false,
        }
    }
}

/// A conversation: who owns it, what was said, what was told of it.
#[derive(Debug, Default)]
pub struct Conversation {
    /// Whoever wrote first, or whose a service says it is.
    pub owner: Option<ParticipantId>,
    /// Messages so far, corrections not counted.
    pub messages: u64,
    /// Messages that may be met again, in the order of their ordinals: all of them, but in a standing conversation,
    /// which nobody reports, only those with a natural key.
    pub turns: Vec<Turn>,
    /// Those with a natural key, by it: places in `turns`.
    pub known: HashMap<Key, usize>,
    /// Reports by their session and kind.
    pub reports: HashMap<(u32, String), Reported>,
    /// Sounds that were stored: session, SHA-256 and sequence.
    pub audio: Vec<(u32, String, u64)>,
    /// The call that it carries, as it stands.
    pub call: Option<Box<Call>>,
    /// Where it ended.
    pub ended: Option<u64>,
    /// Who has seen it, up to which sequence.
    pub seen: HashMap<Viewer, u64>,
    /// Calls of the vendor's that could begin in it, by their number: the first is number 1.
    pub sessions: Vec<SessionState>,
    /// The conversation that this one of the vendor's is a session of.
    pub continues: Option<ConversationId>,
    /// Whose that one is.
    pub linked_to: Option<ParticipantId>,
    /// Bytes of the texts held.
    bytes: usize,
}

/// A message that would be recognised when it came again.
#[derive(Debug)]
pub struct Turn {
    /// Its number in the conversation, from 1.
    pub ordinal: u64,
    /// Every version in order, with its sequence; the first one's is the message's id for ever.
    pub versions: Vec<(ContentDigest, u64)>,
    /// Its newest version; absent in a standing conversation.
    pub message: Option<Box<Message>>,
    /// A report has said what its final text is.
    pub settled: bool,
}

/// A session of a conversation.
#[derive(Debug)]
pub struct SessionState {
    /// As it was opened.
    pub opened: Session,
    /// Something was said in it.
    pub begun: bool,
    /// Its end was told.
    pub over: bool,
}

/// What was reported of one kind.
#[derive(Debug, Default)]
pub struct Reported {
    /// Every report: SHA-256 of its body, and sequence.
    pub versions: Vec<(String, u64)>,
    /// When the newest was made, by its sender's clock.
    pub newest: Option<DateTime<Utc>>,
}

impl Turn {
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
    pub fn fold(&mut self, event: Event, sequence: u64) {
        match event {
            Event::MessageRecorded(message) => self.conversation.record(message, sequence),
            Event::MessageCorrected(correction) => self.conversation.correct(correction, sequence),
            Event::ConversationClaimed(claim) => self.conversation.owned_by(Some(&claim.participant_id)),
            Event::ConversationReported(report) => self.conversation.report(report, sequence),
            Event::AudioStored(recording) => self.conversation.audio(recording, sequence),
            Event::ParticipantEnrolled(data) | Event::ParticipantUpdated(data) => match &mut self.participant
            {
                Some(known) => merge(known, &data),
                none => *none = Some(data),
            },
            Event::TokenRevoked(_) => self.revoked = true,
            Event::WebhookReceived(_) => self.unread = Some(sequence),
            Event::WebhookRefused(_) => {}
            Event::CallOpened(call) | Event::CallChanged(call) => self.conversation.call = Some(call.into()),
            Event::CallTakenOver(handover) | Event::CallReleased(handover) => {
                self.conversation.call = Some(handover.call.into());
            }
            Event::ConversationEnded(_) => self.conversation.end(sequence),
            Event::ConversationSeen(sighting) => {
                let seen = self.conversation.seen.entry(sighting.by).or_default();
                *seen = sighting.sequence.max(*seen);
            }
            Event::WorkerRegistered(worker) => self.worker = Some(worker),
            Event::WorkerRemoved(_) => self.worker = None,
            Event::AdminRegistered(admin) => self.admin = Standing::Registered(admin),
            Event::AdminRemoved(_) => self.admin = Standing::Removed,
            Event::DreamRecorded(dream) | Event::DreamChanged(dream) => self.dreamt(dream),
            Event::DreamInterpreted(interpretation) => {
                if let Some(known) = &mut self.dream {
                    known.interpret(interpretation);
                }
            }
            Event::DreamDiscussed(discussion) => {
                if let Some(known) = &mut self.dream {
                    known.discussions.push(discussion);
                }
            }
            Event::SessionOpened(session) => self.conversation.open(session),
            Event::ConversationLinked(link) => {
                self.conversation.linked_to = Some(link.participant_id);
                self.conversation.continues = Some(link.continues);
            }
            Event::ParticipantErased(erasure) => self.erased = Some(Box::new(erasure)),
        }
    }

    /// About how many bytes this takes, for the bound of the cache.
    pub fn weight(&self) -> usize {
        const EACH: usize =
            size_of::<(Key, usize)>() + size_of::<Turn>() + size_of::<(ContentDigest, u64)>() + 64;
        512 + self.conversation.turns.len() * EACH
            + self.conversation.bytes
            + self.conversation.seen.len() * 128
            + self.conversation.sessions.len() * 1024
            + self.dream.as_deref().map_or(0, Dreamt::weight)
    }

    fn dreamt(&mut self, dream: Dream) {
        match &mut self.dream {
            Some(known) => known.dream = dream,
            none => {
                let (interpretations, discussions) = (Vec::new(), Vec::new());
                *none = Some(Box::new(Dreamt { dream, interpretations, discussions }));
            }
        }
    }
}

impl Dreamt {
    /// What this interpreter makes of it; else what the newest made of it who did.
    pub fn interpretation(&self, by: &InterpreterId) -> Option<&Interpretation> {
        let own = self.interpretations.iter().find(|known| known.interpreter_id == *by);
        own.or(self.interpretations.last())
    }

    /// Where it is talked about with this interpreter.
    pub fn discussion(&self, with: &InterpreterId) -> Option<&ConversationId> {
        let found = self.discussions.iter().find(|known| known.interpreter_id == *with);
        found.map(|known| &known.conversation_id)
    }

    fn interpret(&mut self, interpretation: Interpretation) {
        self.interpretations.retain(|known| known.interpreter_id != interpretation.interpreter_id);
        self.interpretations.push(interpretation);
    }

    fn weight(&self) -> usize {
        let texts = self.interpretations.iter().map(|known| known.text.len() + 512).sum::<usize>();
        self.dream.raw_transcript.len() + texts + self.discussions.len() * 256
    }
}

impl SessionState {
    /// Whether its call can still begin, or goes on.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        !self.over && (self.begun || now < self.opened.expires_at)
    }
}

impl Conversation {
    /// The number of the session that the vendor calls so.
    pub fn session(&self, vendor: &ConversationId) -> Option<u32> {
        let found =
            self.sessions.iter().rev().find(|session| session.opened.vendor_conversation_id == *vendor);
        found.map(|session| session.opened.number)
    }

    /// Whether this sound of this session is stored.
    pub fn has_heard(&self, session: u32, sha256: &str) -> bool {
        self.audio.iter().any(|(of, known, _)| *of == session && known == sha256)
    }

    /// The number of the newest session; 0 where there is none.
    pub fn newest_session(&self) -> u32 {
        self.sessions.last().map_or(0, |session| session.opened.number)
    }

    fn open(&mut self, session: Session) {
        self.owned_by(Some(&session.participant_id));
        self.ended = None;
        self.sessions.push(SessionState { opened: session, begun: false, over: false });
    }

    fn end(&mut self, sequence: u64) {
        self.ended = Some(sequence);
        self.sessions.iter_mut().for_each(|session| session.over = true);
    }

    /// Whether anything was said or told.
    pub fn has_begun(&self) -> bool {
        self.messages > 0
            || !self.reports.is_empty()
            || !self.audio.is_empty()
            || self.call.is_some()
            || !self.sessions.is_empty()
    }

    /// The admin who holds its call.
    pub fn holder(&self) -> Option<&AdminId> {
        self.call.as_ref()?.admin_id.as_ref()
    }

    /// The message with this natural key.
    pub fn find(&self, key: Key) -> Option<&Turn> {
        self.known.get(&key).and_then(|place| self.turns.get(*place))
    }

    /// The first owner stays.
    fn owned_by(&mut self, participant: Option<&ParticipantId>) {
        if self.owner.is_none() {
            self.owner = participant.cloned();
        }
    }

    fn said_in(&mut self, session: u32) {
        if let Some(session) = self.sessions.iter_mut().find(|known| known.opened.number == session) {
            session.begun = true;
        }
    }

    fn record(&mut self, message: Message, sequence: u64) {
        self.owned_by(message.participant_id.as_ref());
        self.messages = self.messages.max(message.ordinal);
        self.said_in(message.session);
        let key = Key::of(message.message_id.as_ref(), message.idempotency_key.as_ref());
        let standing = message.conversation_id.is_standing();
        if standing && key.is_none() {
            return;
        }
        if let Some(key) = key {
            self.known.entry(key).or_insert(self.turns.len());
        }
        let digest = digest(&message, &message.content);
        let (ordinal, settled) = (message.ordinal, message.reported);
        let message = (!standing).then(|| Box::new(message));
        self.bytes += message.as_deref().map_or(0, size);
        self.turns.push(Turn { ordinal, versions: vec![(digest, sequence)], message, settled });
    }

    fn correct(&mut self, correction: Correction, sequence: u64) {
        let Correction { first_sequence, message, sent } = correction;
        self.owned_by(message.participant_id.as_ref());
        let Some(place) = self.place_of(&message, first_sequence) else { return };
        if let Some(key) = Key::of(message.message_id.as_ref(), message.idempotency_key.as_ref()) {
            self.known.entry(key).or_insert(place);
        }
        let turn = &mut self.turns[place];
        for text in [Some(message.content.as_str()), sent.as_deref()].into_iter().flatten() {
            turn.versions.push((digest(&message, text), sequence));
        }
        if let Some(held) = &mut turn.message {
            self.bytes = self.bytes.saturating_sub(size(held)) + size(&message);
            **held = message;
        }
    }

    fn place_of(&self, message: &Message, first_sequence: u64) -> Option<usize> {
        let key = Key::of(message.message_id.as_ref(), message.idempotency_key.as_ref());
        let by_key = key.and_then(|key| self.known.get(&key).copied());
        by_key.or_else(|| self.turns.iter().position(|turn| turn.first() == first_sequence))
    }

    fn report(&mut self, report: Report, sequence: u64) {
        self.owned_by(report.participant_id.as_ref());
        let reported = self.reports.entry((report.session, report.kind)).or_default();
        reported.versions.push((report.sha256, sequence));
        if report.superseded {
            return;
        }
        reported.newest = reported.newest.max(report.reported_at);
        for session in &mut self.sessions {
            session.over |= report.session == 0 || session.opened.number == report.session;
        }
        for ordinal in report.turns.into_iter().flatten() {
            let found = self.turns.binary_search_by_key(&ordinal, |turn| turn.ordinal);
            if let Ok(place) = found {
                self.turns[place].settled = true;
            }
        }
    }

    fn audio(&mut self, recording: Recording, sequence: u64) {
        self.owned_by(recording.participant_id.as_ref());
        self.audio.push((recording.session, recording.audio.sha256, sequence));
    }
}

fn digest(message: &Message, text: &str) -> ContentDigest {
    ContentDigest::with(message.role, text, message.sources.as_deref(), &message.attachments)
}

/// Bytes of a message's texts.
fn size(message: &Message) -> usize {
    let original = message.original.as_ref().map_or(0, String::len);
    size_of::<Message>() + message.content.len() + original + 2 * message.conversation_id.as_str().len()
}

/// Lays what is given over what is known.
pub fn merge(known: &mut Enrolment, given: &Enrolment) {
    let Enrolment { participant_id: _, access_code_hash, name, age, location } = given;
    known.access_code_hash = access_code_hash.clone().or(known.access_code_hash.take());
    known.name = name.clone().or(known.name.take());
    known.age = age.or(known.age);
    known.location = location.clone().or(known.location.take());
}
