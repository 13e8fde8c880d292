//! Which producers are there: who holds its run's mailbox, and who was heard of when.
//!
//! Kept in memory only, and of so many. After a restart every producer counts as heard of then, so
//! that it has its time to come back; so does one that is forgotten among too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runcast_event::{RunId, Timestamp};

use crate::clock::Clock;

/// Producers that are remembered though they hold nothing.
const REMEMBERED_MAX: usize = 65_536;

/// The producers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    clock: Clock,
    producers: Arc<Mutex<Producers>>,
}

#[derive(Debug)]
struct Producers {
    heard: HashMap<RunId, Heard>,
    /// Those in `heard` that hold nothing.
    remembered: usize,
    /// When every other counts as heard of.
    others_at: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    /// Connections that hold the run's mailbox.
    held: usize,
    at: Timestamp,
}

impl Producers {
    /// The run's producer gives a sign, and holds so many connections more.
    fn hear(&mut self, run: &RunId, at: Timestamp, more: usize) {
        let heard = self.heard.entry(run.clone()).or_insert_with(|| {
            self.remembered += 1;
            Heard { held: 0, at }
        });
        heard.at = at;
        if heard.held == 0 && more > 0 {
            self.remembered -= 1;
        }
        heard.held += more;
        self.forget_some();
    }

    fn let_go(&mut self, run: &RunId, at: Timestamp) {
        let Some(heard) = self.heard.get_mut(run) else { return };
        heard.held -= 1;
        heard.at = at;
        if heard.held == 0 {
            self.remembered += 1;
            self.forget_some();
        }
    }

    /// Forgets those that were heard of longest ago, if there are too many. That makes others seem
    /// heard of later than they were: a run may be called lost late, and never early.
    fn forget_some(&mut self) {
        if self.remembered <= REMEMBERED_MAX {
            return;
        }
        let idle = self.heard.values().filter(|heard| heard.held == 0);
        let mut times: Vec<_> = idle.map(|heard| heard.at).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        self.others_at = self.others_at.max(*median);
        let others_at = self.others_at;
        self.heard.retain(|_, heard| heard.held > 0 || heard.at > others_at);
        self.remembered = self.heard.values().filter(|heard| heard.held == 0).count();
    }
}

impl Presence {
    pub(crate) fn new(clock: Clock) -> Self {
        let others_at = clock.now();
        let producers = Producers { heard: HashMap::new(), remembered: 0, others_at };
        Self { clock, producers: Arc::new(Mutex::new(producers)) }
    }

    /// The time, by the clock that producers are listened for with.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn producers(&self) -> MutexGuard<'_, Producers> {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run's producer gives a sign.
    pub(crate) fn hear(&self, run: &RunId) {
        self.producers().hear(run, self.clock.now(), 0);
    }

    /// The run's producer is there as long as this is held.
    pub(crate) fn hold(&self, run: &RunId) -> Held {
        self.producers().hear(run, self.clock.now(), 1);
        Held { presence: self.clone(), run: run.clone() }
    }

    /// When the run's producer was last heard of here: now, if it is there.
    pub(crate) fn heard_at(&self, run: &RunId) -> Timestamp {
        let producers = self.producers();
        match producers.heard.get(run) {
            Some(heard) if heard.held > 0 => self.clock.now(),
            Some(heard) => heard.at,
            None => producers.others_at,
        }
    }

    /// The producers that are there, or were heard of here since then.
    pub(crate) fn heard_since(&self, since: Timestamp) -> Vec<RunId> {
        let producers = self.producers();
        let heard = producers.heard.iter();
        let heard = heard.filter(|(_, heard)| heard.held > 0 || heard.at >= since);
        heard.map(|(run, _)| run.clone()).collect()
    }

    /// The run's producer was heard of on another server.
    pub(crate) fn heard_elsewhere(&self, run: &RunId, at: Timestamp) {
        let mut producers = self.producers();
        let before = producers.heard.get(run).map_or(producers.others_at, |heard| heard.at);
        if at > before {
            producers.hear(run, at, 0);
        }
    }

    /// Forgets a run that needs no producer any more.
    pub(crate) fn forget(&self, run: &RunId) {
        let mut producers = self.producers();
        if producers.heard.get(run).is_some_and(|heard| heard.held == 0) {
            producers.heard.remove(run);
            producers.remembered -= 1;
        }
    }
}

/// A producer that is there.
#[derive(Debug)]
pub(crate) struct Held {
    presence: Presence,
    run: RunId,
}

impl Drop for Held {
    fn drop(&mut self) {
        let at = self.presence.clock.now();
        self.presence.producers().let_go(&self.run, at);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    fn run(number: usize) -> RunId {
        format!("run-{number}").parse().unwrap()
    }

    fn at(millis: usize) -> Timestamp {
        Timestamp::from_micros(millis as i64 * 1_000)
    }

    #[test]
    fn a_producer_that_holds_its_mailbox_is_heard_of_now_and_then_when_it_left() {
        let (set, time) = watch::channel(at(1));
        let presence = Presence::new(Clock::Set(time));
        let held = presence.hold(&run(1));
        set.send_replace(at(2));
        assert_eq!(presence.heard_at(&run(1)), at(2));
        drop(held);
        set.send_replace(at(3));
        assert_eq!(presence.heard_at(&run(1)), at(2));
        assert_eq!(presence.heard_at(&run(2)), at(1), "as at the start");
    }

    #[test]
    fn what_is_heard_elsewhere_counts_if_it_is_later() {
        let (_set, time) = watch::channel(at(5));
        let presence = Presence::new(Clock::Set(time));
        presence.heard_elsewhere(&run(1), at(4));
        assert_eq!(presence.heard_at(&run(1)), at(5));
        presence.heard_elsewhere(&run(1), at(7));
        assert_eq!(presence.heard_at(&run(1)), at(7));
        assert_eq!(presence.heard_since(at(6)), [run(1)]);
        let _held = presence.hold(&run(2));
        assert_eq!(presence.heard_since(at(8)), [run(2)], "it is there");
    }

    #[test]
    fn names_without_end_take_no_memory_without_end_and_nobody_is_heard_of_too_early() {
        let (set, time) = watch::channel(at(0));
        let presence = Presence::new(Clock::Set(time));
        let there = run(usize::MAX);
        let held = presence.hold(&there);
        let runs = 3 * REMEMBERED_MAX;
        for number in 0..runs {
            set.send_replace(at(number + 1));
            drop(presence.hold(&run(number)));
        }
        let producers = presence.producers();
        assert!(producers.heard.len() <= REMEMBERED_MAX + 1);
        assert_eq!(producers.remembered, producers.heard.len() - 1);
        drop(producers);
        for number in (0..runs).step_by(1_000) {
            assert!(presence.heard_at(&run(number)) >= at(number + 1), "run {number}");
        }
        assert_eq!(presence.heard_at(&there), at(runs));
        drop(held);
    }
}
