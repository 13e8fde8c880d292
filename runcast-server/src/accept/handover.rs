//! What a connection does once its last request is answered, if it is no HTTP connection any more.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

type Next = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A place beside each request of a connection, for what the connection becomes. It goes on in the
/// connection's own task and keeps its seat.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<Next>>>);

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handover")
    }
}

impl Handover {
    /// Says what the connection does next.
    pub(crate) fn set(&self, next: impl Future<Output = ()> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(next));
    }

    pub(super) fn take(&self) -> Option<Next> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
