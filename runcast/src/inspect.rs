//! `runcast inspect`: what is in a file of a log.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use runcast_log::inspect::{InspectError, Piece, Selection, Value, inspect};
use serde_json::{Map, Value as Json};

use crate::report::printable;

/// Show what is in a file of a log, or in all files of a data directory
///
/// Changes nothing, and may be used on a directory that is served. What is damaged is shown as
/// that and passed over; the exit code is 1 then.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  runcast inspect ./runcast-data --run my-run
  runcast inspect ./runcast-data/wal-0000000001.log --json
  runcast inspect ./runcast-data/seg-0000000001.seg --run my-run --events"
)]
pub(crate) struct Args {
    /// A file of a log, also one that was set aside, or a data directory
    #[arg(value_name = "FILE|DATA")]
    path: PathBuf,
    /// Only what belongs to this run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// The events too, which may be confidential
    #[arg(long)]
    events: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let selection = Selection { run: args.run.clone(), events: args.events };
    let shown = inspect(&args.path, &selection, &mut |piece| {
        if args.json { write_json(&mut out, piece) } else { write_line(&mut out, &piece) }
    });
    let is_damaged = match shown {
        Err(InspectError::Output(error)) => return Err(error.into()),
        shown => shown.context("cannot inspect")?,
    };
    out.flush()?;
    Ok(if is_damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write_line(out: &mut impl Write, piece: &Piece) -> io::Result<()> {
    let Piece { file, position, bytes, kind, run, fields, event } = piece;
    write!(out, "{file}  {position:>10} +{bytes:<8} {kind:<9}")?;
    if let Some(run) = run {
        write!(out, " {}", printable(run))?;
    }
    for (name, value) in fields {
        match value {
            Value::Is(false) => {}
            Value::Is(true) => write!(out, " {name}")?,
            Value::Number(number) => write!(out, " {name}={number}")?,
            Value::Text(text) => write!(out, " {name}={}", printable(text))?,
        }
    }
    if let Some(event) = event {
        write!(out, " {}", printable(&String::from_utf8_lossy(event)))?;
    }
    writeln!(out)
}

fn write_json(out: &mut impl Write, piece: Piece) -> io::Result<()> {
    let mut line = Map::new();
    line.insert("file".to_owned(), piece.file.into());
    line.insert("position".to_owned(), piece.position.into());
    line.insert("bytes".to_owned(), piece.bytes.into());
    line.insert("kind".to_owned(), piece.kind.into());
    if let Some(run) = piece.run {
        line.insert("run".to_owned(), run.into());
    }
    for (name, value) in piece.fields {
        let value = match value {
            Value::Is(is) => is.into(),
            Value::Number(number) => number.into(),
            Value::Text(text) => text.into(),
        };
        line.insert(name.to_owned(), value);
    }
    if let Some(event) = piece.event {
        let text = || String::from_utf8_lossy(&event).into_owned();
        let event = serde_json::from_slice::<Json>(&event).unwrap_or_else(|_| text().into());
        line.insert("event".to_owned(), event);
    }
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}
