//! Login and logout.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::audit::{Credential, Look, Looker, Trail, What};
use shared::auth::{AnyCaller, Grant, Identity, Who};
use shared::envelope::Origin;
use shared::events::Revocation;
use shared::http::openapi::{CommandProblems, OpenWriteProblems, tags};
use shared::http::{Caller, Fields, RequestOrigin, read_json};
use shared::ids::ParticipantId;
use shared::limiter::Allowances;
use shared::problem::{Kind, Problem};
use shared::subjects::Subject;
use utoipa::ToSchema;

use super::bodies::Login;
use super::stored;
use crate::App;
use crate::command::{Command, access_code};
use crate::settings::LoginMode;

/// A token for a participant.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedIn {
    /// Sent with every request: `Authorization: Bearer <access_token>`.
    access_token: String,
    /// `bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    #[schema(value_type = String)]
    research_id: ParticipantId,
}

/// A token is given up.
#[derive(Serialize, ToSchema)]
struct LoggedOut {
    success: bool,
}

/// Log in
///
/// Makes a token for a participant. With `LOGIN_MODE=open` any id enrols itself, with `enrolled` it must be known, and
/// with `code` it needs its access code. Limited for each address and each id.
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = tags::PARTICIPANTS,
    request_body(content = Login, example = json!({"research_id": "RID001"})),
    responses((status = 200, description = "A token.", body = LoggedIn), OpenWriteProblems),
)]
pub(crate) async fn login(
    State(app): State<App>,
    Caller(address): Caller,
    allowances: Allowances,
    RequestOrigin(origin): RequestOrigin,
    trail: Trail,
    request: Request,
) -> Result<Json<LoggedIn>, Problem> {
    let body = read_json(request, app.settings.max_body_bytes).await?;
    let mut fields = Fields::of(body);
    let research_id = fields.required("research_id", ParticipantId::try_from);
    let code = fields.optional("access_code", access_code);
    if code.is_none() && app.settings.login_mode == LoginMode::Code && research_id.is_some() {
        fields.reject("access_code", "is required");
    }
    let research_id = fields.finish(research_id)?;
    app.logins.admit(address, &research_id, &allowances)?;
    match app.settings.login_mode {
        LoginMode::Open => drop(app.committer.submit(Command::Enrol(research_id.clone()), origin).await?),
        LoginMode::Enrolled | LoginMode::Code => app.check_known(&research_id, code).await?,
    }
    app.token_for(research_id, &trail).await.map(Json)
}

/// Log out
///
/// The token is dead everywhere within a second, and its open feeds close.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = tags::PARTICIPANTS,
    security(("participant" = []), ("admin" = []), ("researcher" = [])),
    responses(
        (status = 200, description = "Given up.", body = LoggedOut,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        CommandProblems,
    ),
)]
pub(crate) async fn logout(
    State(app): State<App>,
    AnyCaller(identity): AnyCaller,
    RequestOrigin(origin): RequestOrigin,
) -> Result<Response, Problem> {
    let Identity::Person(grant) = identity else {
        let detail = "An API key has no session to end; take it out of API_SECRET_KEY instead.";
        return Err(Problem::new(Kind::Forbidden, detail));
    };
    let sequence = app.revoke(grant, origin).await?;
    Ok(stored(sequence, LoggedOut { success: true }))
}

impl App {
    /// Ends a token or a session for good; answers where that stands in the log.
    pub(super) async fn revoke(&self, grant: Grant, origin: Origin) -> Result<u64, Problem> {
        let Grant { token_id, expires_at, .. } = grant;
        let revoke = Command::Revoke(Revocation { token_id: token_id.clone(), expires_at });
        let receipt = self.committer.submit(revoke, origin).await?;
        self.authenticator.revocations().add(token_id, expires_at, Utc::now());
        Ok(receipt.sequence)
    }

    async fn check_known(&self, id: &ParticipantId, code: Option<String>) -> Result<(), Problem> {
        let known = self.committer.look(&Subject::participant(id), |state| state.participant.clone()).await?;
        let wrong =
            || Problem::new(Kind::Unauthenticated, "This research_id is not enrolled, or its code is wrong.");
        if self.settings.login_mode == LoginMode::Enrolled {
            return known.map(drop).ok_or_else(wrong);
        }
        let hash = known.and_then(|known| known.access_code_hash);
        let matches = self.access_codes.matches(code.unwrap_or_default(), hash).await?;
        if matches { Ok(()) } else { Err(wrong()) }
    }

    async fn token_for(&self, id: ParticipantId, trail: &Trail) -> Result<LoggedIn, Problem> {
        let ttl = self.settings.token_ttl;
        let who = Who::Participant(id.clone());
        let tokens = self.authenticator.tokens();
        let access_token = tokens.issue(&who, ttl, Utc::now()).map_err(Problem::internal)?;
        let grant = tokens.check(&access_token).map_err(Problem::internal)?;
        let issued = trail.of(Looker::participant(&id), What::TokenIssued);
        self.record_issued(issued, Credential::Token, Some(&grant.token_id), grant.expires_at).await?;
        Ok(LoggedIn { access_token, token_type: "bearer", expires_in: ttl.as_secs(), research_id: id })
    }

    /// Records that whoever asked gets a credential; it must not go out before.
    pub(super) async fn record_issued(
        &self,
        asked: Look,
        kind: Credential,
        id: Option<&str>,
        until: DateTime<Utc>,
    ) -> Result<(), Problem> {
        let to = asked.who.clone();
        self.recorder.record(Some(asked.issued(kind, &to, id, until))).await
    }
}
