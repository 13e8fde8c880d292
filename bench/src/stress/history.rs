//! A run as it was stored in the end, and what of it belongs to a reader.

use std::collections::HashMap;
use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::passage::Digest;
use super::script::{Script, name_of};
use super::view::View;
use crate::wire::call::Caller;
use crate::wire::lines::Lines;

/// So many deltas side by side are surely merged when the log writes them anew. The first of them stays
/// by itself, and blocks of the log may end between them.
const STRETCH_EVENTS: usize = 9;

/// What a producer was promised: at this offset is the event with this number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    pub(super) offset: u64,
    pub(super) number: u64,
}

/// All events of a run, the first at offset 1.
#[derive(Debug)]
pub(super) struct History {
    /// Each without its offset.
    pub(super) events: Vec<Value>,
}

impl History {
    /// Reads a run in whole.
    pub(super) fn read(address: SocketAddrV4, run: &str) -> Result<Self> {
        let numbered = (1..).zip(events_of(address, run)?);
        let events = numbered.map(|(offset, event)| without_offset(event, offset));
        Ok(Self { events: events.collect::<Result<_>>()? })
    }

    /// Whether so many deltas of one thing are side by side that some of them are merged where that is
    /// wanted.
    pub(super) fn has_a_stretch(&self) -> bool {
        let things = self.events.iter().map(|event| thing_of(event).ok().map(|(thing, _)| thing));
        let things: Vec<_> = things.collect();
        let is_one = |of: &[Option<Value>]| of[0].is_some() && of.iter().all(|one| *one == of[0]);
        things.windows(STRETCH_EVENTS).any(is_one)
    }

    /// Checks that each producer's events are there once, in their order and as they were sent, and
    /// where they were promised to be.
    pub(super) fn check(
        &self,
        producers: &HashMap<usize, (Script, Vec<Promise>, u64)>,
    ) -> Result<()> {
        let mut next: HashMap<usize, u64> = HashMap::new();
        let mut names = Vec::new();
        for (at, event) in self.events.iter().enumerate() {
            let name = name_of(event);
            names.push(name);
            let Some((producer, number)) = name else {
                ensure!(at + 1 == self.events.len(), "nobody sent {event}");
                ensure!(event["type"] == "run.completed", "the run ended with {event}");
                continue;
            };
            let next = next.entry(producer).or_default();
            ensure!(*next == number, "producer {producer}: {number} stands where {next} should");
            *next += 1;
            let (script, ..) = producers.get(&producer).context("an unknown producer")?;
            for (field, sent) in script.draft(number).as_object().into_iter().flatten() {
                ensure!(event[field] == *sent, "{field} of {event} was {sent} when it was sent");
            }
        }
        for (producer, (_, promises, count)) in producers {
            let stored = next.get(producer).copied().unwrap_or(0);
            ensure!(stored == *count, "producer {producer}: {count} acknowledged, {stored} stored");
            for promise in promises {
                let at = usize::try_from(promise.offset)?.wrapping_sub(1);
                let found = names.get(at).copied().flatten();
                let promised = Some((*producer, promise.number));
                ensure!(
                    found == promised,
                    "{promised:?} was promised at {promise:?}, {found:?} is there"
                );
            }
        }
        Ok(())
    }
}

/// All events of a run, as they are given now.
pub(super) fn events_of(address: SocketAddrV4, run: &str) -> Result<Vec<Value>> {
    let path = format!("/v1/runs/{run}/events");
    let answer = Caller::connect(address)?.get_as(&path, "application/x-ndjson")?;
    ensure!(answer.status == 200, "GET {path} was answered {}", answer.status);
    let mut events = Vec::new();
    Lines::default().take(&answer.body, |line| events.push(serde_json::from_slice(line)))?;
    let events: Result<_, _> = events.into_iter().collect();
    events.with_context(|| format!("GET {path}"))
}

fn without_offset(mut event: Value, offset: u64) -> Result<Value> {
    let found = event.as_object_mut().and_then(|fields| fields.remove("offset"));
    ensure!(found == Some(offset.into()), "the event at {offset} says that it is at {found:?}");
    Ok(event)
}

/// What of a run belongs to the readers with one view.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    history: &'a History,
    view: View,
    /// Whether the run may be stored with its deltas merged.
    may_be_stored_merged: bool,
    /// The offsets of the events that they want.
    wanted: Vec<u64>,
}

impl<'a> Seen<'a> {
    pub(super) fn of(history: &'a History, view: View, may_be_stored_merged: bool) -> Self {
        let numbered = (1..).zip(&history.events);
        let wanted = numbered.filter(|(_, event)| view.wants(event)).map(|(offset, _)| offset);
        Self { history, view, may_be_stored_merged, wanted: wanted.collect() }
    }

    /// The offset of the run's last event.
    pub(super) fn last(&self) -> u64 {
        self.history.events.len() as u64
    }

    /// The wanted events behind `after`, up to `to`.
    pub(super) fn between(&self, after: u64, to: u64) -> &[u64] {
        let begin = self.wanted.partition_point(|offset| *offset <= after);
        let end = self.wanted.partition_point(|offset| *offset <= to);
        self.wanted.get(begin..end).unwrap_or(&[])
    }

    /// The digest of the one event that these wanted ones are when they are merged.
    pub(super) fn merged(&self, offsets: &[u64]) -> Result<Digest> {
        let event = |offset: &u64| {
            let at = usize::try_from(*offset).ok().and_then(|offset| offset.checked_sub(1));
            at.and_then(|at| self.history.events.get(at)).context("there is no such event")
        };
        let mut newest = event(offsets.last().context("no event")?)?.clone();
        if offsets.len() == 1 {
            return Ok(Digest::of(&newest));
        }
        let is_stretch = offsets.windows(2).all(|two| two[0] + 1 == two[1]);
        let may_come_unasked = self.may_be_stored_merged && is_stretch;
        let may_be_merged = self.view.coalesces || may_come_unasked;
        ensure!(may_be_merged, "they were merged for a reader that did not ask for it");
        let mut text = String::new();
        let thing = thing_of(&newest)?.0;
        for offset in offsets {
            let event = event(offset)?;
            let (other, piece) = thing_of(event)?;
            ensure!(other == thing, "{event} was merged with events of something else");
            text.push_str(&piece);
        }
        newest["data"]["text"] = text.into();
        Ok(Digest::of(&newest))
    }

    /// Whether the event at an offset may be given with this time though it is another's: of those that
    /// are stored merged, only the last one's time is known.
    pub(super) fn may_be_of(&self, offset: u64, time: u64) -> bool {
        let at = usize::try_from(offset - 1).unwrap_or(usize::MAX);
        let mut events = self.history.events.iter().skip(at);
        let Some((thing, _)) = events.next().and_then(|event| thing_of(event).ok()) else {
            return false;
        };
        let is_of_it = |event: &&Value| thing_of(event).is_ok_and(|(other, _)| other == thing);
        let mut stretch = events.take_while(is_of_it);
        self.may_be_stored_merged && stretch.any(|event| Digest::of(event).time == time)
    }
}

/// What a delta is of, and its text.
fn thing_of(event: &Value) -> Result<(Value, String)> {
    let mut thing = event.clone();
    let kind = event["type"].as_str().unwrap_or_default();
    let is_delta = matches!(kind, "message.delta" | "tool.args" | "output");
    ensure!(is_delta, "{event} was merged and is no delta");
    thing["time"] = Value::Null;
    let text = match thing["data"]["text"].take() {
        Value::String(text) => text,
        other => anyhow::bail!("{other} is no text"),
    };
    Ok((thing, text))
}
