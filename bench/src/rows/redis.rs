//! Two servers on one Redis: what is published at one and read at the other, and what it costs both and
//! Redis.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use super::fan_out::{
    FAN_OUT_EVERY, MANY_RUNS_CONNECTIONS, MANY_RUNS_EVERY, WARM_UP_PART, fan_out,
};
use super::flow::{CONNECT_MAX, arrive, fill, flow_from, run_names, sample_of};
use super::idle::idle;
use super::{Line, Row, Target};
use crate::publish::{Amount, Pace, Plan, Progress, Published, publish_in_background};
use crate::sample::{Sample, Spent, Window, number};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Place, Redis, Subject};
use crate::viewers::Fleet;

const CPU: Line = Line::new("cpu", "µs", "CPU of both servers an event", Target::Shown);
const REDIS_CPU: Line = Line::new("redis", "µs", "CPU of Redis an event", Target::Shown);

pub(super) const FAN_OUT: Row = Row {
    name: "redis-fan-out",
    about: "1 run, 1,000 viewers at another server than the producer, 100 events/s",
    has_floor: false,
    lines: &[
        Line::new(
            "ratio",
            "×",
            "CPU of both servers, of what one alone needs",
            Target::AtMost(1.1),
        ),
        Line::new("cpu", "µs", "CPU of both servers a delivery", Target::Shown),
        Line::new("redis", "µs", "CPU of Redis an event", Target::Shown),
    ],
    measure: fan_out_of_two,
};

pub(super) const MANY_RUNS: Row = Row {
    name: "redis-many-runs",
    about: "1,000 runs, 1 viewer each at another server than the producer, 2,000 events/s in all",
    has_floor: false,
    lines: &[
        Line { target: Target::AtMost(25.0), ..CPU },
        Line { target: Target::AtMost(25.0), ..REDIS_CPU },
        Line::new("alone", "µs", "the same with one server: its CPU an event", Target::Shown),
    ],
    measure: many_runs,
};

pub(super) const SINGLE: Row = Row {
    name: "redis-append-single",
    about: "single events over 64 connections to 64 runs",
    has_floor: false,
    lines: &[CPU, REDIS_CPU, Line::new("rate", "/s", "events a second", Target::Shown)],
    measure: |place, scale| append(place, scale, (64, 1)),
};

pub(super) const BATCH: Row = Row {
    name: "redis-append-batch",
    about: "NDJSON batches of 100 over 8 connections to 8 runs",
    has_floor: false,
    lines: &[
        Line { target: Target::AtMost(3.0), ..CPU },
        Line { target: Target::AtMost(2.0), ..REDIS_CPU },
        Line::new("rate", "/s", "events a second", Target::Shown),
    ],
    measure: |place, scale| append(place, scale, (8, 100)),
};

pub(super) const LATENCY: Row = Row {
    name: "redis-latency",
    about: "1 run, 1 viewer at another server than the producer, 100 events/s",
    has_floor: false,
    lines: &[
        Line::new("p99", "ms", "p99 of a delivery", Target::AtMost(2.0)),
        Line::new("p50", "ms", "p50 of a delivery", Target::Shown),
    ],
    measure: latency,
};

pub(super) const IDLE: Row = Row {
    name: "redis-idle",
    about: "10,000 SSE viewers of one run; then each of its own",
    has_floor: false,
    lines: &[
        Line::new(
            "ratio",
            "×",
            "memory a viewer of one run, of the embedded log's",
            Target::AtMost(1.1),
        ),
        Line::new("kib", "KiB", "memory a viewer of one run", Target::Shown),
        Line::new("kib_apart", "KiB", "memory a viewer of its own run", Target::Shown),
        Line::new("kib_apart_alone", "KiB", "the same with the embedded log", Target::Shown),
    ],
    measure: idle_of_two,
};

pub(super) const ROOM: Row = Row {
    name: "redis-room",
    about: "100,000 events in batches of 100 to 16 runs; then 10,000 runs of one event",
    has_floor: false,
    lines: &[
        Line::new("event", "B", "memory of Redis for a 200-byte event", Target::Shown),
        Line::new("run", "B", "memory of Redis for a run, with its first event", Target::Shown),
    ],
    measure: room,
};

pub(super) const MOVING: Row = Row {
    name: "redis-moving",
    about: "500 viewers of 50 runs that go from one server to the other, 5,000 events/s at both",
    has_floor: false,
    lines: &[
        Line::new("events", "", "events published", Target::Shown),
        Line::new("deliveries", "", "events that viewers were given", Target::Shown),
        Line::new("moves", "", "times that a viewer went to the other server", Target::Shown),
    ],
    measure: moving,
};

const MOVING_VIEWERS: usize = 500;
const MOVING_RUNS: usize = 50;
const MOVING_CONNECTIONS: usize = 8;
/// At each of the two servers so many events in a request, so often: 5,000 a second in all.
const MOVING_EVENTS: usize = 5;
const MOVING_PACE: Duration = Duration::from_millis(2);
/// So often one in so many viewers moves.
const MOVE_EVERY: Duration = Duration::from_millis(300);
const MOVE_PART: usize = 10;

const LATENCY_EVERY: Duration = Duration::from_millis(10);
const LATENCY_WARM_UP: u64 = 10;
const ROOM_EVENTS: u64 = 100_000;
const ROOM_BATCH: usize = 100;
const ROOM_RUNS: usize = 10_000;

/// A Redis, the server that is published to and the one that is watched.
struct Two {
    source: Subject,
    watched: Subject,
    redis: Redis,
}

/// What all three spent.
struct SpentByTwo {
    source: Spent,
    watched: Spent,
    redis: Duration,
}

impl Two {
    fn start(place: &Place) -> Result<Self> {
        let redis = Redis::start(place)?;
        let place = place.on(&redis);
        let source = place.start(FloorDisk::None)?;
        Ok(Self { source, watched: place.start(FloorDisk::None)?, redis })
    }

    fn window<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, SpentByTwo)> {
        let redis = self.redis.cpu()?;
        let (source, watched) = (Window::open(&self.source)?, Window::open(&self.watched)?);
        let done = work()?;
        let (source, watched) = (source.close()?, watched.close()?);
        let redis = self.redis.cpu()?.saturating_sub(redis);
        Ok((done, SpentByTwo { source, watched, redis }))
    }

    fn flow(&self, fleet: &mut Fleet, plan: Plan) -> Result<(Published, SpentByTwo)> {
        self.window(|| flow_from(self.source.address(), fleet, plan))
    }
}

impl SpentByTwo {
    fn microseconds_each(&self, count: u64) -> f64 {
        self.source.microseconds_each(count) + self.watched.microseconds_each(count)
    }

    fn of_redis_each(&self, count: u64) -> f64 {
        self.redis.as_secs_f64() * 1e6 / number(count.max(1))
    }

    /// As the table has it: what others spent is what neither server did.
    fn both(&self) -> Spent {
        let subject_s = self.source.subject_s + self.watched.subject_s;
        let others_s = (self.source.others_s - self.watched.subject_s).max(0.0);
        Spent { subject_s, others_s, ..self.source }
    }
}

fn fan_out_of_two(place: &Place, scale: &Scale) -> Result<Sample> {
    let alone = fan_out(&place.start(FloorDisk::None)?, scale, |fleet| fleet)?;
    let alone = alone.figures.get("cpu").copied().context("one server has no figure")?;
    let two = Two::start(place)?;
    let runs = run_names("fan-out", 1);
    let viewers = (0..scale.viewers).map(|_| (0, runs[0].as_str()));
    let mut fleet = Fleet::new(two.watched.address(), viewers)?;
    let plan = Plan {
        runs: runs.clone(),
        connections: 1,
        events_a_request: 1,
        pace: Pace::Every(FAN_OUT_EVERY),
        amount: Amount::For(scale.flow / WARM_UP_PART),
    };
    fleet.connect_gently(CONNECT_MAX)?;
    two.flow(&mut fleet, plan.clone())?;
    let (published, spent) =
        two.flow(&mut fleet, Plan { amount: Amount::For(scale.flow), ..plan })?;
    let cpu = spent.microseconds_each(fleet.seen().events);
    Ok(sample_of(&fleet, &published, spent.both())
        .with("ratio", cpu / alone)
        .with("cpu", cpu)
        .with("redis", spent.of_redis_each(published.events)))
}

fn many_runs(place: &Place, scale: &Scale) -> Result<Sample> {
    let alone = {
        let redis = Redis::start(place)?;
        super::fan_out::many_runs(&place.on(&redis), scale)?
    };
    let alone = alone.figures.get("cpu").copied().context("one server has no figure")?;
    let two = Two::start(place)?;
    let runs = run_names("many-runs", scale.viewers);
    let viewers = runs.iter().enumerate().map(|(run, name)| (run, name.as_str()));
    let mut fleet = Fleet::new(two.watched.address(), viewers)?;
    let plan = Plan {
        runs: runs.clone(),
        connections: MANY_RUNS_CONNECTIONS,
        events_a_request: 1,
        pace: Pace::Every(MANY_RUNS_EVERY),
        amount: Amount::Requests(scale.viewers as u64),
    };
    fleet.connect_gently(CONNECT_MAX)?;
    two.flow(&mut fleet, plan.clone())?;
    let (published, spent) =
        two.flow(&mut fleet, Plan { amount: Amount::For(scale.flow), ..plan })?;
    Ok(sample_of(&fleet, &published, spent.both())
        .with("alone", alone)
        .with("cpu", spent.microseconds_each(published.events))
        .with("redis", spent.of_redis_each(published.events)))
}

fn append(
    place: &Place,
    scale: &Scale,
    (connections, events_a_request): (usize, usize),
) -> Result<Sample> {
    let two = Two::start(place)?;
    let plan = Plan {
        runs: run_names("append", connections),
        connections,
        events_a_request,
        pace: Pace::AtOnce,
        amount: Amount::For(scale.appends / WARM_UP_PART),
    };
    // Nobody watches: it is seen that all comes by the offsets that are acknowledged.
    let mut nobody = Fleet::new(two.watched.address(), std::iter::empty())?;
    two.flow(&mut nobody, plan.clone())?;
    let (published, spent) =
        two.flow(&mut nobody, Plan { amount: Amount::For(scale.appends), ..plan })?;
    let rate = number(published.events) / published.wall.as_secs_f64();
    Ok(sample_of(&nobody, &published, spent.both())
        .with("cpu", spent.microseconds_each(published.events))
        .with("redis", spent.of_redis_each(published.events))
        .with("rate", rate))
}

fn latency(place: &Place, scale: &Scale) -> Result<Sample> {
    let two = Two::start(place)?;
    let runs = run_names("latency", 1);
    let mut fleet = Fleet::new(two.watched.address(), [(0, runs[0].as_str())])?;
    let plan = Plan {
        runs: runs.clone(),
        connections: 1,
        events_a_request: 1,
        pace: Pace::Every(LATENCY_EVERY),
        amount: Amount::Requests(LATENCY_WARM_UP),
    };
    fleet.connect_gently(CONNECT_MAX)?;
    two.flow(&mut fleet, plan.clone())?;
    let plan = Plan { amount: Amount::Requests(scale.latency_events), ..plan };
    let (published, spent) = two.flow(&mut fleet, plan)?;
    let sample = sample_of(&fleet, &published, spent.both());
    let delivery = sample.latency_ms.context("no event came")?;
    Ok(sample.with("p99", delivery.p99).with("p50", delivery.p50))
}

fn idle_of_two(place: &Place, scale: &Scale) -> Result<Sample> {
    let measure = |on_redis: bool, runs: usize| {
        let redis = Redis::start(place)?;
        let place = if on_redis { place.on(&redis) } else { place.clone() };
        let subject = place.start(FloorDisk::None)?;
        let sample = idle(&subject, scale, runs, |fleet| fleet)?;
        let kib = sample.figures.get("kib").copied().context("it has no figure")?;
        Ok::<_, anyhow::Error>((sample, kib))
    };
    let (sample, kib) = measure(true, 1)?;
    let (_, alone) = measure(false, 1)?;
    let (_, apart) = measure(true, scale.idle)?;
    let (_, apart_alone) = measure(false, scale.idle)?;
    Ok(sample
        .with("ratio", kib / alone)
        .with("kib", kib)
        .with("kib_apart", apart)
        .with("kib_apart_alone", apart_alone))
}

fn room(place: &Place, scale: &Scale) -> Result<Sample> {
    let two = Two::start(place)?;
    let bytes = || Ok::<_, anyhow::Error>(number(two.redis.used_memory()?));
    let requests = ROOM_EVENTS / ROOM_BATCH as u64;
    let plan = |runs: usize, events_a_request: usize, requests: u64| Plan {
        runs: run_names(&format!("room-{runs}-{requests}"), runs),
        connections: 16,
        events_a_request,
        pace: Pace::AtOnce,
        amount: Amount::Requests(requests),
    };
    // What Redis allocates once is not counted.
    fill(&two.source, &plan(16, ROOM_BATCH, 160))?;
    let window = Window::open(&two.source)?;
    let before = bytes()?;
    fill(&two.source, &plan(16, ROOM_BATCH, requests))?;
    let events = bytes()?;
    let runs = ROOM_RUNS.min(scale.idle);
    fill(&two.source, &plan(runs, 1, runs as u64))?;
    let all = bytes()?;
    Ok(Sample { spent: window.close()?, ..Sample::default() }
        .with("event", (events - before) / number(ROOM_EVENTS))
        .with("run", (all - events) / number(runs as u64)))
}

fn moving(place: &Place, scale: &Scale) -> Result<Sample> {
    let two = Two::start(place)?;
    let servers = [two.source.address(), two.watched.address()];
    let runs = run_names("moving", MOVING_RUNS);
    let viewers = (0..MOVING_VIEWERS).map(|at| (at % MOVING_RUNS, runs[at % MOVING_RUNS].as_str()));
    let mut fleet = Fleet::new(servers[1], viewers)?;
    fleet.connect_gently(CONNECT_MAX)?;
    fleet.begin_record();
    let plan = Plan {
        runs: runs.clone(),
        connections: MOVING_CONNECTIONS,
        events_a_request: MOVING_EVENTS,
        pace: Pace::Every(MOVING_PACE),
        amount: Amount::For(scale.moving),
    };
    // Both publish to all runs.
    let progress = Progress::of(MOVING_RUNS);
    let mut moves = 0;
    let (published, spent) = two.window(|| {
        let publishers =
            servers.map(|at| publish_in_background(at, plan.clone(), Arc::clone(&progress)));
        while !publishers.iter().all(JoinHandle::is_finished) {
            fleet.drive(MOVE_EVERY, |_| false)?;
            for _ in 0..MOVING_VIEWERS / MOVE_PART {
                fleet.move_to(fastrand::usize(..MOVING_VIEWERS), servers[moves % 2])?;
                moves += 1;
            }
        }
        let published = publishers.map(|publisher| {
            publisher.join().map_err(|_| anyhow!("a publisher panicked")).flatten()
        });
        arrive(&mut fleet, &progress)?;
        published.into_iter().collect::<Result<Vec<_>>>()
    })?;
    let events = published.iter().map(|published| published.events).sum();
    let mut sample = sample_of(&fleet, &published[0], spent.both());
    sample.faults.refused += published[1].refused;
    sample.problem = published.into_iter().find_map(|published| published.problem);
    Ok(sample
        .with("events", number(events))
        .with("deliveries", number(fleet.seen().events))
        .with("moves", number(moves as u64)))
}
