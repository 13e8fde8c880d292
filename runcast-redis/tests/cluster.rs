//! Nodes on a Redis Cluster: named by any of its nodes, through slots that move and primaries that are
//! killed.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use runcast_contract::redis_server::Cluster;
use runcast_contract::{batch, events, feed, run};
use runcast_event::{Epoch, Offset, RunId};
use runcast_log::{Log, Trim};
use runcast_redis::{OpenError, RedisLog, RedisOptions};
use support::witness::{Producer, SOON, history, hub_with, witness};
use support::{node_at, options_at};
use tokio::sync::watch;
use tokio::time::timeout;

/// Where everything comes by messages, since nothing is looked for in time.
fn patient(url: &str) -> RedisOptions {
    RedisOptions { check_every: Duration::from_hours(1), ..options_at(url) }
}

async fn epoch(log: &RedisLog, name: &str) -> Epoch {
    log.stat(&run(name)).await.unwrap().unwrap().epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_of_a_cluster_leads_to_all_of_it_and_messages_come_from_all_of_it() {
    let cluster = Cluster::start();
    let (_, one) = hub_with(patient(&cluster.url())).await;
    // A replica is a node as well; so is one of several, the first of which is dead.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("redis://{dead},127.0.0.1:{}", cluster.servers[4].port);
    let (hub, two) = hub_with(patient(&url)).await;
    let names: Vec<String> = (0..40).map(|at| format!("r{at:02}")).collect();
    let (tell, count) = watch::channel(3);
    let mut changes = hub.changes();
    let witnesses: Vec<_> = names.iter().map(|name| witness(&hub, name, count.clone())).collect();
    for text in ["life 1", "2", "3"] {
        for name in &names {
            one.append(batch(name, &[text])).await.unwrap();
        }
    }
    for (witness, name) in witnesses.into_iter().zip(&names) {
        assert_eq!(timeout(SOON, witness).await.unwrap().unwrap().events, ["life 1", "2", "3"]);
        assert_eq!(epoch(&two, name).await, Epoch::FIRST);
    }
    drop(tell);
    one.append(batch("other", &["1"])).await.unwrap();
    let heard = async { while !changes.next().await.contains(&run("other")) {} };
    timeout(SOON, heard).await.expect("all changes are heard on every node");
    let places: std::collections::BTreeSet<_> =
        names.iter().map(|name| cluster.primary_of(&format!("rc:{{{name}}}:meta"))).collect();
    assert_eq!(places.len(), 3, "they are on all primaries");
    let listed: Vec<RunId> = two.list(None, 100).await.unwrap().into_iter().map(|r| r.0).collect();
    assert_eq!(listed.len(), 41);
    // Nothing is looked for in time: what tells of it is that its channel is closed where it was.
    let key = "rc:{r00}:meta";
    let (_tell, count) = watch::channel(4);
    let witness = witness(&hub, "r00", count);
    let from = cluster.primary_of(key);
    let heard = ["PUBSUB", "SHARDNUMSUB", "rc@0:{r00}"];
    while !cluster.servers[from].command(&heard).contains("\n1") {
        tokio::task::yield_now().await;
    }
    let to = (from + 1) % 3;
    let slot = cluster.begin_to_move(key, from, to);
    cluster.end_to_move(&slot, from, to);
    one.append(batch("r00", &["4"])).await.unwrap();
    assert_eq!(timeout(SOON, witness).await.unwrap().unwrap().events.len(), 4);
    assert!(two.delete(&run("r07")).await.unwrap());
    assert!(two.trim(&run("r08"), Trim::before(Offset::new(2))).await.unwrap());
    two.sign(&[run("r09")]).await.unwrap();
    assert!(one.signed(&run("r09")).await.unwrap().is_some());
    assert_eq!(two.list(None, 100).await.unwrap().len(), 40);
    // One primary that would throw streams away is enough.
    cluster.servers[2].command(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    let refused = RedisLog::open(options_at(&cluster.url()), std::sync::Arc::new(())).await;
    let Err(OpenError::Evicts { url, .. }) = refused else { panic!("{refused:?}") };
    assert!(url.contains(&cluster.servers[2].port.to_string()), "{url}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_takes_its_runs_along() {
    let cluster = Cluster::start_bare();
    let (hub_1, one) = hub_with(options_at(&cluster.url())).await;
    let (hub_2, two) = hub_with(options_at(&cluster.servers[2].url())).await;
    one.append(batch("still", &["1", "2"])).await.unwrap();
    let (other, _) = node_at(&cluster.url()).await;
    other.append(batch("life", &["life 1"])).await.unwrap();
    let producers = [Producer::start(&one, "a", "one"), Producer::start(&two, "a", "two")];
    let (tell, count) = watch::channel(0);
    let witnesses = [witness(&hub_1, "a", count.clone()), witness(&hub_2, "a", count)];
    for producer in &producers {
        producer.goes_on(20).await;
    }
    for (name, turns) in [("a", 4), ("still", 1), ("$feed", 1)] {
        let key = format!("rc:{{{name}}}:meta");
        for _ in 0..turns {
            let from = cluster.primary_of(&key);
            let to = (from + 1) % 3;
            let slot = cluster.begin_to_move(&key, from, to);
            if name == "still" {
                // Half of it is there and half of it here.
                let port = cluster.servers[to].port.to_string();
                let words = ["MIGRATE", "127.0.0.1", &port, "rc:{still}:meta", "0", "1000"];
                assert!(cluster.servers[from].command(&words).contains("OK"));
                assert_eq!(events(&*two, "still").await.unwrap(), ["1", "2"]);
            }
            cluster.end_to_move(&slot, from, to);
            for producer in &producers {
                producer.goes_on(10).await;
            }
        }
    }
    one.append(batch("still", &["3"])).await.unwrap();
    assert_eq!(events(&*two, "still").await.unwrap(), ["1", "2", "3"]);
    other.append(batch("life", &["life 2"])).await.unwrap();
    assert_eq!(feed(&*one).await, ["life begins 1.1", "life 1.2"]);
    for producer in producers {
        producer.end().await;
    }
    let whole = history(&one, "a").await;
    tell.send(whole.len() as u64).unwrap();
    for witness in witnesses {
        let seen = timeout(SOON, witness).await.unwrap().unwrap();
        assert!(seen.events == whole && seen.lost == 0, "nothing was lost: {}", seen.lost);
    }
}

/// Nine runs on two nodes, while something happens to the primary of some of them, which is given back, or
/// to none.
async fn through(
    cluster: &mut Cluster,
    happens: impl AsyncFnOnce(&mut Cluster, &[usize], &[Producer]) -> Option<usize>,
) {
    let names: Vec<String> = (0..9).map(|at| format!("r{at}")).collect();
    let (hub_1, one) = hub_with(options_at(&cluster.url())).await;
    let (hub_2, two) = hub_with(options_at(&cluster.servers[1].url())).await;
    let producers: Vec<_> = names
        .iter()
        .flat_map(|name| [Producer::start(&one, name, "one"), Producer::start(&two, name, "two")])
        .collect();
    let counts: Vec<_> = names.iter().map(|_| watch::channel(0)).collect();
    let witnesses: Vec<_> = names
        .iter()
        .zip(&counts)
        .map(|(name, (_, count))| [&hub_1, &hub_2].map(|hub| witness(hub, name, count.clone())))
        .collect();
    for producer in &producers {
        producer.goes_on(30).await;
    }
    let home = |name: &str| cluster.primary_of(&format!("rc:{{{name}}}:meta"));
    let homes: Vec<usize> = names.iter().map(|name| home(name)).collect();
    let struck = happens(cluster, &homes, &producers).await;
    cluster.wait();
    for producer in producers {
        producer.goes_on(10).await;
        producer.end().await;
    }
    for (((name, home), (tell, _)), witnesses) in
        names.iter().zip(homes).zip(&counts).zip(witnesses)
    {
        let whole = history(&one, name).await;
        assert_eq!(history(&two, name).await, whole);
        tell.send(whole.len() as u64).unwrap();
        let is_same = epoch(&one, name).await == Epoch::FIRST;
        assert_eq!(is_same, Some(home) != struck, "{name} was at {home}");
        for witness in witnesses {
            let seen = timeout(SOON, witness).await.unwrap().unwrap();
            assert!(seen.events == whole, "{name} is not what its witness saw");
            assert!(seen.lost == 0 || Some(home) == struck, "{name} has lost nothing");
        }
    }
    let (other, _) = node_at(&cluster.url()).await;
    other.append(batch("life", &["life"])).await.unwrap();
    assert_eq!(feed(&*two).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_costs_its_runs_no_more_than_is_told_and_other_runs_nothing() {
    through(&mut Cluster::start(), async |cluster, homes, producers| {
        let struck = homes[0];
        cluster.servers[struck].kill();
        for producer in producers {
            producer.goes_on(30).await;
        }
        // What was a primary comes back as a replica.
        cluster.servers[struck].restart();
        Some(struck)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs_and_wakes_up_when_another_has_its_place_is_believed_nothing() {
    through(&mut Cluster::start(), async |cluster, homes, producers| {
        let struck = homes[0];
        let (primary, replica) = (&cluster.servers[struck], &cluster.servers[struck + 3]);
        primary.stop(true);
        replica.stop(true);
        let is_elsewhere = |place: &usize| homes[*place / 2] != struck;
        for place in (0..producers.len()).filter(is_elsewhere) {
            producers[place].goes_on(30).await;
        }
        replica.stop(false);
        for producer in producers {
            producer.goes_on(30).await;
        }
        primary.stop(false);
        Some(struck)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_cluster_that_are_cut_and_scripts_that_are_lost_cost_no_event() {
    through(&mut Cluster::start_bare(), async |cluster, _, producers| {
        for round in 0..12 {
            for server in &cluster.servers {
                match round % 3 {
                    0 => server.command(&["SCRIPT", "FLUSH"]),
                    1 => server.command(&["CLIENT", "KILL", "TYPE", "normal"]),
                    _ => server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]),
                };
            }
            for producer in producers {
                producer.goes_on(1).await;
            }
        }
        None
    })
    .await;
}
