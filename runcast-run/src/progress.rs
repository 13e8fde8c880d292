//! How much of a run is done, and when it will be.

use runcast_event::Timestamp;
use serde::{Deserialize, Serialize};

/// How much of a run is done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// From 0 to 1.
    pub fraction: f64,
    /// When it will be done if it goes on as it did; for a run that is at work and has come some
    /// way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_at: Option<Timestamp>,
}

/// What progress is reckoned from, beside what is done.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// What the producer says, which counts before anything reckoned.
    said: Option<f64>,
    /// When something was last done.
    moved_at: Option<Timestamp>,
    /// Milliseconds of pauses before that.
    paused_ms_then: u64,
    /// Milliseconds of pauses that are over.
    paused_ms: u64,
    paused_at: Option<Timestamp>,
}

impl Pace {
    pub(crate) fn said(&self) -> Option<f64> {
        self.said
    }

    pub(crate) fn say(&mut self, fraction: f64, at: Timestamp) {
        self.said = Some(rounded(fraction));
        self.moved(at);
    }

    /// Something was done.
    pub(crate) fn moved(&mut self, at: Timestamp) {
        self.moved_at = Some(at);
        self.paused_ms_then = self.paused_ms;
    }

    pub(crate) fn paused(&mut self, at: Timestamp) {
        self.paused_at.get_or_insert(at);
    }

    pub(crate) fn resumed(&mut self, at: Timestamp) {
        if let Some(paused_at) = self.paused_at.take() {
            self.paused_ms = self.paused_ms.saturating_add(at.millis_since(paused_at));
        }
    }

    /// When all is done if it goes on as it did from the start to the last move.
    pub(crate) fn eta(&self, started_at: Timestamp, fraction: f64) -> Option<Timestamp> {
        let moved_at = self.moved_at?;
        let active_ms = moved_at.millis_since(started_at).saturating_sub(self.paused_ms_then);
        if !(fraction > 0.0 && fraction < 1.0) || active_ms == 0 {
            return None;
        }
        let left_ms = active_ms as f64 * (1.0 - fraction) / fraction;
        let paused_since = self.paused_ms.saturating_sub(self.paused_ms_then);
        Some(moved_at.plus_millis(paused_since.saturating_add(left_ms as u64)))
    }
}

/// A fraction with six digits, which JSON holds exactly.
pub(crate) fn rounded(fraction: f64) -> f64 {
    (fraction * 1e6).round() / 1e6
}
