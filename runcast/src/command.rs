//! `runcast pause`, `resume`, `stop` and `set`: asks something of a run.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use runcast_client::{Choice, Client, CommandInfo, CommandRequest, FollowItem, FollowState};
use runcast_event::{Cursor, RunId};
use serde_json::{Map, Value};

use crate::exec::duration;
use crate::global::{Global, block_on};
use crate::report::{UsageError, note, printable, user_name};

/// Ask a run to hold still; its process is stopped where it is
#[derive(Debug, clap::Args)]
#[command(after_help = WHAT_IT_ANSWERS)]
pub(crate) struct Pause {
    #[command(flatten)]
    asking: Asking,
}

/// Ask a paused run to go on
#[derive(Debug, clap::Args)]
#[command(after_help = WHAT_IT_ANSWERS)]
pub(crate) struct Resume {
    #[command(flatten)]
    asking: Asking,
}

/// Ask a run to stop; asking twice is asking once
#[derive(Debug, clap::Args)]
#[command(after_help = WHAT_IT_ANSWERS)]
pub(crate) struct Stop {
    #[command(flatten)]
    asking: Asking,
}

/// Give a run parameters
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runcast set nightly-42 temperature=0.2 model=small
  runcast set nightly-42 --json '{\"limits\":{\"tokens\":1000}}' --wait

A value that is JSON is taken as that, anything else as text: n=5 is a number, n='\"5\"' a text.
Exit codes: 0 it is asked, or with --wait done; 1 it was refused, or it expired, or the run ended.")]
pub(crate) struct Set {
    #[command(flatten)]
    asking: Asking,
    /// What to set
    #[arg(value_name = "KEY=VALUE", value_parser = parameter)]
    parameters: Vec<(String, Value)>,
    /// All parameters as one JSON object
    #[arg(long, value_name = "JSON", conflicts_with = "parameters", value_parser = object)]
    json: Option<Map<String, Value>>,
}

const WHAT_IT_ANSWERS: &str = "\
Exit codes: 0 it is asked, or with --wait done; 1 it was refused, or it expired, or the run ended.";

#[derive(Debug, clap::Args)]
struct Asking {
    /// The run
    run: RunId,
    /// Wait until it is done or refused, and tell which
    #[arg(long, short)]
    wait: bool,
    /// Who asks [default: your user name]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
    /// Why; people who look at the run see it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Makes asking again with the same key the same command
    #[arg(long)]
    key: Option<String>,
    /// It expires if it is not carried out by then
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
}

fn parameter(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value_of(value))),
        _ => Err("must be KEY=VALUE, such as temperature=0.2".to_owned()),
    }
}

/// A value as a person writes it: JSON where it is that, else text.
pub(crate) fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

pub(crate) fn pause(args: Pause, global: &Global) -> anyhow::Result<ExitCode> {
    ask(args.asking, "pause", None, global)
}

pub(crate) fn resume(args: Resume, global: &Global) -> anyhow::Result<ExitCode> {
    ask(args.asking, "resume", None, global)
}

pub(crate) fn stop(args: Stop, global: &Global) -> anyhow::Result<ExitCode> {
    ask(args.asking, "stop", None, global)
}

pub(crate) fn set(args: Set, global: &Global) -> anyhow::Result<ExitCode> {
    let parameters = args.json.unwrap_or_else(|| args.parameters.into_iter().collect());
    if parameters.is_empty() {
        let message = "there is nothing to set: name KEY=VALUE, or --json".to_owned();
        return Err(UsageError(message).into());
    }
    ask(args.asking, "set", Some(parameters.into()), global)
}

fn ask(
    asking: Asking,
    name: &str,
    args: Option<Value>,
    global: &Global,
) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let timeout = asking.timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let request = CommandRequest {
        name: name.to_owned(),
        args,
        key: asking.key,
        by: asking.by.or_else(user_name),
        reason: asking.reason,
        timeout_ms: timeout,
    };
    block_on(async {
        let run = &asking.run;
        // What becomes of it stands behind this.
        let before = if asking.wait { client.run(run).await?.cursor } else { Cursor::START };
        let mut command = client.command(run, &request).await?;
        if asking.wait && command.is_open() {
            command = outcome(&client, run, before, command).await?;
        }
        tell(run, &command)
    })
}

fn tell(run: &RunId, command: &CommandInfo) -> anyhow::Result<ExitCode> {
    let why = match (command.status.as_str(), &command.reason) {
        ("refused" | "expired", Some(reason)) => format!(": {}", printable(reason)),
        ("closed", _) => ": the run ended first".to_owned(),
        _ => String::new(),
    };
    let (name, status) = (printable(&command.name), &command.status);
    writeln!(io::stdout(), "{run}: {name} {status}{why}")?;
    let is_lost = matches!(status.as_str(), "refused" | "expired" | "closed");
    Ok(if is_lost { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Waits for what becomes of a command.
async fn outcome(
    client: &Client,
    run: &RunId,
    before: Cursor,
    mut command: CommandInfo,
) -> anyhow::Result<CommandInfo> {
    let types = ["command.done", "command.refused", "command.expired"].map(str::to_owned);
    let choice = Choice { types: types.into(), ..Choice::default() };
    let mut follower = client.follow_chosen(run, before, choice);
    while let Some(item) = follower.next().await {
        match item? {
            FollowItem::Event(event) => {
                let data = event.data_value();
                if data.get("command").and_then(Value::as_str) != Some(&command.command) {
                    continue;
                }
                let status = event.event_type.trim_start_matches("command.");
                status.clone_into(&mut command.status);
                command.reason = data.get("reason").and_then(Value::as_str).map(str::to_owned);
                return Ok(command);
            }
            FollowItem::State(FollowState::Reconnecting { attempt: 1, reason, .. }) => {
                note(&format!("connection lost ({reason}); trying again until it is back"));
            }
            FollowItem::State(_) | FollowItem::Gap(_) => {}
            FollowItem::End { .. } | FollowItem::Deleted => break,
        }
    }
    "closed".clone_into(&mut command.status);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_parameter_is_json_where_it_can_be_and_text_otherwise() {
        let read = |text| parameter(text).unwrap();
        assert_eq!(read("temperature=0.2"), ("temperature".to_owned(), json!(0.2)));
        assert_eq!(read("model=small=er"), ("model".to_owned(), json!("small=er")));
        assert_eq!(read("n=\"5\""), ("n".to_owned(), json!("5")));
        assert_eq!(read("empty="), ("empty".to_owned(), json!("")));
        assert!(parameter("temperature").is_err() && parameter("=1").is_err());
        assert!(object("[1]").is_err());
    }
}
