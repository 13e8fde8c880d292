//! The state of every run and the index of all runs, folded from the streams.
//!
//! Owns the run states, which can be made again from the log at any time. One task folds; it reads
//! the streams through the hub like any other reader. Readers who need what was acknowledged before
//! they asked wait until it is folded in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runcast_event::{Offset, RunId, Timestamp};
use runcast_hub::Hub;
use runcast_log::StreamStat;
use runcast_run::{Definition, Due, RunSnapshot, RunState};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::problem::{Code, Problem};
use crate::retention::RetentionPolicy;

mod agenda;
mod due;
mod fold;
mod hole;
mod index;
mod questions;
mod refold;
mod saved;

pub(crate) use agenda::{Act, Look, Seen, with_slack};
pub(crate) use due::Listening;
use fold::{Backlog, Folder};
use index::{Counted, Index};
pub(crate) use index::{Filter, Listed, Place, Statuses};
pub(crate) use questions::{Question, QuestionPlace};
pub(crate) use refold::to_the_end;
pub(crate) use saved::SavedStates;

/// Readers that wait for the fold at once; more wait to be heard.
const WAITING_MAX: usize = 1_024;
/// Runs looked at in one go while a list is made, so that it holds up nobody.
const LIST_STEP: usize = 10_000;

/// The run states. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Projection {
    hub: Hub,
    index: Arc<Mutex<Index>>,
    due_changed: Arc<Notify>,
    retention_changed: Arc<Notify>,
    asks: mpsc::Sender<oneshot::Sender<()>>,
    wait: Duration,
    backlog: Backlog,
    saved: Option<SavedStates>,
}

impl Projection {
    /// Begins to fold all streams of the hub, in a task that ends with the last projection.
    ///
    /// With `saved`, from where they were saved.
    pub(crate) fn start(
        hub: Hub,
        wait: Duration,
        listening: Listening,
        policy: RetentionPolicy,
        saved: Option<SavedStates>,
    ) -> Self {
        let (due_changed, retention_changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let index = Index::new(listening, Arc::clone(&due_changed), policy);
        let index = Arc::new(Mutex::new(index));
        // Never freed: it is needed until the process ends, which gives all memory back at once;
        // a million states one by one would hold that up by a second.
        std::mem::forget(Arc::clone(&index));
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        let folder = Folder::new(
            hub.clone(),
            Arc::clone(&index),
            asked,
            Arc::clone(&retention_changed),
            saved.clone(),
        );
        let backlog = folder.backlog();
        tokio::spawn(folder.run());
        Self { hub, index, due_changed, retention_changed, asks, wait, backlog, saved }
    }

    /// Saves the states again and again, until it is dropped; ends at once if they are not to be saved.
    pub(crate) fn keep_saved(&self) -> impl Future<Output = ()> + use<> {
        let (saved, index) = (self.saved.clone(), Arc::clone(&self.index));
        async move {
            if let Some(saved) = saved {
                saved.keep(index).await;
            }
        }
    }

    /// Saves the states if they are to be saved and much has changed since.
    pub(crate) async fn save(&self) {
        let Some(saved) = self.saved.clone() else { return };
        saved.save_beside(Arc::clone(&self.index)).await;
    }

    /// Runs by their status, in the order of [`Status::ALL`].
    pub(crate) fn statuses(&self) -> Statuses {
        self.index().statuses()
    }

    /// Runs with events that are not folded in.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.runs()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// The states as far as they are folded, without the task that folds them.
    pub(crate) fn states(&self) -> States {
        States(Arc::clone(&self.index))
    }

    /// The state of a run whose stream stands like this, or a newer one. None when the run was
    /// deleted in the meantime.
    pub(crate) async fn snapshot(
        &self,
        run: &RunId,
        stat: &StreamStat,
    ) -> Result<Option<RunSnapshot>, Problem> {
        self.look(run, stat, |state| state.snapshot(stat.first)).await
    }

    /// Looks at the whole state of a run whose stream stands like this, or newer. None when the run was
    /// deleted in the meantime.
    pub(crate) async fn look<T>(
        &self,
        run: &RunId,
        stat: &StreamStat,
        look: impl Fn(&RunState) -> T,
    ) -> Result<Option<T>, Problem> {
        let look_if_whole = |state: &RunState| state.is_whole().then(|| look(state));
        match self.at_least(run, stat, look_if_whole).await? {
            None => Ok(None),
            Some(Some(found)) => Ok(Some(found)),
            // It has ended, and what it did was let go.
            Some(None) => {
                let state = to_the_end(&self.hub, RunState::new(run.clone())).await?;
                Ok(Some(look(&self.index().restore(state))))
            }
        }
    }

    /// What the run was made as.
    pub(crate) async fn definition(
        &self,
        run: &RunId,
        stat: &StreamStat,
    ) -> Result<Option<Definition>, Problem> {
        self.at_least(run, stat, |state| state.definition().clone()).await
    }

    async fn at_least<T>(
        &self,
        run: &RunId,
        stat: &StreamStat,
        look: impl Fn(&RunState) -> T,
    ) -> Result<Option<T>, Problem> {
        if let Some(found) = self.index().state_at(run, stat).map(&look) {
            return Ok(Some(found));
        }
        if self.hub.is_shared() {
            // What another server stored a moment ago may not have been heard of here.
            self.hub.notice(run);
        }
        self.caught_up().await?;
        let index = self.index();
        if let Some(reason) = index.failure(run) {
            let detail = format!("the state of the run cannot be made: {reason}");
            return Err(Problem::new(Code::Internal, detail));
        }
        Ok(index.state(run).map(look))
    }

    /// The newest runs that pass the filter, from `from` on. At most `limit`.
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        from: Option<Place>,
        limit: usize,
    ) -> Result<Listed, Problem> {
        self.caught_up().await?;
        let mut listed = Listed::begin(from);
        while !self.index().list_more(filter, limit, LIST_STEP, &mut listed) {
            tokio::task::yield_now().await;
        }
        Ok(listed)
    }

    /// How many runs pass the filter, by their status; whichever it wants.
    pub(crate) async fn count(&self, filter: &Filter) -> Result<Statuses, Problem> {
        self.caught_up().await?;
        let mut counted = Counted::default();
        while !self.index().count_more(filter, LIST_STEP, &mut counted) {
            tokio::task::yield_now().await;
        }
        Ok(counted.statuses)
    }

    /// The open inputs of the runs that pass the filter, the one asked first at the top, from behind
    /// `from` on; and where the next list begins.
    pub(crate) async fn questions(
        &self,
        filter: &Filter,
        from: Option<QuestionPlace>,
        limit: usize,
    ) -> Result<(Vec<Question>, Option<QuestionPlace>), Problem> {
        self.caught_up().await?;
        Ok(self.index().questions(filter, from.as_ref(), limit))
    }

    /// What is due first: when, and for which run.
    pub(crate) fn next_due(&self) -> Option<(Timestamp, RunId)> {
        self.index().next_due()
    }

    /// Waits until something else may be due first.
    pub(crate) async fn due_changed(&self) {
        self.due_changed.notified().await;
    }

    /// Takes a run from those for which something is due, and gives what that is by now. What is due
    /// later is put back.
    pub(crate) fn take_due(&self, run: &RunId, now: Timestamp) -> Option<(Offset, Due)> {
        self.index().take_due(run, now)
    }

    /// Looks again at a run at that time.
    pub(crate) fn look_again(&self, run: &RunId, at: Timestamp) {
        self.index().look_again(run, at);
    }

    /// When retention has to look at the first run.
    pub(crate) fn next_look(&self) -> Option<Timestamp> {
        self.index().next_look()
    }

    /// Waits until that may be another time: runs have changed.
    pub(crate) async fn retention_changed(&self) {
        self.retention_changed.notified().await;
    }

    /// Takes at most `max` runs from those that retention has to look at by now.
    pub(crate) fn take_looks(&self, now: Timestamp, max: usize) -> Vec<Look> {
        self.index().take_looks(now, max)
    }

    /// Retention has looked at a run, and does not look again before that time.
    pub(crate) fn looked_at(&self, run: &RunId, seen: Seen, not_before: Timestamp) {
        self.index().looked_at(run, seen, not_before);
    }

    /// A run could not be deleted, and is to be looked at again at that time.
    pub(crate) fn look_again_at(&self, run: &RunId, at: Timestamp) {
        self.index().set_look(run, Some(at));
    }

    /// Waits until everything that was acknowledged before the call is folded in.
    async fn caught_up(&self) -> Result<(), Problem> {
        let folded = async {
            let (tell, told) = oneshot::channel();
            self.asks.send(tell).await.ok()?;
            told.await.ok()
        };
        match tokio::time::timeout(self.wait, folded).await {
            Ok(Some(())) => Ok(()),
            Ok(None) | Err(_) => {
                let runs = self.index().len();
                let detail = format!(
                    "the runs are still being read from the log ({runs} so far); try again soon"
                );
                Err(Problem::new(Code::StateBehind, detail))
            }
        }
    }
}

/// Run states as they are at the moment, which may be behind the log.
pub(crate) struct States(Arc<Mutex<Index>>);

impl States {
    pub(crate) fn get(&self, run: &RunId) -> Option<RunState> {
        lock(&self.0).state(run).cloned()
    }

    /// Whether the log may store the deltas of a run merged that stands like this: it has ended, and its
    /// class asks for it.
    pub(crate) fn merges(&self, run: &RunId, stat: &StreamStat) -> bool {
        lock(&self.0).merges(run, stat)
    }
}

/// A fold is never left half done, so that a panic elsewhere leaves the index whole.
fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}
