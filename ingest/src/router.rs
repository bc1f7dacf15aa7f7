//! All endpoints of the write edge, on one page.

use axum::middleware;
use shared::audit::refused;
use shared::http::openapi::alias;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::endpoints::{
    browsers, calls, directory, dreams, media, messages, participants, said, sessions, talks, webhooks,
};

pub(crate) fn routes(app: App) -> OpenApiRouter {
    let refusals = app.refusals.clone();
    OpenApiRouter::new()
        .routes(routes!(sessions::login))
        .routes(routes!(sessions::logout))
        .routes(routes!(browsers::begin_session, browsers::end_session))
        .routes(routes!(messages::save))
        .routes(alias("/api/v1/chat/save-message", "save_message", routes!(messages::save)))
        .routes(routes!(messages::save_all))
        .routes(routes!(participants::enrol))
        .routes(routes!(participants::update_own))
        .routes(routes!(dreams::tell))
        .routes(routes!(dreams::interpret))
        .routes(routes!(talks::init))
        .routes(routes!(talks::refresh_token))
        .routes(routes!(talks::validate_session))
        .routes(routes!(said::save_said))
        .routes(routes!(webhooks::elevenlabs_webhook))
        .routes(routes!(webhooks::conversation_webhook))
        .routes(routes!(directory::register_worker, directory::remove_worker))
        .routes(routes!(directory::register_admin, directory::remove_admin))
        .routes(routes!(media::upload))
        .routes(routes!(calls::open))
        .routes(routes!(calls::save_turn))
        .routes(routes!(calls::take_over))
        .routes(routes!(calls::release))
        .routes(routes!(calls::end))
        .routes(routes!(calls::see))
        .routes(routes!(calls::typing))
        .with_state(app)
        .layer(middleware::from_fn_with_state(refusals, refused))
}
