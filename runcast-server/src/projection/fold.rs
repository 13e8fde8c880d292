//! The task that folds: it hears which runs changed, reads what is new and folds it in.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use runcast_event::{Epoch, Offset, RunId};
use runcast_hub::{Changes, Hub};
use runcast_log::{ReadError, ReadLimit, StreamStat};
use tokio::sync::{Notify, mpsc, oneshot};

use super::hole::Hole;
use super::index::Index;
use super::lock;
use super::refold::base_of;
use super::saved::SavedStates;

/// How long changes gather when nobody waits for them: folding many at once costs far less.
const GATHER: Duration = Duration::from_millis(100);
/// How much is read and folded at a time.
const PAGE: ReadLimit = ReadLimit { events_max: 1_000, bytes_max: 1024 * 1024 };
/// Runs that are folded at once where reading one means waiting for an answer over a network.
const FOLDS_MAX: usize = 64;
/// Streams listed at a time at the start.
const LIST_PAGE: usize = 16_000;

/// What is before the folder.
#[derive(Clone)]
pub(super) struct Backlog {
    /// Runs that it has not heard of yet.
    waiting: runcast_hub::Backlog,
    /// Runs that it is about to fold, the one it is folding among them.
    taken: Arc<AtomicUsize>,
}

impl Backlog {
    pub(super) fn runs(&self) -> usize {
        self.waiting.runs() + self.taken.load(Ordering::Relaxed)
    }
}

pub(super) struct Folder {
    hub: Hub,
    index: Arc<Mutex<Index>>,
    changes: Changes,
    asked: mpsc::Receiver<oneshot::Sender<()>>,
    taken: Arc<AtomicUsize>,
    /// Told when runs have changed.
    changed: Arc<Notify>,
    saved: Option<SavedStates>,
    /// Runs that are folded at once.
    folds_max: usize,
}

impl Folder {
    pub(super) fn new(
        hub: Hub,
        index: Arc<Mutex<Index>>,
        asked: mpsc::Receiver<oneshot::Sender<()>>,
        changed: Arc<Notify>,
        saved: Option<SavedStates>,
    ) -> Self {
        // Before the streams are listed, so that no change falls between.
        let changes = hub.changes();
        let folds_max = if hub.is_shared() { FOLDS_MAX } else { 1 };
        Self { folds_max, hub, index, changes, asked, taken: Arc::default(), changed, saved }
    }

    pub(super) fn backlog(&self) -> Backlog {
        Backlog { waiting: self.changes.backlog(), taken: Arc::clone(&self.taken) }
    }

    pub(super) async fn run(mut self) {
        if let Err(error) = self.fold_all().await {
            tracing::error!(%error, "the list of runs cannot be read");
            return;
        }
        loop {
            self.changed.notify_one();
            let mut runs = HashSet::new();
            let mut waiting = Vec::new();
            tokio::select! {
                changed = self.changes.next() => runs.extend(changed),
                ask = self.asked.recv() => match ask {
                    Some(ask) => waiting.push(ask),
                    None => return,
                },
            }
            if waiting.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(GATHER) => {}
                    ask = self.asked.recv() => waiting.extend(ask),
                }
            }
            while let Ok(ask) = self.asked.try_recv() {
                waiting.push(ask);
            }
            // Whoever asks was acknowledged before: its change is among these.
            runs.extend(self.changes.next().now_or_never().into_iter().flatten());
            self.taken.fetch_add(runs.len(), Ordering::Relaxed);
            let folder = &self;
            let fold = |run: RunId| async move {
                folder.fold(&run).await;
                folder.taken.fetch_sub(1, Ordering::Relaxed);
                // Reads are answered at once: whoever has a request waits for one run and not for all.
                tokio::task::yield_now().await;
            };
            futures_util::stream::iter(runs).for_each_concurrent(self.folds_max, fold).await;
            for ask in waiting {
                // Who asked may have given up.
                let _ = ask.send(());
            }
        }
    }

    async fn fold_all(&mut self) -> Result<(), ReadError> {
        let mut left = usize::try_from(self.hub.measure_log().streams).unwrap_or(usize::MAX);
        if let Some(saved) = self.saved.clone() {
            let index = Arc::clone(&self.index);
            // A panic was printed when it happened; what was not put in is folded.
            let _printed = tokio::task::spawn_blocking(move || saved.load(&index, left)).await;
        }
        let mut streams = self.hub.list_patiently(None, LIST_PAGE).await?;
        while let Some((last, _)) = streams.last() {
            // Streams come and go meanwhile, so that this is about how many are left.
            self.taken.store(left, Ordering::Relaxed);
            left = left.saturating_sub(streams.len());
            let (index, last) = (Arc::clone(&self.index), last.clone());
            let confirmed = tokio::task::spawn_blocking(move || lock(&index).confirm_all(streams));
            // While they are looked at, the next ones are listed.
            let next = self.hub.list_patiently(Some(&last), LIST_PAGE).await?;
            let unsure = confirmed.await.expect("to look at states does not panic");
            let folder = &*self;
            let fold = |(run, stat): (RunId, StreamStat)| async move {
                let is_confirmed = lock(&folder.index).confirm(&run, &stat);
                if !is_confirmed {
                    folder.fold(&run).await;
                }
            };
            futures_util::stream::iter(unsure).for_each_concurrent(self.folds_max, fold).await;
            streams = next;
        }
        lock(&self.index).remove_doubtful();
        self.taken.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Folds in what is new of a run.
    async fn fold(&self, run: &RunId) {
        loop {
            let (epoch, after) = lock(&self.index).folded(run);
            let mut outcome = self.fold_page(run, epoch, after).await;
            if let Err(error @ ReadError::Damaged { .. }) = outcome {
                outcome = self.pass_over(run, epoch, after, error).await;
            }
            match outcome {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => return,
                Err(ReadError::NotFound | ReadError::Deleted) => {
                    lock(&self.index).remove(run);
                    return;
                }
                Err(error) => {
                    tracing::error!(%run, %error, "the state of a run cannot be made");
                    lock(&self.index).fail(run, error.to_string());
                    return;
                }
            }
        }
    }

    async fn fold_page(
        &self,
        run: &RunId,
        epoch: Epoch,
        after: Offset,
    ) -> Result<Progress, ReadError> {
        let page = match self.hub.read_patiently(run, after, PAGE).await {
            Err(ReadError::Trimmed { first }) => {
                let base = base_of(&self.hub, run).await?;
                if let Some(base) = base.filter(|base| base.offset().next() >= first) {
                    lock(&self.index).begin_with(base, first);
                    return Ok(Progress::More);
                }
                self.hub.read_patiently(run, Offset::new(first.get() - 1), PAGE).await?
            }
            page => page?,
        };
        let mut index = lock(&self.index);
        let is_other_history = page.stat.epoch != epoch || page.stat.last < after;
        if is_other_history && after > Offset::START {
            // The history that was folded is not the stream's any more.
            index.remove(run);
            return Ok(Progress::More);
        }
        let Some(last) = page.records.last().map(|record| record.offset) else {
            return Ok(Progress::Done);
        };
        index.fold(run, &page.records, &page.stat);
        Ok(if last < page.stat.last { Progress::More } else { Progress::Done })
    }

    /// Goes on behind events that cannot be read.
    async fn pass_over(
        &self,
        run: &RunId,
        epoch: Epoch,
        after: Offset,
        error: ReadError,
    ) -> Result<Progress, ReadError> {
        let hole = Hole::found(&self.hub, run, error).await?;
        let mut index = lock(&self.index);
        if after > Offset::START && (hole.stat.epoch != epoch || hole.stat.last < after) {
            index.remove(run);
            return Ok(Progress::More);
        }
        index.miss(run, &hole);
        Ok(if hole.is_last() { Progress::Done } else { Progress::More })
    }
}

enum Progress {
    More,
    Done,
}
