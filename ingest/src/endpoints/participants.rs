//! Enrolment by a service, and a participant's own profile.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Serialize;
use shared::auth::{AsParticipant, AsService};
use shared::envelope::Origin;
use shared::http::openapi::{WriteProblems, tags};
use shared::http::{RequestOrigin, read_json};
use shared::ids::ParticipantId;
use shared::problem::{FieldError, Problem};
use utoipa::ToSchema;

use super::bodies::{Enrolment, Profile};
use super::stored;
use crate::App;
use crate::command::{Command, ProfileRequest};

/// A participant is known.
#[derive(Serialize, ToSchema)]
struct Enrolled {
    success: bool,
    #[schema(value_type = String)]
    research_id: ParticipantId,
    /// Where it stands in the log.
    sequence: u64,
}

/// Enrol a participant
///
/// Makes a participant known, or changes what is given.
#[utoipa::path(
    put, path = "/api/v1/participants/{research_id}", tag = tags::SERVICES, security(("service" = [])),
    params(("research_id" = String, Path, description = "The participant's id, not blank.", example = "RID001")),
    request_body(content = Enrolment, example = json!({"name": "Ada", "age": 36, "location": "London"})),
    responses(
        (status = 200, description = "Stored.", body = Enrolled,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        WriteProblems,
    ),
)]
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

/// Change the own profile
///
/// Changes what is given.
#[utoipa::path(
    put, path = "/api/v1/profile", tag = tags::PARTICIPANTS, security(("participant" = [])),
    request_body(content = Profile, example = json!({"name": "Ada", "age": 36, "location": "London"})),
    responses(
        (status = 200, description = "Stored.", body = Enrolled,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        WriteProblems,
    ),
)]
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
        let sequence = receipt.sequence;
        Ok(stored(sequence, Enrolled { success: true, research_id: id, sequence }))
    }
}
