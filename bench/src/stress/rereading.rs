//! The second act of a round: runs that have ended are read again while the server stores them with
//! their deltas merged, and is killed over it.
//!
//! What the first act found stored is what every reader is due, from any cursor and with any view;
//! only that deltas may come merged unasked. It goes on until something of each run is stored merged,
//! and one kill further, so that the last server has made the runs' states of that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::follower::Follower;
use super::history::{History, events_of};
use super::transport::Transport;
use super::world::{World, cause, join, mix};
use super::{Merging, Tried};
use crate::subject::{FloorDisk, Place, Subject};
use crate::wire::call::Caller;

/// Stores merged what has ended.
const CONFIG: &str = "[[retention]]\nended = true\ncoalesce_ended = true\n";
const FOLLOWERS: usize = 18;
/// How often the server is killed, at the least.
const KILLS_MIN: u64 = 3;
/// How long it is left alone between two kills, in milliseconds.
const ALIVE_MS: std::ops::Range<u64> = 200..700;
/// After this long at most, something of each run is stored merged.
const MERGED_WITHIN: Duration = Duration::from_secs(120);
/// Runs that make the log seal and merge. Where each has little, it merges often.
const FILLERS: u64 = 64;
/// The size of what they are given at a time, in bytes.
const FILLING_BYTES: usize = 6_000;

/// Holds the second act, with the server that the first one left.
pub(super) fn hold(
    place: &Place,
    transports: &[&'static dyn Transport],
    first: &World,
    subject: Subject,
    (histories, merging): (Vec<History>, Merging),
) -> Result<Tried> {
    let world = Arc::new(World::new(mix(&[first.seed, 4_000]), first.runs.clone()));
    world.end();
    let place = Place { config: Some(CONFIG), ..place.clone() };
    let states = states(&world, &subject)?;
    let histories = Arc::new(histories);
    let followers: Vec<_> = Follower::several(&world, transports, FOLLOWERS)
        .map(|follower| {
            let histories = Arc::clone(&histories);
            std::thread::spawn(move || follower.follow_again(&histories))
        })
        .collect();
    let driven = drive(&place, &world, subject, &histories, merging);
    match &driven {
        Ok(_) => world.enough(),
        Err(_) => world.fail(),
    }
    match (driven, join(followers)) {
        (Ok((subject, kills)), Ok(read)) => {
            for (before, now) in states.iter().zip(self::states(&world, &subject)?) {
                ensure!(*before == now, "the state was {before} and is {now}");
            }
            let tried = read.into_iter().fold(Tried::default(), Tried::plus);
            let stored_merged = stored_merged(&world, &subject)?.into_iter().sum();
            Ok(Tried { kills, stored_merged, reread: tried.deliveries, ..tried })
        }
        (driven, read) => Err(cause([driven.err(), read.err()].into_iter().flatten())),
    }
}

/// Lets the server merge and kills it meanwhile; gives the one that is left, and how many were killed.
fn drive(
    place: &Place,
    world: &World,
    mut subject: Subject,
    histories: &[History],
    merging: Merging,
) -> Result<(Subject, u64)> {
    let mut rng = world.chances(3_000);
    let mut fillers = (0..FILLERS).cycle();
    let begin = Instant::now();
    let can_merge: Vec<bool> = histories.iter().map(History::has_a_stretch).collect();
    let (mut kills, mut is_merged) = (0, false);
    loop {
        world.set_address(0, None);
        subject = place.restart(subject.kill()?, FloorDisk::None)?.0;
        world.set_address(0, Some(subject.address()));
        kills += 1;
        if kills >= KILLS_MIN && (is_merged || merging == Merging::MayFail) {
            return Ok((subject, kills));
        }
        fill(world, &subject, &mut fillers, Duration::from_millis(rng.u64(ALIVE_MS)))?;
        let merged = stored_merged(world, &subject)?;
        is_merged = merged.iter().zip(&can_merge).all(|(merged, can)| *merged > 0 || !can);
        let is_due = merging == Merging::Must && begin.elapsed() > MERGED_WITHIN;
        ensure!(is_merged || !is_due, "of the runs, {merged:?} events are stored merged");
    }
}

/// Appends to other runs for so long.
fn fill(
    world: &World,
    subject: &Subject,
    fillers: &mut impl Iterator<Item = u64>,
    time: Duration,
) -> Result<()> {
    let begin = Instant::now();
    let mut caller = Caller::connect(subject.address())?;
    let filling = "x".repeat(FILLING_BYTES);
    let body = format!(r#"{{"type":"test.event","data":{{"pad":"{filling}"}}}}"#);
    for filler in fillers {
        world.check()?;
        let path = format!("/v1/runs/filler-{filler}/events");
        let answer = caller.post(&path, "Content-Type: application/json\r\n", body.as_bytes())?;
        ensure!(answer.status == 200, "an append was answered {}", answer.status);
        if begin.elapsed() > time {
            break;
        }
    }
    Ok(())
}

/// The state of each run.
fn states(world: &World, subject: &Subject) -> Result<Vec<Value>> {
    let mut caller = Caller::connect(subject.address())?;
    let state = |run: &String| {
        let answer = caller.get(&format!("/v1/runs/{run}"))?;
        ensure!(answer.status == 200, "the state of {run} was answered {}", answer.status);
        Ok(serde_json::from_slice(&answer.body)?)
    };
    world.runs.iter().map(state).collect()
}

/// How many events of each run are stored merged with others.
fn stored_merged(world: &World, subject: &Subject) -> Result<Vec<u64>> {
    let of_run = |run: &String| {
        let events = events_of(subject.address(), run)?;
        Ok(events.iter().filter_map(|event| event["merged"].as_u64()).sum())
    };
    world.runs.iter().map(of_run).collect()
}
