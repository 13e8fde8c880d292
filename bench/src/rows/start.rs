//! The time from starting the process to its first answer, with stored runs.

use anyhow::Result;

use super::flow::{fill, run_names};
use super::replay::last_offset;
use super::{Line, Row, Target};
use crate::publish::{Amount, Pace, Plan};
use crate::sample::{Sample, Spent, number};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Kind, Place, Subject};
use crate::viewers::Faults;
use crate::wire::call::Caller;

pub(super) const START: Row = Row {
    name: "start",
    about: "1,000,000 stored runs of 5 events",
    has_floor: true,
    lines: &[
        Line::new("stopped", "s", "serving, after SIGTERM", Target::AtMost(2.0)),
        Line::new("killed", "s", "serving, after SIGKILL", Target::AtMost(2.0)),
        Line::new("kib", "KiB", "memory a stored run", Target::Shown),
    ],
    measure: start,
};

const EVENTS_A_RUN: usize = 5;
const CONNECTIONS: usize = 64;

/// How many runs are looked at after a start.
const LOOKED_AT: usize = 100;

fn start(place: &Place, scale: &Scale) -> Result<Sample> {
    let subject = place.start(FloorDisk::None)?;
    let empty = subject.memory()?;
    let runs = run_names("start", scale.stored_runs);
    let plan = Plan {
        runs: runs.clone(),
        connections: CONNECTIONS,
        events_a_request: EVENTS_A_RUN,
        pace: Pace::AtOnce,
        amount: Amount::Requests(scale.stored_runs as u64),
    };
    fill(&subject, &plan)?;
    let (subject, after_stop) = place.restart(subject.stop()?, FloorDisk::None)?;
    let (subject, after_kill) = place.restart(subject.kill()?, FloorDisk::None)?;
    let memory = subject.memory()?;
    let spent = Spent {
        memory,
        wall_s: after_kill.as_secs_f64(),
        subject_s: subject.cpu()?.as_secs_f64(),
        ..Spent::default()
    };
    let grown = number(memory.pss_kib) - number(empty.pss_kib);
    let faults = match place.kind {
        Kind::Server => missing(&subject, &runs)?,
        Kind::Floor => Faults::default(),
    };
    Ok(Sample { faults, spent, ..Sample::default() }
        .with("stopped", after_stop.as_secs_f64())
        .with("killed", after_kill.as_secs_f64())
        .with("kib", grown / number(scale.stored_runs as u64)))
}

/// Counts the events that are not there any more, in a part of the runs.
fn missing(subject: &Subject, runs: &[String]) -> Result<Faults> {
    let mut caller = Caller::connect(subject.address())?;
    let mut faults = Faults::default();
    for run in runs.iter().step_by((runs.len() / LOOKED_AT).max(1)) {
        let last = last_offset(&mut caller, run)?;
        faults.lost += (EVENTS_A_RUN as u64).saturating_sub(last);
        faults.doubled += last.saturating_sub(EVENTS_A_RUN as u64);
    }
    Ok(faults)
}
