//! S0's and S1's message sync, and the batch for frontends that were offline.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde_json::{Value, json};
use shared::auth::AsParticipant;
use shared::http::{Fields, JsonObject, RequestOrigin, read_json};
use shared::ids::{MessageId, ParticipantId, Timestamp};
use shared::limits::MAX_MESSAGES_PER_REQUEST;
use shared::problem::{FieldError, Kind, Problem};

use super::stored;
use crate::App;
use crate::command::{Command, MessageRules, NotTaken, RecordMessage};
use crate::committer::{Failure, Receipt};

/// `POST /api/v1/chat/message` and `/save-message`.
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

/// `POST /api/v1/chat/messages`: up to 500, stored in order, a result for each. 200 when all are stored, 207 when some
/// are not; when none is, the problem of the first.
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
                let mut one = saved(receipt, *timestamp);
                one["sequence"] = receipt.sequence.into();
                one
            }
            (Ok(_), None) => Problem::internal("a message was stored that was not read").document(request_id),
            (Err(problem), _) => problem.document(request_id),
        })
        .collect();
    let mut response = stored(newest, json!({"success": all, "results": results})).into_response();
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

fn saved(receipt: Receipt, timestamp: Timestamp) -> Value {
    json!({"success": true, "message_id": receipt.first, "timestamp": timestamp})
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<MessageId>, Problem> {
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
