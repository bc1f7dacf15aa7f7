//! Lists of calls' conversations (S4): what an admin may see of them, newest first, page by page.

pub(crate) mod wanted;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use shared::audit::What;
use shared::auth::AnyCaller;
use shared::http::Handover;
use shared::http::openapi::{ListProblems, tags};
use shared::limits::READ_WAIT;
use shared::problem::Problem;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::feed::calls::Wish;
use crate::feed::sse;
use crate::list::Cursor;
use crate::looks::Trail;
use crate::query::{Queried, Wrong};
use crate::router::Edge;
use crate::tables::ReadError;
use crate::tables::calls::CallListing;
use crate::tickets::Watcher;
use crate::view::ListedView;

use wanted::{Parameters, Wanted};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct CallList {
    success: bool,
    /// Newest first, by when their calls were opened.
    conversations: Vec<ListedView>,
    /// Conversations on a page.
    limit: u8,
    /// Gets the next page, however deep, at the cost of the first; null on the last one.
    cursor: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct StreamParameters {
    after: Option<String>,
}

impl CallListing {
    /// The page that is wanted. `seal` makes the text of the cursor of the next one.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    async fn page(
        &mut self,
        wanted: &Wanted,
        seal: impl FnOnce(&Cursor) -> String,
    ) -> Result<CallList, ReadError> {
        let (rows, next) = self.first(&wanted.filter, wanted.before, wanted.limit.into()).await?;
        let cursor = next.map(|before| seal(&Cursor::new(&wanted.filter, wanted.limit, 1, before)));
        let conversations = rows.into_iter().map(|row| row.view).collect();
        Ok(CallList { success: true, conversations, limit: wanted.limit, cursor })
    }
}

/// Conversations of calls
///
/// Newest first: those whose calls the admin holds, and those of their company's workers that nobody holds. Services list
/// all. Pages go by `cursor`, each at the cost of the first; calls that are opened meanwhile stand before the first page,
/// so a walk gives none twice and leaves none out that was there all the time.
#[utoipa::path(
    get, path = "/api/conversations", tag = tags::READERS,
    security(("admin" = []), ("service" = []), ("session" = [])),
    params(
        ("status" = Option<String>, Query, description = "`ACTIVE`, `ENDED` or `FAILED`."),
        ("urgency" = Option<String>, Query, description = "Of this urgency, as it was given.", example = "CRITICAL"),
        ("medium" = Option<String>, Query, description = "Of this medium, as it was given.", example = "Voice"),
        ("worker_id" = Option<String>, Query, description = "Of this worker."),
        ("admin_id" = Option<String>, Query, description = "Held by this admin."),
        ("limit" = Option<u64>, Query, description = "From 1 to 100; 20 when it is left out."),
        ("cursor" = Option<String>, Query, description = "That of the page before, with the same filters."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer shows it, or is 503 in 2 s."),
    ),
    responses((status = 200, description = "A page of them.", body = CallList), ListProblems),
)]
pub(crate) async fn calls(
    State(edge): State<Edge>,
    AnyCaller(identity): AnyCaller,
    trail: Trail,
    Queried(parameters): Queried<Parameters>,
) -> Result<Json<CallList>, Problem> {
    let wanted = parameters.parse(&edge.list_cursors, &identity)?;
    let deadline = Instant::now() + READ_WAIT;
    let mut listing = edge.tables.calls_at(&identity, wanted.after, deadline).await?;
    let page = listing.page(&wanted, |cursor| edge.list_cursors.seal(&identity, cursor)).await?;
    drop(listing);
    let look = trail.look(&identity, What::List);
    let look = look.map(|look| look.with("asked", wanted.asked()).with("count", page.conversations.len()));
    edge.looks.record(look).await?;
    Ok(Json(page))
}

/// Live feed of calls
///
/// Server-sent events of the open calls that the caller may see, as `GET /api/conversations?status=ACTIVE` lists them,
/// until the credential ends. The answer begins with `retry: 2000`; each frame is `event`, `id`, and `data`, one line of
/// JSON:
///
/// | event | data | when |
/// |---|---|---|
/// | `initial` | `{conversations, cursor}` | first: the newest 500; where there are more, `cursor` goes on with them at `GET /api/conversations?status=ACTIVE` |
/// | `conversation` | one of them, whole | it came into sight, or its call changed; messages alone are told by its own feed |
/// | `ended` | `{message, conversation_id}` | it ended |
/// | `removed` | `{conversation_id}` | it went out of sight: another admin took it over, or its worker is of another company |
/// | `heartbeat` | `{timestamp, status}` | every 30 seconds, without an id |
/// | `expiring` | `{conversation_id: null, expires_at}` | once, a minute before the token expires, without an id |
/// | `error` | `{error, conversation_id: null}` | why the server closes the feed now, without an id |
///
/// It is a state, not a log: a client that comes back, with whatever `Last-Event-ID`, gets a fresh `initial`. Several
/// changes of a call in quick succession may be told as one.
#[utoipa::path(
    get, path = "/api/conversations/stream", tag = tags::READERS,
    security(("admin" = []), ("service" = []), ("session" = []), ("ticket" = [])),
    params(
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer shows it, or is 503 in 2 s."),
    ),
    responses(
        (status = 200, description = "The feed.", body = String, content_type = "text/event-stream",
         example = "retry: 2000\n\nevent: removed\nid: 1-42\ndata: {\"conversation_id\":\"conv_abc123\"}\n\n"),
        ListProblems,
    ),
)]
pub(crate) async fn calls_stream(
    State(edge): State<Edge>,
    Watcher(identity): Watcher,
    trail: Trail,
    Queried(StreamParameters { after }): Queried<StreamParameters>,
    Extension(handover): Extension<Handover>,
) -> Result<Response, Problem> {
    let mut wrong = Wrong::default();
    let after = wrong.after(after.as_deref());
    let wish = wrong.finish(Wish { identity, after, trail })?;
    let feed = edge.feeds.join_calls(wish).await?;
    Ok(sse::answer(handover.lend(feed)))
}
