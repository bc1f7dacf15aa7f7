//! S0's and S1's message sync, and the batch for frontends that were offline.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::Utc;
use serde::Serialize;
use serde_json::Value;
use shared::auth::AsParticipant;
use shared::http::openapi::{WriteProblems, tags};
use shared::http::{Fields, JsonObject, RequestOrigin, read_json};
use shared::ids::{MessageId, ParticipantId, Timestamp};
use shared::limits::MAX_MESSAGES_PER_REQUEST;
use shared::problem::{FieldError, Kind, Problem, ProblemDocument};
use utoipa::ToSchema;

use super::bodies::{NewMessage, NewMessages};
use super::stored;
use crate::App;
use crate::command::{Command, MessageRules, NotTaken, RecordMessage};
use crate::committer::{Failure, Receipt};

/// A message is stored.
#[derive(Serialize, ToSchema)]
struct Saved {
    success: bool,
    /// The sequence of its first version in the log.
    message_id: u64,
    /// As it was given.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

/// What became of each message.
#[derive(Serialize, ToSchema)]
struct SavedAll {
    /// Whether all are stored.
    success: bool,
    /// In the order of the request.
    results: Vec<Outcome>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Outcome {
    Saved {
        #[serde(flatten)]
        saved: Saved,
        /// Where this version stands in the log.
        sequence: u64,
    },
    Refused(ProblemDocument),
}

/// Save a message
///
/// Stores one turn. Its natural key is its conversation and its own id, or the `Idempotency-Key` where it has none: a
/// repeat answers with the first one's `message_id`, and the same key with another content is a correction. With
/// neither, every request is a new message.
#[utoipa::path(
    post, path = "/api/v1/chat/message", tag = tags::PARTICIPANTS, security(("participant" = [])),
    params((
        "Idempotency-Key" = Option<String>, Header,
        description = "What makes a repeat the same message, where it has no id of its own.",
    )),
    request_body(content = NewMessage, example = json!({
        "research_id": "RID001", "role": "user", "content": "What is peripheral artery disease?",
        "timestamp": "2025-01-08T12:00:00Z", "provider": "elevenlabs",
        "elevenlabs_conversation_id": "conv_abc123", "elevenlabs_message_id": "msg_xyz789",
    })),
    responses(
        (status = 200, description = "Stored.", body = Saved,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log.")), example = json!({
            "success": true, "message_id": 123, "timestamp": "2025-01-08T12:00:00+00:00",
        })),
        WriteProblems,
    ),
)]
pub(crate) async fn save(
    State(app): State<App>,
    AsParticipant { participant, .. }: AsParticipant,
    RequestOrigin(origin): RequestOrigin,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let body = read_json(request, app.settings.max_body_bytes).await?;
    let message = RecordMessage::parse(body, String::new(), key, app.rules(&participant))?;
    let timestamp = message.timestamp;
    let receipt = app.committer.submit(Command::Record(message), origin).await?;
    Ok(stored(receipt.sequence, saved(receipt, timestamp)))
}

/// Save messages
///
/// Stores up to 500 turns in order, with a result for each. 200 when all are stored, 207 when some are not; when none
/// is, one problem for all.
#[utoipa::path(
    post, path = "/api/v1/chat/messages", tag = tags::PARTICIPANTS, security(("participant" = [])),
    request_body(content = NewMessages, example = json!({"messages": [{
        "research_id": "RID001", "role": "user", "content": "What is peripheral artery disease?",
        "timestamp": "2025-01-08T12:00:00Z", "provider": "elevenlabs",
        "elevenlabs_conversation_id": "conv_abc123", "elevenlabs_message_id": "msg_xyz789",
    }]})),
    responses(
        (status = 200, description = "All are stored.", body = SavedAll,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        (status = 207, description = "Some are stored.", body = SavedAll,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        WriteProblems,
    ),
)]
pub(crate) async fn save_all(
    State(app): State<App>,
    AsParticipant { participant, .. }: AsParticipant,
    RequestOrigin(origin): RequestOrigin,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_json(request, app.settings.max_body_bytes).await?;
    let parsed = parse_all(body, app.rules(&participant))?;
    let timestamps: Vec<_> =
        parsed.iter().map(|item| item.as_ref().ok().map(|message| message.timestamp)).collect();
    let mut results: Vec<Result<Receipt, Problem>> = Vec::with_capacity(parsed.len());
    let mut commands = Vec::with_capacity(parsed.len());
    let mut places = Vec::with_capacity(parsed.len());
    for item in parsed {
        match item {
            Ok(message) => {
                places.push(results.len());
                commands.push(Command::Record(message));
                results.push(Err(Problem::internal("a message was not answered")));
            }
            Err(why) => results.push(Err(why.into())),
        }
    }
    let answers = app.committer.submit_all(commands, &origin).await;
    for (place, answer) in places.into_iter().zip(answers) {
        results[place] = answer.map_err(|failure: Failure| failure.into());
    }
    shape(results, &timestamps, &origin.request_id)
}

fn parse_all(
    body: JsonObject,
    rules: MessageRules<'_>,
) -> Result<Vec<Result<RecordMessage, NotTaken>>, Problem> {
    let mut fields = Fields::of(body);
    let items = fields.list("messages");
    if items.as_ref().is_some_and(|items| items.is_empty() || items.len() > MAX_MESSAGES_PER_REQUEST) {
        fields.reject("messages", &format!("must hold 1 to {MAX_MESSAGES_PER_REQUEST} messages"));
    }
    let items = fields.finish(items)?;
    let parse = |(place, item)| {
        let Value::Object(object) = item else {
            let (field, message) = (format!("messages[{place}]"), "must be an object".into());
            return Err(NotTaken::Fields(vec![FieldError { field, message }]));
        };
        RecordMessage::parse(object, format!("messages[{place}]."), None, rules)
    };
    Ok(items.into_iter().enumerate().map(parse).collect())
}

fn shape(
    results: Vec<Result<Receipt, Problem>>,
    timestamps: &[Option<Timestamp>],
    request_id: &str,
) -> Result<Response, Problem> {
    let newest = results.iter().flatten().map(|receipt| receipt.sequence).max();
    let Some(newest) = newest else { return Err(none_stored(results)) };
    let all = results.iter().all(Result::is_ok);
    let results: Vec<_> = results
        .into_iter()
        .zip(timestamps)
        .map(|(result, timestamp)| match (result, timestamp) {
            (Ok(receipt), Some(timestamp)) => {
                Outcome::Saved { saved: saved(receipt, *timestamp), sequence: receipt.sequence }
            }
            (Ok(_), None) => {
                let lost = Problem::internal("a message was stored that was not read");
                Outcome::Refused(lost.document(request_id))
            }
            (Err(problem), _) => Outcome::Refused(problem.document(request_id)),
        })
        .collect();
    let mut response = stored(newest, SavedAll { success: all, results });
    if !all {
        *response.status_mut() = StatusCode::MULTI_STATUS;
    }
    Ok(response)
}

/// One problem for all: bad fields of every message together, or the first message's.
fn none_stored(results: Vec<Result<Receipt, Problem>>) -> Problem {
    let mut problems: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    if problems.iter().all(|problem| problem.kind == Kind::InvalidFields) {
        return Problem::fields(problems.into_iter().flat_map(|problem| problem.errors).collect());
    }
    problems.swap_remove(0)
}

fn saved(receipt: Receipt, timestamp: Timestamp) -> Saved {
    Saved { success: true, message_id: receipt.first, timestamp }
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<MessageId>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let wrong =
        |message: String| Problem::fields(vec![FieldError { field: "Idempotency-Key".into(), message }]);
    let text = value.to_str().map_err(|_| wrong("must be visible ASCII".into()))?;
    MessageId::try_from(text.to_owned()).map(Some).map_err(|error| wrong(error.to_string()))
}

impl App {
    fn rules<'a>(&self, participant: &'a ParticipantId) -> MessageRules<'a> {
        MessageRules { participant, max_content_bytes: self.settings.max_content_bytes, now: Utc::now() }
    }
}
