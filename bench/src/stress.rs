//! The promises, checked while everything goes wrong: a real server that is killed again and again,
//! producers that retry what they sent, and readers that drop in mid-frame, stall, come back
//! anywhere, filter and let deltas be merged.
//!
//! Works in rounds of a few seconds. A round has its own server, runs, producers and readers; each
//! reader writes down all that it was given. When the runs have ended, the round reads them once
//! more in whole, and holds that against what the producers were promised and every reader saw:
//! nothing lost, doubled, out of order or changed, and merged text the same to the letter. Then the
//! server is to store the runs with their deltas merged, and they are read again meanwhile.
//!
//! All that is left to chance hangs on the round's seed, which is printed. How threads and the
//! server take turns does not: a seed repeats what was tried, mostly, not what came of it.

mod follower;
mod history;
mod ledger;
mod passage;
mod producer;
mod rereading;
mod round;
mod script;
mod transport;
mod view;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::subject::{Kind, Place};

/// How long events flow in one round, at most.
const ROUND_MAX: Duration = Duration::from_secs(6);

/// Settings with which a server works on its files all the time: small ones, and few of them.
const BUSY: [&str; 7] = [
    "wal_bytes_max=32768",
    "room_bytes_max=8192",
    "seal_memory_bytes_max=16384",
    "merge_segments=2",
    "files_open_max=2",
    "erase_within_s=1",
    "scrub_every_s=1",
];

/// What is tried and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// How long new rounds begin.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// New rounds begin after that too, until there were so many `kill -9`.
    #[arg(long, default_value_t = 0)]
    pub kills: u64,
    /// A setting of the server, instead of those that make it seal, merge, erase and scrub all the
    /// time; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// The first round's seed; a failure names the seed to repeat its round with.
    #[arg(long)]
    pub seed: Option<u64>,
    /// The server's program; `runcast` beside this program when not given.
    #[arg(long, value_name = "PROGRAM")]
    pub server: Option<PathBuf>,
    /// A transport that readers use, all when none is named; may be repeated.
    #[arg(long, value_name = "TRANSPORT")]
    pub over: Vec<String>,
    /// With two servers on a Redis, whose connections are cut, which is paused and loses its scripts.
    #[arg(long)]
    pub redis: bool,
    /// Where data is written.
    #[arg(long, value_name = "DIRECTORY")]
    pub data: Option<PathBuf>,
}

/// Where the servers keep events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    /// One server in its directory.
    Embedded(Merging),
    /// Two servers in a Redis.
    Redis,
}

/// Whether something of the ended runs must be stored merged before a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merging {
    /// It must: the server seals and merges all the time.
    Must,
    /// It need not: its settings may be such that it merges late.
    MayFail,
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    /// Events that were stored.
    pub events: u64,
    /// Events that readers were given, merged ones once.
    pub deliveries: u64,
    /// Events that were given merged with others.
    pub merged: u64,
    /// Of the deliveries, those of runs that had ended and were being stored merged.
    pub reread: u64,
    /// Events that were stored merged with others in the end.
    pub stored_merged: u64,
    /// Connections of readers.
    pub passages: u64,
    /// Times that the server was killed.
    pub kills: u64,
    /// Times that it was asked to stop.
    pub stops: u64,
    /// Bytes that were written again, into segments.
    pub sealed_bytes: u64,
}

impl Tried {
    fn plus(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            deliveries: self.deliveries + other.deliveries,
            merged: self.merged + other.merged,
            reread: self.reread + other.reread,
            stored_merged: self.stored_merged + other.stored_merged,
            passages: self.passages + other.passages,
            kills: self.kills + other.kills,
            stops: self.stops + other.stops,
            sealed_bytes: self.sealed_bytes + other.sealed_bytes,
        }
    }
}

impl std::fmt::Display for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, deliveries, merged, reread, stored_merged, .. } = self;
        let Self { passages, kills, stops, sealed_bytes, .. } = self;
        write!(
            f,
            "{events} events stored, {deliveries} deliveries ({merged} events in merged ones) over \
             {passages} connections, {kills} kills, {stops} stops, {sealed_bytes} bytes in segments; \
             {reread} of the deliveries while {stored_merged} events became stored merged"
        )
    }
}

/// Tries for as long as the settings say.
///
/// # Errors
/// When a promise was broken, or a round could not be held. The message names the seed.
pub fn run(settings: &Settings) -> Result<Tried> {
    crate::limits::raise_open_files()?;
    let this = std::env::current_exe().context("this program cannot find itself")?;
    let server = settings.server.clone().unwrap_or_else(|| this.with_file_name("runcast"));
    ensure!(server.is_file(), "there is no server at {}", server.display());
    let data = settings.data.clone().unwrap_or_else(std::env::temp_dir);
    let (set, engine) = match &settings.set[..] {
        set if settings.redis => (set.to_vec(), Engine::Redis),
        [] => (BUSY.map(str::to_owned).to_vec(), Engine::Embedded(Merging::Must)),
        set => (set.to_vec(), Engine::Embedded(Merging::MayFail)),
    };
    let (floor, kind) = (this, Kind::Server);
    let place =
        Place { server, floor, data, kind, set, config: None, redis: None, floor_websocket: false };
    let transports = transport::chosen(&settings.over)?;
    let begin = Instant::now();
    let time = Duration::from_secs(settings.seconds);
    let mut seed = settings.seed.unwrap_or_else(|| fastrand::u64(1..1 << 48));
    let mut tried = Tried::default();
    for round in 1.. {
        let left = time.saturating_sub(begin.elapsed());
        if round > 1 && left.is_zero() && tried.kills >= settings.kills {
            break;
        }
        let least = if settings.kills > 0 { ROUND_MAX } else { Duration::from_secs(1) };
        let flow = left.clamp(least, ROUND_MAX);
        eprintln!("round {round}, seed {seed}, {} s", flow.as_secs());
        let of_round = round::hold(&place, &transports, seed, flow, engine)
            .with_context(|| format!("round {round}; again with --seed {seed}"))?;
        eprintln!("  {of_round}");
        tried = tried.plus(of_round);
        seed = fastrand::Rng::with_seed(seed).u64(1..1 << 48);
    }
    Ok(tried)
}
