//! One round: a server, its runs, producers and readers, the kills, and the reckoning.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::Tried;
use super::follower::Follower;
use super::history::{History, Seen};
use super::passage::Told;
use super::producer::Producer;
use super::view::View;
use super::world::World;
use crate::subject::{FloorDisk, Place, Subject};
use crate::wire::call::Caller;

const RUNS: usize = 3;
const PRODUCERS_PER_RUN: usize = 2;
const FOLLOWERS: usize = 36;
/// How long the server is left alone between two kills, in milliseconds.
const ALIVE_MS: std::ops::Range<u64> = 300..2_200;
/// One of so many kills is a SIGTERM.
const GENTLE_EVERY: u8 = 4;

/// Holds a round in which events flow for so long.
pub(super) fn hold(place: &Place, seed: u64, flow: Duration) -> Result<Tried> {
    let runs = (0..RUNS).map(|run| format!("stress-{run}")).collect();
    let world = Arc::new(World::new(seed, runs));
    let subject = place.start(FloorDisk::None)?;
    world.set_address(Some(subject.address()));
    let producers: Vec<_> = (0..RUNS * PRODUCERS_PER_RUN)
        .map(|producer| Producer::new(Arc::clone(&world), producer % RUNS, producer))
        .map(|producer| std::thread::spawn(|| producer.produce()))
        .collect();
    let followers: Vec<_> = (0..FOLLOWERS)
        .map(|number| Follower::new(Arc::clone(&world), number))
        .map(|follower| std::thread::spawn(|| follower.follow()))
        .collect();
    let driven = drive(place, &world, subject, flow);
    if driven.is_err() {
        world.fail();
    }
    let producers = join(producers);
    if producers.is_err() {
        world.fail();
    }
    let ended = driven.and_then(|(subject, kills)| {
        if producers.is_ok() {
            end_runs(&world, &subject)?;
        }
        Ok((subject, kills))
    });
    if ended.is_err() {
        world.fail();
    }
    let followers = join(followers);
    // The first that failed says more than those that only gave up.
    let (producers, followers) = (producers?, followers?);
    let (subject, kills) = ended?;
    reckon(&world, &subject, &producers, &followers).map(|tried| Tried { kills, ..tried })
}

fn join<T>(threads: Vec<JoinHandle<Result<T>>>) -> Result<Vec<T>> {
    let joined: Vec<Result<T>> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
        .collect();
    let gave_up = |error: &anyhow::Error| error.root_cause().to_string().contains("another part");
    let mut done = Vec::new();
    let mut first: Option<anyhow::Error> = None;
    for result in joined {
        match result {
            Ok(thing) => done.push(thing),
            Err(error) if first.as_ref().is_none_or(gave_up) => first = Some(error),
            Err(_) => {}
        }
    }
    first.map_or(Ok(done), Err)
}

/// Lets events flow and kills the server meanwhile; gives the one that is left.
fn drive(
    place: &Place,
    world: &World,
    mut subject: Subject,
    flow: Duration,
) -> Result<(Subject, u64)> {
    let mut rng = world.chances(3_000);
    let mut kills = 0;
    let begin = Instant::now();
    loop {
        let alive = Duration::from_millis(rng.u64(ALIVE_MS));
        std::thread::sleep(alive.min(flow.saturating_sub(begin.elapsed())));
        world.check()?;
        if begin.elapsed() >= flow {
            world.enough();
            return Ok((subject, kills));
        }
        world.set_address(None);
        let stopped = if rng.u8(..GENTLE_EVERY) == 0 { subject.stop() } else { subject.kill() };
        kills += 1;
        subject = place.restart(stopped?, FloorDisk::None)?.0;
        world.set_address(Some(subject.address()));
    }
}

fn end_runs(world: &World, subject: &Subject) -> Result<()> {
    let mut caller = Caller::connect(subject.address())?;
    for run in &world.runs {
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
    subject: &Subject,
    producers: &[Producer],
    followers: &[Follower],
) -> Result<Tried> {
    let mut tried = Tried::default();
    let mut histories = Vec::new();
    for (number, run) in world.runs.iter().enumerate() {
        let history = History::read(subject.address(), run)?;
        let of_run = producers.iter().filter(|producer| producer.script.run == number);
        let of_run = of_run.map(|producer| {
            let Producer { script, promises, next, .. } = producer;
            (script.producer, (*script, promises.clone(), *next))
        });
        history.check(&of_run.collect()).with_context(|| format!("run {run}"))?;
        tried.events += history.events.len() as u64;
        histories.push(history);
    }
    let mut seen: HashMap<(usize, View), Seen<'_>> = HashMap::new();
    for follower in followers {
        for passage in &follower.passages {
            let of = (passage.run, follower.view);
            let due = seen.entry(of).or_insert_with(|| Seen::of(&histories[of.0], of.1));
            passage.check(due).with_context(|| {
                let Follower { name, .. } = follower;
                format!("{name}, run {}, a connection from {}", passage.run, passage.after)
            })?;
            tried.passages += 1;
            for told in &passage.told {
                if let Told::Event { merged, .. } = told {
                    tried.deliveries += 1;
                    tried.merged += if *merged > 1 { *merged } else { 0 };
                }
            }
        }
    }
    Ok(tried)
}
