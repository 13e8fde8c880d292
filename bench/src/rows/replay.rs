//! A late joiner reads a whole run.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::flow::{ARRIVE_MAX, fill, run_names};
use super::{Line, Row, Target};
use crate::event::events_in;
use crate::publish::{Amount, Pace, Plan};
use crate::sample::{Percentiles, Sample, Spent, Window, milliseconds, number};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Place, Subject};
use crate::viewers::{Faults, Fleet, Ledger, nanosecond_histogram};
use crate::wire::call::Caller;

pub(super) const STREAM: Row = Row {
    name: "replay-stream",
    about: "100,000 events to one late joiner, SSE",
    has_floor: true,
    lines: &[
        Line::new("cpu", "µs", "CPU an event", Target::AtMost(0.2)),
        Line::new("wall", "ms", "the whole run", Target::Shown),
    ],
    measure: stream,
};

pub(super) const PAGES: Row = Row {
    name: "replay-pages",
    about: "100,000 events as JSON pages of 1,000",
    has_floor: true,
    lines: &[
        Line::new("cpu", "µs", "CPU an event", Target::Shown),
        Line::new("wall", "ms", "the whole run", Target::Shown),
    ],
    measure: pages,
};

const FILL_EVENTS: usize = 250;
const PAGE_EVENTS: u64 = 1_000;

fn filled(place: &Place, scale: &Scale) -> Result<(Subject, String, u64)> {
    let subject = place.start(FloorDisk::None)?;
    let plan = Plan {
        runs: run_names("replay", 1),
        connections: 1,
        events_a_request: FILL_EVENTS,
        pace: Pace::AtOnce,
        amount: Amount::Requests(scale.replay_events / FILL_EVENTS as u64),
    };
    let last = fill(&subject, &plan)?.acknowledged(0);
    Ok((subject, plan.runs[0].clone(), last))
}

fn stream(place: &Place, scale: &Scale) -> Result<Sample> {
    let (subject, run, last) = filled(place, scale)?;
    let mut spent = Spent::default();
    let mut faults = Faults::default();
    for _ in 0..scale.replays {
        let mut fleet = Fleet::new(subject.address(), [(0, run.as_str())])?;
        fleet.set_goals(|_| last);
        let window = Window::open(&subject)?;
        fleet.connect_at_once()?;
        if !fleet.drive(ARRIVE_MAX, |fleet| fleet.seen().short_of_goal == 0)? {
            fleet.count_missing();
        }
        spent = spent.plus(window.close()?);
        faults = faults.plus(fleet.seen().faults);
    }
    let events = last * u64::from(scale.replays);
    Ok(Sample { faults, spent, ..Sample::default() }
        .with("cpu", spent.microseconds_each(events))
        .with("wall", spent.wall_s * 1e3 / f64::from(scale.replays)))
}

fn pages(place: &Place, scale: &Scale) -> Result<Sample> {
    let (subject, run, last) = filled(place, scale)?;
    let mut caller = Caller::connect(subject.address())?;
    let mut faults = Faults::default();
    let mut latency = nanosecond_histogram();
    let window = Window::open(&subject)?;
    for _ in 0..scale.replays {
        let mut ledger = Ledger::default();
        while ledger.last() < last {
            let after = ledger.last();
            let path = format!("/v1/runs/{run}/events?after={after}&limit={PAGE_EVENTS}");
            let begin = Instant::now();
            let answer = caller.get(&path)?;
            latency.saturating_record(u64::try_from(begin.elapsed().as_nanos())?);
            ensure!(answer.status == 200, "GET {path} was answered {}", answer.status);
            for offset in offsets_in(&answer.body) {
                ledger.see(offset, &mut faults);
            }
            ensure!(ledger.last() > after, "GET {path} was answered without events");
        }
    }
    let spent = window.close()?;
    let events = last * u64::from(scale.replays);
    let latency_ms = Percentiles::of(&latency);
    let wall = milliseconds(std::time::Duration::from_secs_f64(spent.wall_s));
    ensure!(number(events) > 0.0, "nothing was stored");
    Ok(Sample { faults, spent, latency_ms, ..Sample::default() }
        .with("cpu", spent.microseconds_each(events))
        .with("wall", wall / f64::from(scale.replays)))
}

/// The offsets of the events in a page, in the page's order.
pub(super) fn offsets_in(page: &[u8]) -> impl Iterator<Item = u64> {
    events_in(page).map(|(offset, _)| offset)
}

/// The newest offset of a run, read as a page.
pub(super) fn last_offset(caller: &mut Caller, run: &str) -> Result<u64> {
    let answer = caller.get(&format!("/v1/runs/{run}/events?limit=1000"))?;
    offsets_in(&answer.body).last().with_context(|| format!("run {run} has no events"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offsets_of_a_page_are_found_in_order() {
        let page =
            br#"{"run":"a","events":[{"offset":7,"type":"x"},{"offset":8,"data":{}}],"next":"8"}"#;
        assert_eq!(offsets_in(page).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(offsets_in(b"{\"events\":[]}").count(), 0);
    }
}
