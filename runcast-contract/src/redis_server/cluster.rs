//! A Cluster of three primaries with a replica each.

use super::{Server, free_port, wait_for};

/// Its six servers. The first three were the primaries at first.
pub struct Cluster {
    pub servers: Vec<Server>,
}

const SETTINGS: [&str; 14] = [
    "--cluster-enabled",
    "yes",
    // Or all stand still while one is away.
    "--cluster-require-full-coverage",
    "no",
    "--cluster-node-timeout",
    "1000",
    "--cluster-replica-validity-factor",
    "0",
    "--repl-diskless-sync-delay",
    "0",
    "--appendonly",
    "no",
    "--databases",
    "1",
];

impl Cluster {
    pub fn start() -> Self {
        Self::of(6)
    }

    /// With no replicas.
    pub fn start_bare() -> Self {
        Self::of(3)
    }

    fn of(count: usize) -> Self {
        let buses: Vec<String> = (0..count).map(|_| free_port().to_string()).collect();
        let begin =
            |bus: &String| Server::begin(&[&SETTINGS[..], &["--cluster-port", bus]].concat(), &[]);
        let mut servers: Vec<Server> = buses.iter().map(begin).collect();
        servers.iter_mut().for_each(Server::wait);
        let cluster = Self { servers };
        let ids: Vec<String> =
            cluster.servers.iter().map(|server| server.command(&["CLUSTER", "MYID"])).collect();
        for (at, server) in cluster.servers.iter().enumerate() {
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
        }
        for (at, [first, last]) in
            [["0", "5460"], ["5461", "10922"], ["10923", "16383"]].iter().enumerate()
        {
            cluster.servers[at].command(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        for server in &cluster.servers[1..] {
            let port = cluster.servers[0].port.to_string();
            server.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &buses[0]]);
        }
        let knows_all = |server: &Server| {
            ids.iter().all(|id| server.command(&["CLUSTER", "NODES"]).contains(id.trim()))
        };
        wait_for("the nodes do not meet", || cluster.servers.iter().all(knows_all));
        for (at, replica) in cluster.servers[3..].iter().enumerate() {
            let primary = ids[at].trim();
            let replicates = || replica.command(&["CLUSTER", "REPLICATE", primary]).contains("OK");
            wait_for("a replica does not know its primary", replicates);
        }
        cluster.wait();
        cluster
    }

    /// Waits until all servers that run serve all slots, and each primary has a replica if one is left.
    pub fn wait(&self) {
        let is_well = |server: &Server| {
            let info = server.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
        };
        wait_for("the Cluster is not well", || self.servers.iter().all(is_well));
        if self.servers.len() == 3 {
            return;
        }
        let has_replica = |server: &Server| {
            let info = server.command(&["INFO", "replication"]);
            info.contains("master_link_status:up") || info.contains("connected_slaves:1")
        };
        wait_for("a primary has no replica", || self.servers.iter().all(has_replica));
    }

    pub fn url(&self) -> String {
        self.servers[0].url()
    }

    /// The place of the primary that has a key.
    pub fn primary_of(&self, key: &str) -> usize {
        let has_it = |server: &Server| {
            server.info("role") == "master" && !server.command(&["EXISTS", key]).contains("MOVED")
        };
        self.servers.iter().position(has_it).unwrap()
    }

    /// What the server that has a key answers.
    pub fn command(&self, key: &str, words: &[&str]) -> String {
        self.servers[self.primary_of(key)].command(words)
    }

    /// Begins to move the slot of a key from one primary to another; gives the slot.
    pub fn begin_to_move(&self, key: &str, from: usize, to: usize) -> String {
        let [from, to] = [from, to].map(|at| &self.servers[at]);
        let slot = from.command(&["CLUSTER", "KEYSLOT", key]).trim().to_owned();
        let [from_id, to_id] = [from, to].map(|server| server.command(&["CLUSTER", "MYID"]));
        to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", from_id.trim()]);
        from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", to_id.trim()]);
        slot
    }

    /// Moves all keys of a slot that is being moved, and ends that.
    pub fn end_to_move(&self, slot: &str, from: usize, to: usize) {
        let port = self.servers[to].port.to_string();
        loop {
            let keys = self.servers[from].command(&["CLUSTER", "GETKEYSINSLOT", slot, "100"]);
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys);
            self.servers[from].command(&words);
        }
        let id = self.servers[to].command(&["CLUSTER", "MYID"]);
        for at in [to, from] {
            self.servers[at].command(&["CLUSTER", "SETSLOT", slot, "NODE", id.trim()]);
        }
    }
}
