//! S2's talks with interpreters: ElevenLabs' sessions, from the browser's side.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Serialize;
use shared::audit::{Credential, Looker, Trail, What};
use shared::auth::AsParticipant;
use shared::http::openapi::{ReadProblems, SessionProblems, tags};
use shared::http::{Fields, RequestOrigin, read_json};
use shared::ids::{ConversationId, DreamId, ParticipantId, Timestamp};
use shared::limiter::Allowances;
use shared::problem::Problem;
use utoipa::ToSchema;

use super::bodies::{NewTalk, Refresh};
use super::{named, stored};
use crate::App;
use crate::context::DynamicVariables;
use crate::session::{Opened, Validity, Why};

/// A session can begin.
#[derive(Serialize, ToSchema)]
struct TalkReady {
    success: bool,
    data: Talk,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Talk {
    /// The same for every session of this dream and interpreter.
    #[schema(value_type = String)]
    conversation_id: ConversationId,
    /// Good for one call, which must begin within 15 minutes.
    signed_url: String,
    dynamic_variables: DynamicVariables,
    /// There were sessions before.
    is_resumed: bool,
    /// Messages so far.
    message_count: u64,
}

/// A session can begin, in a talk that goes on.
#[derive(Serialize, ToSchema)]
struct TalkRefreshed {
    success: bool,
    data: Refreshed,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Refreshed {
    #[schema(value_type = String)]
    conversation_id: ConversationId,
    /// Good for one call.
    signed_url: String,
    /// Until when it must begin.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// How a session stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct TalkChecked {
    success: bool,
    data: Checked,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Checked {
    #[schema(value_type = String)]
    conversation_id: ConversationId,
    /// A call can begin, or goes on.
    valid: bool,
    /// Until when a call can begin; one that began goes on.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Why it is not valid.
    #[schema(inline)]
    reason: Option<Reason>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// The call is over: `init` resumes it.
    Ended,
    /// No call began in time: `refresh-token` or `init` give a new URL.
    Expired,
    /// The conversation was not begun by `init`.
    NoSession,
}

/// Begin or resume a talk
///
/// Finds the conversation of this participant, dream and interpreter, or opens it, and asks ElevenLabs for a signed URL
/// whose conversation is known to be part of it before the call starts. What agents are told is in `dynamicVariables`; what
/// is not known of it is empty. Each call of `init` opens a session of its own.
#[utoipa::path(
    post, path = "/api/v1/conversations/elevenlabs/init", tag = tags::PARTICIPANTS, security(("participant" = [])),
    request_body(content = NewTalk, example = json!({
        "dreamId": "7f3c1f6e-7c1c-4a3b-9f43-0a0f5f3d6a11", "interpreterId": "jung",
    })),
    responses(
        (status = 200, description = "A call can begin.", body = TalkReady,
         headers(("Turnlog-Sequence" = u64, description = "Where the session stands in the log."))),
        SessionProblems,
    ),
)]
pub(crate) async fn init(
    State(app): State<App>,
    AsParticipant { participant, .. }: AsParticipant,
    RequestOrigin(origin): RequestOrigin,
    allowances: Allowances,
    trail: Trail,
    request: Request,
) -> Result<Response, Problem> {
    app.admit_session(&participant, &allowances)?;
    let mut fields = Fields::of(read_json(request, app.settings.max_body_bytes).await?);
    let dream = fields.required("dreamId", DreamId::try_from);
    let interpreter = fields.required("interpreterId", |name| app.settings.interpreters.find(name));
    let (dream, interpreter) = fields.finish(dream.zip(interpreter))?;
    let issued = trail.of(Looker::participant(&participant), What::TokenIssued);
    let begun = app.begin(participant, dream, interpreter, origin).await?;
    let Opened { conversation, signed_url, sequence, expires_at } = begun.opened;
    let issued = issued.of(&conversation, None);
    app.record_issued(issued, Credential::SignedUrl, None, expires_at.instant()).await?;
    let data = Talk {
        conversation_id: conversation,
        signed_url,
        dynamic_variables: begun.variables,
        is_resumed: begun.is_resumed,
        message_count: begun.message_count,
    };
    Ok(stored(sequence, TalkReady { success: true, data }))
}

/// Refresh a talk's URL
///
/// A signed URL is good for one call: this gives another one of the same conversation, as long as it has not ended.
#[utoipa::path(
    post, path = "/api/v1/conversations/elevenlabs/refresh-token", tag = tags::PARTICIPANTS,
    security(("participant" = [])),
    request_body(content = Refresh, example = json!({"conversationId": "4b0c9d5e-2f6a-4c9e-8a37-1d2e3f405162"})),
    responses(
        (status = 200, description = "A call can begin.", body = TalkRefreshed,
         headers(("Turnlog-Sequence" = u64, description = "Where the session stands in the log."))),
        SessionProblems,
    ),
)]
pub(crate) async fn refresh_token(
    State(app): State<App>,
    AsParticipant { participant, .. }: AsParticipant,
    RequestOrigin(origin): RequestOrigin,
    allowances: Allowances,
    trail: Trail,
    request: Request,
) -> Result<Response, Problem> {
    app.admit_session(&participant, &allowances)?;
    let mut fields = Fields::of(read_json(request, app.settings.max_body_bytes).await?);
    let conversation = fields.required("conversationId", ConversationId::try_from);
    let conversation = fields.finish(conversation)?;
    let issued = trail.of(Looker::participant(&participant), What::TokenIssued);
    let opened = app.go_on(participant, &conversation, origin).await?;
    let Opened { conversation: conversation_id, signed_url, expires_at, sequence } = opened;
    let issued = issued.of(&conversation_id, None);
    app.record_issued(issued, Credential::SignedUrl, None, expires_at.instant()).await?;
    let data = Refreshed { conversation_id, signed_url, expires_at };
    Ok(stored(sequence, TalkRefreshed { success: true, data }))
}

/// Validate a session
///
/// Whether a call can begin in this conversation, or goes on; and if not, why.
#[utoipa::path(
    get, path = "/api/v1/conversations/elevenlabs/validate-session/{conversation_id}", tag = tags::PARTICIPANTS,
    security(("participant" = [])),
    params(("conversation_id" = String, Path, description = "The conversation's id.",
            example = "4b0c9d5e-2f6a-4c9e-8a37-1d2e3f405162")),
    responses((status = 200, description = "How it stands.", body = TalkChecked), ReadProblems),
)]
pub(crate) async fn validate_session(
    State(app): State<App>,
    AsParticipant { participant, .. }: AsParticipant,
    Path(id): Path<String>,
) -> Result<Json<TalkChecked>, Problem> {
    let conversation_id: ConversationId = named(id)?;
    let (valid, expires_at, reason) = match app.validity(&participant, &conversation_id).await? {
        Validity::Valid(expires_at) => (true, Some(expires_at), None),
        Validity::Invalid(why, expires_at) => {
            let reason = match why {
                Why::Ended => Reason::Ended,
                Why::Expired => Reason::Expired,
                Why::NoSession => Reason::NoSession,
            };
            (false, expires_at, Some(reason))
        }
    };
    let expires_at = expires_at.map(|at| Timestamp::from_parts(at, 0));
    Ok(Json(TalkChecked { success: true, data: Checked { conversation_id, valid, expires_at, reason } }))
}

impl App {
    /// Each session is a request to the vendor: no page in a loop may use up everybody's.
    fn admit_session(&self, participant: &ParticipantId, allowances: &Allowances) -> Result<(), Problem> {
        self.sessions.admit(&crate::limiter::short(participant), allowances)
    }
}
