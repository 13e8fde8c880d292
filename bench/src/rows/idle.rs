//! The memory of viewers that wait.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::flow::{ARRIVE_MAX, CONNECT_MAX, arrive, fill, run_names};
use super::{Line, Row, Target};
use crate::publish::{Amount, Pace, Plan};
use crate::sample::{Sample, Window, number};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Subject};
use crate::usage::Memory;
use crate::viewers::Fleet;

const LINES: &[Line] = &[
    Line::new("kib", "KiB", "memory a viewer that waits", Target::AtMost(2.0)),
    Line::new("kib_live", "KiB", "the same after a live event", Target::Shown),
];

pub(super) const SHARED: Row = Row {
    name: "idle-shared",
    about: "10,000 SSE viewers of one run",
    has_floor: true,
    lines: LINES,
    measure: |place, scale| idle(&place.start(FloorDisk::None)?, scale, 1, |fleet| fleet),
};

pub(super) const WEBSOCKET: Row = Row {
    name: "idle-ws",
    about: "10,000 WebSocket viewers of one run",
    has_floor: true,
    lines: &[
        Line::new("kib", "KiB", "memory a viewer that waits", Target::AtMost(4.0)),
        Line::new("kib_live", "KiB", "the same after a live event", Target::Shown),
    ],
    measure: |place, scale| {
        let subject = place.over_websocket().start(FloorDisk::None)?;
        idle(&subject, scale, 1, Fleet::over_websocket)
    },
};

pub(super) const APART: Row = Row {
    name: "idle-apart",
    about: "10,000 SSE viewers, each of its own run",
    has_floor: true,
    lines: LINES,
    measure: |place, scale| idle(&place.start(FloorDisk::None)?, scale, scale.idle, |fleet| fleet),
};

/// Viewers that come and go first, so that what a server allocates once is not counted.
const WARM_UP_VIEWERS: usize = 64;
const CONNECTIONS: usize = 64;

pub(super) fn idle(
    subject: &Subject,
    scale: &Scale,
    runs: usize,
    over: fn(Fleet) -> Fleet,
) -> Result<Sample> {
    let names = run_names("idle", runs);
    let round = Plan {
        runs: Arc::clone(&names),
        connections: CONNECTIONS,
        events_a_request: 1,
        pace: Pace::AtOnce,
        amount: Amount::Requests(runs as u64),
    };
    fill(subject, &round)?;
    let progress = fill(subject, &round)?;
    let viewers = |count: usize| (0..count).map(|at| (at % runs, names[at % runs].as_str()));
    let mut warm_up = over(Fleet::new(subject.address(), viewers(WARM_UP_VIEWERS))?);
    warm_up.connect_gently(CONNECT_MAX)?;
    arrive(&mut warm_up, &progress)?;
    drop(warm_up);

    let mut fleet = over(Fleet::new(subject.address(), viewers(scale.idle))?);
    // Each reads one stored event, so that it has been through the whole path.
    fleet.begin_after(|run| progress.acknowledged(run) - 1);
    let before = subject.memory()?;
    let window = Window::open(subject)?;
    fleet.connect_gently(CONNECT_MAX)?;
    arrive(&mut fleet, &progress)?;
    let waiting = subject.memory()?;
    let live = live_event(subject, &mut fleet, &round)?;
    let spent = window.close()?;
    let each = |after: Memory| {
        (number(after.pss_kib) - number(before.pss_kib)) / number(scale.idle as u64)
    };
    let faults = fleet.seen().faults;
    Ok(Sample { faults, spent, ..Sample::default() }
        .with("kib", each(waiting))
        .with("kib_live", each(live)))
}

fn live_event(subject: &Subject, fleet: &mut Fleet, round: &Plan) -> Result<Memory> {
    let progress = fill(subject, round)?;
    fleet.set_goals(|run| progress.acknowledged(run));
    let all = fleet.drive(ARRIVE_MAX, |fleet| fleet.seen().short_of_goal == 0)?;
    ensure!(
        all,
        "{} of {} viewers did not get a live event",
        fleet.seen().short_of_goal,
        fleet.len()
    );
    subject.memory()
}
