//! `runcast ask`: a script asks a person, and waits for the answer.
//!
//! Who asks follows the run and not its mailbox: that is its producer's, and says that it lives.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use runcast_client::{Backoff, Choice, Client, ClientError, FollowItem, FollowState};
use runcast_event::{Cursor, Draft, Event, Labels, RunId, Timestamp, parse_event};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::command::value_of;
use crate::exec::{RUN_VARIABLE, duration};
use crate::global::{Global, block_on};
use crate::report::{UsageError, note};

/// Ask a person, wait, and print the answer
///
/// Inside a script under \"runcast exec\" the run is the script's. An answer that is text is printed
/// as it is, anything else as JSON. While the server is away, ask waits; the timeout is the server's.
///
/// Ctrl-C ends the waiting and leaves the question open: whoever answers it later does no harm, and
/// asking again with the same --id goes on waiting for the same answer.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  [ \"$(runcast ask 'Deploy?' --choices yes,no --timeout 10m --default no)\" = yes ] && ./deploy
  runcast ask 'How many?' --schema count.json
  runcast ask 'Go on?' --run nightly-42 --id go-on

Exit codes: 0 an answer, or the default; 124 nobody answered in time; 1 failure; 2 wrong usage."
)]
pub(crate) struct Args {
    /// What is asked, in Markdown
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    prompt: String,
    /// The run that asks
    #[arg(long, env = RUN_VARIABLE, hide_env_values = true)]
    run: RunId,
    /// The answers to choose from
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    choices: Vec<String>,
    /// A file with the JSON Schema of the answer
    #[arg(long, value_name = "FILE", conflicts_with = "choices")]
    schema: Option<PathBuf>,
    /// How long to wait for an answer [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// The answer if nobody answers in time; with a schema, as JSON
    #[arg(long, value_name = "VALUE", requires = "timeout")]
    default: Option<String>,
    /// A name for the question: asked again with the same name it is the same question
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// A step's name
    #[arg(long)]
    step: Option<String>,
    /// An agent's name
    #[arg(long)]
    agent: Option<String>,
}

/// The exit code when nobody has answered in time: that of timeout(1).
const TIMED_OUT: u8 = 124;

pub(crate) fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let (run, is_named) = (args.run.clone(), args.id.is_some());
    // A random id of the form that the server's own have.
    let id = args.id.clone().unwrap_or_else(|| RunId::random().as_str().replace("run_", "inp_"));
    let question = question(args, &id)?;
    block_on(async {
        let after = ask(&client, &run, question, is_named).await?;
        let Some(answer) = answer(&client, &run, &id, after).await? else {
            anyhow::bail!("the run ended before anybody answered");
        };
        let data = answer.data_value();
        match data.get("answer") {
            None => {
                note("nobody answered in time");
                return Ok(ExitCode::from(TIMED_OUT));
            }
            Some(Value::String(text)) => writeln!(io::stdout(), "{text}")?,
            Some(other) => writeln!(io::stdout(), "{other}")?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The event that asks.
fn question(args: Args, id: &str) -> anyhow::Result<Draft> {
    let mut data = Map::new();
    data.insert("input".to_owned(), json!(id));
    data.insert("prompt".to_owned(), json!(args.prompt));
    if !args.choices.is_empty() {
        data.insert("choices".to_owned(), json!(args.choices));
    }
    let has_schema = args.schema.is_some();
    if let Some(file) = args.schema {
        let name = file.display();
        let text = std::fs::read(&file).with_context(|| format!("{name} cannot be read"))?;
        let schema: Value =
            serde_json::from_slice(&text).with_context(|| format!("{name} is not JSON"))?;
        data.insert("schema".to_owned(), schema);
    }
    if let Some(default) = args.default {
        let default = if has_schema { value_of(&default) } else { Value::String(default) };
        data.insert("default".to_owned(), default);
    }
    if let Some(timeout) = args.timeout {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        data.insert("timeout_ms".to_owned(), json!(millis));
    }
    let labels = Labels { step: args.step, agent: args.agent, ..Labels::default() };
    let draft =
        Draft { event_type: "input.requested".into(), time: None, labels, data: Some(data.into()) };
    parse_event(draft.to_json().as_bytes(), Timestamp::now())
        .map_err(|error| UsageError(error.to_string()))?;
    Ok(draft)
}

/// Asks, once, however often the server goes away; answers where the answer can stand.
async fn ask(
    client: &Client,
    run: &RunId,
    question: Draft,
    is_named: bool,
) -> anyhow::Result<Cursor> {
    let mut backoff = Backoff::new();
    loop {
        let before = match client.run(run).await {
            Ok(info) if info.is_terminal => anyhow::bail!("run {run} has ended"),
            Ok(info) => info.cursor,
            Err(error) => {
                wait_for_server(&error, run, &mut backoff).await.map_or(Ok(()), Err)?;
                continue;
            }
        };
        match client.append(run, std::slice::from_ref(&question)).await {
            Ok(_) => return Ok(before),
            // Asked before: by an earlier try, whose answer was lost, or by an earlier process.
            Err(error) if is_asked_before(&error) && (is_named || backoff.attempt() > 0) => {
                return Ok(Cursor::START);
            }
            Err(error) => wait_for_server(&error, run, &mut backoff).await.map_or(Ok(()), Err)?,
        }
    }
}

fn is_asked_before(error: &ClientError) -> bool {
    let ClientError::Problem(problem) = error else { return false };
    problem.code == "not_possible"
        && problem.members.get("reason").and_then(Value::as_str) == Some("input_exists")
}

/// Waits before another try; answers with an error that no other try can mend.
async fn wait_for_server(
    error: &ClientError,
    run: &RunId,
    backoff: &mut Backoff,
) -> Option<anyhow::Error> {
    // What exec has published of its run may still be on its way.
    let is_ours = env::var(RUN_VARIABLE).is_ok_and(|ours| ours == run.as_str());
    let is_coming = is_ours && error.code() == Some("run_not_found");
    if !is_coming && !error.is_retryable() {
        return Some(anyhow::Error::from(error.clone()));
    }
    let wait = backoff.failed();
    if backoff.attempt() == 1 && !is_coming {
        note(&format!("{error}; trying again until it is back"));
    }
    sleep(wait).await;
    None
}

/// Waits for the event that answers; none when the run ended first.
async fn answer(
    client: &Client,
    run: &RunId,
    id: &str,
    after: Cursor,
) -> anyhow::Result<Option<Event>> {
    let types = ["input.answered", "input.timed_out"].map(str::to_owned);
    let choice = Choice { types: types.into(), ..Choice::default() };
    let mut follower = client.follow_chosen(run, after, choice);
    while let Some(item) = follower.next().await {
        match item? {
            FollowItem::Event(event) if event.data_value()["input"] == id => {
                return Ok(Some(event));
            }
            FollowItem::State(FollowState::Reconnecting { attempt: 1, reason, .. }) => {
                note(&format!("connection lost ({reason}); waiting until it is back"));
            }
            FollowItem::Event(_) | FollowItem::State(_) | FollowItem::Gap(_) => {}
            FollowItem::End { .. } | FollowItem::Deleted => break,
        }
    }
    Ok(None)
}
