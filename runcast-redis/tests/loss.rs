//! A Redis that is killed, and one that has lost something.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use runcast_contract::{batch, feed, run};
use runcast_event::{Epoch, Offset};
use runcast_hub::{Delivery, FollowError, GapReason};
use runcast_log::{Append, AppendError, Log as _, LogHealth, ReadError, Trim};
use runcast_redis::RedisOptions;
use support::readers::{
    SOON, append_surely, check_whole, follow, get, hub, next, numbered, produce,
};
use support::witness::hub_with;
use support::{Server, node, options};
use tokio::time::timeout;

/// A node that keeps nothing for a Redis that loses something.
fn forgetful(server: &Server) -> RedisOptions {
    RedisOptions { refill_bytes_max: 0, ..options(server) }
}

#[tokio::test]
async fn a_redis_that_is_killed_and_has_all_on_its_disk_loses_nothing() {
    let mut server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (hub, log) = hub(&server).await;
    let mut follower = follow(&hub, "a", "0").await;
    produce(Arc::clone(&log), "one", 100).await;
    let producer = tokio::spawn(produce(Arc::clone(&log), "two", 300));
    server.kill();
    server.restart();
    producer.await.unwrap();
    let got = get(&mut follower, 400).await;
    let (one, two) = got.split_at(100);
    check_whole(one, &["one"], 100);
    check_whole(two, &["two"], 300);
}

#[tokio::test]
async fn events_that_redis_lost_are_a_gap_for_who_had_them_and_for_nobody_else() {
    let mut server = Server::start();
    let (one, two) = (hub_with(forgetful(&server)).await, hub_with(forgetful(&server)).await);
    let ((hub_1, log), (hub_2, _log_2)) = (one, two);
    log.append(batch("a", &["1", "2"])).await.unwrap();
    log.append(Append { close: true, ..batch("ended", &["1"]) }).await.unwrap();
    server.command(&["SAVE"]);
    let mut followers = [follow(&hub_1, "a", "0").await, follow(&hub_2, "a", "0").await];
    log.append(batch("a", &["lost 3", "lost 4"])).await.unwrap();
    for follower in &mut followers {
        assert_eq!(get(follower, 4).await, ["1", "2", "lost 3", "lost 4"]);
    }
    server.kill();
    server.restart();
    for (follower, hub) in followers.iter_mut().zip([&hub_1, &hub_2]) {
        assert!(matches!(next(follower).await, Delivery::Failed { .. }), "it ends, and can go on");
        let mut again = hub.follow(&run("a"), follower.cursor()).await.unwrap();
        let Delivery::Gap(gap) = next(&mut again).await else { panic!("no gap") };
        assert_eq!((gap.from.get(), gap.to.get(), gap.reason), (3, 4, GapReason::EpochChanged));
        *follower = again;
    }
    append_surely(&log, batch("a", &["3"])).await;
    let stat = log.stat(&run("a")).await.unwrap().unwrap();
    assert!(stat.epoch > Epoch::FIRST && stat.last == Offset::new(3), "{stat:?}");
    for follower in &mut followers {
        assert_eq!(get(follower, 1).await, ["3"]);
        assert_eq!(follower.cursor().epoch, stat.epoch);
    }
    let mut joined = follow(&hub_1, "a", "2").await;
    assert_eq!(get(&mut joined, 1).await, ["3"], "who had what is kept misses nothing");
    let ended = log.stat(&run("ended")).await.unwrap().unwrap();
    assert_eq!((ended.epoch, ended.closed), (Epoch::FIRST, true), "an end is an end");
}

#[tokio::test]
async fn what_redis_lost_and_nodes_still_have_is_restored_before_anybody_sees_that_it_was_gone() {
    let mut server = Server::start();
    let ((hub_1, one), (hub_2, two)) = (hub(&server).await, hub(&server).await);
    one.append(batch("a", &["1", "2"])).await.unwrap();
    server.command(&["SAVE"]);
    let mut followers = [follow(&hub_1, "a", "0").await, follow(&hub_2, "a", "0").await];
    // In turns, so that neither node has all of it.
    one.append(batch("a", &["3"])).await.unwrap();
    two.append(batch("a", &["4", "life 5"])).await.unwrap();
    one.append(numbered("a", 0, 3)).await.unwrap();
    two.append(batch("new", &["life 1"])).await.unwrap();
    let before = ["1", "2", "3", "4", "life 5", "a 0", "a 1", "a 2"];
    for follower in &mut followers {
        assert_eq!(get(follower, before.len()).await, before);
    }
    one.trim(&run("a"), Trim::before(Offset::new(2))).await.unwrap();
    server.kill();
    server.restart();
    append_surely(&one, batch("a", &["9"])).await;
    for follower in &mut followers {
        assert_eq!(get(follower, 1).await, ["9"], "nothing between");
    }
    let stat = two.stat(&run("a")).await.unwrap().unwrap();
    assert_eq!((stat.first.get(), stat.last.get()), (2, 9));
    let again = one.append(numbered("a", 0, 3)).await.unwrap();
    assert_eq!((again.stored, again.duplicates), (0, 3), "its producer is known");
    assert_eq!(two.stat(&run("new")).await.unwrap().unwrap().last.get(), 1);
}

#[tokio::test]
async fn what_is_restored_is_in_the_feed_again_and_once() {
    let mut server = Server::start();
    let (one, two) = (node(&server).await.0, node(&server).await.0);
    one.append(batch("a", &["life 1"])).await.unwrap();
    server.command(&["SAVE"]);
    two.append(batch("a", &["life 2"])).await.unwrap();
    one.append(batch("b", &["life 1"])).await.unwrap();
    assert_eq!(feed(&*one).await.len(), 3);
    server.kill();
    server.restart();
    append_surely(&one, batch("a", &["life 3"])).await;
    let whole = async {
        while feed(&*two).await.len() < 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, whole).await.expect("it is not restored");
    let mut entries = feed(&*two).await;
    entries.sort();
    let last = format!("a {}.3", one.stat(&run("a")).await.unwrap().unwrap().epoch);
    assert_eq!(entries, ["a 1.2", &last, "a begins 1.1", "b begins 1.1"]);
    let listed = two.list(None, 9).await.unwrap();
    assert!(listed.iter().map(|(run, _)| run.as_str()).eq(["a", "b"]), "{listed:?}");
}

#[tokio::test]
async fn a_redis_that_lost_everything_has_new_streams_in_epochs_that_were_never_used() {
    let mut server = Server::start();
    let (hub, log) = hub_with(forgetful(&server)).await;
    log.append(batch("a", &["1", "2"])).await.unwrap();
    let mut follower = follow(&hub, "a", "0").await;
    get(&mut follower, 2).await;
    let cursor = follower.cursor();
    server.kill();
    server.restart();
    let ended = next(&mut follower).await;
    assert!(matches!(ended, Delivery::Failed { .. }), "{ended:?}");
    let refused = hub.follow(&run("a"), cursor).await;
    assert!(matches!(refused, Err(FollowError::OffsetInFuture { .. })), "{refused:?}");
    append_surely(&log, batch("a", &["new 1", "new 2", "new 3"])).await;
    let mut again = hub.follow(&run("a"), cursor).await.unwrap();
    let Delivery::Gap(gap) = next(&mut again).await else { panic!("no gap") };
    assert_eq!((gap.from.get(), gap.to.get(), gap.reason), (1, 2, GapReason::EpochChanged));
    assert_eq!(get(&mut again, 3).await, ["new 1", "new 2", "new 3"]);
}

#[tokio::test]
async fn a_redis_that_is_away_is_told_at_once_and_nothing_is_wrong_when_it_is_back() {
    let mut server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (hub, log) = hub(&server).await;
    log.append(batch("a", &["1"])).await.unwrap();
    let mut follower = follow(&hub, "a", "0").await;
    get(&mut follower, 1).await;
    server.kill();
    let refused = timeout(SOON, log.append(batch("b", &["x"]))).await.unwrap();
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    assert!(matches!(log.health(), LogHealth::Failed { .. }));
    let read = timeout(SOON, log.stat(&run("a"))).await.unwrap();
    assert!(matches!(read, Err(ReadError::Away { .. })), "{read:?}");
    server.restart();
    append_surely(&log, batch("a", &["2"])).await;
    assert_eq!(log.health(), LogHealth::Healthy);
    assert_eq!(get(&mut follower, 1).await, ["2"], "who follows stays");
}
