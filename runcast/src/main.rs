//! The `runcast` command. Only dispatches: each command is a module of its own.
//!
//! Exit codes: 0 success, 1 failure, 2 wrong usage; `exec` and `tail` give those of the run;
//! `doctor` 1 when there are problems, 2 when it cannot say.

#![allow(rustdoc::bare_urls, reason = "what clap prints as help is no web page")]

mod ask;
mod backup;
mod bridge;
mod command;
mod demo;
mod doctor;
mod exec;
mod global;
mod inputs;
mod inspect;
mod palette;
mod progress;
mod publish;
mod report;
mod runs;
mod sender;
mod serve;
mod spool;
mod tail;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::global::Global;

/// Durable, ordered, live event streams for agent and workflow runs.
#[derive(Parser)]
#[command(name = "runcast", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Start here:
  runcast serve                      a server on http://127.0.0.1:7070
  runcast demo                       a run to look at
  runcast exec -- COMMAND            any command, as a live run

Exit codes: 0 success, 1 failure, 2 wrong usage; tail and exec give those of the run, ask 124 when
nobody answers in time.";

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Exec(exec::Args),
    Tail(tail::Args),
    Publish(publish::Args),
    Runs(runs::Args),
    Pause(command::Pause),
    Resume(command::Resume),
    Stop(command::Stop),
    Set(command::Set),
    Ask(ask::Args),
    Inputs(inputs::List),
    Answer(inputs::Answer),
    Demo(demo::Args),
    Spool(spool::Args),
    Doctor(doctor::Args),
    Bridge(bridge::Args),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Inspect(inspect::Args),
}

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let outcome = match command {
        Command::Serve(args) => serve::run(args),
        Command::Exec(args) => exec::run(args, &global),
        Command::Tail(args) => tail::run(args, &global),
        Command::Publish(args) => publish::run(args, &global),
        Command::Runs(args) => runs::run(args, &global),
        Command::Pause(args) => command::pause(args, &global),
        Command::Resume(args) => command::resume(args, &global),
        Command::Stop(args) => command::stop(args, &global),
        Command::Set(args) => command::set(args, &global),
        Command::Ask(args) => ask::run(args, &global),
        Command::Inputs(args) => inputs::list(args, &global),
        Command::Answer(args) => inputs::answer(args, &global),
        Command::Demo(args) => demo::run(args, &global),
        Command::Spool(args) => spool::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bridge(args) => bridge::run(&args, &global),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restored(&args),
        Command::Inspect(args) => inspect::run(&args),
    };
    outcome.unwrap_or_else(|error| report::failure(&error))
}
