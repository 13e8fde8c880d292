//! Reads and follows the events of a run, in the representation that the client likes best.

use axum::extract::{Request, State};
use axum::response::Response;

use super::description::{PageBody, ProblemBody};
use super::parameters::{Query, Representation, RunPath, cursor};
use super::{Shared, follow, pages};
use crate::problem::Problem;

/// Read or follow events
///
/// By `Accept`: `text/event-stream` is live, `application/json` is a page (with `wait`, a long
/// poll), `application/x-ndjson` is all events up to now.
#[utoipa::path(
    get, path = "/v1/runs/{run}/events", tag = "events",
    params(
        ("run" = String, Path, description = "The run's id"),
        ("after" = Option<String>, Query, description = "The cursor: the offset of the last event seen"),
        ("Last-Event-ID" = Option<String>, Header, description = "The cursor, before `after`"),
        ("named" = Option<bool>, Query, description = "text/event-stream: name each frame by the event's type"),
        ("limit" = Option<u64>, Query, description = "application/json: 1 to 1,000 events, by default 100"),
        ("wait" = Option<u64>, Query, description = "application/json: milliseconds that an empty page waits, at most 60,000"),
        ("contains" = Option<String>, Query, description = "application/json: only events with this text"),
    ),
    responses(
        (status = 200, description = "The events", content(
            (PageBody = "application/json"), (String = "text/event-stream"), (String = "application/x-ndjson"),
        )),
        (status = 204, description = "text/event-stream: the run has ended and all its events were seen"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such run"),
        (status = 410, body = ProblemBody, content_type = "application/problem+json", description = "The run was deleted"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "The request was refused"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "There are too many followers"),
    ),
)]
pub(super) async fn read(
    State(services): State<Shared>,
    RunPath(run): RunPath,
    request: Request,
) -> Result<Response, Problem> {
    let (request, _) = request.into_parts();
    let representation = Representation::of(&request.headers)?;
    let known: &[&str] = match representation {
        Representation::Live => &["after", "named"],
        Representation::Page => &["after", "limit", "wait", "contains"],
        Representation::Lines => &["after"],
    };
    let query = Query::parse(request.uri.query(), known, &[])?;
    let cursor = cursor(&request.headers, &query)?;
    match representation {
        Representation::Live => {
            let is_named = query.switch("named")?.unwrap_or(false);
            follow::live(&services, run, cursor, is_named, &request).await
        }
        Representation::Page => pages::page(&services, run, cursor, &query).await,
        Representation::Lines => pages::lines(&services, run, cursor).await,
    }
}
