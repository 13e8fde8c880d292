//! `runcast bridge`: existing channels and streams of Redis into runs, and runs back to them, so that a
//! system moves over one part at a time.
//!
//! One bridge of a name works at a time; others wait to take over. Whatever breaks is made again, on both
//! sides, for as long as it takes. SIGTERM and SIGINT end it in good order.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::{try_join, try_join_all};
use redis::aio::MultiplexedConnection;
use runcast_client::{Backoff, Client};
use runcast_event::RunId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep};

use self::channels::{Channels, Lines};
use self::config::Mappings;
use self::counts::Counts;
use self::deliver::Delivery;
use self::echoes::Echoes;
use self::place::{Broken, Redis};
use self::streams::Streams;
use crate::global::{Global, block_on};
use crate::report::{UsageError, note};
use crate::serve::{either, redis as settings};

mod channels;
mod config;
mod counts;
mod deliver;
mod echoes;
mod out;
mod place;
mod render;
mod streams;
mod template;
mod translate;

/// How often what was done is told, if anything was.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How long the end waits for what came by channels and is not stored yet.
const DRAIN: Duration = Duration::from_secs(10);
/// A session that held this long was a good one.
const STEADY_AFTER: Duration = Duration::from_secs(10);
/// The longest name of a bridge.
const NAME_CHARS_MAX: usize = 64;

/// Read existing Redis channels and streams into runs, and publish runs back to them
///
/// What is read and published is said by mappings, in a file (docs/bridge.md) or by presets, which
/// have the names that existing systems use: workflow-events, run-output, run-logs, run-status, and out
/// only run-control.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  runcast bridge --redis redis://127.0.0.1:6379 --in run-output --in run-status
  runcast bridge --redis redis://127.0.0.1:6379 --in 'run-output=jobs:{run}:out:{variation}'
  runcast bridge --redis redis://127.0.0.1:6379 --out workflow-events
  runcast bridge --redis redis://127.0.0.1:6379 --config bridge.toml

Streams are read exactly once and in order, whatever is killed in between; what is published to a
channel while no bridge listens is lost. SIGTERM and SIGINT (Ctrl-C) end it in good order."
)]
pub(crate) struct Args {
    /// The Redis of the channels and streams; without it REDIS_URL, or REDIS_HOST and its like
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// The mappings, in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read what a preset says into runs, also from other channels; may be repeated
    #[arg(long = "in", value_name = "PRESET[=CHANNEL]")]
    ins: Vec<String>,
    /// Publish runs as a preset says, also to other channels; may be repeated
    #[arg(long = "out", value_name = "PRESET[=CHANNEL]")]
    outs: Vec<String>,
    /// The bridge's name: its consumer group, and what its keys begin with. Of bridges with one name,
    /// one works and the others wait
    #[arg(long, value_name = "NAME", default_value = "runcast-bridge")]
    name: String,
}

/// All that the parts of a bridge share.
struct World {
    redis: Redis,
    client: Client,
    mappings: Mappings,
    delivery: Delivery,
    echoes: Echoes,
    counts: Arc<Counts>,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let mappings = config::read(args.config.as_deref(), &args.ins, &args.outs)?;
    let url = match &args.redis {
        Some(url) => url.clone(),
        None => settings::from_environment(|name| std::env::var(name).ok())?
            .ok_or_else(|| UsageError("say where: --redis redis://host:6379".to_owned()))?,
    };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if args.name.is_empty()
        || args.name.len() > NAME_CHARS_MAX
        || !args.name.chars().all(is_allowed)
    {
        let what = format!("--name needs 1 to {NAME_CHARS_MAX} letters, digits, - or _");
        return Err(UsageError(what).into());
    }
    let client = global.client()?;
    let options = settings::options(Some(url.clone()), None, None);
    let redis = Redis::new(&url, &args.name, RunId::random().as_str())
        .map_err(|error| UsageError(format!("{}: {error}", options.shown_url())))?;
    let counts = Arc::<Counts>::default();
    let delivery = Delivery::new(client.clone(), Arc::clone(&counts));
    let world = World { redis, client, mappings, delivery, echoes: Echoes::default(), counts };
    block_on(bridge(&world, &options.shown_url()))?;
    Ok(ExitCode::SUCCESS)
}

/// Works until a signal.
async fn bridge(world: &World, place: &str) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let (stop, stopped) = watch::channel(false);
    let mut lines =
        Lines::new(world.delivery.clone(), Arc::clone(&world.counts), world.redis.name());
    {
        let (working, telling) = (work(world, place, &mut lines, &stopped), tell(&world.counts));
        tokio::pin!(working, telling);
        let (mut is_stopping, patience) = (false, sleep(Duration::MAX));
        tokio::pin!(patience);
        loop {
            tokio::select! {
                () = &mut working => break,
                () = &mut telling => {}
                // What is read of a stream and not stored is read again by the next.
                () = &mut patience => break,
                _ = either(&mut terminate, &mut interrupt) => {
                    if std::mem::replace(&mut is_stopping, true) {
                        break;
                    }
                    stop.send_replace(true);
                    patience.as_mut().reset(Instant::now() + DRAIN);
                }
            }
        }
    }
    let left = lines.drain(DRAIN).await;
    if left > 0 {
        note(&format!("{left} runs have messages that the server did not take in time"));
    }
    note(&format!("stopped: {}", world.counts));
    Ok(())
}

/// Session after session, until `stopped`.
async fn work(world: &World, place: &str, lines: &mut Lines, stopped: &watch::Receiver<bool>) {
    let (mut is_announced, mut backoff) = (false, Backoff::new());
    loop {
        let begun = Instant::now();
        let session = session(world, place, lines, stopped, &mut is_announced);
        let Err(broken) = session.await else { return };
        if begun.elapsed() >= STEADY_AFTER {
            backoff.succeeded();
        }
        lines.go_away();
        world.counts.tell(place, &broken.to_string());
        tokio::select! {
            () = sleep(backoff.failed()) => {}
            () = stop_of(stopped) => return,
        }
    }
}

/// Works on one set of connections until `stopped`, or until one of them breaks.
async fn session(
    world: &World,
    place: &str,
    lines: &mut Lines,
    stopped: &watch::Receiver<bool>,
    is_announced: &mut bool,
) -> Result<(), Broken> {
    let mut redis = tokio::select! {
        redis = lease(world) => redis?,
        () = stop_of(stopped) => return Ok(()),
    };
    let working = async {
        let (channels, streams) = tokio::select! {
            opened = open(world, lines) => opened?,
            () = stop_of(stopped) => return Ok(()),
        };
        if !std::mem::replace(is_announced, true) {
            let line = format!("Runcast bridges {place} and {}", world.client.base_url());
            // A bridge whose output nobody reads works all the same.
            drop(writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush()));
        }
        let outs = &world.mappings.outs;
        let outs = try_join_all(outs.iter().map(|out| out::run(world, out, stopped.clone())));
        let ins = try_join(channels.run(lines, stopped.clone()), streams.run(stopped.clone()));
        try_join(ins, outs).await.map(drop)
    };
    let ended = tokio::select! {
        ended = working => ended,
        broken = world.redis.keep_lease(redis.clone()) => Err(broken),
    };
    if ended.is_ok() {
        world.redis.give_up_lease(&mut redis).await;
    }
    ended
}

/// A connection to Redis on which this bridge is the one that works.
async fn lease(world: &World) -> Result<MultiplexedConnection, Broken> {
    let mut redis = world.redis.connect().await?;
    let waits = || note("another bridge of this name works; this one waits to take over");
    world.redis.wait_for_lease(&mut redis, waits).await?;
    Ok(redis)
}

/// Subscribes first: what is published while streams are taken over waits.
async fn open<'a>(
    world: &'a World,
    lines: &mut Lines,
) -> Result<(Channels<'a>, Streams<'a>), Broken> {
    let channels = Channels::open(world, lines).await?;
    Ok((channels, Streams::open(world).await?))
}

async fn stop_of(stopped: &watch::Receiver<bool>) {
    let mut stopped = stopped.clone();
    // An error says that nobody will stop it any more, which ends it as well.
    let _either_way = stopped.wait_for(|stop| *stop).await;
}

/// Tells now and then what was done; never ends.
async fn tell(counts: &Counts) {
    let mut every = interval(TELL_EVERY);
    let mut told = counts.to_string();
    loop {
        every.tick().await;
        let now = counts.to_string();
        if now != told {
            note(&now);
            told = now;
        }
    }
}
