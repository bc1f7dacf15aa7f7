//! What a caller wants: parsed at the edge into types that cannot be wrong, so that nothing behind it checks again.

mod owner;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use shared::events::{
    Admin, Attachment, Call, Dream, EmotionalTone, Enrolment, Erasure, Link, Payload, Recording, Refusal,
    Revocation, Session, Source, Unread, Viewer, Worker,
};
use shared::http::{Fields, JsonObject};
use shared::ids::{
    AdminId, ConversationId, DreamId, InterpreterId, Invalid, MessageId, ParticipantId, Provider, Speaker,
    Timestamp, WorkerId, no_nul,
};
use shared::problem::{FieldError, Kind, Problem};
use shared::report;
use shared::subjects::{Aggregate, Subject};
use uuid::Uuid;

/// Most characters of a name or a place.
const MAX_PROFILE_BYTES: usize = 1_024;
/// Bytes of an access code: long enough to be a secret, short enough not to burn the hash's time.
const ACCESS_CODE_BYTES: std::ops::RangeInclusive<usize> = 4..=256;

/// Something to be done to one aggregate.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Take in a turn, or a correction of one.
    Record(RecordMessage),
    /// Make sure that the participant is known.
    Enrol(ParticipantId),
    /// Enrol, or change what is given.
    Update(Enrolment),
    /// Give up a token.
    Revoke(Revocation),
    /// Take in what somebody tells of a whole conversation.
    Report(Box<ReportConversation>),
    /// Take in the sound of a conversation, which is stored already.
    StoreAudio(Recording),
    /// Keep a webhook that was not understood.
    Receive(Unread),
    /// Note that a webhook was turned away.
    Refuse(Refusal),
    /// Something about a conversation's call.
    Call(OnCall),
    /// Something about the directory.
    Directory(OnDirectory),
    /// Something about a dream.
    Dream(OnDream),
    /// A call of the vendor's can begin; its number is given where it is decided.
    OpenSession(Box<Session>),
    /// A conversation of the vendor's is a session of one of ours.
    Link(Link),
    /// A participant is erased: what the record says of it is done already.
    Erase(Box<Erasure>),
}

/// Something about a dream, by whoever dreamt it, or by a service.
#[derive(Debug, Clone, PartialEq)]
pub struct OnDream {
    /// Which one.
    pub dream: DreamId,
    /// Who says so; absent where a service does.
    pub by: Option<ParticipantId>,
    /// What.
    pub told: Told,
}

/// What can be said of a dream.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// The dream itself, for the first time or otherwise than before.
    Dream(Dream),
    /// What an interpreter makes of it.
    Interpretation {
        /// Who.
        interpreter: InterpreterId,
        /// How it feels.
        tone: EmotionalTone,
        /// In words.
        text: String,
    },
    /// It is talked about with this interpreter in this conversation, unless there is one already.
    Discussion(InterpreterId, ConversationId),
}

/// Something to be done to a conversation that carries a call.
#[derive(Debug, Clone, PartialEq)]
pub struct OnCall {
    /// Which one.
    pub conversation: ConversationId,
    /// What.
    pub deed: Deed,
}

/// What can be done to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Open it, or change what is known of it.
    Open(Call),
    /// This admin takes it over.
    TakeOver(AdminId),
    /// This admin gives it back.
    Release(AdminId),
    /// It ends, at the word of this admin or of a service.
    End(Option<AdminId>, Timestamp),
    /// Somebody has seen it up to a sequence.
    See(Viewer, u64),
}

/// Something to be done to the directory.
#[derive(Debug, Clone, PartialEq)]
pub enum OnDirectory {
    /// Make a worker known, or change them.
    RegisterWorker(Worker),
    /// A worker leaves.
    RemoveWorker(WorkerId),
    /// Make an admin known, or change them.
    RegisterAdmin(Admin),
    /// An admin leaves.
    RemoveAdmin(AdminId),
}

/// What somebody tells of a whole conversation, read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportConversation {
    /// Which one.
    pub conversation: ConversationId,
    /// The session that it tells of; 0 where it has none, and for all of them.
    pub session: u32,
    /// Whose it is, where a service says so.
    pub participant: Option<ParticipantId>,
    /// Who tells.
    pub source: Source,
    /// Of which kind.
    pub kind: String,
    /// When it was made, by its sender's clock.
    pub reported_at: Option<DateTime<Utc>>,
    /// When it came in.
    pub received_at: DateTime<Utc>,
    /// SHA-256 of the body, hexadecimal.
    pub sha256: String,
    /// Its turns.
    pub turns: Vec<report::Turn>,
    /// When the conversation began, for turns that do not say when they were.
    pub started_at: Option<DateTime<Utc>>,
    /// The body.
    pub payload: Payload,
}

/// A turn, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordMessage {
    /// Who sends it, and owns the conversation; absent where a service tells of a call.
    pub participant: Option<ParticipantId>,
    /// Where it belongs.
    pub conversation: ConversationId,
    /// Its own id.
    pub message_id: Option<MessageId>,
    /// The caller's key for it, where it has no id of its own.
    pub idempotency_key: Option<MessageId>,
    /// Who spoke.
    pub role: Speaker,
    /// What was said.
    pub content: String,
    /// When.
    pub timestamp: Timestamp,
    /// Through which frontend.
    pub provider: Provider,
    /// The vendor's own number of the utterance.
    pub event_id: Option<u64>,
    /// What an answer is based on.
    pub sources: Option<String>,
    /// What came with it besides words.
    pub attachments: Vec<Attachment>,
    /// The session that it was said in; 0 for the newest.
    pub session: u32,
}

impl Command {
    /// The aggregate that this is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Record(message) => Subject::conversation(&message.conversation),
            Self::Enrol(id) => Subject::participant(id),
            Self::Update(enrolment) => Subject::participant(&enrolment.participant_id),
            Self::Revoke(revocation) => Subject::of(Aggregate::Token, &revocation.token_id),
            Self::Report(report) => Subject::conversation(&report.conversation),
            Self::StoreAudio(recording) => Subject::conversation(&recording.conversation_id),
            Self::Receive(unread) => Subject::of(Aggregate::Webhook, &unread.sha256),
            Self::Refuse(refusal) => Subject::of(Aggregate::Source, refusal.source.as_str()),
            Self::Call(on) => Subject::conversation(&on.conversation),
            Self::Directory(on) => match on {
                OnDirectory::RegisterWorker(worker) => Subject::worker(&worker.worker_id),
                OnDirectory::RemoveWorker(id) => Subject::worker(id),
                OnDirectory::RegisterAdmin(admin) => Subject::admin(&admin.admin_id),
                OnDirectory::RemoveAdmin(id) => Subject::admin(id),
            },
            Self::Dream(on) => Subject::dream(&on.dream),
            Self::OpenSession(session) => Subject::conversation(&session.conversation_id),
            Self::Link(link) => Subject::conversation(&link.conversation_id),
            Self::Erase(erasure) => Subject::erasure(&erasure.participant_id),
        }
    }

    /// The conversation that it is about, where that may be one of the vendor's that is a session of ours.
    pub fn conversation(&self) -> Option<&ConversationId> {
        match self {
            Self::Record(message) => Some(&message.conversation),
            Self::Report(report) => Some(&report.conversation),
            Self::StoreAudio(recording) => Some(&recording.conversation_id),
            Self::Call(on) => Some(&on.conversation),
            Self::Enrol(_)
            | Self::Update(_)
            | Self::Revoke(_)
            | Self::Receive(_)
            | Self::Refuse(_)
            | Self::Directory(_)
            | Self::Dream(_)
            | Self::OpenSession(_)
            | Self::Link(_)
            | Self::Erase(_) => None,
        }
    }

    /// Has it be about the conversation that the one it names is a session of.
    pub fn redirect(&mut self, to: &ConversationId, session: u32) {
        match self {
            Self::Record(message) => (message.conversation, message.session) = (to.clone(), session),
            Self::Report(report) => (report.conversation, report.session) = (to.clone(), session),
            Self::StoreAudio(audio) => (audio.conversation_id, audio.session) = (to.clone(), session),
            Self::Call(on) => on.conversation = to.clone(),
            Self::Enrol(_)
            | Self::Update(_)
            | Self::Revoke(_)
            | Self::Receive(_)
            | Self::Refuse(_)
            | Self::Directory(_)
            | Self::Dream(_)
            | Self::OpenSession(_)
            | Self::Link(_)
            | Self::Erase(_) => {}
        }
    }

    /// Whether it is about its aggregate as a whole, so that what comes after it waits for it.
    pub fn is_of_whole(&self) -> bool {
        match self {
            Self::Record(_) => false,
            Self::Enrol(_)
            | Self::Update(_)
            | Self::Revoke(_)
            | Self::Report(_)
            | Self::StoreAudio(_)
            | Self::Receive(_)
            | Self::Refuse(_)
            | Self::Call(_)
            | Self::Directory(_)
            | Self::Dream(_)
            | Self::OpenSession(_)
            | Self::Link(_)
            | Self::Erase(_) => true,
        }
    }

    /// Whether it may make several events, which are stored together.
    pub fn makes_several(&self) -> bool {
        matches!(self, Self::Report(_))
    }

    /// What makes a repeat of this command the same command, within its aggregate.
    pub fn natural_key(&self) -> Option<Key> {
        match self {
            Self::Record(message) => message.key(),
            Self::Enrol(_)
            | Self::Update(_)
            | Self::Revoke(_)
            | Self::Report(_)
            | Self::StoreAudio(_)
            | Self::Receive(_)
            | Self::Refuse(_)
            | Self::Call(_)
            | Self::Directory(_)
            | Self::Dream(_)
            | Self::OpenSession(_)
            | Self::Link(_)
            | Self::Erase(_) => None,
        }
    }
}

/// A message's natural key within its conversation, hashed: bounded, whatever the id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// From the message's own id, or else the caller's key; the two never meet.
    pub fn of(message_id: Option<&MessageId>, idempotency_key: Option<&MessageId>) -> Option<Self> {
        match (message_id, idempotency_key) {
            (Some(id), _) => Some(Self(hash("id", &[id.as_str()]))),
            (None, Some(key)) => Some(Self(hash("key", &[key.as_str()]))),
            (None, None) => None,
        }
    }
}

/// What was said and by whom, hashed: two versions with the same digest are the same message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentDigest([u8; 16]);

impl ContentDigest {
    /// Of one version.
    pub fn of(role: Speaker, content: &str) -> Self {
        Self(hash(role.as_str(), &[content]))
    }

    /// Of one version with what came with it.
    pub fn with(role: Speaker, content: &str, sources: Option<&str>, attachments: &[Attachment]) -> Self {
        if sources.is_none() && attachments.is_empty() {
            return Self::of(role, content);
        }
        let beside = serde_json::json!([sources, attachments]).to_string();
        Self(hash(role.as_str(), &[content, "\0", &beside]))
    }
}

/// An id for something that came without one: made of what makes it the same thing when it comes again, else random.
pub(crate) fn made_id<const N: usize>(parts: Option<[&str; N]>) -> String {
    let Some(parts) = parts else { return Uuid::new_v4().to_string() };
    // With their lengths: what one part ends with must not be what the next one begins with.
    let lengths = parts.map(|part| part.len().to_string()).join(",");
    let bytes = hash(&lengths, &parts);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

fn hash(domain: &str, parts: &[&str]) -> [u8; 16] {
    let mut hasher = Sha256::new().chain_update(domain).chain_update([0]);
    for part in parts {
        hasher.update(part);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize()[..16]);
    short
}

/// What a message is checked against.
#[derive(Debug, Clone, Copy)]
pub struct MessageRules<'a> {
    /// Whose token it came with.
    pub participant: &'a ParticipantId,
    /// Most bytes of content.
    pub max_content_bytes: usize,
    /// The server's clock.
    pub now: DateTime<Utc>,
}

/// Why a message was not taken: the problem if it came alone, its bad fields if it came with others.
#[derive(Debug)]
pub enum NotTaken {
    /// Fields are wrong.
    Fields(Vec<FieldError>),
    /// It is somebody else's.
    NotYours,
}

impl From<NotTaken> for Problem {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::Fields(errors) => Self::fields(errors),
            NotTaken::NotYours => {
                Self::new(Kind::Forbidden, "research_id must be the one that the token was made for.")
            }
        }
    }
}

impl RecordMessage {
    /// What makes a repeat of this message the same message.
    pub fn key(&self) -> Option<Key> {
        Key::of(self.message_id.as_ref(), self.idempotency_key.as_ref())
    }

    /// Reads S0's `MessageSaveRequest`. `path` stands before the names of bad fields.
    ///
    /// # Errors
    /// [`NotTaken`], with every bad field.
    pub fn parse(
        object: JsonObject,
        path: String,
        idempotency_key: Option<MessageId>,
        rules: MessageRules<'_>,
    ) -> Result<Self, NotTaken> {
        let mut fields = Fields::at(object, path);
        let research_id = fields.required("research_id", ParticipantId::try_from);
        let role = fields.required("role", |text| Speaker::try_from(text.as_str()));
        let content = fields.required("content", |text| content(text, rules.max_content_bytes));
        let timestamp = fields.required("timestamp", |text| Timestamp::parse(&text, rules.now));
        let provider = fields.required("provider", |text| Provider::try_from(text.as_str()));
        let conversation = fields.optional("elevenlabs_conversation_id", ConversationId::try_from);
        let message_id = fields.optional("elevenlabs_message_id", MessageId::try_from);
        let event_id = fields.integer("event_id", 0..=i64::MAX.unsigned_abs());
        let errors = fields.into_errors();
        let (Some(research_id), Some(role), Some(content), Some(timestamp), Some(provider), true) =
            (research_id, role, content, timestamp, provider, errors.is_empty())
        else {
            return Err(NotTaken::Fields(errors));
        };
        if research_id != *rules.participant {
            return Err(NotTaken::NotYours);
        }
        let standing = ConversationId::standing(provider, &research_id);
        let conversation = conversation.unwrap_or_else(|| standing.clone());
        // An id of the reserved form belongs to its participant, whoever writes first.
        if conversation.is_standing() && conversation != standing {
            return Err(NotTaken::NotYours);
        }
        let idempotency_key = idempotency_key.filter(|_| message_id.is_none());
        let participant = Some(research_id);
        Ok(Self {
            participant,
            conversation,
            message_id,
            idempotency_key,
            role,
            content,
            timestamp,
            provider,
            event_id,
            sources: None,
            attachments: Vec::new(),
            session: 0,
        })
    }
}

pub(crate) fn content(text: String, most: usize) -> Result<String, Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid("must not be blank".into()));
    }
    if text.len() > most {
        return Err(Invalid(format!("must be at most {most} bytes of UTF-8, this is {}", text.len())));
    }
    no_nul(text)
}

/// A profile and an access code as a caller gave them: the code is still to be hashed.
#[derive(Debug)]
pub struct ProfileRequest {
    /// Everything but the code.
    pub enrolment: Enrolment,
    /// The code in clear.
    pub access_code: Option<String>,
}

impl ProfileRequest {
    /// Reads `{access_code?, name?, age?, location?}`; the code only where `with_code`.
    ///
    /// # Errors
    /// The problem that names every bad field.
    pub fn parse(
        object: JsonObject,
        participant_id: ParticipantId,
        with_code: bool,
    ) -> Result<Self, Problem> {
        let mut fields = Fields::of(object);
        let access_code = fields.optional("access_code", access_code);
        if access_code.is_some() && !with_code {
            fields.reject("access_code", "can only be set by a service");
        }
        let name = fields.optional("name", short_text);
        let age = fields.integer("age", 0..=150).and_then(|age| u16::try_from(age).ok());
        let location = fields.optional("location", short_text);
        let enrolment = Enrolment { participant_id, access_code_hash: None, name, age, location };
        fields.finish(Some(Self { enrolment, access_code }))
    }
}

pub(crate) fn short_text(text: String) -> Result<String, Invalid> {
    if text.len() > MAX_PROFILE_BYTES {
        return Err(Invalid(format!("must be at most {MAX_PROFILE_BYTES} bytes")));
    }
    no_nul(text)
}

/// Checks the form of an access code.
///
/// # Errors
/// When it is too short or too long.
pub fn access_code(text: String) -> Result<String, Invalid> {
    if !ACCESS_CODE_BYTES.contains(&text.len()) {
        return Err(Invalid("must be 4 to 256 bytes".into()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(body: Value) -> Result<RecordMessage, NotTaken> {
        let Value::Object(object) = body else { panic!("no object") };
        let participant = ParticipantId::try_from("RID001".to_owned()).unwrap();
        let rules = MessageRules { participant: &participant, max_content_bytes: 100, now: Utc::now() };
        RecordMessage::parse(object, String::new(), None, rules)
    }

    fn body() -> Value {
        json!({"research_id": "RID001", "role": "user", "content": "Hello", "timestamp": "2025-01-08T12:00:00Z",
               "provider": "elevenlabs"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = body();
        body[name] = value;
        body
    }

    #[test]
    fn a_message_without_conversation_goes_to_the_standing_one_of_its_provider() {
        assert_eq!(parse(body()).unwrap().conversation.as_str(), "standing.elevenlabs.RID001");
        assert_eq!(
            parse(with("provider", json!("openai"))).unwrap().conversation.as_str(),
            "standing.openai.RID001"
        );
        let named = parse(with("elevenlabs_conversation_id", json!("conv_1"))).unwrap();
        assert_eq!(named.conversation.as_str(), "conv_1");
    }

    #[test]
    fn nobody_claims_another_participants_standing_conversation() {
        let theirs = with("elevenlabs_conversation_id", json!("standing.elevenlabs.RID002"));
        assert!(matches!(parse(theirs), Err(NotTaken::NotYours)));
        assert!(parse(with("elevenlabs_conversation_id", json!("standing.elevenlabs.RID001"))).is_ok());
        assert!(matches!(parse(with("research_id", json!("RID002"))), Err(NotTaken::NotYours)));
    }

    #[test]
    fn every_bad_field_is_named_at_once() {
        let bad = json!({"research_id": 7, "role": "system", "content": " \n ", "timestamp": "2025-01-08T12:00:00",
                         "elevenlabs_conversation_id": "", "elevenlabs_message_id": ["x"]});
        let Err(NotTaken::Fields(errors)) = parse(bad) else { panic!("was taken") };
        let names: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        let all = [
            "research_id",
            "role",
            "content",
            "timestamp",
            "provider",
            "elevenlabs_conversation_id",
            "elevenlabs_message_id",
        ];
        assert_eq!(names, all);
    }

    #[test]
    fn content_is_bounded_in_bytes_and_free_of_nul() {
        assert!(parse(with("content", json!("é".repeat(50)))).is_ok());
        assert!(parse(with("content", json!("é".repeat(51)))).is_err());
        assert!(parse(with("content", json!("a\0b"))).is_err());
    }

    #[test]
    fn an_own_id_and_a_callers_key_of_the_same_text_are_two_keys() {
        let id = MessageId::try_from("x".to_owned()).unwrap();
        assert_ne!(Key::of(Some(&id), None), Key::of(None, Some(&id)));
        assert_eq!(Key::of(Some(&id), None), Key::of(Some(&id), Some(&id)));
        assert_eq!(Key::of(None, None), None);
    }
}
