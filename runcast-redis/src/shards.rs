//! The way to Redis, whatever it is: one server, or the primaries of a Cluster, each with its part of the
//! slots.
//!
//! Finds the server of a slot and the history that the slot is in, and follows slots that are on their way
//! from one server to another. What was certainly not done may be asked again; what may have been never is,
//! unless it changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::address::Place;
use crate::cluster::{self, Following};
use crate::dial::{CLIENT_NAME, Common, Dial, OnPush, Target};
use crate::error::{CallError, OpenError};
use crate::fit::{Server, unusable};
use crate::history::{Asking, Histories};
use crate::keys::Keys;
use crate::link::{Link, Up};
use crate::options::RedisOptions;
use crate::script::{Lua, Scripts};
use crate::sentinel::Sentinels;
use crate::slots::Slot;

/// Why a server that answers is not asked yet.
const UNSETTLED: &str = "another Redis process answers, and is given first what it lacks";
/// How often what changes nothing is asked again when its answer is lost.
const TRIES_MAX: usize = 3;
/// How long to wait before it is asked again what another server has by now.
pub(crate) const AGAIN: Duration = Duration::from_millis(20);

/// Which server has which slots.
#[derive(Default)]
pub(crate) struct Map {
    /// The primaries, and where they are. One that is no Cluster is alone.
    pub(crate) links: Vec<(String, Link)>,
    /// The place among them of the primary of each slot; empty if there is but one.
    pub(crate) slots: Vec<Option<usize>>,
}

impl Map {
    fn link(&self, slot: Slot) -> Option<&Link> {
        self.server(slot).map(|(_, link)| link)
    }

    /// The primary of a slot, and where it is.
    pub(crate) fn server(&self, slot: Slot) -> Option<&(String, Link)> {
        let place = match self.slots.get(slot.index()) {
            Some(place) => (*place)?,
            None => 0,
        };
        self.links.get(place)
    }

    pub(crate) fn at(&self, address: &str) -> Option<&Link> {
        self.links.iter().find(|(at, _)| at == address).map(|(_, link)| link)
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().map(|(_, link)| link)
    }
}

/// The map as it is now.
#[derive(Default)]
pub(crate) struct Current(Mutex<Arc<Map>>);

impl Current {
    pub(crate) fn get(&self) -> Arc<Map> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, map: Map) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
    }
}

/// All servers of a Redis. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shards {
    map: Arc<Current>,
    common: Arc<Common>,
    cluster: Option<Arc<Following>>,
}

/// What connections are for.
pub(crate) enum Purpose {
    /// To ask and to change: the histories matter.
    Commands,
    /// To hear messages.
    Messages(OnPush),
    /// To wait for replicas.
    Waits,
}

impl Shards {
    /// Connects to every server, and goes on connecting whenever a connection breaks. The connections bear
    /// the node's name.
    pub(crate) async fn open(
        options: &RedisOptions,
        node: &str,
        purpose: Purpose,
    ) -> Result<Self, OpenError> {
        let address = Arc::new(options.address()?);
        let keys = Keys::new(&options.prefix, address.database());
        let (changes, _) = watch::channel(0);
        let (is_kept, on_push) = match purpose {
            Purpose::Commands => (true, None),
            Purpose::Messages(on_push) => (false, Some(on_push)),
            Purpose::Waits => (false, None),
        };
        let mut common = Common {
            address: Arc::clone(&address),
            options: options.clone(),
            client_name: format!("{CLIENT_NAME}{node}"),
            keys,
            scripts: Arc::new(Scripts::new(false)),
            on_push,
            seen: is_kept.then(|| Arc::new(Histories::new(false))),
            changes: Arc::new(changes),
            replaced: Arc::default(),
        };
        let target = match &address.place {
            Place::Sentinels { sentinels, name } => {
                Target::Sentinels(Sentinels::new(sentinels.clone(), name.clone()))
            }
            Place::Servers(servers) => match find_seed(&common, servers).await? {
                None => Target::Server(servers[0].clone()),
                Some(owned) => {
                    common.scripts = Arc::new(Scripts::new(true));
                    common.seen = is_kept.then(|| Arc::new(Histories::new(true)));
                    let map = Arc::new(Current::default());
                    let following =
                        cluster::follow(common.clone(), Arc::clone(&map), servers, owned).await?;
                    return Ok(Self {
                        map,
                        common: Arc::new(common),
                        cluster: Some(Arc::new(following)),
                    });
                }
            },
        };
        let link = Link::open(Dial::new(common.clone(), target)).await?;
        let map = Arc::new(Current::default());
        map.set(Map { links: vec![(String::new(), link)], slots: Vec::new() });
        Ok(Self { map, common: Arc::new(common), cluster: None })
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    pub(crate) fn scripts(&self) -> &Scripts {
        &self.common.scripts
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.common.keys
    }

    /// When a call that begins now gives up waiting for a Redis that is away.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.common.options.away_max
    }

    /// Waits until connections have come or gone since this was given; gives what to say next time.
    pub(crate) async fn changed(&self, since: u64) -> u64 {
        let mut changes = self.common.changes.subscribe();
        // The sender is as old as this is.
        let changed = changes.wait_for(|changes| *changes > since).await;
        changed.map_or(since, |changes| *changes)
    }

    /// The connection to the server of a slot, if there is one now.
    pub(crate) fn current(&self, slot: Slot) -> Option<Up> {
        self.map.get().link(slot)?.current().map(|up| up.of(slot))
    }

    /// The connections that there are now.
    pub(crate) fn all(&self) -> Vec<Up> {
        self.map.get().links().filter_map(Link::current).collect()
    }

    /// The connection to the server of a slot, once there is one.
    pub(crate) async fn up(&self, slot: Slot, deadline: Instant) -> Result<Up, CallError> {
        let mut changes = None;
        loop {
            if let Some(up) = self.current(slot) {
                if up.settles_at > Instant::now() {
                    if up.settles_at > deadline {
                        sleep_until(deadline).await;
                        return Err(CallError::Away(UNSETTLED.to_owned()));
                    }
                    sleep_until(up.settles_at).await;
                    continue;
                }
                if up.history > 0 || self.common.seen.is_none() {
                    return Ok(up);
                }
                match self.find_history(&up, slot).await {
                    Ok(()) => return Ok(up.of(slot)),
                    Err(error) if Instant::now() + AGAIN >= deadline => return Err(error),
                    Err(_) => sleep(AGAIN).await,
                }
                continue;
            }
            let Some(changes) = &mut changes else {
                // It is looked once more: what changed before this is not told.
                changes = Some(self.common.changes.subscribe());
                continue;
            };
            self.look_again();
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                let reason = self.health().err();
                let reason = reason.unwrap_or_else(|| "no server has the slot".to_owned());
                return Err(CallError::Away(reason));
            }
        }
    }

    /// Asks for the history of a slot that has come to a server since it was connected to.
    async fn find_history(&self, up: &Up, slot: Slot) -> Result<(), CallError> {
        let Common { scripts, keys, seen, .. } = &*self.common;
        let Some(seen) = seen else { return Ok(()) };
        let asking = Asking { scripts, keys, run_id: &up.server, seen };
        let answer = self.send_one(up, asking.cmd(slot, true)).await?;
        let garbled = || CallError::Garbled("the history is no number".to_owned());
        asking.take(slot, answer, &up.histories).map(drop).ok_or_else(garbled)
    }

    /// Waits until another server process answers than before.
    pub(crate) async fn replaced(&self) {
        self.common.replaced.notified().await;
    }

    /// Whether all servers are connected to; why not.
    pub(crate) fn health(&self) -> Result<(), String> {
        let map = self.map.get();
        if map.slots.iter().any(Option::is_none) {
            return Err("the Cluster has slots that no server has".to_owned());
        }
        map.links().try_for_each(Link::health)?;
        let now = Instant::now();
        match map.links().filter_map(Link::current).any(|up| up.settles_at > now) {
            true => Err(UNSETTLED.to_owned()),
            false => Ok(()),
        }
    }

    /// Which servers have which slots may be another by now.
    fn look_again(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.look_again();
        }
    }

    /// Asks once. What is on its way to another server is asked there.
    pub(crate) async fn send(&self, up: &Up, pipeline: &Pipeline) -> Result<Vec<Value>, CallError> {
        let mut values = Vec::with_capacity(pipeline.len());
        for (answer, cmd) in up.send(pipeline).await?.into_iter().zip(pipeline.cmd_iter()) {
            let answer = match answer {
                Err(CallError::Ask { address }) => self.ask_there(&address, cmd).await,
                answer => answer,
            };
            if matches!(&answer, Err(CallError::Elsewhere(_))) {
                self.look_again();
            }
            values.push(answer?);
        }
        Ok(values)
    }

    async fn send_one(&self, up: &Up, cmd: Cmd) -> Result<Value, CallError> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(cmd);
        Ok(self.send(up, &pipeline).await?.pop().unwrap_or_default())
    }

    /// Asks the server that a slot is on its way to.
    async fn ask_there(&self, address: &str, cmd: &Cmd) -> Result<Value, CallError> {
        let elsewhere = || CallError::Elsewhere(format!("the slot is on its way to {address}"));
        let up = self.map.get().at(address).and_then(Link::current);
        let up = up.ok_or_else(elsewhere)?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").add_command(cmd.clone());
        match up.send(&pipeline).await?.pop() {
            Some(Err(CallError::Ask { .. })) | None => Err(elsewhere()),
            Some(answer) => answer,
        }
    }

    /// Calls a script, once.
    pub(crate) async fn call(
        &self,
        up: &Up,
        script: &Lua,
        keys: &[String],
        add: impl Fn(&mut Cmd),
    ) -> Result<Value, CallError> {
        let mut cmd = script.call(keys);
        add(&mut cmd);
        match self.send_one(up, cmd).await {
            Err(CallError::NoScript) => {
                let mut cmd = script.call_in_full(keys);
                add(&mut cmd);
                self.send_one(up, cmd).await
            }
            answer => answer,
        }
    }

    /// Calls a script at the server of a slot, again only if it was certainly not done.
    pub(crate) async fn run(
        &self,
        slot: Slot,
        script: &Lua,
        keys: &[String],
        add: impl Fn(&mut Cmd, &Up),
    ) -> Result<Value, CallError> {
        let deadline = self.deadline();
        loop {
            let up = self.up(slot, deadline).await?;
            match self.call(&up, script, keys, |cmd| add(cmd, &up)).await {
                Err(CallError::Elsewhere(_)) if Instant::now() + AGAIN < deadline => {
                    sleep(AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    /// Asks what can be asked twice at the server of a slot.
    pub(crate) async fn ask(
        &self,
        slot: Slot,
        pipeline: &Pipeline,
    ) -> Result<(Vec<Value>, Up), CallError> {
        let deadline = self.deadline();
        let mut tries = 0;
        loop {
            let up = self.up(slot, deadline).await?;
            match self.send(&up, pipeline).await {
                Ok(values) => return Ok((values, up)),
                Err(CallError::Lost(_)) if tries < TRIES_MAX => tries += 1,
                Err(CallError::Elsewhere(_)) if Instant::now() + AGAIN < deadline => {
                    sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks one thing of each slot, which can be asked twice; what is at one server in one go. Gives the
    /// answers in the order of the questions, each with the history of its slot.
    pub(crate) async fn ask_each(
        &self,
        questions: Vec<(Slot, Cmd)>,
    ) -> Vec<Result<(Value, u32), CallError>> {
        let map = self.map.get();
        let mut parts: BTreeMap<u64, Vec<(usize, Slot, Cmd)>> = BTreeMap::new();
        for (at, (slot, cmd)) in questions.into_iter().enumerate() {
            let number = map.link(slot).and_then(Link::current).map_or(0, |up| up.number);
            parts.entry(number).or_default().push((at, slot, cmd));
        }
        let mut answers: Vec<_> = join_all(parts.into_values().map(|part| self.ask_part(part)))
            .await
            .into_iter()
            .flatten()
            .collect();
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Asks what is at one server, or was.
    async fn ask_part(
        &self,
        part: Vec<(usize, Slot, Cmd)>,
    ) -> Vec<(usize, Result<(Value, u32), CallError>)> {
        let answers = match self.ask_together(&part).await {
            Ok((values, up)) => Ok(values
                .into_iter()
                .zip(&part)
                .map(|(value, (at, slot, _))| (*at, Ok((value, up.histories.get(*slot)))))
                .collect()),
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) => answers,
            Err(error) if !self.is_cluster() => {
                part.into_iter().map(|(at, ..)| (at, Err(error.clone()))).collect()
            }
            // Some of them are elsewhere by now: each is looked for.
            Err(_) => {
                let alone = part.into_iter().map(async |(at, slot, cmd)| {
                    let mut pipeline = redis::pipe();
                    pipeline.add_command(cmd);
                    let answer = self.ask(slot, &pipeline).await;
                    let one = |(mut values, up): (Vec<Value>, Up)| {
                        (values.pop().unwrap_or_default(), up.history)
                    };
                    (at, answer.map(one))
                });
                join_all(alone).await
            }
        }
    }

    async fn ask_together(
        &self,
        part: &[(usize, Slot, Cmd)],
    ) -> Result<(Vec<Value>, Up), CallError> {
        let mut pipeline = redis::pipe();
        for (_, _, cmd) in part {
            pipeline.add_command(cmd.clone());
        }
        let first = part.first().map_or(Slot::new(0), |(_, slot, _)| *slot);
        if !self.is_cluster() {
            return self.ask(first, &pipeline).await;
        }
        let up = self.up(first, self.deadline()).await?;
        let values = self.send(&up, &pipeline).await?;
        match part.iter().all(|(_, slot, _)| up.histories.get(*slot) > 0) {
            true => Ok((values, up)),
            false => Err(CallError::Elsewhere("some are new here".to_owned())),
        }
    }
}

/// What the first server that answers says of its Cluster; nothing if it is none.
pub(crate) async fn find_seed(
    common: &Common,
    servers: &[redis::ConnectionInfo],
) -> Result<Option<Vec<crate::slots::Owned>>, OpenError> {
    let mut failed = None;
    for info in servers {
        let url = info.addr().to_string();
        let server = async {
            let mut connection = common.connect(info.clone(), drop).await?;
            let server = Server::ask(&mut connection, &url).await?;
            if !server.is_cluster && servers.len() > 1 {
                let reason = "it is no node of a Cluster, of which several can be named; name one \
                              server, or sentinels: redis-sentinel://host:26379/<name>";
                return Err(unusable(&url, reason));
            }
            if !server.is_cluster {
                return Ok(None);
            }
            if common.address.database() != 0 {
                return Err(unusable(&url, "a Cluster has no database but 0; leave it out"));
            }
            cluster::owned(&mut connection, info).await.map(Some)
        };
        match server.await {
            Err(error @ OpenError::Unusable { .. }) => failed = failed.or(Some(error)),
            answer => return answer,
        }
    }
    Err(failed.unwrap_or_else(|| unusable(&common.options.shown_url(), "no server is named")))
}
