//! `runcast tail`: follows a run to its end.

mod outcome;
mod pretty;

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use runcast_client::{Choice, Client, ClientError, FollowItem, FollowState, Follower, Gap};
use runcast_event::{Cursor, Event, RunId, is_terminal};

use crate::global::{Global, block_on};
use crate::palette::Palette;
use crate::report::note;
use crate::tail::outcome::Outcome;
use crate::tail::pretty::Pretty;

/// Follow a run to its end
///
/// Resumes by itself when the connection or the server goes away, and waits for a run that does
/// not exist yet. Notes about the connection go to stderr.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  runcast tail nightly-42
  runcast tail nightly-42 --since 1200
  runcast tail nightly-42 --type 'step.*' --channel logs
  runcast tail nightly-42 --output json | jq -r 'select(.type == \"log\") | .data.message'

Exit codes: 0 when the run completed or the output was closed; the run's exit code when it failed
with one, 128 + signal when a signal ended it, else 1."
)]
pub(crate) struct Args {
    /// The run
    run: RunId,
    /// Only events after this one: an offset, or a cursor such as 2.42
    #[arg(long, value_name = "OFFSET", default_value_t = Cursor::START)]
    since: Cursor,
    #[command(flatten)]
    wanted: Wanted,
    /// pretty for people, json for programs: one event a line [default: pretty on a terminal]
    #[arg(long, short)]
    output: Option<Output>,
}

/// Which events; each may be repeated.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// Only events of this type; step.* for all types that begin so
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events of this channel: output, logs, status, control, or one of your own
    #[arg(long = "channel", value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Only events of this variation
    #[arg(long = "variation", value_name = "VARIATION")]
    variations: Vec<String>,
    /// Only events of this stage, by name or number
    #[arg(long = "stage", value_name = "STAGE")]
    stages: Vec<String>,
    /// Only events of this step
    #[arg(long = "step", value_name = "STEP")]
    steps: Vec<String>,
    /// Only events of this agent
    #[arg(long = "agent", value_name = "AGENT")]
    agents: Vec<String>,
    /// Merge adjacent tokens of one message into one event
    #[arg(long)]
    coalesce: bool,
}

impl From<Wanted> for Choice {
    fn from(wanted: Wanted) -> Self {
        let Wanted { types, channels, variations, stages, steps, agents, coalesce } = wanted;
        Self { types, channels, variations, stages, steps, agents, coalesce }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Json,
    Pretty,
}

/// The bytes of output that are gathered before they are written, at most.
const OUTPUT_BUFFER_BYTES: usize = 64 * 1024;

pub(crate) fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let stdout = io::stdout();
    let default = if stdout.is_terminal() { Output::Pretty } else { Output::Json };
    let form = match args.output.unwrap_or(default) {
        Output::Json => Form::Json,
        Output::Pretty => Form::Pretty(Pretty::new(Palette::of(&stdout))),
    };
    let out = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, stdout.lock());
    let screen = Screen { form, out };
    let follower = client.follow_chosen(&args.run, args.since, args.wanted.into());
    block_on(follow(&client, &args.run, follower, screen))
}

async fn follow<W: Write>(
    client: &Client,
    run: &RunId,
    mut follower: Follower,
    mut screen: Screen<W>,
) -> anyhow::Result<ExitCode> {
    // Asked once in front: a wrong address is an error now, and no reason to try for ever.
    match client.run(run).await {
        Ok(_) => {}
        Err(error) if error.code() == Some("run_not_found") => {
            note(&format!("waiting for run {run}, which does not exist yet"));
        }
        Err(error) => return Err(error.into()),
    }
    let mut ended_by = None;
    let mut is_cut_off = false;
    while let Some(item) = screen.next_of(&mut follower).await? {
        match item? {
            FollowItem::Event(event) => {
                screen.write(&event)?;
                if is_terminal(&event.event_type) {
                    ended_by = Some(Outcome::of_event(&event));
                }
            }
            FollowItem::State(state) => {
                screen.out.flush()?;
                tell_state(&state, &mut is_cut_off);
            }
            FollowItem::Gap(gap) => {
                screen.finish()?;
                note(&gap_text(&gap));
            }
            FollowItem::Deleted => {
                screen.finish()?;
                note(&format!("run {run} was deleted"));
                return Ok(ExitCode::FAILURE);
            }
            FollowItem::End { .. } => break,
        }
    }
    screen.finish()?;
    let outcome = match ended_by {
        Some(outcome) => outcome,
        None => Outcome::of_run(&client.run(run).await.context("cannot tell how the run ended")?),
    };
    Ok(ExitCode::from(outcome.exit_code()))
}

/// Where events are written.
struct Screen<W: Write> {
    form: Form,
    out: W,
}

enum Form {
    Json,
    Pretty(Pretty),
}

impl<W: Write> Screen<W> {
    /// The next item; what was written is shown before waiting for it.
    async fn next_of(
        &mut self,
        follower: &mut Follower,
    ) -> io::Result<Option<Result<FollowItem, ClientError>>> {
        tokio::select! {
            biased;
            item = follower.next() => Ok(item),
            () = std::future::ready(()) => {
                self.out.flush()?;
                Ok(follower.next().await)
            }
        }
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        match &mut self.form {
            Form::Json => {
                serde_json::to_writer(&mut self.out, event)?;
                self.out.write_all(b"\n")
            }
            Form::Pretty(pretty) => pretty.write(event, &mut self.out),
        }
    }

    /// Ends a line that is under way, and shows everything.
    fn finish(&mut self) -> io::Result<()> {
        if let Form::Pretty(pretty) = &mut self.form {
            pretty.end_line(&mut self.out)?;
        }
        self.out.flush()
    }
}

fn tell_state(state: &FollowState, is_cut_off: &mut bool) {
    match state {
        FollowState::Connecting => {}
        FollowState::Live if std::mem::take(is_cut_off) => note("connected again"),
        FollowState::Live => {}
        FollowState::Reconnecting { reason, .. } => {
            if !std::mem::replace(is_cut_off, true) {
                note(&format!("connection lost ({reason}); trying again until it is back"));
            }
        }
    }
}

fn gap_text(gap: &Gap) -> String {
    let events = match gap.to {
        Some(to) => format!("events {} to {to}", gap.from),
        None => format!("events from {} on", gap.from),
    };
    match gap.reason.as_str() {
        "trimmed" => format!("{events} are no longer kept"),
        "damaged" => format!("{events} are damaged on the server's disk and cannot be read"),
        "epoch_changed" => format!("{events} were lost by the server or replaced"),
        other => format!("{events} are missing: {other}"),
    }
}
