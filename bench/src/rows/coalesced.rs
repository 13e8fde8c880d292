//! A late joiner reads a whole run of tokens, merged and as they were stored.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Line, Row, Target};
use crate::event::leading_decimal;
use crate::sample::{Sample, Spent, Window, number};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Place, Subject};
use crate::viewers::Faults;
use crate::wire::call::Caller;
use crate::wire::download::{Came, Download};
use crate::wire::lines::Lines;

pub(super) const COALESCED: Row = Row {
    name: "replay-coalesced",
    about: "100,000 tokens to one late joiner, merged, SSE",
    has_floor: false,
    lines: &[
        Line::new("bytes", "×", "bytes, by those of the events as stored", Target::AtMost(0.1)),
        Line::new("cpu", "µs", "CPU a stored event", Target::Shown),
        Line::new("wall", "ms", "the whole run", Target::Shown),
    ],
    measure: coalesced,
};

const FILL_EVENTS: u64 = 1_000;
const RUN: &str = "tokens";
const READ_BYTES: usize = 256 * 1024;
/// How long one replay may take.
const REPLAY_MAX: Duration = Duration::from_secs(60);

fn coalesced(place: &Place, scale: &Scale) -> Result<Sample> {
    let subject = place.start(FloorDisk::None)?;
    let events = fill(&subject, scale.replay_events)?;
    let mut faults = Faults::default();
    let plain_bytes = replay(&subject, "", events, &mut faults)?.0;
    let (mut spent, mut bytes) = (Spent::default(), 0);
    for _ in 0..scale.replays {
        let (read, of_replay) = replay(&subject, "&coalesce=1", events, &mut faults)?;
        spent = spent.plus(of_replay);
        bytes = read;
    }
    let replays = u64::from(scale.replays);
    Ok(Sample { faults, spent, ..Sample::default() }
        .with("bytes", number(bytes) / number(plain_bytes))
        .with("cpu", spent.microseconds_each(events * replays))
        .with("wall", spent.wall_s * 1e3 / number(replays)))
}

fn fill(subject: &Subject, events: u64) -> Result<u64> {
    let mut caller = Caller::connect(subject.address())?;
    let path = format!("/v1/runs/{RUN}/events");
    let headers = "Content-Type: application/x-ndjson\r\n";
    let requests = events / FILL_EVENTS;
    for request in 0..requests {
        let token = |number: u64| {
            let token = request * FILL_EVENTS + number;
            format!(
                "{{\"type\":\"message.delta\",\"data\":{{\"message\":\"m\",\"text\":\" w{token}\"}}}}\n"
            )
        };
        let body: String = (0..FILL_EVENTS).map(token).collect();
        let answer = caller.post(&path, headers, body.as_bytes())?;
        ensure!(answer.status == 200, "an append was answered {}", answer.status);
    }
    Ok(requests * FILL_EVENTS)
}

/// Reads the run up to its last event, and answers how many bytes of lines that were.
fn replay(subject: &Subject, query: &str, last: u64, faults: &mut Faults) -> Result<(u64, Spent)> {
    let path = format!("/v1/runs/{RUN}/events?after=0{query}");
    let window = Window::open(subject)?;
    let begin = Instant::now();
    let accept = "Accept: text/event-stream\r\n";
    let mut download = Download::open(subject.address(), &path, accept, None)?;
    ensure!(download.status() == 200, "GET {path} was answered {}", download.status());
    let (mut lines, mut at, mut bytes) = (Lines::default(), 0, 0);
    while at < last {
        let came = download.read(READ_BYTES, |piece| {
            bytes += piece.len() as u64;
            let taken = lines.take(piece, |line| {
                let Some(data) = line.strip_prefix(b"data: ") else { return };
                let (offset, merged) = place_of(data);
                faults.lost += offset.saturating_sub(at + merged);
                faults.doubled += (at + merged).saturating_sub(offset);
                at = offset;
            });
            faults.refused += u64::from(taken.is_err());
        })?;
        ensure!(came == Came::Some && begin.elapsed() < REPLAY_MAX, "the replay ended at {at}");
    }
    Ok((bytes, window.close()?))
}

/// An event's offset, and how many events it stands for.
fn place_of(event: &[u8]) -> (u64, u64) {
    let field = |mark: &[u8]| {
        let head = &event[..event.len().min(64)];
        memchr::memmem::find(head, mark).and_then(|at| leading_decimal(&head[at + mark.len()..]))
    };
    (field(br#"{"offset":"#).unwrap_or(0), field(br#","merged":"#).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_where_it_is_and_how_many_it_stands_for() {
        assert_eq!(place_of(br#"{"offset":7,"merged":3,"type":"message.delta"}"#), (7, 3));
        assert_eq!(place_of(br#"{"offset":7,"type":"message.delta","data":{}}"#), (7, 1));
    }
}
