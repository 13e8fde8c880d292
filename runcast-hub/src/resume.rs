//! Where a reader goes on: the rules of the one cursor, for every transport.

use runcast_event::{Cursor, Epoch, Offset};
use runcast_log::StreamStat;

use crate::hub::FollowError;

/// Events that a reader asked for and cannot get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub from: Offset,
    /// The last of them.
    pub to: Offset,
    /// Why they cannot be had.
    pub reason: GapReason,
    /// The epoch that the stream is in now.
    pub epoch: Epoch,
}

/// Why events cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// Retention removed them.
    Trimmed,
    /// They were lost, or deleted with their stream, and their offsets given to other events. The
    /// reader has seen them; the stream goes on at `from`.
    EpochChanged,
    /// What is stored of them is not what was appended.
    Damaged,
}

impl Gap {
    /// Where a reader goes on that was told of it.
    #[must_use]
    pub fn behind(&self) -> Cursor {
        let after = match self.reason {
            GapReason::Trimmed | GapReason::Damaged => self.to,
            GapReason::EpochChanged => Offset::new(self.from.get().saturating_sub(1)),
        };
        Cursor::new(self.epoch, after)
    }
}

/// Where a reader goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// What it misses, to be told before anything else.
    pub gap: Option<Gap>,
    /// After which event it goes on, in the stream's current epoch.
    pub after: Offset,
}

/// Finds where a reader with this cursor goes on in a stream that stands like this.
///
/// # Errors
/// [`FollowError::OffsetInFuture`] when the cursor is behind what the stream ever had.
pub fn resume(cursor: Cursor, stat: &StreamStat) -> Result<Resume, FollowError> {
    let in_future = Err(FollowError::OffsetInFuture { last: stat.last });
    let mut after = cursor.after;
    let mut gap = None;
    if after > Offset::START && cursor.epoch > stat.epoch {
        return in_future;
    }
    if after > Offset::START && cursor.epoch < stat.epoch {
        let shared = shared_with(cursor.epoch, stat);
        if after > shared {
            let reason = GapReason::EpochChanged;
            gap = Some(Gap { from: shared.next(), to: after, reason, epoch: stat.epoch });
            after = shared;
        }
    }
    if after > stat.last {
        return in_future;
    }
    if gap.is_none() && after.next() < stat.first {
        let to = Offset::new(stat.first.get() - 1);
        let reason = GapReason::Trimmed;
        gap = Some(Gap { from: after.next(), to, reason, epoch: stat.epoch });
    }
    let after = after.max(Offset::new(stat.first.get().saturating_sub(1)));
    Ok(Resume { gap, after })
}

/// The last offset that the current history has in common with that of an older epoch.
///
/// Epochs may be passed over: a stream was never in one that has no base. Without any base behind
/// the cursor's epoch there is nothing in common.
fn shared_with(older: Epoch, stat: &StreamStat) -> Offset {
    let newer = stat.epoch_bases.iter().filter(|(epoch, _)| *epoch > older);
    newer.map(|(_, base)| *base).min().unwrap_or(Offset::START)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(first: u64, last: u64, epoch: u32, bases: &[(u32, u64)]) -> StreamStat {
        let epoch_of = |number| Epoch::new(number).unwrap();
        StreamStat {
            first: Offset::new(first),
            last: Offset::new(last),
            closed: false,
            epoch: epoch_of(epoch),
            epoch_bases: bases.iter().map(|(e, base)| (epoch_of(*e), Offset::new(*base))).collect(),
        }
    }

    /// A gap's ends and its reason.
    type Told = Option<(u64, u64, GapReason)>;

    fn at(cursor: &str, stat: &StreamStat) -> Result<(u64, Told), FollowError> {
        let resumed = resume(cursor.parse().unwrap(), stat)?;
        let gap = resumed.gap.map(|gap| (gap.from.get(), gap.to.get(), gap.reason));
        Ok((resumed.after.get(), gap))
    }

    #[test]
    fn a_reader_resumes_after_the_last_event_it_saw() {
        let stat = stat(1, 99, 1, &[]);
        assert_eq!(at("0", &stat), Ok((0, None)));
        assert_eq!(at("42", &stat), Ok((42, None)));
        assert_eq!(at("99", &stat), Ok((99, None)));
    }

    #[test]
    fn a_cursor_that_the_stream_never_reached_is_refused() {
        let last = Offset::new(99);
        let stat = stat(1, 99, 2, &[(2, 50)]);
        assert_eq!(at("2.100", &stat), Err(FollowError::OffsetInFuture { last }));
        assert_eq!(at("3.1", &stat), Err(FollowError::OffsetInFuture { last }));
    }

    #[test]
    fn what_is_no_longer_kept_is_a_gap_with_both_ends() {
        let stat = stat(21, 99, 1, &[]);
        assert_eq!(at("9", &stat), Ok((20, Some((10, 20, GapReason::Trimmed)))));
        assert_eq!(at("0", &stat), Ok((20, Some((1, 20, GapReason::Trimmed)))));
        assert_eq!(at("20", &stat), Ok((20, None)));
    }

    #[test]
    fn a_cursor_from_an_older_epoch_is_valid_up_to_what_both_share() {
        let stat = stat(1, 80, 3, &[(2, 50), (3, 70)]);
        assert_eq!(at("50", &stat), Ok((50, None)));
        assert_eq!(at("60", &stat), Ok((50, Some((51, 60, GapReason::EpochChanged)))));
        assert_eq!(at("2.70", &stat), Ok((70, None)));
        assert_eq!(at("2.75", &stat), Ok((70, Some((71, 75, GapReason::EpochChanged)))));
        assert_eq!(at("3.75", &stat), Ok((75, None)));
        assert_eq!(at("0", &stat), Ok((0, None)));
    }

    #[test]
    fn epochs_that_a_restored_log_passed_over_are_held_against_the_next_base() {
        let stat = stat(1, 80, 30_000_000, &[(30_000_000, 50)]);
        assert_eq!(at("50", &stat), Ok((50, None)));
        assert_eq!(at("60", &stat), Ok((50, Some((51, 60, GapReason::EpochChanged)))));
        assert_eq!(at("7.60", &stat), Ok((50, Some((51, 60, GapReason::EpochChanged)))));
        assert_eq!(at("30000000.60", &stat), Ok((60, None)));
    }

    #[test]
    fn a_stream_that_was_made_again_shares_nothing_with_the_deleted_one() {
        let stat = stat(1, 5, 2, &[]);
        assert_eq!(at("3", &stat), Ok((0, Some((1, 3, GapReason::EpochChanged)))));
    }
}
