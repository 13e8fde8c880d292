//! A primary with a replica, and three sentinels that watch them.

use super::{Server, free_port, spawn, wait_for};

/// What the sentinels call the primary.
const NAME: &str = "mine";

pub struct Watched {
    /// The first is the primary at first.
    pub servers: [Server; 2],
    pub sentinels: Vec<Server>,
}

impl Watched {
    pub fn start() -> Self {
        let settings = ["--repl-diskless-sync-delay", "0"];
        let primary = Server::start_with(&settings);
        let port = primary.port.to_string();
        let replica =
            Server::start_with(&[&settings[..], &["--replicaof", "127.0.0.1", &port]].concat());
        wait_for("the replica does not follow", || replica.info("master_link_status") == "up");
        let mut sentinels: Vec<Server> = (0..3).map(|_| sentinel(primary.port)).collect();
        sentinels.iter_mut().for_each(Server::wait);
        let watched = Self { servers: [primary, replica], sentinels };
        let knows_all = |sentinel: &Server| {
            let info = sentinel.command(&["INFO", "sentinel"]);
            info.contains("slaves=1,sentinels=3")
        };
        wait_for("the sentinels do not meet", || watched.sentinels.iter().all(knows_all));
        watched
    }

    /// The sentinels' URL.
    pub fn url(&self) -> String {
        let at = |sentinel: &Server| format!("127.0.0.1:{}", sentinel.port);
        let all: Vec<String> = self.sentinels.iter().map(at).collect();
        format!("redis-sentinel://{}/{NAME}", all.join(","))
    }

    /// Waits until the sentinels have made a replica of the old primary that runs again.
    pub fn wait_until_replica(&self, at: usize) {
        wait_for("it is not made a replica", || self.servers[at].info("role") == "slave");
    }
}

fn sentinel(primary: u16) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "sentinel monitor {NAME} 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds {NAME} 1000\n\
         sentinel failover-timeout {NAME} 3000\n"
    );
    std::fs::write(directory.path().join("sentinel.conf"), config).unwrap();
    let port = free_port();
    let child = spawn(port, directory.path(), &[]);
    Server { child, port, directory, settings: Vec::new(), login: Vec::new() }
}
