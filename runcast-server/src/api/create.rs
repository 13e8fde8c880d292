//! Creates a run.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use runcast_event::{Draft, EventProblem, Offset, RunId, limits, parse_event};
use runcast_log::{Append, AppendError};
use runcast_run::{Definition, RunState};
use serde_json::{Map, Value};

use super::body::read_whole;
use super::description::{CreateBody, ProblemBody, RunBody};
use super::parameters::{MediaType, Query};
use super::runs::snapshot;
use super::{Services, Shared, json};
use crate::problem::{Code, Problem};

/// How often a create is tried again when the run is deleted between its steps.
const ATTEMPTS_MAX: usize = 8;

/// Create a run
///
/// The same id with the same definition is answered with the run as it is.
#[utoipa::path(
    post, path = "/v1/runs", tag = "runs",
    request_body(content = CreateBody, description = "What the run is; all fields are optional"),
    responses(
        (status = 201, body = RunBody, description = "The run was created"),
        (status = 200, body = RunBody, description = "The run exists with this definition"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The run exists with another definition"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "The definition was refused"),
    ),
)]
pub(super) async fn create(
    State(services): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(parts.uri.query(), &[], &[])?;
    let has_type = parts.headers.contains_key(header::CONTENT_TYPE);
    let bytes = read_whole(&parts.headers, body, limits::EVENT_BYTES_MAX, &services.limits).await?;
    // No body at all is an empty definition.
    if (has_type || !bytes.is_empty()) && MediaType::of(&parts.headers)? != MediaType::Json {
        let detail = "a run is created with one JSON object: Content-Type must be application/json";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let (run, definition) = parse(&bytes)?;
    make(&services, run, definition).await
}

/// Takes the body apart into the id and the definition, both checked.
fn parse(bytes: &[u8]) -> Result<(RunId, Definition), Problem> {
    let mut body: Map<String, Value> = if bytes.is_empty() {
        Map::new()
    } else {
        serde_json::from_slice(bytes).map_err(|error| {
            let detail = format!("the body must be a JSON object: {error}");
            Problem::new(Code::InvalidBody, detail)
        })?
    };
    let run = match body.remove("id") {
        None | Some(Value::Null) => RunId::random(),
        Some(Value::String(text)) => {
            RunId::new(&text).map_err(|error| Problem::from(error).with("field", "id"))?
        }
        Some(_) => return Err(invalid_field("id", "must be a string")),
    };
    let definition = serde_path_to_error::deserialize(Value::Object(body)).map_err(|error| {
        let (path, reason) = (error.path().to_string(), error.inner().to_string());
        invalid_field(&path, &reason)
    })?;
    Ok((run, definition))
}

fn invalid_field(field: &str, reason: &str) -> Problem {
    Problem::new(Code::InvalidBody, format!("{field}: {reason}")).with("field", field)
}

async fn make(
    services: &Services,
    run: RunId,
    definition: Definition,
) -> Result<Response, Problem> {
    let data = serde_json::to_value(&definition).expect("a definition is plain JSON");
    let draft = Draft::new("run.queued", data).to_json();
    let event = parse_event(draft.as_bytes(), services.clock.now()).map_err(|error| {
        let field = error.field.strip_prefix("data.").unwrap_or(&error.field);
        match &error.problem {
            EventProblem::TooLarge { max, .. } if field.is_empty() => {
                let detail = format!("the definition is larger than {max} bytes");
                Problem::new(Code::BodyTooLarge, detail).with("max", *max)
            }
            problem => invalid_field(field, &problem.to_string()),
        }
    })?;
    RunState::new(run.clone())
        .check(&event.payload)
        .map_err(|refusal| invalid_field("stages", &refusal.to_string()))?;
    for _ in 0..ATTEMPTS_MAX {
        let append = Append {
            run: run.clone(),
            events: vec![event.payload.bytes().clone()],
            close: false,
            expected_last: Some(Offset::START),
            producer: None,
            create: true,
        };
        let status = match services.hub.append(append).await {
            Ok(_) => StatusCode::CREATED,
            Err(AppendError::OffsetMismatch { .. } | AppendError::Closed { .. }) => {
                match existing(services, &run).await? {
                    Some(found) if found == definition => StatusCode::OK,
                    Some(_) => return Err(exists(&run)),
                    None => continue,
                }
            }
            Err(error) => return Err(error.into()),
        };
        return answer(services, &run, status).await;
    }
    Err(Problem::new(Code::Internal, "the run is being deleted again and again"))
}

async fn existing(services: &Services, run: &RunId) -> Result<Option<Definition>, Problem> {
    match services.hub.stat(run).await {
        Ok(Some(stat)) => services.projection.definition(run, &stat).await,
        Ok(None) | Err(runcast_log::ReadError::Deleted) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn exists(run: &RunId) -> Problem {
    let detail =
        format!("the run {run} exists with another definition; GET /v1/runs/{run} shows it");
    Problem::new(Code::RunExists, detail)
}

async fn answer(services: &Services, run: &RunId, status: StatusCode) -> Result<Response, Problem> {
    let snapshot = snapshot(services, run).await?;
    let mut response = json(serde_json::to_vec(&snapshot).expect("a snapshot is plain JSON"));
    *response.status_mut() = status;
    if status == StatusCode::CREATED {
        let location = HeaderValue::try_from(format!("/v1/runs/{run}"));
        let location = location.expect("an id's characters are those of a header");
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> (Code, Value) {
        let problem = parse(body.as_bytes()).unwrap_err();
        (problem.code(), serde_json::to_value(&problem).unwrap()["field"].clone())
    }

    #[test]
    fn a_wrong_definition_is_refused_by_field() {
        assert_eq!(refused(r#"{"workfow":"w"}"#), (Code::InvalidBody, "workfow".into()));
        assert_eq!(refused(r#"{"tags":["a",1]}"#), (Code::InvalidBody, "tags[1]".into()));
        assert_eq!(refused(r#"{"workflow":1}"#), (Code::InvalidBody, "workflow".into()));
        assert_eq!(refused(r#"{"id":1}"#), (Code::InvalidBody, "id".into()));
        assert_eq!(refused(r#"{"id":"a b"}"#), (Code::InvalidRunId, "id".into()));
        assert_eq!(refused("[]").0, Code::InvalidBody);
        assert_eq!(refused("{").0, Code::InvalidBody);
    }

    #[test]
    fn no_body_is_an_empty_definition_with_an_id_of_its_own() {
        let (run, definition) = parse(b"").unwrap();
        assert!(run.as_str().starts_with("run_"));
        assert_eq!(definition, Definition::default());
    }
}
