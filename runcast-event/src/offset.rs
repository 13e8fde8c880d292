//! Where an event stands in its stream, and the one cursor that every reader uses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place of an event in its stream: 1, 2, 3 … without a hole.
///
/// As a cursor it means "everything after this one", so that 0 is the start of the stream.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(u64);

impl Offset {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The largest offset: the largest whole number that every JSON parser keeps exactly.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The offset with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset of the event after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The offset `count` events later.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One incarnation of a stream's history: 1, and one more each time that acknowledged events were
/// lost or the stream was deleted and made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u32);

impl Epoch {
    /// The epoch of a stream that never lost anything.
    pub const FIRST: Self = Self(1);

    /// The epoch with this number, or none for 0.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The epoch `by` after this one, or the last that there can be.
    #[must_use]
    pub const fn plus(self, by: u32) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl Default for Epoch {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A reader's place: the last event it has seen, and the epoch in which it saw it.
///
/// Written `42`, or `2.42` once the epoch is not the first. This is the SSE `id`, `?after=` and
/// every other form of the one cursor there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Cursor {
    /// The epoch of the event last seen.
    pub epoch: Epoch,
    /// The offset of the event last seen; 0 for none.
    pub after: Offset,
}

impl Cursor {
    /// Before everything; true in every epoch.
    pub const START: Self = Self { epoch: Epoch::FIRST, after: Offset::START };

    /// A cursor behind the event at `after` in `epoch`.
    #[must_use]
    pub const fn new(epoch: Epoch, after: Offset) -> Self {
        Self { epoch, after }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch == Epoch::FIRST {
            write!(f, "{}", self.after)
        } else {
            write!(f, "{}.{}", self.epoch, self.after)
        }
    }
}

/// A text that is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cursor: use an offset such as 42, or <epoch>.<offset> such as 2.42")]
pub struct CursorError(String);

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let digits = |part: &str| -> Option<u64> {
            let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| part.parse().ok()).flatten().filter(|number| *number <= Offset::MAX.0)
        };
        let parsed = match text.split_once('.') {
            None => digits(text).map(|after| Self::new(Epoch::FIRST, Offset::new(after))),
            Some((epoch, after)) => digits(epoch)
                .and_then(|number| u32::try_from(number).ok())
                .and_then(Epoch::new)
                .zip(digits(after))
                .map(|(epoch, after)| Self::new(epoch, Offset::new(after))),
        };
        parsed.ok_or_else(|| CursorError(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_it_was_written() {
        for text in ["0", "42", "2.42", "9007199254740991"] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
        assert_eq!("1.7".parse::<Cursor>().unwrap().to_string(), "7");
    }

    #[test]
    fn what_is_not_a_cursor_is_refused() {
        for text in ["", "-1", "+1", "0.1", "1.", ".1", "1.2.3", "x", "1e3", "9007199254740992"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
