//! What bodies hold, for the document: handlers read them field by field, to name every bad one at once.
#![expect(dead_code, reason = "they stand for bodies in the document, and are never made")]

use shared::events::{Attachment, EmotionalTone};
use shared::ids::Speaker;
use shared::limits::MAX_MESSAGES_PER_REQUEST;
use utoipa::ToSchema;

/// A login.
#[derive(ToSchema)]
pub(super) struct Login {
    /// The participant's id.
    #[schema(min_length = 1)]
    research_id: String,
    /// The participant's code, where `LOGIN_MODE=code`.
    #[schema(min_length = 4, max_length = 256)]
    access_code: Option<String>,
}

/// One turn of a conversation.
#[derive(ToSchema)]
pub(super) struct NewMessage {
    /// The participant's id: the one that the token was made for.
    #[schema(min_length = 1)]
    research_id: String,
    #[schema(inline)]
    role: Speaker,
    /// What was said, at most `MAX_CONTENT_BYTES` bytes; not blank, and free of NUL.
    #[schema(min_length = 1)]
    content: String,
    /// When, with an offset: not before 1970, and at most a day in the future.
    #[schema(format = DateTime)]
    timestamp: String,
    #[schema(pattern = "^(elevenlabs|openai)$")]
    provider: String,
    /// The conversation it belongs to; otherwise the participant's own standing one of that provider.
    #[schema(min_length = 1)]
    elevenlabs_conversation_id: Option<String>,
    /// Its own id. The same id again is a repeat, or with another content a correction.
    #[schema(min_length = 1)]
    elevenlabs_message_id: Option<String>,
}

/// Turns that were kept while the frontend was offline.
#[derive(ToSchema)]
pub(super) struct NewMessages {
    /// In the order in which they are stored.
    #[schema(min_items = 1, max_items = 500)]
    messages: Vec<NewMessage>,
}

const _: () = assert!(MAX_MESSAGES_PER_REQUEST == 500, "the bound of `messages` above is a literal");

/// What ElevenLabs posts after a call: `post_call_transcription`, `post_call_audio`, `call_initiation_failure`, and
/// what comes next. Every JSON is taken.
#[derive(ToSchema)]
pub(super) struct VendorWebhook {
    #[schema(rename = "type")]
    kind: Option<String>,
    event_timestamp: Option<f64>,
    #[schema(value_type = Option<Object>)]
    data: Option<()>,
}

/// A conversation that has ended.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ConversationEndData {
    /// Its holder's e-mail address.
    #[schema(min_length = 3, max_length = 1024, pattern = "^[^@]+@[^@]+$")]
    email_id: String,
    /// Its holder's account. Whoever wrote into the conversation first owns it; else this account does.
    #[schema(min_length = 1)]
    account_id: String,
    /// Its id; none that begins with `standing.`.
    #[schema(min_length = 1)]
    conversation_id: String,
    /// Every turn, in its order.
    #[schema(max_items = 10_000)]
    transcript: Vec<TranscriptMessage>,
    metadata: ConversationMetadata,
    /// A text, or an object with a `summary` or `text`.
    summary: Option<Summary>,
}

#[derive(ToSchema, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Summary {
    Text(String),
    Object(serde_json::Map<String, serde_json::Value>),
}

/// One turn.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct TranscriptMessage {
    /// With an offset: not before 1970, and at most a day in the future.
    #[schema(format = DateTime)]
    timestamp: String,
    #[schema(pattern = "^(user|agent)$")]
    speaker: String,
    /// At most `MAX_CONTENT_BYTES` bytes, free of NUL. A blank one is no message.
    content: String,
    /// Its own id; no other turn has it.
    #[schema(min_length = 1)]
    message_id: String,
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
}

/// Where and how it was held.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ConversationMetadata {
    #[schema(max_length = 1024)]
    session_id: Option<String>,
    #[schema(max_length = 1024)]
    agent_id: String,
    /// In seconds.
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    duration: u32,
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    message_count: u32,
    #[schema(max_length = 1024)]
    platform: String,
    #[schema(max_length = 1024)]
    user_agent: String,
}

/// What is known of a participant; what is not given stays as it is.
#[derive(ToSchema)]
pub(super) struct Profile {
    #[schema(max_length = 1024)]
    name: Option<String>,
    #[schema(minimum = 0, maximum = 150)]
    age: Option<u16>,
    #[schema(max_length = 1024)]
    location: Option<String>,
}

/// A participant, as a service enrols it; what is not given stays as it is.
#[derive(ToSchema)]
pub(super) struct Enrolment {
    /// What the participant logs in with, where `LOGIN_MODE=code`.
    #[schema(min_length = 4, max_length = 256)]
    access_code: Option<String>,
    #[schema(max_length = 1024)]
    name: Option<String>,
    #[schema(minimum = 0, maximum = 150)]
    age: Option<u16>,
    #[schema(max_length = 1024)]
    location: Option<String>,
}

/// A worker, as they stand.
#[derive(ToSchema)]
pub(super) struct NewWorker {
    /// Whose admins watch their calls.
    #[schema(min_length = 1, max_length = 256)]
    company_id: String,
    /// The number that they call from.
    #[schema(min_length = 1, max_length = 64)]
    mobile_no: String,
    #[schema(max_length = 1024)]
    name: Option<String>,
}

/// An admin, as they stand.
#[derive(ToSchema)]
pub(super) struct NewAdmin {
    /// Whose calls they watch.
    #[schema(min_length = 1, max_length = 256)]
    company_id: String,
    #[schema(max_length = 1024)]
    name: Option<String>,
}

/// A call that begins.
#[derive(ToSchema)]
pub(super) struct NewCall {
    /// Its id; otherwise made of the number and the time.
    #[schema(min_length = 1, max_length = 256)]
    call_id: Option<String>,
    /// Its conversation's id; otherwise made as the call's. None that begins with `standing.`.
    #[schema(min_length = 1)]
    conversation_id: Option<String>,
    #[schema(min_length = 1, max_length = 256)]
    worker_id: String,
    #[schema(min_length = 1, max_length = 64)]
    mobile_no: String,
    /// In the words of whoever sends it: `CRITICAL`.
    #[schema(min_length = 1, max_length = 64)]
    urgency: String,
    /// `Voice`, for example.
    #[schema(min_length = 1, max_length = 64)]
    medium: String,
    /// When it began, with an offset: not before 1970, and at most a day in the future.
    #[schema(format = DateTime)]
    timestamp: String,
}

/// One turn of a call.
#[derive(ToSchema)]
pub(super) struct NewTurn {
    /// Its own id. The same id again is a repeat, or with another content a correction.
    #[schema(min_length = 1)]
    message_id: Option<String>,
    #[schema(inline)]
    role: Speaker,
    /// What was said, at most `MAX_CONTENT_BYTES` bytes; may be left out only beside attachments.
    content: Option<String>,
    /// When, with an offset: not before 1970, and at most a day in the future.
    #[schema(format = DateTime)]
    timestamp: String,
    /// What an answer is based on.
    #[schema(max_length = 8192)]
    sources: Option<String>,
    #[schema(max_items = 16)]
    attachments: Option<Vec<Attachment>>,
}

/// Who has seen what.
#[derive(ToSchema)]
pub(super) struct Seen {
    /// Everything up to here; one of the conversation's.
    #[schema(minimum = 1)]
    sequence: u64,
}

/// Whether somebody types.
#[derive(ToSchema)]
pub(super) struct IsTyping {
    is_typing: bool,
}

/// A dream.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct NewDream {
    /// Its id; a random one otherwise. The same id again with other words changes the dream.
    #[schema(min_length = 1, max_length = 256)]
    dream_id: Option<String>,
    /// Who dreamt it: only services say so, and must.
    #[schema(min_length = 1)]
    participant_id: Option<String>,
    /// As it was told, at most `MAX_CONTENT_BYTES` bytes; not blank, and free of NUL.
    #[schema(min_length = 1)]
    raw_transcript: String,
    /// What it is about.
    #[schema(max_items = 64)]
    themes: Option<Vec<String>>,
    /// When it was told, with an offset: not before 1970, and at most a day in the future.
    #[schema(format = DateTime)]
    recorded_at: String,
}

/// What an interpreter makes of a dream.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct NewInterpretation {
    #[schema(min_length = 1, max_length = 256)]
    interpreter_id: String,
    emotional_tone: EmotionalTone,
    /// At most `MAX_CONTENT_BYTES` bytes; not blank, and free of NUL.
    #[schema(min_length = 1)]
    text: String,
}

/// With whom to talk about what.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct NewTalk {
    #[schema(min_length = 1, max_length = 256)]
    dream_id: String,
    /// One of those that `ELEVENLABS_AGENTS` names.
    interpreter_id: String,
}

/// Which talk goes on.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Refresh {
    #[schema(min_length = 1)]
    conversation_id: String,
}

/// One turn, as ElevenLabs' client hands it to a page.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct NewSaid {
    /// The conversation's id, or ElevenLabs' own id of the session that it was said in.
    #[schema(min_length = 1)]
    conversation_id: String,
    /// Who spoke; `agent` is ElevenLabs' word for `assistant`.
    #[schema(pattern = "^(user|assistant|agent)$")]
    role: String,
    /// What was said, at most `MAX_CONTENT_BYTES` bytes; not blank, and free of NUL.
    #[schema(min_length = 1)]
    content: String,
    /// When, with an offset: not before 1970, and at most a day in the future. Now, where it is not given.
    #[schema(format = DateTime)]
    timestamp: Option<String>,
    /// Its own id. The same id again is a repeat, or with another content a correction.
    #[schema(min_length = 1)]
    message_id: Option<String>,
    /// ElevenLabs' number of the utterance (`event_id` of its client, which is taken as well). With no id of its own the
    /// message is known by it: the same number of the same speaker again is a repeat or a correction.
    #[schema(minimum = 0)]
    event_id: Option<u64>,
}
