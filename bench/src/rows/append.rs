//! Durable appends without a viewer.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::flow::run_names;
use super::{Line, Row, Target};
use crate::publish::{Amount, Pace, Plan, Progress, publish};
use crate::sample::{Percentiles, Sample, Window, milliseconds, number};
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
    measure: |place, scale| append(place, scale, (CONNECTIONS, 1), Pace::AtOnce),
};

pub(super) const BATCH: Row = Row {
    name: "append-batch",
    about: "NDJSON batches of 256 over 8 connections to 8 runs, durable",
    has_floor: true,
    lines: &[
        Line::new("cpu", "µs", "CPU an event", Target::AtMost(3.0)),
        Line::new("rate", "/s", "events a second", Target::Shown),
    ],
    measure: |place, scale| append(place, scale, (8, 256), Pace::AtOnce),
};

pub(super) const PACED: Row = Row {
    name: "append-paced",
    about: "the same as append-single at 5,000 events/s",
    has_floor: true,
    lines: &[
        Line::new("p99", "×", "p99 of an answer, in syncs of the disk", Target::AtMost(2.0)),
        Line::new("sync", "ms", "p99 of the sync that a moment falls into", Target::Shown),
    ],
    measure: paced,
};

const CONNECTIONS: usize = 64;
/// 5,000 a second.
const PACE: Duration = Duration::from_micros(200);
/// The part of the time that goes before it and is not counted.
const WARM_UP_PART: u32 = 5;
/// How long a file is written and synced to see how long the disk takes for it, and with how much.
const SYNCING: Duration = Duration::from_millis(1_500);
const SYNC_BYTES: usize = 4 * 1024;

fn append(
    place: &Place,
    scale: &Scale,
    (connections, events_a_request): (usize, usize),
    pace: Pace,
) -> Result<Sample> {
    let subject = place.start(FloorDisk::Durable)?;
    let plan = Plan {
        runs: run_names("append", connections),
        connections,
        events_a_request,
        pace,
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

/// How long an answer takes when neither the server nor the generator is short of time.
fn paced(place: &Place, scale: &Scale) -> Result<Sample> {
    // The disk is not the same at all times.
    let before = syncs(&place.data)?;
    let sample = append(place, scale, (CONNECTIONS, 1), Pace::Every(PACE))?;
    let syncs = [before, syncs(&place.data)?].concat();
    let latency = sample.latency_ms.as_ref().context("nothing was answered")?;
    let (p99, sync) = (latency.p99, milliseconds(met_by_99_of_100(syncs)));
    Ok(sample.with("p99", p99 / sync).with("sync", sync))
}

/// How long the disk takes for writes that are synced, without anybody else.
fn syncs(directory: &Path) -> Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(directory)?;
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < SYNCING {
        let begin = Instant::now();
        file.write_all(&[b'x'; SYNC_BYTES])?;
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// Of 100 moments, 99 fall into a time that is not longer than this: long ones are met more often.
fn met_by_99_of_100(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let most = times.iter().sum::<Duration>() * 99 / 100;
    let mut met = Duration::ZERO;
    let is_99th = |time: &Duration| {
        met += *time;
        met >= most
    };
    times.iter().copied().find(is_99th).unwrap_or_default()
}
