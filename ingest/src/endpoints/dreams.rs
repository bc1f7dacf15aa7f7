//! S2's data sources: dreams, and what interpreters make of them.

use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::Utc;
use serde::Serialize;
use serde_json::Value;
use shared::auth::{AnyCaller, Grant, Identity, Who};
use shared::events::{Dream, EmotionalTone};
use shared::http::openapi::{NamedWriteProblems, tags};
use shared::http::{Fields, RequestOrigin, read_json};
use shared::ids::{DreamId, InterpreterId, Invalid, ParticipantId, Timestamp, no_nul};
use shared::problem::{FieldError, Kind, Problem};
use utoipa::ToSchema;

use super::bodies::{NewDream, NewInterpretation};
use super::messages::idempotency_key;
use super::stored;
use crate::App;
use crate::command::{Command, OnDream, Told, content, made_id};

/// Most themes of one dream.
const MAX_THEMES: usize = 64;
/// Bytes of a theme or a feeling: a few words.
const MAX_WORD_BYTES: usize = 256;

/// A dream is known.
#[derive(Serialize, ToSchema)]
struct DreamTold {
    success: bool,
    data: ToldOf,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ToldOf {
    #[schema(value_type = String)]
    dream_id: DreamId,
    /// Where it stands in the log.
    sequence: u64,
}

/// An interpretation is known.
#[derive(Serialize, ToSchema)]
struct DreamInterpreted {
    success: bool,
    data: InterpretedBy,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InterpretedBy {
    #[schema(value_type = String)]
    dream_id: DreamId,
    #[schema(value_type = String)]
    interpreter_id: InterpreterId,
    /// Where it stands in the log.
    sequence: u64,
}

/// Tell a dream
///
/// Stores a dream. The same id again is a repeat, or with other words a change; without an id the `Idempotency-Key` says
/// what is a repeat. A participant tells its own, a service anybody's.
#[utoipa::path(
    post, path = "/api/v1/dreams", tag = tags::PARTICIPANTS, security(("participant" = []), ("service" = [])),
    params((
        "Idempotency-Key" = Option<String>, Header,
        description = "What makes a repeat the same dream, where it has no id of its own.",
    )),
    request_body(content = NewDream, example = json!({
        "dreamId": "7f3c1f6e-7c1c-4a3b-9f43-0a0f5f3d6a11",
        "rawTranscript": "I was flying over the sea, and then I fell.", "themes": ["flying", "falling"],
        "recordedAt": "2025-01-08T07:30:00+05:30",
    })),
    responses(
        (status = 200, description = "Stored.", body = DreamTold,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        NamedWriteProblems,
    ),
)]
pub(crate) async fn tell(
    State(app): State<App>,
    AnyCaller(identity): AnyCaller,
    RequestOrigin(origin): RequestOrigin,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let by = teller(identity)?;
    let key = idempotency_key(&headers)?;
    let mut fields = Fields::of(read_json(request, app.settings.max_body_bytes).await?);
    let dream_id = fields.optional("dreamId", DreamId::try_from);
    let named = fields.optional("participantId", ParticipantId::try_from);
    let raw_transcript =
        fields.required("rawTranscript", |text| content(text, app.settings.max_content_bytes));
    let themes = themes(&mut fields);
    let recorded_at = fields.required("recordedAt", |text| Timestamp::parse(&text, Utc::now()));
    if by.is_none() && named.is_none() {
        fields.reject("participantId", "is required of a service");
    }
    let participant = by.clone().or(named.clone());
    let ((raw_transcript, recorded_at), participant_id) =
        fields.finish(raw_transcript.zip(recorded_at).zip(participant))?;
    if named.is_some_and(|named| named != participant_id) {
        let detail = "participantId must be the one that the token was made for.";
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    let dream_id = match dream_id {
        Some(id) => id,
        None => made_id(key.as_ref().map(|key| [participant_id.as_str(), key.as_str()]))
            .try_into()
            .map_err(|_| Problem::internal("a made id is none"))?,
    };
    let dream = Dream { dream_id: dream_id.clone(), participant_id, raw_transcript, themes, recorded_at };
    let on = OnDream { dream: dream_id.clone(), by, told: Told::Dream(dream) };
    let sequence = app.committer.submit(Command::Dream(on), origin).await?.sequence;
    Ok(stored(sequence, DreamTold { success: true, data: ToldOf { dream_id, sequence } }))
}

/// Tell an interpretation
///
/// Stores what an interpreter makes of a dream, in the place of what they made of it before.
#[utoipa::path(
    post, path = "/api/v1/dreams/{dream_id}/interpretations", tag = tags::PARTICIPANTS,
    security(("participant" = []), ("service" = [])),
    params(("dream_id" = String, Path, description = "The dream's id, at most 256 bytes.",
            example = "7f3c1f6e-7c1c-4a3b-9f43-0a0f5f3d6a11")),
    request_body(content = NewInterpretation, example = json!({
        "interpreterId": "jung", "emotionalTone": {"primary": "anxiety", "secondary": "fear", "intensity": 0.8},
        "text": "Falling is a loss of control.",
    })),
    responses(
        (status = 200, description = "Stored.", body = DreamInterpreted,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        NamedWriteProblems,
    ),
)]
pub(crate) async fn interpret(
    State(app): State<App>,
    AnyCaller(identity): AnyCaller,
    RequestOrigin(origin): RequestOrigin,
    Path(dream): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let by = teller(identity)?;
    let dream_id = DreamId::try_from(dream).map_err(|error| {
        Problem::fields(vec![FieldError { field: "dreamId".into(), message: error.to_string() }])
    })?;
    let mut fields = Fields::of(read_json(request, app.settings.max_body_bytes).await?);
    let interpreter = fields.required("interpreterId", InterpreterId::try_from);
    let tone = tone(&mut fields);
    let text = fields.required("text", |text| content(text, app.settings.max_content_bytes));
    let ((interpreter, tone), text) = fields.finish(interpreter.zip(tone).zip(text))?;
    let interpreter_id = interpreter.clone();
    let told = Told::Interpretation { interpreter, tone, text };
    let on = OnDream { dream: dream_id.clone(), by, told };
    let sequence = app.committer.submit(Command::Dream(on), origin).await?.sequence;
    let data = InterpretedBy { dream_id, interpreter_id, sequence };
    Ok(stored(sequence, DreamInterpreted { success: true, data }))
}

/// A participant, for themselves; nobody where a service tells.
fn teller(identity: Identity) -> Result<Option<ParticipantId>, Problem> {
    match identity {
        Identity::Service => Ok(None),
        Identity::Person(Grant { who: Who::Participant(id), .. }) => Ok(Some(id)),
        Identity::Person(_) => {
            let detail = "This endpoint is only for a participant's token or a service's API key.";
            Err(Problem::new(Kind::Forbidden, detail))
        }
    }
}

fn themes(fields: &mut Fields) -> Vec<String> {
    let items = fields.optional_list("themes").unwrap_or_default();
    if items.len() > MAX_THEMES {
        fields.reject("themes", &format!("must be at most {MAX_THEMES}"));
        return Vec::new();
    }
    let mut themes = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        let theme = match item {
            Value::String(text) => word(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err(Invalid("must be a string".into()))
            }
        };
        match theme {
            Ok(theme) => themes.push(theme),
            Err(error) => fields.reject(&format!("themes[{place}]"), &error.to_string()),
        }
    }
    themes
}

fn tone(fields: &mut Fields) -> Option<EmotionalTone> {
    let mut inner = Fields::at(fields.object("emotionalTone")?, "emotionalTone.".into());
    let primary = inner.required("primary", word);
    let secondary = inner.optional("secondary", word);
    let intensity = inner.number("intensity", 0.0..=1.0);
    fields.note(inner.into_errors());
    Some(EmotionalTone { primary: primary?, secondary, intensity })
}

fn word(text: String) -> Result<String, Invalid> {
    if text.trim().is_empty() || text.len() > MAX_WORD_BYTES {
        return Err(Invalid(format!("must be 1 to {MAX_WORD_BYTES} bytes, not blank")));
    }
    no_nul(text)
}
