//! What a reader was given over one connection, and whether that is what it should have been.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::history::Seen;

/// Something that a reader was told about one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// An event, or several merged into one with the newest one's offset.
    Event { offset: u64, merged: u64, digest: Digest },
    /// Nothing up to here is for this reader.
    Moved(u64),
    /// The run has ended, and this is its last offset, if that was said.
    End(Option<u64>),
}

/// All that a reader was told of one run over one connection.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) run: usize,
    /// Where it began: behind this offset.
    pub(super) after: u64,
    pub(super) told: Vec<Told>,
}

impl Told {
    /// An event in its JSON.
    pub(super) fn event(json: &[u8]) -> Result<Self> {
        let text = || String::from_utf8_lossy(json).into_owned();
        let mut event: Value = serde_json::from_slice(json).with_context(text)?;
        Self::of(&mut event).with_context(text)
    }

    /// An event as a value, whose offset is taken out.
    pub(super) fn of(event: &mut Value) -> Result<Self> {
        let fields = event.as_object_mut().context("an event is no object")?;
        let offset = fields.remove("offset").and_then(|offset| offset.as_u64());
        let merged = fields.remove("merged").map_or(Some(1), |merged| merged.as_u64());
        let offset = offset.context("an event has no offset")?;
        let merged = merged.filter(|merged| *merged > 0).context("merged is no count")?;
        Ok(Self::Event { offset, merged, digest: Digest::of(event) })
    }
}

/// An event without its offset, as two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest {
    /// Of when it was.
    pub(super) time: u64,
    /// Of all else.
    pub(super) rest: u64,
}

impl Digest {
    pub(super) fn of(event: &Value) -> Self {
        let mut rest = event.clone();
        let time = rest["time"].take();
        Self { time: number_of(&time), rest: number_of(&rest) }
    }
}

fn number_of(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

impl Passage {
    /// Where the reader stands.
    pub(super) fn cursor(&self) -> u64 {
        self.told.iter().rev().find_map(|told| told.cursor()).unwrap_or(self.after)
    }

    /// Holds it against what the reader should have seen.
    pub(super) fn check(&self, seen: &Seen<'_>) -> Result<()> {
        let mut at = self.after;
        for told in &self.told {
            match *told {
                Told::Event { offset, merged, digest } => {
                    let events = seen.between(at, offset);
                    let expected =
                        || format!("behind {at} it was given {told:?}, {events:?} are due");
                    ensure!(offset > at && events.last() == Some(&offset), expected());
                    ensure!(events.len() as u64 == merged, expected());
                    let due = seen.merged(events).with_context(expected)?;
                    ensure!(
                        digest.rest == due.rest,
                        "the event at {offset} was changed on its way"
                    );
                    let is_true = digest.time == due.time || seen.may_be_of(offset, digest.time);
                    ensure!(is_true, "the event at {offset} has another time");
                    at = offset;
                }
                Told::Moved(to) => {
                    ensure!(to >= at, "the cursor went back from {at} to {to}");
                    let lost = seen.between(at, to);
                    ensure!(lost.is_empty(), "the cursor went from {at} to {to} past {lost:?}");
                    at = to;
                }
                Told::End(last) => {
                    let lost = seen.between(at, u64::MAX);
                    ensure!(lost.is_empty(), "the end came before {lost:?}");
                    let real = seen.last();
                    ensure!(
                        last.is_none_or(|last| last == real),
                        "{last:?} is not the end, {real} is"
                    );
                }
            }
        }
        Ok(())
    }
}

impl Told {
    /// Where a reader stands that was told this.
    pub(super) fn cursor(self) -> Option<u64> {
        match self {
            Self::Event { offset: cursor, .. } | Self::Moved(cursor) => Some(cursor),
            Self::End(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stress::history::History;
    use crate::stress::view::View;

    fn delta(text: &str) -> Value {
        delta_at("t", text)
    }

    fn delta_at(time: &str, text: &str) -> Value {
        json!({"type": "message.delta", "time": time, "data": {"message": "m", "text": text}})
    }

    fn told(offset: u64, merged: u64, event: &Value) -> Told {
        Told::Event { offset, merged, digest: Digest::of(event) }
    }

    #[test]
    fn what_was_lost_doubled_changed_or_merged_too_far_is_found() {
        let other = json!({"type": "test.event", "time": "t", "data": {}});
        let history = History { events: vec![delta("a"), delta("b"), other.clone(), delta("c")] };
        let plain = Seen::of(&history, View::all(false), false);
        let coalesced = Seen::of(&history, View::all(true), false);
        let check = |seen: &Seen<'_>, after, told: &[Told]| {
            Passage { run: 0, after, told: told.to_vec() }.check(seen)
        };
        let (a, b) = (told(1, 1, &delta("a")), told(2, 1, &delta("b")));
        check(&plain, 0, &[a, b]).unwrap();
        check(&plain, 1, &[b]).unwrap();
        check(&coalesced, 0, &[told(2, 2, &delta("ab")), told(3, 1, &other)]).unwrap();
        check(&plain, 3, &[told(4, 1, &delta("c")), Told::End(Some(4))]).unwrap();
        for (seen, after, broken) in [
            (&plain, 0, &[b][..]),
            (&plain, 0, &[a, a]),
            (&plain, 0, &[a, told(2, 1, &delta("x"))]),
            (&plain, 0, &[told(2, 2, &delta("ab"))]),
            (&plain, 0, &[a, Told::End(None)]),
            (&plain, 0, &[Told::Moved(1)]),
            (&plain, 4, &[Told::End(Some(5))]),
            (&coalesced, 0, &[told(2, 2, &delta("ba"))]),
            (&coalesced, 1, &[told(4, 3, &delta("bc"))]),
        ] {
            assert!(check(seen, after, broken).is_err(), "{after} {broken:?}");
        }
    }

    #[test]
    fn what_is_stored_merged_may_come_unasked_where_nothing_is_in_between() {
        let other = json!({"type": "test.event", "time": "t", "data": {}});
        let history = History { events: vec![delta("a"), delta("b"), other, delta("c")] };
        let check = |view, told: Told| {
            let seen = Seen::of(&history, view, true);
            Passage { run: 0, after: 0, told: vec![told] }.check(&seen)
        };
        check(View::all(false), told(2, 2, &delta("ab"))).unwrap();
        assert!(check(View::all(false), told(2, 2, &delta("a"))).is_err());
        assert!(check(View::messages(false), told(4, 3, &delta("abc"))).is_err());
        check(View::messages(true), told(4, 3, &delta("abc"))).unwrap();
    }

    #[test]
    fn a_part_of_what_is_stored_merged_may_have_the_time_of_what_it_is_merged_with() {
        let other = json!({"type": "test.event", "time": "4", "data": {}});
        let times = ["1", "2", "3"].map(|time| delta_at(time, "a"));
        let history = History { events: [&times[..], &[other, delta_at("5", "a")]].concat() };
        let check = |may_be_stored_merged, time| {
            let seen = Seen::of(&history, View::all(false), may_be_stored_merged);
            let told = vec![told(2, 1, &delta_at(time, "a"))];
            Passage { run: 0, after: 1, told }.check(&seen).is_ok()
        };
        let times = ["1", "2", "3", "4", "5"];
        assert_eq!(times.map(|time| check(true, time)), [false, true, true, false, false]);
        assert_eq!(times.map(|time| check(false, time)), [false, true, false, false, false]);
    }
}
