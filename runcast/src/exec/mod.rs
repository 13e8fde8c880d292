//! `runcast exec`: any process as a durable live run.
//!
//! The child comes first: its output passes through before anything else happens to it, it gets
//! the signals and keys that it would get without us, and our exit code is its own. Publishing is
//! beside the way: pumps read and pass through, one thread sorts and publishes, the publisher sends.
//! So is obeying: a task hears what the run is asked, and who waits for the child carries it out.
//! Nothing that fails there (server, disk, spool) slows, fails or changes the child.

mod args;
mod child;
mod command_lines;
mod deliver;
mod event;
mod group;
mod intake;
mod log_line;
mod mailbox;
mod obey;
mod outcome;
mod pipes;
mod pump;
mod record;
mod redact;
mod request;
mod signals;
mod sort;
mod supervise;
mod system;
mod tell;
mod terminal;
mod text;

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use runcast_event::{RunId, Timestamp, parse_event};

pub(crate) use args::{Args, SpoolDir, duration};
use event::{Definition, EventMaker};
pub(crate) use outcome::signal_name;
use redact::Secrets;
use supervise::Plan;
pub(crate) use tell::{notice_teller, tell};

use crate::global::{Global, block_on};
use crate::report::UsageError;

/// The variable that names the run to its process.
pub(crate) const RUN_VARIABLE: &str = "RUNCAST_RUN_ID";

/// Runs the command.
pub(crate) fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let secrets = if args.no_redact { Secrets::default() } else { Secrets::of(env::vars_os()) };
    let secrets = Arc::new(secrets);
    let definition = Definition {
        workflow: args.workflow.clone(),
        name: args.name.clone(),
        tags: args.tags.clone(),
        command: args.command.clone(),
        parent: env::var(RUN_VARIABLE).ok(),
        lost_after: args.lost_after,
    };
    let maker = EventMaker::new(args.variation.clone(), Arc::clone(&secrets));
    let first = maker.started(&definition, None);
    parse_event(first.as_bytes(), Timestamp::now()).map_err(|error| {
        let flag = error.field.trim_start_matches("data.").trim_end_matches('s').to_owned();
        UsageError(format!("--{flag}: {error}"))
    })?;
    let run = args.run.clone().unwrap_or_else(RunId::random);
    if !args.quiet {
        tell(&client.page_url(&run));
    }
    let plan = Plan { args, client, run, secrets, definition, maker };
    block_on(supervise::supervise(plan))
}
