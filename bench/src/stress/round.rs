//! One round: one server or two on a Redis, their runs, producers and readers, the kills, and the
//! reckoning; then, with one server, the second act, [`rereading`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::follower::Follower;
use super::history::History;
use super::ledger::Ledger;
use super::producer::Producer;
use super::transport::Transport;
use super::world::{World, cause, join};
use super::{Engine, Tried, rereading};
use crate::subject::{FloorDisk, Place, Redis, Subject};
use crate::wire::call::Caller;

const RUNS: usize = 3;
const PRODUCERS_PER_RUN: usize = 2;
const FOLLOWERS: usize = 36;
/// How long the server is left alone between two kills, in milliseconds.
const ALIVE_MS: std::ops::Range<u64> = 300..2_200;
/// One of so many kills is a SIGTERM.
const GENTLE_EVERY: u8 = 4;
/// What is done to a Redis besides.
const MISDEEDS: [&str; 4] =
    ["CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub", "SCRIPT FLUSH", "CLIENT PAUSE 400"];

/// Holds a round in which events flow for so long.
pub(super) fn hold(
    place: &Place,
    transports: &[&'static dyn Transport],
    seed: u64,
    flow: Duration,
    engine: Engine,
) -> Result<Tried> {
    let runs = (0..RUNS).map(|run| format!("stress-{run}")).collect();
    let world = Arc::new(World::new(seed, runs));
    let servers = Servers::start(place, &world, engine)?;
    let producers: Vec<_> = (0..RUNS * PRODUCERS_PER_RUN)
        .map(|producer| Producer::new(Arc::clone(&world), producer % RUNS, producer))
        .map(|producer| std::thread::spawn(|| producer.produce()))
        .collect();
    let followers: Vec<_> = Follower::several(&world, transports, FOLLOWERS)
        .map(|follower| std::thread::spawn(|| follower.follow()))
        .collect();
    let driven = servers.drive(&world, flow);
    if driven.is_err() {
        world.fail();
    }
    let producers = join(producers);
    if producers.is_err() {
        world.fail();
    }
    let ended = driven.and_then(|(servers, ends)| {
        if producers.is_ok() {
            end_runs(&world)?;
        }
        Ok((servers, ends))
    });
    if ended.is_err() {
        world.fail();
    }
    let followers = join(followers);
    match (ended, producers, followers) {
        (Ok((mut servers, ends)), Ok(producers), Ok(followers)) => {
            let (tried, histories) = reckon(&world, &producers, &followers)?;
            let tried = tried.plus(ends);
            let Engine::Embedded(merging) = engine else { return Ok(tried) };
            let subject = servers.subjects.remove(0);
            let tried = Tried { sealed_bytes: sealed_bytes(&subject)?, ..tried };
            let again = rereading::hold(place, transports, &world, subject, (histories, merging));
            Ok(tried.plus(again.context("the runs were stored merged")?))
        }
        (ended, producers, followers) => {
            let errors = [ended.err(), producers.err(), followers.err()];
            Err(cause(errors.into_iter().flatten()).context("the round came to no end"))
        }
    }
}

/// The servers of a round.
struct Servers {
    place: Place,
    subjects: Vec<Subject>,
    redis: Option<Redis>,
}

impl Servers {
    fn start(place: &Place, world: &World, engine: Engine) -> Result<Self> {
        let (redis, count) = match engine {
            Engine::Embedded(_) => (None, 1),
            Engine::Redis => (Some(Redis::start(place)?), 2),
        };
        let place = redis.as_ref().map_or_else(|| place.clone(), |redis| place.on(redis));
        let mut subjects = Vec::new();
        for server in 0..count {
            let subject = place.start(FloorDisk::None)?;
            world.set_address(server, Some(subject.address()));
            subjects.push(subject);
        }
        Ok(Self { place, subjects, redis })
    }

    /// Lets events flow and kills servers meanwhile; gives those that are left.
    fn drive(mut self, world: &World, flow: Duration) -> Result<(Self, Tried)> {
        let mut rng = world.chances(3_000);
        let mut ends = Tried::default();
        let begin = Instant::now();
        loop {
            let alive = Duration::from_millis(rng.u64(ALIVE_MS));
            std::thread::sleep(alive.min(flow.saturating_sub(begin.elapsed())));
            world.check()?;
            if begin.elapsed() >= flow {
                world.enough();
                return Ok((self, ends));
            }
            if let Some(redis) = self.redis.as_ref().filter(|_| rng.bool()) {
                // In the one sitting everything that an operator may do to it.
                for command in MISDEEDS.iter().filter(|_| rng.bool()) {
                    redis.command(command)?;
                }
                continue;
            }
            let server = rng.usize(..self.subjects.len());
            world.set_address(server, None);
            let subject = self.subjects.remove(server);
            let stopped = if rng.u8(0..GENTLE_EVERY) == 0 {
                ends.stops += 1;
                subject.stop()?
            } else {
                ends.kills += 1;
                subject.kill()?
            };
            let subject = self.place.restart(stopped, FloorDisk::None)?.0;
            world.set_address(server, Some(subject.address()));
            self.subjects.insert(server, subject);
        }
    }
}

/// What is in segments at the end of a round.
fn sealed_bytes(subject: &Subject) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(subject.directory().join("data"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".seg") {
            // It may be merged and gone meanwhile.
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok(bytes)
}

fn end_runs(world: &World) -> Result<()> {
    for run in &world.runs {
        let mut caller = Caller::connect(world.address()?)?;
        let path = format!("/v1/runs/{run}/events");
        let body = br#"{"type":"run.completed"}"#;
        let answer = caller.post(&path, "Content-Type: application/json\r\n", body)?;
        ensure!(answer.status == 200, "the end of {run} was answered {}", answer.status);
    }
    world.end();
    Ok(())
}

/// Holds what was promised and seen against what is stored.
fn reckon(
    world: &World,
    producers: &[Producer],
    followers: &[Follower],
) -> Result<(Tried, Vec<History>)> {
    let mut tried = Tried::default();
    let mut histories = Vec::new();
    for (number, run) in world.runs.iter().enumerate() {
        let history = History::read(world.address()?, run)?;
        let of_run = producers.iter().filter(|producer| producer.script.run == number);
        let of_run = of_run.map(|producer| {
            let Producer { script, promises, next, .. } = producer;
            (script.producer, (*script, promises.clone(), *next))
        });
        history.check(&of_run.collect()).with_context(|| format!("run {run}"))?;
        tried.events += history.events.len() as u64;
        histories.push(history);
    }
    let mut ledger = Ledger::of(&histories, false);
    for follower in followers {
        ledger.check(follower)?;
    }
    let tried = tried.plus(ledger.tried);
    Ok((tried, histories))
}
