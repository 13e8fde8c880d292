//! What one viewer has seen of its run: in order, once, without a hole?

use serde::Serialize;

/// A viewer may have this many holes that could still be filled; older ones stay lost.
const HOLES_MAX: usize = 1024;

/// What went wrong, counted in events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    /// Never came.
    pub(crate) lost: u64,
    /// Came again.
    pub(crate) doubled: u64,
    /// Came after a later one.
    pub(crate) disordered: u64,
    /// Requests that were refused, and connections that ended by themselves.
    pub(crate) refused: u64,
}

impl Faults {
    /// Whether nothing went wrong.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Both together.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            disordered: self.disordered + other.disordered,
            refused: self.refused + other.refused,
        }
    }
}

/// A viewer's account of the offsets it saw. Kept over reconnections.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    last: u64,
    holes: Vec<(u64, u64)>,
}

impl Ledger {
    /// An account of a viewer that begins behind `offset`.
    pub(crate) fn after(offset: u64) -> Self {
        Self { last: offset, holes: Vec::new() }
    }

    /// The greatest offset seen.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Notes an event, and what is wrong with it.
    pub(crate) fn see(&mut self, offset: u64, faults: &mut Faults) {
        if offset == self.last + 1 {
            self.last = offset;
        } else if offset > self.last {
            faults.lost += offset - self.last - 1;
            if self.holes.len() < HOLES_MAX {
                self.holes.push((self.last + 1, offset - 1));
            }
            self.last = offset;
        } else if self.fill(offset) {
            faults.lost -= 1;
            faults.disordered += 1;
        } else {
            faults.doubled += 1;
        }
    }

    /// Takes an offset out of the hole that it is missing from.
    fn fill(&mut self, offset: u64) -> bool {
        let inside = |&(from, to): &(u64, u64)| (from..=to).contains(&offset);
        let Some(at) = self.holes.iter().position(inside) else { return false };
        let (from, to) = self.holes.swap_remove(at);
        if from < offset {
            self.holes.push((from, offset - 1));
        }
        if offset < to {
            self.holes.push((offset + 1, to));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(offsets: &[u64]) -> Faults {
        let mut ledger = Ledger::default();
        let mut faults = Faults::default();
        for &offset in offsets {
            ledger.see(offset, &mut faults);
        }
        faults
    }

    #[test]
    fn offsets_in_order_are_right() {
        assert!(faults_of(&[1, 2, 3]).is_none());
    }

    #[test]
    fn a_hole_is_a_loss() {
        assert_eq!(faults_of(&[1, 4]), Faults { lost: 2, ..Faults::default() });
    }

    #[test]
    fn an_event_that_comes_twice_is_doubled() {
        assert_eq!(faults_of(&[1, 2, 2, 1]), Faults { doubled: 2, ..Faults::default() });
    }

    #[test]
    fn an_event_that_comes_late_is_out_of_order_and_not_lost() {
        let expected = Faults { lost: 2, disordered: 1, ..Faults::default() };
        assert_eq!(faults_of(&[1, 5, 3]), expected);
        let expected = Faults { disordered: 3, ..Faults::default() };
        assert_eq!(faults_of(&[1, 5, 3, 2, 4]), expected);
    }

    #[test]
    fn a_filled_hole_is_doubled_the_second_time() {
        let expected = Faults { disordered: 1, doubled: 1, ..Faults::default() };
        assert_eq!(faults_of(&[1, 3, 2, 2]), expected);
    }

    #[test]
    fn an_account_goes_on_where_it_began() {
        let mut ledger = Ledger::after(10);
        let mut faults = Faults::default();
        ledger.see(11, &mut faults);
        assert!(faults.is_none());
        assert_eq!(ledger.last(), 11);
    }
}
