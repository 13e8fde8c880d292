//! What time it is: the system's, or one that a test sets.

use std::time::Duration;

use runcast_event::Timestamp;
use tokio::sync::watch;

/// The longest sleep without a look at the time, which the system may set.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A clock. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's.
    #[default]
    System,
    /// One that stands still until it is sent another time.
    Set(watch::Receiver<Timestamp>),
}

impl Clock {
    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Set(time) => *time.borrow(),
        }
    }

    /// Waits until it is this time or later; forever on a clock that nobody can set any more.
    pub(crate) async fn reach(&self, at: Timestamp) {
        match self {
            Self::System => loop {
                let left = at.as_micros().saturating_sub(Timestamp::now().as_micros());
                match u64::try_from(left) {
                    Ok(left @ 1..) => {
                        tokio::time::sleep(Duration::from_micros(left).min(LOOK_EVERY)).await;
                    }
                    _ => return,
                }
            },
            Self::Set(time) => {
                let mut time = time.clone();
                let reached = time.wait_for(|now| *now >= at).await.is_ok();
                if !reached {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_clock_that_is_set_goes_by_what_it_is_set_to() {
        let (set, time) = watch::channel(Timestamp::from_micros(5));
        let clock = Clock::Set(time);
        clock.reach(Timestamp::from_micros(5)).await;
        let mut reached = std::pin::pin!(clock.reach(Timestamp::from_micros(7)));
        set.send_replace(Timestamp::from_micros(6));
        assert_eq!(
            (clock.now(), reached.as_mut().now_or_never()),
            (Timestamp::from_micros(6), None)
        );
        set.send_replace(Timestamp::from_micros(8));
        reached.await;
    }

    #[tokio::test]
    async fn the_system_s_clock_reaches_what_is_past_at_once_and_the_next_moment_soon() {
        let now = Clock::System.now();
        Clock::System.reach(now).await;
        Clock::System.reach(Timestamp::from_micros(now.as_micros() + 2_000)).await;
        assert!(Clock::System.now().as_micros() >= now.as_micros() + 2_000);
    }
}
