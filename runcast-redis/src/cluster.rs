//! Follows a Cluster: asks its nodes which primary has which slots, and keeps a connection to each of these.
//!
//! A node may not have heard yet of what has changed: another is asked each time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, ConnectionInfo};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::dial::{Common, Dial, Target};
use crate::error::OpenError;
use crate::fit::{refused, unusable};
use crate::link::Link;
use crate::shards::{Current, Map};
use crate::slots::{self, Owned, Slot};

/// How often a Cluster is asked while a primary is away.
const SOON: Duration = Duration::from_millis(100);
/// The shortest time between two questions.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one node may take to answer, before the next is asked.
const PATIENCE: Duration = Duration::from_millis(500);

/// Follows it until it is dropped.
pub(crate) struct Following {
    again: Arc<Notify>,
    task: AbortHandle,
}

impl Following {
    /// Has the Cluster asked soon.
    pub(crate) fn look_again(&self) {
        self.again.notify_one();
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The slots that a node knows of.
pub(crate) async fn owned(
    connection: &mut MultiplexedConnection,
    info: &ConnectionInfo,
) -> Result<Vec<Owned>, OpenError> {
    let url = info.addr().to_string();
    let answer = redis::cmd("CLUSTER").arg("SLOTS").query_async(connection).await;
    let answer = answer.map_err(|error| refused(&url, &error))?;
    let owned = slots::owned(&answer, host(info)).filter(|owned| !owned.is_empty());
    owned.ok_or_else(|| unusable(&url, "its Cluster has no slots yet"))
}

fn host(info: &ConnectionInfo) -> &str {
    match info.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
        _ => "127.0.0.1",
    }
}

/// Connects to all primaries of a Cluster, of which some nodes are known, and follows it.
pub(crate) async fn follow(
    common: Common,
    map: Arc<Current>,
    seeds: &[ConnectionInfo],
    first: Vec<Owned>,
) -> Result<Following, OpenError> {
    let mut primaries: Vec<(&str, u16)> = first.iter().map(|o| (o.host.as_str(), o.port)).collect();
    primaries.sort_unstable();
    primaries.dedup();
    let open = primaries.into_iter().map(async |(host, port)| {
        let link = Link::open(dial(&common, host, port)).await?;
        Ok::<_, OpenError>((format!("{host}:{port}"), link))
    });
    let links = try_join_all(open).await?;
    map.set(drawn(&common, &links, &first));
    let again = Arc::new(Notify::new());
    let watcher = Watcher {
        common,
        map,
        again: Arc::clone(&again),
        seeds: seeds.to_vec(),
        known: first,
        asked: 0,
    };
    let task = tokio::spawn(watcher.run()).abort_handle();
    Ok(Following { again, task })
}

fn dial(common: &Common, host: &str, port: u16) -> Dial {
    let info = common.address.server(host, port);
    Dial::new(common.clone(), Target::Node(info, (host.to_owned(), port)))
}

/// The map of what is known, with the connections that there are already.
fn drawn(common: &Common, before: &[(String, Link)], owned: &[Owned]) -> Map {
    let mut map = Map { links: Vec::new(), slots: vec![None; slots::COUNT] };
    for owned in owned {
        let at = format!("{}:{}", owned.host, owned.port);
        let known = map.links.iter().position(|(known, _)| *known == at);
        let place = known.unwrap_or_else(|| {
            let kept = before.iter().find(|(kept, _)| *kept == at).map(|(_, link)| link.clone());
            let link = kept.unwrap_or_else(|| Link::begin(dial(common, &owned.host, owned.port)));
            map.links.push((at, link));
            map.links.len() - 1
        });
        owned.slots().for_each(|slot| map.slots[slot.index()] = Some(place));
    }
    map
}

struct Watcher {
    common: Common,
    map: Arc<Current>,
    again: Arc<Notify>,
    seeds: Vec<ConnectionInfo>,
    known: Vec<Owned>,
    /// How often it was asked: another node each time.
    asked: usize,
}

impl Watcher {
    async fn run(mut self) {
        let mut changes = self.common.changes.subscribe();
        loop {
            let is_whole = self.map.get().links().all(|link| link.health().is_ok());
            let pause = if is_whole { self.common.options.check_every } else { SOON };
            tokio::select! {
                () = self.again.notified() => {}
                // A connection that broke may have led to what is no primary any more.
                _ = changes.changed() => {}
                () = sleep(pause) => {}
            }
            if let Some(owned) = self.ask().await
                && owned != self.known
            {
                self.redraw(owned);
            }
            sleep(PAUSE).await;
        }
    }

    fn redraw(&mut self, owned: Vec<Owned>) {
        let before = self.map.get();
        let map = drawn(&self.common, &before.links, &owned);
        for slot in (0..slots::COUNT as u16).map(Slot::new) {
            let (old, new) = (before.server(slot), map.server(slot));
            if old.map(|(at, _)| at) != new.map(|(at, _)| at)
                && let Some(up) = new.and_then(|(_, link)| link.current())
            {
                up.histories.forget(slot);
            }
        }
        self.map.set(map);
        self.known = owned;
        self.common.changes.send_modify(|changes| *changes += 1);
    }

    /// Asks the nodes, one after the other, until one answers.
    async fn ask(&mut self) -> Option<Vec<Owned>> {
        self.asked += 1;
        let map = self.map.get();
        let linked: Vec<_> =
            map.links.iter().filter_map(|(at, link)| Some((at, link.current()?))).collect();
        for turn in 0..linked.len() {
            let (at, up) = &linked[(self.asked + turn) % linked.len()];
            let host = at.rsplit_once(':').map_or(at.as_str(), |(host, _)| host);
            let mut connection = up.connection.clone();
            let mut cmd = redis::cmd("CLUSTER");
            let answer = cmd.arg("SLOTS").query_async(&mut connection);
            if let Ok(Ok(answer)) = timeout(PATIENCE, answer).await
                && let Some(owned) = slots::owned(&answer, host).filter(|owned| !owned.is_empty())
            {
                return Some(sorted(owned));
            }
        }
        for turn in 0..self.seeds.len() {
            let seed = &self.seeds[(self.asked + turn) % self.seeds.len()];
            let asked = async {
                let mut connection = self.common.connect(seed.clone(), drop).await?;
                owned(&mut connection, seed).await
            };
            if let Ok(Ok(owned)) = timeout(PATIENCE, asked).await {
                return Some(sorted(owned));
            }
        }
        None
    }
}

fn sorted(mut owned: Vec<Owned>) -> Vec<Owned> {
    owned.sort_unstable_by_key(|owned| owned.first);
    owned
}
