//! Login and logout.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde_json::json;
use shared::auth::{AnyCaller, Identity, Who};
use shared::events::Revocation;
use shared::http::{Caller, Fields, RequestOrigin, read_json};
use shared::ids::ParticipantId;
use shared::problem::{Kind, Problem};
use shared::subjects::Subject;

use super::stored;
use crate::App;
use crate::command::{Command, access_code};
use crate::settings::LoginMode;

/// `POST /api/v1/auth/login`.
pub(crate) async fn login(
    State(app): State<App>,
    Caller(address): Caller,
    RequestOrigin(origin): RequestOrigin,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_json(request, app.settings.max_body_bytes).await?;
    let mut fields = Fields::of(body);
    let research_id = fields.required("research_id", ParticipantId::try_from);
    let code = fields.optional("access_code", access_code);
    if code.is_none() && app.settings.login_mode == LoginMode::Code && research_id.is_some() {
        fields.reject("access_code", "is required");
    }
    let research_id = fields.finish(research_id)?;
    app.logins.admit(address.ip(), &research_id)?;
    match app.settings.login_mode {
        LoginMode::Open => drop(app.committer.submit(Command::Enrol(research_id.clone()), origin).await?),
        LoginMode::Enrolled | LoginMode::Code => app.check_known(&research_id, code).await?,
    }
    app.token_for(&research_id)
}

/// `POST /api/v1/auth/logout`: the token is dead everywhere, and its feeds close.
pub(crate) async fn logout(
    State(app): State<App>,
    AnyCaller(identity): AnyCaller,
    RequestOrigin(origin): RequestOrigin,
) -> Result<Response, Problem> {
    let Identity::Person(grant) = identity else {
        let detail = "An API key has no session to end; take it out of API_SECRET_KEY instead.";
        return Err(Problem::new(Kind::Forbidden, detail));
    };
    let revoke =
        Command::Revoke(Revocation { token_id: grant.token_id.clone(), expires_at: grant.expires_at });
    let receipt = app.committer.submit(revoke, origin).await?;
    app.authenticator.revocations().add(grant.token_id, grant.expires_at, Utc::now());
    Ok(stored(receipt.sequence, json!({"success": true})))
}

impl App {
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

    fn token_for(&self, id: &ParticipantId) -> Result<Response, Problem> {
        let ttl = self.settings.token_ttl;
        let who = Who::Participant(id.clone());
        let token = self.authenticator.tokens().issue(&who, ttl, Utc::now()).map_err(Problem::internal)?;
        let body = json!({
            "access_token": token, "token_type": "bearer", "expires_in": ttl.as_secs(), "research_id": id,
        });
        Ok(Json(body).into_response())
    }
}
