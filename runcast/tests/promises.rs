//! The promises of the design, with the real binary: what is acknowledged is kept, once and in one
//! order, for every follower, through twenty `kill -9` under load.

#![allow(clippy::unwrap_used, reason = "tests")]

mod server;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use runcast_client::{Client, FollowItem, Producer};
use runcast_contract::redis_server::Server as Redis;
use runcast_event::{Cursor, Offset, ProducerId, RunId};
use server::Server;
use tokio::sync::Notify;

const KILLS: usize = 20;
const RUNS: usize = 3;
const PRODUCERS_PER_RUN: usize = 2;
const FOLLOWERS_PER_RUN: usize = 3;
/// How many events are acknowledged between two kills, at the least.
const EVENTS_BETWEEN_KILLS: u64 = 500;
/// Only so that a promise that is broken by hanging fails too.
const PATIENCE: Duration = Duration::from_secs(180);

/// What producers were promised.
#[derive(Default)]
struct Acknowledged {
    events: AtomicU64,
    more: Notify,
    /// Which event was acknowledged at which place: (run, offset) → (producer, number).
    places: Mutex<HashMap<(usize, u64), (usize, u64)>>,
    enough: std::sync::atomic::AtomicBool,
}

impl Acknowledged {
    fn is_enough(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }

    async fn wait_for(&self, events: u64) {
        loop {
            let more = self.more.notified();
            if self.events.load(Ordering::Relaxed) >= events {
                return;
            }
            more.await;
        }
    }
}

fn run_id(run: usize) -> RunId {
    RunId::new(&format!("run-{run}")).unwrap()
}

/// Of a producer's events, those that the feed tells of.
fn is_life(number: u64) -> bool {
    number % 11 == 5
}

fn line(producer: usize, number: u64) -> String {
    let event_type = if is_life(number) { "run.updated" } else { "test.event" };
    format!(r#"{{"type":"{event_type}","data":{{"producer":{producer},"number":{number}}}}}"#)
        + "\n"
}

/// Appends batches of varying sizes, each until it is acknowledged. Returns how many events.
async fn produce(client: Client, run: usize, producer: usize, promised: Arc<Acknowledged>) -> u64 {
    let mut stamp = Producer {
        id: ProducerId::new(&format!("producer-{producer}")).unwrap(),
        epoch: 0,
        sequence: 0,
    };
    while !promised.is_enough() {
        let count = stamp.sequence % 7 + 1;
        let numbers = stamp.sequence..stamp.sequence + count;
        let body: Bytes = numbers.clone().map(|n| line(producer, n)).collect::<String>().into();
        let answer = loop {
            match client.append_lines(&run_id(run), body.clone(), Some(&stamp)).await {
                Ok(answer) => break answer,
                Err(error) if error.is_retryable() => tokio::task::yield_now().await,
                Err(error) => panic!("an append that may be retried was refused: {error}"),
            }
        };
        assert_eq!(answer.stored + answer.duplicates, count);
        if answer.duplicates == 0 {
            let first = answer.first.unwrap().get();
            let mut places = promised.places.lock().unwrap();
            places.extend(numbers.map(|n| ((run, first + n - stamp.sequence), (producer, n))));
        }
        stamp.sequence += count;
        promised.events.fetch_add(count, Ordering::Relaxed);
        promised.more.notify_waiters();
    }
    stamp.sequence
}

/// Follows to the end and returns what it saw: the events' producers and numbers, in order.
async fn follow(client: Client, run: usize) -> Vec<(usize, u64)> {
    let mut follower = client.follow(&run_id(run), Cursor::START);
    let mut seen = Vec::new();
    loop {
        match follower.next().await.expect("no end without a terminal event").unwrap() {
            FollowItem::State(_) => {}
            FollowItem::Event(event) => {
                assert_eq!(event.offset.get(), seen.len() as u64 + 1, "lost or doubled");
                let data = event.data_value();
                let producer = data["producer"].as_u64().map_or(usize::MAX, |n| n as usize);
                seen.push((producer, data["number"].as_u64().unwrap_or_default()));
            }
            FollowItem::End { event_type } => {
                assert_eq!(event_type.as_deref(), Some("run.completed"));
                return seen;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What the feed tells of each run: the places of its events, in the feed's order.
fn feed(server: &Server) -> HashMap<RunId, Vec<u64>> {
    let mut told: HashMap<RunId, Vec<u64>> = HashMap::new();
    let (mut offset, mut after) = (0, "0".to_owned());
    loop {
        let page = server.get(&format!("/v1/feed?limit=1000&after={after}"));
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        let entries = page["events"].as_array().unwrap();
        if entries.is_empty() {
            return told;
        }
        after = page["next"].as_str().unwrap().to_owned();
        for entry in entries {
            offset += 1;
            assert_eq!(entry["offset"], offset, "lost or doubled");
            let run = RunId::new(entry["run"].as_str().unwrap()).unwrap();
            told.entry(run).or_default().push(entry["data"]["offset"].as_u64().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_lose_double_and_reorder_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::started(directory.path());
    keep_through_kills(vec![server], |_, servers| restart(&mut servers[0])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_kills_in_the_middle_of_seals_and_merges() {
    let seals_all_the_time = ["wal_bytes_max=10000", "merge_segments=2", "files_open_max=2"];
    let directory = tempfile::tempdir().unwrap();
    let server = Server::started_with(directory.path(), &seals_all_the_time);
    keep_through_kills(vec![server], |_, servers| restart(&mut servers[0])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_kills_of_two_servers_and_of_the_redis_that_they_share() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let settings = ["redis_check_every_s=0.3", "redis_pending_max_s=1"];
    let servers = (0..2).map(|_| Server::started_on_redis(&redis.url(), &settings)).collect();
    keep_through_kills(servers, |kill, servers| match kill % 3 {
        0 => {
            redis.kill();
            redis.restart();
        }
        at => restart(&mut servers[at - 1]),
    })
    .await;
}

fn restart(server: &mut Server) {
    server.kill();
    server.start();
}

/// Whatever is killed, and whichever server producers and followers have.
async fn keep_through_kills(
    mut servers: Vec<Server>,
    mut kill_next: impl FnMut(usize, &mut [Server]),
) {
    let clients: Vec<_> =
        servers.iter().map(|server| Client::new(&server.url()).unwrap()).collect();
    let client = |at: usize| clients[at % clients.len()].clone();
    let promised = Arc::new(Acknowledged::default());

    let mut followers = Vec::new();
    let mut producers = Vec::new();
    for run in 0..RUNS {
        for at in 0..FOLLOWERS_PER_RUN {
            followers.push((run, tokio::spawn(follow(client(at), run))));
        }
        for at in 0..PRODUCERS_PER_RUN {
            let producer = run * PRODUCERS_PER_RUN + at;
            let task = produce(client(at), run, producer, Arc::clone(&promised));
            producers.push((producer, tokio::spawn(task)));
        }
    }

    for kill in 1..=KILLS {
        let events = promised.events.load(Ordering::Relaxed) + EVENTS_BETWEEN_KILLS;
        let waited = tokio::time::timeout(PATIENCE, promised.wait_for(events)).await;
        waited.unwrap_or_else(|_| panic!("nothing is acknowledged before kill {kill}"));
        kill_next(kill, &mut servers);
    }
    promised.enough.store(true, Ordering::Relaxed);

    let mut counts = HashMap::new();
    for (producer, task) in producers {
        counts.insert(producer, task.await.unwrap());
    }
    for run in 0..RUNS {
        let end = runcast_event::Draft::new("run.completed", serde_json::json!({}));
        client(0).append(&run_id(run), &[end]).await.unwrap();
    }
    let places = promised.places.lock().unwrap().clone();
    for (run, task) in followers {
        let seen = tokio::time::timeout(PATIENCE, task).await.expect("the end").unwrap();
        for ((_, offset), event) in places.iter().filter(|((of, _), _)| *of == run) {
            assert_eq!(seen[*offset as usize - 1], *event, "at offset {offset} of run {run}");
        }
        for at in 0..PRODUCERS_PER_RUN {
            let producer = run * PRODUCERS_PER_RUN + at;
            let numbers = seen.iter().filter(|(of, _)| *of == producer).map(|(_, number)| *number);
            let numbers: Vec<_> = numbers.collect();
            assert_eq!(numbers, (0..counts[&producer]).collect::<Vec<_>>(), "of {producer}");
        }
        let last = seen.len() as u64;
        let life = seen
            .iter()
            .zip(1..)
            .filter(|((_, number), offset)| is_life(*number) || *offset == 1 || *offset == last);
        let life: Vec<_> = life.map(|(_, offset)| offset).collect();
        for server in &servers {
            let until = std::time::Instant::now() + PATIENCE;
            // What a killed server left on the way into the feed, another brings there.
            while feed(server).get(&run_id(run)) != Some(&life) && std::time::Instant::now() < until
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(feed(server).get(&run_id(run)), Some(&life), "the feed of run {run}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_before_during_and_after_a_run_sees_the_same_events() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::started(directory.path());
    let client = Client::new(&server.url()).unwrap();
    let before = tokio::spawn(follow(client.clone(), 0));
    let half: String = (0..500).map(|number| line(0, number)).collect();
    client.append_lines(&run_id(0), half.into(), None).await.unwrap();
    let during = tokio::spawn(follow(client.clone(), 0));
    let rest: String = (500..1_000).map(|number| line(0, number)).collect();
    client.append_lines(&run_id(0), rest.into(), None).await.unwrap();
    let end = runcast_event::Draft::new("run.completed", serde_json::json!({}));
    client.append(&run_id(0), &[end]).await.unwrap();
    let after = follow(client.clone(), 0).await;
    assert_eq!(after.len(), 1_001);
    assert_eq!(before.await.unwrap(), after);
    assert_eq!(during.await.unwrap(), after);
}

#[tokio::test]
async fn a_deleted_run_stays_deleted_through_a_kill_and_its_old_cursors_are_known() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::started(directory.path());
    let client = Client::new(&server.url()).unwrap();
    client.append_lines(&run_id(0), line(0, 0).repeat(5).into(), None).await.unwrap();
    client.delete(&run_id(0)).await.unwrap();
    server.kill();
    server.start();
    // A client of its own: the other's open connection ended with the server.
    let client = Client::new(&server.url()).unwrap();
    let refused = client.run(&run_id(0)).await.unwrap_err();
    assert!(refused.to_string().contains("deleted"), "{refused}");
    client.append_lines(&run_id(0), line(0, 0).into(), None).await.unwrap();
    let mut follower = client.follow(&run_id(0), Cursor { after: Offset::new(4), ..Cursor::START });
    let gap = loop {
        match follower.next().await.unwrap().unwrap() {
            FollowItem::State(_) => {}
            FollowItem::Gap(gap) => break gap,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((gap.from.get(), gap.to.map(Offset::get)), (1, Some(4)));
}
