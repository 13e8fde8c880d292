//! From publishing to reading, one viewer, beside what the disk itself needs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::flow::{CONNECT_MAX, flow, run_names, sample_of};
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
    about: "1 run, 1 viewer, 100 events/s, durable",
    has_floor: true,
    lines: &[
        Line::new("beyond", "ms", "p99 beyond the disk's own p99", Target::AtMost(1.0)),
        Line::new("p50", "ms", "p50 of a delivery", Target::Shown),
        Line::new("disk_p50", "ms", "p50 of the disk's fdatasync", Target::Shown),
        Line::new("disk_p99", "ms", "p99 of the disk's fdatasync", Target::Shown),
    ],
    measure: latency,
};

const EVERY: Duration = Duration::from_millis(10);
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
    let disk = Disk::create(&subject.directory().join("probe"))?;
    fleet.connect_gently(CONNECT_MAX)?;
    flow(&subject, &mut fleet, plan.clone())?;
    let plan = Plan { amount: Amount::Requests(scale.latency_events), ..plan };
    let probes = scale.latency_events;
    let prober = std::thread::spawn(move || probe(disk, probes));
    let (published, spent) = flow(&subject, &mut fleet, plan)?;
    let disk = prober.join().map_err(|_| anyhow!("the prober of the disk panicked"))??;
    let sample = sample_of(&fleet, &published, spent);
    let delivery = sample.latency_ms.context("no event came")?;
    Ok(sample
        .with("beyond", delivery.p99 - disk.p99)
        .with("p50", delivery.p50)
        .with("disk_p50", disk.p50)
        .with("disk_p99", disk.p99))
}

/// Asks the disk as often as events are published, in the middle between two of them: it has been
/// idle for as long as when an event comes, and nothing else writes.
fn probe(mut disk: Disk, probes: u64) -> Result<Percentiles> {
    let mut times = nanosecond_histogram();
    let mut due = Instant::now() + EVERY / 2;
    for _ in 0..probes {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += EVERY;
        let begin = Instant::now();
        disk.write(&[b'x'; EVENT_BYTES])?;
        times.saturating_record(u64::try_from(begin.elapsed().as_nanos())?);
    }
    Percentiles::of(&times).context("the disk was not asked")
}
