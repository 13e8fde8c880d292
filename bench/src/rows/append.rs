//! Durable appends without a viewer.

use std::sync::Arc;

use anyhow::Result;

use super::flow::run_names;
use super::{Line, Row, Target};
use crate::publish::{Amount, Pace, Plan, Progress, publish};
use crate::sample::{Percentiles, Sample, Window, number};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Place};
use crate::viewers::Faults;

pub(super) const SINGLE: Row = Row {
    name: "append-single",
    about: "single events over 64 connections to 64 runs, durable",
    has_floor: true,
    lines: &[
        Line::new("cpu", "µs", "CPU an event", Target::AtMost(20.0)),
        Line::new("rate", "/s", "events a second", Target::Shown),
    ],
    measure: |place, scale| append(place, scale, 64, 1),
};

pub(super) const BATCH: Row = Row {
    name: "append-batch",
    about: "NDJSON batches of 256 over 8 connections to 8 runs, durable",
    has_floor: true,
    lines: &[
        Line::new("cpu", "µs", "CPU an event", Target::AtMost(3.0)),
        Line::new("rate", "/s", "events a second", Target::Shown),
    ],
    measure: |place, scale| append(place, scale, 8, 256),
};

/// The part of the time that goes before it and is not counted.
const WARM_UP_PART: u32 = 5;

fn append(
    place: &Place,
    scale: &Scale,
    connections: usize,
    events_a_request: usize,
) -> Result<Sample> {
    let subject = place.start(FloorDisk::Durable)?;
    let plan = Plan {
        runs: run_names("append", connections),
        connections,
        events_a_request,
        pace: Pace::AtOnce,
        amount: Amount::For(scale.appends / WARM_UP_PART),
    };
    let progress: Arc<Progress> = Progress::of(plan.runs.len());
    let warm_up = publish(subject.address(), &plan, &progress)?;
    let plan = Plan { amount: Amount::For(scale.appends), ..plan };
    let window = Window::open(&subject)?;
    let published = publish(subject.address(), &plan, &progress)?;
    let spent = window.close()?;
    // The offsets say how many events the runs have: as many as were acknowledged, if all is right.
    let stored: u64 = (0..plan.runs.len()).map(|run| progress.acknowledged(run)).sum();
    let acknowledged = warm_up.events + published.events;
    let faults = Faults {
        lost: acknowledged.saturating_sub(stored),
        doubled: stored.saturating_sub(acknowledged),
        disordered: 0,
        refused: warm_up.refused + published.refused,
    };
    let sample = Sample {
        latency_ms: Percentiles::of(&published.latency),
        faults,
        problem: published.problem,
        spent,
        ..Sample::default()
    };
    Ok(sample
        .with("cpu", spent.microseconds_each(published.events))
        .with("rate", number(published.events) / published.wall.as_secs_f64()))
}
