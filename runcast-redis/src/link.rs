//! A connection to one server that is made again when it breaks.
//!
//! A command goes only to a server whose history is known, and only while it is a primary. Never repeats a
//! command.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Pipeline, PushInfo, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::dial::Dial;
use crate::error::{CallError, OpenError, is_demoted};
use crate::fit::is_replica;
use crate::history::Histories;
use crate::slots::Slot;

/// How long to wait before the first of several attempts to connect again.
const AGAIN_MIN: Duration = Duration::from_millis(20);
/// The longest time between them.
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// A connection that lived so long was a good one.
const GOOD: Duration = Duration::from_secs(1);

/// A connection to a server that was found to be fit.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) connection: MultiplexedConnection,
    /// Which connection it is.
    pub(crate) number: u64,
    /// Which process answers there.
    pub(crate) server: Arc<str>,
    /// In which history of Redis the slot is that it was asked for.
    pub(crate) history: u32,
    pub(crate) histories: Arc<Histories>,
    /// Until then it is only given what it lacks of what another server had.
    pub(crate) settles_at: Instant,
    pub(crate) broken: Arc<Broken>,
}

impl Up {
    /// As it is for a slot.
    pub(crate) fn of(self, slot: Slot) -> Self {
        Self { history: self.histories.get(slot), ..self }
    }

    /// Asks several things at once. Each may be refused for itself.
    pub(crate) async fn send(
        &self,
        pipeline: &Pipeline,
    ) -> Result<Vec<Result<Value, CallError>>, CallError> {
        let mut connection = self.connection.clone();
        let answers = connection.req_packed_commands(pipeline, 0, pipeline.len()).await;
        let answers = answers.map_err(|error| self.lost(error))?;
        let took = |answer: Value| answer.extract_error().map_err(|error| self.lost(error));
        Ok(answers.into_iter().map(took).collect())
    }

    /// Has messages of these channels come.
    pub(crate) async fn subscribe(&self, channels: &[String], sharded: bool) -> bool {
        let mut connection = self.connection.clone();
        let subscribed = match sharded {
            false => connection.subscribe(channels).await.map_err(CallError::from),
            true => self.send(&each("SSUBSCRIBE", channels)).await.and_then(|answers| {
                self.broken.stay(channels);
                answers.into_iter().try_for_each(|answer| answer.map(drop))
            }),
        };
        if let Err(error) = &subscribed {
            tracing::debug!(%error, "it is subscribed to on another connection");
            self.broken.tell(self.number);
        }
        subscribed.is_ok()
    }

    /// Has no more messages of these channels come. If it fails, they are not heeded.
    pub(crate) async fn unsubscribe(&self, channels: &[String], sharded: bool) {
        let mut connection = self.connection.clone();
        if sharded {
            self.broken.leave(channels);
            drop(self.send(&each("SUNSUBSCRIBE", channels)).await);
        } else if let Err(error) = connection.unsubscribe(channels).await {
            self.lost(error);
        }
    }

    /// A connection whose answer did not come is given up: another command's would not come either. So is
    /// one to a server that is no primary any more.
    fn lost(&self, error: RedisError) -> CallError {
        let is_demoted = is_demoted(&error);
        let error = CallError::from(error);
        if is_demoted || matches!(error, CallError::Lost(_)) {
            self.broken.tell(self.number);
        }
        error
    }

    async fn is_still_primary(&self) -> bool {
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO").arg("replication");
        let Ok(mut answers) = self.send(&pipeline).await else { return true };
        let info = answers.pop().and_then(Result::ok).map(redis::from_redis_value::<String>);
        !matches!(info, Some(Ok(info)) if is_replica(&info))
    }
}

/// A command for each channel: they may be in different slots.
fn each(command: &str, channels: &[String]) -> Pipeline {
    let mut pipeline = redis::pipe();
    for channel in channels {
        pipeline.cmd(command).arg(channel);
    }
    pipeline
}

#[derive(Clone)]
enum State {
    Down(String),
    Up(Box<Up>),
}

/// The connection, for all that share it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    state: watch::Receiver<State>,
    _keeper: Arc<Keeper>,
}

/// Tells the keeper that a connection is of no use any more.
pub(crate) struct Broken {
    number: AtomicU64,
    told: Notify,
    /// Channels that are being left.
    leaving: Mutex<HashSet<Vec<u8>>>,
}

impl Broken {
    pub(crate) fn new() -> Self {
        Self { number: 0.into(), told: Notify::new(), leaving: Mutex::default() }
    }

    pub(crate) fn tell(&self, number: u64) {
        self.number.fetch_max(number, Ordering::SeqCst);
        self.told.notify_one();
    }

    fn is_told(&self, number: u64) -> bool {
        self.number.load(Ordering::SeqCst) >= number
    }

    async fn wait(&self, number: u64) {
        while !self.is_told(number) {
            self.told.notified().await;
        }
    }

    fn leaving(&self) -> std::sync::MutexGuard<'_, HashSet<Vec<u8>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, channels: &[String]) {
        self.leaving().extend(channels.iter().map(|channel| channel.clone().into_bytes()));
    }

    fn stay(&self, channels: &[String]) {
        let mut leaving = self.leaving();
        for channel in channels {
            leaving.remove(channel.as_bytes());
        }
    }

    /// Nothing is being left on a connection that is new.
    pub(crate) fn begin(&self) {
        self.leaving().clear();
    }

    /// Whether a channel was left because it was asked to be, and not because its slot is elsewhere.
    pub(crate) fn is_leaving(&self, push: &PushInfo) -> bool {
        match push.data.first() {
            Some(Value::BulkString(channel)) => self.leaving().remove(channel),
            _ => false,
        }
    }
}

/// Ends the task that keeps the connection, with the last that uses it.
struct Keeper(AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects, and goes on connecting whenever the connection breaks.
    pub(crate) async fn open(mut dial: Dial) -> Result<Self, OpenError> {
        let up = dial.connect().await?;
        Ok(Self::kept(dial, State::Up(Box::new(up))))
    }

    /// Begins to connect.
    pub(crate) fn begin(dial: Dial) -> Self {
        let reason = format!("the Redis at {} is being connected to", dial.shown());
        Self::kept(dial, State::Down(reason))
    }

    fn kept(dial: Dial, first: State) -> Self {
        let (tell, state) = watch::channel(first);
        let keeper = tokio::spawn(keep(dial, tell));
        Self { state, _keeper: Arc::new(Keeper(keeper.abort_handle())) }
    }

    /// The connection, if there is one now.
    pub(crate) fn current(&self) -> Option<Up> {
        match &*self.state.borrow() {
            // The keeper may not have heard yet that it broke.
            State::Up(up) if !up.broken.is_told(up.number) => Some((**up).clone()),
            _ => None,
        }
    }

    /// Whether there is a connection; why not.
    pub(crate) fn health(&self) -> Result<(), String> {
        match &*self.state.borrow() {
            State::Up(_) => Ok(()),
            State::Down(reason) => Err(reason.clone()),
        }
    }
}

/// Keeps a connection until nobody wants it.
async fn keep(mut dial: Dial, state: watch::Sender<State>) {
    let changes = Arc::clone(&dial.common.changes);
    let tell = |new: State| {
        state.send_replace(new);
        changes.send_modify(|changes| *changes += 1);
    };
    let mut again = AGAIN_MIN;
    let first = match &*state.borrow() {
        State::Up(up) => Some((**up).clone()),
        State::Down(_) => None,
    };
    if let Some(up) = first {
        until_broken(&dial, &up).await;
    }
    loop {
        tell(State::Down(format!("the Redis at {} is being connected to again", dial.shown())));
        let up = loop {
            match dial.connect().await {
                Ok(up) => break up,
                Err(error) => {
                    if again >= AGAIN_MAX {
                        tracing::warn!(%error, "Redis is away");
                    }
                    tell(State::Down(error.to_string()));
                }
            }
            sleep(again + again.mul_f64(f64::from(std::process::id() % 8) / 16.0)).await;
            again = (again * 2).min(AGAIN_MAX);
        };
        let since = Instant::now();
        tell(State::Up(Box::new(up.clone())));
        until_broken(&dial, &up).await;
        if since.elapsed() > GOOD {
            again = AGAIN_MIN;
        } else {
            // Whoever has it break at once is not asked all the time.
            tell(State::Down("the connection to Redis did not last".to_owned()));
            sleep(again).await;
            again = (again * 2).min(AGAIN_MAX);
        }
    }
}

/// Waits until a connection is of no use any more: it broke, or leads to what is no primary now.
async fn until_broken(dial: &Dial, up: &Up) {
    let look = async {
        loop {
            sleep(dial.common.options.check_every).await;
            if !up.is_still_primary().await {
                tracing::warn!(at = dial.shown(), "this Redis is no primary any more");
                return;
            }
        }
    };
    tokio::select! {
        () = dial.broken.wait(up.number) => {}
        () = look => {}
    }
}
