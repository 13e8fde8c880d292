//! Nodes on a Redis that is slow to answer, or does not for a while.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use runcast_redis::RedisOptions;
use support::witness::{Producer, SOON, history, hub_with, witness};
use support::{Server, options, options_at};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// A way to a server that takes its time: the port.
async fn slow_way(to: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(carry(near_in, far_out, Duration::ZERO));
            tokio::spawn(carry(far_in, near_out, delay));
        }
    });
    port
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
) {
    let (send, mut receive) = tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(1_024);
    tokio::spawn(async move {
        while let Some((at, bytes)) = receive.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if send.send((Instant::now() + delay, buffer[..length].to_vec())).await.is_err() {
            break;
        }
    }
}

/// Two nodes that append and follow, while something happens.
async fn through(nodes: [RedisOptions; 2], happens: impl AsyncFnOnce()) {
    let [one, two] = nodes;
    let ((hub_1, one), (hub_2, two)) = (hub_with(one).await, hub_with(two).await);
    let producers = [Producer::start(&one, "a", "one"), Producer::start(&two, "a", "two")];
    let (tell, count) = watch::channel(0);
    let witnesses = [witness(&hub_1, "a", count.clone()), witness(&hub_2, "a", count)];
    happens().await;
    for producer in producers {
        producer.goes_on(20).await;
        producer.end().await;
    }
    let whole = history(&one, "a").await;
    tell.send(whole.len() as u64).unwrap();
    for witness in witnesses {
        let seen = timeout(SOON, witness).await.unwrap().unwrap();
        assert!(seen.events == whole && seen.lost == 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_answers_slowly_has_nobody_see_anything_wrong() {
    // Who is far away has its turn beside one that is near.
    for delays in [[40, 20], [40, 0]] {
        let server = Server::start();
        let mut nodes = Vec::new();
        for delay in delays {
            let port = slow_way(server.port, Duration::from_millis(delay)).await;
            nodes.push(options_at(&format!("redis://127.0.0.1:{port}")));
        }
        through(nodes.try_into().unwrap(), async || {}).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_answers_too_late_again_and_again_costs_no_event() {
    let server = Server::start_with(&["--enable-debug-command", "yes"]);
    let quick = RedisOptions { command_timeout: Duration::from_millis(200), ..options(&server) };
    through([quick.clone(), quick], async || {
        for mode in ["WRITE", "ALL", "WRITE", "ALL"] {
            server.command(&["CLIENT", "PAUSE", "300", mode]);
            server.command(&["PING"]);
            assert_eq!(server.command(&["DEBUG", "SLEEP", "0.3"]).trim(), "OK");
        }
    })
    .await;
}
