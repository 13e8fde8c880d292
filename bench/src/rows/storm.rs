//! All viewers lose their connections at once and come back at once, while events flow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::flow::{ARRIVE_MAX, CONNECT_MAX, arrive, fill, run_names, sample_of};
use super::{Line, Row, Target};
use crate::publish::{Amount, Pace, Plan, Progress, publish_in_background};
use crate::sample::{Percentiles, Sample, Window};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Place};
use crate::viewers::Fleet;

pub(super) const STORM: Row = Row {
    name: "storm",
    about: "5,000 SSE viewers of 50 runs reconnect at once, 100 events/s in all",
    has_floor: true,
    lines: &[
        Line::new("cpu", "µs", "CPU a viewer, cut to caught up", Target::AtMost(35.0)),
        Line::new("caught_up", "s", "all viewers caught up", Target::AtMost(2.0)),
    ],
    measure: storm,
};

const RUNS: usize = 50;
const EVERY: Duration = Duration::from_millis(10);
const CONNECTIONS: usize = 8;

/// How long events flow before the cut and after all are back.
const AROUND: Duration = Duration::from_millis(500);

/// How long viewers are away. Two events a run are published meanwhile.
const AWAY: Duration = Duration::from_secs(1);

fn storm(place: &Place, scale: &Scale) -> Result<Sample> {
    let subject = place.start(FloorDisk::None)?;
    let runs = run_names("storm", RUNS);
    let plan = Plan {
        runs: Arc::clone(&runs),
        connections: CONNECTIONS,
        events_a_request: 1,
        pace: Pace::Every(EVERY),
        amount: Amount::UntilStopped,
    };
    fill(&subject, &Plan { amount: Amount::Requests(RUNS as u64), ..plan.clone() })?;
    let viewers = (0..scale.crowd).map(|at| (at % RUNS, runs[at % RUNS].as_str()));
    let mut fleet = Fleet::new(subject.address(), viewers)?;
    fleet.connect_gently(CONNECT_MAX)?;
    fleet.begin_record();

    let progress = Progress::of(RUNS);
    let publisher = publish_in_background(subject.address(), plan, Arc::clone(&progress));
    fleet.drive(AROUND, |_| progress.is_finished())?;
    let window = Window::open(&subject)?;
    fleet.disconnect();
    fleet.drive(AWAY, |_| progress.is_finished())?;
    let back = Instant::now();
    fleet.set_goals(|run| progress.acknowledged(run));
    fleet.connect_at_once()?;
    fleet.drive(ARRIVE_MAX, |fleet| {
        fleet.seen().short_of_goal == 0 && fleet.seen().following == fleet.len()
    })?;
    let caught_up = back.elapsed();
    let spent = window.close()?;
    let catch_up = fleet.seen().catch_up.clone();
    fleet.drive(AROUND, |_| progress.is_finished())?;
    progress.stop();
    let published = publisher.join().map_err(|_| anyhow!("the publisher panicked"))??;
    arrive(&mut fleet, &progress)?;

    let mut sample = sample_of(&fleet, &published, spent);
    sample.latency_ms = Percentiles::of(&catch_up);
    Ok(sample
        .with("cpu", spent.microseconds_each(scale.crowd as u64))
        .with("caught_up", caught_up.as_secs_f64()))
}
