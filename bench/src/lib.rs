//! Measures Runcast: a load generator, and the floor that the server is measured against.
//!
//! Starts the server and the floor as child processes, one after the other for each row, and
//! reads their CPU time and memory from the kernel. Prints a table for people and writes JSON for
//! machines. See `bench/README.md` for what each row means.
//!
//! [`stress`] uses the same readers for the opposite: it does not count what a server costs but
//! whether it keeps its promises while everything goes wrong.

mod clock;
mod event;
mod floor;
mod limits;
mod machine;
mod poller;
mod publish;
mod report;
mod rows;
mod sample;
mod scale;
pub mod stress;
mod subject;
mod usage;
mod viewers;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use crate::machine::Machine;
use crate::report::{Measured, Report};
use crate::rows::{ROWS, Row};
use crate::scale::Scale;
use crate::subject::{Kind, Place};

/// Measures Runcast against the least that a server of live streams can do.
#[derive(Debug, Parser)]
#[command(name = "runcast-bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<BenchCommand>,
    /// The rows to measure; all when none is named.
    rows: Vec<String>,
    /// Lists the rows.
    #[arg(long)]
    list: bool,
    /// About a minute: shorter, and once.
    #[arg(long, conflicts_with = "smoke")]
    quick: bool,
    /// Only whether it works: small and fast.
    #[arg(long)]
    smoke: bool,
    /// How often each row is measured; the table shows medians.
    #[arg(long)]
    runs: Option<usize>,
    /// Writes everything that was measured as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The server's program; `runcast` beside this program when not given.
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Where data is written. It should be on the disk that matters, not in memory.
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// Measures only one of the two.
    #[arg(long)]
    only: Option<Only>,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Serves as the floor. The generator starts it; by hand it is of use for profiles.
    Floor(floor::FloorSettings),
    /// Checks the server's promises under load, kills and rude readers.
    Stress(stress::Settings),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Floor,
    Server,
}

/// Reads the command line and does what it says.
///
/// # Errors
/// When something cannot be measured or a promise does not hold.
pub fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    limits::raise_open_files()?;
    match arguments.command {
        Some(BenchCommand::Floor(settings)) => {
            floor::serve(&settings)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(BenchCommand::Stress(settings)) => {
            stress::run(&settings)?;
            Ok(ExitCode::SUCCESS)
        }
        None if arguments.list => {
            print!("{}", report::list(ROWS));
            Ok(ExitCode::SUCCESS)
        }
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> Result<ExitCode> {
    let scale = match (arguments.quick, arguments.smoke) {
        (false, false) => Scale::FULL,
        (true, _) => Scale::QUICK,
        (_, true) => Scale::SMOKE,
    };
    let rows = chosen(&arguments.rows)?;
    let places = places(arguments)?;
    let machine = Machine::look(&places[0].data)?;
    for warning in machine.warnings() {
        eprintln!("warning: {warning}");
    }
    let repetitions = arguments.runs.unwrap_or(scale.repetitions).max(1);
    let mut report = Report::new(machine, scale.name, repetitions);
    for row in rows {
        let mut measured = Measured::of(row);
        for repetition in 1..=repetitions {
            for place in &places {
                if place.kind == Kind::Floor && !row.has_floor {
                    continue;
                }
                let sample = (row.measure)(place, &scale)
                    .with_context(|| format!("row {} with the {:?}", row.name, place.kind));
                eprintln!("{}", report::progress(row, place.kind, repetition, &sample));
                measured.add(place.kind, sample);
            }
        }
        report.rows.push(measured);
    }
    print!("{}", report.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.json()?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    for name in names {
        ensure!(
            ROWS.iter().any(|row| row.name == name),
            "there is no row {name:?}; --list shows the rows"
        );
    }
    let wanted = |row: &&Row| names.is_empty() || names.iter().any(|name| row.name == name);
    Ok(ROWS.iter().filter(wanted).collect())
}

/// The floor first, then the server: each row measures both in turn.
fn places(arguments: &Arguments) -> Result<Vec<Place>> {
    let floor = std::env::current_exe().context("this program cannot find itself")?;
    let server = match &arguments.server {
        Some(path) => path.clone(),
        None => floor.with_file_name("runcast"),
    };
    if arguments.only != Some(Only::Floor) {
        ensure!(
            server.is_file(),
            "there is no server at {}; build it with `cargo build --release -p runcast`, name it with --server, or measure the floor alone with --only floor",
            server.display()
        );
    }
    let data = arguments.data.clone().unwrap_or_else(std::env::temp_dir);
    let place = |kind| Place {
        server: server.clone(),
        floor: floor.clone(),
        data: data.clone(),
        kind,
        set: Vec::new(),
        config: None,
        redis: None,
        floor_websocket: false,
    };
    Ok(match arguments.only {
        Some(Only::Floor) => vec![place(Kind::Floor)],
        Some(Only::Server) => vec![place(Kind::Server)],
        None => vec![place(Kind::Floor), place(Kind::Server)],
    })
}
