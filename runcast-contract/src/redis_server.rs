//! A Redis of a test's own, on a port of the system's choice.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

mod cluster;
mod sentinel;

pub use cluster::Cluster;
pub use sentinel::Watched;

/// How long servers may take to be what they are to be.
const SOON: Duration = Duration::from_secs(30);

/// A redis-server, killed when it is dropped.
pub struct Server {
    child: Child,
    pub port: u16,
    directory: tempfile::TempDir,
    settings: Vec<String>,
    /// What redis-cli needs to be let in.
    login: Vec<String>,
}

/// Where servers listen: not where the system takes the ports of connections from, which would be gone when
/// a server is started again.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// One that nobody listens at, and another each time: servers are begun before the first listens.
fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    // Other tests begin elsewhere.
    let next = NEXT.get_or_init(|| RandomState::new().hash_one(std::process::id()).into());
    let count = u64::from(PORTS.end - PORTS.start);
    let ports = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed))
        .map(|number| PORTS.start + (number % count) as u16);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.take(1_000).find(is_free).expect("there is a free port")
}

/// Waits for something, and says what it was if it does not come.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With these settings, such as `--appendonly yes`.
    pub fn start_with(settings: &[&str]) -> Self {
        Self::start_as(settings, &[])
    }

    /// With settings that let redis-cli in only with these options.
    pub fn start_as(settings: &[&str], login: &[&str]) -> Self {
        let mut server = Self::begin(settings, login);
        server.wait();
        server
    }

    fn begin(settings: &[&str], login: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let settings: Vec<String> = owned(settings);
        let child = spawn(port, directory.path(), &settings);
        Self { child, port, directory, settings, login: owned(login) }
    }

    fn wait(&mut self) {
        let until = Instant::now() + SOON;
        while !self.command(&["PING"]).contains("PONG") {
            assert!(self.child.try_wait().unwrap().is_none(), "redis-server ended");
            assert!(Instant::now() < until, "redis-server does not answer");
            std::thread::yield_now();
        }
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, on what it has on its disk.
    pub fn restart(&mut self) {
        self.child = spawn(self.port, self.directory.path(), &self.settings);
        self.wait();
    }

    /// Has it do nothing any more, or go on.
    pub fn stop(&self, is_stopped: bool) {
        let signal = if is_stopped { "-STOP" } else { "-CONT" };
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
    }

    /// Removes all that it has on its disk; it is not running.
    pub fn wipe(&mut self) {
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What redis-cli answers.
    pub fn command(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(&self.login)
            .args(words)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A field of what it says of itself.
    pub fn info(&self, field: &str) -> String {
        let info = self.command(&["INFO", "everything"]);
        let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn spawn(port: u16, directory: &Path, settings: &[String]) -> Child {
    // By TLS alone: redis-cli talks to that port as well.
    let is_tls = settings.iter().any(|setting| setting == "--tls-cert-file");
    let ports = match is_tls {
        true => ["--tls-port", "--port"],
        false => ["--port", "--tls-port"],
    };
    let mut command = Command::new("redis-server");
    // A Sentinel keeps what it knows in its file, which must be there.
    let sentinel: PathBuf = directory.join("sentinel.conf");
    if sentinel.exists() {
        command.arg(sentinel).args(["--sentinel", "--port", &port.to_string()]);
    } else {
        command.args([ports[0], &port.to_string(), ports[1], "0", "--save", ""]);
    }
    command
        .args(["--bind", "127.0.0.1", "--dir", directory.to_str().unwrap()])
        .args(settings)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed (scripts/install-redis)")
}
