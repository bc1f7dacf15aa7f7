//! Sessions of browsers: a cookie instead of a token, since a page's `EventSource` and links cannot send a header.

use axum::Json;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::audit::{Credential, Trail, What};
use shared::auth::{AnyCaller, Grant, Identity, Session, Who, session_cookie, session_over};
use shared::http::openapi::{CommandProblems, tags};
use shared::http::{Arrival, NOT_STORED, RequestOrigin};
use shared::problem::{Kind, Problem};
use utoipa::ToSchema;

use super::stored;
use crate::App;

/// Whose session began, and until when.
#[derive(Serialize, ToSchema)]
struct SessionBegun {
    success: bool,
    /// `participant`, `admin` or `researcher`.
    role: &'static str,
    /// The person's id.
    id: String,
    /// An admin's.
    company: Option<String>,
    /// When it ends by itself: when the token does.
    #[schema(value_type = String, format = DateTime)]
    expires_at: DateTime<Utc>,
}

/// A session is over.
#[derive(Serialize, ToSchema)]
struct SessionOver {
    success: bool,
}

impl SessionBegun {
    fn of(Grant { who, expires_at, .. }: Grant) -> Self {
        let (role, id, company) = match who {
            Who::Participant(id) => ("participant", id.as_str().to_owned(), None),
            Who::Admin { id, company } => ("admin", id.into(), Some(String::from(company))),
            Who::Researcher(id) => ("researcher", id, None),
        };
        Self { success: true, role, id, company, expires_at }
    }
}

/// Begin a browser's session
///
/// Sets the cookie `turnlog_session` from a token: out of reach of scripts, sent to this origin alone. What only reads,
/// and what a reader says (`seen`, `typing`), takes it instead of the token. It ends with the token, or by `DELETE`.
#[utoipa::path(
    post, path = "/api/session", tag = tags::READERS,
    security(("participant" = []), ("admin" = []), ("researcher" = [])),
    responses(
        (status = 200, description = "It began.", body = SessionBegun,
         headers(("Set-Cookie" = String, description = "The session."))),
        CommandProblems,
    ),
)]
pub(crate) async fn begin_session(
    State(app): State<App>,
    AnyCaller(identity): AnyCaller,
    arrival: Arrival,
    trail: Trail,
) -> Result<Response, Problem> {
    let issued = trail.act(&identity, What::TokenIssued);
    let Identity::Person(grant) = identity else {
        let detail = "An API key begins no session; a browser must not hold one. Use a person's token.";
        return Err(Problem::new(Kind::Forbidden, detail));
    };
    let now = Utc::now();
    let session = app.authenticator.tokens().session(&grant, now).map_err(Problem::internal)?;
    let ttl = (grant.expires_at - now).to_std().unwrap_or_default();
    let cookie = cookie(session_cookie(&session, ttl, arrival.https))?;
    let id = app.authenticator.tokens().check_session(&session).map_err(Problem::internal)?.token_id;
    app.record_issued(issued, Credential::Session, Some(&id), grant.expires_at).await?;
    Ok((cookie, [NOT_STORED], Json(SessionBegun::of(grant))).into_response())
}

/// End a browser's session
///
/// The session of the cookie is dead everywhere within a second, its open feeds close, and the browser forgets it. The
/// token that it began with goes on.
#[utoipa::path(
    delete, path = "/api/session", tag = tags::READERS,
    security(("session" = [])),
    responses(
        (status = 200, description = "It is over.", body = SessionOver,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."),
                 ("Set-Cookie" = String, description = "The browser forgets the session."))),
        CommandProblems,
    ),
)]
pub(crate) async fn end_session(
    State(app): State<App>,
    session: Result<Session, Problem>,
    arrival: Arrival,
    RequestOrigin(origin): RequestOrigin,
) -> Result<Response, Problem> {
    let cookie = cookie(session_over(arrival.https))?;
    match session {
        Ok(Session(grant)) => {
            let sequence = app.revoke(grant, origin).await?;
            Ok((cookie, stored(sequence, SessionOver { success: true })).into_response())
        }
        // One that is no good any more is forgotten, too; but a page that may not use it changes nothing.
        Err(problem) if problem.kind == Kind::Unauthenticated => Ok((cookie, problem).into_response()),
        Err(problem) => Err(problem),
    }
}

fn cookie(written: Option<HeaderValue>) -> Result<HeaderMap, Problem> {
    let cookie = written.ok_or_else(|| Problem::internal("the session's cookie cannot be written"))?;
    Ok(HeaderMap::from_iter([(SET_COOKIE, cookie)]))
}
