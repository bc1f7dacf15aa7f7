//! Sounds and attachments of conversations: out of the object store, whole or in part, to whoever may read the
//! conversation they belong to. Knowing a `media_id` opens nothing.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::Response;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use shared::audit::What;
use shared::auth::Identity;
use shared::events::Attachment;
use shared::http::openapi::{BytesProblems, RawBytes, tags};
use shared::http::{Content, Wanted};
use shared::ids::ConversationId;
use shared::limits::READ_WAIT;
use shared::objects::{ObjectError, ObjectName, Objects};
use shared::problem::{Kind, Problem};
use shared::subjects::Subject;
use sqlx::types::Json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::access::may_read;
use crate::limits::{MEDIA_AT_ONCE, MEDIA_PATIENCE};
use crate::looks::Trail;
use crate::query::{Queried, Wrong};
use crate::router::{Asked, Edge, Named};
use crate::tables::{ReadError, Reading};
use crate::tickets::Watcher;

/// The object store, and how many may read from it at once.
#[derive(Debug, Clone)]
pub(crate) struct Media {
    objects: Objects,
    /// One for each answer under way.
    places: Arc<Semaphore>,
}

/// What a conversation has in the object store.
#[derive(Debug)]
struct Kept {
    object: ObjectName,
    /// What people call it.
    name: Option<String>,
    /// Where the log tells of it.
    told: (u64, u64),
}

/// Sound of a conversation
///
/// The recording that a webhook brought, whole or one range of it; several ranges at once are answered whole. Of several
/// sessions the newest one's that has any, unless `session` names one.
#[utoipa::path(
    get, path = "/api/conversation/{id}/audio", tag = tags::READERS,
    security(
        ("participant" = []), ("admin" = []), ("researcher" = []), ("service" = []), ("session" = []), ("ticket" = []),
    ),
    params(
        ("id" = String, Path, description = "The conversation's id.", example = "conv_abc123"),
        ("session" = Option<u32>, Query, description = "The number of a session; 0 is what is of none."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer shows it, or is 503 in 2 s."),
        ("Range" = Option<String>, Header, description = "`bytes=0-99`, `bytes=100-` or `bytes=-100`."),
        ("If-Range" = Option<String>, Header, description = "The `ETag` that the range is of."),
    ),
    responses(
        (status = 200, description = "All of it.", body = RawBytes, content_type = "*/*",
         headers(("ETag" = String, description = "SHA-256 of all of it."))),
        (status = 206, description = "The range.", body = RawBytes, content_type = "*/*",
         headers(("Content-Range" = String, description = "Which part of how many bytes."),
                 ("ETag" = String, description = "SHA-256 of all of it."))),
        BytesProblems,
    ),
)]
pub(crate) async fn audio(
    State(edge): State<Edge>,
    Watcher(identity): Watcher,
    trail: Trail,
    Named(id): Named,
    Queried(parameters): Queried<Parameters>,
    wanted: Wanted,
) -> Result<Response, Problem> {
    let (after, session) = parameters.parse()?;
    let mut reading = edge.open_kept(&identity, &id, after).await?;
    let id = reading.id(id);
    let kept = reading.recording(session).await?;
    drop(reading);
    let kept = kept.ok_or_else(|| match session {
        None => missing("No sound of this conversation is stored."),
        Some(_) => missing("No sound of this session is stored; leave session out for the newest that is."),
    })?;
    edge.show_kept(&identity, &trail, &id, kept, &wanted).await
}

/// Attachment of a conversation
///
/// What was uploaded and a turn of this conversation names, whole or one range of it; several ranges at once are answered
/// whole.
#[utoipa::path(
    get, path = "/api/conversation/{id}/media/{media_id}", tag = tags::READERS,
    security(
        ("participant" = []), ("admin" = []), ("researcher" = []), ("service" = []), ("session" = []), ("ticket" = []),
    ),
    params(
        ("id" = String, Path, description = "The conversation's id.", example = "conv_abc123"),
        ("media_id" = String, Path, description = "The `media_id` of one of its attachments."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer shows it, or is 503 in 2 s."),
        ("Range" = Option<String>, Header, description = "`bytes=0-99`, `bytes=100-` or `bytes=-100`."),
        ("If-Range" = Option<String>, Header, description = "The `ETag` that the range is of."),
    ),
    responses(
        (status = 200, description = "All of it.", body = RawBytes, content_type = "*/*",
         headers(("ETag" = String, description = "SHA-256 of all of it."))),
        (status = 206, description = "The range.", body = RawBytes, content_type = "*/*",
         headers(("Content-Range" = String, description = "Which part of how many bytes."),
                 ("ETag" = String, description = "SHA-256 of all of it."))),
        BytesProblems,
    ),
)]
pub(crate) async fn attachment(
    State(edge): State<Edge>,
    Watcher(identity): Watcher,
    trail: Trail,
    Attached(id, object): Attached,
    Asked { after, .. }: Asked,
    wanted: Wanted,
) -> Result<Response, Problem> {
    let mut reading = edge.open_kept(&identity, &id, after).await?;
    let id = reading.id(id);
    let kept = match object {
        Some(object) => reading.attached(object).await?,
        None => None,
    };
    drop(reading);
    let kept = kept.ok_or_else(|| missing("No turn of this conversation has this attachment."))?;
    edge.show_kept(&identity, &trail, &id, kept, &wanted).await
}

/// The parameters of a sound, as they came.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    after: Option<String>,
    session: Option<String>,
}

impl Parameters {
    /// How far the tables must be, and the session that the sound is of.
    ///
    /// # Errors
    /// 400, naming every bad parameter.
    fn parse(self) -> Result<(u64, Option<i32>), Problem> {
        let mut wrong = Wrong::default();
        let after = wrong.after(self.after.as_deref());
        let session = wrong.number("session", self.session.as_deref(), 0..=i32::MAX.unsigned_abs().into());
        wrong.finish((after, session.and_then(|session| i32::try_from(session).ok())))
    }
}

fn missing(detail: &str) -> Problem {
    Problem::new(Kind::NotFound, detail)
}

fn away(error: ObjectError) -> Problem {
    Problem::unavailable("The object store cannot be read for now; try again in a moment.", error)
}

impl Media {
    pub(crate) fn new(objects: Objects) -> Self {
        Self { objects, places: Arc::new(Semaphore::new(MEDIA_AT_ONCE)) }
    }

    /// Waits for a place among the answers under way.
    async fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let waiting = timeout(MEDIA_PATIENCE, Arc::clone(&self.places).acquire_owned());
        waiting.await.ok().and_then(Result::ok).ok_or_else(|| {
            let detail = "Too many sounds and attachments are being read; try again in a moment.";
            Problem::unavailable(detail, "all places are taken")
        })
    }
}

impl Edge {
    /// Opens a conversation for whoever may read it.
    async fn open_kept(
        &self,
        identity: &Identity,
        id: &ConversationId,
        after: u64,
    ) -> Result<Reading, ReadError> {
        let subject = Subject::conversation(id);
        let deadline = Instant::now() + READ_WAIT;
        self.tables.open_at(identity, subject.token(), may_read, after, deadline).await
    }

    /// Answers with it, once the look is recorded.
    async fn show_kept(
        &self,
        identity: &Identity,
        trail: &Trail,
        id: &ConversationId,
        kept: Kept,
        wanted: &Wanted,
    ) -> Result<Response, Problem> {
        let place = self.media.place().await?;
        let found = self.media.objects.get(kept.object).await.map_err(away)?;
        let object = found.ok_or_else(|| missing("It is not stored any more."))?;
        let look = trail.look(identity, What::Media);
        let look = look.map(|look| look.of(id, Some(kept.told)).with("media_id", kept.object.to_string()));
        self.looks.record(look).await?;
        let content = Content {
            bytes: object.stored.bytes,
            sha256: kept.object.to_string(),
            media_type: object.stored.media_type.clone(),
            name: kept.name,
        };
        Ok(content.answer(wanted, |from| {
            object.sparing().stream(from).map(move |part| {
                let _held = &place;
                part
            })
        }))
    }
}

impl Reading {
    /// The sound of a session, or of the newest that has any.
    async fn recording(&mut self, session: Option<i32>) -> Result<Option<Kept>, ReadError> {
        let row = sqlx::query!(
            r#"SELECT sequence AS "sequence!", object AS "object!"
               FROM turnlog.recordings WHERE conversation = $1 AND ($2::integer IS NULL OR session = $2)
               ORDER BY session DESC LIMIT 1"#,
            self.token,
            session,
        )
        .fetch_optional(&mut *self.transaction)
        .await?;
        Ok(row.and_then(|row| {
            let (object, at) = (ObjectName::parse(&row.object)?, row.sequence.unsigned_abs());
            Some(Kept { object, name: None, told: (at, at) })
        }))
    }

    /// An attachment of one of the conversation's turns, as they stand now.
    async fn attached(&mut self, object: ObjectName) -> Result<Option<Kept>, ReadError> {
        let media_id = object.to_string();
        let row = sqlx::query!(
            r#"SELECT sequence AS "sequence!", version_sequence AS "version!",
                      attachments AS "attachments!: Json<Vec<Attachment>>"
               FROM turnlog.messages WHERE conversation = $1 AND attachments @> $2
               ORDER BY version_sequence DESC LIMIT 1"#,
            self.token,
            json!([{"media_id": media_id}]),
        )
        .fetch_optional(&mut *self.transaction)
        .await?;
        Ok(row.map(|row| {
            let mut attachments = row.attachments.0.into_iter();
            let this = attachments.find(|attachment| attachment.media_id.as_ref() == Some(&media_id));
            let told = (row.sequence.unsigned_abs(), row.version.unsigned_abs());
            Kept { object, name: this.and_then(|attachment| attachment.name), told }
        }))
    }
}

/// The conversation and the object that the path names. What cannot be the name of an object is none.
pub(crate) struct Attached(ConversationId, Option<ObjectName>);

impl<S: Send + Sync> FromRequestParts<S> for Attached {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named: Result<Path<(String, String)>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let unknown = || Problem::from(ReadError::NotFound);
        let Path((id, object)) = named.map_err(|_| unknown())?;
        let id = ConversationId::try_from(id).map_err(|_| unknown())?;
        Ok(Self(id, ObjectName::parse(&object)))
    }
}
