//! All routes.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRef, FromRequestParts, Path, Query, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use shared::auth::{AnyCaller, Authenticator};
use shared::ids::ConversationId;
use shared::limits::READ_WAIT;
use shared::problem::{FieldError, Kind, Problem};
use shared::subjects::Subject;
use tokio::time::Instant;

use crate::access::may_read;
use crate::feed::Feed;
use crate::feed::join::{Feeds, Wish};
use crate::tables::{ReadError, Tables};
use crate::view::ConversationView;

/// What a snapshot needs.
#[derive(Debug, Clone)]
struct Snapshots {
    auth: Authenticator,
    tables: Tables,
}

/// What a feed needs.
#[derive(Debug, Clone)]
struct Live {
    auth: Authenticator,
    feeds: Arc<Feeds>,
}

impl FromRef<Snapshots> for Authenticator {
    fn from_ref(state: &Snapshots) -> Self {
        state.auth.clone()
    }
}

impl FromRef<Live> for Authenticator {
    fn from_ref(state: &Live) -> Self {
        state.auth.clone()
    }
}

/// Every endpoint of the read edge.
pub(crate) fn routes(auth: &Authenticator, tables: Tables, feeds: Feeds) -> Router {
    let snapshots = Snapshots { auth: auth.clone(), tables };
    let live = Live { auth: auth.clone(), feeds: Arc::new(feeds) };
    Router::new()
        .route("/api/conversation/{id}", get(conversation).with_state(snapshots))
        .route("/api/conversation/{id}/stream", get(stream).with_state(live))
}

#[derive(Serialize)]
struct Snapshot {
    success: bool,
    conversation: ConversationView,
}

async fn conversation(
    State(state): State<Snapshots>,
    AnyCaller(identity): AnyCaller,
    Named(id): Named,
    Asked { after, .. }: Asked,
) -> Result<Json<Snapshot>, Problem> {
    let subject = Subject::conversation(&id);
    let deadline = Instant::now() + READ_WAIT;
    let mut reading = state.tables.open_at(&identity, subject.token(), may_read, after, deadline).await?;
    Ok(Json(Snapshot { success: true, conversation: reading.conversation().await? }))
}

async fn stream(
    State(state): State<Live>,
    AnyCaller(identity): AnyCaller,
    Named(conversation): Named,
    Asked { after, last_event_id }: Asked,
    headers: HeaderMap,
) -> Result<Feed, Problem> {
    // The header wins: a browser sends it, with a newer id, to the address that it was first given.
    let header =
        headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let last_id = header.or(last_event_id).filter(|id| !id.is_empty());
    state.feeds.join(Wish { identity, conversation, last_id, after }, may_read).await
}

/// The conversation that the path names. What cannot be an id names nothing.
struct Named(ConversationId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let unknown = || Problem::from(ReadError::NotFound);
        let Path(text) = named.map_err(|_| unknown())?;
        ConversationId::try_from(text).map(Self).map_err(|_| unknown())
    }
}

/// What the query asks for; other parameters are ignored.
struct Asked {
    after: u64,
    last_event_id: Option<String>,
}

#[derive(Deserialize)]
struct Parameters {
    after: Option<String>,
    last_event_id: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query: Result<Query<Parameters>, QueryRejection> = Query::from_request_parts(parts, state).await;
        let Query(Parameters { after, last_event_id }) = query.map_err(|error| {
            let problem =
                Problem::new(Kind::InvalidFields, "The query cannot be read; send each parameter once.");
            Problem { cause: Some(error.to_string()), ..problem }
        })?;
        let after = match after.as_deref().map(str::parse) {
            None => 0,
            Some(Ok(after)) => after,
            Some(Err(_)) => {
                let message =
                    "must be a sequence: a whole number, as in message_id or Turnlog-Sequence".into();
                return Err(Problem::fields(vec![FieldError { field: "after".into(), message }]));
            }
        };
        Ok(Self { after, last_event_id })
    }
}
