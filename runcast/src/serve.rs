//! `runcast serve`: the server, in development mode.
//!
//! Only reads the command line and the configuration file, and tells a person what became of it. SIGTERM and SIGINT end it in
//! good order; a second one at once.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use runcast_server::{
    BindError, Durability, EmbeddedOptions, HttpConfig, HubConfig, Origin, RedisOptions,
    RetentionPolicy, ServerConfig, StartError, Store,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::file::ConfigFile;
use crate::palette::Palette;
use crate::report::{UsageError, note};

mod file;
pub(crate) mod redis;
mod settings;

/// Start a server
///
/// In development mode: it takes connections from this machine only, and asks nobody who they are.
/// Events are kept in the data directory, which one server at a time can have, or in Redis, which any
/// number of servers can share.
#[derive(Debug, Default, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  runcast serve
  runcast serve --listen 127.0.0.1:8080 --data /var/lib/runcast
  runcast serve --durability relaxed --sync-every-ms 50
  runcast serve --redis redis://127.0.0.1:6379
  runcast serve --config runcast.toml --set stalled_s=10
  RUNCAST_LOG=info runcast serve

The settings of --set and of the configuration file are in docs/configuration.md.
SIGTERM and SIGINT (Ctrl-C) finish what is under way; a second one does not wait for it."
)]
pub(crate) struct Args {
    /// A file in TOML with any of these options and settings; what is said here goes before it
    #[arg(long, env = "RUNCAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:7070]
    #[arg(long, env = "RUNCAST_LISTEN", value_name = "ADDRESS:PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Where events are kept; made if it does not exist [default: ./runcast-data]
    #[arg(long, env = "RUNCAST_DATA", value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// The Redis where events are kept instead, for several servers to share; rediss:// is TLS, any node
    /// of a Cluster will do, redis-sentinel://host,host/name asks sentinels. Without this and --data,
    /// REDIS_URL, or REDIS_HOST with REDIS_PORT, or REDIS_SENTINELS with REDIS_SENTINEL_MASTER; both with
    /// REDIS_USER, REDIS_PASSWORD, REDIS_DB and REDIS_TLS
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    redis: Option<String>,
    /// How many replicas of Redis must have an event before it is acknowledged [default: 0]
    #[arg(long, env = "RUNCAST_REDIS_WAIT", value_name = "REPLICAS")]
    redis_wait: Option<u32>,
    /// A file of certificates, in PEM, of who may have signed those of Redis [default: the system's]
    #[arg(long, env = "RUNCAST_REDIS_CA_FILE", value_name = "FILE")]
    redis_ca_file: Option<PathBuf>,
    /// sync acknowledges events when they are on the disk, relaxed when the system has them
    /// [default: sync]
    #[arg(long, env = "RUNCAST_DURABILITY")]
    durability: Option<DurabilityChoice>,
    /// With relaxed durability, how much a crash of the machine can lose at most [default: 100]
    #[arg(long, env = "RUNCAST_SYNC_EVERY_MS", value_name = "MS")]
    sync_every_ms: Option<u64>,
    /// A web page's origin that may use the server, such as https://example.com; may be repeated
    #[arg(long, env = "RUNCAST_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    allow_origin: Vec<Origin>,
    /// A host name of this server, beside localhost; may be repeated
    #[arg(long, env = "RUNCAST_ALLOW_HOST", value_name = "HOST", value_delimiter = ',')]
    allow_host: Vec<String>,
    /// A bound or a time of the server, such as stalled_s=10; may be repeated
    #[arg(long, env = "RUNCAST_SET", value_name = "NAME=VALUE", value_delimiter = ',', value_parser = assignment)]
    set: Vec<(String, f64)>,
    /// What is logged on stderr: a level, or levels of parts, such as warn,runcast_server=debug
    /// [default: warn]
    #[arg(long, env = "RUNCAST_LOG", value_name = "LEVELS")]
    log: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum DurabilityChoice {
    Sync,
    Relaxed,
}

/// Where a server listens that is told nothing else.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);
/// Where it keeps its events.
const DATA_DEFAULT: &str = "./runcast-data";
/// What it logs.
const LOG_DEFAULT: &str = "warn";
/// The interval of relaxed durability when none is given.
const SYNC_EVERY_MS_DEFAULT: u64 = 100;
/// The longest interval of relaxed durability.
const SYNC_EVERY_MS_MAX: u64 = 60_000;

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an address and a port, such as 127.0.0.1:7070".to_owned())
}

fn assignment(text: &str) -> Result<(String, f64), String> {
    let parts = text.split_once('=');
    let parts = parts.and_then(|(name, value)| Some((name.trim(), value.trim().parse().ok()?)));
    let (name, value) = parts.ok_or("not a name and a number, such as stalled_s=10")?;
    Ok((name.to_owned(), value))
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (config, log) = args.config()?;
    start_log(&log)?;
    let workers = config.http.api_workers;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(serve(config.into_server()))?;
    Ok(ExitCode::SUCCESS)
}

/// All that a server is told, before it is said where it keeps its events.
#[derive(Debug)]
struct Configured {
    data_dir: PathBuf,
    log: EmbeddedOptions,
    redis: RedisOptions,
    hub: HubConfig,
    http: HttpConfig,
    is_in_redis: bool,
}

impl Configured {
    fn into_server(self) -> ServerConfig {
        let Self { data_dir, log, redis, hub, http, is_in_redis } = self;
        let store = match is_in_redis {
            true => Store::Redis(redis),
            false => Store::Directory { path: data_dir, options: log },
        };
        ServerConfig { store, hub, http }
    }
}

impl Args {
    /// What the server is told, and what it logs: the command line, then the file, then defaults.
    fn config(self) -> anyhow::Result<(Configured, String)> {
        let (file, from) = match &self.config {
            Some(path) => (file::read(path)?, file::named(path)),
            None => (ConfigFile::default(), String::new()),
        };
        let data = self.data.or(file.data);
        let url = match (self.redis.or(file.redis), &data) {
            (Some(url), _) => Some(url),
            (None, Some(_)) => None,
            (None, None) => redis::from_environment(|name| std::env::var(name).ok())?,
        };
        let mut config = Configured {
            is_in_redis: url.is_some(),
            data_dir: data.unwrap_or_else(|| DATA_DEFAULT.into()),
            redis: redis::options(
                url,
                self.redis_wait.or(file.redis_wait),
                self.redis_ca_file.or(file.redis_ca_file),
            ),
            log: EmbeddedOptions {
                durability: durability(
                    self.durability.or(file.durability),
                    self.sync_every_ms.or(file.sync_every_ms),
                )?,
                ..EmbeddedOptions::default()
            },
            hub: HubConfig::default(),
            http: HttpConfig {
                listen: self.listen.or(file.listen).unwrap_or(LISTEN_DEFAULT),
                allowed_origins: match self.allow_origin {
                    given if !given.is_empty() => given,
                    _ => file::origins(&file.allow_origin).context(from.clone())?,
                },
                allowed_hosts: match self.allow_host {
                    given if !given.is_empty() => given,
                    _ => file.allow_host,
                },
                retention: RetentionPolicy::new(file.retention)
                    .context("retention")
                    .with_context(|| from.clone())?,
                ..HttpConfig::default()
            },
        };
        for (name, value) in &file.settings {
            file::number(name, value)
                .and_then(|value| Ok(settings::set(&mut config, name, value)?))
                .with_context(|| from.clone())?;
        }
        for (name, value) in &self.set {
            settings::set(&mut config, name, *value)
                .map_err(|error| UsageError(error.to_string()))?;
        }
        Ok((config, self.log.or(file.log).unwrap_or_else(|| LOG_DEFAULT.to_owned())))
    }
}

fn durability(
    choice: Option<DurabilityChoice>,
    sync_every_ms: Option<u64>,
) -> Result<Durability, UsageError> {
    match (choice.unwrap_or(DurabilityChoice::Sync), sync_every_ms) {
        (DurabilityChoice::Sync, None) => Ok(Durability::Sync),
        (DurabilityChoice::Sync, Some(_)) => {
            let message = "sync_every_ms needs relaxed durability: with sync, every event is on \
                           the disk before it is acknowledged";
            Err(UsageError(message.to_owned()))
        }
        (DurabilityChoice::Relaxed, every) => {
            let every = every.unwrap_or(SYNC_EVERY_MS_DEFAULT);
            if !(1..=SYNC_EVERY_MS_MAX).contains(&every) {
                let message = format!("sync_every_ms must be from 1 to {SYNC_EVERY_MS_MAX}");
                return Err(UsageError(message));
            }
            Ok(Durability::Relaxed { sync_every: Duration::from_millis(every) })
        }
    }
}

async fn serve(config: ServerConfig) -> anyhow::Result<()> {
    // Caught from here on: a server that says it serves can be ended in good order.
    let terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let store = config.store.clone();
    let server = match runcast_server::start(config).await {
        Ok(server) => server,
        Err(StartError::Bind(error @ BindError::InUse { .. })) => {
            anyhow::bail!("{error}, such as --listen 127.0.0.1:0 for a free one");
        }
        Err(error) => return Err(error.into()),
    };
    let from = match store {
        Store::Redis(options) => options.shown_url(),
        Store::Directory { path, .. } => {
            std::fs::canonicalize(&path).unwrap_or(path).display().to_string()
        }
    };
    let line = format!("Runcast serves http://{} from {from}", server.local_addr());
    // A server whose output nobody reads serves all the same.
    drop(writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush()));
    server.run(asked_to_stop(terminate, interrupt)).await.context("cannot serve")
}

/// Waits for a signal, and has the next one end the process at once.
async fn asked_to_stop(mut terminate: Signal, mut interrupt: Signal) {
    either(&mut terminate, &mut interrupt).await;
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        note("stopped without waiting; what was acknowledged is kept");
        std::process::exit(1);
    });
}

/// Waits for either signal.
pub(crate) async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn start_log(levels: &str) -> Result<(), UsageError> {
    let targets = Targets::from_str(levels)
        .map_err(|error| UsageError(format!("--log {levels:?}: {error}")))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(Palette::of(&io::stderr()).is_on());
    tracing_subscriber::registry().with(lines).with(targets).init();
    Ok(())
}

#[cfg(test)]
mod tests;
