//! From publishing to reading, one viewer, beside what the disk itself needs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::flow::{CONNECT_MAX, flow, flow_with, run_names, sample_of};
use super::{Line, Row, Target};
use crate::event::EVENT_BYTES;
use crate::floor::Disk;
use crate::publish::{Amount, Pace, Plan};
use crate::sample::{Percentiles, Sample};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Place};
use crate::viewers::{Fleet, nanosecond_histogram};

pub(super) const LATENCY: Row = Row {
    name: "latency",
    about: "1 run, 1 viewer, 50 events/s, durable",
    has_floor: true,
    lines: &[
        Line::new("beyond", "ms", "p99 beyond the disk's own p99", Target::AtMost(1.0)),
        Line::new("p50", "ms", "p50 of a delivery", Target::Shown),
        Line::new("disk_p50", "ms", "p50 of the disk's fdatasync", Target::Shown),
        Line::new("disk_p99", "ms", "p99 of the disk's fdatasync", Target::Shown),
    ],
    measure: latency,
};

const EVERY: Duration = Duration::from_millis(20);
const WARM_UP_EVENTS: u64 = 10;

fn latency(place: &Place, scale: &Scale) -> Result<Sample> {
    let subject = place.start(FloorDisk::Durable)?;
    let runs = run_names("latency", 1);
    let mut fleet = Fleet::new(subject.address(), [(0, runs[0].as_str())])?;
    let plan = Plan {
        runs: runs.clone(),
        connections: 1,
        events_a_request: 1,
        pace: Pace::Every(EVERY),
        amount: Amount::Requests(WARM_UP_EVENTS),
    };
    let mut disk = Disk::create(&subject.directory().join("probe"))?;
    fleet.connect_gently(CONNECT_MAX)?;
    flow(&subject, &mut fleet, plan.clone())?;

    // Between two events, when nothing else writes, the disk is asked the same.
    let mut probed = 0;
    let mut probe = nanosecond_histogram();
    let plan = Plan { amount: Amount::Requests(scale.latency_events), ..plan };
    let (published, spent) = flow_with(&subject, &mut fleet, plan, |fleet| {
        if fleet.seen().events > probed {
            probed = fleet.seen().events;
            let begin = Instant::now();
            disk.write(&[b'x'; EVENT_BYTES])?;
            probe.saturating_record(u64::try_from(begin.elapsed().as_nanos())?);
        }
        Ok(())
    })?;
    let sample = sample_of(&fleet, &published, spent);
    let delivery = sample.latency_ms.context("no event came")?;
    let disk = Percentiles::of(&probe).context("the disk was not asked")?;
    Ok(sample
        .with("beyond", delivery.p99 - disk.p99)
        .with("p50", delivery.p50)
        .with("disk_p50", disk.p50)
        .with("disk_p99", disk.p99))
}
