//! S2's message sync: what ElevenLabs' client hands to a page, turn by turn.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::Utc;
use serde::Serialize;
use shared::auth::AsParticipant;
use shared::http::openapi::{WriteProblems, tags};
use shared::http::{Fields, JsonObject, RequestOrigin, read_json};
use shared::ids::{ConversationId, Invalid, MessageId, ParticipantId, Provider, Speaker, Timestamp};
use shared::problem::{Kind, Problem};
use utoipa::ToSchema;

use super::bodies::NewSaid;
use super::messages::idempotency_key;
use super::stored;
use crate::App;
use crate::command::{Command, RecordMessage, content, made_id};

/// A turn is stored.
#[derive(Serialize, ToSchema)]
struct SaidSaved {
    success: bool,
    data: SavedAs,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SavedAs {
    #[schema(value_type = String)]
    conversation_id: ConversationId,
    /// What it is called in snapshots and feeds: its own id, or else one made of ElevenLabs' number, the
    /// `Idempotency-Key`, or nothing.
    #[schema(value_type = String)]
    message_id: MessageId,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

/// Save a turn of a talk
///
/// Stores what ElevenLabs' client tells a page (`onMessage`, `onAgentResponseCorrection`). The transcript that comes after
/// the call completes it and doubles nothing.
///
/// Send one after the other: messages stand in the order in which they were stored, and a correction replaces what was
/// stored before it.
#[utoipa::path(
    post, path = "/api/v1/conversations/messages", tag = tags::PARTICIPANTS, security(("participant" = [])),
    params((
        "Idempotency-Key" = Option<String>, Header,
        description = "What makes a repeat the same message, where it has neither an id nor a number.",
    )),
    request_body(content = NewSaid, example = json!({
        "conversationId": "4b0c9d5e-2f6a-4c9e-8a37-1d2e3f405162", "role": "user", "content": "I was falling.",
        "timestamp": "2025-01-08T12:00:00Z", "eventId": 3,
    })),
    responses(
        (status = 200, description = "Stored.", body = SaidSaved,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        WriteProblems,
    ),
)]
pub(crate) async fn save_said(
    State(app): State<App>,
    AsParticipant { participant, .. }: AsParticipant,
    RequestOrigin(origin): RequestOrigin,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let body = read_json(request, app.settings.max_body_bytes).await?;
    let mut message = app.said(body, participant)?;
    let conversation_id = message.conversation.clone();
    let message_id = match message.message_id.clone() {
        Some(own) => own,
        None => app.name(&mut message, key).await?,
    };
    message.message_id = Some(message_id.clone());
    let timestamp = message.timestamp;
    let receipt = app.committer.submit(Command::Record(message), origin).await?;
    let data = SavedAs { conversation_id, message_id, timestamp };
    Ok(stored(receipt.sequence, SaidSaved { success: true, data }))
}

impl App {
    fn said(&self, body: JsonObject, participant: ParticipantId) -> Result<RecordMessage, Problem> {
        let now = Utc::now();
        let mut fields = Fields::of(body);
        let conversation = fields.required("conversationId", ConversationId::try_from);
        let role = fields.required("role", |text| match text.as_str() {
            "user" => Ok(Speaker::User),
            "assistant" | "agent" => Ok(Speaker::Assistant),
            _ => Err(Invalid("must be \"user\", \"assistant\" or \"agent\"".into())),
        });
        let content = fields.required("content", |text| content(text, self.settings.max_content_bytes));
        let timestamp = fields.optional("timestamp", |text| Timestamp::parse(&text, now));
        let message_id = fields.optional("messageId", MessageId::try_from);
        let numbers = 0..=i64::MAX.unsigned_abs();
        let event_id = fields.integer("eventId", numbers.clone());
        let event_id = event_id.or(fields.integer("event_id", numbers));
        let ((conversation, role), content) = fields.finish(conversation.zip(role).zip(content))?;
        if conversation.is_standing()
            && conversation != ConversationId::standing(Provider::Elevenlabs, &participant)
        {
            return Err(Problem::new(Kind::Forbidden, "This conversation belongs to another participant."));
        }
        Ok(RecordMessage {
            participant: Some(participant),
            conversation,
            message_id,
            idempotency_key: None,
            role,
            content,
            timestamp: timestamp.unwrap_or_else(Timestamp::now),
            provider: Provider::Elevenlabs,
            event_id,
            sources: None,
            attachments: Vec::new(),
            session: 0,
        })
    }

    /// An id for a message that came without one. The vendor counts in each session anew, so its number is good together
    /// with the session's id; the session is settled with it.
    async fn name(&self, message: &mut RecordMessage, key: Option<MessageId>) -> Result<MessageId, Problem> {
        let Some(number) = message.event_id else {
            let parts = key.as_ref().map(|key| [message.conversation.as_str(), key.as_str()]);
            return MessageId::try_from(made_id(parts)).map_err(|_| Problem::internal("a made id is none"));
        };
        let newest = self.committer.look_at(&message.conversation, |known, session| {
            let newest = known.sessions.last().filter(|_| session == 0).map(|newest| &newest.opened);
            newest.map(|newest| (newest.number, newest.vendor_conversation_id.clone()))
        });
        let (session, vendor) = newest.await?.unwrap_or_else(|| (0, message.conversation.clone()));
        message.session = session;
        let parts = [vendor.as_str(), message.role.as_str(), &number.to_string()];
        MessageId::try_from(made_id(Some(parts))).map_err(|_| Problem::internal("a made id is none"))
    }
}
