//! Who works where: workers, whose calls are watched, and admins, who watch them.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Serialize;
use shared::auth::AsService;
use shared::envelope::Origin;
use shared::events::{Admin, Worker};
use shared::http::openapi::{CallCommandProblems, WriteProblems, tags};
use shared::http::{Fields, RequestOrigin, read_json};
use shared::ids::{AdminId, CompanyId, WorkerId};
use shared::problem::Problem;
use utoipa::ToSchema;

use super::bodies::{NewAdmin, NewWorker};
use super::{named, stored};
use crate::App;
use crate::call::mobile_no;
use crate::command::{Command, OnDirectory, short_text};

/// The directory says so.
#[derive(Serialize, ToSchema)]
struct Listed {
    success: bool,
    /// Of the worker or the admin.
    id: String,
    /// Where it stands in the log.
    sequence: u64,
}

/// Register a worker
///
/// Makes a worker known, or changes them. In another company their calls are watched by its admins from here on.
#[utoipa::path(
    put, path = "/api/workers/{id}", tag = tags::SERVICES, security(("service" = [])),
    params(("id" = String, Path, description = "The worker's id, at most 256 bytes.", example = "worker_919325590143")),
    request_body(content = NewWorker, example = json!({
        "company_id": "acme", "mobile_no": "+919325590143", "name": "Asha",
    })),
    responses(
        (status = 200, description = "Stored.", body = Listed,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        WriteProblems,
    ),
)]
pub(crate) async fn register_worker(
    State(app): State<App>,
    _service: AsService,
    RequestOrigin(origin): RequestOrigin,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let worker_id: WorkerId = named(id)?;
    let mut fields = Fields::of(read_json(request, app.settings.max_body_bytes).await?);
    let company_id = fields.required("company_id", CompanyId::try_from);
    let mobile_no = fields.required("mobile_no", mobile_no);
    let name = fields.optional("name", short_text);
    let (company_id, mobile_no) = fields.finish(company_id.zip(mobile_no))?;
    let id = worker_id.to_string();
    app.list(id, OnDirectory::RegisterWorker(Worker { worker_id, company_id, mobile_no, name }), origin).await
}

/// Remove a worker
///
/// Their calls stay; no company watches those that nobody holds.
#[utoipa::path(
    delete, path = "/api/workers/{id}", tag = tags::SERVICES, security(("service" = [])),
    params(("id" = String, Path, description = "The worker's id, at most 256 bytes.", example = "worker_919325590143")),
    responses(
        (status = 200, description = "Removed.", body = Listed,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        CallCommandProblems,
    ),
)]
pub(crate) async fn remove_worker(
    State(app): State<App>,
    _service: AsService,
    RequestOrigin(origin): RequestOrigin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let worker_id: WorkerId = named(id)?;
    app.list(worker_id.to_string(), OnDirectory::RemoveWorker(worker_id), origin).await
}

/// Register an admin
///
/// Makes an admin known, or changes them. A token of theirs that names another company is worth nothing from here on.
#[utoipa::path(
    put, path = "/api/admins/{id}", tag = tags::SERVICES, security(("service" = [])),
    params(("id" = String, Path, description = "The admin's id, at most 256 bytes.", example = "admin_1")),
    request_body(content = NewAdmin, example = json!({"company_id": "acme", "name": "Ravi"})),
    responses(
        (status = 200, description = "Stored.", body = Listed,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        WriteProblems,
    ),
)]
pub(crate) async fn register_admin(
    State(app): State<App>,
    _service: AsService,
    RequestOrigin(origin): RequestOrigin,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let admin_id: AdminId = named(id)?;
    let mut fields = Fields::of(read_json(request, app.settings.max_body_bytes).await?);
    let company_id = fields.required("company_id", CompanyId::try_from);
    let name = fields.optional("name", short_text);
    let company_id = fields.finish(company_id)?;
    let id = admin_id.to_string();
    app.list(id, OnDirectory::RegisterAdmin(Admin { admin_id, company_id, name }), origin).await
}

/// Remove an admin
///
/// Their tokens are worth nothing from here on, and their open feeds close. Calls that they hold stay theirs until a
/// service ends them.
#[utoipa::path(
    delete, path = "/api/admins/{id}", tag = tags::SERVICES, security(("service" = [])),
    params(("id" = String, Path, description = "The admin's id, at most 256 bytes.", example = "admin_1")),
    responses(
        (status = 200, description = "Removed.", body = Listed,
         headers(("Turnlog-Sequence" = u64, description = "Where it stands in the log."))),
        CallCommandProblems,
    ),
)]
pub(crate) async fn remove_admin(
    State(app): State<App>,
    _service: AsService,
    RequestOrigin(origin): RequestOrigin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let admin_id: AdminId = named(id)?;
    app.list(admin_id.to_string(), OnDirectory::RemoveAdmin(admin_id), origin).await
}

impl App {
    /// Has the directory say so of whom `id` names.
    async fn list(&self, id: String, command: OnDirectory, origin: Origin) -> Result<Response, Problem> {
        let sequence = self.committer.submit(Command::Directory(command), origin).await?.sequence;
        Ok(stored(sequence, Listed { success: true, id, sequence }))
    }
}
