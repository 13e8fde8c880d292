//! A producer says that it is there.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use super::description::ProblemBody;
use super::parameters::{Query, RunPath};
use crate::problem::{Code, Problem};

/// Say that a run's producer is there
///
/// A run whose producer is silent for too long has crashed.
#[utoipa::path(
    post, path = "/v1/runs/{run}/heartbeat", tag = "talking back",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 204, description = "It was heard"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such run"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The run has ended"),
        (status = 410, body = ProblemBody, content_type = "application/problem+json", description = "The run was deleted"),
    ),
)]
pub(super) async fn beat(
    State(services): State<Shared>,
    RunPath(run): RunPath,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri().query(), &[], &[])?;
    let stat = services.hub.stat(&run).await?.ok_or_else(Problem::not_found)?;
    if stat.closed {
        let detail = format!("the run has ended at offset {}", stat.last);
        return Err(Problem::new(Code::RunEnded, detail).with("last", stat.last.get()));
    }
    services.presence.hear(&run);
    Ok(StatusCode::NO_CONTENT.into_response())
}
