//! One coarse timer wheel for all connections of a shard. A connection has one entry, at the tick at
//! which it should be looked at; it is never moved, only put in again when it was looked at.

/// Ticks that the wheel reaches ahead; what is due later is looked at earlier, and put in again.
const SLOTS: usize = 64;

/// A moment, counted in ticks since the shard began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(pub(super) u32);

impl Tick {
    pub(super) const fn plus(self, ticks: u32) -> Self {
        Self(self.0.saturating_add(ticks))
    }

    pub(super) const fn since(self, before: Self) -> u32 {
        self.0.saturating_sub(before.0)
    }
}

pub(super) struct Wheel {
    slots: Vec<Vec<usize>>,
    now: Tick,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], now: Tick(0) }
    }

    pub(super) const fn now(&self) -> Tick {
        self.now
    }

    /// Puts a connection in, and gives when it will be looked at: at `due`, or before if that is
    /// further than the wheel reaches, but never now.
    pub(super) fn insert(&mut self, at: usize, due: Tick) -> Tick {
        let due = due.clamp(self.now.plus(1), self.now.plus(SLOTS as u32 - 1));
        self.slots[due.0 as usize % SLOTS].push(at);
        due
    }

    /// Goes on by a tick and gives the connections to be looked at; among them may be some that are
    /// gone, and some that were given another time meanwhile.
    pub(super) fn advance(&mut self) -> Vec<usize> {
        self.now = self.now.plus(1);
        std::mem::take(&mut self.slots[self.now.0 as usize % SLOTS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_out_at_its_tick_and_a_far_one_before() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.insert(7, Tick(3)), Tick(3));
        assert_eq!(wheel.insert(8, Tick(0)), Tick(1));
        assert_eq!(wheel.insert(9, Tick(1_000)), Tick(63));
        let out: Vec<_> = (0..64).map(|_| wheel.advance()).collect();
        assert_eq!(out[0], [8]);
        assert_eq!(out[2], [7]);
        assert_eq!(out[62], [9]);
        assert_eq!(out.iter().flatten().count(), 3);
    }
}
