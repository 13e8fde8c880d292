//! Connects to one server: finds it, sees that it is fit, and learns in which history it is.
//!
//! Owns what is known of the server from one connection to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionInfo, PushInfo, PushKind};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::address::Address;
use crate::error::{CallError, OpenError};
use crate::fit::{self, Server, refused, unusable};
use crate::history::{Asking, Histories, word};
use crate::keys::Keys;
use crate::link::{Broken, Up};
use crate::options::RedisOptions;
use crate::script::Scripts;
use crate::sentinel::Sentinels;
use crate::slots::{self, Slot};

/// Commands on their way to a connection. Who finds no place waits.
const PIPELINE_MAX: usize = 4_096;

/// What the names of connections begin with, as CLIENT LIST shows them; the node's follows.
pub(crate) const CLIENT_NAME: &str = "runcast:";

/// Takes what Redis sends unasked. Called from the connection: it must not block.
pub(crate) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Where a server is found, each time anew.
pub(crate) enum Target {
    Server(ConnectionInfo),
    /// A primary of a Cluster, at a host and a port.
    Node(ConnectionInfo, (String, u16)),
    Sentinels(Sentinels),
}

/// What all connections of a log have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) address: Arc<Address>,
    pub(crate) options: RedisOptions,
    /// What connections are called.
    pub(crate) client_name: String,
    pub(crate) keys: Keys,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) on_push: Option<OnPush>,
    /// The newest histories that were seen; none if they do not matter here.
    pub(crate) seen: Option<Arc<Histories>>,
    /// Told when another server process answers than before.
    pub(crate) replaced: Arc<Notify>,
    /// Goes up whenever a connection comes or goes.
    pub(crate) changes: Arc<watch::Sender<u64>>,
}

impl Common {
    /// Connects to a server, whatever it is.
    pub(crate) async fn connect(
        &self,
        info: ConnectionInfo,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, OpenError> {
        let url = format!("{}", info.addr());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.command_timeout))
            .set_pipeline_buffer_size(PIPELINE_MAX)
            .set_push_sender(move |push: PushInfo| {
                on_push(push);
                Ok::<(), redis::aio::SendError>(())
            });
        let client = self.address.client(info).map_err(|error| refused(&url, &error))?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        connection.map_err(|error| refused(&url, &error))
    }
}

/// What it takes to connect to one server again and again.
pub(crate) struct Dial {
    pub(crate) common: Common,
    target: Target,
    pub(crate) broken: Arc<Broken>,
    /// It was seen that the user may do what is needed.
    has_rights: bool,
}

impl Dial {
    pub(crate) fn new(common: Common, target: Target) -> Self {
        Self { common, target, broken: Arc::new(Broken::new()), has_rights: false }
    }

    /// Where the server is, as it may be told to anybody.
    pub(crate) fn shown(&self) -> String {
        match &self.target {
            Target::Server(info) | Target::Node(info, _) => info.addr().to_string(),
            Target::Sentinels(_) => self.common.options.shown_url(),
        }
    }

    pub(crate) async fn connect(&mut self) -> Result<Up, OpenError> {
        /// Numbers no two connections alike.
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let info = match &self.target {
            Target::Server(info) | Target::Node(info, _) => info.clone(),
            Target::Sentinels(sentinels) => sentinels.find(&self.common).await?,
        };
        let url = info.addr().to_string();
        let (broken, on_push) = (Arc::clone(&self.broken), self.common.on_push.clone());
        broken.begin();
        let connection = self.common.connect(info, move |push| match push.kind {
            PushKind::Disconnection => broken.tell(number),
            PushKind::SUnsubscribe if !broken.is_leaving(&push) => broken.tell(number),
            _ => {
                if let Some(on_push) = &on_push {
                    on_push(push);
                }
            }
        });
        let mut connection = connection.await?;
        let mut naming = redis::cmd("CLIENT");
        naming.arg("SETNAME").arg(&self.common.client_name);
        // Only so that it can be recognised.
        let _unnamed = naming.exec_async(&mut connection).await;
        let server = Server::ask(&mut connection, &url).await?;
        server.check(&url)?;
        let slots = self.slots(&mut connection, &url, &server).await?;
        if !self.has_rights {
            let word = server.is_cluster.then(|| word(slots[0]));
            let Common { scripts, keys, .. } = &self.common;
            fit::check_rights(&mut connection, scripts, keys, (&url, word)).await?;
            if self.common.on_push.is_some() {
                // It is subscribed to again by whoever wants it.
                connection
                    .subscribe(keys.changes())
                    .await
                    .map_err(|error| refused(&url, &error))?;
            }
            self.has_rights = true;
        }
        let histories = Arc::new(Histories::new(server.is_cluster));
        if let Some(seen) = &self.common.seen {
            let Common { scripts, keys, .. } = &self.common;
            let asking = Asking { scripts, keys, run_id: &server.run_id, seen };
            let asked = asking.all(&mut connection, &slots, &histories).await;
            asked.map_err(|error: CallError| unusable(&url, &error.to_string()))?;
        }
        let mut settles_at = Instant::now();
        if histories.is_another() {
            settles_at += self.common.options.refill_time;
            self.common.replaced.notify_one();
        }
        let (server, broken) = (Arc::from(server.run_id), Arc::clone(&self.broken));
        Ok(Up { connection, number, server, history: 0, histories, settles_at, broken })
    }

    /// The slots that the server has: if it is no node of a Cluster, one stands for all.
    async fn slots(
        &self,
        connection: &mut MultiplexedConnection,
        url: &str,
        server: &Server,
    ) -> Result<Vec<Slot>, OpenError> {
        let Target::Node(_, (host, port)) = &self.target else {
            return match server.is_cluster {
                true => Err(unusable(url, "it has become a node of a Cluster; start anew")),
                false => Ok(vec![Slot::new(0)]),
            };
        };
        let owned = redis::cmd("CLUSTER").arg("SLOTS").query_async(connection).await;
        let owned = owned.map_err(|error| refused(url, &error))?;
        let owned = slots::owned(&owned, host).unwrap_or_default();
        let own = owned.iter().filter(|owned| owned.host == *host && owned.port == *port);
        let slots: Vec<Slot> = own.flat_map(slots::Owned::slots).collect();
        if slots.is_empty() {
            return Err(unusable(url, "it has no slots of its Cluster"));
        }
        Ok(slots)
    }
}
