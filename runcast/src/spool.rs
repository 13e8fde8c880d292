//! `runcast spool`: deliver events that runs have left on disk.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use runcast_client::Client;
use runcast_client::publish::Publisher;
use runcast_client::spool::{Leftover, Leftovers, leftovers};
use runcast_event::RunId;
use tokio::time::timeout;

use crate::exec::{SpoolDir, duration, notice_teller};
use crate::global::block_on;
use crate::report::note;

/// Deliver events that runs have left on disk: their process was killed, or the server was away
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the spools, oldest first
    List {
        #[command(flatten)]
        spool: SpoolDir,
    },
    /// Send them, each to the server that its run was for; every event arrives once
    Send {
        #[command(flatten)]
        spool: SpoolDir,
        /// Only those of these runs
        runs: Vec<RunId>,
        /// How long to try, for each spool
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
        drain_timeout: Duration,
    },
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::List { spool } => list(&spool.root()),
        Action::Send { spool, runs, drain_timeout } => {
            let found = find(&spool.root())?;
            let chosen =
                found.into_iter().filter(|spool| runs.is_empty() || runs.contains(&spool.run));
            let chosen: Vec<Leftover> = chosen.collect();
            block_on(send_all(chosen, drain_timeout))
        }
    }
}

fn find(root: &Path) -> anyhow::Result<Vec<Leftover>> {
    let Leftovers { spools, unreadable } = leftovers(root)
        .map_err(|error| anyhow::anyhow!("{} cannot be read: {error}", root.display()))?;
    for (dir, error) in unreadable {
        note(&format!("{} is not a spool that can be read: {error}", dir.display()));
    }
    Ok(spools)
}

fn list(root: &Path) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    for spool in find(root)? {
        let state = if spool.in_use { "in use" } else { "left" };
        let Leftover { run, events, bytes, url, created_at, .. } = spool;
        writeln!(out, "{created_at}  {run}  {events} events  {bytes} bytes  {state}  {url}")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn send_all(spools: Vec<Leftover>, wait: Duration) -> anyhow::Result<ExitCode> {
    let mut all_delivered = true;
    for spool in spools {
        if spool.in_use {
            note(&format!("{}: its process lives and sends it", spool.run));
            continue;
        }
        all_delivered &= send(&spool, wait).await?;
    }
    Ok(if all_delivered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn send(spool: &Leftover, wait: Duration) -> anyhow::Result<bool> {
    let client = Client::new(&spool.url)?;
    let Some(publisher) = Publisher::resume(client, &spool.dir, notice_teller(false))? else {
        note(&format!("{}: another process sends it", spool.run));
        return Ok(true);
    };
    // What is not delivered in time stays, and is told of below.
    drop(timeout(wait, publisher.delivered()).await);
    let outcome = publisher.close();
    note(&format!(
        "{}: {} events delivered, {} left, {} lost",
        spool.run,
        spool.events.saturating_sub(outcome.undelivered),
        outcome.undelivered,
        outcome.lost
    ));
    Ok(outcome.undelivered == 0 && outcome.lost == 0)
}
