//! What the calls that talk back share: a body of JSON, an event for a run that exists, and a look at
//! the run's state.

use axum::body::Body;
use axum::http::HeaderMap;
use runcast_event::{Draft, EventProblem, RunId, limits, parse_event};
use runcast_log::{Append, AppendError, ReadError, Refusal};
use runcast_run::RunState;
use serde::de::DeserializeOwned;

use super::Services;
use super::body::read_whole;
use super::parameters::MediaType;
use crate::problem::{Code, Problem};

/// How often a call looks again that others were quicker than.
pub(super) const ATTEMPTS_MAX: usize = 8;

/// Reads a body of JSON, with the name of the field that is wrong.
pub(super) async fn read_body<T: DeserializeOwned>(
    services: &Services,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let bytes = read_whole(headers, body, limits::EVENT_BYTES_MAX, &services.limits).await?;
    if MediaType::of(headers)? != MediaType::Json {
        let detail = "the body is one JSON object: Content-Type must be application/json";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (field, reason) = (error.path().to_string(), error.inner().to_string());
        invalid_field(if field == "." { "" } else { &field }, &reason)
    })?;
    json.end().map_err(|error| invalid_field("", &error.to_string()))?;
    Ok(parsed)
}

fn invalid_field(field: &str, reason: &str) -> Problem {
    if field.is_empty() {
        return Problem::new(
            Code::InvalidBody,
            format!("the body is not what it must be: {reason}"),
        );
    }
    Problem::new(Code::InvalidBody, format!("{field}: {reason}")).with("field", field)
}

/// Appends an event to a run that exists. What the run's state does not allow is given back.
pub(super) async fn say(
    services: &Services,
    run: &RunId,
    draft: &Draft,
) -> Result<Result<(), Refusal>, Problem> {
    let now = services.clock.now();
    let event = parse_event(draft.to_json().as_bytes(), now).map_err(|error| {
        let field = error.field.strip_prefix("data.").unwrap_or(&error.field);
        match &error.problem {
            EventProblem::TooLarge { max, .. } if field.is_empty() => {
                let detail = format!("the event would be larger than {max} bytes");
                Problem::new(Code::BodyTooLarge, detail).with("max", *max)
            }
            problem => invalid_field(field, &problem.to_string()),
        }
    })?;
    let append = Append {
        run: run.clone(),
        events: vec![event.payload.into_bytes()],
        close: event.terminal,
        expected_last: None,
        producer: None,
        create: false,
    };
    match services.hub.append(append).await {
        Ok(_) => Ok(Ok(())),
        Err(AppendError::Refused(refusal)) => Ok(Err(refusal)),
        Err(error) => Err(error.into()),
    }
}

/// Looks at a run's state, in which everything is that was acknowledged before.
pub(super) async fn look<T>(
    services: &Services,
    run: &RunId,
    look: impl Fn(&RunState) -> T,
) -> Result<T, Problem> {
    let stat = services.hub.stat(run).await?.ok_or_else(Problem::not_found)?;
    // None: it was deleted since.
    services.projection.look(run, &stat, look).await?.ok_or_else(|| ReadError::Deleted.into())
}
