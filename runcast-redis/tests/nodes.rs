//! Several nodes on one Redis: whoever appends, all readers see the same.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runcast_contract::{batch, events, feed, run};
use runcast_event::{Epoch, Offset, RunId};
use runcast_hub::{Delivery, GapReason};
use runcast_log::{Append, AppendError, Log, ReadError, Trim};
use runcast_redis::{OpenError, RedisLog, RedisOptions};
use support::readers::{
    SOON, append_surely, check_whole, follow, get, hub, next, numbered, produce,
};
use support::witness::hub_with;
use support::{Server, node, options};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_appends_every_follower_on_every_node_gets_the_same() {
    let server = Server::start();
    let ((hub_1, log_1), (hub_2, log_2)) = (hub(&server).await, hub(&server).await);
    let mut followers = [follow(&hub_1, "a", "0").await, follow(&hub_2, "a", "0").await];
    let producers = [
        tokio::spawn(produce(Arc::clone(&log_1), "one", 400)),
        tokio::spawn(produce(Arc::clone(&log_2), "two", 400)),
        tokio::spawn(produce(Arc::clone(&log_2), "three", 400)),
    ];
    let first = get(&mut followers[0], 1_200).await;
    check_whole(&first, &["one", "two", "three"], 400);
    assert_eq!(get(&mut followers[1], 1_200).await, first);
    for producer in producers {
        producer.await.unwrap();
    }
    let end = Append { close: true, ..batch("a", &["end"]) };
    log_2.append(end).await.unwrap();
    for follower in &mut followers {
        assert_eq!(get(follower, 1).await, ["end"]);
        assert!(matches!(next(follower).await, Delivery::End { .. }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_and_scripts_that_are_lost_cost_no_event() {
    let server = Server::start();
    let ((hub_1, log_1), (hub_2, log_2)) = (hub(&server).await, hub(&server).await);
    let mut followers = [follow(&hub_1, "a", "0").await, follow(&hub_2, "a", "0").await];
    let enough = Arc::new(AtomicBool::new(false));
    let until_enough = |log: &Arc<RedisLog>, name: &'static str| {
        let (log, enough) = (Arc::clone(log), Arc::clone(&enough));
        tokio::spawn(async move {
            let mut at = 0;
            while !enough.load(Ordering::Relaxed) {
                append_surely(&log, numbered(name, at, 3)).await;
                at += 3;
            }
            at
        })
    };
    let producers = [until_enough(&log_1, "one"), until_enough(&log_2, "two")];
    for round in 0..15 {
        match round % 3 {
            0 => server.command(&["SCRIPT", "FLUSH"]),
            1 => server.command(&["CLIENT", "KILL", "TYPE", "normal"]),
            _ => server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]),
        };
        // Time for the nodes to do something between two cuts.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    enough.store(true, Ordering::Relaxed);
    let [one, two] = producers;
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    let first = get(&mut followers[0], (one + two) as usize).await;
    for (name, count) in [("one", one), ("two", two)] {
        let own: Vec<String> =
            first.iter().filter(|text| text.starts_with(name)).cloned().collect();
        check_whole(&own, &[name], count);
    }
    assert_eq!(get(&mut followers[1], (one + two) as usize).await, first);
}

/// What a node does, but for telling the others.
fn append_in_silence(server: &Server, offset: u64, text: &str) {
    let offset = offset.to_string();
    server.command(&["XADD", "rc:{a}:events", &format!("{offset}-1"), "x", text]);
    server.command(&["HINCRBY", "rc:{a}:meta", "v", "1"]);
    server.command(&["HSET", "rc:{a}:meta", "last", &offset]);
}

#[tokio::test]
async fn a_message_that_is_lost_is_found_also_if_it_is_the_last() {
    let server = Server::start();
    let (hub, log) = hub(&server).await;
    log.append(batch("a", &["1"])).await.unwrap();
    let mut follower = follow(&hub, "a", "0").await;
    assert_eq!(get(&mut follower, 1).await, ["1"]);
    append_in_silence(&server, 2, "2");
    assert_eq!(get(&mut follower, 1).await, ["2"], "nothing else comes");
    append_in_silence(&server, 3, "3");
    append_in_silence(&server, 4, "4");
    log.append(batch("a", &["5"])).await.unwrap();
    assert_eq!(get(&mut follower, 3).await, ["3", "4", "5"]);
}

#[tokio::test]
async fn messages_that_are_too_many_are_read_instead() {
    let server = Server::start();
    let options = RedisOptions { messages_max: 1, ..options(&server) };
    let ((hub, _log), (_, other)) = (hub_with(options).await, hub(&server).await);
    let mut follower = follow(&hub, "a", "0").await;
    produce(other, "one", 300).await;
    check_whole(&get(&mut follower, 300).await, &["one"], 300);
}

#[tokio::test]
async fn a_stream_that_somebody_deletes_by_hand_is_a_gap_and_goes_on() {
    let server = Server::start();
    let (hub, log) = hub(&server).await;
    log.append(batch("a", &["1", "2", "3"])).await.unwrap();
    server.command(&["DEL", "rc:{a}:events"]);
    let read = events(&*log, "a").await;
    let damaged = matches!(&read, Err(ReadError::Damaged { first, last, reason })
        if first.get() == 1 && last.get() == 3 && reason.contains("rc:{a}:events"));
    assert!(damaged, "{read:?}");
    log.append(batch("a", &["4"])).await.unwrap();
    let mut follower = follow(&hub, "a", "1").await;
    let Delivery::Gap(gap) = next(&mut follower).await else { panic!("no gap") };
    assert_eq!((gap.from.get(), gap.to.get(), gap.reason), (2, 3, GapReason::Damaged));
    assert_eq!(get(&mut follower, 1).await, ["4"]);
    server.command(&["XDEL", "rc:{a}:events", "4-1"]);
    log.append(batch("a", &["5"])).await.unwrap();
    let page = log.read(&run("a"), Offset::new(4), runcast_contract::ALL).await.unwrap();
    assert_eq!(page.records.len(), 1);
}

#[tokio::test]
async fn an_append_whose_answer_is_late_is_stored_once_and_acknowledged() {
    let server = Server::start();
    let options = RedisOptions { command_timeout: Duration::from_millis(100), ..options(&server) };
    let (_, log) = hub_with(options).await;
    log.append(batch("a", &["1"])).await.unwrap();
    server.command(&["CLIENT", "PAUSE", "500", "WRITE"]);
    // Without a producer: nothing but the engine itself keeps it from being stored twice.
    let appended = log.append(batch("a", &["2"])).await.unwrap();
    assert_eq!((appended.last.get(), appended.stored), (2, 1));
    assert_eq!(events(&*log, "a").await.unwrap(), ["1", "2"]);
    log.append(batch("a", &["3"])).await.unwrap();
    assert_eq!(events(&*log, "a").await.unwrap(), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_full_redis_refuses_what_is_new_and_throws_nothing_away() {
    let server = Server::start();
    let (_, log) = hub(&server).await;
    log.append(batch("a", &["1"])).await.unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = log.append(batch("a", &["2"])).await;
    assert!(matches!(refused, Err(AppendError::NoRoom { .. })), "{refused:?}");
    assert_eq!(events(&*log, "a").await.unwrap(), ["1"]);
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    log.append(batch("a", &["2"])).await.unwrap();
    assert_eq!(events(&*log, "a").await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn a_redis_that_would_throw_streams_away_is_refused() {
    let server = Server::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let refused = RedisLog::open(options(&server), Arc::new(())).await;
    let Err(error @ OpenError::Evicts { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("set maxmemory-policy noeviction"), "{error}");
}

#[tokio::test]
async fn what_two_nodes_want_to_say_at_one_offset_only_one_of_them_says() {
    let server = Server::start();
    let ((_, log_1), (_, log_2)) = (hub(&server).await, hub(&server).await);
    log_1.append(batch("a", &["1"])).await.unwrap();
    assert_eq!(events(&*log_2, "a").await.unwrap(), ["1"]);
    let crashed =
        |text| Append { expected_last: Some(Offset::new(1)), close: true, ..batch("a", &[text]) };
    let (one, two) = tokio::join!(log_1.append(crashed("by 1")), log_2.append(crashed("by 2")));
    let refused = [&one, &two].into_iter().filter(|answer| answer.is_err()).count();
    assert_eq!(refused, 1, "{one:?} {two:?}");
    assert_eq!(events(&*log_1, "a").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_never_by_an_old_copy_of_the_stream() {
    let server = Server::start();
    let ((_, log_1), (_, log_2)) = (hub(&server).await, hub(&server).await);
    log_1.append(numbered("p", 0, 1)).await.unwrap();
    for at in 1..50 {
        let log = if at % 2 == 0 { &log_1 } else { &log_2 };
        let expected_last = Some(Offset::new(at));
        let appended = log.append(Append { expected_last, ..numbered("p", at, 1) }).await;
        assert_eq!(appended.unwrap().last.get(), at + 1);
        let other = if at % 2 == 0 { &log_2 } else { &log_1 };
        let again = other.append(numbered("p", at, 1)).await.unwrap();
        assert_eq!((again.stored, again.duplicates), (0, 1));
    }
    log_1.delete(&run("a")).await.unwrap();
    assert_eq!(log_2.append(numbered("p", 0, 1)).await.unwrap().epoch.get(), 2);
    assert_eq!(log_1.append(numbered("p", 1, 1)).await.unwrap().last.get(), 2);
}

#[tokio::test]
async fn a_node_that_is_slower_gets_its_turn() {
    let server = Server::start();
    let ((_, fast), (_, slow)) = (hub(&server).await, hub(&server).await);
    let flood = {
        let fast = Arc::clone(&fast);
        tokio::spawn(async move {
            loop {
                fast.append(batch("a", &["x"])).await.unwrap();
            }
        })
    };
    for at in 0..50 {
        timeout(SOON, slow.append(numbered("slow", at, 1))).await.unwrap().unwrap();
    }
    flood.abort();
}

#[tokio::test]
async fn a_run_that_another_node_deletes_is_told_to_be_and_may_be_made_again() {
    let server = Server::start();
    let ((hub, _log), (_, other)) = (hub(&server).await, hub(&server).await);
    other.append(batch("a", &["1"])).await.unwrap();
    let mut follower = follow(&hub, "a", "0").await;
    get(&mut follower, 1).await;
    assert!(other.delete(&run("a")).await.unwrap());
    assert!(matches!(next(&mut follower).await, Delivery::Deleted));
    other.append(batch("a", &["new"])).await.unwrap();
    let mut follower = follow(&hub, "a", "0").await;
    assert_eq!(get(&mut follower, 1).await, ["new"]);
}

#[tokio::test]
async fn of_a_deleted_run_nothing_is_left_after_a_while_but_of_one_that_was_made_again() {
    let server = Server::start();
    let options = RedisOptions { tombstone: Duration::from_millis(50), ..options(&server) };
    let (_hub, log) = hub_with(options).await;
    for name in ["gone", "again"] {
        log.append(batch(name, &["1"])).await.unwrap();
        assert!(log.delete(&run(name)).await.unwrap());
    }
    log.append(batch("again", &["2"])).await.unwrap();
    // As if they had been noted long ago.
    server.command(&["DEL", "rc:{$names}:noted"]);
    let left = async {
        while server.command(&["ZCARD", "rc:{$names}"]).trim() != "1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, left).await.expect("it is forgotten");
    assert_eq!(server.command(&["EXISTS", "rc:{gone}:meta"]).trim(), "0");
    let page = log.read(&run("again"), Offset::START, runcast_contract::ALL).await.unwrap();
    assert_eq!((page.records.len(), page.stat.epoch > Epoch::FIRST), (1, true));
}

#[tokio::test]
async fn changes_of_runs_that_nobody_follows_are_heard_of_on_every_node() {
    let server = Server::start();
    let ((hub, _log), (_, other)) = (hub(&server).await, hub(&server).await);
    let mut changes = hub.changes();
    // The node hears from when it is subscribed.
    let heard = async {
        loop {
            let changed = changes.next().await;
            if changed.contains(&run("a")) {
                break;
            }
        }
    };
    let append = async {
        loop {
            other.append(batch("a", &["1"])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = heard => {}
        () = append => {}
        () = tokio::time::sleep(SOON) => panic!("it hears nothing"),
    }
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    other.append(batch("b", &["1"])).await.unwrap();
    let heard = async { while !changes.next().await.contains(&run("b")) {} };
    timeout(SOON, heard).await.expect("what was not heard is looked for");
}

#[tokio::test]
async fn entries_of_the_feed_are_brought_there_for_a_node_that_died_on_the_way() {
    let server = Server::start();
    let recorder = Arc::<runcast_contract::Recorder>::default();
    let options = RedisOptions { pending_max: Duration::from_millis(300), ..options(&server) };
    let log = RedisLog::open(options, recorder).await.unwrap();
    log.append(batch("a", &["life 1"])).await.unwrap();
    // As a node leaves it that dies behind its script.
    server.command(&["HSET", "rc:{$feed}:pending", "b", "999 1 1 0 0"]);
    server.command(&["XADD", "rc:{b}:outbox", "1-0", "e", "b begins 1.1"]);
    let brought = async {
        while feed(&*log).await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, brought).await.expect("nobody brings it");
    assert_eq!(feed(&*log).await, ["a begins 1.1", "b begins 1.1"]);
    let tidied = async {
        while server.command(&["HLEN", "rc:{$feed}:pending"]).trim() != "1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, tidied).await.expect("only the counter is left");
    assert_eq!(server.command(&["EXISTS", "rc:{b}:outbox", "rc:{a}:outbox"]).trim(), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_has_each_entry_once_whichever_node_brings_it() {
    let server = Server::start();
    let (one, two) = (node(&server).await.0, node(&server).await.0);
    let tasks: Vec<_> = (0..8_u64)
        .map(|task| {
            let log = Arc::clone(if task % 2 == 0 { &one } else { &two });
            tokio::spawn(async move {
                for at in 0..20 {
                    let name = format!("r{}", at % 3);
                    let text = format!("life {task} {at}");
                    append_surely(&log, batch(&name, &[&text])).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut entries = feed(&*one).await;
    assert_eq!(entries.len(), 160);
    entries.sort();
    entries.dedup();
    assert_eq!(entries.len(), 160, "none twice");
    assert_eq!(feed(&*two).await.len(), 160);
    assert!(one.trim(&RunId::feed(), Trim::before(Offset::new(100))).await.unwrap());
    two.append(batch("r0", &["life"])).await.unwrap();
    assert_eq!(one.stat(&RunId::feed()).await.unwrap().unwrap().last.get(), 161);
}

#[tokio::test]
async fn an_append_that_no_replica_confirms_is_not_acknowledged() {
    let server = Server::start();
    let options = RedisOptions {
        wait_replicas: 1,
        wait_timeout: Duration::from_millis(20),
        ..options(&server)
    };
    let (_, log) = hub_with(options).await;
    let refused = log.append(batch("a", &["1"])).await;
    let Err(AppendError::Unavailable { reason }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("0 of 1 replicas"), "{reason}");
    assert_eq!(events(&*log, "a").await.unwrap(), ["1"], "it may be stored, and is");
}
