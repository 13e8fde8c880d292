//! How values are spread: how many fell into each of a few fixed classes.
//!
//! Owns the classes of times and of counts, so that they are the same everywhere. Adding a value is
//! two relaxed additions, from any thread; nothing is allocated and nobody waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Classes of times, by their upper bounds in nanoseconds: 50 µs to 10 s.
pub const TIME_BOUNDS_NS: &[u64] = &[
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Classes of counts, by their upper bounds: 1 to a million.
pub const COUNT_BOUNDS: &[u64] =
    &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576];

/// Values, by class. Shared by all who add to it and read it.
#[derive(Debug)]
pub struct Distribution {
    bounds: &'static [u64],
    /// One for each bound, and one for what is above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A distribution at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spread {
    /// The upper bound of each class but the last, which has none.
    pub bounds: &'static [u64],
    /// How many values are in each class: one more than there are bounds, or none.
    pub counts: Vec<u64>,
    /// All values together.
    pub sum: u64,
}

impl Distribution {
    /// Of times.
    #[must_use]
    pub fn of_times() -> Self {
        Self::new(TIME_BOUNDS_NS)
    }

    /// Of counts.
    #[must_use]
    pub fn of_counts() -> Self {
        Self::new(COUNT_BOUNDS)
    }

    fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Adds a value that was seen `times` times.
    pub fn add(&self, value: u64, times: u64) {
        let class = self.bounds.partition_point(|bound| *bound < value);
        self.counts[class].fetch_add(times, Ordering::Relaxed);
        self.sum.fetch_add(value.saturating_mul(times), Ordering::Relaxed);
    }

    /// Adds how long something took.
    pub fn add_time(&self, took: Duration) {
        self.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), 1);
    }

    /// How it is now. What is added meanwhile may be in the counts and not yet in the sum.
    #[must_use]
    pub fn spread(&self) -> Spread {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Spread { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

impl Spread {
    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_class_whose_bound_it_does_not_pass() {
        let counts = Distribution::of_counts();
        for value in [0, 1, 2, 3, 4, 2_000_000] {
            counts.add(value, 1);
        }
        counts.add(5, 10);
        let spread = counts.spread();
        assert_eq!(spread.counts[..4], [2, 1, 2, 10]);
        assert_eq!(spread.counts.last(), Some(&1));
        assert_eq!((spread.count(), spread.sum), (16, 2_000_060));
    }

    #[test]
    fn bounds_rise() {
        assert!(TIME_BOUNDS_NS.is_sorted());
        assert!(COUNT_BOUNDS.is_sorted());
    }
}
