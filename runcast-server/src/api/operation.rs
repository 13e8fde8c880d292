//! Tells how the server is, and what it can do.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use runcast_log::LogHealth;

use super::description::{ProblemBody, StatusBody};
use super::{Shared, calls, json};
use crate::metrics::METRICS_MEDIA_TYPE;
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

/// The server's figures
///
/// As OpenMetrics writes them, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses((status = 200, body = String, content_type = "application/openmetrics-text", description = "Every metric")),
)]
pub(super) async fn metrics(State(services): State<Shared>) -> Result<Response, Problem> {
    let page = tokio::task::spawn_blocking(move || services.exposition.render()).await;
    let page = page.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    let mut response = json(page);
    let media_type = HeaderValue::from_static(METRICS_MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
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
