//! Reads and follows the events of a run, in the representation that the client likes best.

use axum::extract::{Request, State};
use axum::response::Response;
use runcast_event::RunId;

use super::description::{PageBody, ProblemBody};
use super::follow::{FollowRequest, Scope};
use super::parameters::{Representation, RunPath, cursor};
use super::{Services, Shared, follow, pages};
use crate::accept::Wire;
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
        ("channel" = Option<Vec<String>>, Query, description = "Only events of this channel; may be repeated, any of them"),
        ("variation" = Option<Vec<String>>, Query, description = "Only events of this variation"),
        ("stage" = Option<Vec<String>>, Query, description = "Only events of this stage, by name or number"),
        ("step" = Option<Vec<String>>, Query, description = "Only events of this step"),
        ("agent" = Option<Vec<String>>, Query, description = "Only events of this agent"),
        ("type" = Option<Vec<String>>, Query, description = "Only events of this type, or with a * at the end of types that begin so"),
        ("coalesce" = Option<bool>, Query, description = "Merge adjacent deltas of one message, call or output stream"),
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
    answer(&services, run, request, Scope::Events).await
}

/// Answers with what there is in this scope of a run.
pub(super) async fn answer(
    services: &Services,
    run: RunId,
    request: Request,
    scope: Scope,
) -> Result<Response, Problem> {
    let representation = Representation::of(request.headers())?;
    let more: &[&str] = match (representation, scope) {
        (Representation::Live, _) => {
            let wire = Wire::of(&request);
            let request = FollowRequest::parse(run, scope, request.uri(), request.headers())?;
            return follow::live(services, request, wire).await;
        }
        (Representation::Page, Scope::Events) => &["limit", "wait", "contains"],
        (Representation::Page, Scope::Mailbox) => &["limit", "wait"],
        (Representation::Lines, _) => &[],
    };
    let query = scope.query(request.uri(), more)?;
    let view = scope.view(&query)?;
    let cursor = cursor(request.headers(), &query)?;
    let _there = (scope == Scope::Mailbox).then(|| services.presence.hold(&run));
    match representation {
        Representation::Lines => pages::lines(services, run, cursor, view).await,
        _ => pages::page(services, run, cursor, view, &query).await,
    }
}
