//! Reads and follows the feed: the life-cycle events of all runs.

use axum::extract::{Request, State};
use axum::response::Response;

use super::Shared;
use super::description::{EntryBody, FeedPageBody, ProblemBody};
use super::parameters::{Query, Representation, cursor};
use crate::accept::Wire;
use crate::feed::{FEED_FIELDS, FeedFilter};
use crate::problem::Problem;

mod live;
mod pages;

/// Read or follow the feed
///
/// The life-cycle events of all runs, in one order. By `Accept`: `text/event-stream` is live,
/// `application/json` is a page (with `wait`, a long poll), `application/x-ndjson` is everything up
/// to now.
#[utoipa::path(
    get, path = "/v1/feed", tag = "events",
    params(
        ("after" = Option<String>, Query, description = "The cursor: the offset of the last entry seen"),
        ("Last-Event-ID" = Option<String>, Header, description = "The cursor, before `after`"),
        ("workflow" = Option<Vec<String>>, Query, description = "Any of these workflows; may be repeated"),
        ("tag" = Option<Vec<String>>, Query, description = "All of these tags; may be repeated"),
        ("status" = Option<Vec<String>>, Query, description = "Any of these statuses; may be repeated"),
        ("type" = Option<Vec<String>>, Query, description = "Any of these types, `*` at the end for all that begin so; may be repeated"),
        ("named" = Option<bool>, Query, description = "text/event-stream: name each frame by the entry's type"),
        ("limit" = Option<u64>, Query, description = "application/json: 1 to 1,000 entries, by default 100"),
        ("wait" = Option<u64>, Query, description = "application/json: milliseconds that an empty page waits, at most 60,000"),
    ),
    responses(
        (status = 200, description = "The entries", content(
            (FeedPageBody = "application/json"), (String = "text/event-stream"), (EntryBody = "application/x-ndjson"),
        )),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "The request was refused"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "There are too many followers"),
    ),
)]
pub(super) async fn read(
    State(services): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let representation = Representation::of(request.headers())?;
    let known: &[&str] = match representation {
        Representation::Live => &["after", "named"],
        Representation::Page => &["after", "limit", "wait"],
        Representation::Lines => &["after"],
    };
    let query = Query::parse(request.uri().query(), known, &FEED_FIELDS)?;
    let filter = FeedFilter::parse(&query)?;
    let cursor = cursor(request.headers(), &query)?.unwrap_or_default();
    match representation {
        Representation::Live => {
            let is_named = query.switch("named")?.unwrap_or(false);
            live::follow(&services, cursor, filter, is_named, Wire::of(&request)).await
        }
        Representation::Page => pages::page(&services, cursor, filter, &query).await,
        Representation::Lines => pages::lines(&services, cursor, filter).await,
    }
}
