//! Commands: what is asked of a run, the mailbox in which it hears of it, and what it says became of
//! it.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use runcast_event::{Draft, RunId, new_command_id};
use runcast_run::{Command, CommandStatus, RunState};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::asking::{ATTEMPTS_MAX, look, read_body, say};
use super::description::{AcknowledgeBody, CommandBody, PageBody, ProblemBody, WantedBody};
use super::events;
use super::follow::Scope;
use super::parameters::{PartPath, Query, RunPath};
use super::{Services, Shared, json};
use crate::problem::{Code, Problem};

/// What is asked of a run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    args: Option<Value>,
    key: Option<String>,
    by: Option<String>,
    reason: Option<String>,
    timeout_ms: Option<u64>,
}

impl Wanted {
    fn requested(&self, id: &str) -> Draft {
        let fields = [
            ("command", Some(id.into())),
            ("name", Some(self.name.as_str().into())),
            ("args", self.args.clone()),
            ("key", self.key.as_deref().map(Value::from)),
            ("by", self.by.as_deref().map(Value::from)),
            ("reason", self.reason.as_deref().map(Value::from)),
            ("timeout_ms", self.timeout_ms.map(Value::from)),
        ];
        Draft::new("command.requested", object(fields))
    }
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    there.collect::<Map<_, _>>().into()
}

/// Ask a run
///
/// To pause, resume, stop, take parameters, or something of its own.
#[utoipa::path(
    post, path = "/v1/runs/{run}/commands", tag = "talking back",
    params(("run" = String, Path, description = "The run's id")),
    request_body(content = WantedBody, description = "What is asked"),
    responses(
        (status = 201, body = CommandBody, description = "The run was asked"),
        (status = 200, body = CommandBody, description = "It was asked before: the same key, or a second stop"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such run"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The run has ended, or cannot do that now"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "The command was refused"),
    ),
)]
pub(super) async fn request(
    State(services): State<Shared>,
    RunPath(run): RunPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(parts.uri.query(), &[], &[])?;
    let wanted: Wanted = read_body(&services, &parts.headers, body).await?;
    for _ in 0..ATTEMPTS_MAX {
        let same =
            |state: &RunState| state.same_command(&wanted.name, wanted.key.as_deref()).cloned();
        if let Some(command) = look(&services, &run, same).await? {
            return Ok(answer(StatusCode::OK, &command));
        }
        let id = new_command_id();
        match say(&services, &run, &wanted.requested(&id)).await? {
            Ok(()) => {
                let command = find(&services, &run, &id).await?;
                return Ok(answer(StatusCode::CREATED, &command));
            }
            // Somebody else was quicker.
            Err(refusal) if refusal.code == "command_already_requested" => {}
            Err(refusal) => return Err(Problem::not_possible(refusal)),
        }
    }
    Err(Problem::new(Code::Internal, "the same is being asked again and again"))
}

fn answer(status: StatusCode, command: &Command) -> Response {
    let mut response = json(serde_json::to_vec(command).expect("a command is plain JSON"));
    *response.status_mut() = status;
    response
}

async fn find(services: &Services, run: &RunId, id: &str) -> Result<Command, Problem> {
    let found = look(services, run, |state| state.command(id).cloned()).await?;
    found.ok_or_else(|| {
        let detail = format!("nothing is known of a command {id}; GET /v1/runs/{run} has commands");
        Problem::new(Code::CommandNotFound, detail)
    })
}

/// Read or follow a run's mailbox
///
/// What is said to the run: commands, and answers to what it asked. Who follows it live is the run's
/// producer.
#[utoipa::path(
    get, path = "/v1/runs/{run}/commands", tag = "talking back",
    params(
        ("run" = String, Path, description = "The run's id"),
        ("after" = Option<String>, Query, description = "The cursor: the offset of the last event seen"),
        ("Last-Event-ID" = Option<String>, Header, description = "The cursor, before `after`"),
        ("named" = Option<bool>, Query, description = "text/event-stream: name each frame by the event's type"),
        ("limit" = Option<u64>, Query, description = "application/json: 1 to 1,000 events, by default 100"),
        ("wait" = Option<u64>, Query, description = "application/json: milliseconds that an empty page waits, at most 60,000"),
    ),
    responses(
        (status = 200, description = "The events", content(
            (PageBody = "application/json"), (String = "text/event-stream"), (String = "application/x-ndjson"),
        )),
        (status = 204, description = "text/event-stream: the run has ended and all its events were seen"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "The request was refused"),
    ),
)]
pub(super) async fn mailbox(
    State(services): State<Shared>,
    RunPath(run): RunPath,
    request: Request,
) -> Result<Response, Problem> {
    events::answer(&services, run, request, Scope::Mailbox).await
}

/// What a run says became of a command.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcome {
    status: Said,
    reason: Option<String>,
    result: Option<Value>,
    by: Option<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Said {
    Delivered,
    Done,
    Refused,
}

impl Said {
    const fn status(self) -> CommandStatus {
        match self {
            Self::Delivered => CommandStatus::Delivered,
            Self::Done => CommandStatus::Done,
            Self::Refused => CommandStatus::Refused,
        }
    }

    const fn event_type(self) -> &'static str {
        match self {
            Self::Delivered => "command.delivered",
            Self::Done => "command.done",
            Self::Refused => "command.refused",
        }
    }
}

/// Say what became of a command
///
/// The run's side: it has it, has done it, or will not.
#[utoipa::path(
    post, path = "/v1/runs/{run}/commands/{command}", tag = "talking back",
    params(
        ("run" = String, Path, description = "The run's id"),
        ("command" = String, Path, description = "The command's id"),
    ),
    request_body(content = AcknowledgeBody, description = "What became of it"),
    responses(
        (status = 200, body = CommandBody, description = "The command as it is now"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such run or command"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The command is over"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "The request was refused"),
    ),
)]
pub(super) async fn acknowledge(
    State(services): State<Shared>,
    PartPath { run, part: id }: PartPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(parts.uri.query(), &[], &[])?;
    let outcome: Outcome = read_body(&services, &parts.headers, body).await?;
    let before = find(&services, &run, &id).await?;
    if before.status == outcome.status.status() {
        return Ok(answer(StatusCode::OK, &before));
    }
    let data = object([
        ("command", Some(id.as_str().into())),
        ("reason", outcome.reason.map(Value::from)),
        ("result", outcome.result),
        ("by", outcome.by.map(Value::from)),
    ]);
    let said = say(&services, &run, &Draft::new(outcome.status.event_type(), data)).await?;
    let command = find(&services, &run, &id).await?;
    match said {
        // The same was said at the same time.
        Err(_) if command.status == outcome.status.status() => Ok(answer(StatusCode::OK, &command)),
        Err(refusal) => Err(Problem::not_possible(refusal)),
        Ok(()) => Ok(answer(StatusCode::OK, &command)),
    }
}
