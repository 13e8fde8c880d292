//! What stands for a stream's trimmed events: the trim's record, in the write-ahead log or, when that
//! is sealed, before the stream's blocks in a segment.
//!
//! A stream's first offset tells which trim a record is of: every trim moves it, and nothing else does.
//! So a record counts as long as the stream begins at its offset, wherever the record lies.

use std::fmt::Display;
use std::io;

use bytes::Bytes;
use runcast_event::{Offset, RunId};

use crate::contract::ReadError;
use crate::embedded::disk::DiskFile;
use crate::embedded::plan::{PlanBasis, Source};
use crate::embedded::read::is_damage;
use crate::embedded::wal::record::{self, Note, Record};

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BasePlace {
    pub(crate) position: u64,
    pub(crate) length: u32,
    /// The number of the write-ahead log; 0 in a segment.
    pub(crate) file: u32,
}

impl BasePlace {
    /// A record at a position with a length.
    pub(crate) fn new((position, length): (usize, usize)) -> Self {
        let length = u32::try_from(length).expect("a record is bounded far below 4 GiB");
        Self { position: position as u64, length, file: 0 }
    }

    /// The position behind it.
    pub(crate) fn end(&self) -> u64 {
        self.position + u64::from(self.length)
    }

    /// The record, of a run that keeps events from `first` on.
    pub(crate) fn read(
        &self,
        file: &dyn DiskFile,
        run: &str,
        first: Offset,
    ) -> Result<Bytes, BaseFault> {
        let mut bytes = vec![0; self.length as usize];
        file.read_exact_at(&mut bytes, self.position)?;
        check(&bytes, run, first)?;
        Ok(bytes.into())
    }
}

/// Why what stands for events cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BaseFault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Wrong(&'static str),
}

/// What readers are told when what stood for the events before `first` is lost.
pub(crate) fn damaged(first: Offset, reason: impl Display) -> ReadError {
    ReadError::Damaged {
        first: Offset::START.next(),
        last: Offset::new(first.get() - 1),
        reason: format!("they were trimmed, and what stands for them is damaged: {reason}"),
    }
}

/// The bytes that a record has in the place of a run's events before `first`.
pub(crate) fn check<'a>(record: &'a [u8], run: &str, first: Offset) -> Result<&'a [u8], BaseFault> {
    match record::decode(record) {
        Ok((Record::Note(Note::Trim { run: of, before, base }), length))
            if (of, before, length) == (run, first, record.len()) =>
        {
            Ok(base)
        }
        Ok(_) => Err(BaseFault::Wrong("another record is there than the index says")),
        Err(reason) => Err(BaseFault::Wrong(reason)),
    }
}

/// What to read.
pub(crate) struct BasePlan {
    pub(crate) run: RunId,
    /// The first event that the stream keeps.
    pub(crate) first: Offset,
    pub(crate) source: Source,
    pub(crate) place: BasePlace,
    pub(crate) basis: PlanBasis,
}

impl BasePlan {
    /// What stands for the events. Blocks.
    pub(crate) fn read(&self) -> Result<Bytes, ReadError> {
        let (run, first) = (self.run.as_str(), self.first);
        let record = match &self.source {
            Source::Wal(_, file) => self.place.read(file.as_ref(), run, first),
            Source::Segment(segment) => match segment.file() {
                Ok(file) => self.place.read(file.as_ref(), run, first),
                Err(error) => Err(error.into()),
            },
        };
        let base = record.and_then(|record| {
            let base = check(&record, run, first)?;
            Ok(record.slice_ref(base))
        });
        base.map_err(|fault| {
            let place = format!("{}, byte {}", self.source.name(), self.place.position);
            match fault {
                BaseFault::Io(error) if !is_damage(&error) => {
                    ReadError::Failed { reason: format!("{place}: {error}") }
                }
                fault => damaged(first, format_args!("{place}: {fault}")),
            }
        })
    }
}
