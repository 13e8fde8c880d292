//! The feed: what it says of the runs' events is made outside, kept by the log in one step with them,
//! and followed like any stream, under [`RunId::feed`].

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use runcast_event::RunId;
use runcast_log::NewEvents;

use crate::hub::Hub;

/// Makes the entries of the feed.
///
/// All but [`Self::make_ready`] is called from the log's own writer, in commit order: it must be
/// quick, must never block and must not call the hub.
pub trait FeedSource: Send + Sync + 'static {
    /// Whether entries for events of the run can be made now.
    fn is_ready(&self, run: &RunId) -> bool;

    /// Reads what has to be known of a run before entries for its events can be made; for its
    /// deletion, also of one that has ended.
    fn make_ready<'a>(
        &'a self,
        hub: &'a Hub,
        run: &'a RunId,
        is_deletion: bool,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// The entries for events that are about to be stored.
    fn entries(&self, events: NewEvents<'_>) -> Vec<Bytes>;

    /// The entry for a deletion that is about to be stored.
    fn deletion(&self, run: &RunId) -> Option<Bytes>;

    /// What entries were made for since the last call was stored, or was not.
    fn settle(&self, is_stored: bool);
}
