//! A connection to Redis that is made again when it breaks.
//!
//! Owns the checks of a server before anything is asked of it, and in which history of Redis it is: a
//! command goes only to a server whose history is known. Never repeats a command.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, PushInfo, PushKind, Value};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{CallError, OpenError, VERSION_MIN};
use crate::keys::Keys;
use crate::options::RedisOptions;
use crate::script::{Lua, Scripts};

/// How long to wait before the first of several attempts to connect again.
const AGAIN_MIN: Duration = Duration::from_millis(20);
/// The longest time between them.
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// Commands on their way to a connection. Who finds no place waits.
const PIPELINE_MAX: usize = 4_096;
/// What the names of connections begin with, as CLIENT LIST shows them; the node's follows.
pub(crate) const CLIENT_NAME: &str = "runcast:";
/// Seconds from 1970 to 2020.
const SECONDS_TO_2020: u64 = 1_577_836_800;

/// A connection to a server that was found to be fit.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) connection: MultiplexedConnection,
    /// In which history of Redis it is.
    pub(crate) history: u32,
    /// Which of this link's connections it is.
    pub(crate) number: u64,
}

#[derive(Clone)]
enum State {
    Down(String),
    Up(Box<Up>),
}

/// Takes what Redis sends unasked. Called from the connection: it must not block.
pub(crate) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// The connection, for all that share it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    state: watch::Receiver<State>,
    broken: Arc<Broken>,
    scripts: Arc<Scripts>,
    away_max: Duration,
    _keeper: Arc<Keeper>,
}

/// Tells the keeper that a connection is of no use any more.
struct Broken {
    number: std::sync::atomic::AtomicU64,
    told: Notify,
}

impl Broken {
    fn tell(&self, number: u64) {
        self.number.fetch_max(number, std::sync::atomic::Ordering::SeqCst);
        self.told.notify_one();
    }

    async fn wait(&self, number: u64) {
        while self.number.load(std::sync::atomic::Ordering::SeqCst) < number {
            self.told.notified().await;
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

/// What it takes to connect.
struct Dial {
    client: Client,
    options: RedisOptions,
    client_name: String,
    keys: Keys,
    scripts: Arc<Scripts>,
    broken: Arc<Broken>,
    on_push: Option<OnPush>,
    /// The newest history that was seen.
    history: u32,
    number: u64,
}

impl Link {
    /// Connects, and goes on connecting whenever the connection breaks. The connections bear the node's
    /// name.
    pub(crate) async fn open(
        options: &RedisOptions,
        keys: &Keys,
        node: &str,
        on_push: Option<OnPush>,
    ) -> Result<Self, OpenError> {
        let info = options.connection()?;
        let client = Client::open(info).map_err(|error| OpenError::Unusable {
            url: options.shown_url(),
            reason: error.to_string(),
        })?;
        let scripts = Arc::new(Scripts::new());
        let broken = Arc::new(Broken { number: 0.into(), told: Notify::new() });
        let mut dial = Dial {
            client,
            options: options.clone(),
            client_name: format!("{CLIENT_NAME}{node}"),
            keys: keys.clone(),
            scripts: Arc::clone(&scripts),
            broken: Arc::clone(&broken),
            on_push,
            history: 0,
            number: 0,
        };
        let up = dial.connect().await?;
        let (tell, state) = watch::channel(State::Up(Box::new(up)));
        let keeper = tokio::spawn(keep(dial, tell));
        let away_max = options.away_max;
        let keeper = Arc::new(Keeper(keeper.abort_handle()));
        Ok(Self { state, broken, scripts, away_max, _keeper: keeper })
    }

    pub(crate) fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    /// When a call that begins now gives up waiting for a Redis that is away.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.away_max
    }

    /// The connection, once there is one.
    pub(crate) async fn up(&self, deadline: Instant) -> Result<Up, CallError> {
        let mut state = self.state.clone();
        let is_up = |state: &State| matches!(state, State::Up(_));
        let found = match timeout_at(deadline, state.wait_for(is_up)).await {
            Ok(Ok(found)) => found.clone(),
            _ => self.state.borrow().clone(),
        };
        match found {
            State::Up(up) => Ok(*up),
            State::Down(reason) => Err(CallError::Away(reason)),
        }
    }

    /// Waits until there is another connection than that with this number.
    pub(crate) async fn next(&self, number: u64) -> Option<Up> {
        let mut state = self.state.clone();
        let is_next = |state: &State| matches!(state, State::Up(up) if up.number > number);
        match state.wait_for(is_next).await.ok()?.clone() {
            State::Up(up) => Some(*up),
            State::Down(_) => None,
        }
    }

    /// The connection, if there is one now.
    pub(crate) fn current(&self) -> Option<Up> {
        match &*self.state.borrow() {
            State::Up(up) => Some((**up).clone()),
            State::Down(_) => None,
        }
    }

    /// Has messages of these channels come.
    pub(crate) async fn subscribe(&self, up: &Up, channels: &[String]) -> Result<(), CallError> {
        let subscribed = up.connection.clone().subscribe(channels).await;
        subscribed.map_err(|error| {
            // Whatever it was, the channels are asked for again on another connection.
            self.broken.tell(up.number);
            error.into()
        })
    }

    /// Has no more messages of these channels come. If it fails, they are not heeded.
    pub(crate) async fn unsubscribe(&self, up: &Up, channels: &[String]) {
        if let Err(error) = up.connection.clone().unsubscribe(channels).await {
            self.lost(up, error.into());
        }
    }

    /// Whether there is a connection; why not.
    pub(crate) fn health(&self) -> Result<(), String> {
        match &*self.state.borrow() {
            State::Up(_) => Ok(()),
            State::Down(reason) => Err(reason.clone()),
        }
    }

    /// Asks on a connection.
    pub(crate) async fn ask(&self, up: &Up, cmd: &Cmd) -> Result<Value, CallError> {
        let mut connection = up.connection.clone();
        let answer = match connection.req_packed_command(cmd).await {
            Ok(answer) => answer.extract_error(),
            Err(error) => Err(error),
        };
        answer.map_err(|error| self.lost(up, error.into()))
    }

    /// Asks several things at once: as one if the pipeline is atomic.
    pub(crate) async fn ask_all(
        &self,
        up: &Up,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, CallError> {
        let mut connection = up.connection.clone();
        let answer: redis::RedisResult<Value> = pipeline.query_async(&mut connection).await;
        match answer {
            Ok(Value::Array(values)) => Ok(values),
            Ok(other) => Err(CallError::Garbled(format!("no list of answers came: {other:?}"))),
            Err(error) => Err(self.lost(up, error.into())),
        }
    }

    /// Calls a script.
    pub(crate) async fn call(
        &self,
        up: &Up,
        script: &Lua,
        keys: &[String],
        add: impl Fn(&mut Cmd),
    ) -> Result<Value, CallError> {
        let mut cmd = script.call(keys);
        add(&mut cmd);
        match self.ask(up, &cmd).await {
            Err(CallError::NoScript) => {
                let mut cmd = script.call_in_full(keys);
                add(&mut cmd);
                self.ask(up, &cmd).await
            }
            answer => answer,
        }
    }

    /// A connection whose answer did not come is given up: another command's would not come either.
    fn lost(&self, up: &Up, error: CallError) -> CallError {
        if matches!(error, CallError::Lost(_)) {
            self.broken.tell(up.number);
        }
        error
    }
}

/// Keeps a connection until nobody wants it.
async fn keep(mut dial: Dial, state: watch::Sender<State>) {
    loop {
        dial.broken.wait(dial.number).await;
        let mut again = AGAIN_MIN;
        let mut reason = "the connection to Redis is being made again".to_owned();
        let up = loop {
            state.send_replace(State::Down(reason));
            match dial.connect().await {
                Ok(up) => break up,
                Err(error) => reason = error.to_string(),
            }
            if again >= AGAIN_MAX {
                tracing::warn!(reason, "Redis is away");
            }
            sleep(again + again.mul_f64(f64::from(std::process::id() % 8) / 16.0)).await;
            again = (again * 2).min(AGAIN_MAX);
        };
        state.send_replace(State::Up(Box::new(up)));
    }
}

impl Dial {
    async fn connect(&mut self) -> Result<Up, OpenError> {
        self.number += 1;
        let (number, broken) = (self.number, Arc::clone(&self.broken));
        let on_push = self.on_push.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.command_timeout))
            .set_pipeline_buffer_size(PIPELINE_MAX)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    broken.tell(number);
                } else if let Some(on_push) = &on_push {
                    on_push(push);
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(|error| self.unusable(&error.to_string()))?;
        let mut naming = redis::cmd("CLIENT");
        // Only so that it can be recognised.
        let _unnamed =
            naming.arg("SETNAME").arg(&self.client_name).exec_async(&mut connection).await;
        let server = self.info(&mut connection, "server").await?;
        let memory = self.info(&mut connection, "memory").await?;
        let replication = self.info(&mut connection, "replication").await?;
        let run_id = self.check(&server, &memory, &replication)?;
        let history = self.find_history(&mut connection, &run_id).await?;
        if history != self.history && self.history != 0 {
            tracing::warn!(
                history,
                "another Redis process answers: it may lack what the last one had"
            );
        }
        self.history = history;
        Ok(Up { connection, history, number })
    }

    fn unusable(&self, reason: &str) -> OpenError {
        OpenError::Unusable { url: self.options.shown_url(), reason: reason.to_owned() }
    }

    async fn info(
        &self,
        connection: &mut MultiplexedConnection,
        section: &str,
    ) -> Result<String, OpenError> {
        let info = redis::cmd("INFO").arg(section).query_async::<String>(connection).await;
        info.map_err(|error| self.unusable(&error.to_string()))
    }

    /// Whether the server can be used; its run id.
    fn check(&self, server: &str, memory: &str, replication: &str) -> Result<String, OpenError> {
        let url = self.options.shown_url();
        let version = field(server, "redis_version").unwrap_or("unknown");
        if numbers(version) < numbers(VERSION_MIN) {
            return Err(OpenError::TooOld { url, version: version.to_owned() });
        }
        let policy = field(memory, "maxmemory_policy").unwrap_or("noeviction");
        // No key of ours ever has a time to live, so that a policy of those does not concern it.
        if policy.starts_with("allkeys") {
            return Err(OpenError::Evicts { url, policy: policy.to_owned() });
        }
        if field(replication, "role") == Some("slave") {
            return Err(self.unusable("it is a replica; name its primary"));
        }
        let run_id = field(server, "run_id").filter(|id| !id.is_empty());
        run_id.map(str::to_owned).ok_or_else(|| self.unusable("it does not say its run_id"))
    }

    async fn find_history(
        &self,
        connection: &mut MultiplexedConnection,
        run_id: &str,
    ) -> Result<u32, OpenError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = now.as_secs().saturating_sub(SECONDS_TO_2020);
        let mut cmd = self.scripts.history.call_in_full(&[self.keys.history()]);
        cmd.arg(run_id).arg(now).arg(self.history);
        let history = cmd.query_async::<u32>(connection).await;
        history.map_err(|error| self.unusable(&error.to_string()))
    }
}

/// A field of what INFO says.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// A version's first two numbers.
pub(crate) fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(numbers("7.0.15") > numbers(VERSION_MIN));
        assert!(numbers("6.2.0") >= numbers(VERSION_MIN));
        assert!(numbers("6.0.20") < numbers(VERSION_MIN));
        assert!(numbers("10.1") > numbers(VERSION_MIN));
    }

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n";
        assert_eq!(field(info, "run_id"), Some("abc"));
        assert_eq!(field(info, "run"), None);
    }
}
