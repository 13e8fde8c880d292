//! What a connection does once its last request is answered, if it is no HTTP connection any more.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::upgrade::OnUpgrade;

/// A place beside each request of a connection, for what the connection becomes: a WebSocket, which
/// goes on in the stream plane and keeps its seat.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<OnUpgrade>>>);

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handover")
    }
}

impl Handover {
    /// Says that the connection is a WebSocket when its request is answered.
    pub(crate) fn set(&self, upgrade: OnUpgrade) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
    }

    pub(super) fn take(&self) -> Option<OnUpgrade> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
