//! Calls: opened and told turn by turn by a service, held and ended by admins.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::Utc;
use serde::Serialize;
use shared::auth::{AnyCaller, AsAdmin, AsService, Grant, Identity, OwnPage, Who};
use shared::envelope::Origin;
use shared::events::Viewer;
use shared::http::openapi::{CallCommandProblems, CallWriteProblems, tags};
use shared::http::{Fields, RequestOrigin, read_json};
use shared::ids::{AdminId, ConversationId, Timestamp};
use shared::live::Typing;
use shared::problem::{Kind, Problem};
use utoipa::ToSchema;

use super::bodies::{IsTyping, NewCall, NewTurn, Seen};
use super::messages::idempotency_key;
use super::{named, stored};
use crate::App;
use crate::call::{Standing, denied, parse, parse_turn};
use crate::command::{Command, Deed, OnCall};

/// A call is open.
#[derive(Serialize, ToSchema)]
struct Opened {
    success: bool,
    call_id: String,
    conversation_id: String,
    /// Where it stands in the log.
    sequence: u64,
}

/// Open a call
///
/// Opens a call and its conversation, with the ids `call_<digits>_<date>_<time>` and `conv_<digits>_<date>_<time>` where
/// none are given. The same again changes nothing; another urgency or medium changes the call.
#[utoipa::path(
    post, path = "/api/calls", tag = tags::SERVICES, security(("service" = [])),
    request_body(content = NewCall, example = json!({
        "worker_id": "worker_919325590143", "mobile_no": "+919325590143", "urgency": "CRITICAL", "medium": "Voice",
        "timestamp": "2025-10-03T11:58:04+05:30",
    })),
    responses(
        (status = 200, description = "Open.", body = Opened,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        CallWriteProblems,
    ),
)]
pub(crate) async fn open(
    State(app): State<App>,
    _service: AsService,
    RequestOrigin(origin): RequestOrigin,
    request: Request,
) -> Result<Response, Problem> {
    let call = parse(read_json(request, app.settings.max_body_bytes).await?, Utc::now())?;
    let (call_id, conversation) = (call.call_id.to_string(), call.conversation_id.clone());
    let conversation_id = conversation.to_string();
    let sequence = app.on_call(conversation, Deed::Open(call), origin).await?;
    Ok(stored(sequence, Opened { success: true, call_id, conversation_id, sequence }))
}

/// A turn is stored.
#[derive(Serialize, ToSchema)]
struct TurnSaved {
    success: bool,
    conversation_id: String,
    /// The sequence of its first version in the log.
    message_id: u64,
    /// Where this version stands in the log.
    sequence: u64,
}

/// Save a turn of a call
///
/// Its natural key is its `message_id`, or the `Idempotency-Key` where it has none. What comes after the end is stored
/// and shown, marked late. An attachment names the `url` where somebody else keeps it, or the `media_id` of an upload;
/// the size and the media type of an upload are known and need not be told.
#[utoipa::path(
    post, path = "/api/conversation/{id}/messages", tag = tags::SERVICES, security(("service" = [])),
    params(
        ("id" = String, Path, description = "The conversation's id.", example = "conv_919325590143_20251003_115804"),
        ("Idempotency-Key" = Option<String>, Header,
         description = "What makes a repeat the same turn, where it has no id of its own."),
    ),
    request_body(content = NewTurn, example = json!({
        "role": "assistant", "content": "Call for help now.", "timestamp": "2025-10-03T11:58:18+05:30",
        "sources": "OSHA Safety Standards",
    })),
    responses(
        (status = 200, description = "Stored.", body = TurnSaved,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        CallWriteProblems,
    ),
)]
pub(crate) async fn save_turn(
    State(app): State<App>,
    _service: AsService,
    RequestOrigin(origin): RequestOrigin,
    Path(id): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let conversation: ConversationId = named(id)?;
    let key = idempotency_key(&headers)?;
    let body = read_json(request, app.settings.max_body_bytes).await?;
    let conversation_id = conversation.to_string();
    let mut turn = parse_turn(body, conversation, key, app.settings.max_content_bytes, Utc::now())?;
    app.media.describe(&mut turn.attachments).await?;
    let receipt = app.committer.submit(Command::Record(turn), origin).await?;
    let (message_id, sequence) = (receipt.first, receipt.sequence);
    Ok(stored(sequence, TurnSaved { success: true, conversation_id, message_id, sequence }))
}

/// What became of a call.
#[derive(Serialize, ToSchema)]
struct Done {
    success: bool,
    conversation_id: String,
    /// The admin who holds it now.
    #[schema(required)]
    admin_id: Option<String>,
    /// Where it stands in the log.
    sequence: u64,
}

/// Take a call over
///
/// The first taker wins; another is answered 409, naming who holds it.
#[utoipa::path(
    post, path = "/api/conversation/{id}/takeover", tag = tags::READERS, security(("admin" = [])),
    params(("id" = String, Path, description = "The conversation's id.", example = "conv_919325590143_20251003_115804")),
    responses(
        (status = 200, description = "It is theirs.", body = Done,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        CallCommandProblems,
    ),
)]
pub(crate) async fn take_over(
    State(app): State<App>,
    AsAdmin { admin, company }: AsAdmin,
    RequestOrigin(origin): RequestOrigin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let conversation: ConversationId = named(id)?;
    app.standing(&admin, &company, &conversation).await?;
    let conversation_id = conversation.to_string();
    let sequence = app.on_call(conversation, Deed::TakeOver(admin.clone()), origin).await?;
    let admin_id = Some(admin.into());
    Ok(stored(sequence, Done { success: true, conversation_id, admin_id, sequence }))
}

/// Give a call back
///
/// Everybody of the worker's company sees it again.
#[utoipa::path(
    post, path = "/api/conversation/{id}/release", tag = tags::READERS, security(("admin" = [])),
    params(("id" = String, Path, description = "The conversation's id.", example = "conv_919325590143_20251003_115804")),
    responses(
        (status = 200, description = "Nobody holds it.", body = Done,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        CallCommandProblems,
    ),
)]
pub(crate) async fn release(
    State(app): State<App>,
    AsAdmin { admin, company }: AsAdmin,
    RequestOrigin(origin): RequestOrigin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let conversation: ConversationId = named(id)?;
    app.standing(&admin, &company, &conversation).await?;
    let conversation_id = conversation.to_string();
    let sequence = app.on_call(conversation, Deed::Release(admin), origin).await?;
    Ok(stored(sequence, Done { success: true, conversation_id, admin_id: None, sequence }))
}

/// A conversation has ended.
#[derive(Serialize, ToSchema)]
struct Over {
    success: bool,
    conversation_id: String,
    /// Where it stands in the log.
    sequence: u64,
}

/// End a conversation
///
/// Ends it and its call; feeds are told and close. A service ends any, an admin the one that they hold.
#[utoipa::path(
    post, path = "/api/conversation/{id}/end", tag = tags::READERS, security(("service" = []), ("admin" = [])),
    params(("id" = String, Path, description = "The conversation's id.", example = "conv_919325590143_20251003_115804")),
    responses(
        (status = 200, description = "Ended.", body = Over,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        CallCommandProblems,
    ),
)]
pub(crate) async fn end(
    State(app): State<App>,
    AnyCaller(identity): AnyCaller,
    RequestOrigin(origin): RequestOrigin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let conversation: ConversationId = named(id)?;
    let by: Option<AdminId> = match identity {
        Identity::Service => None,
        Identity::Person(Grant { who: Who::Admin { id: admin, company }, .. }) => {
            app.standing(&admin, &company, &conversation).await?;
            Some(admin)
        }
        Identity::Person(_) => {
            let detail = "This endpoint is only for a service's API key or an admin's token.";
            return Err(Problem::new(Kind::Forbidden, detail));
        }
    };
    let conversation_id = conversation.to_string();
    let sequence = app.on_call(conversation, Deed::End(by, Timestamp::now()), origin).await?;
    Ok(stored(sequence, Over { success: true, conversation_id, sequence }))
}

/// Say what was seen
///
/// A read receipt: the caller has seen the conversation up to this sequence.
#[utoipa::path(
    post, path = "/api/conversation/{id}/seen", tag = tags::READERS,
    security(("admin" = []), ("participant" = []), ("session" = [])),
    params(("id" = String, Path, description = "The conversation's id.", example = "conv_919325590143_20251003_115804")),
    request_body(content = Seen, example = json!({"sequence": 1})),
    responses(
        (status = 200, description = "Stored.", body = Over,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        CallWriteProblems,
    ),
)]
pub(crate) async fn see(
    State(app): State<App>,
    OwnPage(identity): OwnPage,
    RequestOrigin(origin): RequestOrigin,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let conversation: ConversationId = named(id)?;
    let mut fields = Fields::of(read_json(request, app.settings.max_body_bytes).await?);
    let sequence = fields.required_integer("sequence", 1..=i64::MAX.unsigned_abs());
    let seen = fields.finish(sequence)?;
    let viewer = app.viewer(identity, &conversation).await?;
    let conversation_id = conversation.to_string();
    let sequence = app.on_call(conversation, Deed::See(viewer, seen), origin).await?;
    Ok(stored(sequence, Over { success: true, conversation_id, sequence }))
}

/// It is shown.
#[derive(Serialize, ToSchema)]
pub(crate) struct Shown {
    success: bool,
}

/// Say that somebody types
///
/// Shown on the open feeds of the others, and kept nowhere.
#[utoipa::path(
    post, path = "/api/conversation/{id}/typing", tag = tags::READERS,
    security(("admin" = []), ("participant" = []), ("session" = [])),
    params(("id" = String, Path, description = "The conversation's id.", example = "conv_919325590143_20251003_115804")),
    request_body(content = IsTyping, example = json!({"is_typing": true})),
    responses((status = 200, description = "Shown.", body = Shown), CallWriteProblems),
)]
pub(crate) async fn typing(
    State(app): State<App>,
    OwnPage(identity): OwnPage,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Shown>, Problem> {
    let conversation: ConversationId = named(id)?;
    let mut fields = Fields::of(read_json(request, app.settings.max_body_bytes).await?);
    let is_typing = fields.flag("is_typing");
    let is_typing = fields.finish(is_typing)?;
    let by = app.viewer(identity, &conversation).await?;
    let conversation_id = app.committer.home_of(conversation).await?;
    let typing = Typing { conversation_id, by, is_typing };
    app.channel
        .typing(&typing)
        .await
        .map_err(|error| Problem::unavailable("It cannot be shown just now; go on without.", error))?;
    Ok(Json(Shown { success: true }))
}

impl App {
    async fn on_call(
        &self,
        conversation: ConversationId,
        deed: Deed,
        origin: Origin,
    ) -> Result<u64, Problem> {
        let command = Command::Call(OnCall { conversation, deed });
        Ok(self.committer.submit(command, origin).await?.sequence)
    }

    /// The person who looks at a conversation, if they may.
    async fn viewer(&self, identity: Identity, conversation: &ConversationId) -> Result<Viewer, Problem> {
        match identity {
            Identity::Person(Grant { who: Who::Admin { id: admin, company }, .. }) => {
                match self.standing(&admin, &company, conversation).await? {
                    Standing::Reads => Ok(Viewer::Admin(admin)),
                    Standing::Colleagues => Err(denied()),
                }
            }
            Identity::Person(Grant { who: Who::Participant(id), .. }) => {
                self.owns(&id, conversation).await?;
                Ok(Viewer::Participant(id))
            }
            Identity::Person(_) | Identity::Service => Err(Problem::new(
                Kind::Forbidden,
                "This endpoint is only for a participant's or an admin's token.",
            )),
        }
    }
}
