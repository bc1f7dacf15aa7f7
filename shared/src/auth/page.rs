//! Callers that are pages in a browser: the session's cookie goes with their requests, whoever made the browser send
//! them. So what changes something takes it only from a page that may use it.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::tokens::BadToken;
use super::{AnyCaller, Authenticator, Grant, Identity, Proven, cookie};
use crate::http::Arrival;
use crate::problem::{Kind, Problem};

/// The session of the request's cookie; a header beside it does not count.
#[derive(Debug, Clone)]
pub struct Session(pub Grant);

/// Anybody with a good credential, where a page may act by its cookie, too.
#[derive(Debug, Clone)]
pub struct OwnPage(pub Identity);

impl Session {
    /// Finds it; none where there is no cookie.
    ///
    /// # Errors
    /// 401 where it is no good, 403 where the page may not use it.
    pub(super) fn of(parts: &Parts, auth: &Authenticator) -> Result<Option<Self>, Problem> {
        let Some(session) = cookie::found(&parts.headers) else { return Ok(None) };
        if !Arrival::of(parts)?.is_ours(parts) {
            let detail = "This page may not use the session: call from the service's own pages, or name the page's \
                          origin in CORS_ORIGINS.";
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        let grant = auth.tokens().check_session(&session).map_err(refused)?;
        Proven::note_person(parts, &grant);
        if auth.revocations().contains(&grant.token_id) {
            return Err(refused(BadToken::Revoked));
        }
        Ok(Some(Self(grant)))
    }
}

fn refused(bad: BadToken) -> Problem {
    let detail = match bad {
        BadToken::Expired => "The session has expired; log in again.",
        BadToken::Revoked => "The session has ended; log in again.",
        BadToken::Invalid => "The session is not valid here; log in again.",
    };
    Problem::new(Kind::Unauthenticated, detail)
}

impl<S> FromRequestParts<S> for Session
where
    Authenticator: FromRef<S>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Self::of(parts, &Authenticator::from_ref(state))?;
        found
            .ok_or_else(|| Problem::new(Kind::Unauthenticated, "There is no session: its cookie is missing."))
    }
}

impl<S> FromRequestParts<S> for OwnPage
where
    Authenticator: FromRef<S>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if !parts.headers.contains_key(AUTHORIZATION)
            && let Some(Session(grant)) = Session::of(parts, &Authenticator::from_ref(state))?
        {
            return Ok(Self(Identity::Person(grant)));
        }
        AnyCaller::from_request_parts(parts, state).await.map(|AnyCaller(identity)| Self(identity))
    }
}
