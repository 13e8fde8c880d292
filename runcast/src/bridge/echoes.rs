//! What the bridge has published to channels and will hear itself: messages of Pub/Sub bear no mark.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an echo takes at most. What is not heard by then was lost with a connection.
const ECHO_MAX: Duration = Duration::from_secs(10);
/// Echoes that are waited for.
const ECHOES_MAX: usize = 65_536;

/// Messages that are to be heard, by their hash: how many times, and since when.
#[derive(Default)]
pub(super) struct Echoes {
    expected: Mutex<HashMap<u64, (usize, Instant)>>,
    state: RandomState,
}

impl Echoes {
    /// A message is published, and will be heard so many times.
    pub(super) fn expect(&self, channel: &str, payload: &[u8], times: usize) {
        if times == 0 {
            return;
        }
        let now = Instant::now();
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if expected.len() >= ECHOES_MAX {
            expected.retain(|_, (_, since)| now.duration_since(*since) < ECHO_MAX);
        }
        let echo = expected.entry(self.hash(channel, payload)).or_insert((0, now));
        *echo = (echo.0 + times, now);
    }

    /// Whether a message that was heard is an echo; each is one once.
    pub(super) fn is_echo(&self, channel: &str, payload: &[u8]) -> bool {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if expected.is_empty() {
            return false;
        }
        let hash = self.hash(channel, payload);
        let Some((times, since)) = expected.get_mut(&hash) else { return false };
        let is_in_time = since.elapsed() < ECHO_MAX;
        *times -= 1;
        if *times == 0 || !is_in_time {
            expected.remove(&hash);
        }
        is_in_time
    }

    fn hash(&self, channel: &str, payload: &[u8]) -> u64 {
        self.state.hash_one((channel, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_an_echo_as_often_as_it_was_published() {
        let echoes = Echoes::default();
        echoes.expect("c", b"m", 2);
        echoes.expect("c", b"n", 0);
        assert!(!echoes.is_echo("c", b"n") && !echoes.is_echo("d", b"m"));
        assert!(echoes.is_echo("c", b"m") && echoes.is_echo("c", b"m"));
        assert!(!echoes.is_echo("c", b"m"), "another has said the same");
    }
}
