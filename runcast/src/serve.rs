//! `runcast serve`: the server, in development mode.
//!
//! Only reads the command line, and tells a person what became of it. SIGTERM and SIGINT end it in
//! good order; a second one at once.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use runcast_server::{
    BindError, Durability, EmbeddedOptions, HttpConfig, HubConfig, Origin, ServerConfig, StartError,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::palette::Palette;
use crate::report::{UsageError, note};

/// Start a server
///
/// In development mode: it takes connections from this machine only, and asks nobody who they are.
/// Events are kept in the data directory, which one server at a time can have.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  runcast serve
  runcast serve --listen 127.0.0.1:8080 --data /var/lib/runcast
  runcast serve --durability relaxed --sync-every-ms 50
  RUNCAST_LOG=info runcast serve

SIGTERM and SIGINT (Ctrl-C) finish what is under way; a second one does not wait for it."
)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(
        long,
        env = "RUNCAST_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:7070",
        value_parser = address
    )]
    listen: SocketAddr,
    /// Where events are kept; made if it does not exist
    #[arg(long, env = "RUNCAST_DATA", value_name = "DIRECTORY", default_value = "./runcast-data")]
    data: PathBuf,
    /// sync acknowledges events when they are on the disk, relaxed when the system has them
    #[arg(long, env = "RUNCAST_DURABILITY", default_value = "sync")]
    durability: DurabilityChoice,
    /// With relaxed durability, how much a crash of the machine can lose at most [default: 100]
    #[arg(
        long,
        env = "RUNCAST_SYNC_EVERY_MS",
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..=SYNC_EVERY_MS_MAX)
    )]
    sync_every_ms: Option<u64>,
    /// A web page's origin that may use the server, such as https://example.com; may be repeated
    #[arg(long, env = "RUNCAST_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    allow_origin: Vec<Origin>,
    /// A host name of this server, beside localhost; may be repeated
    #[arg(long, env = "RUNCAST_ALLOW_HOST", value_name = "HOST", value_delimiter = ',')]
    allow_host: Vec<String>,
    /// What is logged on stderr: a level, or levels of parts, such as warn,runcast_server=debug
    #[arg(long, env = "RUNCAST_LOG", value_name = "LEVELS", default_value = "warn")]
    log: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DurabilityChoice {
    Sync,
    Relaxed,
}

/// The interval of relaxed durability when none is given.
const SYNC_EVERY_MS_DEFAULT: u64 = 100;
/// The longest interval of relaxed durability.
const SYNC_EVERY_MS_MAX: u64 = 60_000;

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an address and a port, such as 127.0.0.1:7070".to_owned())
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = args.config()?;
    start_log(&args.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn config(&self) -> Result<ServerConfig, UsageError> {
        let durability = match (self.durability, self.sync_every_ms) {
            (DurabilityChoice::Sync, None) => Durability::Sync,
            (DurabilityChoice::Sync, Some(_)) => {
                let message = "--sync-every-ms needs --durability relaxed: with sync, every event \
                               is on the disk before it is acknowledged";
                return Err(UsageError(message.to_owned()));
            }
            (DurabilityChoice::Relaxed, every) => Durability::Relaxed {
                sync_every: Duration::from_millis(every.unwrap_or(SYNC_EVERY_MS_DEFAULT)),
            },
        };
        Ok(ServerConfig {
            data_dir: self.data.clone(),
            log: EmbeddedOptions { durability, ..EmbeddedOptions::default() },
            hub: HubConfig::default(),
            http: HttpConfig {
                listen: self.listen,
                allowed_origins: self.allow_origin.clone(),
                allowed_hosts: self.allow_host.clone(),
                ..HttpConfig::default()
            },
        })
    }
}

async fn serve(config: ServerConfig) -> anyhow::Result<()> {
    // Caught from here on: a server that says it serves can be ended in good order.
    let terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let data_dir = config.data_dir.clone();
    let server = match runcast_server::start(config).await {
        Ok(server) => server,
        Err(StartError::Bind(error @ BindError::InUse { .. })) => {
            anyhow::bail!("{error}, such as --listen 127.0.0.1:0 for a free one");
        }
        Err(error) => return Err(error.into()),
    };
    let data_dir = std::fs::canonicalize(&data_dir).unwrap_or(data_dir);
    let line = format!("Runcast serves http://{} from {}", server.local_addr(), data_dir.display());
    // A server whose output nobody reads serves all the same.
    drop(writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush()));
    server.run(asked_to_stop(terminate, interrupt)).await;
    Ok(())
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

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
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
