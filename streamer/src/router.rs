//! All routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, FromRef, FromRequestParts, Path, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use shared::audit::{Refusals, What, refused};
use shared::auth::{AnyCaller, Authenticator};
use shared::http::openapi::{DocumentProblems, ListProblems, ReadProblems, tags};
use shared::http::{Connections, Handover};
use shared::ids::ConversationId;
use shared::limits::READ_WAIT;
use shared::problem::{Kind, Problem};
use shared::subjects::Subject;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{may_ask_status, may_list, may_read};
use crate::analytics;
use crate::calls;
use crate::document::{Document, File, Parameters as ExportParameters, Typesetter};
use crate::feed::join::{Feeds, Wish};
use crate::feed::replay::Tempo;
use crate::feed::sse;
use crate::feed::{reader, websocket as socket};
use crate::limits::{MAX_MESSAGE_BYTES, SOCKET_BUFFER_BYTES};
use crate::list::{ConversationList, Cursors, Parameters as ListParameters};
use crate::looks::{Looks, Trail, range};
use crate::media::{self, Media};
use crate::past::{self, Moment, Past};
use crate::query::{self, Queried, Wrong};
use crate::search::{Parameters as SearchParameters, SearchResults};
use crate::status::{Parameters as StatusParameters, StatusDetail};
use crate::tables::{ReadError, Tables};
use crate::tickets::{self, Tickets, Watcher};
use crate::view::ConversationView;

/// What the endpoints share. Each uses what it needs.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) tickets: Tickets,
    pub(crate) tables: Tables,
    pub(crate) looks: Looks,
    pub(crate) refusals: Refusals,
    pub(crate) feeds: Arc<Feeds>,
    pub(crate) list_cursors: Cursors,
    pub(crate) search_cursors: Cursors,
    pub(crate) typesetter: Typesetter,
    pub(crate) media: Media,
    pub(crate) past: Past,
}

impl FromRef<Edge> for Authenticator {
    fn from_ref(edge: &Edge) -> Self {
        edge.tickets.auth.clone()
    }
}

impl FromRef<Edge> for Looks {
    fn from_ref(edge: &Edge) -> Self {
        edge.looks.clone()
    }
}

impl FromRef<Edge> for Tickets {
    fn from_ref(edge: &Edge) -> Self {
        edge.tickets.clone()
    }
}

/// Every endpoint of the read edge.
pub(crate) fn routes(edge: Edge) -> OpenApiRouter {
    let refusals = edge.refusals.clone();
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(calls::calls))
        .routes(routes!(calls::calls_stream))
        .routes(routes!(search))
        .routes(routes!(analytics::messages))
        .routes(routes!(analytics::conversations))
        .routes(routes!(analytics::answers))
        .routes(routes!(conversation))
        .routes(routes!(status))
        .routes(routes!(export))
        .routes(routes!(media::audio))
        .routes(routes!(media::attachment))
        .routes(routes!(stream))
        .routes(routes!(websocket))
        .routes(routes!(tickets::stream_ticket))
        .with_state(edge)
        .layer(middleware::from_fn_with_state(refusals, refused))
}

#[derive(Serialize, ToSchema)]
struct Snapshot {
    success: bool,
    conversation: ConversationView,
}

/// Snapshot of a conversation
///
/// The whole conversation with its messages, however it came in. A participant reads its own, an admin those of calls that
/// they hold or that nobody of their company does; services and researchers read all.
///
/// With `as_of` it is the conversation as it stood then: after the event of that sequence, or after the last one that was
/// stored by that time (a time to come is now). Who may read it is asked of today, and what was erased since is not shown.
/// Before it began it is 404.
#[utoipa::path(
    get, path = "/api/conversation/{id}", tag = tags::READERS,
    security(("participant" = []), ("admin" = []), ("researcher" = []), ("service" = []), ("session" = [])),
    params(
        ("id" = String, Path, description = "The conversation's id.", example = "conv_abc123"),
        ("as_of" = Option<String>, Query, description = "A sequence of the log, or a time in RFC 3339."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer shows it, or is 503 in 2 s."),
    ),
    responses(
        (status = 200, description = "The conversation.", body = Snapshot, example = json!({
            "success": true,
            "conversation": {
                "conversation_id": "conv_919325590143_20251003_115804", "call_id": null, "worker_id": null,
                "mobile_no": null, "urgency": null, "status": "ACTIVE", "medium": null,
                "timestamp": "2025-10-03T11:58:04+05:30",
                "messages": [{
                    "message_id": "msg_919325590143_20251003_115804_0001", "role": "user",
                    "content": "My friend is falling from a floor, what should I do?",
                    "timestamp": "2025-10-03T11:58:04+05:30", "sources": "", "sequence": 41,
                    "provider": "elevenlabs",
                }],
                "total_messages": 1, "admin_id": null,
            },
        })),
        ReadProblems,
    ),
)]
async fn conversation(
    State(edge): State<Edge>,
    AnyCaller(identity): AnyCaller,
    trail: Trail,
    Named(id): Named,
    Asked { after, as_of, .. }: Asked,
) -> Result<Json<Snapshot>, Problem> {
    let deadline = Instant::now() + READ_WAIT;
    let up_to = match as_of {
        Some(moment) => Some(edge.past.sequence("as_of", moment).await?),
        None => None,
    };
    let subject = Subject::conversation(&id);
    // What was stored a moment ago may be asked for.
    let at_least = after.max(up_to.unwrap_or_default());
    let mut reading = edge.tables.open_at(&identity, subject.token(), may_read, at_least, deadline).await?;
    let id = reading.id(id);
    let conversation = match up_to {
        Some(up_to) => edge.past.conversation(reading, &id, up_to).await?,
        None => {
            let conversation = reading.conversation().await?;
            // Others need the connection while the look is recorded.
            drop(reading);
            conversation
        }
    };
    let look = trail.look(&identity, What::Snapshot);
    let look = look.map(|look| look.of(&id, range(&conversation.messages)));
    let look = look.map(|look| up_to.into_iter().fold(look, |look, up_to| look.with("as_of", up_to)));
    edge.looks.record(look).await?;
    Ok(Json(Snapshot { success: true, conversation }))
}

/// Conversation as a file
///
/// The whole conversation, with what webhooks told of it, as it was at one position of the log: the same conversation as
/// of the same sequence is the same file, byte for byte.
///
/// - `json`: the snapshot, with `as_of_sequence` and `report`.
/// - `csv`: a row for each message, UTF-8 with a byte order mark, as spreadsheets expect it. A cell that begins like a
///   formula (`=`, `+`, `-`, `@`, tab, return) has an apostrophe before it.
/// - `txt`: to be read as it is; UTF-8, and what was said is indented.
/// - `pdf`: to be printed, in any script that there is a font for; a conversation that would take too many pages is 413.
#[utoipa::path(
    get, path = "/api/conversation/{id}/export", tag = tags::READERS,
    security(("participant" = []), ("admin" = []), ("researcher" = []), ("service" = []), ("session" = [])),
    params(
        ("id" = String, Path, description = "The conversation's id.", example = "conv_abc123"),
        ("format" = Option<String>, Query, description = "`json`, `pdf`, `csv` or `txt`; json when it is left out."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer shows it, or is 503 in 2 s."),
    ),
    responses(
        (status = 200, description = "The file.", content(
            (Document = "application/json"), (String = "application/pdf"), (String = "text/csv"),
            (String = "text/plain"),
        ), headers(("Content-Disposition" = String, description = "`attachment`, and a name for the file."))),
        DocumentProblems,
    ),
)]
async fn export(
    State(edge): State<Edge>,
    AnyCaller(identity): AnyCaller,
    trail: Trail,
    Named(id): Named,
    Queried(parameters): Queried<ExportParameters>,
) -> Result<File, Problem> {
    let (after, format) = parameters.parse()?;
    let subject = Subject::conversation(&id);
    let deadline = Instant::now() + READ_WAIT;
    let mut reading = edge.tables.open_at(&identity, subject.token(), may_read, after, deadline).await?;
    let id = reading.id(id);
    let document = reading.document().await?;
    // Others need the connection while this is written.
    drop(reading);
    let look = trail.look(&identity, What::Export);
    edge.looks.record(look.map(|look| look.of(&id, range(&document.conversation.messages)))).await?;
    document.write(format, &edge.typesetter).await
}

/// Status of a conversation
///
/// What became of it, and what webhooks told of it.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}", tag = tags::READERS,
    security(("participant" = []), ("service" = []), ("session" = [])),
    params(
        ("id" = String, Path, description = "The conversation's id.", example = "conv_abc123"),
        ("include" = Option<String>, Query, description = "`turns`: every turn of each session's newest transcript, too."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer shows it, or is 503 in 2 s."),
    ),
    responses((status = 200, description = "Its status.", body = StatusDetail), ReadProblems),
)]
async fn status(
    State(edge): State<Edge>,
    AnyCaller(identity): AnyCaller,
    trail: Trail,
    Named(id): Named,
    Queried(parameters): Queried<StatusParameters>,
) -> Result<Json<StatusDetail>, Problem> {
    let (after, parts) = parameters.parse()?;
    let subject = Subject::conversation(&id);
    let deadline = Instant::now() + READ_WAIT;
    let mut reading =
        edge.tables.open_at(&identity, subject.token(), may_ask_status, after, deadline).await?;
    let id = reading.id(id);
    let status = reading.status(parts).await?;
    let read_to = reading.position();
    drop(reading);
    let look = trail.look(&identity, What::Status);
    edge.looks.record(look.map(|look| look.of(&id, Some((1, read_to))))).await?;
    Ok(Json(status))
}

/// Conversations
///
/// Newest first; a participant's are its own. A page further on costs what the first one costs when it is asked for by the
/// `cursor` of the page before.
#[utoipa::path(
    get, path = "/api/v1/conversations", tag = tags::READERS,
    security(("participant" = []), ("service" = []), ("session" = [])),
    params(
        ("email_id" = Option<String>, Query, description = "Of this e-mail address."),
        ("account_id" = Option<String>, Query, description = "Of this account."),
        ("status" = Option<String>, Query, description = "`active`, `completed` or `failed`."),
        ("page" = Option<u64>, Query, description = "From 1; not together with `cursor`."),
        ("limit" = Option<u64>, Query, description = "From 1 to 100; 20 when it is left out."),
        ("cursor" = Option<String>, Query, description = "That of the page before, with the same filters."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer shows it, or is 503 in 2 s."),
    ),
    responses((status = 200, description = "A page of them.", body = ConversationList), ListProblems),
)]
async fn list(
    State(edge): State<Edge>,
    AnyCaller(identity): AnyCaller,
    trail: Trail,
    Queried(parameters): Queried<ListParameters>,
) -> Result<Json<ConversationList>, Problem> {
    let wanted = parameters.parse(&edge.list_cursors, &identity)?;
    let deadline = Instant::now() + READ_WAIT;
    let mut listing = edge.tables.list_at(&identity, may_list, wanted.after, deadline).await?;
    let page = listing.page(&wanted, |cursor| edge.list_cursors.seal(&identity, cursor)).await?;
    drop(listing);
    let look = trail.look(&identity, What::List);
    let look = look.map(|look| look.with("asked", wanted.asked()).with("count", page.conversations.len()));
    edge.looks.record(look).await?;
    Ok(Json(page))
}

/// Search in messages
///
/// All words must be there, in any order, script, case and width; Latin, Greek, Hebrew and Arabic letters with or without
/// their marks. `"a phrase"` must be there as it is, `begin*` may go on, `-not` must not be there. A newer version of a
/// message replaces the one before. Nobody finds what they may not read.
#[utoipa::path(
    get, path = "/api/v1/search", tag = tags::READERS,
    security(("participant" = []), ("admin" = []), ("researcher" = []), ("service" = []), ("session" = [])),
    params(
        ("q" = String, Query, description = "What to look for, at most 500 characters and 64 words.", example = "help"),
        ("conversation_id" = Option<String>, Query, description = "Only in this conversation."),
        ("role" = Option<String>, Query, description = "Only what `user` or `assistant` said."),
        ("from" = Option<String>, Query, description = "Only what was said at this time or later, in RFC 3339."),
        ("to" = Option<String>, Query, description = "Only what was said before this time, in RFC 3339."),
        ("limit" = Option<u64>, Query, description = "From 1 to 100; 20 when it is left out."),
        ("cursor" = Option<String>, Query, description = "That of the page before, with the same search."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer finds it, or is 503 in 2 s."),
    ),
    responses((status = 200, description = "A page of what was found.", body = SearchResults), ReadProblems),
)]
async fn search(
    State(edge): State<Edge>,
    AnyCaller(identity): AnyCaller,
    trail: Trail,
    Queried(parameters): Queried<SearchParameters>,
) -> Result<Json<SearchResults>, Problem> {
    let wanted = parameters.parse(&edge.search_cursors, &identity)?;
    let deadline = Instant::now() + READ_WAIT;
    let (token, after) = (wanted.token(), wanted.after);
    let mut searching = edge.tables.search_at(&identity, token, may_read, after, deadline).await?;
    let page = searching.page(&wanted, |cursor| cursor.seal(&edge.search_cursors, &identity)).await?;
    drop(searching);
    let look = trail.look(&identity, What::Search);
    let look = look.map(|look| look.with("asked", wanted.asked()).with("shown", page.shown()));
    edge.looks.record(look).await?;
    Ok(Json(page))
}

/// Live feed of a conversation
///
/// Server-sent events until the conversation or the credential ends. The answer begins with `retry: 2000`; each frame
/// is `event`, `id`, and `data`, one line of JSON:
///
/// | event | data | when |
/// |---|---|---|
/// | `initial` | the conversation, as in the snapshot | first, unless the feed is resumed |
/// | `new_messages` | `{conversation_id, messages, total_messages}` | messages came; a burst may share one frame |
/// | `message_corrected` | `{conversation_id, message, total_messages}` | a message's content was replaced |
/// | `conversation` | what is known of the call: urgency, status, who holds it | it changed |
/// | `conversation` | `{conversation_id, status, session}`, without a call | a session was opened: it goes on, also if it had ended |
/// | `seen` | `{conversation_id, role, id, sequence}` | somebody has seen it up to there |
/// | `ended` | `{message, conversation_id}` | it has ended; the server closes |
/// | `typing` | `{conversation_id, role, id, is_typing}` | somebody else types, or stops, without an id |
/// | `presence` | `{conversation_id, admins}` | to admins: who of them watches, at first and when it changes, without an id |
/// | `reset` | `{conversation_id, reason}` | the id cannot be continued; a fresh `initial` follows |
/// | `heartbeat` | `{timestamp, status}` | every 30 seconds, without an id |
/// | `expiring` | `{conversation_id, expires_at}` | once, a minute before the token expires, without an id |
/// | `error` | `{error, conversation_id}` | why the server closes the feed now, without an id |
///
/// A feed is resumed with the id of the last frame that was received, in `Last-Event-ID` or `last_event_id`: it goes
/// on with exactly the messages after it. Without an `error` before it, the end of the answer asks for just that: after an
/// hour at most, and when the server stops. At most 64 feeds are open with one token.
///
/// With `from` it is a replay: `initial` is the conversation as it stood then (or as it began, if it began later), and what
/// came after it follows in the order of the log, the messages as far apart as they were said, by their own timestamps,
/// divided by `speed`; what is earlier than what was shown already follows at once, as does everything else. No pause is
/// longer than `max_gap` seconds, nor than 20 minutes. After the last frame comes `ended`, or, of a conversation that has not
/// ended, `replayed` with `{message, conversation_id}`, and the server closes: a feed without `from` goes on live with that
/// id. A replay is resumed like a live feed, with the same `from` and the last id. Who may read is asked of today for as
/// long as it is open, and what was erased since is not shown; nobody sees that somebody watches a replay.
#[utoipa::path(
    get, path = "/api/conversation/{id}/stream", tag = tags::READERS,
    security(
        ("participant" = []), ("admin" = []), ("researcher" = []), ("service" = []), ("session" = []), ("ticket" = []),
    ),
    params(
        ("id" = String, Path, description = "The conversation's id.", example = "conv_abc123"),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer shows it, or is 503 in 2 s."),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last frame that was received."),
        ("last_event_id" = Option<String>, Query, description = "The same, for clients that cannot set the header."),
        ("from" = Option<String>, Query, description = "Replays what came after it: a sequence of the log, or a time in RFC 3339."),
        ("speed" = Option<f64>, Query, description = "Of a replay, from 0.25 to 1000; 1 when it is left out."),
        ("max_gap" = Option<f64>, Query, description = "Of a replay: the longest pause in seconds, from 0 to 1200."),
    ),
    responses(
        (status = 200, description = "The feed.", body = String, content_type = "text/event-stream",
         example = "retry: 2000\n\nevent: heartbeat\ndata: {\"timestamp\":\"2025-10-03T12:00:00+05:30\"}\n\n"),
        ReadProblems,
    ),
)]
async fn stream(
    State(edge): State<Edge>,
    Watcher(identity): Watcher,
    trail: Trail,
    Named(conversation): Named,
    Followed { after, last_event_id, tempo }: Followed,
    Extension(handover): Extension<Handover>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // The header wins: a browser sends it, with a newer id, to the address that it was first given.
    let header =
        headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let last_id = header.or(last_event_id).filter(|id| !id.is_empty());
    let wish = Wish { identity, conversation, last_id, after, trail };
    let (feed, _) = match tempo {
        Some(tempo) => edge.feeds.join_past(wish, tempo, may_read).await?,
        None => edge.feeds.join(wish, may_read).await?,
    };
    Ok(sse::answer(handover.lend(feed)))
}

/// Live feed by WebSocket
///
/// The frames of `GET /api/conversation/{id}/stream`, each as one text, `{"event", "id", "data"}`, with `id` null where the
/// frame has none. A watcher comes back with the last id in `last_event_id`.
///
/// Participants and admins may say, each as one text:
///
/// | text | what it does |
/// |---|---|
/// | `{"type": "seen", "sequence": 7}` | a read receipt, as `POST .../seen`; all are told by a frame `seen` |
/// | `{"type": "typing", "is_typing": true}` | as `POST .../typing` |
///
/// What cannot be done, as anything in a replay, is answered by `{"event": "rejected", "id": null, "data": {"detail"}}`, and
/// the socket stays open. The server closes with 1000 when the conversation has ended, or was replayed; 1001 when the client has only to come back; 1008 after an
/// `error` that says why; 1009 when more than 4096 bytes were said at once. It sends a ping with each heartbeat, and gives up
/// a peer that has not answered by the next.
#[utoipa::path(
    get, path = "/api/conversation/{id}/ws", tag = tags::READERS,
    security(("participant" = []), ("admin" = []), ("researcher" = []), ("service" = []), ("session" = []),
             ("ticket" = [])),
    params(
        ("id" = String, Path, description = "The conversation's id.", example = "conv_abc123"),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer shows it, or is 503 in 2 s."),
        ("last_event_id" = Option<String>, Query, description = "The id of the last frame that was received."),
        ("from" = Option<String>, Query, description = "Replays what came after it: a sequence of the log, or a time in RFC 3339."),
        ("speed" = Option<f64>, Query, description = "Of a replay, from 0.25 to 1000; 1 when it is left out."),
        ("max_gap" = Option<f64>, Query, description = "Of a replay: the longest pause in seconds, from 0 to 1200."),
    ),
    responses((status = 101, description = "The WebSocket is open; frames follow."), ReadProblems),
)]
async fn websocket(
    State(edge): State<Edge>,
    Watcher(identity): Watcher,
    trail: Trail,
    Named(conversation): Named,
    Followed { after, last_event_id, tempo }: Followed,
    Extension(connections): Extension<Connections>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| {
        Problem::new(Kind::BadRequest, format!("Ask for a WebSocket here: {}.", rejection.body_text()))
    })?;
    let last_id = last_event_id.filter(|id| !id.is_empty());
    let viewer = reader::viewer(&identity).filter(|_| tempo.is_none());
    let request_id = trail.request_id().to_owned();
    let wish = Wish { identity, conversation, last_id, after, trail };
    let (feed, conversation) = match tempo {
        Some(tempo) => edge.feeds.join_past(wish, tempo, may_read).await?,
        None => edge.feeds.join(wish, may_read).await?,
    };
    let watching = socket::Watching { viewer, conversation, request_id, channel: edge.feeds.channel.clone() };
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    // Frames are written as they come: none waits for another to fill a buffer.
    let upgrade = upgrade.read_buffer_size(SOCKET_BUFFER_BYTES).write_buffer_size(0);
    let connection = connections.goes_on();
    Ok(upgrade.on_upgrade(|socket| async move {
        socket::serve(socket, feed, watching).await;
        drop(connection);
    }))
}

/// The conversation that the path names. What cannot be an id names nothing.
pub(crate) struct Named(pub(crate) ConversationId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let unknown = || Problem::from(ReadError::NotFound);
        let Path(text) = named.map_err(|_| unknown())?;
        ConversationId::try_from(text).map(Self).map_err(|_| unknown())
    }
}

/// What the query of a snapshot asks for.
pub(crate) struct Asked {
    pub(crate) after: u64,
    as_of: Option<Moment>,
}

#[derive(Deserialize)]
struct Parameters {
    after: Option<String>,
    as_of: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Parameters { after, as_of } = query::read(parts, state).await?;
        let mut wrong = Wrong::default();
        let after = wrong.after(after.as_deref());
        let as_of = past::moment(&mut wrong, "as_of", as_of.as_deref());
        wrong.finish(Self { after, as_of })
    }
}

/// What the query of a feed asks for.
struct Followed {
    after: u64,
    last_event_id: Option<String>,
    /// Of a replay.
    tempo: Option<Tempo>,
}

#[derive(Deserialize)]
struct FeedParameters {
    after: Option<String>,
    last_event_id: Option<String>,
    from: Option<String>,
    speed: Option<String>,
    max_gap: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Followed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let FeedParameters { after, last_event_id, from, speed, max_gap } = query::read(parts, state).await?;
        let mut wrong = Wrong::default();
        let after = wrong.after(after.as_deref());
        let tempo = Tempo::parse(&mut wrong, from.as_deref(), speed.as_deref(), max_gap.as_deref());
        wrong.finish(Self { after, last_event_id, tempo })
    }
}
