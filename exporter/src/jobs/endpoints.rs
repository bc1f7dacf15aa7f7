//! Export jobs over HTTP. What is not the caller's is not there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use axum::{Json, middleware};
use bytes::Bytes;
use chrono::Utc;
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use shared::audit::{Refusals, refused};
use shared::auth::AsResearcher;
use shared::exports::{NotKept, PART_BYTES};
use shared::http::openapi::{JobBytesProblems, JobProblems, ListProblems, RawBytes, ReadProblems, tags};
use shared::http::{Content, Wanted as Range, accepted, no_content, read_json};
use shared::log::LogError;
use shared::problem::{FieldError, Kind, Problem};
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Desk;
use super::asked::{ExportArguments, digest, parse};
use super::board::Held;
use super::feed::Feed;
use super::record::{Job, Progressed, State as Standing};
use super::trail::{Step, Trail};
use super::view::{ExportJob, ExportJobs, path_of};
use crate::arguments::{Arguments, Wanted};
use crate::error::ExportError;
use crate::limits::{
    BODY_BYTES, BUSY_RETRY, DOWNLOAD_PATIENCE, KEPT_JOBS, KEY_BYTES, LONGEST_RETRY, PARTS_AHEAD,
};
use crate::run::settle;

/// Every endpoint of export jobs.
pub(crate) fn routes(desk: Desk, refusals: Refusals) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(ask_for_export, exports))
        .routes(routes!(export_job, remove_export))
        .routes(routes!(watch_export))
        .routes(routes!(download_export))
        .with_state(desk)
        .layer(middleware::from_fn_with_state(refusals, refused))
}

/// Export of a data set
///
/// Asks for what `turnlog export` makes, with the same arguments: messages, conversations and events from the log, in one
/// archive with a manifest (a Frictionless Data Package). It is made in the background, and `Location` tells how far it is.
/// Until where the log is read is fixed now: later events change nothing of it. A field that is not known is refused.
///
/// With `Idempotency-Key`, the same body again answers the job that there is.
#[utoipa::path(
    post, path = "/api/v1/exports", tag = tags::READERS,
    security(("researcher" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "At most 256 bytes: asks for one job, however often it is sent.")),
    request_body(content = ExportArguments, example = json!({"format": "parquet", "include": ["messages", "conversations"]})),
    responses(
        (status = 202, description = "It is being made, or waits for its turn.", body = ExportJob,
         headers(("Location" = String, description = "Where the job is asked for."))),
        JobProblems,
    ),
)]
async fn ask_for_export(
    State(desk): State<Desk>,
    AsResearcher { researcher, .. }: AsResearcher,
    trail: Trail,
    request: Request,
) -> Result<Response, Problem> {
    let key = key(request.headers())?;
    let body = read_json(request, BODY_BYTES).await?;
    let asked = digest(&body);
    let wanted = parse(body)?;
    let id = match &key {
        Some(key) => keyed(&researcher, key),
        None => Uuid::new_v4().simple().to_string(),
    };
    // One at a time, so that nobody has more than they may.
    let _turn = desk.asking.lock().await;
    let answer = |job: &Job| accepted(&path_of(&job.id), ExportJob::of(job));
    if key.is_some()
        && let Some(held) = desk.board.find(&id).await.map_err(away)?
    {
        return same(&held.job, &asked).map(&answer);
    }
    desk.has_room(&researcher)?;
    let arguments = desk.settle(wanted).await?;
    let job = Job {
        id: id.clone(),
        owner: researcher,
        asked_at: Utc::now(),
        asked: asked.clone(),
        address: trail.address,
        request_id: trail.request_id.clone(),
        arguments,
        state: Standing::Queued,
        runner: None,
        failures: 0,
        started_at: None,
        finished_at: None,
        expires_at: None,
        progress: Progressed::default(),
        reason: None,
        parts: 0,
        made: None,
    };
    desk.record(trail.look(&job, Step::Asked)).await?;
    // What was removed may still stand there, of which nothing is left.
    let revision = desk.store.job(&id).await.map_err(away)?;
    let revision = if revision.body.is_empty() { revision.revision } else { 0 };
    match desk.board.keep(job, revision).await {
        Ok(held) => Ok(answer(&held.job)),
        Err(NotKept::Changed) => {
            let held = desk.board.find(&id).await.map_err(away)?;
            let there = held.ok_or_else(|| away("a job with this key is being removed"))?;
            same(&there.job, &asked).map(answer)
        }
        Err(NotKept::Unavailable(cause)) => Err(away(cause)),
    }
}

/// Exports
///
/// The caller's own, the newest first: those under way, those that can be downloaded, and for a week those that could be.
#[utoipa::path(
    get, path = "/api/v1/exports", tag = tags::READERS,
    security(("researcher" = []), ("session" = [])),
    responses((status = 200, description = "All of them.", body = ExportJobs), ListProblems),
)]
async fn exports(
    State(desk): State<Desk>,
    AsResearcher { researcher, .. }: AsResearcher,
) -> Result<Json<ExportJobs>, Problem> {
    let own = desk.own(&researcher).iter().rev().map(|held| ExportJob::of(&held.job)).collect();
    Ok(Json(ExportJobs { exports: own }))
}

/// How an export stands
///
/// Its state, how far it is, and once it is done its files with their sizes and SHA-256.
#[utoipa::path(
    get, path = "/api/v1/exports/{id}", tag = tags::READERS,
    security(("researcher" = []), ("session" = [])),
    params(("id" = String, Path, description = "The job's id.")),
    responses((status = 200, description = "How it stands.", body = ExportJob), ReadProblems),
)]
async fn export_job(
    State(desk): State<Desk>,
    AsResearcher { researcher, .. }: AsResearcher,
    JobId(id): JobId,
) -> Result<Json<ExportJob>, Problem> {
    let held = desk.find(&researcher, &id).await?;
    Ok(Json(ExportJob::of(&held.job)))
}

/// Take an export back
///
/// One that waits or is being made is cancelled; of one that has ended everything is deleted, and it is not there any more.
#[utoipa::path(
    delete, path = "/api/v1/exports/{id}", tag = tags::READERS,
    security(("researcher" = [])),
    params(("id" = String, Path, description = "The job's id.")),
    responses((status = 204, description = "It is cancelled, or deleted."), ReadProblems),
)]
async fn remove_export(
    State(desk): State<Desk>,
    AsResearcher { researcher, .. }: AsResearcher,
    trail: Trail,
    JobId(id): JobId,
) -> Result<Response, Problem> {
    let held = desk.find(&researcher, &id).await?;
    desk.record(trail.look(&held.job, Step::Removed)).await?;
    let now = Utc::now();
    let next = |job: &Job| {
        let (state, reason) = match job.state {
            Standing::Queued | Standing::Running => {
                (Standing::Cancelled, Some("It was cancelled.".to_owned()))
            }
            Standing::Done | Standing::Failed | Standing::Cancelled | Standing::Expired => {
                (Standing::Removed, None)
            }
            Standing::Removed => return None,
        };
        Some(job.ended(state, reason, now))
    };
    desk.board.change(&held.job.id, next).await.map_err(away)?;
    Ok(no_content())
}

/// Live progress of an export
///
/// Server-sent events until nothing more becomes of it. The answer begins with `retry: 2000`, and its first frame tells how
/// the job stands, also after a reconnect; each frame's `data` is what `GET /api/v1/exports/{id}` answers.
///
/// | event | when |
/// |---|---|
/// | `progress` | it waits or is being made, and is further than before |
/// | `done`, `failed`, `cancelled`, `expired` | it has ended; the server closes |
/// | `heartbeat` | every 30 seconds, `{timestamp, status}`, without an id |
/// | `error` | why the server closes the feed now, `{error, export_id}`, without an id |
#[utoipa::path(
    get, path = "/api/v1/exports/{id}/stream", tag = tags::READERS,
    security(("researcher" = []), ("session" = [])),
    params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The feed.", body = String, content_type = "text/event-stream",
         example = "retry: 2000\n\nevent: heartbeat\ndata: {\"timestamp\":\"2025-10-03T12:00:00+05:30\"}\n\n"),
        ReadProblems,
    ),
)]
async fn watch_export(
    State(desk): State<Desk>,
    AsResearcher { researcher, grant }: AsResearcher,
    JobId(id): JobId,
) -> Result<Response, Problem> {
    let held = desk.find(&researcher, &id).await?;
    let place = Arc::clone(&desk.feeds).try_acquire_owned().map_err(|error| {
        Problem::unavailable("Too many exports are being watched; ask for the job itself.", error)
    })?;
    let feed = Feed {
        board: desk.board.clone(),
        id: held.job.id.clone(),
        epoch: desk.log.epoch().into(),
        grant,
        revocations: desk.auth.revocations().clone(),
        heartbeat: desk.settings.heartbeat,
        stopping: desk.stopping.clone(),
        place,
    };
    Ok(feed.answer())
}

/// Download of an export
///
/// All of it as a ZIP, or one of its files, whole or one range of it; several ranges at once are answered whole. A download
/// that broke off is resumed with `Range` and `If-Range`, also after a restart of the server.
#[utoipa::path(
    get, path = "/api/v1/exports/{id}/download", tag = tags::READERS,
    security(("researcher" = []), ("session" = [])),
    params(
        ("id" = String, Path, description = "The job's id."),
        ("file" = Option<String>, Query, description = "The name of one of its files; all of it when it is left out."),
        ("Range" = Option<String>, Header, description = "`bytes=0-99`, `bytes=100-` or `bytes=-100`."),
        ("If-Range" = Option<String>, Header, description = "The `ETag` that the range is of."),
    ),
    responses(
        (status = 200, description = "All of it.", body = RawBytes, content_type = "*/*",
         headers(("ETag" = String, description = "SHA-256 of all of it."))),
        (status = 206, description = "The range.", body = RawBytes, content_type = "*/*",
         headers(("Content-Range" = String, description = "Which part of how many bytes."),
                 ("ETag" = String, description = "SHA-256 of all of it."))),
        JobBytesProblems,
    ),
)]
async fn download_export(
    State(desk): State<Desk>,
    AsResearcher { researcher, .. }: AsResearcher,
    trail: Trail,
    JobId(id): JobId,
    Asked(file): Asked,
    range: Range,
) -> Result<Response, Problem> {
    let held = desk.find(&researcher, &id).await?;
    let job = &held.job;
    let made = job.made.as_ref().filter(|_| job.state == Standing::Done).ok_or_else(|| not_there(job))?;
    let (content, begins) = match &file {
        None => {
            let name = Some(made.name.clone());
            let content = Content {
                bytes: made.bytes,
                sha256: made.sha256.clone(),
                media_type: "application/zip".into(),
                name,
            };
            (content, 0)
        }
        Some(wanted) => {
            let file = made.files.iter().find(|file| file.path == *wanted);
            let file =
                file.ok_or_else(|| Problem::new(Kind::NotFound, "The export has no file of this name."))?;
            let (sha256, media_type, name) =
                (file.sha256.clone(), file.media_type.clone(), Some(file.path.clone()));
            (Content { bytes: file.bytes, sha256, media_type, name }, file.offset)
        }
    };
    let waiting = timeout(DOWNLOAD_PATIENCE, Arc::clone(&desk.downloads).acquire_owned());
    let place = waiting.await.ok().and_then(Result::ok).ok_or_else(|| {
        Problem::unavailable(
            "Too many exports are being downloaded; try again in a moment.",
            "all places are taken",
        )
    })?;
    let look = trail.look(job, Step::Downloaded);
    desk.record(look.with("file", file.as_deref().unwrap_or(made.name.as_str()))).await?;
    let (id, end) = (job.id.clone(), begins + content.bytes);
    Ok(content.answer(&range, |from| {
        parts(&desk, id, begins + from, end).map(move |part| {
            let _held = &place;
            part
        })
    }))
}

/// The bytes of an archive from one place to another, read part by part.
fn parts(
    desk: &Desk,
    id: String,
    from: u64,
    end: u64,
) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> {
    let store = desk.store.clone();
    let first = from / PART_BYTES;
    let skipped = usize::try_from(from % PART_BYTES).unwrap_or_default();
    let read = move |number| {
        let (store, id) = (store.clone(), id.clone());
        async move {
            let part = store.part(&id, number).await.map_err(io::Error::other)?;
            let mut part = part.ok_or_else(|| io::Error::other("a part of the data set is gone"))?;
            if number == first {
                part = part.slice(skipped.min(part.len())..);
            }
            Ok(part)
        }
    };
    stream::iter(first..end.div_ceil(PART_BYTES)).map(read).buffered(PARTS_AHEAD).boxed()
}

fn not_there(job: &Job) -> Problem {
    let detail = match job.state {
        Standing::Queued | Standing::Running | Standing::Done => {
            "The export is not done yet; watch it, and download it then.".to_owned()
        }
        Standing::Failed => "The export failed: there is nothing to download; see its reason.".to_owned(),
        Standing::Cancelled | Standing::Removed => {
            "The export was cancelled; ask for it once more.".to_owned()
        }
        Standing::Expired => format!(
            "The export has expired; ask once more with \"as_of\": {}, less whoever was erased since.",
            job.arguments.as_of
        ),
    };
    Problem::new(Kind::Conflict, detail)
}

/// The job that the key names, if it was asked for with the same body.
fn same<'j>(job: &'j Job, asked: &str) -> Result<&'j Job, Problem> {
    if job.asked == asked {
        return Ok(job);
    }
    let detail = "Another export was asked for with this Idempotency-Key; send another key.";
    Err(Problem::new(Kind::Conflict, detail))
}

fn away(cause: impl std::fmt::Display) -> Problem {
    Problem::unavailable("Exports cannot be looked after for now; try again in a moment.", cause)
}

/// The header `Idempotency-Key`.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.trim().is_empty() && text.len() <= KEY_BYTES);
    let text = text.ok_or_else(|| {
        let message = format!("must be 1 to {KEY_BYTES} visible ASCII characters");
        Problem::fields(vec![FieldError { field: "Idempotency-Key".into(), message }])
    })?;
    Ok(Some(text.to_owned()))
}

/// The id of the job that a researcher's key asks for.
fn keyed(researcher: &str, key: &str) -> String {
    let hash = Sha256::new().chain_update(researcher).chain_update([0]).chain_update(key).finalize();
    hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The job that the path names. What cannot be an id names nothing.
struct JobId(String);

impl<S: Send + Sync> FromRequestParts<S> for JobId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let good = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        named.ok().map(|Path(id)| id).filter(good).map(Self).ok_or_else(unknown)
    }
}

fn unknown() -> Problem {
    Problem::new(Kind::NotFound, "There is no such export.")
}

/// The file that the query names.
struct Asked(Option<String>);

#[derive(Deserialize)]
struct Parameters {
    file: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query: Result<Query<Parameters>, QueryRejection> = Query::from_request_parts(parts, state).await;
        let Query(Parameters { file }) = query.map_err(|error| {
            let problem =
                Problem::new(Kind::InvalidFields, "The query cannot be read; send each parameter once.");
            Problem { cause: Some(error.to_string()), ..problem }
        })?;
        Ok(Self(file))
    }
}

impl Desk {
    /// The jobs of a researcher, in the order in which they were asked for.
    fn own(&self, researcher: &str) -> Vec<Held> {
        let mut all = self.board.all();
        all.retain(|held| held.job.owner == researcher && held.job.state != Standing::Removed);
        all
    }

    /// A job of this researcher's.
    async fn find(&self, researcher: &str, id: &str) -> Result<Held, Problem> {
        let found = self.board.find(id).await.map_err(away)?;
        found.filter(|held| held.job.owner == researcher).ok_or_else(unknown)
    }

    /// Whether a researcher may ask for one more. Two instances that are asked at the same moment may each say yes.
    fn has_room(&self, researcher: &str) -> Result<(), Problem> {
        let own = self.own(researcher);
        let most = self.settings.per_researcher.get();
        let full = |wait, detail: String| {
            Err(Problem { retry_after: Some(wait), ..Problem::new(Kind::RateLimited, detail) })
        };
        if own.iter().filter(|held| held.job.state.is_open()).count()
            >= usize::try_from(most).unwrap_or(usize::MAX)
        {
            let detail =
                format!("At most {most} of your exports may be under way; wait for one, or cancel it.");
            return full(BUSY_RETRY, detail);
        }
        let all = self.board.all();
        let until_expiry = |jobs: &[Held]| {
            let next = jobs.iter().filter_map(|held| held.job.expires_at).filter(|at| *at > Utc::now()).min();
            let wait = next.and_then(|at| (at - Utc::now()).to_std().ok());
            wait.unwrap_or(LONGEST_RETRY).min(LONGEST_RETRY)
        };
        if own.iter().filter(|held| held.job.state == Standing::Done).count() >= KEPT_JOBS {
            let detail = format!(
                "At most {KEPT_JOBS} of your exports are kept; delete one, or wait until one expires."
            );
            return full(until_expiry(&own), detail);
        }
        let kept: u64 = all.iter().map(|held| held.job.stored()).sum();
        if kept >= self.settings.max_bytes {
            let detail = "Data sets that can be downloaded take all the room there is; delete one, or wait until one expires.";
            return full(until_expiry(&all), detail.to_owned());
        }
        Ok(())
    }

    /// Makes every choice.
    async fn settle(&self, wanted: Wanted) -> Result<Arguments, Problem> {
        if wanted.deidentify.pseudonymize && self.settings.key.is_none() {
            let message = "cannot be had here: no EXPORT_KEY is set";
            return Err(Problem::fields(vec![FieldError {
                field: "pseudonymize".into(),
                message: message.into(),
            }]));
        }
        settle(&self.log, wanted).await.map_err(|error| match error {
            ExportError::Argument { name, why } => {
                Problem::fields(vec![FieldError { field: name.to_owned(), message: why }])
            }
            ExportError::Arguments(why) => Problem::new(Kind::InvalidFields, why),
            ExportError::Log(error @ LogError::Unavailable(_)) => away(error),
            error @ (ExportError::Log(_)
            | ExportError::Objects(_)
            | ExportError::File { .. }
            | ExportError::Spill(_)
            | ExportError::Encode(_)
            | ExportError::Stopped
            | ExportError::Differs(_)) => Problem::internal(error),
        })
    }
}
