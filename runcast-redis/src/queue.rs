//! The way to the node: everything that waits for it, bounded.
//!
//! Who finds no place waits outside, in the order in which they came, and holds nothing here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runcast_event::{Epoch, RunId};
use runcast_log::{Append, AppendError, Appended, DeleteError, Trim};
use tokio::sync::{Mutex as Turn, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::unconstrained;

use crate::options::RedisOptions;

/// The queue has at most this many bytes whatever the options say.
const BYTES_CEILING: usize = 1024 * 1024 * 1024;
/// Room is counted in so many bytes.
const UNIT: usize = 64;

/// Something for the node to do, and where the answer goes. The answer may be unwanted.
#[derive(Debug)]
pub(crate) enum Request {
    Append { append: Append, answer: oneshot::Sender<Result<Appended, AppendError>> },
    Delete { run: RunId, epoch: Option<Epoch>, answer: oneshot::Sender<Result<bool, DeleteError>> },
    Trim { run: RunId, trim: Trim, answer: oneshot::Sender<Result<bool, DeleteError>> },
}

impl Request {
    pub(crate) fn run(&self) -> &RunId {
        match self {
            Self::Append { append, .. } => &append.run,
            Self::Delete { run, .. } | Self::Trim { run, .. } => run,
        }
    }

    /// Answers that it was not done.
    pub(crate) fn refuse(self, append: AppendError, change: DeleteError) {
        match self {
            Self::Append { answer, .. } => drop(answer.send(Err(append))),
            Self::Delete { answer, .. } | Self::Trim { answer, .. } => {
                drop(answer.send(Err(change)));
            }
        }
    }
}

/// A request and its room in the queue, which is given back when it is answered.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) request: Request,
    pub(crate) _room: OwnedSemaphorePermit,
}

/// What the node is told.
#[derive(Debug)]
pub(crate) enum Told {
    Queued(Queued),
    /// To finish what it was told before, and to end.
    Close,
}

/// The node takes nothing any more.
#[derive(Debug)]
pub(crate) struct Closed;

#[derive(Debug)]
pub(crate) struct Queue {
    node: mpsc::UnboundedSender<Told>,
    room: Arc<Semaphore>,
    /// Those who found no place. While there are any, nobody goes past them.
    in_line: AtomicUsize,
    /// The first of them has it.
    turn: Turn<()>,
    units_max: usize,
    place_units: usize,
}

impl Queue {
    pub(crate) fn new(options: &RedisOptions) -> (Self, mpsc::UnboundedReceiver<Told>) {
        let (node, told) = mpsc::unbounded_channel();
        let units_max = (options.queue_bytes_max.min(BYTES_CEILING) / UNIT).max(1);
        let queue = Self {
            node,
            room: Arc::new(Semaphore::new(units_max)),
            in_line: AtomicUsize::new(0),
            turn: Turn::new(()),
            units_max,
            place_units: (units_max / options.queue_appends_max.max(1)).max(1),
        };
        (queue, told)
    }

    /// The most bytes that one append can have.
    pub(crate) fn append_bytes_max(&self) -> usize {
        self.units_max.saturating_sub(self.place_units) * UNIT
    }

    /// Requests that wait or are being done, about.
    pub(crate) fn waiting(&self) -> u64 {
        ((self.units_max - self.room.available_permits()) / self.place_units) as u64
    }

    /// Puts a request in when there is a place for it: requests in the order in which they were begun to
    /// be put in. `bytes` is at most [`Self::append_bytes_max`].
    pub(crate) async fn push(&self, request: Request, bytes: usize) -> Result<(), Closed> {
        let units = self.place_units + bytes / UNIT;
        let units = u32::try_from(units.min(self.units_max)).unwrap_or(u32::MAX);
        if self.in_line.load(Ordering::Acquire) == 0
            && let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(units)
        {
            return self.put(request, room);
        }
        let _in_line = InLine::join(&self.in_line);
        // With a permit alone the one behind could be scheduled before.
        let _turn = unconstrained(self.turn.lock()).await;
        let room = unconstrained(Arc::clone(&self.room).acquire_many_owned(units)).await;
        self.put(request, room.map_err(|_| Closed)?)
    }

    fn put(&self, request: Request, _room: OwnedSemaphorePermit) -> Result<(), Closed> {
        self.node.send(Told::Queued(Queued { request, _room })).map_err(|_| Closed)
    }

    /// Has the node end when it has done what it was told before.
    pub(crate) fn close(&self) {
        // It may have ended already.
        drop(self.node.send(Told::Close));
    }
}

struct InLine<'a>(&'a AtomicUsize);

impl<'a> InLine<'a> {
    fn join(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
