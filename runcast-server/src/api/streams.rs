//! Follows many runs on one connection, as server-sent events with a cursor for each run.

use std::collections::HashMap;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use runcast_event::{Cursor, FILTER_FIELDS, RunId};
use runcast_log::{ReadError, StreamStat};

use super::description::ProblemBody;
use super::parameters::{Query, header_text};
use super::{Services, Shared, live};
use crate::accept::Wire;
use crate::problem::Problem;
use crate::transport::many::CURSOR_BYTES_MAX;

mod viewer;

use viewer::Viewer;

/// Runs on one connection.
const RUNS_MAX: usize = 256;
/// Bytes that the cursors of all runs of a connection can have, so that every browser and proxy
/// takes them as a `Last-Event-ID`.
const CURSORS_BYTES_MAX: usize = 20 * 1024;

/// Follow many runs
///
/// Live, as server-sent events. Each frame names its run, and its `id` is a cursor for every run, so
/// that a browser resumes all of them.
#[utoipa::path(
    get, path = "/v1/streams", tag = "events",
    params(
        ("run" = Vec<String>, Query, description = "A run to follow; repeated, at most 256"),
        ("after" = Option<String>, Query, description = "Cursors, such as a:3,b:9: of each run the last event seen"),
        ("Last-Event-ID" = Option<String>, Header, description = "The cursors, instead of `after`"),
        ("named" = Option<bool>, Query, description = "Name each frame by the event's type"),
    ),
    responses(
        (status = 200, description = "The events", content((String = "text/event-stream"))),
        (status = 204, description = "All runs have ended and all their events were seen"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "The request was refused"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "There are too many followers"),
    ),
)]
pub(super) async fn follow(
    State(services): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let repeatable = [&["run"][..], &FILTER_FIELDS].concat();
    let known = ["after", "named", "coalesce"];
    let query = Query::parse(request.uri().query(), &known, &repeatable)?;
    let view = query.view()?;
    let is_named = query.switch("named")?.unwrap_or(false);
    let cursors = cursors(&query, request.headers())?;
    if all_seen(&services, &cursors).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let viewer = Viewer::open(&services, cursors, view, is_named, Wire::of(&request)).await?;
    Ok(live::answer(stream::unfold(viewer, |mut viewer| async move {
        let frame = viewer.next_frame().await?;
        Some((frame, viewer))
    })))
}

/// The runs, in the order of the request, each with its cursor.
fn cursors(query: &Query<'_>, headers: &HeaderMap) -> Result<Vec<(RunId, Cursor)>, Problem> {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let refused = |detail: String| Problem::parameter("run", detail);
    let mut cursors = Vec::new();
    let mut places = HashMap::new();
    let mut bytes = 0;
    for text in query.all("run") {
        let run = RunId::new(text)?;
        if places.insert(run.clone(), cursors.len()).is_some() {
            return Err(refused(format!("{run} is there more than once")));
        }
        bytes += text.len() + CURSOR_BYTES_MAX;
        cursors.push((run, Cursor::START));
        if cursors.len() > RUNS_MAX {
            let detail = format!("is there more than {RUNS_MAX} times");
            return Err(refused(detail).with("max", RUNS_MAX));
        }
    }
    if cursors.is_empty() {
        return Err(refused("is missing: say which runs to follow".to_owned()));
    }
    if bytes > CURSORS_BYTES_MAX {
        let detail = "ids are too long together for one connection: follow fewer runs on it";
        return Err(refused(detail.to_owned()).with("max", CURSORS_BYTES_MAX));
    }
    let last_id = header_text(headers, &LAST_EVENT_ID)?.filter(|text| !text.is_empty());
    let placed = match last_id {
        Some(text) => {
            let refused = |detail| Problem::header("Last-Event-ID", detail);
            place(text, &places, &mut cursors).map_err(refused)
        }
        None => {
            let refused = |detail| Problem::parameter("after", detail);
            let text = query.text("after").unwrap_or_default();
            place(text, &places, &mut cursors).map_err(refused)
        }
    };
    placed.map(|()| cursors)
}

/// Reads cursors such as `a:3,b:2.9` into their runs' places.
fn place(
    text: &str,
    places: &HashMap<RunId, usize>,
    cursors: &mut [(RunId, Cursor)],
) -> Result<(), String> {
    let mut is_placed = vec![false; cursors.len()];
    for item in text.split(',').filter(|_| !text.is_empty()) {
        let shown: String = item.chars().take(160).collect();
        // Ids may have colons, cursors never.
        let Some((run, cursor)) = item.rsplit_once(':') else {
            return Err(format!("has {shown:?}, which is not a run and its cursor such as a:3"));
        };
        let Some(at) = places.get(run).copied() else {
            return Err(format!("has {shown:?}, a cursor of a run that is not followed"));
        };
        if std::mem::replace(&mut is_placed[at], true) {
            return Err(format!("has more than one cursor of the run {run}"));
        }
        cursors[at].1 = cursor.parse().map_err(|error| format!("has {shown:?}: {error}"))?;
    }
    Ok(())
}

/// Whether there is nothing more to come of any of the runs.
async fn all_seen(services: &Services, cursors: &[(RunId, Cursor)]) -> Result<bool, Problem> {
    for (run, cursor) in cursors {
        match services.hub.stat(run).await {
            Ok(Some(stat)) if has_seen_all(*cursor, &stat) => {}
            Err(ReadError::Deleted) => {}
            Ok(_) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn has_seen_all(cursor: Cursor, stat: &StreamStat) -> bool {
    stat.closed && cursor == Cursor::new(stat.epoch, stat.last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(raw: &str) -> Result<Vec<String>, Problem> {
        let query = Query::parse(Some(raw), &["after"], &["run"])?;
        let cursors = cursors(&query, &HeaderMap::new())?;
        Ok(cursors.iter().map(|(run, cursor)| format!("{run}:{cursor}")).collect())
    }

    #[test]
    fn the_last_colon_ends_the_run() {
        assert_eq!(read("run=a:b&run=c&after=a:b:2.7").unwrap(), ["a:b:2.7", "c:0"]);
        assert_eq!(read("run=a&run=a:1&after=a:1:4,a:3").unwrap(), ["a:3", "a:1:4"]);
        assert_eq!(read("run=a&after=").unwrap(), ["a:0"]);
    }

    #[test]
    fn the_most_runs_with_usual_ids_fit() {
        let run = |_| format!("run={}", RunId::random());
        let most: Vec<_> = (0..RUNS_MAX).map(run).collect();
        assert_eq!(read(&most.join("&")).unwrap().len(), RUNS_MAX);
        let long: Vec<_> = (0..RUNS_MAX).map(|at| format!("run={at:0128}")).collect();
        assert!(read(&long.join("&")).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_back(
            runs in prop::collection::hash_set("[a-z:.~-]{1,6}", 1..8), after in 0_u64..1 << 53, epoch in 1_u32..,
        ) {
            prop_assume!(!runs.contains(".") && !runs.contains(".."));
            let cursor = format!("{epoch}.{after}").parse::<Cursor>().unwrap();
            let query: Vec<_> = runs.iter().map(|run| format!("run={run}")).collect();
            let written: Vec<_> = runs.iter().map(|run| format!("{run}:{cursor}")).collect();
            let raw = format!("{}&after={}", query.join("&"), written.join(","));
            prop_assert_eq!(read(&raw).unwrap(), written);
        }

        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,64}") {
            let places = HashMap::from([(RunId::new("a").unwrap(), 0)]);
            let _ = place(&text, &places, &mut [(RunId::new("a").unwrap(), Cursor::START)]);
        }
    }
}
