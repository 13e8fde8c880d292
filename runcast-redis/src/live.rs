//! The streams that are followed on this node: what the observer was told of each, so that it is told of
//! everything once and in order, whoever appended it.
//!
//! A message that does not come right behind what was told makes the stream be read from there. Pure: the
//! node does what is wanted.

use std::collections::HashMap;

use runcast_event::{Epoch, Offset, RunId};
use runcast_log::engine::Phase;
use runcast_log::{Committed, ReadError, ReadLimit, Record, StreamStat};

use crate::keys::Keys;
use crate::read::Reader;
use crate::replica::{Replica, first_epoch};

/// How much is read at a time of what was missed.
const PAGE: ReadLimit = ReadLimit { events_max: 1_000, bytes_max: 1024 * 1024 };

/// How far the observer was told of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    epoch: Epoch,
    last: Offset,
    closed: bool,
    /// There is no stream: it was deleted, or never was.
    is_gone: bool,
}

impl Seen {
    fn of(stat: &StreamStat) -> Self {
        Self { epoch: stat.epoch, last: stat.last, closed: stat.closed, is_gone: false }
    }

    fn nothing(epoch: Epoch) -> Self {
        Self { epoch, last: Offset::START, closed: false, is_gone: true }
    }
}

#[derive(Debug, Default)]
struct Followed {
    seen: Option<Seen>,
    /// It is being read.
    is_reading: bool,
    /// It has to be read again then.
    is_behind: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Live {
    runs: HashMap<RunId, Followed>,
}

/// What is to be done about a change.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    /// To tell the observer.
    pub(crate) tell: Option<Committed>,
    /// To read the stream.
    pub(crate) read: bool,
}

impl Todo {
    fn tell(change: Committed) -> Self {
        Self { tell: Some(change), read: false }
    }
}

impl Live {
    pub(crate) fn follow(&mut self, run: &RunId) {
        self.runs.entry(run.clone()).or_default();
    }

    pub(crate) fn unfollow(&mut self, run: &RunId) {
        self.runs.remove(run);
    }

    pub(crate) fn follows(&self, run: &RunId) -> bool {
        self.runs.contains_key(run)
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &RunId> {
        self.runs.keys()
    }

    /// Begins to read a stream, unless it is not followed or being read. Gives how far it was told.
    pub(crate) fn begin_to_read(&mut self, run: &RunId) -> Option<Option<Seen>> {
        let followed = self.runs.get_mut(run)?;
        if followed.is_reading {
            followed.is_behind = true;
            return None;
        }
        (followed.is_reading, followed.is_behind) = (true, false);
        Some(followed.seen)
    }

    /// What is to be done when events were stored, by this node or another.
    pub(crate) fn stored(
        &mut self,
        run: &RunId,
        records: Vec<Record>,
        stat: &StreamStat,
        is_own: bool,
    ) -> Todo {
        let told = |records| {
            Todo::tell(Committed::Appended { run: run.clone(), records, stat: stat.clone() })
        };
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Todo { tell: None, read: self.follows(run) };
        };
        let Some(followed) = self.runs.get_mut(run) else { return told(records) };
        let seen_now = Seen { last: last.offset, ..Seen::of(stat) };
        let is_next = match followed.seen {
            _ if followed.is_reading => false,
            None => is_own,
            Some(seen) if seen.is_gone => {
                first.offset == Offset::new(1) && stat.epoch >= seen.epoch
            }
            Some(seen) if seen.epoch == stat.epoch && last.offset <= seen.last => {
                return Todo::default();
            }
            Some(seen) => seen.epoch == stat.epoch && seen.last.next() == first.offset,
        };
        if is_next {
            followed.seen = Some(seen_now);
            return told(records);
        }
        followed.is_behind = true;
        // Projections hear of it at once, followers when what is before it was read.
        let changed = is_own.then(|| Committed::Changed { run: run.clone() });
        Todo { tell: changed, read: true }
    }

    /// What is to be done when a stream was deleted.
    pub(crate) fn deleted(&mut self, run: &RunId, epoch: Epoch, is_own: bool) -> Todo {
        let deleted = || Committed::Deleted { run: run.clone() };
        let Some(followed) = self.runs.get_mut(run) else { return Todo::tell(deleted()) };
        let is_news = followed.seen.is_none_or(|seen| !seen.is_gone && seen.epoch <= epoch);
        if !is_news && !is_own {
            return Todo::default();
        }
        // What is being read now may be of before.
        followed.is_behind = followed.is_reading;
        followed.seen = Some(Seen::nothing(epoch));
        Todo::tell(deleted())
    }

    /// What is to be done when a stream was read.
    pub(crate) fn was_read(&mut self, run: &RunId, begun: Option<Seen>, looked: Looked) -> Todo {
        let Some(followed) = self.runs.get_mut(run) else { return Todo::default() };
        followed.is_reading = false;
        if followed.seen != begun {
            // It was deleted meanwhile, or followed anew.
            return Todo { tell: None, read: true };
        }
        let is_behind = std::mem::take(&mut followed.is_behind);
        match looked {
            Looked::Failed => Todo { tell: None, read: false },
            Looked::Found { records, stat, seen, is_all } => {
                followed.seen = Some(seen);
                let told = Committed::Appended { run: run.clone(), records, stat };
                let has_records =
                    matches!(&told, Committed::Appended { records, .. } if !records.is_empty());
                Todo { tell: has_records.then_some(told), read: is_behind || !is_all }
            }
            Looked::Deleted { epoch, is_all } => {
                let was_there = followed.seen.is_some_and(|seen| !seen.is_gone);
                followed.seen = Some(Seen::nothing(epoch));
                let deleted = Committed::Deleted { run: run.clone() };
                Todo { tell: was_there.then_some(deleted), read: is_behind || !is_all }
            }
            Looked::Lost { seen, is_all } => {
                followed.seen = seen;
                let lost = Committed::Lost { run: run.clone() };
                Todo { tell: Some(lost), read: is_behind || !is_all }
            }
        }
    }

    /// Whether what was told of a stream is how it stands.
    pub(crate) fn is_told(&self, run: &RunId, stat: Option<&StreamStat>) -> bool {
        match self.runs.get(run) {
            None => true,
            Some(Followed { is_reading: true, .. }) => true,
            Some(Followed { seen: None, .. }) => false,
            Some(Followed { seen: Some(seen), .. }) => match stat {
                None => seen.is_gone,
                Some(stat) => *seen == Seen::of(stat),
            },
        }
    }
}

/// What was found behind what was told.
#[derive(Debug)]
pub(crate) enum Looked {
    Found {
        records: Vec<Record>,
        stat: StreamStat,
        seen: Seen,
        is_all: bool,
    },
    /// The stream was deleted; it may have been made again.
    Deleted {
        epoch: Epoch,
        is_all: bool,
    },
    /// Events that were told are lost.
    Lost {
        seen: Option<Seen>,
        is_all: bool,
    },
    /// It cannot be read now.
    Failed,
}

/// Reads what a stream has behind what was told of it.
pub(crate) async fn look(reader: &Reader, run: &RunId, seen: Option<Seen>) -> Looked {
    let told_last = seen.map_or(Offset::START, |seen| seen.last);
    let replica = match reader.fields_of(run).await {
        Ok(replica) => replica,
        Err(error) => {
            tracing::debug!(%run, %error, "a followed stream cannot be read now");
            return Looked::Failed;
        }
    };
    let stat = replica.stream.stat();
    if replica.version == 0 && told_last > Offset::START {
        return Looked::Lost { seen: Some(Seen::nothing(stat.epoch)), is_all: true };
    }
    if replica.version == 0 || replica.stream.phase == Phase::Deleted {
        return Looked::Deleted { epoch: stat.epoch, is_all: true };
    }
    let Some(seen) = seen else { return look_first(reader, run, stat).await };
    if !seen.is_gone && replica.stream.born > seen.epoch {
        return match replica.stream.born == first_epoch(replica.history) {
            true => Looked::Lost { seen: None, is_all: false },
            false => Looked::Deleted { epoch: seen.epoch, is_all: false },
        };
    }
    if has_lost(&seen, &stat) {
        return Looked::Lost { seen: None, is_all: false };
    }
    let after = told_last.max(Offset::new(stat.first.get() - 1));
    if after >= stat.last {
        return Looked::Found { records: Vec::new(), seen: Seen::of(&stat), stat, is_all: true };
    }
    found(reader, run, after, stat).await
}

/// A stream of which nothing was told: the newest event is enough to wake whoever waits for more.
async fn look_first(reader: &Reader, run: &RunId, stat: StreamStat) -> Looked {
    if stat.last < stat.first {
        return Looked::Found { records: Vec::new(), seen: Seen::of(&stat), stat, is_all: true };
    }
    found(reader, run, Offset::new(stat.last.get() - 1), stat).await
}

async fn found(reader: &Reader, run: &RunId, after: Offset, stat: StreamStat) -> Looked {
    match reader.page(run, after, PAGE).await {
        Ok(page) if page.stat.epoch != stat.epoch => Looked::Failed,
        Ok(page) => {
            let last = page.records.last().map_or(after, |record| record.offset);
            let is_all = last >= page.stat.last;
            let closed = page.stat.closed && is_all;
            let seen = Seen { last, closed, ..Seen::of(&page.stat) };
            // The stream as it stands behind these, so that nobody takes it for closed before its end.
            let stat = StreamStat { last, closed, ..page.stat };
            Looked::Found { records: page.records, stat, seen, is_all }
        }
        // Who reads them is told; here it is gone on behind them.
        Err(ReadError::Damaged { last, .. }) => {
            let is_all = last >= stat.last;
            let seen = Seen { last, closed: stat.closed && is_all, ..Seen::of(&stat) };
            Looked::Found { records: Vec::new(), stat, seen, is_all }
        }
        Err(_) => Looked::Failed,
    }
}

/// Whether events that were told are not in the stream any more.
fn has_lost(seen: &Seen, stat: &StreamStat) -> bool {
    if seen.is_gone {
        return false;
    }
    let newer = stat.epoch_bases.iter().filter(|(epoch, _)| *epoch > seen.epoch);
    let shared = newer.map(|(_, base)| *base).min();
    seen.epoch > stat.epoch
        || (seen.epoch < stat.epoch && shared.is_none_or(|shared| shared < seen.last))
        || stat.last < seen.last
}

impl Reader {
    /// How a stream stands, whether it is there or not; without its producers.
    async fn fields_of(&self, run: &RunId) -> Result<Replica, ReadError> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(self.fields(run));
        let (values, up) = self.link.ask(Keys::slot(run), &pipeline).await?;
        let fields = values.into_iter().next().unwrap_or_default();
        let replica = Replica::from_fields(&fields).map_err(crate::error::CallError::from)?;
        Ok(replica.unwrap_or_else(|| Replica::none(up.history)).in_history(up.history))
    }
}
