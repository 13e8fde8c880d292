//! What the bridge has done, counted, and told now and then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::report::note;

/// How often a kind of trouble is told at most, with how many there were.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Kinds of trouble that are told apart.
const KINDS_MAX: usize = 1_024;

/// Counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Messages that were read.
    pub(super) read: AtomicU64,
    /// Events that the server has acknowledged.
    pub(super) stored: AtomicU64,
    /// Messages that no event could be made of, or that the server refused.
    pub(super) bad: AtomicU64,
    /// Messages that came faster than they could be sent.
    pub(super) lost: AtomicU64,
    /// Messages that were published.
    pub(super) published: AtomicU64,
    told: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Counts {
    pub(super) fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    /// A message that is no event, of this source.
    pub(super) fn bad(&self, source: &str, reason: &str) {
        Self::add(&self.bad, 1);
        self.tell(source, &format!("a message is left out: {reason}"));
    }

    /// Tells of trouble with something: at once, and then now and then.
    pub(super) fn tell(&self, what: &str, trouble: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= KINDS_MAX {
            told.clear();
        }
        let now = Instant::now();
        match told.get_mut(what) {
            Some((at, more)) if now.duration_since(*at) < TELL_EVERY => *more += 1,
            Some((at, more)) => {
                note(&format!("{what}: {trouble} ({more} more since the last line)"));
                (*at, *more) = (now, 0);
            }
            None => {
                note(&format!("{what}: {trouble}"));
                told.insert(what.to_owned(), (now, 0));
            }
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} read, {} stored, {} left out, {} lost; {} published",
            of(&self.read),
            of(&self.stored),
            of(&self.bad),
            of(&self.lost),
            of(&self.published)
        )
    }
}
