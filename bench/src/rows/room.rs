//! The room that events take on the disk.

use anyhow::Result;

use super::flow::{fill, run_names};
use super::{Line, Row, Target};
use crate::publish::{Amount, Pace, Plan};
use crate::sample::{Sample, Window, number};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Place};

pub(super) const ROOM: Row = Row {
    name: "room",
    about: "200-byte events in batches of 256 to 16 runs",
    has_floor: false,
    lines: &[
        Line::new("stopped", "B", "on disk an event, server stopped", Target::AtMost(260.0)),
        Line::new("running", "B", "on disk an event, server running", Target::Shown),
    ],
    measure: room,
};

const RUNS: usize = 16;
const EVENTS_A_REQUEST: usize = 256;

fn room(place: &Place, scale: &Scale) -> Result<Sample> {
    let subject = place.start(FloorDisk::Durable)?;
    let before = subject.data_bytes()?;
    let plan = Plan {
        runs: run_names("room", RUNS),
        connections: RUNS,
        events_a_request: EVENTS_A_REQUEST,
        pace: Pace::AtOnce,
        amount: Amount::Requests(scale.disk_events / EVENTS_A_REQUEST as u64),
    };
    let window = Window::open(&subject)?;
    let progress = fill(&subject, &plan)?;
    let spent = window.close()?;
    let running = subject.data_bytes()?;
    let stopped = subject.stop()?.data_bytes()?;
    let events: u64 = (0..RUNS).map(|run| progress.acknowledged(run)).sum();
    let each = |bytes: u64| (number(bytes) - number(before)) / number(events);
    Ok(Sample { spent, ..Sample::default() }
        .with("running", each(running))
        .with("stopped", number(stopped) / number(events)))
}
