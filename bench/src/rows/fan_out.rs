//! Live delivery: one run with many viewers, and many runs with one viewer each.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::flow::{CONNECT_MAX, flow, run_names, sample_of};
use super::{Line, Row, Target};
use crate::publish::{Amount, Pace, Plan};
use crate::sample::{Sample, number};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Place, Subject};
use crate::viewers::Fleet;

pub(super) const FAN_OUT: Row = Row {
    name: "fan-out",
    about: "1 run, 1,000 viewers, 100 events/s, SSE",
    has_floor: true,
    lines: &[
        Line::new("cpu", "µs", "CPU a delivery", Target::TimesFloor(1.3)),
        Line::new("bytes", "B", "bytes on the wire a delivery", Target::Shown),
    ],
    measure: |place, scale| fan_out(&place.start(FloorDisk::None)?, scale, |fleet| fleet),
};

pub(super) const FAN_OUT_WEBSOCKET: Row = Row {
    name: "fan-out-ws",
    about: "1 run, 1,000 viewers, 100 events/s, WebSocket",
    measure: |place, scale| {
        let subject = place.over_websocket().start(FloorDisk::None)?;
        fan_out(&subject, scale, Fleet::over_websocket)
    },
    ..FAN_OUT
};

pub(super) const MANY_RUNS: Row = Row {
    name: "many-runs",
    about: "1,000 runs, 1 viewer each, 2,000 events/s in all, durable",
    has_floor: true,
    lines: &[Line::new("cpu", "µs", "CPU an event, append included", Target::TimesFloor(1.6))],
    measure: many_runs,
};

pub(super) const FAN_OUT_EVERY: Duration = Duration::from_millis(10);
pub(super) const MANY_RUNS_EVERY: Duration = Duration::from_micros(500);
pub(super) const MANY_RUNS_CONNECTIONS: usize = 64;

/// The part of a flow that goes before it and is not counted.
pub(super) const WARM_UP_PART: u32 = 5;

pub(super) fn fan_out(
    subject: &Subject,
    scale: &Scale,
    over: fn(Fleet) -> Fleet,
) -> Result<Sample> {
    let runs = run_names("fan-out", 1);
    let viewers = (0..scale.viewers).map(|_| (0, runs[0].as_str()));
    let mut fleet = over(Fleet::new(subject.address(), viewers)?);
    let plan = Plan {
        runs: Arc::clone(&runs),
        connections: 1,
        events_a_request: 1,
        pace: Pace::Every(FAN_OUT_EVERY),
        amount: Amount::For(scale.flow / WARM_UP_PART),
    };
    fleet.connect_gently(CONNECT_MAX)?;
    flow(subject, &mut fleet, plan.clone())?;
    let plan = Plan { amount: Amount::For(scale.flow), ..plan };
    let (published, spent) = flow(subject, &mut fleet, plan)?;
    let deliveries = fleet.seen().events;
    let bytes = number(fleet.seen().bytes) / number(deliveries.max(1));
    Ok(sample_of(&fleet, &published, spent)
        .with("cpu", spent.microseconds_each(deliveries))
        .with("bytes", bytes))
}

pub(super) fn many_runs(place: &Place, scale: &Scale) -> Result<Sample> {
    let subject = place.start(FloorDisk::Durable)?;
    let runs = run_names("many-runs", scale.viewers);
    let viewers = runs.iter().enumerate().map(|(run, name)| (run, name.as_str()));
    let mut fleet = Fleet::new(subject.address(), viewers)?;
    let plan = Plan {
        runs: Arc::clone(&runs),
        connections: MANY_RUNS_CONNECTIONS,
        events_a_request: 1,
        pace: Pace::Every(MANY_RUNS_EVERY),
        amount: Amount::Requests(scale.viewers as u64),
    };
    fleet.connect_gently(CONNECT_MAX)?;
    flow(&subject, &mut fleet, plan.clone())?;
    let plan = Plan { amount: Amount::For(scale.flow), ..plan };
    let (published, spent) = flow(&subject, &mut fleet, plan)?;
    Ok(sample_of(&fleet, &published, spent).with("cpu", spent.microseconds_each(published.events)))
}
