//! Enrolment by a service, and a participant's own profile.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde_json::json;
use shared::auth::{AsParticipant, AsService};
use shared::envelope::Origin;
use shared::http::{RequestOrigin, read_json};
use shared::ids::ParticipantId;
use shared::problem::{FieldError, Problem};

use super::stored;
use crate::App;
use crate::command::{Command, ProfileRequest};

/// `PUT /api/v1/participants/{research_id}`.
pub(crate) async fn enrol(
    State(app): State<App>,
    _service: AsService,
    RequestOrigin(origin): RequestOrigin,
    Path(research_id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let id = ParticipantId::try_from(research_id).map_err(|error| {
        Problem::fields(vec![FieldError { field: "research_id".into(), message: error.to_string() }])
    })?;
    app.update(id, origin, request, true).await
}

/// `PUT /api/v1/profile`.
pub(crate) async fn update_own(
    State(app): State<App>,
    AsParticipant { participant, .. }: AsParticipant,
    RequestOrigin(origin): RequestOrigin,
    request: Request,
) -> Result<Response, Problem> {
    app.update(participant, origin, request, false).await
}

impl App {
    async fn update(
        &self,
        id: ParticipantId,
        origin: Origin,
        request: Request,
        with_code: bool,
    ) -> Result<Response, Problem> {
        let body = read_json(request, self.settings.max_body_bytes).await?;
        let ProfileRequest { mut enrolment, access_code } =
            ProfileRequest::parse(body, id.clone(), with_code)?;
        if let Some(code) = access_code {
            enrolment.access_code_hash = Some(self.access_codes.hash(code).await?);
        }
        let receipt = self.committer.submit(Command::Update(enrolment), origin).await?;
        Ok(stored(
            receipt.sequence,
            json!({"success": true, "research_id": id, "sequence": receipt.sequence}),
        ))
    }
}
