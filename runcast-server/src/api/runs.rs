//! Lists, shows and deletes runs.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use runcast_event::{Cursor, RunId};
use runcast_run::{RunSnapshot, RunSummary, Status};
use serde::Serialize;

use super::description::{ProblemBody, RunBody, RunsBody};
use super::parameters::{Query, RunPath};
use super::{Services, Shared, json};
use crate::problem::Problem;
use crate::projection::{Filter, Listed, Statuses};

/// Runs in one list at most.
const LIST_MAX: u64 = 1_000;
/// Runs in one list if the request says nothing.
const LIST_DEFAULT: u64 = 100;

#[derive(Serialize)]
struct ListAnswer<'a> {
    runs: &'a [RunSummary],
    next: Option<String>,
    feed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<BTreeMap<&'static str, usize>>,
}

/// List runs
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/runs", tag = "runs",
    params(
        ("status" = Option<Vec<String>>, Query, description = "Any of these statuses; may be repeated"),
        ("workflow" = Option<String>, Query, description = "Runs of this workflow"),
        ("tag" = Option<Vec<String>>, Query, description = "All of these tags; may be repeated"),
        ("step_status" = Option<Vec<String>>, Query, description = "Runs with a step that stands at any of these; may be repeated"),
        ("input" = Option<String>, Query, description = "`open`: runs that wait for an answer"),
        ("text" = Option<String>, Query, description = "Runs with this text in their name or id, case ignored"),
        ("created_after" = Option<String>, Query, description = "Runs created after this time, as RFC 3339 writes it"),
        ("created_before" = Option<String>, Query, description = "Runs created before this time"),
        ("counts" = Option<bool>, Query, description = "How many runs there are by status, whichever statuses are wanted"),
        ("limit" = Option<u64>, Query, description = "1 to 1,000, by default 100"),
        ("cursor" = Option<String>, Query, description = "The `next` of the list before"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a list: 304 if it is the same"),
    ),
    responses(
        (status = 200, body = RunsBody, description = "The runs"),
        (status = 304, description = "The list is the same"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "A parameter was refused"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The runs are still being read"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let known = [
        "workflow",
        "input",
        "text",
        "created_after",
        "created_before",
        "counts",
        "limit",
        "cursor",
    ];
    let repeatable = ["status", "tag", "step_status"];
    let query = Query::parse(request.uri().query(), &known, &repeatable)?;
    let filter = filter(&query)?;
    let limit = query.number("limit", 1..=LIST_MAX)?.unwrap_or(LIST_DEFAULT) as usize;
    let from = query.parsed("cursor")?;
    // Before the list: what the feed has behind this may be in the list, what it has up to it is.
    let feed = services.hub.feed_cursor();
    let listed = services.projection.list(&filter, from, limit).await?;
    let counts = match query.switch("counts")? {
        Some(true) => Some(services.projection.count(&filter).await?),
        _ => None,
    };
    Ok(answer(&listed, counts, feed, request.headers()))
}

/// Which runs a query wants.
fn filter(query: &Query<'_>) -> Result<Filter, Problem> {
    let statuses: Result<_, _> = query.all("status").map(str::parse).collect();
    let step_statuses: Result<_, _> = query.all("step_status").map(str::parse).collect();
    let is_asking = match query.text("input") {
        None => false,
        Some("open") => true,
        Some(_) => return Err(Problem::parameter("input", "must be open")),
    };
    Ok(Filter {
        statuses: statuses.map_err(|error| Problem::parameter("status", error))?,
        workflow: query.text("workflow").map(str::to_owned),
        tags: query.all("tag").map(str::to_owned).collect(),
        step_statuses: step_statuses.map_err(|error| Problem::parameter("step_status", error))?,
        is_asking,
        text: query.text("text").map(str::to_lowercase),
        created: (query.parsed("created_after")?, query.parsed("created_before")?),
    })
}

fn answer(
    listed: &Listed,
    counts: Option<Statuses>,
    feed: Cursor,
    headers: &HeaderMap,
) -> Response {
    let etag = etag_of(listed, counts);
    let is_same = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag)).any(|tag| tag == etag || tag == "*")
    });
    let mut response = if is_same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let next = listed.next.as_ref().map(ToString::to_string);
        let by_name = |counts: Statuses| {
            let names = Status::ALL.iter().map(|status| status.as_str());
            names.zip(counts).filter(|(_, count)| *count > 0).collect()
        };
        let counts = counts.map(by_name);
        let answer = ListAnswer { runs: &listed.runs, next, feed: feed.to_string(), counts };
        json(serde_json::to_vec(&answer).expect("a snapshot is plain JSON"))
    };
    let etag = HeaderValue::try_from(etag).expect("a tag is hexadecimal digits in quotes");
    response.headers_mut().insert(header::ETAG, etag);
    let always_ask = HeaderValue::from_static("no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, always_ask);
    response
}

/// A run's state is what its events fold to: the same runs at the same offsets are the same list.
fn etag_of(listed: &Listed, counts: Option<Statuses>) -> String {
    let mut hasher = DefaultHasher::new();
    for run in &listed.runs {
        (&run.id, run.epoch, run.offset, run.first_offset).hash(&mut hasher);
    }
    listed.next.is_some().hash(&mut hasher);
    counts.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// A run's state, with every event that was acknowledged before.
pub(super) async fn snapshot(services: &Services, run: &RunId) -> Result<RunSnapshot, Problem> {
    let stat = services.hub.stat(run).await?.ok_or_else(Problem::not_found)?;
    match services.projection.snapshot(run, &stat).await? {
        Some(snapshot) => Ok(snapshot),
        // It was deleted since.
        None => Err(runcast_log::ReadError::Deleted.into()),
    }
}

/// Show a run
///
/// Its state, folded from its events and true at `offset`.
#[utoipa::path(
    get, path = "/v1/runs/{run}", tag = "runs",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 200, body = RunBody, description = "The run's state"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such run"),
        (status = 410, body = ProblemBody, content_type = "application/problem+json", description = "The run was deleted"),
    ),
)]
pub(super) async fn show(
    State(services): State<Shared>,
    RunPath(run): RunPath,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri().query(), &[], &[])?;
    let snapshot = snapshot(&services, &run).await?;
    Ok(json(serde_json::to_vec(&snapshot).expect("a snapshot is plain JSON")))
}

/// Delete a run
///
/// With all its events. Followers are told.
#[utoipa::path(
    delete, path = "/v1/runs/{run}", tag = "runs",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 204, description = "The run is deleted"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such run"),
        (status = 410, body = ProblemBody, content_type = "application/problem+json", description = "The run was deleted before"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json", description = "The log takes no changes"),
    ),
)]
pub(super) async fn delete(
    State(services): State<Shared>,
    RunPath(run): RunPath,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri().query(), &[], &[])?;
    if services.hub.delete(&run).await? {
        tracing::info!(%run, "a run was deleted");
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    // A run that was deleted before is gone, one that never was is not found.
    services.hub.stat(&run).await?;
    Err(Problem::not_found())
}
