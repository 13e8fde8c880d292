//! `runcast doctor`: what is wrong in a data directory, and setting it right; what of a Redis is not as the
//! server needs it.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use runcast_log::doctor::{Checkup, Finding, Repaired, check, repair};
use serde_json::{Value, json};

use crate::backup::epoch_min;
use crate::palette::{Palette, Tone};
use crate::progress::Progress;
use crate::report::{UsageError, note, printable};
use crate::serve::redis as place;

mod redis;

/// Check a data directory, every file, every checksum, every run's offsets; or a Redis
///
/// Changes nothing without --repair. While a server has the directory, what is in its files is
/// checked all the same; --repair needs the server to be stopped. With --redis, everything is looked at
/// and tried that a server needs of a Redis; servers may use it meanwhile.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  runcast doctor ./runcast-data
  runcast doctor ./runcast-data --json
  runcast doctor ./runcast-data --repair
  runcast doctor --redis redis://127.0.0.1:6379

Exit codes: 0 it is sound, 1 there are problems, 2 it cannot be checked. docs/operations.md says what
to do then."
)]
pub(crate) struct Args {
    /// The data directory, or a set of a backup
    #[arg(value_name = "DATA", required_unless_present = "redis")]
    data: Option<PathBuf>,
    /// The Redis of `serve --redis`; without a URL, that of REDIS_URL, or REDIS_HOST and its like
    #[arg(
        long,
        value_name = "URL",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["data", "repair"]
    )]
    redis: Option<String>,
    /// With --redis, as many replicas as `serve --redis-wait` says
    #[arg(long, env = "RUNCAST_REDIS_WAIT", value_name = "REPLICAS")]
    redis_wait: Option<u32>,
    /// Keep everything that can be read, in a log that opens; what is replaced is set aside as
    /// ….damaged, never deleted
    #[arg(long)]
    repair: bool,
    /// With --redis, the file of `serve --redis-ca-file`
    #[arg(long, env = "RUNCAST_REDIS_CA_FILE", value_name = "FILE")]
    redis_ca_file: Option<PathBuf>,
    /// With --repair, do not ask
    #[arg(long, requires = "repair")]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// There are problems.
const PROBLEMS: u8 = 1;
/// It cannot be checked or repaired.
const CANNOT: u8 = 2;

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match (&args.data, &args.redis) {
        (Some(data), _) => check_directory(args, data),
        (None, url) => {
            let url = match url.clone().filter(|url| !url.is_empty()) {
                Some(url) => url,
                None => place::from_environment(|name| std::env::var(name).ok())?
                    .ok_or_else(|| UsageError("say where: --redis redis://host:6379".to_owned()))?,
            };
            redis::check(
                &place::options(Some(url), args.redis_wait, args.redis_ca_file.clone()),
                args.json,
            )
        }
    }
}

fn check_directory(args: &Args, data: &Path) -> anyhow::Result<ExitCode> {
    if args.repair && !is_agreed(args, data)? {
        note("nothing was changed");
        return Ok(ExitCode::from(CANNOT));
    }
    let mut progress = Progress::new("read");
    let mut told = |done, all| progress.at(done, all);
    let outcome = if args.repair {
        repair(data, epoch_min(), &mut told)
    } else {
        let checked = check(data, &mut told);
        checked.map(|after| Repaired { done: Vec::new(), after })
    };
    drop(progress);
    let Repaired { done, after } = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            note(&format!("cannot {}: {error}", if args.repair { "repair" } else { "check" }));
            return Ok(ExitCode::from(CANNOT));
        }
    };
    if args.json {
        writeln!(io::stdout(), "{}", as_json(data, &done, &after))?;
    } else {
        print(args, data, &done, &after)?;
    }
    Ok(if after.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(PROBLEMS) })
}

/// Says how to keep a copy, and asks where there is somebody to answer.
fn is_agreed(args: &Args, data: &Path) -> anyhow::Result<bool> {
    let data = data.display();
    note(&format!("keep a copy before anything is changed: cp -a {data} {data}.before-repair"));
    if args.yes || !io::stdin().is_terminal() {
        return Ok(true);
    }
    write!(io::stderr(), "Repair {} now? [y/N] ", printable(&data.to_string()))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn print(args: &Args, data: &Path, done: &[String], checkup: &Checkup) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let palette = Palette::of(&io::stdout());
    for done in done {
        writeln!(out, "{}  {}", palette.paint(Tone::Good, "done   "), printable(done))?;
    }
    if args.repair && done.is_empty() {
        writeln!(out, "There was nothing to repair.")?;
    }
    let Checkup { segments, wals, runs, events, .. } = checkup;
    let data = printable(&data.display().to_string());
    writeln!(
        out,
        "{data}: {runs} runs, {events} events in {segments} segments and {wals} write-ahead logs"
    )?;
    if let Some(holder) = &checkup.served_by {
        writeln!(
            out,
            "{holder} serves it: files that are left over and the end of the newest one were not \
             looked at, and it cannot be repaired now"
        )?;
    }
    for finding in &checkup.findings {
        print_finding(&mut out, palette, finding)?;
    }
    if checkup.findings_more > 0 {
        writeln!(out, "and {} more", checkup.findings_more)?;
    }
    let problems = checkup.findings.iter().filter(|finding| !finding.is_harmless).count() as u64;
    match problems + checkup.findings_more {
        0 => writeln!(out, "{}", palette.paint(Tone::Good, "It is sound."))?,
        count => writeln!(out, "{}", palette.paint(Tone::Bad, &format!("Problems: {count}")))?,
    }
    Ok(())
}

fn print_finding(out: &mut impl io::Write, palette: Palette, finding: &Finding) -> io::Result<()> {
    let place = match (&finding.file, finding.position) {
        (Some(file), Some(position)) => format!("{file}, byte {position}: "),
        (Some(file), None) => format!("{file}: "),
        (None, _) => String::new(),
    };
    let (tone, word) =
        if finding.is_harmless { (Tone::Dim, "note   ") } else { (Tone::Bad, "problem") };
    let what = printable(&format!("{place}{}", finding.what));
    writeln!(out, "{}  {what}", palette.paint(tone, word))?;
    writeln!(out, "         lost: {}", printable(&finding.lost))?;
    writeln!(out, "         repair: {}", printable(&finding.repair))
}

fn as_json(data: &Path, done: &[String], checkup: &Checkup) -> Value {
    let finding = |finding: &Finding| {
        let lost = finding.lost_events.as_ref();
        json!({
            "severity": if finding.is_harmless { "note" } else { "problem" },
            "file": finding.file,
            "position": finding.position,
            "run": lost.map(|(run, _, _)| run.as_str()),
            "first": lost.map(|(_, first, _)| first),
            "last": lost.map(|(_, _, last)| last),
            "what": finding.what,
            "lost": finding.lost,
            "repair": finding.repair,
        })
    };
    json!({
        "data": data.to_string_lossy(),
        "sound": checkup.is_sound(),
        "served_by": checkup.served_by,
        "done": done,
        "runs": checkup.runs,
        "events": checkup.events,
        "segments": checkup.segments,
        "wals": checkup.wals,
        "bytes_read": checkup.bytes,
        "findings": checkup.findings.iter().map(finding).collect::<Vec<_>>(),
        "findings_more": checkup.findings_more,
    })
}
