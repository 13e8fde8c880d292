//! Keeps the order of appends to a run while it is made ready for the gate.
//!
//! Who appends behind one who waits, waits too, in turn. Costs a look at a counter when nobody
//! waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runcast_event::RunId;
use tokio::sync::{Mutex as Fair, OwnedMutexGuard};

/// Those who wait for their turn, by run.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    waiting: AtomicUsize,
    lines: Mutex<HashMap<RunId, Line>>,
}

#[derive(Debug, Default)]
struct Line {
    turn: Arc<Fair<()>>,
    length: usize,
}

impl Turns {
    fn lines(&self) -> MutexGuard<'_, HashMap<RunId, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waits who appends to this run.
    pub(crate) fn has_line(&self, run: &RunId) -> bool {
        self.waiting.load(Ordering::Acquire) > 0 && self.lines().contains_key(run)
    }

    fn join<'a>(&'a self, run: &'a RunId) -> (Arc<Fair<()>>, Place<'a>) {
        let mut lines = self.lines();
        let line = lines.entry(run.clone()).or_default();
        line.length += 1;
        self.waiting.fetch_add(1, Ordering::AcqRel);
        (Arc::clone(&line.turn), Place { turns: self, run })
    }

    /// Waits for a turn, behind all who have begun to wait before.
    pub(crate) async fn wait<'a>(&'a self, run: &'a RunId) -> Turn<'a> {
        let (turn, place) = self.join(run);
        Turn { _held: turn.lock_owned().await, _place: place }
    }
}

/// It is somebody's turn while this is held.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _held: OwnedMutexGuard<()>,
    _place: Place<'a>,
}

#[derive(Debug)]
struct Place<'a> {
    turns: &'a Turns,
    run: &'a RunId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.turns.lines();
        if let Some(line) = lines.get_mut(self.run) {
            line.length -= 1;
            if line.length == 0 {
                lines.remove(self.run);
            }
        }
        self.turns.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn taken<'a>(turn: Pin<&mut impl Future<Output = Turn<'a>>>) -> Option<Turn<'a>> {
        match turn.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn turns_at_a_run_come_in_the_order_in_which_they_were_waited_for() {
        let (turns, run, other) =
            (Turns::default(), RunId::new("r").unwrap(), RunId::new("other").unwrap());
        assert!(!turns.has_line(&run));
        let first = taken(pin!(turns.wait(&run))).unwrap();
        let (mut second, mut third) = (Box::pin(turns.wait(&run)), Box::pin(turns.wait(&run)));
        assert!(taken(second.as_mut()).is_none() && taken(third.as_mut()).is_none());
        assert!(turns.has_line(&run) && !turns.has_line(&other));
        assert!(taken(pin!(turns.wait(&other))).is_some());
        drop(first);
        assert!(taken(third.as_mut()).is_none());
        drop(taken(second.as_mut()).unwrap());
        drop(second);
        drop(taken(third.as_mut()).unwrap());
        assert!(!turns.has_line(&run));
    }
}
