//! Tells how the server is, and what it can do.

use axum::extract::State;
use axum::response::Response;
use runcast_log::LogHealth;

use super::description::{ProblemBody, StatusBody};
use super::{Shared, calls, json};
use crate::problem::{Code, Problem};

const OK: &[u8] = br#"{"status":"ok"}"#;

/// Is the process up?
#[utoipa::path(
    get, path = "/healthz", tag = "operation",
    responses((status = 200, body = StatusBody, description = "The process is up")),
)]
pub(super) async fn healthz() -> Response {
    json(OK)
}

/// Are appends taken?
#[utoipa::path(
    get, path = "/readyz", tag = "operation",
    responses(
        (status = 200, body = StatusBody, description = "Appends are taken"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Appends are refused"),
    ),
)]
pub(super) async fn readyz(State(services): State<Shared>) -> Result<Response, Problem> {
    match services.hub.health() {
        LogHealth::Healthy => Ok(json(OK)),
        LogHealth::Full { reason } | LogHealth::Failed { reason } => {
            let detail = format!("the log takes no events: {reason}");
            Err(Problem::new(Code::LogUnavailable, detail))
        }
    }
}

/// This description
#[utoipa::path(
    get, path = "/openapi.json", tag = "operation",
    responses((status = 200, body = Object, description = "The calls, as OpenAPI describes them")),
)]
pub(super) async fn openapi() -> Response {
    let description = calls().into_openapi();
    json(serde_json::to_vec(&description).expect("a description is plain JSON"))
}
