//! The feed: what it says of the runs' events is made outside, kept by the log in one step with them,
//! and followed like any stream, under [`RunId::feed`].

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use runcast_event::RunId;
use runcast_log::{NewEvents, NotAdmitted, Record, StreamStat};

use crate::hub::Hub;

/// Stands before the log: says whether events may be stored where they would stand, and what of them
/// goes into the feed.
///
/// All but [`Self::make_ready`] is called from the log's own writer, in commit order: it must be
/// quick, must never block and must not call the hub.
pub trait Gate: Send + Sync + 'static {
    /// Whether events of the run can be judged now, and probably for some time.
    fn is_ready(&self, run: &RunId) -> bool;

    /// Reads what has to be known of a run before its events can be judged, or its deletion told.
    fn make_ready<'a>(
        &'a self,
        hub: &'a Hub,
        run: &'a RunId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// As [`runcast_log::CommitObserver::admit`].
    ///
    /// # Errors
    /// When one of the events may not stand where it would; or when the run is not known any more, and
    /// has to be made ready again.
    fn admit(&self, events: NewEvents<'_>) -> Result<Vec<Bytes>, NotAdmitted>;

    /// The feed's entry for a deletion that is about to be stored.
    fn deletion(&self, run: &RunId) -> Option<Bytes>;

    /// These events are stored and can be read: those that were admitted, or another node's.
    fn stored(&self, run: &RunId, records: &[Record], stat: &StreamStat);

    /// Nothing of what was admitted of the run since the last that was stored is stored.
    fn undo(&self, run: &RunId);

    /// What is known of the run does not hold any more: it was deleted, or has lost events.
    fn forget(&self, run: &RunId);
}
