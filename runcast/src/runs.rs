//! `runcast runs`: list, show and delete runs.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use runcast_client::{Client, ListQuery, RunInfo};
use runcast_event::{RunId, Timestamp};

use crate::global::{Global, block_on};
use crate::palette::{Palette, status_tone};
use crate::report::{UsageError, note, printable};

/// List, show and delete runs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runcast runs list --status running --status queued
  runcast runs list --workflow nightly --tag prod --json | jq .id
  runcast runs show run_0198
  runcast runs delete run_0198 --yes")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List runs, newest first
    List(List),
    /// Show a run's state
    Show(Show),
    /// Delete runs with all their events
    Delete(Delete),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only runs of this status; may be repeated, any of them
    #[arg(long)]
    status: Vec<String>,
    /// Only runs of this workflow
    #[arg(long)]
    workflow: Option<String>,
    /// Only runs with this tag; may be repeated, all of them
    #[arg(long)]
    tag: Vec<String>,
    /// How many runs at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// One run a line, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The run
    run: RunId,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Delete {
    /// The runs
    #[arg(required = true)]
    runs: Vec<RunId>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// The most runs in one page of the server's list.
const PAGE_RUNS_MAX: u32 = 1_000;

pub(crate) fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    block_on(async {
        match args.action {
            Action::List(args) => list(&client, args).await,
            Action::Show(args) => show(&client, &args).await,
            Action::Delete(args) => delete(&client, &args).await,
        }
    })
}

async fn list(client: &Client, args: List) -> anyhow::Result<ExitCode> {
    let mut left = args.limit;
    let mut query = ListQuery {
        statuses: args.status,
        workflow: args.workflow,
        tags: args.tag,
        limit: None,
        cursor: None,
    };
    let mut out = io::stdout().lock();
    let mut rows = Vec::new();
    while left > 0 {
        query.limit = Some(left.min(PAGE_RUNS_MAX));
        let page = client.list(&query).await?;
        left -= left.min(u32::try_from(page.runs.len()).unwrap_or(u32::MAX));
        for run in page.runs {
            if args.json {
                writeln!(out, "{}", serde_json::to_string(&run)?)?;
            } else {
                rows.push(Row::of(&run));
            }
        }
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    if !args.json {
        write_table(&rows, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Row {
    run: String,
    status: String,
    workflow: String,
    created: String,
    took: String,
    events: String,
}

impl Row {
    fn of(run: &RunInfo) -> Self {
        Self {
            run: run.id.to_string(),
            status: run.status.clone(),
            workflow: run.workflow.clone().unwrap_or_else(|| "-".to_owned()),
            created: local_time(run.created_at),
            took: run.duration_ms.map_or_else(|| "-".to_owned(), took),
            events: run.offset.to_string(),
        }
    }
}

fn write_table(rows: &[Row], out: &mut impl io::Write) -> io::Result<()> {
    if rows.is_empty() {
        note("there are no such runs");
        return Ok(());
    }
    let palette = Palette::of(&io::stdout());
    let width = |of: fn(&Row) -> &str, head: &str| {
        rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0).max(head.len())
    };
    let run = width(|row| &row.run, "RUN");
    let status = width(|row| &row.status, "STATUS");
    let workflow = width(|row| &row.workflow, "WORKFLOW");
    let created = width(|row| &row.created, "CREATED");
    let took = width(|row| &row.took, "TOOK");
    let (head_run, head_status, head_workflow) = ("RUN", "STATUS", "WORKFLOW");
    let (head_created, head_took) = ("CREATED", "TOOK");
    writeln!(
        out,
        "{head_run:run$}  {head_status:status$}  {head_workflow:workflow$}  {head_created:created$}  {head_took:>took$}  EVENTS",
    )?;
    for row in rows {
        let padded = format!("{:status$}", row.status);
        writeln!(
            out,
            "{:run$}  {}  {:workflow$}  {:created$}  {:>took$}  {}",
            row.run,
            palette.paint(status_tone(&row.status), &padded),
            row.workflow,
            row.created,
            row.took,
            row.events,
        )?;
    }
    Ok(())
}

async fn show(client: &Client, args: &Show) -> anyhow::Result<ExitCode> {
    let run = client.run(&args.run).await?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&run)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let palette = Palette::of(&io::stdout());
    let mut status = palette.paint(status_tone(&run.status), &run.status);
    if let Some(reason) = &run.status_reason {
        status = format!("{status}: {}", printable(reason));
    }
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<9} {value}");
    line("run", run.id.as_str())?;
    line("page", &client.page_url(&run.id))?;
    line("status", &status)?;
    let texts = [("name", &run.name), ("workflow", &run.workflow), ("signal", &run.signal)];
    for (name, value) in texts {
        value.as_ref().map(|value| line(name, value)).transpose()?;
    }
    if !run.tags.is_empty() {
        line("tags", &run.tags.join(", "))?;
    }
    if let Some(code) = run.exit_code {
        line("exit code", &code.to_string())?;
    }
    line("created", &local_time(run.created_at))?;
    let times = [("started", run.started_at), ("ended", run.ended_at)];
    for (name, time) in times {
        time.map(|time| line(name, &local_time(time))).transpose()?;
    }
    if let Some(millis) = run.duration_ms {
        line("took", &took(millis))?;
    }
    line("events", &run.offset.to_string())?;
    let damaged = run.rest.get("events").and_then(|events| events["damaged"].as_u64());
    if let Some(events) = damaged.filter(|events| *events > 0) {
        line("damaged", &format!("{events} events cannot be read any more"))?;
    }
    if let Some(error) = run.rest.get("error").filter(|error| !error.is_null()) {
        let text = error.as_str().map_or_else(|| error.to_string(), ToOwned::to_owned);
        line("error", &printable(&text))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(client: &Client, args: &Delete) -> anyhow::Result<ExitCode> {
    if !args.yes && !confirmed(&args.runs)? {
        anyhow::bail!("nothing was deleted");
    }
    let mut failed = false;
    for run in &args.runs {
        match client.delete(run).await {
            Ok(()) => writeln!(io::stdout(), "deleted {run}")?,
            // Without a server the others cannot be deleted either.
            Err(error) if error.code().is_none() => return Err(error.into()),
            Err(error) => {
                failed = true;
                note(&format!("{run}: {error}"));
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn confirmed(runs: &[RunId]) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        let message = "deleting needs --yes where nobody can be asked".to_owned();
        return Err(UsageError(message).into());
    }
    let what = match runs {
        [one] => one.to_string(),
        many => format!("{} runs", many.len()),
    };
    write!(io::stderr(), "Delete {what} with all events? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn local_time(time: Timestamp) -> String {
    let moment = jiff::Timestamp::from_microsecond(time.as_micros()).unwrap_or_default();
    moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A duration as a person would say it.
fn took(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0..60 => format!("{seconds}.{}s", millis % 1_000 / 100),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_said_shortly() {
        assert_eq!(took(0), "0.0s");
        assert_eq!(took(59_999), "59.9s");
        assert_eq!(took(61_000), "1m01s");
        assert_eq!(took(3_660_000), "1h01m");
    }
}
