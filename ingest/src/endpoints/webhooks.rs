//! What others send of their own accord: ElevenLabs' post-call webhooks, and S3's conversation webhook.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::auth::Identity;
use shared::envelope::Origin;
use shared::events::Source;
use shared::http::openapi::{OpenWriteProblems, WriteProblems, tags};
use shared::http::{Caller, RequestOrigin, parse_json, read_body};
use shared::ids::ConversationId;
use shared::limiter::Allowances;
use shared::problem::{Kind, Problem};
use shared::report::kinds;
use utoipa::ToSchema;

use super::bodies::{ConversationEndData, VendorWebhook};
use super::stored;
use crate::App;
use crate::command::{Command, ReportConversation};
use crate::committer::{Failure, Receipt};
use crate::decide::Refusal;
use crate::erase::{self, objects_named};
use crate::webhooks::conversation::{Checked, Rules};
use crate::webhooks::elevenlabs::NotTaken;
use crate::webhooks::signature::{Signature, SignatureError, Verifier};
use crate::webhooks::sources::TurnedAway;
use crate::webhooks::spool::{SpoolError, Spooled};
use crate::webhooks::standard::Signers;

/// A webhook of ElevenLabs' is stored.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WebhookTaken {
    success: bool,
    /// The same for every repeat.
    webhook_id: String,
}

/// A conversation is stored.
#[derive(Serialize, ToSchema)]
struct ConversationTaken {
    success: bool,
    message: &'static str,
    data: Processed,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Processed {
    #[schema(value_type = String)]
    conversation_id: ConversationId,
    #[schema(format = DateTime)]
    processed_at: String,
    /// `processed`.
    status: &'static str,
    /// The same for every repeat.
    webhook_id: String,
}

/// Why a webhook is turned away: a word for metrics and the log, and what its sender is told.
struct Away(&'static str, Problem);

impl From<SpoolError> for Away {
    fn from(error: SpoolError) -> Self {
        Self(error.label(), error.into())
    }
}

impl From<NotTaken> for Away {
    fn from(error: NotTaken) -> Self {
        Self(error.label(), error.into())
    }
}

/// ElevenLabs' webhooks
///
/// Takes every webhook of ElevenLabs' that is rightly signed and is JSON: transcripts join their conversations, sounds go
/// to the object store, and what this version does not understand is kept whole for one that does. 200 says that it is
/// stored. Never rate-limited.
#[utoipa::path(
    post, path = "/api/v1/webhooks/elevenlabs", tag = tags::SERVICES, security(("elevenlabs" = [])),
    request_body(content = VendorWebhook, example = json!({
        "type": "post_call_transcription", "event_timestamp": 1_739_537_297,
        "data": {"agent_id": "agent_1", "conversation_id": "conv_abc123", "status": "done", "transcript": [
            {"role": "agent", "message": "Hello, how can I help?", "time_in_call_secs": 0}]},
    })),
    responses(
        (status = 200, description = "Stored.", body = WebhookTaken,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        OpenWriteProblems,
    ),
)]
pub(crate) async fn elevenlabs_webhook(
    State(app): State<App>,
    Caller(address): Caller,
    RequestOrigin(origin): RequestOrigin,
    request: Request,
) -> Result<Response, Problem> {
    let received_at = Utc::now();
    let mut seen = TurnedAway::new(Source::ElevenlabsWebhook, address);
    let taken = app.verified(request, received_at, &mut seen).await;
    let read = match taken {
        Ok(spooled) => app.reader.read(&spooled, received_at).await.map_err(Away::from),
        Err(away) => Err(away),
    };
    let command = read.map_err(|Away(reason, problem)| {
        app.sources.turned_away(TurnedAway { reason, ..seen.clone() }, origin.clone());
        problem
    })?;
    let kind = label(&command);
    let receipt = app.commit(command, origin, seen).await?;
    app.sources.received(Source::ElevenlabsWebhook, kind);
    Ok(stored(receipt.sequence, WebhookTaken { success: true, webhook_id: webhook_id(receipt) }))
}

/// Conversation webhook
///
/// A whole conversation, once it has ended. What was synced of it before is completed, not doubled; the same body again is
/// a repeat. With an API key, or signed as Standard Webhooks say.
#[utoipa::path(
    post, path = "/api/v1/webhook/conversation", tag = tags::SERVICES,
    security(("service" = []), ("standardWebhooks" = [])),
    request_body(content = ConversationEndData, example = json!({
        "emailId": "user@example.com", "accountId": "acc123", "conversationId": "conv_abc123",
        "transcript": [{"timestamp": "2024-01-15T10:30:00Z", "speaker": "user", "content": "Hello, I need help",
                        "messageId": "msg_123"}],
        "metadata": {"sessionId": "sess_456", "agentId": "agent_01jxn7fwb2eyq8p6k4m3en4xtm", "duration": 300,
                     "messageCount": 10, "platform": "web", "userAgent": "Mozilla/5.0..."},
    })),
    responses(
        (status = 200, description = "Stored.", body = ConversationTaken,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        WriteProblems,
    ),
)]
pub(crate) async fn conversation_webhook(
    State(app): State<App>,
    Caller(address): Caller,
    RequestOrigin(origin): RequestOrigin,
    allowances: Allowances,
    request: Request,
) -> Result<Response, Problem> {
    let received_at = Utc::now();
    app.conversation_webhooks.admit(&address.into(), &allowances)?;
    let mut seen = TurnedAway::new(Source::ConversationWebhook, address);
    let checked = app.checked(request, received_at, &mut seen).await;
    let report = checked.map_err(|Away(reason, problem)| {
        app.sources.turned_away(TurnedAway { reason, ..seen.clone() }, origin.clone());
        problem
    })?;
    let conversation = report.conversation.clone();
    let receipt = app.commit(Command::Report(Box::new(report)), origin, seen).await?;
    app.sources.received(Source::ConversationWebhook, kinds::CONVERSATION);
    let data = Processed {
        conversation_id: conversation,
        processed_at: received_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        status: "processed",
        webhook_id: webhook_id(receipt),
    };
    let message = "Conversation data received successfully";
    Ok(stored(receipt.sequence, ConversationTaken { success: true, message, data }))
}

impl App {
    /// Has it stored. A log that does not take it is a failure to its sender like any other.
    async fn commit(&self, command: Command, origin: Origin, seen: TurnedAway) -> Result<Receipt, Failure> {
        let objects = objects_named(&command);
        let outcome = self.committer.submit(command, origin.clone()).await;
        if matches!(outcome, Err(Failure::Refused(Refusal::Erased))) {
            // It was stored before it was clear whose it is.
            erase::discard(self.reader.objects(), &objects).await;
        }
        if outcome.is_err() {
            self.sources.turned_away(TurnedAway { reason: "unavailable", ..seen }, origin);
        }
        outcome
    }

    /// The body of a webhook of ElevenLabs' whose signature is good. What was seen of it stands in `seen` either way.
    async fn verified(
        &self,
        request: Request,
        received_at: DateTime<Utc>,
        seen: &mut TurnedAway,
    ) -> Result<Spooled, Away> {
        let (parts, body) = request.into_parts();
        let settings = &self.settings.webhooks;
        let unsigned = |error: SignatureError| {
            // Without a signature it is not ElevenLabs that asks, whatever is set up here.
            let not_configured = settings.secrets.is_empty() && error != SignatureError::Missing;
            let reason = if not_configured { "not_configured" } else { error.label() };
            let detail = format!("The webhook is not taken: {error}.");
            let problem = Problem::new(Kind::Unauthenticated, detail);
            Away(reason, Problem { cause: Some(reason.into()), ..problem })
        };
        let mut hash = Sha256::new();
        let outcome = match Signature::parse(&parts.headers) {
            Ok(signature) => {
                let mut verifier = Verifier::new(&signature, &settings.secrets);
                let each = |part: &[u8]| {
                    verifier.update(part);
                    hash.update(part);
                    seen.bytes += part.len() as u64;
                };
                match self.spool.take(announced(&parts.headers), body, each).await {
                    Ok(spooled) => {
                        let verified = verifier.finish(received_at, settings.window());
                        verified.map(|()| spooled).map_err(unsigned)
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => {
                let each = |part: &[u8]| {
                    hash.update(part);
                    seen.bytes += part.len() as u64;
                };
                let glanced = self.spool.glance(body, each).await;
                let Away(reason, problem) = unsigned(error);
                // Noted for its signature, whatever else is wrong with it.
                Err(Away(reason, glanced.err().map_or(problem, Problem::from)))
            }
        };
        seen.sha256 = hex::encode(hash.finalize());
        outcome
    }

    /// What a conversation webhook tells, once it is clear who sends it and that nothing is wrong with it.
    async fn checked(
        &self,
        request: Request,
        received_at: DateTime<Utc>,
        seen: &mut TurnedAway,
    ) -> Result<ReportConversation, Away> {
        let (parts, body) = request.into_parts();
        let by_key = parts.headers.contains_key(header::AUTHORIZATION) || !Signers::signed(&parts.headers);
        if by_key {
            self.only_a_service(&parts).map_err(|problem| Away("unauthenticated", problem))?;
        }
        let headers = parts.headers.clone();
        let read = read_body(Request::from_parts(parts, body), self.settings.max_body_bytes).await;
        let bytes = read.map_err(|problem| Away("unreadable", problem))?;
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        (seen.bytes, seen.sha256) = (bytes.len() as u64, hex::encode(hash));
        if !by_key {
            self.signers.verify(&bytes, &headers).map_err(|reason| {
                let detail = "The webhook-signature is not good for this body and this time.";
                let problem = Problem::new(Kind::Unauthenticated, detail);
                Away(reason, Problem { cause: Some(reason.into()), ..problem })
            })?;
        }
        let rules = Rules { max_content_bytes: self.settings.max_content_bytes, now: received_at };
        let checked = parse_json(&bytes).and_then(|body| Checked::of(body, rules));
        let checked = checked.map_err(|problem| Away("invalid", problem))?;
        let payload = self.reader.payload(bytes.to_vec(), hash).await?;
        let report = checked.report(&bytes, seen.sha256.clone(), payload, received_at);
        report.map_err(|problem| Away("invalid", problem))
    }

    fn only_a_service(&self, parts: &Parts) -> Result<(), Problem> {
        match self.authenticator.check(parts)? {
            Identity::Service => Ok(()),
            Identity::Person(_) => {
                Err(Problem::new(Kind::Forbidden, "This endpoint is only for a service's API key."))
            }
        }
    }
}

/// The length that a body says it has.
pub(super) fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// The kind of a webhook in metrics: those that are known, and one word for all others.
fn label(command: &Command) -> &'static str {
    let known = [kinds::TRANSCRIPTION, kinds::TRACES, kinds::FAILURE];
    match command {
        Command::Report(report) => known.into_iter().find(|kind| *kind == report.kind).unwrap_or("other"),
        Command::StoreAudio(_) => kinds::AUDIO,
        Command::Receive(_)
        | Command::Record(_)
        | Command::Enrol(_)
        | Command::Update(_)
        | Command::Revoke(_)
        | Command::Refuse(_)
        | Command::Call(_)
        | Command::Directory(_)
        | Command::Dream(_)
        | Command::OpenSession(_)
        | Command::Link(_)
        | Command::Erase(_) => "not_understood",
    }
}

/// The same for every repeat.
fn webhook_id(receipt: Receipt) -> String {
    format!("webhook_{}", receipt.first)
}
