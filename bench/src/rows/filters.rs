//! Live delivery to viewers who each choose events in their own way.

use std::time::Duration;

use anyhow::Result;

use super::flow::{CONNECT_MAX, flow, run_names, sample_of};
use super::{Line, Row, Target};
use crate::publish::{Amount, Pace, Plan};
use crate::sample::Sample;
use crate::scale::Scale;
use crate::subject::{FloorDisk, Place, Subject};
use crate::viewers::Fleet;

pub(super) const FILTERS: Row = Row {
    name: "filters",
    about: "1 run, 1,000 viewers with a filter each, 100 events/s, SSE",
    has_floor: false,
    lines: &[
        Line::new("ratio", "×", "CPU a delivery, by that without filters", Target::AtMost(1.5)),
        Line::new("cpu", "µs", "CPU a delivery", Target::Shown),
        Line::new("plain", "µs", "CPU a delivery without filters", Target::Shown),
    ],
    measure: filters,
};

const EVERY: Duration = Duration::from_millis(10);

/// The part of a flow that goes before it and is not counted.
const WARM_UP_PART: u32 = 5;

/// Every filter lets every event through, so that both deliver the same.
fn filters(place: &Place, scale: &Scale) -> Result<Sample> {
    let subject = place.start(FloorDisk::None)?;
    let (before, before_cpu) = deliver(&subject, scale, "plain", |_| String::new())?;
    let query_of = |at| format!("?type=bench.*&type=of-viewer-{at}.*");
    let (mut sample, cpu) = deliver(&subject, scale, "filtered", query_of)?;
    sample.faults = sample.faults.plus(before.faults);
    Ok(sample.with("cpu", cpu).with("plain", before_cpu).with("ratio", cpu / before_cpu))
}

fn deliver(
    subject: &Subject,
    scale: &Scale,
    run: &str,
    query_of: impl Fn(usize) -> String,
) -> Result<(Sample, f64)> {
    let runs = run_names(run, 1);
    let mut fleet = Fleet::new(subject.address(), (0..scale.viewers).map(|_| (0, &*runs[0])))?;
    fleet.ask_with(query_of);
    let plan = Plan {
        runs: runs.clone(),
        connections: 1,
        events_a_request: 1,
        pace: Pace::Every(EVERY),
        amount: Amount::For(scale.flow / WARM_UP_PART),
    };
    fleet.connect_gently(CONNECT_MAX)?;
    flow(subject, &mut fleet, plan.clone())?;
    let plan = Plan { amount: Amount::For(scale.flow), ..plan };
    let (published, spent) = flow(subject, &mut fleet, plan)?;
    let cpu = spent.microseconds_each(fleet.seen().events);
    Ok((sample_of(&fleet, &published, spent), cpu))
}
