//! What stands behind the log in a simulation: which events are told to the feed, which are refused.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use runcast_event::RunId;
use runcast_log::{CommitObserver, Committed, NewEvents, NotAdmitted, Refusal};

/// Counts the commits that it is told of.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    commits: AtomicU64,
}

impl Observer {
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }
}

/// Events that begin so are in the feed.
pub(crate) const LIFE: &[u8] = b"life";
/// Events that begin so are refused.
pub(crate) const REFUSED: &[u8] = b"no";

pub(crate) fn is_life(event: &Bytes) -> bool {
    event.starts_with(LIFE)
}

pub(crate) fn is_refused(event: &Bytes) -> bool {
    event.starts_with(REFUSED)
}

pub(crate) fn refusal(event: usize) -> Refusal {
    let detail = "it begins with no".to_owned();
    Refusal { event, code: "no", detail, state: None, allowed: Vec::new() }
}

pub(crate) fn entry(run: &RunId, begins: bool, epoch: u32, offset: u64) -> Bytes {
    let begins = if begins { " begins" } else { "" };
    format!("{run}{begins} {epoch}.{offset}").into()
}

pub(crate) fn deletion(run: &RunId) -> Option<Bytes> {
    run.as_str().starts_with("told").then(|| format!("{run} deleted").into())
}

impl CommitObserver for Observer {
    fn committed(&self, _changes: Vec<Committed>) {
        self.commits.fetch_add(1, Ordering::SeqCst);
    }

    fn admit(&self, events: NewEvents<'_>) -> Result<Vec<Bytes>, NotAdmitted> {
        let NewEvents { run, epoch, begins, records, .. } = events;
        if let Some(at) = records.iter().position(|record| is_refused(&record.payload)) {
            return Err(refusal(at).into());
        }
        let wanted = records.iter().filter(|record| is_life(&record.payload));
        Ok(wanted.map(|record| entry(run, begins, epoch.get(), record.offset.get())).collect())
    }

    fn feed_deletion(&self, run: &RunId) -> Option<Bytes> {
        deletion(run)
    }
}
