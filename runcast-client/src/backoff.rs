//! How long to wait before another try: exponential, with full jitter.
//!
//! Each wait is anywhere from nothing to a bound that doubles, so that a thousand clients of one
//! server that comes back do not all come at once.

use std::time::Duration;

/// The bound of the first wait.
const FIRST_WAIT_MAX: Duration = Duration::from_millis(100);
/// The bound of every wait.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Counts tries and says how long to wait for the next.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    attempt: u32,
}

impl Backoff {
    /// No try has failed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { attempt: 0 }
    }

    /// How many tries in a row have failed.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Counts a failed try; the answer is how long to wait.
    pub fn failed(&mut self) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        Self::bound(self.attempt).mul_f64(fastrand::f64())
    }

    /// A try succeeded: the next failure is the first again.
    pub const fn succeeded(&mut self) {
        self.attempt = 0;
    }

    fn bound(attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        FIRST_WAIT_MAX.saturating_mul(1 << doublings).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_its_limit_and_begins_again_after_a_success() {
        let bounds: Vec<_> = (1..=8).map(|attempt| Backoff::bound(attempt).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(Backoff::bound(u32::MAX), WAIT_MAX);

        let mut backoff = Backoff::new();
        for attempt in 1..100 {
            assert!(backoff.failed() <= Backoff::bound(attempt));
            assert_eq!(backoff.attempt(), attempt);
        }
        backoff.succeeded();
        assert!(backoff.failed() <= FIRST_WAIT_MAX);
    }
}
