//! Says in the server's log where readers meet damage: each place of each run once, however many
//! readers come to it.
//!
//! Bounded: after so many places it says once that it names no more. Nobody waits for it, and nothing
//! is changed by it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use runcast_event::RunId;
use runcast_log::ReadError;

/// So many places are named since the start.
const PLACES_MAX: usize = 1_000;

/// What was met since the start.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    /// Each as the log tells it: what is wrong, in which file where.
    met: Mutex<HashSet<(RunId, String)>>,
}

impl Damage {
    /// Takes note of what a reader of a run was told, if that is damage.
    pub(crate) fn note(&self, run: &RunId, error: &ReadError) {
        let ReadError::Damaged { first, last, reason } = error else { return };
        match self.place(run, reason) {
            Place::New => {
                tracing::error!(%run, %first, %last, reason, "a reader met damaged events; all others can be read");
            }
            Place::TooMany => tracing::error!(
                max = PLACES_MAX,
                "readers met more damage than is named here; `runcast doctor` names all"
            ),
            Place::Known => {}
        }
    }

    fn place(&self, run: &RunId, reason: &str) -> Place {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() > PLACES_MAX || !met.insert((run.clone(), reason.to_owned())) {
            return Place::Known;
        }
        if met.len() > PLACES_MAX { Place::TooMany } else { Place::New }
    }
}

/// What is known of a place of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    New,
    /// It was named, or is one of too many.
    Known,
    /// It is the first of too many.
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_once_for_each_run_and_of_too_many_places_one_is_told() {
        let damage = Damage::default();
        let run = |name: &str| RunId::new(name).unwrap();
        assert_eq!(damage.place(&run("a"), "1.seg, byte 7"), Place::New);
        assert_eq!(damage.place(&run("a"), "1.seg, byte 7"), Place::Known);
        assert_eq!(damage.place(&run("b"), "1.seg, byte 7"), Place::New);
        for byte in 0..PLACES_MAX - 2 {
            assert_eq!(damage.place(&run("a"), &format!("2.seg, byte {byte}")), Place::New);
        }
        assert_eq!(damage.place(&run("a"), "3.seg, byte 7"), Place::TooMany);
        assert_eq!(damage.place(&run("a"), "4.seg, byte 7"), Place::Known);
    }
}
