//! `runcast demo`: an agent-like run, published as a real one would be.

mod script;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use bytes::BytesMut;
use runcast_client::{Client, RunDefinition};
use runcast_event::{RunId, Timestamp};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::demo::script::{STAGES, Script};
use crate::global::{Global, block_on};
use crate::sender::Sender;

/// Publish a run like an agent's, to look at
///
/// Stages, steps, tokens, tool calls, logs and progress: real events through the real API. Prints
/// the run's address first. Goes on where it was when the server goes away and comes back.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  runcast demo
  runcast demo --speed 5 --run my-demo
  runcast demo --events 100000 --speed 0"
)]
pub(crate) struct Args {
    /// How many times as fast as an agent would be; 0 for as fast as it goes
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// The run's id [default: a new one]
    #[arg(long)]
    run: Option<RunId>,
    /// How many events the run has
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(script::EVENTS_MIN..=EVENTS_MAX))]
    events: u64,
}

/// The most events of a demonstration.
const EVENTS_MAX: u64 = 100_000_000;
/// The most events in one request.
const REQUEST_EVENTS_MAX: u64 = 500;

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let is_speed = speed.is_finite() && speed >= 0.0;
    is_speed.then_some(speed).ok_or_else(|| "must be a number from 0".to_owned())
}

pub(crate) fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    block_on(play(client, args))
}

async fn play(client: Client, args: Args) -> anyhow::Result<ExitCode> {
    let stages = STAGES.iter().map(|stage| json!({ "name": stage })).collect();
    let run = client
        .create_run(&RunDefinition {
            id: args.run,
            workflow: Some("demo".to_owned()),
            name: Some("A report about the tides".to_owned()),
            tags: vec!["demo".to_owned()],
            stages,
            ..RunDefinition::default()
        })
        .await?;
    if run.is_terminal {
        anyhow::bail!("run {} has ended already; choose another with --run", run.id);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{}", client.page_url(&run.id))?;
    out.flush()?;
    // The definition was the first event.
    let script = Script::new(args.events - 1);
    publish(Sender::new(client, run.id.clone()), script, args.speed).await?;
    writeln!(out, "{}: {} events stored", run.id, args.events)?;
    Ok(ExitCode::SUCCESS)
}

/// Sends each event when its time has come, and together those whose time has come together.
async fn publish(mut sender: Sender, script: Script, speed: f64) -> anyhow::Result<()> {
    let mut due = Instant::now();
    let mut lines = BytesMut::new();
    let mut count = 0;
    for (pause, draft) in script {
        due += if speed > 0.0 { pause.div_f64(speed.max(SPEED_MIN)) } else { Duration::ZERO };
        let is_early = due > Instant::now();
        if count > 0 && (is_early || count >= REQUEST_EVENTS_MAX) {
            sender.send(lines.split().freeze(), count).await?;
            count = 0;
        }
        if is_early {
            sleep_until(due).await;
        }
        lines.extend_from_slice(draft.at(Timestamp::now()).to_json().as_bytes());
        lines.extend_from_slice(b"\n");
        count += 1;
    }
    if count > 0 {
        sender.send(lines.freeze(), count).await?;
    }
    Ok(())
}

/// Slower than this is not waited for: a pause must stay a length of time.
const SPEED_MIN: f64 = 0.000_1;
