//! Inputs: what runs ask of people, and what people answer.

use axum::extract::{Request, State};
use axum::response::Response;
use runcast_event::{Draft, RunId};
use runcast_run::{Input, InputStatus};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::asking::{look, read_body, say};
use super::description::{AnswerBody, InputBody, InputsBody, ProblemBody};
use super::parameters::{PartPath, Query};
use super::{Services, Shared, json as json_response};
use crate::problem::{Code, Problem};
use crate::projection::{Filter, Question, QuestionPlace};
use crate::schema::check_answer;

/// Inputs in one list at most.
const LIST_MAX: u64 = 1_000;
/// Inputs in one list if the request says nothing.
const LIST_DEFAULT: u64 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    /// Null is an answer.
    #[serde(deserialize_with = "even_null")]
    answer: Value,
    by: Option<String>,
}

fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Value::deserialize(deserializer)
}

/// Answer an input
///
/// The first answer counts.
#[utoipa::path(
    post, path = "/v1/runs/{run}/inputs/{input}", tag = "talking back",
    params(
        ("run" = String, Path, description = "The run's id"),
        ("input" = String, Path, description = "The input's id"),
    ),
    request_body(content = AnswerBody, description = "The answer"),
    responses(
        (status = 200, body = InputBody, description = "The input as it is now"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "The answer breaks the input's schema, or is none of its choices"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such run or input"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The input takes no answer any more"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "The request was refused"),
    ),
)]
pub(super) async fn answer(
    State(services): State<Shared>,
    PartPath { run, part: id }: PartPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(parts.uri.query(), &[], &[])?;
    let given: Given = read_body(&services, &parts.headers, body).await?;
    let input = find(&services, &run, &id).await?;
    if !input.is_open() {
        return Err(closed(&input));
    }
    check_answer(&input, &given.answer)?;
    let mut data = json!({ "input": id, "answer": given.answer });
    if let Some(by) = given.by {
        data["by"] = by.into();
    }
    let said = say(&services, &run, &Draft::new("input.answered", data)).await?;
    let input = find(&services, &run, &id).await?;
    match said {
        Ok(()) => Ok(json_response(serde_json::to_vec(&input).expect("an input is plain JSON"))),
        Err(refusal) if refusal.code == "not_a_choice" => {
            let problem = Problem::new(Code::InvalidAnswer, refusal.detail);
            Err(problem.with("allowed", refusal.allowed))
        }
        Err(_) if !input.is_open() => Err(closed(&input)),
        Err(refusal) => Err(Problem::not_possible(refusal)),
    }
}

async fn find(services: &Services, run: &RunId, id: &str) -> Result<Input, Problem> {
    let found = look(services, run, |state| state.input(id).cloned()).await?;
    found.ok_or_else(|| {
        let detail = format!("nothing is known of an input {id}; GET /v1/runs/{run} has inputs");
        Problem::new(Code::InputNotFound, detail)
    })
}

fn closed(input: &Input) -> Problem {
    let by = input.answered_by.as_ref().and_then(runcast_run::Json::as_text);
    let at = input.ended_at.map(|at| at.to_string());
    let how = match (input.status, &by) {
        (InputStatus::Answered, Some(by)) => format!("was answered by {by}"),
        (InputStatus::Answered, None) => "was answered".to_owned(),
        (InputStatus::TimedOut, _) => "was not answered in time".to_owned(),
        (InputStatus::Closed | InputStatus::Open, _) => "is over: the run has ended".to_owned(),
    };
    let when = at.as_deref().map(|at| format!(" at {at}")).unwrap_or_default();
    Problem::new(Code::InputClosed, format!("input {} {how}{when}", input.input))
        .with("input_status", input.status.as_str())
        .with("by", by)
        .with("at", at)
}

#[derive(Serialize)]
struct ListAnswer<'a> {
    inputs: &'a [Question],
    next: Option<String>,
}

/// List open inputs
///
/// Of all runs, the one that was asked first at the top.
#[utoipa::path(
    get, path = "/v1/inputs", tag = "talking back",
    params(
        ("workflow" = Option<String>, Query, description = "Of runs of this workflow"),
        ("tag" = Option<Vec<String>>, Query, description = "Of runs with all of these tags; may be repeated"),
        ("limit" = Option<u64>, Query, description = "1 to 1,000, by default 100"),
        ("cursor" = Option<String>, Query, description = "The `next` of the list before"),
    ),
    responses(
        (status = 200, body = InputsBody, description = "The inputs"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "A parameter was refused"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The runs are still being read"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let query = Query::parse(request.uri().query(), &["workflow", "limit", "cursor"], &["tag"])?;
    let filter = Filter {
        workflow: query.text("workflow").map(str::to_owned),
        tags: query.all("tag").map(str::to_owned).collect(),
        ..Filter::default()
    };
    let limit = query.number("limit", 1..=LIST_MAX)?.unwrap_or(LIST_DEFAULT) as usize;
    let from: Option<QuestionPlace> = query.parsed("cursor")?;
    let (inputs, next) = services.projection.questions(&filter, from, limit).await?;
    let next = next.map(|place| place.to_string());
    let answer = ListAnswer { inputs: &inputs, next };
    Ok(json_response(serde_json::to_vec(&answer).expect("inputs are plain JSON")))
}
