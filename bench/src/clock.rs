//! The generator's clock: nanoseconds that travel inside an event and come back.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Where stamps begin, so that every stamp has [`STAMP_DIGITS`] digits and fits a JSON number.
const STAMP_BASE: u64 = 1_000_000_000_000_000;

/// How many digits a stamp has, for the next 90 days of this process.
pub(crate) const STAMP_DIGITS: usize = 16;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment of this process, as it is written into an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    /// This moment.
    pub(crate) fn now() -> Self {
        Self(STAMP_BASE + u64::try_from(BEGIN.elapsed().as_nanos()).unwrap_or(u64::MAX / 2))
    }

    /// How long ago this moment was at `later`; nothing if it was after it.
    pub(crate) fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_a_fixed_number_of_digits() {
        assert_eq!(Stamp::now().0.to_string().len(), STAMP_DIGITS);
    }

    #[test]
    fn time_does_not_run_backwards() {
        let first = Stamp::now();
        let second = Stamp::now();
        assert!(second >= first);
        assert_eq!(second.until(first).min(Duration::ZERO), Duration::ZERO);
    }
}
