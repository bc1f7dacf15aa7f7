//! All endpoints of the write edge, on one page.

use axum::Router;
use axum::routing::{post, put};

use crate::App;
use crate::endpoints::{messages, participants, sessions};

pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route("/api/v1/auth/login", post(sessions::login))
        .route("/api/v1/auth/logout", post(sessions::logout))
        .route("/api/v1/chat/message", post(messages::save))
        .route("/api/v1/chat/save-message", post(messages::save))
        .route("/api/v1/chat/messages", post(messages::save_all))
        .route("/api/v1/participants/{research_id}", put(participants::enrol))
        .route("/api/v1/profile", put(participants::update_own))
        .with_state(app)
}
