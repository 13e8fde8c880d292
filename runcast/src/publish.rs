//! `runcast publish`: one event from arguments, or lines of JSON from stdin.

mod lines;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use bytes::BytesMut;
use runcast_client::{Client, ClientError};
use runcast_event::{Draft, Labels, Offset, RunId, Stage, Timestamp, limits, parse_event};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::global::{Global, block_on};
use crate::publish::lines::{Lines, read_stdin};
use crate::report::{UsageError, note};
use crate::sender::Sender;

/// Publish events to a run
///
/// With a TYPE, one event from the arguments. Without, or with "-", one event a line from stdin,
/// sent as the lines come and stored exactly once: while the server is away, publish waits and
/// tries again.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  runcast publish nightly-42 run.started --data '{\"workflow\":\"nightly\"}'
  runcast publish nightly-42 output --text 'hello'
  runcast publish nightly-42 step.completed --step fetch --data '{\"duration_ms\":812}'
  my-agent --events | runcast publish nightly-42 -"
)]
pub(crate) struct Args {
    /// The run; made if it does not exist
    run: RunId,
    /// The event's type, such as output or my.event; "-" reads events from stdin
    #[arg(value_name = "TYPE", default_value = "-", hide_default_value = true)]
    event_type: String,
    #[command(flatten)]
    event: EventArgs,
}

#[derive(Debug, clap::Args)]
struct EventArgs {
    /// What the event says, as JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    data: Option<Value>,
    /// Puts this text into the data, as "text"
    #[arg(long)]
    text: Option<String>,
    /// When it happened (RFC 3339) [default: now]
    #[arg(long, value_parser = time)]
    time: Option<Timestamp>,
    /// output, logs, status, control, or a name of your own
    #[arg(long)]
    channel: Option<String>,
    /// Which of the run's parallel attempts
    #[arg(long)]
    variation: Option<String>,
    /// A stage's name, or its number
    #[arg(long)]
    stage: Option<String>,
    /// A step's name
    #[arg(long)]
    step: Option<String>,
    /// An agent's name
    #[arg(long)]
    agent: Option<String>,
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
}

pub(crate) fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    if args.event_type == "-" {
        if args.event.is_given() {
            let message = "--data, --text, --time and labels need a TYPE: the lines of stdin have \
                           their own";
            return Err(UsageError(message.to_owned()).into());
        }
        if io::stdin().is_terminal() {
            note("reading events from the terminal, one a line as JSON; Ctrl-D ends them");
        }
        return block_on(publish_stdin(client, args.run));
    }
    let draft = args.event.into_draft(args.event_type)?;
    block_on(publish_one(&client, &args.run, draft))
}

impl EventArgs {
    fn is_given(&self) -> bool {
        let texts =
            [&self.text, &self.channel, &self.variation, &self.stage, &self.step, &self.agent];
        self.data.is_some() || self.time.is_some() || texts.into_iter().any(Option::is_some)
    }

    /// The event, checked as the server would check it.
    fn into_draft(self, event_type: String) -> anyhow::Result<Draft> {
        let data = match (self.data, self.text) {
            (data, None) => data,
            (None, Some(text)) => Some(serde_json::json!({ "text": text })),
            (Some(Value::Object(mut fields)), Some(text)) => {
                fields.insert("text".to_owned(), Value::String(text));
                Some(Value::Object(fields))
            }
            (Some(_), Some(_)) => {
                let message = "--text needs --data to be an object".to_owned();
                return Err(UsageError(message).into());
            }
        };
        let stage = self.stage.map(|stage| match stage.parse() {
            Ok(number) => Stage::Number(number),
            Err(_) => Stage::Name(stage),
        });
        let labels = Labels {
            channel: self.channel,
            variation: self.variation,
            stage,
            step: self.step,
            agent: self.agent,
        };
        let time = self.time.unwrap_or_else(Timestamp::now);
        let draft = Draft { event_type: event_type.into(), time: Some(time), labels, data };
        parse_event(draft.to_json().as_bytes(), time)?;
        Ok(draft)
    }
}

async fn publish_one(client: &Client, run: &RunId, draft: Draft) -> anyhow::Result<ExitCode> {
    let answer = match client.append(run, &[draft]).await {
        Ok(answer) => answer,
        Err(error @ ClientError::Unreachable { may_be_sent: true, .. }) => {
            anyhow::bail!("{error}; the event may be stored or not");
        }
        Err(error) => return Err(error.into()),
    };
    tell_stored(run, answer.stored, answer.last)?;
    Ok(ExitCode::SUCCESS)
}

fn tell_stored(run: &RunId, stored: u64, last: Option<Offset>) -> io::Result<()> {
    let last = last.map_or_else(String::new, |last| format!(", the last at offset {last}"));
    let events = if stored == 1 { "event" } else { "events" };
    writeln!(io::stdout(), "{run}: {stored} {events} stored{last}")
}

/// The bytes of lines in one request, about: what has come is sent, and this much at most.
const REQUEST_BYTES: usize = 1024 * 1024;
/// Pieces of stdin that are read ahead while a request is under way. With the request they bound
/// the memory; then reading stops, and with it whoever writes.
const PIECES_AHEAD_MAX: usize = 8;

async fn publish_stdin(client: Client, run: RunId) -> anyhow::Result<ExitCode> {
    let (give, mut take) = mpsc::channel(PIECES_AHEAD_MAX);
    std::thread::spawn(move || read_stdin(&give));
    let mut sender = Sender::new(client, run.clone());
    let (mut stored, mut left_out) = (0, 0);
    let mut last = None;
    let mut fault: Option<anyhow::Error> = None;
    while fault.is_none() {
        let Some(first) = take.recv().await else { break };
        let mut batch = Batch::default();
        fault = batch.add(first);
        while fault.is_none() && batch.has_room() {
            let Ok(more) = take.try_recv() else { break };
            fault = batch.add(more);
        }
        while batch.events() > 0 {
            match sender.send(batch.lines.clone().freeze(), batch.events()).await {
                Ok(answer) => {
                    stored += answer.stored + answer.duplicates;
                    last = answer.last.or(last);
                    break;
                }
                Err(error) if batch.leave_out(&error) => {
                    left_out += 1;
                    if left_out == 1 {
                        note(&format!("{error}; the event is left out, and others like it"));
                    }
                }
                Err(error) => {
                    fault = Some(batch.name_line(error));
                    break;
                }
            }
        }
    }
    match fault {
        Some(fault) if stored > 0 => {
            anyhow::bail!("{fault:#}; {stored} events before it are stored")
        }
        Some(fault) => Err(fault),
        None => {
            tell_stored(&run, stored, last)?;
            if left_out > 0 {
                anyhow::bail!(
                    "{left_out} events are not stored: the run's state did not allow what they say"
                );
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Lines that are sent in one request.
#[derive(Default)]
struct Batch {
    lines: BytesMut,
    /// Where each line stood in stdin.
    numbers: Vec<u64>,
}

impl Batch {
    /// Takes a piece of stdin; what is wrong behind it is handed back.
    fn add(&mut self, piece: Lines) -> Option<anyhow::Error> {
        self.lines.extend_from_slice(&piece.json);
        self.numbers.extend_from_slice(&piece.numbers);
        piece.fault.map(anyhow::Error::from)
    }

    fn has_room(&self) -> bool {
        self.lines.len() < REQUEST_BYTES && self.numbers.len() < limits::BATCH_EVENTS_MAX
    }

    fn events(&self) -> u64 {
        self.numbers.len() as u64
    }

    /// Takes out the event that the run's state does not allow. False when that is not what is wrong.
    ///
    /// The events behind it move up to its number, which no stored event has: neither it nor
    /// anything behind it was stored.
    fn leave_out(&mut self, error: &ClientError) -> bool {
        let place = if error.code() == Some("not_possible") { self.place(error) } else { None };
        let Some(place) = place else { return false };
        let end_of = |lines: &[u8], count: usize| match count.checked_sub(1) {
            None => 0,
            Some(before) => memchr::memchr_iter(b'\n', lines).nth(before).map_or(0, |at| at + 1),
        };
        let mut kept = self.lines.split_to(end_of(&self.lines, place));
        drop(self.lines.split_to(end_of(&self.lines, 1)));
        kept.extend_from_slice(&self.lines);
        self.lines = kept;
        self.numbers.remove(place);
        true
    }

    /// Which of the lines the server refused, from 0.
    fn place(&self, error: &ClientError) -> Option<usize> {
        let ClientError::Problem(problem) = error else { return None };
        let line = usize::try_from(problem.number("line")?).ok()?.checked_sub(1)?;
        (line < self.numbers.len()).then_some(line)
    }

    /// Says where in stdin the line stood that the server refused.
    fn name_line(&self, error: ClientError) -> anyhow::Error {
        match self.place(&error).map(|place| self.numbers[place]) {
            Some(number) => anyhow::Error::from(error).context(format!("line {number}")),
            None => error.into(),
        }
    }
}
