//! Tickets for clients that cannot set headers: each opens one feed, once, on whichever instance it is shown to.

use axum::Json;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use shared::audit::{Credential, What};
use shared::auth::{AnyCaller, Authenticator, BadTicket, Identity, Proven};
use shared::claims::{Claims, Unclaimed};
use shared::http::openapi::{CommandProblems, tags};
use shared::problem::{Kind, Problem};
use utoipa::ToSchema;

use crate::looks::{Looks, Trail};
use crate::query;

/// What tickets need.
#[derive(Debug, Clone)]
pub(crate) struct Tickets {
    pub(crate) auth: Authenticator,
    pub(crate) claims: Claims,
}

/// Whoever opens a feed: by the header, by a ticket in the address, or by a session's cookie.
#[derive(Debug)]
pub(crate) struct Watcher(pub(crate) Identity);

#[derive(Serialize, ToSchema)]
struct StreamTicket {
    /// For `?ticket=`, once.
    ticket: String,
    /// Seconds.
    expires_in: u64,
}

#[derive(Deserialize)]
struct Shown {
    ticket: Option<String>,
}

impl FromRef<Tickets> for Authenticator {
    fn from_ref(tickets: &Tickets) -> Self {
        tickets.auth.clone()
    }
}

/// Ticket for a feed
///
/// Opens one feed, or one attachment or sound, once, within 30 seconds, on any instance: `?ticket=` for clients that cannot
/// set a header, such as `EventSource` and WebSockets in browsers. The feed ends when the credential does that the ticket was made with. A
/// client that reconnects by itself needs a new ticket each time; browsers are better off with `POST /api/session`.
#[utoipa::path(
    post, path = "/api/stream-tickets", tag = tags::READERS,
    security(("participant" = []), ("admin" = []), ("researcher" = []), ("service" = [])),
    responses((status = 200, description = "A ticket.", body = StreamTicket), CommandProblems),
)]
pub(crate) async fn stream_ticket(
    State(tickets): State<Tickets>,
    State(looks): State<Looks>,
    AnyCaller(identity): AnyCaller,
    trail: Trail,
) -> Result<Response, Problem> {
    let now = Utc::now();
    let made = tickets.auth.tokens().ticket(&identity, trail.key(), now);
    let (ticket, end) = made.map_err(Problem::internal)?;
    let issued = trail.act(&identity, What::TokenIssued);
    let to = issued.who.clone();
    looks.record(Some(issued.issued(Credential::Ticket, &to, None, end))).await?;
    // In whole seconds, as the ticket itself counts.
    let expires_in = (end.timestamp() - now.timestamp()).unsigned_abs();
    Ok(([shared::http::NOT_STORED], Json(StreamTicket { ticket, expires_in })).into_response())
}

impl Tickets {
    /// Whoever got this ticket; nobody gets in with it again.
    ///
    /// # Errors
    /// 401 where it is no good, saying why; 503 where it is not certain that it was not used before.
    async fn redeem(&self, ticket: &str, parts: &mut Parts) -> Result<Identity, Problem> {
        let ticket = self.auth.tokens().check_ticket(ticket).map_err(refused)?;
        Proven::note(parts, &ticket.identity, ticket.key.as_ref());
        if let Identity::Person(grant) = &ticket.identity
            && self.auth.revocations().contains(&grant.token_id)
        {
            return Err(refused(BadTicket::Revoked));
        }
        self.claims.claim(&ticket.id).await.map_err(|error| match error {
            Unclaimed::Taken => refused(BadTicket::Used),
            Unclaimed::Unavailable(cause) => {
                let detail = "The ticket cannot be checked for now; get a new one and try again in a moment.";
                Problem::unavailable(detail, cause)
            }
        })?;
        if let Some(key) = ticket.key {
            parts.extensions.insert(key);
        }
        Ok(ticket.identity)
    }
}

fn refused(bad: BadTicket) -> Problem {
    Problem::new(Kind::Unauthenticated, bad.to_string())
}

impl<S> FromRequestParts<S> for Watcher
where
    Authenticator: FromRef<S>,
    Tickets: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            let Shown { ticket } = query::read(parts, state).await?;
            if let Some(ticket) = ticket {
                return Tickets::from_ref(state).redeem(&ticket, parts).await.map(Self);
            }
        }
        AnyCaller::from_request_parts(parts, state).await.map(|AnyCaller(identity)| Self(identity))
    }
}
